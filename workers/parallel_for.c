/* SPDX-License-Identifier: MIT */
/*
 * Parallel loops: the caller and some helper tasks claim ranges until none is left.
 *
 * A helper is a task like any other, submitted once at the start; one that comes late finds nothing
 * and goes. The loop's state lives until the last helper has gone, the caller waits only for the
 * ranges that are being handled. So loops may be nested, and nobody waits for a thread that does
 * nothing for him.
 *
 * CHUNKS. Given none, each thread begins with one index and doubles until a call takes CHUNK_NS;
 * then it follows what indices cost it. No chunk is more than a part of what is left.
 *
 * ORDERING. `next` is claimed by compare-and-swap; a range's effects are released by adding to
 * `done`, which the caller acquires when it has all: every index claimed is then done. Sleeping is
 * as in region.c: waiting is set before done is compared, done is added to before waiting is read,
 * all sequentially consistent.
 *
 * STOPPING. The first that finds a reason to stop claims all that is left, so that `done` reaches
 * the end without those indices being handled. A failure of a lower range takes the place of one of
 * a higher, and of any other reason.
 */
#include "workers/pool_internal.h"

#define CHUNK_NS 50000u
#define PROGRESS_NS UINT64_C(5000000)
#define SPINS 2000u

typedef struct loop {
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t next;
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t done;
    _Atomic uint32_t ended; /* futex: changes with done */
    _Atomic bool waiting;
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t references;
    uint64_t count, chunk, deadline, sharers;
    cop_range_function function;
    void *context;
    pthread_mutex_t lock; /* what follows */
    cop_status status;
    uint64_t failed_at; /* the lowest range that failed; UINT64_MAX: none did */
} loop;

/* The size of a thread's next chunk. */
typedef struct pace {
    uint64_t size;
} pace;

static void
end_indices(loop *l, uint64_t n)
{
    cop__add_seq_cst(&l->done, n);
    cop__add_seq_cst(&l->ended, 1u);
    if (cop__load_seq_cst(&l->waiting))
        cop__futex_wake(&l->ended, 1);
}

/* False when nothing was left. */
static bool
claim(loop *l, uint64_t most, uint64_t *begin, uint64_t *end)
{
    uint64_t next = cop__load_relaxed(&l->next), size;
    do {
        uint64_t left = l->count - next;
        if (left == 0)
            return false;
        size = l->chunk || l->sharers == 1 ? left : left / (2 * l->sharers) + 1;
        size = size < most ? size : most;
        size = size < left ? size : left;
    } while (!cop__cas_seq_cst(&l->next, &next, next + size));
    *begin = next;
    *end = next + size;
    return true;
}

/* Claims what is left without handling it; how many. */
static uint64_t
claim_the_rest(loop *l)
{
    uint64_t next = cop__load_relaxed(&l->next);
    while (next < l->count && !cop__cas_seq_cst(&l->next, &next, l->count))
        ;
    return l->count - next;
}

/* Ends the loop early. What is no failure of a range counts only when something was left. */
static void
stop(loop *l, cop_status status, uint64_t failed_at)
{
    uint64_t left = claim_the_rest(l);
    pthread_mutex_lock(&l->lock);
    if (failed_at < l->failed_at || (failed_at == UINT64_MAX && left > 0 && l->status == COP_OK)) {
        l->status = status;
        l->failed_at = failed_at;
    }
    pthread_mutex_unlock(&l->lock);
    if (left > 0)
        end_indices(l, left);
}

static void
adapt(pace *p, uint64_t n, uint64_t ns)
{
    uint64_t fits = ns > 0 ? (uint64_t)((double)n * CHUNK_NS / (double)ns) : UINT64_MAX / 2;
    p->size = fits / 2 > p->size ? 2 * p->size : fits;
    p->size += p->size == 0;
}

/* Handles one range. False when none is left. */
static bool
step(loop *l, pace *p)
{
    uint64_t begin, end;
    uint64_t now = l->chunk == 0 || l->deadline != UINT64_MAX ? cop__clock_ns() : 0;
    if (now >= l->deadline) {
        stop(l, COP_E_TIMEOUT, UINT64_MAX);
        return false;
    }
    if (!claim(l, l->chunk ? l->chunk : p->size, &begin, &end))
        return false;
    cop_status status = l->function(l->context, begin, end);
    if (l->chunk == 0)
        adapt(p, end - begin, cop__clock_ns() - now);
    if (status < 0)
        stop(l, status, begin);
    end_indices(l, end - begin);
    return true;
}

static void
release(loop *l)
{
    if (cop__sub_acq_rel(&l->references, 1u) != 1)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void
help(void *context)
{
    loop *l = context;
    pace p = {1};
    while (step(l, &p))
        ;
    release(l);
}

/* ---- the caller ---- */

typedef struct reporter {
    cop_progress_function function;
    void *context;
    uint64_t next_at, last;
} reporter;

/* On the calling thread alone, so never twice at once. */
static void
report(loop *l, reporter *r)
{
    if (!r->function)
        return;
    uint64_t now = cop__clock_ns();
    uint64_t done = cop__load_relaxed(&l->done);
    if (now < r->next_at || done <= r->last || done >= l->count)
        return;
    r->next_at = now + PROGRESS_NS;
    r->last = done;
    if (r->function(r->context, done, l->count) != 0)
        stop(l, COP_E_CANCELLED, UINT64_MAX);
}

static void
wait_for_helpers(loop *l, reporter *r)
{
    for (uint32_t i = 0; i < SPINS && cop__load_acquire(&l->done) != l->count; i++)
        cop__pause();
    while (cop__load_acquire(&l->done) != l->count) {
        (void)cop__swap_seq_cst(&l->waiting, true);
        uint32_t ended = cop__load_seq_cst(&l->ended);
        if (cop__load_seq_cst(&l->done) != l->count)
            cop__futex_wait(&l->ended, ended,
                            r->function ? cop__clock_ns() + PROGRESS_NS : UINT64_MAX);
        report(l, r);
    }
}

static void
call_helpers(loop *l, cop_pool *pool)
{
    uint64_t ranges = l->chunk ? (l->count - 1) / l->chunk : l->count - 1; /* beside the first */
    uint64_t others = l->sharers - 1;
    uint32_t helpers = (uint32_t)(others < ranges ? others : ranges);
    cop__add_relaxed(&l->references, helpers);
    uint32_t submitted = cop__pool_submit_many(pool, help, l, helpers);
    cop__sub_acq_rel(&l->references, helpers - submitted); /* never the last: the caller's own */
}

/* With its last call of progress, when all was handled. */
static cop_status
outcome(loop *l, const reporter *r)
{
    pthread_mutex_lock(&l->lock);
    cop_status status = l->status;
    pthread_mutex_unlock(&l->lock);
    if (status == COP_OK && r->function)
        (void)r->function(r->context, l->count, l->count);
    return status;
}

static void
loop_init(loop *l, uint64_t count, uint64_t sharers, const cop_parallel_options *options)
{
    memset(l, 0, sizeof *l);
    l->count = count;
    l->chunk = options->chunk;
    l->deadline = options->deadline;
    l->sharers = sharers;
    l->failed_at = UINT64_MAX;
    atomic_init(&l->references, 1);
    pthread_mutex_init(&l->lock, NULL);
}

/* The loop is the heap's, for helpers that come late; without memory there are none. */
static loop *
loop_new(cop_pool *pool, uint64_t count, const cop_parallel_options *options)
{
    uint32_t threads = cop_pool_threads(pool);
    loop *l = threads > 0 && count > 1 ? aligned_alloc(COP_CACHE_LINE, sizeof *l) : NULL;
    if (l)
        loop_init(l, count, threads + UINT64_C(1), options);
    return l;
}

static cop_status
run(loop *l, const cop_parallel_options *options)
{
    reporter r = {options->progress, options->progress_context, 0, 0};
    pace p = {1};
    if (r.function)
        r.next_at = cop__clock_ns() + PROGRESS_NS;
    else if (l->sharers == 1 && l->deadline == UINT64_MAX)
        p.size = UINT64_MAX;
    while (step(l, &p))
        report(l, &r);
    wait_for_helpers(l, &r);
    return outcome(l, &r);
}

cop_status
cop_parallel_for(cop_pool *pool, uint64_t count, cop_range_function function, void *context,
                 const cop_parallel_options *given)
{
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;
    loop alone, *l;
    if (!function || (given && given->size < sizeof options))
        return COP_E_INVALID;
    if (pool && cop__pool_forked(pool))
        return COP_E_FORKED;
    if (given)
        options = *given;
    if (count == 0)
        return COP_OK;
    l = loop_new(pool, count, &options);
    if (!l) {
        l = &alone;
        loop_init(l, count, 1, &options);
    }
    l->function = function;
    l->context = context;
    if (l != &alone)
        call_helpers(l, pool);
    cop_status status = run(l, &options);
    if (l != &alone)
        release(l);
    else
        pthread_mutex_destroy(&l->lock);
    return status;
}
