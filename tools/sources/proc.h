/* SPDX-License-Identifier: MIT */
/* The files of /proc, each told to a mirror. docs/coppice.1 lists what becomes of them. */
#ifndef COP_TOOLS_PROC_H
#define COP_TOOLS_PROC_H

#include <dirent.h>

#include <sys/types.h>

#include "tools/sources/history.h"
#include "tools/sources/mirror.h"

struct proc {
    DIR *directory; /* /proc */
    int fd;         /* of it */
    char *text;     /* the file read last, terminated */
    size_t capacity;
    uint64_t page_bytes;
    struct history *history;
    struct user { /* names are asked for once */
        uid_t uid;
        char name[64];
    } *users;
    size_t users_count;
};

bool proc_open(struct proc *proc);
void proc_close(struct proc *proc);

/* Reads a file below /proc into proc->text; NULL when it cannot be read (a process has ended). */
char *proc_read(struct proc *proc, const char *name);

/* proc_system.c */
void proc_cpu(struct proc *proc, struct mirror *mirror, struct mirror_node *host);
void proc_memory(struct proc *proc, struct mirror *mirror, struct mirror_node *host);
void proc_load(struct proc *proc, struct mirror *mirror, struct mirror_node *host);
void proc_disks(struct proc *proc, struct mirror *mirror, struct mirror_node *host);
void proc_net(struct proc *proc, struct mirror *mirror, struct mirror_node *host);

/* proc_processes.c */
void proc_processes(struct proc *proc, struct mirror *mirror, struct mirror_node *host);

#endif
