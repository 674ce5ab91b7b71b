/* SPDX-License-Identifier: MIT */
/* Numbers as the reducers see them: i64 and f64 side by side, compared without rounding. */
#ifndef COP_REDUCE_NUMBER_H
#define COP_REDUCE_NUMBER_H

#include <coppice/value.h>

static inline bool
cop__number_is(const cop_value *v)
{
    return v->type == COP_I64 || v->type == COP_F64;
}

static inline bool
cop__number_is_nan(const cop_value *v)
{
    double f = cop_value_f64(v);
    return v->type == COP_F64 && f != f;
}

/* Negative, 0 or positive as a is less than, equal to or greater than b in exact arithmetic; both
 * are numbers and no NaN. 0, 0.0 and -0.0 are equal. Pure, O(1). */
int cop__number_compare(const cop_value *a, const cop_value *b);

#endif
