/* SPDX-License-Identifier: MIT */
/*
 * A history checker. Threads record what they did to a set of cells, each value written being
 * unlike any other; afterwards one pass over the versions and one over time decide whether all of
 * it can be explained by one order of versions.
 *
 * What is checked, in time linear in the number of records (plus merging the threads' clocks):
 *   1. a value read was written, by a transaction that committed;
 *   2. a read of version v sees the last value written to the cell at or before v. Of several
 *      writes to a cell in one version any may be the last, but all reads agree on which;
 *   3. a transaction that read a cell and committed in version v read what the cell held right
 *      before v: nothing came between, and it is the first to write the cell in v;
 *   4. an operation that began after another had ended has no smaller version, and a committed
 *      write a greater one.
 */
#ifndef COP_TESTS_STRESS_HISTORY_H
#define COP_TESTS_STRESS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum history_kind {
    HISTORY_READ,     /* value was read from cell in version, the newest one when it began */
    HISTORY_OLD_READ, /* as READ, in a version held since earlier: rule 4 is not for it */
    HISTORY_WRITE,    /* value was written to cell and committed in version */
    HISTORY_UPDATE,   /* as WRITE, after `seen` had been read by the same transaction */
} history_kind;

typedef struct history_record {
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t version;
    uint64_t value; /* unique among writes; 0: what the cell held at first */
    uint64_t seen;
    uint32_t cell;
    uint32_t kind;
} history_record;

/* One thread's records, in the order of their operations. */
typedef struct history_log {
    history_record *records;
    size_t count;
    size_t capacity;
} history_log;

bool history_log_init(history_log *log, size_t capacity);
void history_log_free(history_log *log);
/* False when the log is full. */
bool history_add(history_log *log, history_record record);

typedef struct history_verdict {
    uint64_t records;
    uint64_t versions;
    uint64_t unwritten;  /* broken rule 1 */
    uint64_t stale;      /* broken rule 2 */
    uint64_t lost;       /* broken rule 3 */
    uint64_t backwards;  /* broken rule 4 */
    char first[256];     /* the first fault in words */
} history_verdict;

/* False when out of memory. Versions must be dense enough for an array of the greatest. */
bool history_check(const history_log *logs, size_t threads, uint32_t cells,
                   history_verdict *verdict);

#endif
