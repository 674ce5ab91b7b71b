/* SPDX-License-Identifier: MIT */
/*
 * Rules for the tests of reducers, by name: the built-in ones, and custom ones that show what they
 * were given. `maps` composes affine maps modulo a prime, which is associative and not commutative;
 * `letters` joins short strings and fails beyond 12 bytes; `wrap` adds modulo 2^64, with its
 * inverse; `wrap_tree` without it.
 */
#ifndef COP_TESTS_REDUCE_FUNCTIONS_H
#define COP_TESTS_REDUCE_FUNCTIONS_H

#include "reduce/reducer.h"

#define MAPS_PRIME UINT64_C(65521)

/* Number n as x -> (n mod 65521) x + n / 65536 mod 65521; a string of 4 bytes is a map already. */
static inline void
reduce_map_of(const cop_value *v, uint64_t *a, uint64_t *b)
{
    uint64_t n = (uint64_t)cop_value_i64(v);
    uint16_t both[2];
    *a = n % MAPS_PRIME;
    *b = (n >> 16) % MAPS_PRIME;
    if (v->type == COP_STRING && cop_value_length(v) == sizeof both) {
        memcpy(both, cop_value_data(v), sizeof both);
        *a = both[0];
        *b = both[1];
    }
}

static inline cop_status
reduce_maps(void *context, cop_value *accumulator, const cop_value *value)
{
    uint64_t a, b, c, d;
    (void)context;
    reduce_map_of(accumulator, &a, &b);
    reduce_map_of(value, &c, &d);
    uint16_t both[2] = {(uint16_t)(a * c % MAPS_PRIME), (uint16_t)((b * c + d) % MAPS_PRIME)};
    *accumulator = cop_string((const char *)both, sizeof both);
    return COP_OK;
}

static inline cop_status
reduce_letters(void *context, cop_value *accumulator, const cop_value *value)
{
    char both[2 * COP_INLINE_MAX];
    size_t n = cop_value_length(accumulator), more = cop_value_length(value);
    (void)context;
    if (accumulator->type != COP_STRING || value->type != COP_STRING)
        return COP_E_TYPE;
    if (n + more > COP_INLINE_MAX)
        return COP_E_RANGE;
    memcpy(both, cop_value_data(accumulator), n);
    memcpy(both + n, cop_value_data(value), more);
    *accumulator = cop_string(both, n + more);
    return COP_OK;
}

static inline cop_status
reduce_wrap(void *context, cop_value *accumulator, const cop_value *value)
{
    uint64_t sum = (uint64_t)cop_value_i64(accumulator) + (uint64_t)cop_value_i64(value);
    (void)context;
    *accumulator = cop_i64((int64_t)sum);
    return COP_OK;
}

static inline cop_status
reduce_unwrap(void *context, cop_value *accumulator, const cop_value *value)
{
    uint64_t sum = (uint64_t)cop_value_i64(accumulator) - (uint64_t)cop_value_i64(value);
    (void)context;
    *accumulator = cop_i64((int64_t)sum);
    return COP_OK;
}

static const char *const reduce_rule_names[] = {"sum", "count", "mean",    "min",  "max",
                                                "top", "maps",  "letters", "wrap", "wrap_tree"};
enum { REDUCE_RULES = sizeof reduce_rule_names / sizeof *reduce_rule_names };

/* False for an unknown name. */
static inline bool
reduce_rule(const char *name, cop__reduce_rule *rule)
{
    unsigned i = 0;
    while (i < REDUCE_RULES && strcmp(name, reduce_rule_names[i]) != 0)
        i++;
    memset(rule, 0, sizeof *rule);
    rule->kind = i < COP_REDUCE_CUSTOM ? (cop_reduction)i : COP_REDUCE_CUSTOM;
    rule->k = 3;
    if (i == 6)
        rule->combine = reduce_maps;
    if (i == 7) {
        rule->combine = reduce_letters;
        rule->zero = cop_string(">", 1);
    }
    if (i >= 8)
        rule->combine = reduce_wrap;
    if (i == 8) {
        rule->inverse = reduce_unwrap;
        rule->zero = cop_i64(100);
    }
    return i < REDUCE_RULES;
}

#endif
