/* SPDX-License-Identifier: MIT */
/*
 * The ceiling, in short: rounds at limits of 8 and 16 MiB, half of it live, three writers at full
 * speed, and all that makes a store keep what it would free at once. `memory` counts what the store
 * asks of its allocator, to see whether the store counts the same.
 */
#include <string.h>

#include "bench/memory_load.h"
#include "bench/memory_trouble.h"
#include "tests/stress/common.h"

enum { MIB_BYTES = 1 << 20, SLABS_BYTES = MIB_BYTES, SETTLE_MS = 20000, TRIES = 2000 };

enum { CEILING, GIVEN, NOTHING_LOST, NO_SURPRISE, GOES_ON, ACCOUNT, COMES_BACK };
static const char *const properties[] = {
    "what is counted never passes the limit",
    "what the allocator gave out never passes the limit",
    "what was accepted is there, what was refused has no effect",
    "a transaction is accepted or refused for memory, and for nothing else",
    "writers go on when the trouble has ended",
    "what is counted is what the allocator gave out, but for the readers' slabs",
    "what nobody holds any more is freed",
};

/* --- the allocator -------------------------------------------------------------------------------
 */

typedef struct account {
    _Atomic uint64_t given, peak;
} account;

static void *
account_allocate(void *context, size_t size, size_t alignment)
{
    account *a = context;
    void *memory = cop_allocator_libc().allocate(NULL, size, alignment);
    if (memory == NULL)
        return NULL;
    uint64_t given = atomic_fetch_add(&a->given, size) + size, peak = atomic_load(&a->peak);
    while (given > peak && !atomic_compare_exchange_weak(&a->peak, &peak, given))
        continue;
    return memory;
}

static void
account_release(void *context, void *memory, size_t size, size_t alignment)
{
    account *a = context;
    atomic_fetch_sub(&a->given, size);
    cop_allocator_libc().release(NULL, memory, size, alignment);
}

/* --- a round -------------------------------------------------------------------------------------
 */

static memory_load load;
static memory_trouble trouble;
static account memory;

static cop_stats
stats_now(void)
{
    cop_stats stats = COP_STATS_INIT;
    stress_need(cop_stats_take(load.store, &stats), "stats");
    return stats;
}

static void
open_round(uint64_t limit, bool wait)
{
    memory_settings settings = {.limit = limit,
                                .live_bytes = limit / 2,
                                .atoms = (uint32_t)(limit / 2 / 160),
                                .writers = stress.threads,
                                .wait = wait};
    atomic_store(&memory.given, 0);
    atomic_store(&memory.peak, 0);
    settings.allocator = (cop_allocator){account_allocate, account_release, NULL, &memory};
    if (!memory_load_prepare(&load, &settings))
        stress_need(COP_E_MEMORY, "tables");
    stress_need(memory_load_open(&load), "fill");
    stress_need(cop_reader_register(load.store), "register");
}

/* The peak, not bytes_held: that has in it, for a moment, a request that is being refused. */
static void
check_ceiling(uint64_t limit)
{
    uint64_t peak = stats_now().bytes_peak, given = atomic_load(&memory.peak);
    stress_check(CEILING, peak <= limit, "%" PRIu64 " bytes, the limit is %" PRIu64, peak, limit);
    stress_check(GIVEN, given <= limit, "%" PRIu64 " bytes, the limit is %" PRIu64, given, limit);
}

static void
run_round(uint64_t limit, unsigned kinds, unsigned ms)
{
    stress_need(memory_load_start(&load), "writers");
    stress_sleep_us(ms * 200);
    if (!memory_trouble_begin(&trouble, load.store, kinds))
        stress_need(COP_E_MEMORY, "trouble");
    for (unsigned slept = 0; slept < ms; slept += 10) {
        stress_sleep_us(10000);
        check_ceiling(limit);
    }
    memory_load_stop(&load);
    memory_totals totals = memory_load_totals(&load);
    stress_count(totals.accepted);
    stress_check(NO_SURPRISE, totals.failed == 0, "%" PRIu64 " failed, the first refusals: %s",
                 totals.failed, load.writer[0].message[0].text);
}

/* While all is still held, and the store at its limit. */
static void
check_nothing_lost(void)
{
    cop_pin_t pin = cop_pin(load.store);
    if (pin.snapshot == NULL)
        stress_need(cop_pin_status(), "pin");
    memory_verdict verdict = memory_load_verify(&load, pin.snapshot);
    stress_check(NOTHING_LOST, verdict.wrong == 0,
                 "%" PRIu64 " of %" PRIu64 " wrong; the first: %s", verdict.wrong, verdict.compared,
                 verdict.first);
    cop_unpin(pin);
}

static void
check_comes_back(void)
{
    uint64_t left = 1, deadline = stress_now_ns() + SETTLE_MS * UINT64_C(1000000);
    while (left != 0 && stress_now_ns() < deadline) {
        stress_need(cop_store_poll(load.store), "poll");
        cop_stats stats = stats_now();
        left = stats.pages_dead + stats.values_dead + stats.names_dead + stats.held_versions;
    }
    stress_check(COMES_BACK, left == 0, "%" PRIu64 " pages, values, names and versions left", left);
}

static void
check_goes_on(void)
{
    uint64_t before = memory_load_totals(&load).accepted, after = before;
    for (int i = 0; i < TRIES && after == before; i++) {
        memory_load_run(&load, 1);
        after = memory_load_totals(&load).accepted;
    }
    stress_check(GOES_ON, after > before, "nothing of %d transactions was accepted; %s", TRIES,
                 load.writer[0].message[0].text);
}

/* Nobody asks for memory any more. */
static void
check_account(void)
{
    uint64_t held = stats_now().bytes_held, given = atomic_load(&memory.given);
    stress_check(ACCOUNT, held >= given && held <= given + SLABS_BYTES,
                 "%" PRIu64 " bytes are counted, %" PRIu64 " were given out", held, given);
}

/* Every third round holds no snapshots: they alone bring writers to a stand. */
static void
round_of(unsigned round)
{
    uint64_t limit = (round % 2 == 0 ? 8 : 16) * (uint64_t)MIB_BYTES;
    unsigned kinds = round % 3 == 2 ? TROUBLE_ALL & ~TROUBLE_SNAPSHOTS : TROUBLE_ALL;
    unsigned ms = (unsigned)(stress.seconds * 150 < 2000 ? stress.seconds * 150 : 2000);
    open_round(limit, round % 4 >= 2);
    run_round(limit, kinds, ms);
    check_nothing_lost();
    memory_trouble_end(&trouble);
    check_comes_back();
    check_goes_on();
    check_nothing_lost();
    check_ceiling(limit);
    check_account();
    memory_load_close(&load);
}

int
main(int argc, char **argv)
{
    stress_start(argc, argv, 3);
    if (stress.threads > MEMORY_WRITERS)
        stress.threads = MEMORY_WRITERS;
    stress_properties(properties, sizeof properties / sizeof properties[0]);
    for (unsigned round = 0; !stress_over(); round++)
        round_of(round);
    return stress_finish();
}
