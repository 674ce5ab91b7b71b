/* SPDX-License-Identifier: MIT */
/*
 * What a reducer has to hold, computed anew from a snapshot with other means than the library's:
 * sums in 128-bit integers of 2^-20ths, quotients by long division, tops by sorting.
 *
 * Children have values for which that is exact: doubles are multiples of 2^-20 below 2^40, or not
 * finite.
 */
#ifndef COP_TESTS_STRESS_REDUCE_ORACLE_H
#define COP_TESTS_STRESS_REDUCE_ORACLE_H

#include <coppice/coppice.h>

#define ORACLE_UNIT 1048576.0 /* 2^20 */

typedef struct reduce_spec {
    const char *path, *pattern;
    const char *key, *value; /* of groups; key NULL: none */
    cop_reduction reduction;
    uint32_t k;
} reduce_spec;

/* Functions on i64: (m, c) packed as m << 16 | c, composed modulo 2^16. Not commutative. */
cop_status oracle_compose(void *context, cop_value *accumulator, const cop_value *value);

/* NULL when the reducer at spec->path holds what it should in this version, or is not there; else
 * what is wrong, in text. */
const char *oracle_disagrees(const cop_snapshot *snapshot, const reduce_spec *spec, char *text,
                             size_t capacity);

#endif
