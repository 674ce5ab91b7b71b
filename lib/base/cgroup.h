/* SPDX-License-Identifier: MIT */
/* What the control groups of this process allow it. */
#ifndef COP_BASE_CGROUP_H
#define COP_BASE_CGROUP_H

#include "base/base.h"

/* Reads a small file whole; false when it is not there or too long. Blocking. */
bool cop__read_text(const char *file, char *text, size_t capacity);

/* A limit that a group's directory holds; UINT64_MAX: none. */
typedef uint64_t (*cop__cgroup_limit)(const char *directory);

/*
 * The least limit of the groups that `membership` (the text of /proc/self/cgroup) names and of those
 * above them, up to `mount`; UINT64_MAX when there is none. Version 2's groups, which name no
 * controllers, are asked with v2; version 1's, below MOUNT/CONTROLLER, with v1 if they name it.
 */
uint64_t cop__cgroup_least(const char *membership, const char *mount, const char *controller,
                           cop__cgroup_limit v2, cop__cgroup_limit v1);

/* The same for this process, as it is. Blocking. */
uint64_t cop__cgroup_least_here(const char *controller, cop__cgroup_limit v2, cop__cgroup_limit v1);

#endif
