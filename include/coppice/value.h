/* SPDX-License-Identifier: MIT */
/*
 * Values: 16 bytes, passed by copy.
 *
 * Strings, bytes and error messages of up to 12 bytes live inside the value; longer ones are a
 * pointer and a length. A value made by cop_string, cop_bytes or cop_error_value BORROWS the
 * caller's bytes when they are longer than 12; every library call that keeps a value copies them
 * before it returns. A value got from a snapshot borrows the snapshot's bytes: they live until the
 * unpin or drop of that snapshot. cop_value_copy makes an owned value.
 *
 * Thread-safety: a cop_value is plain data; all functions here are pure but for copy and free,
 * which use malloc and free. All are thread-safe for distinct values, and wait-free but for these two.
 */
#ifndef COPPICE_VALUE_H
#define COPPICE_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <coppice/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_type {
    COP_NONE = 0,   /* no value: an absent or erased atom */
    COP_NULL = 1,
    COP_BOOL = 2,
    COP_I64 = 3,
    COP_F64 = 4,
    COP_STRING = 5, /* UTF-8, may hold NUL bytes, not terminated */
    COP_BYTES = 6,
    COP_ERROR = 7,  /* a failed evaluation: its message, UTF-8 */
    COP_OBJECT = 8, /* a branch whose children have names, in creation order */
    COP_ARRAY = 9   /* a branch whose children have positions */
} cop_type;

#define COP_INLINE_MAX 12u             /* bytes that fit inside a value */
#define COP_VALUE_MAX ((uint32_t)1 << 30) /* longest string or bytes, 1 GiB */

/* Read a value through the functions below; the fields are public so that it can be copied. */
typedef struct cop_value {
    uint8_t type;     /* cop_type */
    uint8_t inlined;  /* string kinds: length when the bytes are inside, 0xff when outside */
    uint16_t reserved; /* 0 */
    union {
        unsigned char bytes[COP_INLINE_MAX];
        uint32_t words[3];
    } small; /* outside strings: words[0] is the length, words[1..2] the pointer; numbers: words[1..2] */
} cop_value;

#ifdef __cplusplus
static_assert(sizeof(cop_value) == 16, "a value is 16 bytes");
#else
_Static_assert(sizeof(cop_value) == 16, "a value is 16 bytes");
#endif

#define COP_VALUE_OUTSIDE 0xffu

/* Both halves are written whole, so that whoever reads the value at once need not wait for single
 * bytes to leave the store buffer. The first byte of the first half is the type. */
static inline cop_value
cop_value_of(cop_type type, uint64_t payload)
{
    cop_value v;
    uint64_t head = (uint64_t)type;
    memcpy(&v, &head, sizeof head);
    memcpy(&v.small.words[1], &payload, sizeof payload);
    return v;
}

static inline cop_value
cop_null(void)
{
    return cop_value_of(COP_NULL, 0);
}

static inline cop_value
cop_bool(bool b)
{
    return cop_value_of(COP_BOOL, b ? 1 : 0);
}

static inline cop_value
cop_i64(int64_t i)
{
    return cop_value_of(COP_I64, (uint64_t)i);
}

static inline cop_value
cop_f64(double f)
{
    uint64_t payload;
    memcpy(&payload, &f, sizeof payload);
    return cop_value_of(COP_F64, payload);
}

/* An empty branch; setting an atom to it makes the atom a branch (see txn.h). */
static inline cop_value
cop_object(void)
{
    return cop_value_of(COP_OBJECT, 0);
}

static inline cop_value
cop_array(void)
{
    return cop_value_of(COP_ARRAY, 0);
}

/* COP_STRING, COP_BYTES or COP_ERROR from n bytes at p (p may be NULL when n is 0). n must not
 * exceed COP_VALUE_MAX; a longer one becomes a value of type COP_NONE, which every call refuses. */
static inline cop_value
cop_text(cop_type type, const void *p, size_t n)
{
    cop_value v;
    memset(&v, 0, sizeof v);
    if (n > COP_VALUE_MAX)
        return v;
    v.type = (uint8_t)type;
    if (n <= COP_INLINE_MAX) {
        v.inlined = (uint8_t)n;
        if (n)
            memcpy(v.small.bytes, p, n);
    } else {
        v.inlined = COP_VALUE_OUTSIDE;
        v.small.words[0] = (uint32_t)n;
        memcpy(&v.small.words[1], &p, sizeof p);
    }
    return v;
}

static inline cop_value
cop_string(const char *p, size_t n)
{
    return cop_text(COP_STRING, p, n);
}

static inline cop_value
cop_bytes(const void *p, size_t n)
{
    return cop_text(COP_BYTES, p, n);
}

static inline cop_value
cop_error_value(const char *p, size_t n)
{
    return cop_text(COP_ERROR, p, n);
}

static inline cop_type
cop_value_type(const cop_value *v)
{
    return (cop_type)v->type;
}

static inline bool
cop_value_is_text(const cop_value *v)
{
    return v->type >= COP_STRING && v->type <= COP_ERROR;
}

/* The payload of COP_BOOL, COP_I64, COP_F64; unspecified for another type. */
static inline int64_t
cop_value_i64(const cop_value *v)
{
    int64_t i;
    memcpy(&i, &v->small.words[1], sizeof i);
    return i;
}

static inline double
cop_value_f64(const cop_value *v)
{
    double f;
    memcpy(&f, &v->small.words[1], sizeof f);
    return f;
}

static inline bool
cop_value_bool(const cop_value *v)
{
    return cop_value_i64(v) != 0;
}

/* Bytes of a string kind. The pointer leads into *v itself when the bytes are inside. */
static inline const char *
cop_value_data(const cop_value *v)
{
    const char *p;
    if (v->inlined != COP_VALUE_OUTSIDE)
        return (const char *)v->small.bytes;
    memcpy(&p, &v->small.words[1], sizeof p);
    return p;
}

static inline size_t
cop_value_length(const cop_value *v)
{
    return v->inlined != COP_VALUE_OUTSIDE ? v->inlined : v->small.words[0];
}

/* Same type and same bytes (numbers bit for bit: -0.0 differs from 0.0, a NaN equals itself).
 * Two branches of one kind are equal as values; their children are not looked at. */
COP_PUBLIC bool cop_value_equal(const cop_value *a, const cop_value *b);

/* *copy becomes a value that owns its bytes; free it with cop_value_free. COP_E_MEMORY. Blocking
 * (malloc). The bytes belong to the host, not to a store's limit. */
COP_PUBLIC cop_status cop_value_copy(const cop_value *v, cop_value *copy);

/* Frees what cop_value_copy made, and makes *v COP_NONE. Legal for a zeroed value. */
COP_PUBLIC void cop_value_free(cop_value *v);

/* "string", "i64", ...; static storage. */
COP_PUBLIC const char *cop_type_name(cop_type type);

#ifdef __cplusplus
}
#endif
#endif
