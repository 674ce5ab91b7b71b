/* SPDX-License-Identifier: MIT */
/*
 * A load for a store with a ceiling: writers at full speed that know what they were promised.
 *
 * Each writer owns some of the atoms and remembers, for each, the last value that was accepted, or
 * that it was erased; and how much it was allowed to add to a counter that all share. What the
 * store holds afterwards is compared with that: a transaction that was accepted and lost is seen,
 * and so is one that was refused and has an effect all the same.
 *
 * Three quarters of the transactions update 1 to 4 atoms, one in four erases or creates one, so
 * that the live size stays what it was; one in four of all is submitted and told by a ticket.
 */
#ifndef COPPICE_BENCH_MEMORY_LOAD_H
#define COPPICE_BENCH_MEMORY_LOAD_H

#include <pthread.h>
#include <stdatomic.h>

#include <coppice/coppice.h>

enum { MEMORY_WRITERS = 8, MEMORY_ABSENT = 64, MEMORY_TICKETS = 16, MEMORY_EFFECTS = 4 };
enum { MEMORY_MESSAGES = 6, MEMORY_VALUE_BYTES = 4096, MEMORY_GROUP = 64 };

typedef struct memory_settings {
    uint64_t limit;      /* memory.limit_bytes */
    uint64_t live_bytes; /* filled until so many are counted, or */
    uint32_t atoms;      /* so many atoms are there; the tables have room for as many */
    unsigned writers;
    bool wait;               /* memory.on_limit=wait */
    uint32_t max_age_ms;     /* snapshots.max_age_ms */
    bool no_clock;           /* batch.window_ms=0: nothing is gathered for a time */
    cop_allocator allocator; /* zeroed: libc */
} memory_settings;

/* An atom as its writer was promised it. */
typedef struct memory_cell {
    cop_atom atom;
    uint32_t stamp; /* of the transaction that wrote it last */
    bool present;
    bool busy; /* a transaction that is not decided creates or erases it */
} memory_cell;

typedef struct memory_effect {
    enum { MEMORY_SET, MEMORY_CREATE, MEMORY_ERASE } kind;
    uint32_t cell;
    cop_atom atom; /* MEMORY_CREATE: provisional until it is accepted */
} memory_effect;

/* A transaction that is not decided. */
typedef struct memory_change {
    cop_ticket *ticket;
    uint32_t stamp;
    int64_t added; /* to the counter */
    unsigned effects;
    memory_effect effect[MEMORY_EFFECTS];
} memory_change;

/* What a call that was refused said, and how often. */
typedef struct memory_message {
    char text[128];
    uint64_t times;
} memory_message;

typedef struct memory_writer {
    struct memory_load *load;
    pthread_t thread;
    unsigned number;
    uint64_t random;
    memory_cell *cells;
    cop_atom *groups;
    cop_atom branch;
    uint32_t count; /* of cells in use */
    uint32_t absent[MEMORY_ABSENT], absents, erasing;
    uint32_t stamp, serial;
    int64_t added;
    memory_change pending[MEMORY_TICKETS];
    unsigned first_pending, pendings;
    memory_message message[MEMORY_MESSAGES];
    _Alignas(64) _Atomic uint64_t accepted, refused, refused_erasures, failed, longest_ns;
    unsigned char bytes[MEMORY_VALUE_BYTES];
} memory_writer;

typedef struct memory_load {
    cop_store *store;
    memory_settings settings;
    cop_atom counter;
    atomic_bool over;
    size_t tables_bytes;
    memory_writer writer[MEMORY_WRITERS];
} memory_load;

/* What all writers did until now. */
typedef struct memory_totals {
    uint64_t accepted, refused, refused_erasures, failed, longest_ns;
} memory_totals;

/* What became of what was accepted. */
typedef struct memory_verdict {
    uint64_t compared, wrong;
    int64_t counter, added; /* what it says, what was accepted */
    char first[128];        /* what is wrong with the first */
} memory_verdict;

/* How long the value of an atom is; 0: a number. */
size_t memory_cell_bytes(uint32_t cell);

/* The writers' tables, mapped and touched, so that they count in what the process has before the
 * store is opened. False: no memory. */
bool memory_load_prepare(memory_load *load, const memory_settings *settings);
/* Opens the store and fills it. Ends early, and says COP_OK, where it is refused memory. */
cop_status memory_load_open(memory_load *load);
/* The writers run, on a thread each, until they are stopped and all is decided. */
cop_status memory_load_start(memory_load *load);
void memory_load_stop(memory_load *load);
/* One writer's transactions on the calling thread, n of them. */
void memory_load_run(memory_load *load, uint64_t n);
/* Sets every atom once, a few in a transaction: nothing of the tree before is left in the newest.
 */
cop_status memory_load_rewrite(memory_load *load);

memory_totals memory_load_totals(memory_load *load);
/* The messages of all writers, those said most often first; how many there are. */
unsigned memory_load_messages(const memory_load *load, memory_message *messages, unsigned most);
/* Compares what a version says with what was accepted. With all writers stopped, on the newest. */
memory_verdict memory_load_verify(const memory_load *load, const cop_snapshot *snapshot);
/* Atoms that must be there, their branches with them. */
uint64_t memory_load_atoms(const memory_load *load);
/* Closes the store and frees the tables. */
void memory_load_close(memory_load *load);

#endif
