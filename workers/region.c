/* SPDX-License-Identifier: MIT */
/*
 * Sharing a run of items, and deciding whether to.
 *
 * One word holds what is not claimed yet, as [begin, end). The owner claims at its beginning,
 * workers at its end, so that each goes through memory in one direction. A chunk is a part of what
 * is left (guided), so early chunks are large and the last ones small.
 *
 * ORDERING.
 * 1. The owner writes run and context, then publishes the word (release); a claim acquires it and
 *    reads them afterwards. They are not written again before that claim's items are done, since
 * the owner waits for them. So a claim needs no number of the run: one that was computed from an
 *    older word of equal bits succeeds in the run that is on, with that run's parameters. Only
 *    least_chunk may be another run's; any size of chunk is right.
 * 2. A worker adds to done (release) after its items; the owner acquires done when it has reached
 *    what the owner did not do itself. No worker touches this run's state after that.
 * 3. Sleeping: the owner sets waiting, then compares done in the kernel; a worker adds to done,
 * then loads waiting; all sequentially consistent, so one sees the other. A wake that arrives in a
 *    later run, or in a later region of the same slot, is a spurious one.
 * 4. lanes only grows, so a worker that reads it late reads too small a number, and stays away.
 * 5. Waking parked workers: event_count.h; the word is published before they are notified. A run
 *    that notifies nobody is found by those searching, or by nobody: its owner does it all.
 *
 * Nobody waits for a worker that has claimed nothing. One that has, and was preempted, costs its
 * slice of time; cop__region_account then switches sharing off for a while.
 */
#include "workers/region.h"

#include "workers/pool_internal.h"

#define STALL_NS 20000.0      /* spinning for a chunk beyond the time it should take */
#define ITEM_OVERHEAD_NS 10.0 /* what sharing an item costs: its data changes CPU */
#define WORTH_NS 600.0        /* saving that is worth a run among threads that are awake */
#define WAKE_NS 75000.0       /* saving missed lately that would pay for a wake */
#define WAKE_NS_MAX 300000.0  /* no more of it than that is remembered */
#define WAKE_LEAK 0.125       /* savings below this part of the time that passes do not add up */
#define CREDIT_START_NS 1000000.0
#define CREDIT_MAX_NS 3000000.0
#define CREDIT_OFF_NS (-20000.0)
#define OFF_FIRST_NS UINT64_C(2000000) /* and twice that each time, */
#define OFF_DOUBLINGS 7u               /* up to 256 ms */
#define GOOD_RUNS 200u                 /* with a gain before it is halved again */

struct cop__region {
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t word; /* begin, end << 32 */
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t done; /* by workers; futex */
    _Atomic uint32_t waiting;
    /* Read by workers, seldom written. */
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t lanes;
    _Atomic uint32_t least;
    cop__region_function run;
    void *context;
    /* The owner's. */
    _Alignas(COP_CACHE_LINE) cop_pool *pool;
    bool open;     /* under the pool's regions_lock */
    bool detached; /* not among the pool's regions: there are too many */
    bool wake;     /* parked workers, in the next run */
    unsigned off_doublings, good;
    uint64_t off_until;
    double missed_ns, credit_ns, item_ns;
    uint64_t missed_at;
    _Atomic uint64_t runs, stalls;
};

static uint64_t
word_of(uint32_t begin, uint32_t end)
{
    return begin | (uint64_t)end << 32;
}

/* ---- opening and closing ---- */

static void
reset(cop__region *region)
{
    region->open = true;
    region->wake = true;
    region->off_doublings = 0;
    region->good = 0;
    region->off_until = 0;
    region->missed_ns = 0;
    region->missed_at = 0;
    region->credit_ns = CREDIT_START_NS;
    region->item_ns = 0;
    region->run = NULL;
    region->context = NULL;
    cop__store_relaxed(&region->runs, UINT64_C(0));
    cop__store_relaxed(&region->stalls, UINT64_C(0));
}

static cop__region *
region_new(cop_pool *pool)
{
    cop__region *region = aligned_alloc(COP_CACHE_LINE, sizeof *region);
    if (!region)
        return NULL;
    memset(region, 0, sizeof *region);
    region->pool = pool;
    atomic_init(&region->lanes, 1);
    return region;
}

/* One that was closed, else a new one. lanes stays as it is in a used slot (argument 4). */
static cop__region *
region_get(cop_pool *pool)
{
    uint32_t made = cop__load_relaxed(&pool->regions_made);
    for (uint32_t i = 0; i < made; i++) {
        cop__region *region = cop__load_relaxed(&pool->regions[i]);
        if (!region->open)
            return region;
    }
    cop__region *region = region_new(pool);
    if (!region)
        return NULL;
    if (made == COP_POOL_REGIONS_MAX) {
        region->detached = true;
        return region;
    }
    cop__store_relaxed(&pool->regions[made], region);
    cop__store_release(&pool->regions_made, made + 1);
    return region;
}

cop__region *
cop__region_open(cop_pool *pool)
{
    if (!pool || cop__pool_forked(pool))
        return NULL;
    pthread_mutex_lock(&pool->regions_lock);
    cop__region *region = region_get(pool);
    if (region)
        reset(region);
    pthread_mutex_unlock(&pool->regions_lock);
    return region;
}

void
cop__region_close(cop__region *region)
{
    if (!region || cop__pool_forked(region->pool))
        return;
    cop_pool *pool = region->pool;
    cop__add_relaxed(&pool->runs, cop__load_relaxed(&region->runs));
    cop__add_relaxed(&pool->stalls, cop__load_relaxed(&region->stalls));
    if (region->detached) {
        free(region);
        return;
    }
    pthread_mutex_lock(&pool->regions_lock);
    cop__store_relaxed(&region->runs, UINT64_C(0));
    cop__store_relaxed(&region->stalls, UINT64_C(0));
    region->open = false;
    pthread_mutex_unlock(&pool->regions_lock);
}

void
cop__region_free(cop__region *region)
{
    free(region);
}

void
cop__region_counts(const cop__region *region, uint64_t *runs, uint64_t *stalls)
{
    *runs += cop__load_relaxed(&region->runs);
    *stalls += cop__load_relaxed(&region->stalls);
}

unsigned
cop__region_lanes(cop__region *region)
{
    if (!region || region->detached || cop__pool_forked(region->pool))
        return region ? cop__load_relaxed(&region->lanes) : 1;
    uint32_t lanes = cop__load_relaxed(&region->lanes);
    uint32_t now = cop__load_relaxed(&region->pool->threads) + 1;
    if (now <= lanes)
        return lanes;
    cop__store_relaxed(&region->lanes, now);
    return now;
}

/* ---- claiming ---- */

/* The size of a chunk out of what is left, when up to `lanes` share it. */
static uint32_t
chunk_of(uint32_t left, uint32_t least, uint32_t lanes)
{
    uint32_t size = left / (2 * lanes);
    size = size < least ? least : size;
    size += size == 0;
    return size < left ? size : left;
}

bool
cop__region_claim(cop__region *region, unsigned lane, cop__chunk *chunk)
{
    uint64_t word = cop__load_relaxed(&region->word);
    for (;;) {
        uint32_t begin = (uint32_t)word, end = (uint32_t)(word >> 32);
        if (begin >= end)
            return false;
        uint32_t lanes = cop__load_relaxed(&region->lanes);
        if (lane >= lanes)
            return false;
        uint32_t size = chunk_of(end - begin, cop__load_relaxed(&region->least), lanes);
        if (cop__cas_seq_cst(&region->word, &word, word_of(begin, end - size))) {
            *chunk = (cop__chunk){region, end - size, end};
            return true;
        }
    }
}

void
cop__region_work(const cop__chunk *chunk, unsigned lane)
{
    cop__region *region = chunk->region;
    region->run(region->context, lane, chunk->begin, chunk->end);
    cop__add_seq_cst(&region->done, chunk->end - chunk->begin);
    /* The region may be in its next run from here on; that is no harm to what follows. */
    if (cop__load_seq_cst(&region->waiting) != 0)
        cop__futex_wake(&region->done, 1);
}

/* Works from the beginning until nothing is unclaimed. How many items; *last is the last chunk. */
static uint32_t
work_along(cop__region *region, uint32_t least, uint32_t *last)
{
    uint64_t word = cop__load_relaxed(&region->word);
    uint32_t lanes = cop__load_relaxed(&region->lanes), mine = 0;
    *last = 0;
    for (;;) {
        uint32_t begin = (uint32_t)word, end = (uint32_t)(word >> 32);
        if (begin >= end)
            return mine;
        uint32_t size = chunk_of(end - begin, least, lanes);
        if (!cop__cas_seq_cst(&region->word, &word, word_of(begin + size, end)))
            continue;
        region->run(region->context, 0, begin, begin + size);
        mine += size;
        *last = size;
        word = cop__load_relaxed(&region->word);
    }
}

/* ---- running ---- */

static void
sleep_until_done(cop__region *region, uint32_t need)
{
    uint32_t done;
    cop__count_up(&region->stalls, 1);
    (void)cop__swap_seq_cst(&region->waiting, 1u);
    while ((done = cop__load_seq_cst(&region->done)) != need)
        cop__futex_wait(&region->done, done, UINT64_MAX);
    cop__store_relaxed(&region->waiting, 0u);
}

static void
wait_for_workers(cop__region *region, uint32_t need, double spin_ns)
{
    uint64_t begin = 0;
    for (uint32_t spins = 1; cop__load_acquire(&region->done) != need; spins++) {
        cop__pause();
        if (spins % 64 != 0)
            continue;
        uint64_t now = cop__clock_ns();
        if (begin == 0)
            begin = now;
        if ((double)(now - begin) > spin_ns) {
            sleep_until_done(region, need);
            return;
        }
    }
}

/* How many of n workers can run beside the owner: more would take its CPU. */
static uint32_t
useful(const cop_pool *pool, uint32_t n)
{
    return n < pool->cpus - 1 ? n : pool->cpus - 1;
}

static void
publish(cop__region *region, uint32_t items, uint32_t least, cop__region_function run,
        void *context)
{
    if (region->run != run)
        region->run = run;
    if (region->context != context)
        region->context = context;
    if (cop__load_relaxed(&region->least) != least)
        cop__store_relaxed(&region->least, least);
    cop__store_relaxed(&region->done, 0u);
    cop__store_release(&region->word, word_of(0, items));
    if (region->wake)
        cop__pool_notify(region->pool, useful(region->pool, items / (least + (least == 0))));
    region->wake = true;
}

/* On one CPU a worker could only take the owner's place. */
static bool
may_share(cop__region *region)
{
    return cop__load_relaxed(&region->lanes) > 1 && region->pool->cpus > 1 &&
           !cop__pool_forked(region->pool);
}

void
cop__region_run(cop__region *region, uint32_t items, uint32_t least_chunk, cop__region_function run,
                void *context)
{
    if (items == 0)
        return;
    if (!region || items <= least_chunk || items < 2 || !may_share(region)) {
        run(context, 0, 0, items);
        return;
    }
    uint32_t last;
    uint64_t begin = cop__clock_ns();
    publish(region, items, least_chunk, run, context);
    uint32_t mine = work_along(region, least_chunk, &last);
    uint64_t end = cop__clock_ns();
    cop__count_up(&region->runs, 1);
    region->item_ns = mine > 0 ? (double)(end - begin) / mine : 0;
    if (mine < items)
        wait_for_workers(region, items - mine, STALL_NS + region->item_ns * last);
}

double
cop__region_item_ns(const cop__region *region)
{
    return region ? region->item_ns : 0;
}

/* ---- policy ---- */

/* What parked workers could have saved lately; a bucket with a leak, so that savings that are few
 * and far between wake nobody. */
static bool
worth_waking(cop__region *region, double saving_ns, uint64_t now)
{
    double leaked = (double)(now - region->missed_at) * WAKE_LEAK;
    double missed = region->missed_ns > leaked ? region->missed_ns - leaked : 0;
    missed += saving_ns;
    region->missed_ns = missed < WAKE_NS_MAX ? missed : WAKE_NS_MAX;
    region->missed_at = now;
    return missed >= WAKE_NS;
}

/* What `others` save of the owner's time. */
static double
saving(uint32_t items, double ns_per_item, uint32_t others)
{
    double share = (double)others / (others + 1);
    return items * (ns_per_item * share - ITEM_OVERHEAD_NS);
}

bool cop__region_always;

bool
cop__region_worth(cop__region *region, uint32_t items, double ns_per_item)
{
    if (cop__region_always && region != NULL)
        return region->wake = items > 1 && cop__load_relaxed(&region->lanes) > 1;
    if (!region || items < 2 || !(ns_per_item > COP_REGION_ITEM_NS) ||
        cop__load_relaxed(&region->lanes) == 1)
        return false;
    cop_pool *pool = region->pool;
    uint32_t threads = cop__load_relaxed(&pool->threads);
    uint32_t parked = cop__event_parked(&pool->events);
    if (threads == 0 || pool->cpus == 1)
        return false;
    uint32_t most = useful(pool, threads < items - 1 ? threads : items - 1);
    double saving_ns = saving(items, ns_per_item, most);
    if (saving_ns < WORTH_NS)
        return false;
    uint64_t now = cop__clock_ns();
    if (now < region->off_until)
        return false;
    region->wake = parked > 0 && worth_waking(region, saving_ns, now);
    uint32_t awake = useful(pool, threads > parked ? threads - parked : 0);
    return region->wake || (awake > 0 && saving(items, ns_per_item, awake) >= WORTH_NS);
}

static void
switch_off(cop__region *region)
{
    region->off_until = cop__clock_ns() + (OFF_FIRST_NS << region->off_doublings);
    if (region->off_doublings < OFF_DOUBLINGS)
        region->off_doublings++;
    region->credit_ns = 0;
    region->missed_ns = 0;
    region->good = 0;
}

void
cop__region_account(cop__region *region, uint32_t items, double ns_per_item, uint64_t elapsed_ns)
{
    if (!region)
        return;
    double gain = items * ns_per_item - (double)elapsed_ns;
    double credit = region->credit_ns + gain;
    region->credit_ns = credit < CREDIT_MAX_NS ? credit : CREDIT_MAX_NS;
    if (region->credit_ns < CREDIT_OFF_NS) {
        switch_off(region);
    } else if (gain > 0 && region->credit_ns > CREDIT_START_NS && ++region->good > GOOD_RUNS) {
        region->good = 0;
        region->off_doublings -= region->off_doublings > 0;
    }
}
