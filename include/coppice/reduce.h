/* SPDX-License-Identifier: MIT */
/*
 * Reducers: computed atoms over the children that match a pattern, kept up to date at O(1) or
 * O(log n) a changed child.
 *
 * A pattern is a path whose segments may be `*`, which stands for any one name: `host/procs/` `*` `/rss`.
 * (A key that is an asterisk is written ~2 in a pattern.) Atoms that come and go are counted in and
 * out. The result depends on the current children only, bit for bit: not on the order or history of
 * changes.
 *
 *   sum     i64 as long as every child is i64 (exact in 128 bits; an error value when the result
 *           does not fit), else f64: the exact sum of all children rounded once; NaN and infinities
 *           are counted apart and go away with their children
 *   mean    f64: the exact sum divided by the count, rounded once; an error value for no children
 *   count   i64: of the values that match. Branches and null are not counted: to count objects, count
 *           a member that each has (`sessions/` `*` `/user`)
 *   min max the least and greatest number, as numbers (i64 and f64 compared exactly, NaN never
 *           chosen; of equal ones the first in order of path); null for no children
 *   top     owns a branch: the k greatest, as children 0, 1, ... with `path` and `value`
 *   custom  fold of the children in order of path: combine must be associative
 *
 * Children may be computed (a lazy one becomes eager), and may be in branches that computed atoms own. A reducer comes after all
 * that may make something match, the owners of branches on the way included; whoever of them reads
 * it is in a circle with it. A reducer is no child of itself, nor is what is in its branch.
 * A result that is not finite is an error value, like that of any computed atom.
 *
 * ARRAYS. Patterns count from the root and match names. The elements of arrays have none, so neither they
 * nor what is below them match anything, by `*` or by their position: results rest on the order of paths,
 * and an insertion would change the path of everything behind it. A computed atom that walks the array
 * with cop_read_each does it, at O(elements) a change; objects named by a key serve better.
 *
 * Children that are no numbers make sum, mean, min, max and top an error value that names one of them
 * (the first in order of path), as long as they are there. Branches and null are passed over.
 */
#ifndef COPPICE_REDUCE_H
#define COPPICE_REDUCE_H

#include <coppice/computed.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_reduction {
    COP_REDUCE_SUM,
    COP_REDUCE_COUNT,
    COP_REDUCE_MEAN,
    COP_REDUCE_MIN,
    COP_REDUCE_MAX,
    COP_REDUCE_TOP,
    COP_REDUCE_CUSTOM
} cop_reduction;

/* *accumulator = accumulator combined with value, or with its inverse. Pure. Values are numbers,
 * bools and strings of at most COP_INLINE_MAX bytes. A negative status is the reducer's error. */
typedef cop_status (*cop_combine_function)(void *context, cop_value *accumulator,
                                           const cop_value *value);

typedef struct cop_reduce_options {
    size_t size;
    uint32_t k; /* of top; at least 1 */
    /* of custom */
    cop_value zero;
    cop_combine_function combine;
    cop_combine_function inverse; /* NULL: O(log n) a change */
    void *context;
    const char *label;
    cop_destructor destroy;
    cop_scope *scope;
} cop_reduce_options;

/* No zero: the fold of no children is null. */
#define COP_REDUCE_OPTIONS_INIT                                                                 \
    {sizeof(cop_reduce_options), 0, {0, 0, 0, {{0}}}, NULL, NULL, NULL, NULL, NULL, NULL}

/* Defines a reducer at a path (NULL: anonymous, not top). options NULL: none of them; top and custom
 * need some. As cop_computed_define; COP_E_PATH, COP_E_LIMIT for a bad pattern. The first run looks
 * at all that matches; later ones cost what changed. Dispose of it with cop_computed_dispose, or by
 * options.scope. Thread-safe, blocking. Defining one while there are many matches holds up commits for
 * O(matches). */
COP_PUBLIC cop_status cop_reduce_define(cop_store *store, const char *path, size_t length,
                                        const char *pattern, size_t pattern_length,
                                        cop_reduction reduction, const cop_reduce_options *options,
                                        cop_atom *atom, cop_error *error);

/*
 * Groups the objects that match a pattern (`host/procs/` `*`) by the value of their child `key`, and
 * reduces their child `value` within each group: owns a branch with one child per group, named by the
 * key's text, in order of first appearance in path order. Objects without the key are passed over.
 * `key` and `value` are keys, not paths. A change costs O(log n); one by which a group comes, goes, or
 * changes its place costs O(groups), which are compared one by one. A key whose text cannot be a name
 * (a NUL, not UTF-8, too long) makes the reducer an error value. An object with the key and without the
 * value is in its group, and passed over there: a sum is then 0. To count the objects of each group,
 * count the key itself (value = key). Errors, threads and cost of defining as cop_reduce_define.
 */
COP_PUBLIC cop_status cop_group_define(cop_store *store, const char *path, size_t length,
                                       const char *pattern, size_t pattern_length, const char *key,
                                       const char *value, cop_reduction reduction,
                                       const cop_reduce_options *options, cop_atom *atom,
                                       cop_error *error);

#ifdef __cplusplus
}
#endif
#endif
