/* SPDX-License-Identifier: MIT */
/* Names without a tree, for what only looks at paths. */
#ifndef COPPICE_TESTS_SUPPORT_PATH_NAMES_H
#define COPPICE_TESTS_SUPPORT_PATH_NAMES_H

#include "tree/name.h"

/* A name whose path from the root is this. It is a new one, also when there is another of that path;
 * the names above it are shared. NULL: out of memory. */
const cop__name *path_name(const char *path, size_t length);
/* Names made from now on share none of those made up to now. */
void path_names_forget(void);
/* Frees all of them. */
void path_names_free(void);

#endif
