/* SPDX-License-Identifier: MIT */
/* The CPUs this process may use: which by its affinity mask, how many by its control groups. */
#ifndef COP_WORKERS_CPUS_H
#define COP_WORKERS_CPUS_H

#include <stdint.h>

/* The least CPU quota, in whole CPUs rounded up, of the groups that `membership` (the text of
 * /proc/self/cgroup) names and of those above them, looked up below `mount` (/sys/fs/cgroup):
 * cpu.max of version 2, cpu/.../cpu.cfs_quota_us of version 1. UINT32_MAX when there is none. */
uint32_t cop__cgroup_cpus(const char *membership, const char *mount);

/* The numbers of up to `most` CPUs of the affinity mask, ascending; how many it has in all (0 when
 * it cannot be read). */
uint32_t cop__cpus_of_mask(uint32_t *numbers, uint32_t most);

#endif
