/* SPDX-License-Identifier: MIT */
/*
 * One reducer without its table of ids: what reduction.h and group.h are both made of.
 *
 * A space holds the nodes of one or many reducers that follow one rule. A node is in its reducer by
 * its value's class, which is a function of rule and value, so no node remembers where it is:
 *
 *   passed over   null, branches, absent; NaN for min, max and top: in nothing
 *   counted       count: a number. sum, mean: in the exact sum. min, max, custom: in a fold by
 * path. top: in a treap by number. custom with an inverse: in a treap by path, which is folded only
 * when the running total cannot be trusted other         what the rule has no use for: in a treap
 * by path, whose first one the error names
 *
 * A node keeps numbers, bools and short strings; of a long text only that it is one.
 *
 * INVERSE. With an inverse a change is O(1): the total loses the old value and gains the new one.
 * It must make combine an exact commutative group, and neither may fail, or else the total is as
 * good as they are. After a failure, or when changes were taken back, the total is folded anew in
 * order of path (O(n), once).
 */
#ifndef COP_REDUCE_REDUCER_H
#define COP_REDUCE_REDUCER_H

#include <coppice/reduce.h>

#include "reduce/exact_sum.h"
#include "reduce/fold.h"

/* As cop_reduce_options: zero COP_NONE means that there is none, and no children give null. */
typedef struct cop__reduce_rule {
    cop_reduction kind;
    uint32_t k;
    cop_value zero;
    cop_combine_function combine, inverse;
    void *context;
} cop__reduce_rule;

/* Long enough for any path (path.h) and what is said about it. */
#define COP_REDUCER_TEXT ((size_t)4096 + 64)

typedef struct cop__reduce_space {
    cop__memory *memory;
    cop__reduce_rule rule;
    cop__records nodes;
} cop__reduce_space;

typedef struct cop__running {
    cop_value total; /* zero and all values; COP_NONE: no zero and no values */
    bool stale;      /* to be folded anew */
} cop__running;

typedef struct cop__reducer {
    cop__treap main, others;
    uint32_t count; /* of counted nodes */
    union {
        cop__exact_sum sum;   /* sum, mean */
        cop__running running; /* custom with inverse */
    };
} cop__reducer;

/* COP_E_INVALID: a top of none, a custom without combine, a zero that combine does not take. */
cop_status cop__reduce_rule_check(const cop__reduce_rule *rule);

void cop__reduce_space_init(cop__reduce_space *space, cop__memory *memory,
                            const cop__reduce_rule *rule);
void cop__reduce_space_end(cop__reduce_space *space);

/* What a node keeps of a value. */
cop_value cop__reduce_kept(const cop_value *value);

void cop__reducer_init(cop__reducer *reducer, const cop__reduce_space *space);
void cop__reducer_end(cop__reducer *reducer, const cop__reduce_space *space);

/* Room for a value, before it enters by _insert or _change; false: out of memory. Room stays until
 * _trim, so that what was in can come back without fail. */
bool cop__reducer_reserve(cop__reducer *reducer, const cop__reduce_space *space,
                          const cop_value *value);
/* A named node with its (kept) value. These never fail. */
void cop__reducer_insert(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number);
void cop__reducer_remove(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number);
/* Of a node that is in; value is kept already. */
void cop__reducer_change(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number,
                         const cop_value *value);
/* Gives back room that nothing needs. */
void cop__reducer_trim(cop__reducer *reducer, const cop__reduce_space *space);
/* Changes were taken back: a running total may have been spoiled on the way. */
void cop__reducer_distrust(cop__reducer *reducer, const cop__reduce_space *space);

/*
 * The value by the rules of coppice/reduce.h. A sum of no numbers is the i64 0, a sum of an i64
 * and an f64 an f64. top: an error value, or cop_array() for the rows of cop__top_begin. An error's
 * text stands in `text` (capacity at least 64; longer paths are cut) or in static storage.
 */
void cop__reducer_result(cop__reducer *reducer, const cop__reduce_space *space, char *text,
                         size_t capacity, cop_value *result);

/* The rows of a top, greatest first; valid while the reducer does not change. */
typedef struct cop__top_walk {
    const cop__records *nodes;
    uint32_t next;
    uint32_t left; /* rows to come at most */
} cop__top_walk;
void cop__top_begin(const cop__reducer *reducer, const cop__reduce_space *space,
                    cop__top_walk *walk);
/* NULL: no more. */
const cop__treap_node *cop__top_next(cop__top_walk *walk);

#endif
