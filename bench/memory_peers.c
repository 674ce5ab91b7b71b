/* SPDX-License-Identifier: MIT */
/*
 * The course of a run of a peer: the same writers' load, but for creations, erasures and tickets,
 * and the same trouble where the system has something that can be stalled. What was accepted is
 * not compared afterwards: it is their memory that is looked at here.
 */
#include "bench/memory_peer.h"

#include <stdio.h>
#include <string.h>

#include "bench/clock.h"
#include "bench/memory_run.h"
#include "bench/memory_sample.h"
#include "bench/memory_trouble.h"
#include "bench/report.h"

enum { PEER_ATOM_BYTES = 160, PEER_BATCH = 64 };
#define PEER_CAP ((uint64_t)1 << 30)

typedef struct peer_writer {
    pthread_t thread;
    uint64_t random;
    uint32_t stamp;
    _Alignas(64) _Atomic uint64_t accepted, refused, longest_ns;
} peer_writer;

static const memory_peer *peer;
static uint32_t keys;
static peer_writer writers[MEMORY_WRITERS];
static unsigned writers_count;
static atomic_bool over;

static const memory_peer *
peer_named(const char *system)
{
    const memory_peer *const all[] = {memory_urcu, memory_lmdb};
    for (int i = 0; i < 2; i++)
        if (all[i] != NULL && strcmp(all[i]->name, system) == 0)
            return all[i];
    return NULL;
}

bool
memory_peer_there(const char *system)
{
    return peer_named(system) != NULL;
}

bool
memory_peer_can(const char *system, unsigned kinds)
{
    const memory_peer *p = peer_named(system);
    return p != NULL &&
           (kinds == 0 || kinds == TROUBLE_PIN || (kinds == TROUBLE_SNAPSHOTS && p->snapshots));
}

size_t
memory_peer_value(uint64_t *words, uint32_t key, uint32_t stamp)
{
    size_t n = (memory_cell_bytes(key) + 7) / 8;
    n = n > 0 ? n : 1;
    for (size_t i = 0; i < n; i++)
        words[i] = ((uint64_t)stamp << 32 | key) + i;
    return n;
}

static memory_totals
totals(void)
{
    memory_totals sum = {0, 0, 0, 0, 0};
    for (unsigned i = 0; i < writers_count; i++) {
        uint64_t longest = atomic_load_explicit(&writers[i].longest_ns, memory_order_relaxed);
        sum.accepted += atomic_load_explicit(&writers[i].accepted, memory_order_relaxed);
        sum.refused += atomic_load_explicit(&writers[i].refused, memory_order_relaxed);
        sum.longest_ns = longest > sum.longest_ns ? longest : sum.longest_ns;
    }
    return sum;
}

static uint64_t
accepted(void *context)
{
    (void)context;
    return totals().accepted;
}

static uint64_t
counted(void *context)
{
    (void)context;
    return peer->bytes();
}

static void
enter(void)
{
    if (peer->enter != NULL)
        peer->enter();
}

static void
leave(void)
{
    if (peer->leave != NULL)
        peer->leave();
}

/* --- writers and stalled readers -----------------------------------------------------------------
 */

static uint32_t
random_key(peer_writer *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)((w->random >> 11) % keys);
}

static void
write_once(peer_writer *w)
{
    uint32_t key[MEMORY_EFFECTS];
    unsigned n = 1 + random_key(w) % MEMORY_EFFECTS;
    for (unsigned i = 0; i < n; i++)
        key[i] = random_key(w);
    uint64_t began = bench_wall_ns();
    bool ok = peer->write(key, n, ++w->stamp);
    uint64_t took = bench_wall_ns() - began;
    if (took > atomic_load_explicit(&w->longest_ns, memory_order_relaxed))
        atomic_store_explicit(&w->longest_ns, took, memory_order_relaxed);
    atomic_fetch_add_explicit(ok ? &w->accepted : &w->refused, 1, memory_order_relaxed);
}

static void *
writer_body(void *context)
{
    enter();
    while (!atomic_load_explicit(&over, memory_order_relaxed))
        write_once(context);
    leave();
    return NULL;
}

static void *
stalled_body(void *context)
{
    unsigned most = *(const unsigned *)context == TROUBLE_PIN ? 1 : TROUBLE_FORGOTTEN, n = 0;
    void *held[TROUBLE_FORGOTTEN];
    enter();
    while (!atomic_load(&over)) {
        if (n < most && (held[n] = peer->hold()) != NULL)
            n++;
        memory_sleep_ms(TROUBLE_APART_MS);
    }
    while (n > 0)
        peer->release(held[--n]);
    leave();
    return NULL;
}

/* --- the course ----------------------------------------------------------------------------------
 */

static bool
fill(const memory_case *c, memory_figures *f)
{
    uint64_t live = c->limit / 100 * c->live_percent;
    uint32_t most = (uint32_t)(live / PEER_ATOM_BYTES), key[PEER_BATCH];
    f->baseline = peer->resident();
    if (!peer->open(c->limit, most))
        return false;
    uint64_t before = peer->limited ? 0 : peer->bytes();
    enter();
    while (keys + PEER_BATCH < most && peer->bytes() - before < live) {
        for (unsigned i = 0; i < PEER_BATCH; i++)
            key[i] = keys + i;
        if (!peer->write(key, PEER_BATCH, 0))
            break;
        keys += PEER_BATCH;
    }
    leave();
    f->live_counted = peer->bytes() - before;
    f->live_resident = peer->resident() - f->baseline;
    f->live_atoms = keys;
    return keys > 0;
}

/* Ends early when the cap is reached. */
static void
wait_s(double seconds)
{
    for (int i = 0; i < seconds * 50 && !atomic_load(&over); i++)
        memory_sleep_ms(20);
}

static double
rate(uint64_t from, uint64_t began)
{
    return (double)(accepted(NULL) - from) * 1e9 / (double)(bench_wall_ns() - began);
}

static bool
start_writers(unsigned n)
{
    for (writers_count = 0; writers_count < n; writers_count++) {
        peer_writer *w = &writers[writers_count];
        w->random = 88172645463325252u + writers_count;
        if (pthread_create(&w->thread, NULL, writer_body, w) != 0)
            return false;
    }
    return true;
}

static bool
run(const memory_case *c, memory_figures *f)
{
    unsigned calm = memory_calm(c->seconds), kinds = c->kinds;
    pthread_t stalled;
    uint64_t began = bench_wall_ns();
    if (!start_writers(c->writers))
        return false;
    wait_s(calm);
    f->alone_per_s = rate(0, began);
    if (kinds != 0 && pthread_create(&stalled, NULL, stalled_body, &kinds) != 0)
        return false;
    wait_s((c->seconds - calm) / 2.0);
    uint64_t half = accepted(NULL);
    began = bench_wall_ns();
    wait_s((c->seconds - calm) / 2.0);
    f->with_per_s = rate(half, began);
    f->capped = atomic_exchange(&over, true);
    for (unsigned i = 0; i < writers_count; i++)
        pthread_join(writers[i].thread, NULL);
    if (kinds != 0)
        pthread_join(stalled, NULL);
    return true;
}

static void
tell(memory_figures *f)
{
    f->totals = totals();
    if (f->totals.refused > 0) {
        f->messages = 1;
        (void)snprintf(f->message[0].text, sizeof f->message[0].text, "%s", peer->message());
        f->message[0].times = f->totals.refused;
    }
    memory_sleep_ms(1000);
    f->counted_after = peer->bytes();
    f->resident_after = peer->resident() - f->baseline;
}

bool
memory_peer_run(const memory_case *c, memory_figures *f)
{
    peer = peer_named(c->system);
    if (peer == NULL)
        return false;
    memory_stage(f, "fill");
    if (!fill(c, f)) {
        report_note("%s could not be filled", c->system);
        return false;
    }
    memory_sampler sampler = {.counted = counted,
                              .accepted = accepted,
                              .resident = peer->resident,
                              .baseline = f->baseline,
                              .cap = PEER_CAP,
                              .over = &over,
                              .counted_peak = &f->counted_peak,
                              .resident_peak = &f->resident_peak,
                              .longest_gap_ns = &f->longest_gap_ns};
    memory_stage(f, "run");
    if (!memory_sampler_start(&sampler))
        return false;
    bool ok = run(c, f);
    memory_sampler_stop(&sampler);
    tell(f);
    return ok;
}
