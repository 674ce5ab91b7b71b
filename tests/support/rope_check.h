/* SPDX-License-Identifier: MIT */
/*
 * Random documents and changes to them, and texts compared with what cop_json_write says: for the
 * unit test and the stress program of texts. Every failure aborts with what differed.
 */
#ifndef COP_TESTS_ROPE_CHECK_H
#define COP_TESTS_ROPE_CHECK_H

#include <coppice/coppice.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define X_ATOMS 4096
#define X_MADES 20000

/* What has been made, some of it gone; a random one is changed. */
typedef struct x_world {
    cop_store *store;
    uint64_t seed;
    cop_atom atom[X_ATOMS];
    cop_atom made[X_MADES]; /* by this transaction */
    uint32_t mades;
    uint32_t atoms, keys, commits, refused;
    bool values;   /* this transaction only changes values */
    uint32_t wide; /* children of a new branch, at most; 0: some */
} x_world;

static inline uint64_t
x_random(x_world *w)
{
    uint64_t z = (w->seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t
x_below(x_world *w, uint32_t n)
{
    return (uint32_t)(x_random(w) >> 32) % n;
}

/* A sample of the atoms that live now. */
static inline int
x_remember(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    x_world *w = context;
    (void)values;
    for (size_t i = 0; i < n; i++)
        w->atom[w->atoms < X_ATOMS ? w->atoms++ : x_below(w, X_ATOMS)] = atoms[i];
    return 0;
}

/* Texts live in a buffer of their own until the next call. */
static inline cop_value
x_scalar(x_world *w)
{
    static const char *const texts[] = {"",       "a",         "quoted \"text\" here",
                                        "Zürich", "line\nend", "~0/*"};
    static char long_text[70000];
    uint64_t r = x_random(w);
    switch (x_below(w, 14)) {
    case 0:
        return cop_null();
    case 1:
        return cop_bool(r & 1);
    case 2:
        return cop_f64((double)(r % 100000) / 100);
    case 3:
    case 4:
        return cop_string(texts[r % 6], strlen(texts[r % 6]));
    case 5:
        return cop_bytes("bytes that are long", r % 19);
    case 6:
        return cop_error_value("failed for a reason", r % 19);
    case 7:
        memset(long_text, 'l', sizeof long_text);
        return cop_string(long_text, r % (r % 97 == 0 ? 70000 : r % 7 == 0 ? 3000 : 60));
    default:
        return cop_i64((int64_t)(r % (r & 1 ? 20 : 1000000000)));
    }
}

static inline cop_value
x_any(x_world *w)
{
    uint32_t kind = x_below(w, 10);
    return kind == 0 ? cop_object() : kind == 1 ? cop_array() : x_scalar(w);
}

/* A child of a branch of the transaction's; nothing when it is no branch. */
static inline void
x_add_child(x_world *w, cop_txn *txn, cop_atom branch, const cop_value *value)
{
    cop_value is;
    cop_atom *made = &w->made[w->mades];
    char key[40];
    if (w->mades < X_MADES - 1)
        w->mades++;
    if (cop_txn_get(txn, branch, &is) != COP_OK)
        return;
    if (is.type == COP_ARRAY) {
        uint32_t at = x_below(w, 4) ? COP_AT_END : x_below(w, 40) ? 0 : x_below(w, 20);
        if (cop_txn_insert(txn, branch, at, value, made) != COP_OK)
            return;
    } else if (is.type == COP_OBJECT) {
        uint32_t number = x_below(w, 40) ? w->keys++ : x_below(w, 300);
        int n = snprintf(key, sizeof key, "%s%u", x_below(w, 9) ? "k" : "~\"key ü", number);
        if (cop_txn_set_child(txn, branch, key, (size_t)n, value, made) != COP_OK)
            return;
    } else {
        return;
    }
    if (w->mades == X_MADES - 1)
        return; /* the last handle is everybody's */
    uint32_t children =
        value->type < COP_OBJECT || x_below(w, 2) ? 0 : x_below(w, w->wide ? w->wide : 20);
    for (uint32_t i = 0; i < children; i++) {
        cop_value inner = x_any(w);
        if (inner.type < COP_OBJECT)
            x_add_child(w, txn, *made, &inner);
    }
}

/* An atom that lived before this transaction, and may have gone in it. */
static inline cop_atom
x_living(x_world *w, cop_txn *txn, cop_value *is)
{
    for (unsigned tries = 0; w->atoms > 0 && tries < 20; tries++) {
        cop_atom atom = w->atom[x_below(w, w->atoms)];
        if (cop_txn_get(txn, atom, is) == COP_OK && is->type != COP_NONE)
            return atom;
    }
    is->type = COP_OBJECT;
    return cop_root();
}

static inline void
x_change(x_world *w, cop_txn *txn)
{
    cop_value value, is;
    cop_atom atom = x_living(w, txn, &is);
    if (w->values && is.type >= COP_OBJECT)
        return;
    uint32_t what = x_below(w, 100);
    if (is.type >= COP_OBJECT && what < 80) {
        value = x_any(w);
        x_add_child(w, txn, atom, &value);
    } else if (what < 88) {
        value = x_scalar(w);
        if (is.type < COP_OBJECT)
            (void)(cop_txn_set(txn, atom, &value));
    } else if (what < 90 && atom.id != 0) {
        (void)(cop_txn_clear(txn, atom));
    } else if (what < 94 && atom.id != 0) {
        if (is.type >= COP_OBJECT)
            (void)(cop_txn_clear(txn, atom));
        value = x_any(w);
        (void)(cop_txn_set(txn, atom, &value));
    } else if (atom.id != 0 && x_below(w, 3) == 0) {
        (void)(cop_txn_erase(txn, atom));
    }
}

/* A few changes at once. Some transactions are refused (a position beyond the end, a value in place
 * of children): those change nothing. */
static inline void
x_commit(x_world *w, uint32_t changes)
{
    cop_txn *txn;
    w->mades = 0;
    if (cop_txn_begin(w->store, &txn) != COP_OK)
        abort();
    w->values = x_below(w, 2) == 0;
    for (uint32_t i = 0; i < changes; i++)
        x_change(w, txn);
    w->refused += cop_txn_commit(txn, NULL, NULL) != COP_OK;
    w->commits++;
    cop_pin_t pin = cop_pin(w->store);
    w->atoms = 0;
    if (cop_scan(pin.snapshot, x_remember, w) != COP_OK)
        abort();
    cop_unpin(pin);
}

/* ---- comparing ---- */

typedef struct x_bytes {
    char *at;
    size_t n, capacity;
} x_bytes;

static inline int
x_take(void *context, const char *bytes, size_t n)
{
    x_bytes *b = context;
    if (b->n + n > b->capacity) {
        b->capacity = (b->n + n) * 2;
        b->at = realloc(b->at, b->capacity);
        if (b->at == NULL)
            abort();
    }
    memcpy(b->at + b->n, bytes, n);
    b->n += n;
    return 0;
}

/* The text's bytes are these, by ranges from the beginning and by copies from anywhere. */
static inline bool
x_rope_is(x_world *w, const cop_rope *rope, const x_bytes *expected)
{
    struct iovec ranges[7];
    uint64_t at = 0;
    size_t n;
    char some[100];
    if (cop_rope_length(rope) != expected->n)
        return false;
    while ((n = cop_rope_ranges(rope, at, ranges, 7)) > 0)
        for (size_t i = 0; i < n; i++) {
            if (ranges[i].iov_len > expected->n - at ||
                memcmp(ranges[i].iov_base, expected->at + at, ranges[i].iov_len) != 0)
                return false;
            at += ranges[i].iov_len;
        }
    if (at != expected->n)
        return false;
    at = x_random(w) % (expected->n + 1);
    n = cop_rope_copy(rope, at, some, sizeof some);
    return n == (expected->n - at < sizeof some ? expected->n - at : sizeof some) &&
           memcmp(some, expected->at + at, n) == 0;
}

/* The text of this atom is what cop_json_write says of it. */
static inline bool
x_same(x_world *w, const cop_snapshot *snapshot, cop_atom atom)
{
    x_bytes expected = {NULL, 0, 0};
    cop_rope *rope = NULL;
    bool same = cop_json_write(snapshot, atom, NULL, x_take, &expected) == COP_OK &&
                cop_json_rope(snapshot, atom, &rope) == COP_OK && x_rope_is(w, rope, &expected);
    if (!same && rope != NULL && getenv("X_SHOW") != NULL) {
        char *is = malloc(cop_rope_length(rope) + 1);
        is[cop_rope_copy(rope, 0, is, cop_rope_length(rope))] = '\0';
        fprintf(stderr, "expected %.*s\nis       %s\n", (int)expected.n, expected.at, is);
        free(is);
    }
    cop_rope_drop(rope);
    free(expected.at);
    return same;
}

/* A living branch. */
static inline cop_atom
x_branch(x_world *w, const cop_snapshot *snapshot)
{
    for (unsigned tries = 0; tries < 50 && w->atoms > 0; tries++) {
        cop_value value;
        cop_atom atom = w->atom[x_below(w, w->atoms)];
        if (cop_get(snapshot, atom, &value) == COP_OK && value.type >= COP_OBJECT)
            return atom;
    }
    return cop_root();
}

#endif
