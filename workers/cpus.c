/* SPDX-License-Identifier: MIT */
/* How many CPUs this process may use: the lesser of its affinity mask and its control groups. */
#include "workers/cpus.h"

#include <coppice/pool.h>

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cgroup.h"

#define FILE_MAX 8192
#define MASK_CPUS_MAX (1 << 16)

/* Half a CPU is one, one and a half are two: a thread too many costs less than one too few. */
static uint64_t
whole_cpus(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return UINT64_MAX; /* -1 is version 1's way to say that there is no limit */
    return (uint64_t)(quota_us / period_us + (quota_us % period_us != 0));
}

static bool
read_in(const char *directory, const char *name, char *text, size_t capacity)
{
    char file[FILE_MAX];
    int n = snprintf(file, sizeof file, "%s/%s", directory, name);
    return n > 0 && (size_t)n < sizeof file && cop__read_text(file, text, capacity);
}

/* "QUOTA PERIOD" or "max PERIOD". */
static uint64_t
cpus_in_v2_file(const char *directory)
{
    char text[64];
    long long quota, period;
    if (!read_in(directory, "cpu.max", text, sizeof text) ||
        sscanf(text, "%lld %lld", &quota, &period) != 2)
        return UINT64_MAX;
    return whole_cpus(quota, period);
}

static uint64_t
cpus_in_v1_files(const char *directory)
{
    char quota[64], period[64];
    if (!read_in(directory, "cpu.cfs_quota_us", quota, sizeof quota) ||
        !read_in(directory, "cpu.cfs_period_us", period, sizeof period))
        return UINT64_MAX;
    return whole_cpus(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

static uint32_t
narrowed(uint64_t cpus)
{
    return cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX;
}

uint32_t
cop__cgroup_cpus(const char *membership, const char *mount)
{
    return narrowed(cop__cgroup_least(membership, mount, "cpu", cpus_in_v2_file, cpus_in_v1_files));
}

/* The kernel refuses a mask that is too short for its own; NULL when none fits. */
static cpu_set_t *
mask_read(int *cpus)
{
    for (*cpus = 1024; *cpus <= MASK_CPUS_MAX; *cpus *= 2) {
        cpu_set_t *mask = CPU_ALLOC((size_t)*cpus);
        if (mask && sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)*cpus), mask) == 0)
            return mask;
        CPU_FREE(mask);
    }
    return NULL;
}

uint32_t
cop__cpus_of_mask(uint32_t *numbers, uint32_t most)
{
    int cpus;
    uint32_t found = 0;
    cpu_set_t *mask = mask_read(&cpus);
    if (!mask)
        return 0;
    for (int i = 0; i < cpus; i++) {
        if (!CPU_ISSET_S((size_t)i, CPU_ALLOC_SIZE((size_t)cpus), mask))
            continue;
        if (found < most)
            numbers[found] = (uint32_t)i;
        found++;
    }
    CPU_FREE(mask);
    return found;
}

uint32_t
cop_cpus_usable(void)
{
    uint32_t quota = narrowed(cop__cgroup_least_here("cpu", cpus_in_v2_file, cpus_in_v1_files));
    uint32_t cpus = cop__cpus_of_mask(NULL, 0);
    if (cpus == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        cpus = online > 0 ? (uint32_t)online : 1;
    }
    return cpus < quota ? cpus : quota;
}
