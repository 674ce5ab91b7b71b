/* SPDX-License-Identifier: MIT */
/* The exact accumulator: its argument stands in the header. */
#include "reduce/exact_sum.h"

enum {
    DIGITS = 69,
    POINT = 34,     /* the digit of 2^0: 2^(32 * 34 - 1088) */
    LEAST_BIT = 14, /* 2^-1074, counted from the lowest bit of digit 0 */
    PIECES = 3,     /* digits that a double reaches */
    HEADROOM = 2,   /* digits above them for carries: 32 bits, and the carry of balancing */
    INTEGER_DIGITS = 5,
    CALLS_MAX = 1 << 30
};

#define MANTISSA_BITS 52
#define EXPONENT_MASK 0x7ffu
#define MANTISSA_MASK ((UINT64_C(1) << MANTISSA_BITS) - 1)
#define INFINITY_BITS ((uint64_t)EXPONENT_MASK << MANTISSA_BITS)

static uint64_t
bits_of(const cop_value *number)
{
    return (uint64_t)cop_value_i64(number);
}

static double
double_of(uint64_t bits, bool negative)
{
    double f;
    bits |= (uint64_t)negative << 63;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* --- the window --------------------------------------------------------------------- */

/* The place of a finite double's lowest mantissa bit; subnormals stand where the least normals do.
 */
static unsigned
lowest_bit(uint64_t bits)
{
    unsigned exponent = (unsigned)(bits >> MANTISSA_BITS) & EXPONENT_MASK;
    return (exponent ? exponent : 1) + LEAST_BIT - 1;
}

static bool
is_finite(uint64_t bits)
{
    return ((bits >> MANTISSA_BITS) & EXPONENT_MASK) != EXPONENT_MASK;
}

static bool
is_zero(uint64_t bits)
{
    return bits << 1 == 0;
}

static bool
window_covers(const cop__exact_sum *sum, unsigned from, unsigned to)
{
    return sum->size != 0 && from >= sum->base && to <= (unsigned)sum->base + sum->size;
}

static bool
grow_window(cop__exact_sum *sum, cop__memory *memory, unsigned from, unsigned to)
{
    unsigned end = (unsigned)sum->base + sum->size;
    if (sum->size != 0) {
        from = from < sum->base ? from : sum->base;
        to = to > end ? to : end;
    }
    size_t bytes = (to - from) * sizeof *sum->digit;
    int64_t *digit = cop__memory_zalloc(memory, COP_MEMORY_GRAPH, bytes, 16);
    if (!digit)
        return false;
    if (sum->size != 0) {
        memcpy(digit + (sum->base - from), sum->digit, sum->size * sizeof *digit);
        cop__memory_free(memory, COP_MEMORY_GRAPH, sum->digit, sum->size * sizeof *digit, 16);
    }
    sum->digit = digit;
    sum->base = (uint8_t)from;
    sum->size = (uint8_t)(to - from);
    return true;
}

bool
cop__exact_sum_reserve(cop__exact_sum *sum, cop__memory *memory, const cop_value *number)
{
    uint64_t bits = bits_of(number);
    if (number->type == COP_I64 || !is_finite(bits) || is_zero(bits))
        return true;
    unsigned from = lowest_bit(bits) / 32, to = from + PIECES + HEADROOM;
    COP_ASSERT(to <= DIGITS);
    return window_covers(sum, from, to) || grow_window(sum, memory, from, to);
}

static void
free_window(cop__exact_sum *sum, cop__memory *memory)
{
    cop__memory_free(memory, COP_MEMORY_GRAPH, sum->digit, sum->size * sizeof *sum->digit, 16);
    sum->digit = NULL;
    sum->base = sum->size = 0;
    sum->calls = 0;
}

void
cop__exact_sum_end(cop__exact_sum *sum, cop__memory *memory)
{
    free_window(sum, memory);
    memset(sum, 0, sizeof *sum);
}

void
cop__exact_sum_trim(cop__exact_sum *sum, cop__memory *memory)
{
    if (sum->digit && sum->finite == 0)
        free_window(sum, memory);
}

/* --- adding and subtracting --------------------------------------------------------- */

/* Leaves each of n digits in [-2^31, 2^31); the last keeps what is carried into it. */
static void
pass_carries(int64_t *digit, unsigned n)
{
    for (unsigned i = 0; i + 1 < n; i++) {
        int64_t carry = (digit[i] + (INT64_C(1) << 31)) >> 32;
        digit[i] -= carry * (INT64_C(1) << 32);
        digit[i + 1] += carry;
    }
}

/* sign is 1 or -1. */
static void
add_finite(cop__exact_sum *sum, uint64_t bits, int64_t sign)
{
    unsigned exponent = (unsigned)(bits >> MANTISSA_BITS) & EXPONENT_MASK;
    uint64_t mantissa = (bits & MANTISSA_MASK) | (uint64_t)(exponent != 0) << MANTISSA_BITS;
    unsigned place = lowest_bit(bits), shift = place % 32;
    cop__uint128 shifted = (cop__uint128)mantissa << shift;
    COP_ASSERT(window_covers(sum, place / 32, place / 32 + PIECES));
    int64_t *digit = sum->digit + (place / 32 - sum->base);
    if (bits >> 63)
        sign = -sign;
    digit[0] += sign * (int64_t)(uint32_t)shifted;
    digit[1] += sign * (int64_t)(uint32_t)(shifted >> 32);
    digit[2] += sign * (int64_t)(uint32_t)(shifted >> 64);
    if (cop__unlikely(++sum->calls == CALLS_MAX)) {
        pass_carries(sum->digit, sum->size);
        sum->calls = 0;
    }
}

/* Counts a double up or down; true when it has digits to add. */
static bool
count_f64(cop__exact_sum *sum, uint64_t bits, uint32_t one)
{
    if (cop__unlikely(!is_finite(bits))) {
        if (bits & MANTISSA_MASK)
            sum->nans += one;
        else if (bits >> 63)
            sum->minus_infinities += one;
        else
            sum->plus_infinities += one;
        return false;
    }
    sum->finite += one;
    if (bits == UINT64_C(1) << 63)
        sum->minus_zeros += one;
    return !is_zero(bits);
}

void
cop__exact_sum_add(cop__exact_sum *sum, const cop_value *number)
{
    if (number->type == COP_I64) {
        sum->integers += cop_value_i64(number);
        sum->i64s++;
    } else if (count_f64(sum, bits_of(number), 1)) {
        add_finite(sum, bits_of(number), 1);
    }
}

void
cop__exact_sum_subtract(cop__exact_sum *sum, const cop_value *number)
{
    if (number->type == COP_I64) {
        sum->integers -= cop_value_i64(number);
        sum->i64s--;
    } else if (count_f64(sum, bits_of(number), UINT32_MAX)) {
        add_finite(sum, bits_of(number), -1);
    }
}

/* --- results ------------------------------------------------------------------------ */

/* A magnitude in digits of 32 bits, its sign, and whether something below it was cut off. */
typedef struct magnitude {
    uint32_t digit[DIGITS]; /* from bottom to top; all others are 0 */
    int bottom, top;        /* the top one is not 0; top < bottom: all are */
    bool negative;
    bool more;
} magnitude;

/* The digits of doubles and integers together, balanced, from *bottom up to the one returned, which
 * headroom leaves small. */
static int
put_together(const cop__exact_sum *sum, int64_t all[DIGITS], int *bottom)
{
    cop__int128 rest = sum->integers;
    int from = sum->size ? sum->base : POINT, to = sum->size ? from + sum->size : from;
    if (rest != 0) {
        from = from < POINT ? from : POINT;
        to = to > POINT + INTEGER_DIGITS ? to : POINT + INTEGER_DIGITS;
    }
    memset(all + from, 0, (size_t)(to - from) * sizeof *all);
    if (sum->size)
        memcpy(all + sum->base, sum->digit, sum->size * sizeof *all);
    for (int i = POINT; rest != 0 && i < POINT + INTEGER_DIGITS - 1; i++, rest >>= 32)
        all[i] += i < POINT + 3 ? (int64_t)(uint32_t)rest : (int64_t)rest;
    pass_carries(all + from, (unsigned)(to - from));
    *bottom = from;
    return to - 1;
}

/* Balanced digits have the sign of the highest; made positive, they borrow from those above. */
static void
take_magnitude(const cop__exact_sum *sum, magnitude *m)
{
    int64_t all[DIGITS], borrow = 0;
    int top = put_together(sum, all, &m->bottom);
    while (top >= m->bottom && all[top] == 0)
        top--;
    m->negative = top >= m->bottom && all[top] < 0;
    m->more = false;
    for (int i = m->bottom; i <= top; i++) {
        int64_t d = (m->negative ? -all[i] : all[i]) - borrow;
        borrow = d < 0;
        m->digit[i] = (uint32_t)d; /* modulo 2^32 */
    }
    while (top >= m->bottom && m->digit[top] == 0)
        top--;
    m->top = top;
}

static bool
is_nothing(const magnitude *m)
{
    return m->top < m->bottom;
}

static uint64_t
digit_at(const magnitude *m, int i)
{
    return i >= m->bottom && i <= m->top ? m->digit[i] : 0;
}

/* True when a bit below `bit` is set. */
static bool
any_below(const magnitude *m, int bit)
{
    for (int i = m->bottom; i < bit / 32; i++) {
        if (digit_at(m, i) != 0)
            return true;
    }
    return (digit_at(m, bit / 32) & ((UINT64_C(1) << bit % 32) - 1)) != 0 || m->more;
}

/*
 * Rounds to nearest even. The lowest bit kept is 52 below the highest, but not below 2^-1074;
 * counting it from there gives the exponent field, and a mantissa that rounds up to 2^53 carries
 * into it.
 */
static double
rounded(const magnitude *m)
{
    if (is_nothing(m))
        return double_of(0, m->negative);
    int highest = m->top * 32 + 31 - __builtin_clz(m->digit[m->top]);
    int lowest = highest - MANTISSA_BITS > LEAST_BIT ? highest - MANTISSA_BITS : LEAST_BIT;
    int half = lowest - 1, i = half / 32; /* half: the first bit that is cut off */
    cop__uint128 bits = (cop__uint128)digit_at(m, i) | (cop__uint128)digit_at(m, i + 1) << 32 |
                        (cop__uint128)digit_at(m, i + 2) << 64;
    uint64_t kept = (uint64_t)(bits >> half % 32);
    bool up = (kept & 1) && ((kept & 2) || any_below(m, half));
    uint64_t field = ((uint64_t)(lowest - LEAST_BIT) << MANTISSA_BITS) + (kept >> 1) + up;
    return double_of(field < INFINITY_BITS ? field : INFINITY_BITS, m->negative);
}

/*
 * Divides; count is less than 2^32, so a remainder and a digit fit in 64 bits. Four digits below
 * the quotient's highest are enough for 54 bits and the rest of them is only asked whether it is 0.
 * Digit 0 lies below the half of 2^-1074, the least bit that rounding looks at.
 */
static void
divide(magnitude *m, uint32_t count)
{
    uint64_t rest = 0;
    int end = m->top > 4 ? m->top - 4 : 0;
    for (int i = m->top; i >= end; i--) {
        uint64_t part = rest << 32 | digit_at(m, i);
        m->digit[i] = (uint32_t)(part / count);
        rest = part % count;
        m->bottom = i < m->bottom ? i : m->bottom;
    }
    for (int i = m->bottom; i < end; i++)
        rest |= m->digit[i];
    m->more = rest != 0;
    m->bottom = end;
    while (!is_nothing(m) && m->digit[m->top] == 0)
        m->top--;
}

static bool
is_special(const cop__exact_sum *sum, double *result)
{
    if (sum->nans || (sum->plus_infinities && sum->minus_infinities))
        *result = double_of(INFINITY_BITS | UINT64_C(1) << (MANTISSA_BITS - 1), false);
    else if (sum->plus_infinities || sum->minus_infinities)
        *result = double_of(INFINITY_BITS, sum->minus_infinities != 0);
    else
        return false;
    return true;
}

bool
cop__exact_sum_i64(const cop__exact_sum *sum, int64_t *total)
{
    *total = (int64_t)sum->integers;
    return *total == sum->integers;
}

static double
quotient(const cop__exact_sum *sum, uint32_t count)
{
    magnitude m;
    double result;
    if (is_special(sum, &result))
        return result;
    take_magnitude(sum, &m);
    if (is_nothing(&m))
        return sum->minus_zeros && sum->minus_zeros == cop__exact_sum_count(sum) ? -0.0 : 0.0;
    if (count > 1)
        divide(&m, count);
    return rounded(&m);
}

double
cop__exact_sum_total(const cop__exact_sum *sum)
{
    return quotient(sum, 1);
}

double
cop__exact_sum_mean(const cop__exact_sum *sum)
{
    uint64_t count = cop__exact_sum_count(sum);
    COP_ASSERT(count > 0 && count <= UINT32_MAX);
    return quotient(sum, (uint32_t)count);
}
