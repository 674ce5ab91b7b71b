/* SPDX-License-Identifier: MIT */
/* Control groups of both versions, as /proc/self/cgroup names them. */
#include "base/cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define TEXT_MAX 4096
#define ROOT_MAX 512

bool
cop__read_text(const char *file, char *text, size_t capacity)
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

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The least of a group and of those above it, up to the mount; group begins with '/' and is cut up
 * on the way. In a container it may lie outside of what is mounted: those files are absent. */
static uint64_t
least_of_group(const char *root, char *group, cop__cgroup_limit of_directory)
{
    char directory[ROOT_MAX + TEXT_MAX];
    uint64_t limit = UINT64_MAX;
    for (;;) {
        int n = snprintf(directory, sizeof directory, "%s%s", root, group);
        if (n > 0 && (size_t)n < sizeof directory)
            limit = least(limit, of_directory(directory));
        char *slash = strrchr(group, '/');
        if (!slash)
            return limit;
        *slash = '\0';
    }
}

/* True when the comma-separated list names the controller. */
static bool
names(const char *list, const char *controller)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        if (n == strlen(controller) && memcmp(list, controller, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

/* One line: "hierarchy:controllers:/group"; version 2 names no controllers. */
static uint64_t
least_of_line(char *line, const char *mount, const char *controller, cop__cgroup_limit v2,
              cop__cgroup_limit v1)
{
    char root[ROOT_MAX];
    char *list = strchr(line, ':');
    char *group = list ? strchr(list + 1, ':') : NULL;
    int n = snprintf(root, sizeof root, "%s/%s", mount, controller);
    if (!group || n < 0 || (size_t)n >= sizeof root)
        return UINT64_MAX;
    *list++ = *group++ = '\0';
    if (!*list)
        return least_of_group(mount, group, v2);
    return names(list, controller) ? least_of_group(root, group, v1) : UINT64_MAX;
}

uint64_t
cop__cgroup_least(const char *membership, const char *mount, const char *controller,
                  cop__cgroup_limit v2, cop__cgroup_limit v1)
{
    uint64_t limit = UINT64_MAX;
    while (*membership) {
        char line[TEXT_MAX];
        size_t n = strcspn(membership, "\n");
        if (n < sizeof line) {
            memcpy(line, membership, n);
            line[n] = '\0';
            limit = least(limit, least_of_line(line, mount, controller, v2, v1));
        }
        membership += n + (membership[n] == '\n');
    }
    return limit;
}

uint64_t
cop__cgroup_least_here(const char *controller, cop__cgroup_limit v2, cop__cgroup_limit v1)
{
    char membership[TEXT_MAX];
    if (!cop__read_text("/proc/self/cgroup", membership, sizeof membership))
        return UINT64_MAX;
    return cop__cgroup_least(membership, "/sys/fs/cgroup", controller, v2, v1);
}
