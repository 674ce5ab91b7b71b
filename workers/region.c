/* SPDX-License-Identifier: MIT */
/*
 * Sharing a run of items, and deciding whether to.
 *
 * The items are cut into shares, one for each thread that may come, each with a word that says what
 * of it is not claimed yet, as [begin, end). Who is at home in a share claims at its beginning, half
 * of what is left at a time; who has no more of his own claims at the end of another's. So threads
 * that are there from the beginning hardly meet, the same items go to the same thread run after run,
 * and the share of one who does not come is done by the others.
 *
 * ORDERING.
 * 1. The owner writes run and context, then publishes each share's word (release); a claim acquires
 *    it and reads them afterwards. They are not written again before that claim's items are done,
 *    since the owner waits for them. So a claim needs no number of the run: one that was computed
 *    from an older word of equal bits succeeds in the run that is on, with that run's parameters.
 *    Only least and shares may be another run's; any size of chunk is right, and any home.
 * 2. A worker that has claimed goes on until every share is empty and then adds all that it has done
 *    to done (release). Until then the run does not end, so all of it is of one run. The owner
 *    acquires done when it has reached what the owner did not do itself. No worker touches this
 *    run's state after that.
 * 3. Sleeping: the owner sets waiting, then compares done in the kernel; a worker adds to done, then
 *    loads waiting; all sequentially consistent, so one sees the other. A wake that arrives in a
 *    later run, or in a later region of the same slot, is a spurious one.
 * 4. lanes only grows, so a worker that reads it late reads too small a number, and stays away.
 * 5. Waking parked workers: event_count.h; the words are published before they are notified. A run
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

#define SHARES 8u

/* All that who claims has to know, in one line. */
typedef struct part {
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t word; /* begin, end << 32 */
    cop__region_function run;
    _Atomic(void *) context; /* who claims looks at it before, too, to fetch what is there */
} part;

struct cop__region {
    part share[SHARES];
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t done; /* by workers; futex */
    _Atomic bool waiting;
    /* Read by workers, seldom written. */
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t lanes;
    _Atomic uint32_t least;
    _Atomic uint32_t shares; /* of the last run */
    /* The owner's. */
    _Alignas(COP_CACHE_LINE) cop_pool *pool;
    bool open;     /* under the pool's regions_lock */
    bool detached; /* not among the pool's regions: there are too many */
    bool wake;     /* parked workers, in the next run */
    unsigned off_doublings;
    unsigned good; /* runs, since it was switched off or had its time halved */
    uint64_t off_until;
    double missed_ns, credit_ns;
    double expected_ns; /* an item of the next run; 0: not known */
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
    region->off_until = 0;
    region->missed_ns = 0;
    region->credit_ns = CREDIT_START_NS;
    region->expected_ns = 0;
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
    atomic_init(&region->shares, SHARES);
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

static uint32_t
chunk_of(uint32_t left, uint32_t least)
{
    if (left < 2)
        return left;
    uint32_t half = left / 2, size = half < least ? least : half;
    return size < left ? size : left;
}

/* At home from the beginning of a share, else from its end. */
static bool
claim_of(cop__region *region, part *from, bool home, cop__chunk *chunk)
{
    uint64_t word = cop__load_relaxed(&from->word);
    for (;;) {
        uint32_t begin = (uint32_t)word, end = (uint32_t)(word >> 32);
        if (begin >= end)
            return false;
        uintptr_t context = (uintptr_t)cop__load_relaxed(&from->context);
        __builtin_prefetch((const void *)context); /* comes while the word is fetched for writing */
        __builtin_prefetch((const void *)(context + COP_CACHE_LINE));
        uint32_t size = chunk_of(end - begin, cop__load_relaxed(&region->least));
        uint64_t left = home ? word_of(begin + size, end) : word_of(begin, end - size);
        if (!cop__cas_seq_cst(&from->word, &word, left))
            continue;
        *chunk = (cop__chunk){region, from->run, cop__load_relaxed(&from->context),
                              home ? begin : end - size, home ? begin + size : end};
        return true;
    }
}

static bool
claim(cop__region *region, unsigned lane, cop__chunk *chunk)
{
    uint32_t home = lane % cop__load_relaxed(&region->shares), k = home;
    do {
        if (claim_of(region, &region->share[k], k == home, chunk))
            return true;
        k = (k + 1) % SHARES;
    } while (k != home);
    return false;
}

bool
cop__region_claim(cop__region *region, unsigned lane, cop__chunk *chunk)
{
    return lane < cop__load_relaxed(&region->lanes) && claim(region, lane, chunk);
}

/* Until nothing is unclaimed, from a first chunk on. How many items; *last is the last chunk's. */
static uint32_t
work_along(cop__chunk *chunk, unsigned lane, uint32_t *last, uint32_t *chunks)
{
    uint32_t items = 0;
    *chunks = 0;
    do {
        chunk->run(chunk->context, lane, chunk->begin, chunk->end);
        *last = chunk->end - chunk->begin;
        items += *last;
        ++*chunks;
    } while (claim(chunk->region, lane, chunk));
    return items;
}

uint32_t
cop__region_work(cop__chunk *chunk, unsigned lane)
{
    cop__region *region = chunk->region;
    uint32_t last, chunks, items = work_along(chunk, lane, &last, &chunks);
    cop__add_seq_cst(&region->done, items);
    /* The region may be in its next run from here on; that is no harm to what follows. */
    if (cop__load_seq_cst(&region->waiting))
        cop__futex_wake(&region->done, 1);
    return chunks;
}

/* ---- running ---- */

static void
sleep_until_done(cop__region *region, uint32_t need)
{
    uint32_t done;
    cop__count_up(&region->stalls, 1);
    (void)cop__swap_seq_cst(&region->waiting, true);
    while ((done = cop__load_seq_cst(&region->done)) != need)
        cop__futex_wait(&region->done, done, UINT64_MAX);
    cop__store_relaxed(&region->waiting, false);
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
    uint32_t others = pool->cpus - 1;
    return n < others ? n : others;
}

/* A share for each that may come: the owner's first. */
static uint32_t
shares_of(const cop__region *region, uint32_t items)
{
    uint32_t n = useful(region->pool, cop__load_relaxed(&region->pool->threads)) + 1;
    n = n < SHARES ? n : SHARES;
    return n < items ? n : items;
}

static void
publish(cop__region *region, uint32_t items, uint32_t least, cop__region_function run,
        void *context)
{
    uint32_t shares = shares_of(region, items);
    if (cop__load_relaxed(&region->least) != least)
        cop__store_relaxed(&region->least, least);
    if (cop__load_relaxed(&region->shares) != shares)
        cop__store_relaxed(&region->shares, shares);
    cop__store_relaxed(&region->done, 0u);
    for (uint32_t i = shares; i-- > 0;) { /* the owner's last: the others have a way to go */
        part *to = &region->share[i];
        to->run = run;
        cop__store_relaxed(&to->context, context);
        cop__store_release(&to->word, word_of((uint32_t)((uint64_t)items * i / shares),
                                              (uint32_t)((uint64_t)items * (i + 1) / shares)));
    }
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
    cop__chunk chunk;
    uint32_t last = 0, chunks, mine = 0;
    publish(region, items, least_chunk, run, context);
    if (claim(region, 0, &chunk))
        mine = work_along(&chunk, 0, &last, &chunks);
    cop__count_up(&region->runs, 1);
    wait_for_workers(region, items - mine, STALL_NS + region->expected_ns * last);
    region->expected_ns = 0;
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
    if (!region || !(ns_per_item > COP_REGION_ITEM_NS) || cop__load_relaxed(&region->lanes) == 1)
        return false;
    cop_pool *pool = region->pool;
    uint32_t threads = cop__load_relaxed(&pool->threads);
    uint32_t parked = cop__event_parked(&pool->events);
    uint32_t most = useful(pool, threads < items - 1 ? threads : items - 1);
    double saving_ns = saving(items, ns_per_item, most);
    if (saving_ns < WORTH_NS)
        return false; /* so it is where nobody could come, and with less than two items */
    uint64_t now = parked > 0 || region->off_until != 0 ? cop__clock_ns() : 0;
    if (now < region->off_until)
        return false;
    region->off_until = 0;
    region->expected_ns = ns_per_item;
    region->wake = parked > 0 && worth_waking(region, saving_ns, now);
    uint32_t awake = useful(pool, threads > parked ? threads - parked : 0);
    return region->wake || saving(items, ns_per_item, awake) >= WORTH_NS;
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
