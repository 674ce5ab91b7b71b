/* SPDX-License-Identifier: MIT */
/* The default of memory.limit_bytes: the least of physical memory, control groups, RLIMIT_AS. */
#include "reclaim/memory_limit.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "reclaim/memory.h"

#define FILE_MAX 8192

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* "max" is version 2's way to say that there is no limit; version 1 gives a very great number. */
static uint64_t
limit_in(const char *directory, const char *name)
{
    char file[FILE_MAX], text[64], *end;
    int n = snprintf(file, sizeof file, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof file || !cop__read_text(file, text, sizeof text) ||
        text[0] < '0' || text[0] > '9')
        return UINT64_MAX;
    unsigned long long limit = strtoull(text, &end, 10);
    return end == text ? UINT64_MAX : limit;
}

static uint64_t
limit_v2(const char *directory)
{
    return limit_in(directory, "memory.max");
}

static uint64_t
limit_v1(const char *directory)
{
    return limit_in(directory, "memory.limit_in_bytes");
}

uint64_t
cop__cgroup_memory_limit(const char *membership, const char *mount)
{
    return cop__cgroup_least(membership, mount, "memory", limit_v2, limit_v1);
}

uint64_t
cop__memory_default_limit(void)
{
    uint64_t limit = (uint64_t)PTRDIFF_MAX;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    struct rlimit space;
    if (pages > 0 && page_bytes > 0)
        limit = least(limit, (uint64_t)pages * (uint64_t)page_bytes);
    limit = least(limit, cop__cgroup_least_here("memory", limit_v2, limit_v1));
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        limit = least(limit, space.rlim_cur);
    return limit / 4 * 3;
}
