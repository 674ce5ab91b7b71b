/* SPDX-License-Identifier: MIT */
/*
 * Shortest round-trip numbers.
 *
 * The digits of a double are found with Raffaello Giulietti's Schubfach ("The Schubfach way to
 * render doubles", 2020): of all decimals that round to the double the shortest, of those the
 * closest. printf with a growing precision would miss some (2^-44 has a 16-digit form that no
 * rounding to 16 digits finds), depends on the locale, and is ten times slower.
 *
 * The algorithm wants 10^k rounded up to 128 bits for 617 values of k. They are rebuilt from every
 * 27th, kept with 192 bits, times a power of 5 that fits in 64; the sum of the errors stays below
 * the 128th bit for every k used (136 bits would do; checked exhaustively against exact integers).
 */
#include "serialize/json_number.h"

#include <string.h>

#include "base/base.h"

__extension__ typedef unsigned __int128 u128;

#define STRIDE 27
#define FIRST (-11) /* powers[0] is 10^(27 * FIRST) */

/* 10^(27 i), highest word first, shifted so that the highest bit is set, cut off after 192 bits. */
static const uint64_t powers[][3] = {
    {0xa76c582338ed2621, 0xaf2af2b80af6f24e, 0x657c8f4d43323a36}, /* 1e-297 */
    {0x873e4f75e2224e68, 0x5a7744a6e804a291, 0xcc35eddfcf0996d7}, /* 1e-270 */
    {0xda7f5bf590966848, 0xaf39a475506a899e, 0xa30294cc2934e662}, /* 1e-243 */
    {0xb080392cc4349dec, 0xbd8d794d96aacfb3, 0xfe13a5c86af64418}, /* 1e-216 */
    {0x8e938662882af53e, 0x547eb47b7282ee9c, 0x41b0230e1421487d}, /* 1e-189 */
    {0xe65829b3046b0afa, 0x0cb4a5a3112a5112, 0xa3b561b1cb208396}, /* 1e-162 */
    {0xba121a4650e4ddeb, 0x92f34d62616ce413, 0x21a0183e10583cd3}, /* 1e-135 */
    {0x964e858c91ba2655, 0x3a6a07f8d510f86f, 0xe9082f25e9c5e9ec}, /* 1e-108 */
    {0xf2d56790ab41c2a2, 0xfae27299423fb9c3, 0x3695dad7e8858901}, /* 1e-81 */
    {0xc428d05aa4751e4c, 0xaa97e14c3c26b886, 0x96842dc95323f5a8}, /* 1e-54 */
    {0x9e74d1b791e07e48, 0x775ea264cf55347d, 0xca49f1c05120c9c7}, /* 1e-27 */
    {0x8000000000000000, 0x0000000000000000, 0x0000000000000000}, /* 1e0 */
    {0xcecb8f27f4200f3a, 0x0000000000000000, 0x0000000000000000}, /* 1e27 */
    {0xa70c3c40a64e6c51, 0x999090b65f67d924, 0x0000000000000000}, /* 1e54 */
    {0x86f0ac99b4e8dafd, 0x69a028bb3ded71a3, 0xdf9f915627c04e28}, /* 1e81 */
    {0xda01ee641a708de9, 0xe80e6f4820cc9495, 0xd74baad03bc1d8d3}, /* 1e108 */
    {0xb01ae745b101e9e4, 0x5ec05dcff72e7f8f, 0xc04c79ffe324301f}, /* 1e135 */
    {0x8e41ade9fbebc27d, 0x14588f13be847307, 0x23bd6a2059c002f5}, /* 1e162 */
    {0xe5d3ef282a242e81, 0x8f1668c8a86da5fa, 0xf0b5ccf5176ecc7c}, /* 1e189 */
    {0xb9a74a0637ce2ee1, 0x6d953e2bd7173692, 0x88efb0037ac08bde}, /* 1e216 */
    {0x95f83d0a1fb69cd9, 0x4abdaf101564f98e, 0x0d5a4af7b3a98e47}, /* 1e243 */
    {0xf24a01a73cf2dccf, 0xbc633b39673c8cec, 0x3d9c44cd2f36917c}, /* 1e270 */
    {0xc3b8358109e84f07, 0x0a862f80ec4700c8, 0x02606ea01029dc37}, /* 1e297 */
    {0x9e19db92b4e31ba9, 0x6c07a2c26a8346d1, 0x4944d9f52cd0dec2}, /* 1e324 */
};

/* 5^i, shifted so that the highest bit is set. */
static const uint64_t fives[STRIDE] = {
    0x8000000000000000, 0xa000000000000000, 0xc800000000000000, 0xfa00000000000000,
    0x9c40000000000000, 0xc350000000000000, 0xf424000000000000, 0x9896800000000000,
    0xbebc200000000000, 0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000,
    0xe8d4a51000000000, 0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000,
    0x8e1bc9bf04000000, 0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000,
    0xad78ebc5ac620000, 0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400,
    0xd3c21bcecceda100, 0x84595161401484a0, 0xa56fa5b99019a5c8,
};

static inline int
floor_log2_pow10(int k)
{
    return (k * 1741647) >> 19;
}

/* 10^k as 128 bits with the highest set, rounded up. */
static u128
power_of_10(int k)
{
    int row = (k + STRIDE * -FIRST) / STRIDE;
    const uint64_t *base = powers[row];
    uint64_t five = fives[k - (row + FIRST) * STRIDE];
    u128 low = (u128)base[2] * five;
    u128 middle = (u128)base[1] * five + (uint64_t)(low >> 64);
    u128 high = (u128)base[0] * five + (uint64_t)(middle >> 64);
    /* 256 bits: high, the low half of middle, that of low; the highest bit is 254 or 255. */
    if (!(high >> 127))
        high = high << 1 | ((uint64_t)middle >> 63);
    return high + (k < 0 || k > 55); /* 10^0 to 10^55 fit exactly */
}

/* g * c / 2^128, with the lowest bit set when anything was cut off. */
static uint64_t
round_to_odd(u128 g, uint64_t c)
{
    u128 low = (u128)(uint64_t)g * c;
    u128 high = (u128)(uint64_t)(g >> 64) * c + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

struct decimal {
    uint64_t digits;
    int exponent;
};

/* Of the decimals d * 10^k and (d + 1) * 10^k around the number the one to take. Arguments are four
 * times too large, so that halves and quarters are integers. */
static struct decimal
choose(uint64_t lower, uint64_t middle, uint64_t upper, int k)
{
    uint64_t s = middle / 4;
    if (s >= 10) {
        uint64_t t = s / 10;
        bool down = lower <= 40 * t, up = 40 * t + 40 <= upper;
        if (down != up)
            return (struct decimal){t + up, k + 1};
    }
    bool down = lower <= 4 * s, up = 4 * s + 4 <= upper;
    if (down != up)
        return (struct decimal){s + up, k};
    uint64_t half = 4 * s + 2;
    up = middle > half || (middle == half && (s & 1));
    return (struct decimal){s + up, k};
}

/* The number is c * 2^q; `closer`: its lower neighbour is half as far away as its upper one. */
static struct decimal
shortest(uint64_t c, int q, bool closer)
{
    bool odd = c & 1; /* reading rounds to even, so an even number owns its boundaries */
    int k = (q * 1262611 - (closer ? 524031 : 0)) >> 22;
    int h = q + floor_log2_pow10(-k) + 1;
    u128 g = power_of_10(-k);
    uint64_t lower = round_to_odd(g, (4 * c - 2 + closer) << h);
    uint64_t middle = round_to_odd(g, (4 * c) << h);
    uint64_t upper = round_to_odd(g, (4 * c + 2) << h);
    return choose(lower + odd, middle, upper - odd, k);
}

static struct decimal
decompose(uint64_t bits)
{
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    if (exponent == 0)
        return shortest(fraction, 1 - 1075, false);
    uint64_t c = fraction | (uint64_t)1 << 52;
    int q = exponent - 1075;
    if (q <= 0 && q > -53 && (c & (((uint64_t)1 << -q) - 1)) == 0)
        return (struct decimal){c >> -q, 0}; /* an integer below 2^53 */
    return shortest(c, q, fraction == 0 && exponent > 1);
}

#define PAIRS(tens)                                                                             \
    tens "0" tens "1" tens "2" tens "3" tens "4" tens "5" tens "6" tens "7" tens "8" tens "9"

/* 00 to 99. */
static const char pairs[] = PAIRS("0") PAIRS("1") PAIRS("2") PAIRS("3") PAIRS("4") PAIRS("5")
    PAIRS("6") PAIRS("7") PAIRS("8") PAIRS("9");

/* The decimal digits of u, ending at `end`; returns where they begin. */
static char *
digits_before(char *end, uint64_t u)
{
    while (u >= 100) {
        end -= 2;
        memcpy(end, &pairs[u % 100 * 2], 2);
        u /= 100;
    }
    if (u >= 10) {
        end -= 2;
        memcpy(end, &pairs[u * 2], 2);
    } else {
        *--end = (char)('0' + u);
    }
    return end;
}

static unsigned
count_digits(uint64_t u)
{
    unsigned n = 1;
    for (; u >= 10000; u /= 10000)
        n += 4;
    return n + (u >= 10) + (u >= 100) + (u >= 1000);
}

size_t
cop__json_i64(char out[COP__JSON_NUMBER_MAX], int64_t i)
{
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned n = count_digits(u) + (i < 0);
    out[0] = '-'; /* overwritten if it is not */
    digits_before(out + n, u);
    return n;
}

/* 0.000123, 123.0 or 12.3: the point stands after `point` digits. */
static char *
put_fixed(char *out, const char *digits, int n, int point)
{
    if (point <= 0) {
        memcpy(out, "0.0000", (size_t)(2 - point));
        out += 2 - point;
        memcpy(out, digits, (size_t)n);
        return out + n;
    }
    int whole = n < point ? n : point;
    memcpy(out, digits, (size_t)whole);
    memset(out + whole, '0', (size_t)(point - whole));
    out += point;
    *out++ = '.';
    if (n <= point) {
        *out++ = '0';
        return out;
    }
    memcpy(out, digits + point, (size_t)(n - point));
    return out + (n - point);
}

/* 1e-07 or 1.25e+100: at least two digits of exponent. */
static char *
put_scientific(char *out, const char *digits, int n, int exponent)
{
    *out++ = digits[0];
    if (n > 1) {
        *out++ = '.';
        memcpy(out, digits + 1, (size_t)(n - 1));
        out += n - 1;
    }
    *out++ = 'e';
    *out++ = exponent < 0 ? '-' : '+';
    unsigned e = (unsigned)(exponent < 0 ? -exponent : exponent);
    if (e < 10)
        *out++ = '0';
    char text[8];
    char *p = digits_before(text + sizeof text, e);
    size_t length = (size_t)(text + sizeof text - p);
    memcpy(out, p, length);
    return out + length;
}

size_t
cop__json_f64(char out[COP__JSON_NUMBER_MAX], double f)
{
    uint64_t bits;
    memcpy(&bits, &f, sizeof bits);
    char *p = out;
    if (bits >> 63)
        *p++ = '-';
    bits &= UINT64_MAX >> 1;
    if (bits == 0)
        return (size_t)(stpcpy(p, "0.0") - out);
    struct decimal d = decompose(bits);
    while (d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    char text[24];
    char *digits = digits_before(text + sizeof text, d.digits);
    int n = (int)(text + sizeof text - digits);
    int point = n + d.exponent;
    if (point > -4 && point <= 16)
        p = put_fixed(p, digits, n, point);
    else
        p = put_scientific(p, digits, n, point - 1);
    return (size_t)(p - out);
}
