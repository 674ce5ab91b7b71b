/* SPDX-License-Identifier: MIT */
/*
 * Lazy atoms: evaluated by the first read of a version that needs them, and remembered beside the tree.
 * Background atoms share their records and their evaluation; what is theirs alone is in
 * commit/background.c.
 *
 * A RECORD is made with the atom and belongs to all threads. A lazy slot leads to it, so that a reader
 * finds it from the version that it holds, without a table and without asking anyone. Nothing else of
 * the graph is touched by readers: not the nodes, not the arena.
 *
 * A MEMO is one value of a record with what each of its inputs held. It is valid at the publications
 * (stamps) at which it was made or compared; a read at another one compares the inputs in that version,
 * and on success notes that stamp too. Stamps that adjoin make a span. Two stamps with something in
 * between do NOT: an input may have gone and come back. An input is compared by its slot's two words;
 * a long text by its length and a seeded hash of 128 bits (its address may have been another text's,
 * and the birth stamp of its block is the committer's: it links the dead); a list of children by the
 * version in which it last changed; a path by the atom that it leads to; a lazy atom by the serial of
 * its memo, which equal values share.
 *
 * LIFE OF A RECORD: as that of a page. Born at stamp b, its atom erased at d, it can be reached from a
 * publication v exactly when b <= v < d; who reads it holds such a v. The scan that finds out what is
 * held (reclaim/reader.c) frees it when nothing held lies there. The argument is that of pin.h, 10: what
 * such a scan did not report nobody holds or will.
 *
 * LIFE OF A MEMO. One whose value is no text is copied out under the lock or by the sequence count, and
 * may be freed whenever the list alone refers to it. A text is handed out by its address and must live
 * as long as the version that it was read from is held. So it is freed only by a scan, and only when
 * neither the current publication nor one that is held lies between the lowest and the highest stamp at
 * which it was ever valid. A reader that the scan does not report pinned after its beginning, and thus
 * the current publication, which does not change during a scan; one that it reports has its stamp in
 * the memo's range before it is given the address. Both keep the memo.
 *
 * ONE RUNNER. Who needs a record at a stamp at which no memo is valid enters a frame in the record's
 * list of running ones; others wait for the record's event count. Waiting in a circle is looked for
 * before each wait, under the lock of the whole: who would close it does not wait, but runs the function
 * a second time, and so has the whole circle on its own stack, where it becomes an error.
 *
 *   may run at the same time     read ready   evaluate      define, erase      scan
 *   read ready                   yes          yes           yes                yes
 *   evaluate                     yes          record lock   yes                record lock
 *   define, erase                yes          yes           commit right       commit right
 *   scan                         yes          record lock   commit right       commit right
 *
 * LOCKS. lazies.lock before a record's lock; neither is held while a function runs. PROGRESS. Reading what one of the two newest memos has: no lock, no shared line written (but a
 * mark, once). Any other read of a ready value: a short lock. The first read: as long as the function.
 */
#ifndef COP_GRAPH_LAZY_H
#define COP_GRAPH_LAZY_H

#include <pthread.h>

#include "graph/graph.h"

#define COP_LAZY_MEMOS 4u  /* a record, texts that may be in use not counted */
#define COP_LAZY_FRONTS 2u
#define COP_MEMO_SPANS 4u
#define COP_LAZY_SHARE 8u  /* of memory.limit_bytes: what memos may take before old ones go */

/* One thing that a run read, and what it held. Of a path: word[0] the atom that it led to (0: none),
 * word[1] where it stands in the memo's texts, more its length. */
typedef struct cop__input {
    uint64_t what; /* COP_DEPENDS_..., and the atom */
    uint64_t word[2];
    uint64_t more;
} cop__input;

typedef struct cop__span {
    uint64_t from, to; /* stamps */
} cop__span;

typedef struct cop__memo {
    struct cop__memo *next; /* most recently used first */
    size_t bytes;
    uint64_t serial;
    uint64_t low, high; /* all stamps at which it was ever valid lie between */
    cop__span span[COP_MEMO_SPANS];
    uint32_t spans, last_span;
    uint32_t references; /* the list's, and those of runs under way */
    bool circle;         /* holds at its own stamp only */
    cop_value value;
    uint64_t inputs;
    cop__input input[]; /* then the texts of paths, then the value's */
} cop__memo;

/* The texts of the paths behind a memo's inputs. */
static inline const char *
cop__memo_texts(const cop__memo *memo)
{
    return (const char *)&memo->input[memo->inputs];
}

static inline cop_atom
cop__input_atom(uint64_t what)
{
    what &= ~COP_DEPENDS_WHAT;
    return (cop_atom){(uint32_t)what, (uint32_t)(what >> 32)};
}

/* What a reader without the lock looks at. */
typedef struct cop__front {
    _Atomic uint64_t from, to, head, tail;
    _Atomic(cop__memo *) memo;
} cop__front;

struct cop__frame;

typedef struct cop__origin {
    uint64_t stamp, version;
} cop__origin;

typedef struct cop__lazy {
    cop__lazy_head head; /* first: slots lead here */
    cop__graph *graph;
    cop_computed_function function;
    void *context;
    cop_equal_function equal;
    cop__side *side; /* destructor and label, run and freed with the record */
    cop_atom atom;
    uint8_t kind;
    uint64_t birth, death; /* death under lazies.lock; UINT64_MAX: alive */

    _Atomic uint32_t sequence; /* of the fronts; odd: being written */
    _Atomic bool used;         /* since the clock's hand last passed */
    cop__front front[COP_LAZY_FRONTS];

    /* under the lock */
    pthread_mutex_t lock;
    cop__memo *memos;
    struct cop__frame *running;
    uint32_t memo_count, next_front;
    bool listed; /* in the ring, or on its way there */
    struct cop__look *look; /* changed with the commit right too */
    _Atomic bool looked_at;
    _Atomic uint32_t events, sleepers;

    /* under lazies.lock */
    struct cop__lazy *ring_next, *ring_previous;
    struct cop__lazy *crowded_next;
    bool in_ring, crowded;
    struct cop__lazy *all_next, *all_previous; /* of background ones */

    /* of a background one, under lazies.lock */
    bool busy;
    uint64_t looked; /* the stamp that it was last brought up to */
    uint64_t serial; /* of the memo that was last published, 0: none yet */
    cop__origin *origins; /* ascending by stamp */
    size_t origin_count, origin_capacity;
} cop__lazy;

/* Of a graph. */
typedef struct cop__lazies {
    pthread_mutex_t lock;
    cop__map of; /* written by the holder of the right, under the lock; by handle */
    cop__lazy **item; /* number 0 is none */
    size_t item_capacity;
    uint32_t item_count;
    cop__list32 free_items;
    cop__lazy *hand;       /* of the ring of those with memos */
    cop__lazy *crowded;    /* with more memos than they should have */
    cop__lazy *background; /* all alive */
    cop__lazy *next_background;
    /* the holder of the right's */
    cop__list32 fresh;  /* made by this draft */
    cop__list32 dying;  /* erased by this draft */
    cop__list32 gone;   /* erased; some version may still have them */
    cop__list32 told;   /* whose origin this draft changed */
    uint32_t live;      /* records there are */
    bool scan_due;
    _Atomic uint64_t bytes; /* of memos */
    _Atomic uint64_t serials;
    _Atomic uint32_t backgrounds; /* alive */
    _Atomic uint32_t asked; /* somebody is on the way to serve background atoms */
    bool (*ask)(void *context); /* after a publication; false: nobody comes. NULL: nobody to ask */
    void *ask_context;
} cop__lazies;

/* False: out of memory. */
bool cop__lazies_init(cop__graph *graph);
/* Nobody reads any more. Destructors are left in graph->dead. */
void cop__lazies_end(cop__graph *graph);

/* ---- by the holder of the commit right ---- */

/* Whether there are records, of atoms that are alive or of those that some version may still have. */
static inline bool
cop__lazies_any(const cop__graph *graph)
{
    return graph->lazies->live > 0;
}

/* Makes the record of an atom that this draft made; a lazy one's slot leads to it from now on. */
bool cop__lazy_define(cop__graph *graph, const cop__definition *definition, cop_atom atom,
                      cop__slot *slot);
/* Before the wave: finds out which records go with this draft. */
void cop__lazies_batch(cop__graph *graph);
void cop__lazies_abandon(cop__graph *graph);
void cop__lazies_published(cop__graph *graph);
/* A scan found these stamps held (ascending), and the current one. Frees what nobody can reach. */
void cop__lazies_scanned(cop__graph *graph, const uint64_t *stamps, size_t n, uint64_t current);
/* A record went with this publication: a scan is worth its barrier, whatever else died. */
bool cop__lazies_scan_due(cop__graph *graph);
/* An eager function read it: it gets a node. The node's number; 0: out of memory. */
uint32_t cop__lazy_promote(cop__graph *graph, uint32_t id);
/* A result of a background atom enters the draft: the version that it came from. *first: it has had
 * none. False: out of memory. */
bool cop__lazy_origin_add(cop__graph *graph, cop__lazy *lazy, uint64_t version, bool *first);
/* The record of an atom, NULL when there is none. */
cop__lazy *cop__lazy_of(cop__graph *graph, cop_atom atom);

/* ---- by any thread that holds the version ---- */

/* cop__lazy_head.get */
cop_status cop__lazy_get(cop__lazy_head *head, const cop_snapshot *snapshot, cop_value *value,
                         const cop_value **kept);
/* The version that a background atom's value in this version came from, 0: it has had none yet. False:
 * it is no background atom. */
bool cop__lazy_origin(cop__graph *graph, const cop_snapshot *snapshot, cop_atom atom,
                      uint64_t *version);
/* Calls back with all that a lazy atom's value in this version rests on, lazy atoms in between
 * replaced by what they rest on, until it answers something else than COP_OK: what is COP_DEPENDS_VALUE,
 * _LIST or _PATH. A thing may come more than once. */
typedef cop_status (*cop__input_function)(void *context, uint64_t what, cop_atom atom,
                                          const char *path, size_t length);
cop_status cop__lazy_each_input(cop__lazy_head *head, const cop_snapshot *snapshot,
                                cop__input_function function, void *context);

/* ---- memos (memo.c), under the record's lock ---- */

cop__memo *cop__memo_at(const cop__lazy *lazy, uint64_t stamp);
/* The memo is valid at this stamp too; it is the one used last. */
void cop__memo_use(cop__lazy *lazy, cop__memo *memo, uint64_t stamp);
/* Takes a new one in, and lets an old one go. */
void cop__memo_link(cop__lazy *lazy, cop__memo *memo, uint64_t stamp);
void cop__memo_free(cop__graph *graph, cop__memo *memo);
void cop__memos_end(cop__lazy *lazy);
/* Without locks: puts the record where the clock and the scan find it. */
void cop__lazy_list(cop__lazy *lazy, bool crowded);
/* Under lazies.lock: takes it out of the clock's ring. */
void cop__lazy_unlist(cop__lazies *all, cop__lazy *lazy);
/* A scan found these stamps held. True when one lies in from .. to. */
bool cop__held_between(const uint64_t *stamps, size_t n, uint64_t from, uint64_t to);
/* Frees texts that nobody can have. True when the record still has more memos than it should. */
bool cop__memos_thin(cop__lazy *lazy, const uint64_t *stamps, size_t n, uint64_t current);
/* Frees memos while there are more bytes than this. */
void cop__lazies_evict(cop__graph *graph, uint64_t most);
static inline uint64_t
cop__lazies_limit(const cop__graph *graph)
{
    return cop__load_relaxed(&graph->memory->limit) / COP_LAZY_SHARE;
}

/* Its atom has gone: nobody looks at it any more. */
void cop__lazy_look_gone(cop__lazy *lazy);
/* It has got a node: that is what is looked at from now on. */
void cop__lazy_look_promoted(cop__lazy *lazy, uint32_t node);

/* ---- evaluating (lazy_run.c) ---- */

/* Brings a record up to date in a version; the result is a memo with a reference of the caller's, or,
 * when memory to remember it was refused, NULL with a value that is no text. COP_E_MEMORY,
 * COP_E_IN_EVALUATION. */
cop_status cop__lazy_evaluate(cop__lazy *lazy, const cop_snapshot *snapshot, cop__memo **memo,
                              cop_value *plain);
void cop__memo_release(cop__lazy *lazy, cop__memo *memo);

/* What reads inside such a run do (lazy_read.c; evaluate.c sends them here). */
struct cop__session;
cop_status cop__session_read(struct cop__session *session, cop_atom atom, bool tracked,
                             cop_value *value);
cop_status cop__session_find(struct cop__session *session, const char *path, size_t length,
                             cop_atom *atom);
cop_status cop__session_list(struct cop__session *session, cop_atom branch, const cop__slot **slot);

#endif
