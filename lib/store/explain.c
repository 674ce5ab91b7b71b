/* SPDX-License-Identifier: MIT */
/* What holds a store's memory, in one line: for messages and for people. */
#include <stdarg.h>
#include <stdio.h>

#include "reclaim/gate.h"
#include "store/store_internal.h"

#define KINDS_TOLD 3u
#define MIB 1048576.0

typedef struct line {
    char text[512];
    size_t used;
} line;

static void __attribute__((format(printf, 2, 3)))
add(line *to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(to->text + to->used, sizeof to->text - to->used, format, arguments);
    va_end(arguments);
    if (n > 0)
        to->used += (size_t)n < sizeof to->text - to->used ? (size_t)n : sizeof to->text - to->used - 1;
}

/* The kinds that have most. */
static void
add_kinds(line *to, const cop_stats *stats)
{
    uint64_t below = UINT64_MAX;
    for (unsigned told = 0; told < KINDS_TOLD; told++) {
        unsigned most = COP_MEMORY_KINDS;
        for (unsigned k = 0; k < COP_MEMORY_KINDS; k++)
            if (stats->bytes_by_kind[k] < below &&
                (most == COP_MEMORY_KINDS || stats->bytes_by_kind[k] > stats->bytes_by_kind[most]))
                most = k;
        if (most == COP_MEMORY_KINDS || stats->bytes_by_kind[most] == 0)
            return;
        below = stats->bytes_by_kind[most];
        add(to, "%s %s %.1f", told == 0 ? ":" : ",", cop_memory_kind_name((cop_memory_kind)most),
            (double)below / MIB);
    }
}

static void
add_old(line *to, const cop_stats *stats)
{
    if (stats->oldest_held_version >= stats->version)
        return;
    add(to, "; %llu pages and %llu values are kept for old versions or not freed yet",
        (unsigned long long)stats->pages_dead, (unsigned long long)stats->values_dead);
    add(to, ", the oldest held is %llu, %.1f s old", (unsigned long long)stats->oldest_held_version,
        (double)stats->oldest_held_age / 1000);
    if (stats->history_versions > 0)
        add(to, ", %llu in the history", (unsigned long long)stats->history_versions);
}

cop_status
cop_memory_explain(cop_store *store, char *buffer, size_t capacity, size_t *length)
{
    cop_stats stats = COP_STATS_INIT;
    line to = {.used = 0};
    cop_status status = cop_stats_take(store, &stats);
    *length = 0;
    if (status != COP_OK)
        return status;
    add(&to, "%.1f of %.1f MiB held", (double)stats.bytes_held / MIB,
        (double)stats.bytes_limit / MIB);
    add_kinds(&to, &stats);
    add_old(&to, &stats);
    *length = to.used;
    if (capacity > 0)
        (void)snprintf(buffer, capacity, "%s", to.text);
    return to.used < capacity ? COP_OK : COP_E_RANGE;
}
