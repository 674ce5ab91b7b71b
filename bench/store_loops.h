/* SPDX-License-Identifier: MIT */
/*
 * The loops over queries, included once by each system after it has defined
 *
 *     struct bench_reader { ... };
 *     typedef ... sys_held;   what a pin gives, kept in registers
 *     static inline sys_held sys_pin(bench_reader *reader);
 *     static inline void sys_unpin(bench_reader *reader, sys_held held);
 *     static inline uint64_t sys_get(sys_held held, size_t query, bool by_name);
 *     static const bench_work *work;
 *
 * by_name is a constant in each copy of a loop.
 */
#include "bench/store_case.h"

__attribute__((always_inline)) static inline uint64_t
loop_lookup_(bench_reader *reader, size_t from, size_t n, bool by_name)
{
    uint64_t sum = 0;
    sys_held held = sys_pin(reader);
    for (size_t i = from; i < from + n; i++)
        sum += sys_get(held, i, by_name);
    sys_unpin(reader, held);
    return sum;
}

__attribute__((always_inline)) static inline uint64_t
loop_pin_lookup_(bench_reader *reader, size_t from, size_t n, bool by_name)
{
    uint64_t sum = 0;
    for (size_t i = from; i < from + n; i++) {
        sys_held held = sys_pin(reader);
        sum += sys_get(held, i, by_name);
        sys_unpin(reader, held);
    }
    return sum;
}

static uint64_t
loop_lookup(bench_reader *reader, size_t from, size_t n)
{
    return work->by_name ? loop_lookup_(reader, from, n, true)
                         : loop_lookup_(reader, from, n, false);
}

static uint64_t
loop_pin_lookup(bench_reader *reader, size_t from, size_t n)
{
    return work->by_name ? loop_pin_lookup_(reader, from, n, true)
                         : loop_pin_lookup_(reader, from, n, false);
}

static void
loop_pin(bench_reader *reader, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sys_unpin(reader, sys_pin(reader));
}

static sys_held loop_held; /* between hold and release */

static void
loop_hold(bench_reader *reader)
{
    loop_held = sys_pin(reader);
    (void)sys_get(loop_held, 0, work->by_name);
}

static void
loop_release(bench_reader *reader)
{
    sys_unpin(reader, loop_held);
}
