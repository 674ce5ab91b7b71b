/* SPDX-License-Identifier: MIT */
/* The default of memory.limit_bytes: the least of physical memory, control groups, RLIMIT_AS. */
#include "reclaim/memory_limit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "reclaim/memory.h"

#define TEXT_MAX 4096

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

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

/* "max" is version 2's way to say that there is no limit; version 1 gives a very great number. */
static uint64_t
limit_in_file(const char *file)
{
    char text[64], *end;
    if (!read_text(file, text, sizeof text) || text[0] < '0' || text[0] > '9')
        return UINT64_MAX;
    unsigned long long limit = strtoull(text, &end, 10);
    return end == text ? UINT64_MAX : limit;
}

/* The least limit of a group and of those above it, up to the mount. group begins with '/'; it is
 * cut up on the way. In a container it may lie outside of what is mounted: those files are absent.
 */
static uint64_t
limit_of_group(const char *mount, char *group, const char *leaf)
{
    char file[TEXT_MAX + 512];
    uint64_t limit = UINT64_MAX;
    for (;;) {
        int n = snprintf(file, sizeof file, "%s%s/%s", mount, group, leaf);
        if (n > 0 && (size_t)n < sizeof file)
            limit = least(limit, limit_in_file(file));
        char *slash = strrchr(group, '/');
        if (!slash)
            return limit;
        *slash = '\0';
    }
}

/* True when the comma-separated list of controllers names "memory". */
static bool
has_memory(const char *list, size_t length)
{
    static const char word[] = "memory";
    for (size_t i = 0; i + sizeof word - 1 <= length; i++) {
        bool begins = i == 0 || list[i - 1] == ',';
        bool ends = i + sizeof word - 1 == length || list[i + sizeof word - 1] == ',';
        if (begins && ends && memcmp(list + i, word, sizeof word - 1) == 0)
            return true;
    }
    return false;
}

/* One line of /proc/self/cgroup: "hierarchy:controllers:/group"; version 2 names no controllers. */
static uint64_t
limit_of_line(const char *line, size_t length, const char *mount)
{
    char group[TEXT_MAX], root[512];
    const char *list = memchr(line, ':', length);
    const char *path = list ? memchr(list + 1, ':', length - (size_t)(list + 1 - line)) : NULL;
    if (!path)
        return UINT64_MAX;
    size_t n = length - (size_t)(path + 1 - line);
    size_t list_length = (size_t)(path - list - 1);
    if (n >= sizeof group || strlen(mount) + sizeof "/memory" > sizeof root)
        return UINT64_MAX;
    memcpy(group, path + 1, n);
    group[n] = '\0';
    if (list_length == 0)
        return limit_of_group(mount, group, "memory.max");
    if (!has_memory(list + 1, list_length))
        return UINT64_MAX;
    snprintf(root, sizeof root, "%s/memory", mount);
    return limit_of_group(root, group, "memory.limit_in_bytes");
}

uint64_t
cop__cgroup_memory_limit(const char *membership, const char *mount)
{
    uint64_t limit = UINT64_MAX;
    for (const char *line = membership; *line;) {
        size_t length = strcspn(line, "\n");
        limit = least(limit, limit_of_line(line, length, mount));
        line += length + (line[length] == '\n');
    }
    return limit;
}

uint64_t
cop__memory_default_limit(void)
{
    char membership[TEXT_MAX];
    uint64_t limit = (uint64_t)PTRDIFF_MAX;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    struct rlimit space;
    if (pages > 0 && page_bytes > 0)
        limit = least(limit, (uint64_t)pages * (uint64_t)page_bytes);
    if (read_text("/proc/self/cgroup", membership, sizeof membership))
        limit = least(limit, cop__cgroup_memory_limit(membership, "/sys/fs/cgroup"));
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        limit = least(limit, space.rlim_cur);
    return limit / 4 * 3;
}
