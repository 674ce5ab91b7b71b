/* SPDX-License-Identifier: MIT */
/* CPU times, memory, load, disks and network interfaces. */
#include "tools/sources/proc.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next line, terminated in place; NULL at the end. */
static char *
next_line(char **at)
{
    char *line = *at;
    if (!line || !*line)
        return NULL;
    char *newline = strchr(line, '\n');
    if (newline)
        *newline++ = '\0';
    *at = newline;
    return line;
}

/* Numbers of a line in the order of their names; a NULL name skips one. */
static void
tell_numbers(struct mirror *m, struct mirror_node *node, const char *text, const char *const *names,
             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *end;
        unsigned long long n = strtoull(text, &end, 10);
        if (end == text)
            return;
        if (names[i])
            mirror_i64(m, node, names[i], n);
        text = end;
    }
}

/* Ticks of a line of /proc/stat: all, and all but those in which the CPU had nothing to do. Those of
 * guests are in user_ticks and nice_ticks already. */
static void
note_cpu(struct proc *proc, const char *name, const char *text)
{
    static const char *const keys[] = {"busy_ticks", "total_ticks"};
    unsigned long long ticks[8] = {0};
    uint64_t values[2] = {0, 0};
    sscanf(text, "%llu %llu %llu %llu %llu %llu %llu %llu", &ticks[0], &ticks[1], &ticks[2], &ticks[3],
           &ticks[4], &ticks[5], &ticks[6], &ticks[7]);
    for (size_t i = 0; i < 8; i++) {
        values[0] += i == 3 || i == 4 ? 0 : ticks[i];
        values[1] += ticks[i];
    }
    history_note(proc->history, "cpu", name, 0, keys, values, 2);
}

void
proc_cpu(struct proc *proc, struct mirror *m, struct mirror_node *host)
{
    static const char *const names[] = {
        "user_ticks", "nice_ticks",    "system_ticks", "idle_ticks",  "iowait_ticks",
        "irq_ticks",  "softirq_ticks", "steal_ticks",  "guest_ticks", "guest_nice_ticks",
    };
    char *at = proc_read(proc, "stat"), *line, key[32];
    struct mirror_node *cpus = at ? mirror_branch(m, host, "cpu", 0) : NULL;
    while ((line = next_line(&at)) && strncmp(line, "cpu", 3) == 0) {
        size_t n = strcspn(line, " ");
        snprintf(key, sizeof key, "%.*s", (int)n, line);
        if (n == 3)
            snprintf(key, sizeof key, "total");
        struct mirror_node *cpu = mirror_branch(m, cpus, key, 0);
        note_cpu(proc, key, line + n);
        tell_numbers(m, cpu, line + n, names, sizeof names / sizeof *names);
    }
}

/* MemFree -> free, Active(anon) -> active_anon, HugePages_Total -> hugepages_total: lower case with
 * an underscore where a word begins, without the leading "Mem". */
static void
memory_key(const char *name, size_t n, char *key, size_t size)
{
    size_t to = 0;
    if (n > 3 && strncmp(name, "Mem", 3) == 0) {
        name += 3;
        n -= 3;
    }
    for (size_t i = 0; i < n && to + 2 < size; i++) {
        unsigned char c = (unsigned char)name[i];
        bool word = i > 0 && isupper(c) && islower((unsigned char)name[i - 1]);
        if (!isalnum(c) && c != '_' && c != '(')
            continue;
        if (word && key[to - 1] != '_')
            key[to++] = '_';
        key[to++] = isalnum(c) ? (char)tolower(c) : '_';
    }
    key[to] = '\0';
}

void
proc_memory(struct proc *proc, struct mirror *m, struct mirror_node *host)
{
    char *at = proc_read(proc, "meminfo"), *line, key[64];
    struct mirror_node *memory = at ? mirror_branch(m, host, "mem", 0) : NULL;
    if (at)
        mirror_text(m, memory, "unit", "kB", 2);
    while ((line = next_line(&at))) {
        size_t n = strcspn(line, ":");
        char *value = line + n + (line[n] == ':');
        memory_key(line, n, key, sizeof key);
        const char *const names[] = {key};
        tell_numbers(m, memory, value, names, 1);
    }
}

void
proc_load(struct proc *proc, struct mirror *m, struct mirror_node *host)
{
    const char *text = proc_read(proc, "loadavg");
    double one, five, fifteen;
    unsigned long long running, tasks;
    if (!text ||
        sscanf(text, "%lf %lf %lf %llu/%llu", &one, &five, &fifteen, &running, &tasks) != 5)
        return;
    struct mirror_node *load = mirror_branch(m, host, "load", 0);
    mirror_f64(m, load, "one", one);
    mirror_f64(m, load, "five", five);
    mirror_f64(m, load, "fifteen", fifteen);
    mirror_i64(m, load, "running", running);
    mirror_i64(m, load, "tasks", tasks);
}

void
proc_disks(struct proc *proc, struct mirror *m, struct mirror_node *host)
{
    static const char *const disk_keys[] = {"read_bytes", "written_bytes", "busy_ms"};
    char *at = proc_read(proc, "diskstats"), *line, name[64];
    unsigned long long reads, read_sectors, read_ms, writes, sectors, write_ms, in_flight, busy_ms;
    struct mirror_node *disks = at ? mirror_branch(m, host, "disks", 0) : NULL;
    while ((line = next_line(&at))) {
        if (sscanf(line, "%*u %*u %63s %llu %*u %llu %llu %llu %*u %llu %llu %llu %llu", name,
                   &reads, &read_sectors, &read_ms, &writes, &sectors, &write_ms, &in_flight,
                   &busy_ms) != 9)
            continue;
        if (reads == 0 && writes == 0)
            continue; /* loop and ram devices that nobody has set up */
        struct mirror_node *disk = mirror_branch(m, disks, name, 0);
        mirror_i64(m, disk, "reads", reads);
        mirror_i64(m, disk, "read_bytes", read_sectors * 512); /* sectors are always 512 here */
        mirror_i64(m, disk, "read_ms", read_ms);
        mirror_i64(m, disk, "writes", writes);
        mirror_i64(m, disk, "written_bytes", sectors * 512);
        mirror_i64(m, disk, "write_ms", write_ms);
        mirror_i64(m, disk, "in_flight", in_flight);
        mirror_i64(m, disk, "busy_ms", busy_ms);
        history_note(proc->history, "disks", name, 0, disk_keys,
                     (const uint64_t[]){read_sectors * 512, sectors * 512, busy_ms}, 3);
    }
}

static void
note_interface(struct proc *proc, const char *name, const char *text)
{
    static const char *const keys[] = {"rx_bytes", "tx_bytes"};
    unsigned long long rx = 0, tx = 0;
    sscanf(text, "%llu %*u %*u %*u %*u %*u %*u %*u %llu", &rx, &tx);
    history_note(proc->history, "net", name, 0, keys, (const uint64_t[]){rx, tx}, 2);
}

void
proc_net(struct proc *proc, struct mirror *m, struct mirror_node *host)
{
    static const char *const names[] = {
        "rx_bytes", "rx_packets", "rx_errors", "rx_drops",   NULL,        NULL,
        NULL,       NULL,         "tx_bytes",  "tx_packets", "tx_errors", "tx_drops",
    };
    char *at = proc_read(proc, "net/dev"), *line;
    struct mirror_node *interfaces = at ? mirror_branch(m, host, "net", 0) : NULL;
    while ((line = next_line(&at))) {
        char *colon = strrchr(line, ':');
        if (!colon)
            continue; /* the two lines of headings */
        *colon = '\0';
        const char *name = line + strspn(line, " ");
        struct mirror_node *interface = mirror_branch(m, interfaces, name, 0);
        tell_numbers(m, interface, colon + 1, names, sizeof names / sizeof *names);
        note_interface(proc, name, colon + 1);
    }
}
