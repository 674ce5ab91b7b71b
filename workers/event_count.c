/* SPDX-License-Identifier: MIT */
/* Registering, waiting and waking: see event_count.h. */
#include "workers/event_count.h"

#define ONE_WAITING UINT64_C(1)
#define ONE_TOKEN (UINT64_C(1) << 16)
#define ONE_SEARCHING (UINT64_C(1) << 32)
#define FIELD UINT64_C(0xffff)

static uint32_t
waiting(uint64_t state)
{
    return (uint32_t)(state & FIELD);
}

static uint32_t
tokens(uint64_t state)
{
    return (uint32_t)(state >> 16 & FIELD);
}

static uint32_t
searching(uint64_t state)
{
    return (uint32_t)(state >> 32 & FIELD);
}

void
cop__event_init(cop__event_count *events)
{
    atomic_init(&events->state, 0);
    atomic_init(&events->epoch, 0);
}

bool
cop__event_search_begin(cop__event_count *events, uint32_t most)
{
    uint64_t state = cop__load_relaxed(&events->state);
    do {
        if (searching(state) + tokens(state) >= most)
            return false;
    } while (!cop__cas_seq_cst(&events->state, &state, state + ONE_SEARCHING));
    return true;
}

bool
cop__event_search_end(cop__event_count *events)
{
    uint64_t before = cop__add_seq_cst(&events->state, -ONE_SEARCHING);
    COP_ASSERT(searching(before) > 0);
    return searching(before) == 1 && tokens(before) == 0;
}

uint32_t
cop__event_prepare(cop__event_count *events, bool was_searching)
{
    cop__add_seq_cst(&events->state, ONE_WAITING - (was_searching ? ONE_SEARCHING : 0));
    return cop__load_acquire(&events->epoch);
}

/* Those registered are as many as W and T together: where W is 0, the caller's token is there. */
void
cop__event_cancel(cop__event_count *events)
{
    uint64_t state = cop__load_relaxed(&events->state), one;
    do {
        one = waiting(state) > 0 ? ONE_WAITING : ONE_TOKEN;
        COP_ASSERT(waiting(state) > 0 || tokens(state) > 0);
    } while (!cop__cas_seq_cst(&events->state, &state, state - one));
}

static bool
take_token(cop__event_count *events)
{
    uint64_t state = cop__load_acquire(&events->state);
    do {
        if (tokens(state) == 0)
            return false;
    } while (!cop__cas_seq_cst(&events->state, &state, state - ONE_TOKEN + ONE_SEARCHING));
    return true;
}

bool
cop__event_wait_until(cop__event_count *events, uint32_t *epoch, uint64_t deadline)
{
    uint32_t now;
    if (COP_FAULT(wake_lost))
        *epoch = cop__load_acquire(&events->epoch); /* and sleeps without a look for a token */
    else if (take_token(events))
        return true;
    while ((now = cop__load_acquire(&events->epoch)) == *epoch) {
        cop__futex_wait(&events->epoch, *epoch, deadline);
        if (deadline != UINT64_MAX && cop__clock_ns() >= deadline)
            break;
    }
    *epoch = now;
    return take_token(events);
}

bool
cop__event_wait(cop__event_count *events, uint32_t *epoch)
{
    return cop__event_wait_until(events, epoch, UINT64_MAX);
}

void
cop__event_nudge(cop__event_count *events)
{
    cop__add_seq_cst(&events->epoch, 1u);
    cop__futex_wake(&events->epoch, 1);
}

void
cop__event_stir(cop__event_count *events)
{
    cop__add_seq_cst(&events->epoch, 1u);
    cop__futex_wake(&events->epoch, INT32_MAX);
}

/* A compare-and-swap is done also where nothing changes: it is what the argument rests on. */
static uint32_t
leave_tokens(cop__event_count *events, uint32_t n, bool even_if_searching)
{
    uint64_t state = cop__load_relaxed(&events->state), k;
    do {
        k = waiting(state) < n ? waiting(state) : n;
        if (!even_if_searching && searching(state) + tokens(state) > 0)
            k = 0;
    } while (!cop__cas_seq_cst(&events->state, &state, state + k * (ONE_TOKEN - ONE_WAITING)));
    if (k > 0) {
        cop__add_seq_cst(&events->epoch, 1u);
        cop__futex_wake(&events->epoch, (int)k);
    }
    return (uint32_t)k;
}

uint32_t
cop__event_notify(cop__event_count *events, uint32_t n)
{
    return leave_tokens(events, n, true);
}

uint32_t
cop__event_post(cop__event_count *events)
{
    return leave_tokens(events, 1, false);
}

uint32_t
cop__event_parked(cop__event_count *events)
{
    return waiting(cop__load_relaxed(&events->state));
}
