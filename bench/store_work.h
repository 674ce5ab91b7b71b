/* SPDX-License-Identifier: MIT */
/*
 * Workload A: the keys, the values and one million random queries, prepared in advance. One
 * process measures one system, so that the workload is a global of the process.
 */
#ifndef COPPICE_BENCH_STORE_WORK_H
#define COPPICE_BENCH_STORE_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bench/clock.h"

#define BENCH_NAME_WORDS 3 /* "users/000123/balance-usd" is 24 bytes */
#define BENCH_VALUE_WORDS 8

typedef struct bench_work {
    bool by_name; /* str24: keys are paths; otherwise int8: key = id */
    uint32_t keys;
    uint32_t queries;     /* how many are prepared */
    uint32_t value_bytes; /* 64, or 16: what fits beside the key ("inline") */
    uint32_t *query_id;   /* query -> id */
    uint64_t *query_key;  /* query -> key of bench_key_words() words, in the order of use */
} bench_work;

/* Prepares a workload; false when out of memory. */
bool bench_work_init(bench_work *work, bool by_name, uint32_t keys, uint32_t value_bytes);
void bench_work_free(bench_work *work);

static inline size_t
bench_key_words(bool by_name)
{
    return by_name ? BENCH_NAME_WORDS : 1;
}

/* The key of an id. */
void bench_key_make(uint64_t *key, uint32_t id, bool by_name);

static inline const uint64_t *
bench_query(const bench_work *work, size_t query, bool by_name)
{
    return work->query_key + query * bench_key_words(by_name);
}

static inline bool
bench_key_equal(const uint64_t *a, const uint64_t *b, bool by_name)
{
    if (!by_name)
        return a[0] == b[0];
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static inline uint64_t
bench_mix(uint64_t x, uint64_t y)
{
    __uint128_t m = (__uint128_t)x * y;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* The hash that all hash tables here are given, so that they differ in nothing else. */
static inline uint64_t
bench_key_hash(const uint64_t *key, bool by_name)
{
    uint64_t h = bench_mix(key[0] ^ 0xa0761d6478bd642full, 0xe7037ed1a0b428dbull);
    if (by_name)
        h = bench_mix(bench_mix(key[1] ^ h, key[2] ^ 0x8ebc6af09c88c6e3ull), 0x589965cc75374cc3ull);
    return h;
}

static inline void
bench_value_make(uint64_t *words, uint32_t value_bytes, uint64_t stamp)
{
    for (uint32_t i = 0; i < value_bytes / 8; i++)
        words[i] = stamp + i;
}

static inline uint64_t
bench_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Resident bytes of this process. */
uint64_t bench_rss(void);

/* Bytes in use in malloc's books: what the peers that use malloc hold. */
uint64_t bench_malloc_bytes(void);

/* CPUs this process may use; ties the calling thread to the n-th of them (modulo their number), or
 * to all of them. To be asked before the first call of bench_pin_cpu. */
unsigned bench_cpus(void);
void bench_pin_cpu(unsigned n);
void bench_unpin_cpu(void);

#endif
