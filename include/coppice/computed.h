/* SPDX-License-Identifier: MIT */
/*
 * Computed atoms: atoms whose value is a pure function of other atoms, brought up to date within the
 * commit that changes what they read, so that every version holds them together (eager), on the
 * first read (lazy), or after publication (background).
 *
 * A function finds its dependencies by reading; they may change freely from run to run, and may be
 * atoms that do not exist yet. It must be PURE: its result depends on nothing but what it reads and
 * an immutable context. It may be called from any thread of the store's pool, several functions at
 * the same time but one function of one atom never twice at once (of a lazy one: for one version).
 * It may be called more often than its atom changes: a run that reads something not ready yet is
 * discarded and repeated after it.
 *
 * Inside an evaluation only the cop_read family, cop_emit, cop_scratch, cop_fail and pure helpers
 * are allowed; every call on the store answers COP_E_IN_EVALUATION, cop_computed_dispose excepted. (A pin
 * is not refused, since asking would cost every pin. What is read through one is another version, and no
 * dependency: not to be done.)
 *
 * ERRORS. A function that returns a negative status makes its atom an error value: with the message
 * of cop_fail, else of the error value that it read, else of the status. Error values are cached
 * like others and go away when an input changes. A dependency that holds an error value reads as
 * COP_OK with that value from cop_read; the typed reads answer COP_E_FAILED for it. A result for which
 * there is no memory (or a function that returns COP_E_MEMORY because cop_scratch had none) is the error value
 * "no memory"; the rest of the commit is published, and every later commit tries again until it fits. Nodes that read
 * each other in a cycle become error values that name it, until an input breaks the cycle.
 *
 * BRANCHES. A computed with options.branch set is an object; its children are what its last run said
 * with cop_emit, in the same version, and whatever that run did not emit is erased. A child that stays
 * keeps its handle, and runs and tells nobody unless its value changed. Others may read in the branch,
 * by handle, path or listing, as anywhere else; writing or erasing in it is COP_E_COMPUTED. When the
 * function fails, the atom itself becomes the error value, without children; it is an object again
 * once the function succeeds, and its children are new atoms then. (So a function that must not lose
 * its readers' handles emits error values for single children, and succeeds.) An owner in a cycle
 * that has children stays an object, and they hold the error.
 *
 * LAZY atoms (COP_LAZY) cost commits nothing until they are read. The first read of one in a version
 * (cop_get, cop_get_many, cop_get_at, the typed getters, cop_txn_get, a read by an effect or another
 * lazy atom) runs the function on that version, on the reader's thread; others who read it there
 * meanwhile wait for it. The result is remembered, and serves every version in which what it read is
 * the same; old ones are forgotten when memory for them runs short. Such a read may also answer
 * COP_E_MEMORY, or COP_E_IN_EVALUATION when a lazy function makes it past its evaluation. Listings
 * (cop_each, cursors, cop_scan) give COP_NONE as a lazy atom's value, JSON leaves it out unless told
 * (cop_json_write_options.lazy), and cop_changed of a branch does not count it. An eager function that
 * reads a lazy atom makes it eager, for good. In a transaction its value is not compared at commit, since
 * no function may run there: all that it rests on is; cop_txn_require_value never holds for it.
 *
 * BACKGROUND atoms (COP_BACKGROUND) are run by whoever runs effects: a worker of the store's pool,
 * else cop_effects_run(store, NULL, ...), cop_effects_settle or cop_store_poll; cop_store_fd says when.
 * The function sees the newest version then; its result enters a later version, by a commit that alone
 * may write the atom, and cop_computed_origin tells which version it came from. Versions may be passed
 * over, the last never is. Until the first result the atom is null. A result of inputs that have
 * changed since is published all the same, and the function runs again. One call serves at most 64
 * results an atom, so that atoms that feed each other do not keep it for ever.
 *
 * COP_E_PENDING and COP_E_CYCLE from a read must be handed on: return them. Once a read has answered
 * one of them, all later reads of that run answer the same and its result is not used.
 */
#ifndef COPPICE_COMPUTED_H
#define COPPICE_COMPUTED_H

#include <coppice/snapshot.h>
#include <coppice/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_scope cop_scope;

/*
 * What a running function reads through. Its inside is the library's; the two members stand here
 * only so that cop_read compiles to a compare and two loads, and are not to be used otherwise.
 */
typedef struct cop_evaluation {
    const uint64_t *cursor_;
    const char *table_;
} cop_evaluation;

/* Fills in *result, which begins as null. A text in it must live until the function is called again
 * or the evaluation ends: static storage, the context, a value just read, or cop_scratch. */
typedef cop_status (*cop_computed_function)(cop_evaluation *evaluation, void *context,
                                            cop_value *result);

/* True when a new value is to count as no change. Pure; called like the function. */
typedef bool (*cop_equal_function)(void *context, const cop_value *before, const cop_value *now);

typedef enum cop_computed_kind {
    COP_EAGER,     /* part of every version */
    COP_LAZY,      /* run by the first read of a version that needs it */
    COP_BACKGROUND /* run after publication; its result enters a later version */
} cop_computed_kind;

typedef struct cop_computed_options {
    size_t size; /* sizeof(cop_computed_options) as the caller compiled it */
    cop_computed_kind kind;
    bool branch;              /* owns a branch: the function emits children. Eager, with a path */
    cop_equal_function equal; /* NULL: cop_value_equal. Asked for each child of a branch */
    const char *label;        /* for explanations; copied; NULL: none */
    cop_destructor destroy;   /* runs once on the context, when no evaluation can use it any more */
    cop_scope *scope;         /* disposed with it (effect.h); NULL: none */
} cop_computed_options;

#define COP_COMPUTED_OPTIONS_INIT {sizeof(cop_computed_options), COP_EAGER, false, NULL, NULL, NULL, NULL}

/*
 * Defines a computed atom in a commit of its own, evaluated before this returns (eager). path NULL:
 * anonymous. options NULL: eager. A path that holds an atom already is COP_E_STATE, so is a scope that is
 * disposed. On failure nothing is defined and destroy is not called. COP_E_PATH, COP_E_LIMIT, COP_E_NOT_BRANCH,
 * COP_E_STATE, COP_E_INVALID, COP_E_MEMORY, COP_E_CLOSING, COP_E_IN_EVALUATION. Thread-safe,
 * blocking.
 */
COP_PUBLIC cop_status cop_computed_define(cop_store *store, const char *path, size_t length,
                                          cop_computed_function function, void *context,
                                          const cop_computed_options *options, cop_atom *atom,
                                          cop_error *error);

/* The same as an operation of a transaction. *atom (may be NULL) is written when the operation is
 * applied, BEFORE the functions of the batch run for the first time, so a context may hold it. It
 * must stay writable until the transaction is decided. At once: COP_E_PATH, COP_E_LIMIT, COP_E_INVALID,
 * COP_E_MEMORY, COP_E_STATE (the scope is disposed); at commit: COP_E_STATE (the path holds an atom, or
 * the scope was disposed of meanwhile), COP_E_NOT_BRANCH, COP_E_COMPUTED. One thread, as all of txn.h. */
COP_PUBLIC cop_status cop_txn_define(cop_txn *txn, const char *path, size_t length,
                                     cop_computed_function function, void *context,
                                     const cop_computed_options *options, cop_atom *atom,
                                     cop_error *error);

/*
 * The version that the value of a computed atom came from: this snapshot's own for eager and lazy ones,
 * for a background one the version that its function saw, 0 while there has been no result (the value is
 * then null). A result equal to the one before it makes no version, and leaves this as it was.
 * COP_E_GONE, COP_E_STATE (not computed), COP_E_FORKED. Thread-safe; a short lock. O(1).
 */
COP_PUBLIC cop_status cop_computed_origin(const cop_snapshot *snapshot, cop_atom atom,
                                          uint64_t *version);

/* Erases the atom (and the branch it owns) and ends its function: what read it reads "gone". Legal at
 * any time from any thread, inside its own function too: then it takes effect in the commit that follows
 * the wave or, of a lazy or background one, its read, which that thread does at once unless another one
 * is committing, and then that one does. Idempotent. Erasing the atom in a transaction does the same. COP_E_MEMORY,
 * COP_E_CLOSING, COP_E_COMPUTED (a child of a branch that another one owns). Lock-free inside an
 * evaluation, else blocking. */
COP_PUBLIC cop_status cop_computed_dispose(cop_store *store, cop_atom atom);

/*
 * ---- inside an evaluation ----
 *
 * Only by the function that was given the evaluation, on the thread that it was called on, before it
 * returns. Nothing here waits for another thread, but for one that evaluates the same lazy atom. O(1) unless it says otherwise; the first read that differs
 * from last time's costs an entry of a list and, once the function has ended, an edge of the graph. A
 * function that reads by path or lists children is from then on run by the committing thread only: where
 * wide levels are to be shared with a pool, find handles beforehand and read those. Every
 * read may also answer COP_E_PENDING and COP_E_CYCLE: hand on; and COP_E_MEMORY.
 */

/* How values lie in memory, for the inline reads below; the library asserts that it is so. */
#define COP_READ_ATOMS_ 32u                        /* a page, and the bytes of its table entry */
#define COP_READ_VALUE_ UINT64_C(0xffffffff0000ff0f) /* of a slot's first word: the value's */
#define COP_READ_TYPE_ UINT64_C(15)

COP_PUBLIC cop_status cop_read_slow_(cop_evaluation *evaluation, cop_atom atom, cop_value *value);

/* If this atom is what last time's run read here: its slot. */
static inline bool
cop_read_next_(cop_evaluation *evaluation, cop_atom atom, uint64_t word[2])
{
    const uint64_t *cursor = evaluation->cursor_;
    if (__builtin_expect(*cursor != ((uint64_t)atom.generation << 32 | atom.id), 0))
        return false;
    evaluation->cursor_ = cursor + 1;
    const void *entry = evaluation->table_ + (atom.id & ~(COP_READ_ATOMS_ - 1));
    const char *page = __atomic_load_n((char *const *)entry, __ATOMIC_ACQUIRE);
    memcpy(word, page + (size_t)(atom.id & (COP_READ_ATOMS_ - 1)) * 16, 16);
    return true;
}

/*
 * Reads an atom and remembers that this function depends on it. COP_OK; COP_E_GONE (no such atom,
 * remembered too); COP_E_PENDING, COP_E_CYCLE: hand it on. Text in *value lives until the function
 * returns. A branch reads as COP_OBJECT or COP_ARRAY. Cost: a compare and two loads while a function
 * reads the same atoms as last time, in the same order.
 */
static inline cop_status
cop_read(cop_evaluation *evaluation, cop_atom atom, cop_value *value)
{
    uint64_t word[2];
    if (__builtin_expect(!cop_read_next_(evaluation, atom, word), 0))
        return cop_read_slow_(evaluation, atom, value);
    word[0] &= COP_READ_VALUE_;
    memcpy(value, word, sizeof word);
    return COP_OK;
}

/* Reads without depending: a change of this atom does not run the function again. Answers as cop_read. */
COP_PUBLIC cop_status cop_read_untracked(cop_evaluation *evaluation, cop_atom atom,
                                         cop_value *value);

/* By path from the root: depends on what the path leads to as well as on its value. COP_E_ABSENT
 * while there is nothing (the function runs again once there is), COP_E_PATH, COP_E_LIMIT. */
COP_PUBLIC cop_status cop_read_at(cop_evaluation *evaluation, const char *path, size_t length,
                                  cop_value *value);
/* Only what the path leads to; the same errors. */
COP_PUBLIC cop_status cop_read_find(cop_evaluation *evaluation, const char *path, size_t length,
                                    cop_atom *atom);

/* The children of a branch in order; depends on the list of children and on each value it passes.
 * COP_E_GONE, COP_E_NOT_BRANCH, COP_E_FAILED (an error value: its owner failed), COP_E_PENDING,
 * COP_E_CYCLE (hand on). O(children). */
COP_PUBLIC cop_status cop_read_each(cop_evaluation *evaluation, cop_atom branch,
                                    cop_each_function function, void *context, int *stopped);
/* Number of children; depends on the list only. Errors as cop_read_each. */
COP_PUBLIC cop_status cop_read_count(cop_evaluation *evaluation, cop_atom branch, uint32_t *count);

/* Typed: COP_E_TYPE for another type, COP_E_FAILED for an error value. _f64 accepts an i64. By path:
 * cop_read_find first. */
COP_PUBLIC cop_status cop_read_typed_(cop_evaluation *evaluation, cop_atom atom, cop_type wanted,
                                      const uint64_t *word, uint64_t *payload);

static inline cop_status
cop_read_payload_(cop_evaluation *evaluation, cop_atom atom, cop_type wanted, uint64_t *payload)
{
    uint64_t word[2], slow;
    bool next = cop_read_next_(evaluation, atom, word);
    if (__builtin_expect(next && (word[0] & COP_READ_TYPE_) == (uint64_t)wanted, 1)) {
        *payload = word[1];
        return COP_OK;
    }
    cop_status status = cop_read_typed_(evaluation, atom, wanted, next ? word : NULL, &slow);
    *payload = slow;
    return status;
}

static inline cop_status
cop_read_i64(cop_evaluation *evaluation, cop_atom atom, int64_t *out)
{
    uint64_t payload;
    cop_status status = cop_read_payload_(evaluation, atom, COP_I64, &payload);
    *out = (int64_t)payload;
    return status;
}

static inline cop_status
cop_read_f64(cop_evaluation *evaluation, cop_atom atom, double *out)
{
    uint64_t payload;
    cop_status status = cop_read_payload_(evaluation, atom, COP_F64, &payload);
    memcpy(out, &payload, sizeof payload);
    return status;
}

static inline cop_status
cop_read_bool(cop_evaluation *evaluation, cop_atom atom, bool *out)
{
    uint64_t payload;
    cop_status status = cop_read_payload_(evaluation, atom, COP_BOOL, &payload);
    *out = payload != 0;
    return status;
}

/*
 * A child of the branch that this computed owns, by its path relative to the branch; missing objects
 * on the way are made. What is not emitted by a run is erased after it; order of first emission is
 * the order of children. Path and value are copied. cop_object() makes an empty object, whose children
 * may be emitted before or after; a number that is not finite becomes an error value. *result counts
 * only when it is an error value: then the run has failed.
 *
 * The same path twice, below a path emitted as a value, or a value above one: COP_E_INVALID, and
 * nothing is emitted by this call. COP_E_STATE when the computed owns no branch. COP_E_UNSUPPORTED for
 * an array. COP_E_PATH (the empty path too); COP_E_LIMIT (the whole path would be too long);
 * COP_E_PENDING, COP_E_CYCLE, COP_E_MEMORY: hand on.
 *
 * A run costs O(what it emits); the version, O(what differs from the run before). Children in another
 * order count as different, but only those outside of a longest run that kept its order.
 */
COP_PUBLIC cop_status cop_emit(cop_evaluation *evaluation, const char *path, size_t length,
                               const cop_value *value);

/* Memory that lives until the function's result has been taken, aligned for anything; NULL when there is
 * none: return COP_E_MEMORY. A malloc each. */
COP_PUBLIC void *cop_scratch(cop_evaluation *evaluation, size_t size);

/* The message of this run's error value, cut off where it is too long for one; returns COP_E_FAILED (or
 * COP_E_MEMORY), to be returned by the function. */
COP_PUBLIC cop_status cop_fail(cop_evaluation *evaluation, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
