/* SPDX-License-Identifier: MIT */
/* What this process may use, as its control groups say it. */
#ifndef COP_RECLAIM_MEMORY_LIMIT_H
#define COP_RECLAIM_MEMORY_LIMIT_H

#include <stdint.h>

/* The least memory limit in bytes of the groups that `membership` (the text of /proc/self/cgroup)
 * names and of those above them, looked up below `mount` (/sys/fs/cgroup): memory.max of version 2,
 * memory/.../memory.limit_in_bytes of version 1. UINT64_MAX when there is none. */
uint64_t cop__cgroup_memory_limit(const char *membership, const char *mount);

#endif
