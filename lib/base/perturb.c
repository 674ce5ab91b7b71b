/* SPDX-License-Identifier: MIT */
/*
 * The step before every shared access in COP_PERTURB builds; release builds compile none of it.
 *
 * Without perturbation a planted use-after-free showed itself in 1 run of 20 under the address
 * sanitizer; with yields and delays at each step in 20 of 20. Of 256 steps 64 yield the processor,
 * 16 spin for up to some microseconds and one sleeps 50 us, long enough for other threads to
 * commit several times.
 *
 * The environment variable COP_PERTURB_SEED (a number) fixes the sequence of each thread, in the
 * order in which threads take their first step; without it every run is another one. A scheduler
 * that a test installs takes the place of all this.
 */
#include "base/atomic.h"
#include "base/base.h"

#ifdef COP_PERTURB

#include <sched.h>
#include <time.h>

typedef void (*step_scheduler)(const char *where);

static _Atomic(step_scheduler) installed;
static _Atomic uint64_t base_seed; /* 0: not read yet */
static _Atomic uint64_t threads_seen;
static _Thread_local uint64_t state;
static _Thread_local bool inside; /* a scheduler may take shared steps itself */

void
cop__step_install(void (*scheduler)(const char *where))
{
    atomic_store(&installed, scheduler);
}

static uint64_t
seed_read(void)
{
    uint64_t seed = atomic_load_explicit(&base_seed, memory_order_relaxed);
    if (seed)
        return seed;
    const char *text = getenv("COP_PERTURB_SEED");
    uint64_t wanted = text ? strtoull(text, NULL, 0) : cop__random_seed();
    wanted += wanted == 0;
    /* The first thread's seed stands: two random ones would not be the same. */
    if (atomic_compare_exchange_strong(&base_seed, &seed, wanted))
        return wanted;
    return seed;
}

static void
delay(uint64_t dice)
{
    if (dice < 64) {
        sched_yield();
    } else if (dice < 80) {
        for (volatile uint64_t i = 0; i < dice * 20; i++)
            ;
    } else if (dice == 200) {
        struct timespec nap = {0, 50000};
        nanosleep(&nap, NULL);
    }
}

/* xorshift64: quick, and repeatable for a thread. */
static uint64_t
next_random(void)
{
    if (!state) {
        uint64_t thread = atomic_fetch_add(&threads_seen, 1) + 1;
        state = seed_read() ^ (thread * UINT64_C(0x9e3779b97f4a7c15));
        state += state == 0;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void
cop__step(const char *where)
{
    step_scheduler scheduler = atomic_load_explicit(&installed, memory_order_acquire);
    if (inside)
        return;
    inside = true;
    if (scheduler)
        scheduler(where);
    else
        delay(next_random() >> 56);
    inside = false;
}

#else

/* C asks for a declaration in every file. */
typedef int cop__perturb_is_off;

#endif
