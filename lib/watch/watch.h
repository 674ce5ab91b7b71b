/* SPDX-License-Identifier: MIT */
/*
 * Watchers: the room's inside.
 *
 * THE IDEA. There are no queues of changes. The room holds ONE version, the base; a watcher that is
 * CLEAN has nothing to be told up to the base and costs nothing. A PASS takes the newest version N,
 * walks the difference from the base to N once (tree/diff.h), and finds for each change the targets
 * that it concerns (index.c). Their watchers become DIRTY: they keep the old base as `from` until they
 * are told. Then N is the base. To TELL a dirty watcher is to list the difference from its `from` to
 * the base, as far as it concerns its target, and to say that all versions up to the base are told.
 *
 *   watcher   from   told   means
 *   clean     none   t      nothing of its target changed in versions (t, base]
 *   dirty     f      t      nothing of its target changed in (t, f], perhaps something in (f, base]
 *   gap       none   t      something changed in (t, base], nobody knows what
 *
 * WHY EACH CHANGE IS TOLD EXACTLY ONCE. All of this is under the room's lock. The base only moves to
 * newer versions, in passes; a pass makes each clean watcher dirty whose target changed between the two
 * bases, and with that keeps the table above true. Telling takes `from` and sets told = base in one
 * step, so the next change that is told is of a later version, and the interval told is (t, base]. A
 * list that turns out empty (a value came back) gives t back: the interval grows. Only one thread at a
 * time tells a watcher (`running`), so t is not given back behind a later telling.
 *
 * WHY NONE IS FORGOTTEN. A publication that comes after the first watcher was opened sets `asked`
 * after it; a pass clears `asked` before it takes the newest version. So when `asked` is clear, the
 * base is the newest version, or a pass that will make it so is under way, or a publisher is between
 * its two steps and will ask. Whoever must act on it, the pool, a poll, a sleeper or the committer,
 * is told after `asked` is set (cop__watch_signal). The commit path reads one flag, relaxed: the first
 * watcher sets it while it holds the commit right, so a later holder sees it, and what an earlier one
 * published is in the first base.
 *
 * PASSES are made by one thread at a time: `passing` is taken by a swap. Who finds it taken goes away
 * and leaves `asked` set: the holder looks at it again after it has given `passing` back. Both are
 * sequentially consistent, so one of the two sees the other.
 *
 * FRAMES are held versions, counted under the lock. One whose last reference goes is dropped after the
 * lock is given up, since dropping may commit and so come back here.
 *
 * MEMORY. What cannot be listed for want of memory is told as a gap. A pass without memory is not
 * made: the base stays, and a timer asks again.
 *
 * LOCKS. The room's lock is below none of the store's but taken with none held; snapshot_lock and that
 * of timers are taken below it. No user code runs under it, and no commit takes it (one in the place of
 * the pool, for watchers with descriptors, tries to).
 *
 *   list.c     lists of changes
 *   index.c    from a changed atom to the targets that it concerns
 *   pass.c     frames, passes, who is asked for them
 *   log.c      the changes of the last passes, for watchers that come back
 *   tell.c     when, and to whom
 *   watch.c    opening and closing
 *   give_way.c what goes when memory is short
 *   ask.c      cop_watch_next, descriptors, batches
 */
#ifndef COP_WATCH_WATCH_H
#define COP_WATCH_WATCH_H

#include <coppice/watch.h>

#include "base/timer_heap.h"
#include "store/store_internal.h"
#include "tree/diff.h"

/* ---- list.c ---- */

typedef struct cop__watch_entry {
    uint32_t id;
    uint16_t generation;
    uint8_t what; /* cop__difference */
    uint8_t anonymous;
    uint32_t text;   /* 1 + offset of its path in the list's text; 0: not there, or empty */
    uint32_t length; /* of its path */
} cop__watch_entry;

/* A pass lists no more than this for one target: what is more is listed when it is told. */
#define COP_WATCH_PASS_LIST ((size_t)1 << 16)

/* Changes in the order in which they are told. Immutable once it is shared; its own, needs no version. */
typedef struct cop__watch_list {
    cop__memory *memory;
    _Atomic uint32_t references;
    bool refused;   /* some are missing */
    bool unordered; /* one came before another that it follows */
    uint32_t last_key;
    cop__watch_entry *entry;
    size_t count, capacity;
    char *text;
    size_t text_used, text_capacity;
} cop__watch_list;

/* The path of an atom in a version. */
typedef struct cop__watch_path {
    const char *text; /* NULL: anonymous, or memory refused */
    size_t length;
    bool refused;
} cop__watch_path;

/* Where paths are put together. */
typedef struct cop__watch_scratch {
    cop__memory *memory;
    char *text;
    size_t capacity;
} cop__watch_scratch;

/* A change as it is found. */
typedef struct cop__watch_found {
    const cop_snapshot *root; /* in which the atom is */
    cop_atom atom;
    cop__difference what;
    cop__watch_path path;
} cop__watch_found;

/* One with one reference; NULL: refused. */
cop__watch_list *cop__watch_list_new(cop__memory *memory);
void cop__watch_list_drop(cop__watch_list *list);
/* with_path: its text too. Sets refused when it cannot. */
void cop__watch_list_add(cop__watch_list *list, const cop__watch_found *found, bool with_path);
/* Brings it into the order in which it is told. Sets refused when it cannot. */
void cop__watch_list_order(cop__watch_list *list);
/* The text stands in the scratch. */
cop__watch_path cop__watch_path_of(const cop_snapshot *root, cop_atom atom, cop__watch_scratch *scratch);
void cop__watch_scratch_end(cop__watch_scratch *scratch);
/* Grows a vector of a list or the like. */
bool cop__watch_grow(cop__memory *memory, void *vector, size_t *capacity, size_t need, size_t element);

typedef void (*cop__watch_find_function)(void *context, const cop__watch_found *found);
/* All changes between two versions. */
void cop__watch_find(cop__diff_pair pair, cop__watch_scratch *scratch,
                     cop__watch_find_function function, void *context);

/* ---- index.c ---- */

struct cop__watch_node;

/* What watchers of the same path, pattern or handle share. */
typedef struct cop__watch_target {
    struct cop__watch_node *node;    /* NULL: by handle */
    struct cop__watch_target *chain; /* of the handles' table */
    struct cop_watch *first;
    cop_atom atom;
    bool below; /* what is below it too */
    bool stars;
    bool touched; /* by the pass under way */
    size_t changes; /* that it found */
    struct cop__watch_target *touched_next;
    cop__watch_list *list; /* the changes between two versions; NULL: not known */
    uint64_t list_from, list_to;
    size_t dirty; /* watchers that may want it */
    uint32_t length;
    char text[]; /* the path or pattern */
} cop__watch_target;

typedef struct cop__watch_node {
    struct cop__watch_node *chain, *parent, *star;
    cop__watch_target *target[2]; /* itself; all below */
    uint32_t number, children, length;
    char segment[];
} cop__watch_node;

#define COP_WATCH_BUCKETS 64u

typedef struct cop__watch_index {
    cop__memory *memory;
    uint64_t seed;
    cop__watch_node *root;
    cop__watch_node **bucket; /* of children by parent and segment, stars among them */
    cop__watch_target **handle; /* by id */
    size_t buckets, nodes, handle_buckets, handles;
    size_t branches; /* handles with what is below */
    cop__watch_node **set; /* of matching */
    size_t set_capacity;
    uint32_t numbered;
} cop__watch_index;

void cop__watch_index_init(cop__watch_index *index, cop__memory *memory, uint64_t seed);
void cop__watch_index_end(cop__watch_index *index);
/* The target of a checked pattern, or of a handle (text NULL), made if need be; NULL: refused. */
cop__watch_target *cop__watch_target_at(cop__watch_index *index, const char *text, size_t length,
                                        bool below);
cop__watch_target *cop__watch_target_of(cop__watch_index *index, cop_atom atom, bool below);
/* Nobody watches it any more. */
void cop__watch_target_free(cop__watch_index *index, cop__watch_target *target);

typedef void (*cop__watch_match_function)(void *context, cop__watch_target *target);
/* The targets that a change concerns. */
void cop__watch_index_match(cop__watch_index *index, const cop__watch_found *found,
                            cop__watch_match_function function, void *context);
/* Whether it concerns this one. */
bool cop__watch_target_matches(const cop__watch_target *target, const cop__watch_found *found);

/* ---- the room ---- */

typedef struct cop__watch_frame {
    const cop_snapshot *snapshot;
    uint64_t version;
    uint32_t references; /* under the lock */
    struct cop__watch_frame *next; /* to be dropped */
} cop__watch_frame;

typedef struct cop__watch_segment { /* of the log: one pass */
    struct cop__watch_segment *next;
    uint64_t from, to;
    size_t bytes;
    size_t count, text_used;
    cop__watch_entry entry[]; /* then the text */
} cop__watch_segment;

typedef struct cop__watch_log {
    cop__watch_segment *oldest, *newest;
    size_t bytes, limit;
} cop__watch_log;

struct cop_watch {
    cop__timer timer; /* first; in room->waiting */
    cop_store *store;
    cop__watch_target *target;
    cop_watch *next, **reference; /* of the target */
    cop_watch *all_next, **all_reference;
    cop_watch *ready_next;
    cop_watch_function function;
    void *context;
    cop_destructor destroy;
    uint64_t min_interval_ns, max_delay_ns, bound;
    cop_watch_overflow overflow;
    bool close_at_once, scoped, weak;
    _Atomic uint32_t ended; /* futex: closed and no call under way */
    /* under the lock; queued: in the room's ready ones, which have a reference */
    bool closed, paused, running, queued, gap;
    uint32_t references; /* its owner's, and of each thread that is in a call */
    int fd;
    uint64_t armed_ns; /* when it is due, as the descriptor knows */
    uint64_t told;
    uint64_t noted;                  /* changes since `from` */
    uint64_t changed_ns, told_ns;    /* first change not told; last telling */
    cop__watch_frame *from;
    cop__watch_list *since;          /* to be told first: (told, since_to] */
    cop__watch_frame *since_to;
};

typedef struct cop__watch_room {
    cop_store *store;
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t asked; /* something was published after the base */
    _Atomic uint32_t stale;                          /* the last pass could not be made */
    _Atomic uint64_t asked_ns;                       /* when it was asked for first */
    _Atomic uint32_t passing;                        /* a committer makes passes */
    _Atomic uint32_t calling; /* functions that are being called */
    _Atomic uint32_t tasked; /* a task was submitted to the pool and has not begun */
    _Atomic uint32_t event;  /* futex of those in cop_watch_next */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t functions, descriptors; /* watchers with one */
    _Atomic uint64_t gather_ns;              /* the least max_delay_ns of all */
    cop__alarm timer;
    _Alignas(COP_CACHE_LINE) pthread_mutex_t lock;
    bool closing;
    cop__watch_frame *base; /* NULL: no watcher */
    cop__watch_frame *doomed;
    cop__watch_index index;
    cop__watch_target *touched;
    cop__watch_scratch scratch;
    cop__watch_log log;
    cop_watch *all;
    _Atomic uint64_t count, tellings; /* watchers, and what they were told; written under the lock */
    _Atomic uint64_t gaps;            /* that they did not ask for by a version that is not known */
    size_t gather_count; /* watchers of the least max_delay_ns */
    bool wake; /* a watcher that is asked for may be due */
    uint32_t at_once; /* descriptors of this pass that were due at once */
    uint64_t soon_ns; /* when those after the first one become readable */
    cop_watch *ready_first, *ready_last; /* functions to be called now */
    cop__timer *waiting;                 /* and later */
} cop__watch_room;

/* ---- pass.c ---- */

void cop__watch_lock(cop__watch_room *room);
/* Also drops the versions that nobody needs any more, wakes who waits in cop_watch_next, and asks for
 * whoever is to call functions. */
void cop__watch_unlock(cop__watch_room *room);
cop__watch_frame *cop__watch_frame_keep(cop__watch_frame *frame);
/* NULL is legal. */
void cop__watch_frame_drop(cop__watch_room *room, cop__watch_frame *frame);
/* The newest version, held. COP_E_MEMORY, or why it could not be had. */
cop_status cop__watch_frame_newest(cop__watch_room *room, cop__watch_frame **frame);
/* Makes the base the newest version. COP_OK, COP_E_MEMORY, or why the version could not be had. Needs the
 * lock. */
cop_status cop__watch_pass(cop__watch_room *room);
/* The first base. Needs the lock and the right. */
bool cop__watch_base_first(cop__watch_room *room);
/* When the next pass is due: COP_TIMER_NEVER when nothing was published. */
uint64_t cop__watch_pass_due(cop__watch_room *room);
/* The end of the step of a grid that t is in; t itself when step is 0. */
uint64_t cop__watch_grid(uint64_t t, uint64_t step);

/* ---- log.c ---- */

void cop__watch_log_add(cop__watch_room *room, const cop__watch_list *list, uint64_t from, uint64_t to);
void cop__watch_log_end(cop__watch_room *room);
/* What changed of a target since a version, up to the base; NULL: not known, or no memory. */
cop__watch_list *cop__watch_log_since(cop__watch_room *room, const cop__watch_target *target,
                                      uint64_t version);

/* ---- tell.c ---- */

/* The changes between two held versions, in order, as far as they concern a target, NULL: all of them.
 * NULL: no memory. */
cop__watch_list *cop__watch_list_between(cop__memory *memory, cop__diff_pair pair,
                                         const cop__watch_target *target);

/* Need the lock: */

/* When it is to be told: COP_TIMER_NEVER when there is nothing, or it may not be told now. */
uint64_t cop__watch_due(const cop_watch *watch);
/* Something changed: when it is due may be another time now. */
void cop__watch_schedule(cop__watch_room *room, cop_watch *watch);
/* It has become dirty, from this frame on. */
void cop__watch_mark(cop__watch_room *room, cop_watch *watch, cop__watch_frame *base, size_t changes);
/* What it was to be told goes. */
void cop__watch_forget(cop__watch_room *room, cop_watch *watch);
/* One watcher less. After the last one nobody is told any more, and no version is held. */
void cop__watch_room_leave(cop__watch_room *room);
/* Closed, and in no call: it leaves the room. */
void cop__watch_detach(cop__watch_room *room, cop_watch *watch);

/* What is taken to be told. */
typedef struct cop__watch_telling {
    cop_watch *watch;
    cop__watch_list *list; /* NULL: not made yet */
    cop__watch_frame *from, *to;
    uint64_t told, told_ns; /* as they were */
    bool gap;
} cop__watch_telling;

/* Takes all that is to be told to a watcher that is due: it is running now. Needs the lock. */
void cop__watch_take(cop__watch_room *room, cop_watch *watch, cop__watch_telling *telling);

/* Without the lock: */

/* Fills in the batch; false: there is nothing to tell, and the batch is zeroed. */
bool cop__watch_fill(cop__watch_room *room, cop__watch_telling *telling, cop_watch_batch *batch);
/* The watcher runs no more. */
void cop__watch_told(cop__watch_room *room, cop__watch_telling *telling, bool told);
/* The room is closing: nothing in the ready queue is served any more. */
void cop__watch_ready_end(cop__watch_room *room);
/* Whoever serves is asked to come. */
void cop__watch_ask(cop__watch_room *room);
/* Whether the calling thread is in this watcher's function. */
bool cop__watch_is_here(const cop_watch *watch);
/* The timer has come. */
void cop__watch_timer(void *room);
/* Ends a reference; the last one runs its destructor and frees it, and the room may go with it. */
void cop__watch_unref(cop__watch_room *room, cop_watch *watch);

#endif
