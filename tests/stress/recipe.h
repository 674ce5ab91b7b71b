/* SPDX-License-Identifier: MIT */
/*
 * Random functions for computed atoms, and an oracle that knows what they must give.
 *
 * A recipe is a short program: it reads (by handle, by path, lists, typed, untracked), folds what it
 * read into a number, and lets that number choose what else it reads, whether it fails and what it
 * gives. The library runs it through recipe_function; the oracle runs the same program over one
 * snapshot by plain recursion, with nothing of the library but reads of that snapshot, and so says
 * what every computed atom must hold in it.
 */
#ifndef COP_TESTS_STRESS_RECIPE_H
#define COP_TESTS_STRESS_RECIPE_H

#include <stdatomic.h>

#include <coppice/computed.h>
#include <coppice/coppice.h>

enum { RECIPE_STEPS = 10, RECIPES_MAX = 4096, RECIPE_BUCKETS = 1024 };

enum recipe_op {
    RECIPE_READ,      /* an atom */
    RECIPE_TYPED,     /* an atom, as i64, f64 or bool by `number` */
    RECIPE_AT,        /* a path */
    RECIPE_FIND,      /* what a path leads to */
    RECIPE_EACH,      /* the children of what a path leads to */
    RECIPE_COUNT,     /* their number */
    RECIPE_UNTRACKED, /* an atom, and untracked one that changes only with it */
    RECIPE_SKIP,      /* one step, depending on what was read */
    RECIPE_FAIL,      /* cop_fail; strict: and end */
    RECIPE_STATUS,    /* ends with a status */
    RECIPE_DISPOSE,   /* of the atom itself */
    RECIPE_REFUSED    /* a call that is not allowed */
};

enum recipe_result {
    RECIPE_SMALL, /* an integer below `range` */
    RECIPE_SUM,   /* of the integers that were read */
    RECIPE_F64,   /* sometimes not finite */
    RECIPE_BOOL,
    RECIPE_NULL,
    RECIPE_SHORT,
    RECIPE_LONG,  /* a string of some thousand bytes */
    RECIPE_BYTES,
    RECIPE_LAST,  /* what was read last */
    RECIPE_ERROR, /* an error value without failing */
    RECIPE_NOTHING /* what is no value */
};

struct recipe;
struct recipe_book;

typedef struct recipe_step {
    uint8_t op;
    bool strict; /* a read that fails ends the run */
    uint32_t number;
    cop_atom atom, other;
    const struct recipe *target; /* its atom instead of `atom` */
    const struct recipe *untracked; /* its atom instead of `other` */
    char path[24];
} recipe_step;

typedef struct recipe {
    struct recipe_book *book;
    uint32_t index; /* in the book */
    uint32_t rank;  /* it reads below its rank only, where circles are not wanted */
    cop_atom atom;  /* written by the library before the first run */
    char path[24];  /* "": anonymous */
    bool own_equality;
    bool stubborn; /* goes on after a read that is to be handed on */
    bool has_destructor;
    uint8_t result;
    uint32_t range;
    unsigned step_count;
    recipe_step step[RECIPE_STEPS];
    cop_atom noted; /* the handle under which it is in the book */
    uint64_t completed_in; /* the wave of the last completed run */
    _Atomic uint64_t calls;
    _Atomic uint32_t destroyed;
    _Atomic bool running, disposed;
} recipe;

typedef struct recipe_note {
    struct recipe_note *next, *next_of_all;
    uint64_t packed;
    recipe *what;
} recipe_note;

/* All recipes of one store. */
typedef struct recipe_book {
    cop_store *store;
    recipe *recipes[RECIPES_MAX];
    unsigned count;
    _Atomic(recipe_note *) bucket[RECIPE_BUCKETS];
    _Atomic(recipe_note *) all;
    _Atomic uint64_t wave; /* told by whoever commits; 0: waves cannot be told apart */
    _Atomic uint64_t calls, completed, disposals;
    _Atomic uint64_t twice, overlapped, late, allowed; /* what must stay 0 */
    _Atomic uint64_t refused;
} recipe_book;

recipe *recipe_new(recipe_book *book); /* zeroed; NULL when the book is full */
void recipe_book_free(recipe_book *book);
/* The recipe of a computed atom that has run; NULL for a source. Thread-safe. */
recipe *recipe_of(recipe_book *book, cop_atom atom);

cop_status recipe_function(cop_evaluation *evaluation, void *context, cop_value *result);
bool recipe_equal(void *context, const cop_value *before, const cop_value *now);
void recipe_destroy(void *context);

/* For people. */
void recipe_print(const recipe *what);

/* ---- the oracle: one for each thread ---- */

typedef struct oracle_node {
    uint32_t stamp; /* of the snapshot that it was evaluated over */
    bool active, done;
    bool member;     /* of a circle */
    cop_value value; /* as those who read it see it */
    cop_value fresh; /* as the function gave it */
    uint64_t trace;  /* of all that it read: the same when nothing of it changed */
    cop_value failed;
    char message[256];
} oracle_node;

typedef struct oracle {
    recipe_book *book;
    const cop_snapshot *snapshot;
    oracle_node *node; /* by the recipe's index */
    uint32_t stamp;
    uint32_t *stack;
    unsigned depth;
    void *memory; /* chained blocks */
    uint64_t circles;
} oracle;

void oracle_open(oracle *o, recipe_book *book);
void oracle_close(oracle *o);
void oracle_begin(oracle *o, const cop_snapshot *snapshot);
/* What a recipe's atom must hold. The values live until the next begin. */
const oracle_node *oracle_ask(oracle *o, const recipe *what);
/* The same bits. */
bool oracle_same(const cop_value *a, const cop_value *b);

#endif
