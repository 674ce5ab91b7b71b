/* SPDX-License-Identifier: MIT */
/* Every process, from /proc/PID/stat. A process is told apart from an earlier one of its number by
 * the time at which it started. */
#include "tools/sources/proc.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
proc_open(struct proc *proc)
{
    memset(proc, 0, sizeof *proc);
    proc->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    proc->capacity = 65536;
    proc->text = malloc(proc->capacity);
    proc->directory = opendir("/proc");
    proc->fd = proc->directory ? dirfd(proc->directory) : -1;
    proc->history = history_new();
    return proc->text && proc->directory && proc->history;
}

void
proc_close(struct proc *proc)
{
    if (proc->directory)
        closedir(proc->directory);
    free(proc->text);
    free(proc->users);
    history_free(proc->history);
}

char *
proc_read(struct proc *proc, const char *name)
{
    int fd = openat(proc->fd, name, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got = -1;
    if (fd < 0)
        return NULL;
    while ((got = read(fd, proc->text + n, proc->capacity - n - 1)) > 0) {
        n += (size_t)got;
        if (proc->capacity - n > 1)
            continue;
        char *text = realloc(proc->text, proc->capacity * 2);
        if (!text)
            break;
        proc->text = text;
        proc->capacity *= 2;
    }
    close(fd);
    proc->text[n] = '\0';
    return got == 0 ? proc->text : NULL;
}

struct process {
    char *name; /* between the outermost parentheses: it may hold some itself */
    size_t name_length;
    char state;
    long long parent, threads, rss_pages;
    unsigned long long user_ticks, system_ticks, start;
};

static bool
parse_process(char *text, struct process *p)
{
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close || close < open)
        return false;
    p->name = open + 1;
    p->name_length = (size_t)(close - open - 1);
    return sscanf(close + 1,
                  " %c %lld %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %lld %*d "
                  "%llu %*u %lld",
                  &p->state, &p->parent, &p->user_ticks, &p->system_ticks, &p->threads, &p->start,
                  &p->rss_pages) == 7;
}

/* The name of a user, or the number when there is none. */
static void
find_user(uid_t uid, char *name, size_t size)
{
    struct passwd entry, *found = NULL;
    char text[4096];
    if (getpwuid_r(uid, &entry, text, sizeof text, &found) == 0 && found)
        snprintf(name, size, "%s", entry.pw_name);
    else
        snprintf(name, size, "%u", (unsigned)uid);
}

static const char *
user_name(struct proc *proc, uid_t uid)
{
    for (size_t i = 0; i < proc->users_count; i++)
        if (proc->users[i].uid == uid)
            return proc->users[i].name;
    struct user *users = realloc(proc->users, (proc->users_count + 1) * sizeof *users);
    if (!users)
        return "";
    proc->users = users;
    struct user *user = &users[proc->users_count++];
    user->uid = uid;
    find_user(uid, user->name, sizeof user->name);
    return user->name;
}

static void
tell_process(struct proc *proc, struct mirror *m, struct mirror_node *processes, const char *pid)
{
    char file[32];
    struct process p;
    struct stat owner;
    if (fstatat(proc->fd, pid, &owner, 0) != 0)
        return;
    snprintf(file, sizeof file, "%.16s/stat", pid);
    char *text = proc_read(proc, file);
    if (!text || !parse_process(text, &p))
        return;
    uint64_t rss = p.rss_pages > 0 ? (uint64_t)p.rss_pages * proc->page_bytes : 0;
    struct mirror_node *node = mirror_branch(m, processes, pid, p.start);
    uint64_t ticks = p.user_ticks + p.system_ticks;
    const char *user = user_name(proc, owner.st_uid);
    mirror_text(m, node, "state", &p.state, 1);
    mirror_text(m, node, "name", p.name, p.name_length);
    mirror_text(m, node, "user", user, strlen(user));
    mirror_i64(m, node, "rss_bytes", rss);
    mirror_i64(m, node, "ticks", ticks);
    mirror_i64(m, node, "recent_ticks",
               history_growth(proc->history, "procs", pid, p.start, ticks));
    mirror_i64(m, node, "user_ticks", p.user_ticks);
    mirror_i64(m, node, "system_ticks", p.system_ticks);
    mirror_i64(m, node, "threads", (uint64_t)p.threads);
    mirror_i64(m, node, "parent", (uint64_t)p.parent);
}

void
proc_processes(struct proc *proc, struct mirror *m, struct mirror_node *host)
{
    struct mirror_node *processes = mirror_branch(m, host, "procs", 0);
    const struct dirent *entry;
    rewinddir(proc->directory);
    while ((entry = readdir(proc->directory)))
        if (isdigit((unsigned char)entry->d_name[0]))
            tell_process(proc, m, processes, entry->d_name);
}
