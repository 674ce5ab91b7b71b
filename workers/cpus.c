/* SPDX-License-Identifier: MIT */
/* How many CPUs this process may use: the lesser of its affinity mask and its control groups. */
#include "workers/cpus.h"

#include <coppice/pool.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/base.h"

#define TEXT_MAX 4096
#define MASK_CPUS_MAX (1 << 16)

/* Reads a small file whole; false when it is not there or too long. */
static bool
read_text(const char *file, char *text, size_t capacity)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n = -1;
    if (fd < 0)
        return false;
    while (used < capacity && (n = read(fd, text + used, capacity - used)) > 0)
        used += (size_t)n;
    close(fd);
    if (n < 0 || used == capacity)
        return false;
    text[used] = '\0';
    return true;
}

static uint32_t
least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Half a CPU is one, one and a half are two: a thread too many costs less than one too few. */
static uint32_t
whole_cpus(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return UINT32_MAX; /* -1 is version 1's way to say that there is no limit */
    long long cpus = quota_us / period_us + (quota_us % period_us != 0);
    return cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX;
}

/* "QUOTA PERIOD" or "max PERIOD". */
static uint32_t
cpus_in_v2_file(const char *directory)
{
    char file[TEXT_MAX + 640], text[64];
    long long quota, period;
    snprintf(file, sizeof file, "%s/cpu.max", directory);
    if (!read_text(file, text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2)
        return UINT32_MAX;
    return whole_cpus(quota, period);
}

static uint32_t
cpus_in_v1_files(const char *directory)
{
    char file[TEXT_MAX + 640], quota[64], period[64];
    snprintf(file, sizeof file, "%s/cpu.cfs_quota_us", directory);
    if (!read_text(file, quota, sizeof quota))
        return UINT32_MAX;
    snprintf(file, sizeof file, "%s/cpu.cfs_period_us", directory);
    if (!read_text(file, period, sizeof period))
        return UINT32_MAX;
    return whole_cpus(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

/* The least of a group and of those above it, up to the mount; group begins with '/' and is cut up
 * on the way. In a container it may lie outside of what is mounted: those files are absent. */
static uint32_t
cpus_of_group(const char *root, char *group, uint32_t (*of_directory)(const char *))
{
    char directory[TEXT_MAX + 576];
    uint32_t cpus = UINT32_MAX;
    for (;;) {
        int n = snprintf(directory, sizeof directory, "%s%s", root, group);
        if (n > 0 && (size_t)n < sizeof directory)
            cpus = least(cpus, of_directory(directory));
        char *slash = strrchr(group, '/');
        if (!slash)
            return cpus;
        *slash = '\0';
    }
}

/* True when the comma-separated list of controllers names "cpu". */
static bool
has_cpu(const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        if (n == 3 && memcmp(list, "cpu", 3) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

/* One line of /proc/self/cgroup: "hierarchy:controllers:/group"; version 2 names no controllers. */
static uint32_t
cpus_of_line(char *line, const char *mount)
{
    char root[512];
    char *list = strchr(line, ':');
    char *group = list ? strchr(list + 1, ':') : NULL;
    if (!group || strlen(mount) + sizeof "/cpu" > sizeof root)
        return UINT32_MAX;
    *list++ = *group++ = '\0';
    if (!*list)
        return cpus_of_group(mount, group, cpus_in_v2_file);
    if (!has_cpu(list))
        return UINT32_MAX;
    snprintf(root, sizeof root, "%s/cpu", mount);
    return cpus_of_group(root, group, cpus_in_v1_files);
}

uint32_t
cop__cgroup_cpus(const char *membership, const char *mount)
{
    uint32_t cpus = UINT32_MAX;
    while (*membership) {
        char line[TEXT_MAX];
        size_t n = strcspn(membership, "\n");
        if (n < sizeof line) {
            memcpy(line, membership, n);
            line[n] = '\0';
            cpus = least(cpus, cpus_of_line(line, mount));
        }
        membership += n + (membership[n] == '\n');
    }
    return cpus;
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
    char membership[TEXT_MAX];
    uint32_t cpus = cop__cpus_of_mask(NULL, 0);
    if (cpus == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        cpus = online > 0 ? (uint32_t)online : 1;
    }
    if (read_text("/proc/self/cgroup", membership, sizeof membership))
        cpus = least(cpus, cop__cgroup_cpus(membership, "/sys/fs/cgroup"));
    return cpus;
}
