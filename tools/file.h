/* SPDX-License-Identifier: MIT */
/* Whole files as text. */
#ifndef COP_TOOLS_FILE_H
#define COP_TOOLS_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct file_text {
    char *bytes; /* terminated; free it */
    size_t length;
};

/* "-" is standard input. False: it has been complained of. */
bool file_read(const char *name, struct file_text *text);

#endif
