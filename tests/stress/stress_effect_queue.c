/* SPDX-License-Identifier: MIT */
/*
 * The queue of due effects. Three queues: one served by several threads that sleep between, one by
 * its descriptor, one by a single thread that is let fall asleep again and again. Publishers count
 * up what an effect has to see, then post; a run notes what it saw. Some effects post others, two
 * run each other for ever, some come and go.
 */
#include <poll.h>

#include "effect/queue.h"
#include "tests/stress/common.h"

enum { SHARED, BY_FD, ALONE, QUEUES };
enum { FIXED = 192, COMING = 64, EFFECTS = FIXED + COMING, BOUND = 20, PATIENCE_MS = 10000 };
enum { RING = 8, CHAIN = 16 }; /* 8 and 9 run each other; each 16th runs its two successors */

enum {
    NO_OVERLAP,
    LAST_SEEN,
    ONCE,
    IN_TIME,
    IN_TIME_FD,
    COMES_TO_REST,
    REST_IS_REST,
    ROUNDS_BOUND,
    CUT_OFF,
    RETIRED,
    EMPTY_FD,
};
static const char *const properties[] = {
    "two runs of an effect never overlap",
    "the last change of each effect has been seen at rest",
    "no effect runs more often than it was made due",
    "a sleeping server runs what is due within 10 s",
    "a server that polls the descriptor runs what is due within 10 s",
    "without changes from outside all comes to rest within 10 s",
    "nothing runs at rest",
    "no run is of a round beyond the bound",
    "effects that run each other for ever are cut off",
    "nothing runs after it was retired",
    "the descriptor is not readable for long when nothing is due",
};

typedef struct effect {
    _Atomic uint64_t changed, seen; /* the last change published; that a run has seen */
    _Atomic uint64_t posts, runs, cuts;
    _Atomic uint32_t busy, closed;
} effect;

static struct queue {
    cop__effect_queue queue;
    effect effects[EFFECTS];
} queues[QUEUES];
static cop__effect_rest rest, rest_alone;
static cop__memory *memory;
static pthread_mutex_t right = PTHREAD_MUTEX_INITIALIZER;   /* of who publishes */
static pthread_mutex_t outside = PTHREAD_MUTEX_INITIALIZER; /* of who publishes from outside */
static _Atomic uint32_t working;                            /* threads that publish from outside */
static _Atomic bool finished;

/* --- publishing -------------------------------------------------------------------------------- */

static uint64_t
change(struct queue *q, uint32_t index, uint32_t round)
{
    effect *e = &q->effects[index];
    uint64_t now;

    pthread_mutex_lock(&right);
    now = atomic_fetch_add_explicit(&e->changed, 1, memory_order_relaxed) + 1;
    atomic_fetch_add(&e->posts, 1);
    cop__effect_queue_post(&q->queue, index / 64, UINT64_C(1) << (index % 64), round);
    cop__effect_queue_signal(&q->queue);
    pthread_mutex_unlock(&right);
    return now;
}

/* A publication that concerns many: words at once, one signal. */
static void
change_many(struct queue *q, stress_random *r)
{
    pthread_mutex_lock(&right);
    for (uint32_t word = 0; word < FIXED / 64; word++) {
        uint64_t bits = stress_next(r) & stress_next(r) & stress_next(r);
        for (uint32_t i = 0; i < 64; i++)
            if (bits >> i & 1) {
                effect *e = &q->effects[word * 64 + i];
                atomic_fetch_add_explicit(&e->changed, 1, memory_order_relaxed);
                atomic_fetch_add(&e->posts, 1);
            }
        cop__effect_queue_post(&q->queue, word, bits, 0);
    }
    cop__effect_queue_signal(&q->queue);
    pthread_mutex_unlock(&right);
    stress_count(1);
}

/* --- effects ------------------------------------------------------------------------------------ */

static void
run(void *context, uint32_t index, uint32_t round)
{
    struct queue *q = context;
    effect *e = &q->effects[index];
    uint64_t now = atomic_load_explicit(&e->changed, memory_order_relaxed);

    stress_check(NO_OVERLAP, atomic_exchange(&e->busy, 1) == 0, "effect %u", index);
    if (index >= FIXED)
        stress_check(RETIRED, atomic_load(&e->closed) == 0, "effect %u", index);
    stress_check(ROUNDS_BOUND, round < BOUND, "round %u", round);
    if (now % 7 == 0)
        for (volatile unsigned i = 0; i < now % 1000; i++)
            continue;
    atomic_fetch_add(&e->runs, 1);
    atomic_store(&e->seen, now);
    if (index / 2 == RING / 2) {
        change(q, index ^ 1, round + 1);
    } else if (index % CHAIN == 0 && index < FIXED) {
        change(q, index + 1, round + 1);
        change(q, index + 2, round + 1);
    }
    atomic_store(&e->busy, 0);
}

static void
cut(void *context, uint32_t index, uint32_t round)
{
    effect *e = &((struct queue *)context)->effects[index];

    stress_check(NO_OVERLAP, atomic_exchange(&e->busy, 1) == 0, "effect %u, cut", index);
    stress_check(CUT_OFF, index / 2 == RING / 2 && round >= BOUND, "effect %u in round %u", index,
                 round);
    atomic_fetch_add(&e->cuts, 1);
    atomic_store(&e->seen, atomic_load(&e->changed));
    atomic_store(&e->busy, 0);
}

/* --- who serves ---------------------------------------------------------------------------------- */

static void
serve_shared(stress_random *r)
{
    while (!atomic_load(&finished)) {
        /* Several sleep here: the last signal may find work for one of them only. */
        (void)cop__effects_wait(&rest, &queues[SHARED].queue, false, cop_deadline_in_ms(500));
        cop__effect_queue_run(&queues[SHARED].queue, stress_below(r, 8));
    }
}

static void
serve_by_fd(void)
{
    struct queue *q = &queues[BY_FD];
    struct pollfd p = {-1, POLLIN, 0};
    uint64_t idle = 0;

    stress_need(cop__effect_queue_fd(&q->queue, &p.fd), "fd");
    while (!atomic_load(&finished)) {
        poll(&p, 1, -1);
        idle = cop__effect_queue_run(&q->queue, 0) == 0 ? idle + 1 : 0;
        stress_check(EMPTY_FD, idle < 1000, "%" PRIu64 " polls for nothing", idle);
    }
}

static void
serve_alone(void)
{
    while (!atomic_load(&finished)) {
        stress_need(cop__effects_wait(&rest_alone, &queues[ALONE].queue, false, COP_FOREVER), "wait");
        cop__effect_queue_run(&queues[ALONE].queue, 0);
    }
}

/* --- who publishes -------------------------------------------------------------------------------- */

/* One change, and nothing else until it has been seen: the server falls asleep before the next. */
static void
ping(unsigned queue, unsigned property, uint32_t index)
{
    effect *e = &queues[queue].effects[index];
    uint64_t now = change(&queues[queue], index, 0), end = stress_now_ns() + PATIENCE_MS * 1000000ull;
    bool seen;

    while (!(seen = atomic_load(&e->seen) >= now) && stress_now_ns() < end)
        sched_yield();
    stress_check(property, seen, "effect %u", index);
    if (!seen)
        atomic_store(&stress.stop, true);
}

static void
publish_alone(stress_random *r)
{
    while (!stress_over()) {
        uint32_t index = 10 + (uint32_t)stress_below(r, 6);
        ping(ALONE, IN_TIME, index);
        if (stress_below(r, 4) == 0)
            ping(BY_FD, IN_TIME_FD, index);
        stress_count(1);
    }
}

static void
publish_shared(stress_random *r)
{
    while (!stress_over()) {
        pthread_mutex_lock(&outside);
        for (uint64_t n = stress_below(r, 50); n > 0; n--) {
            change_many(&queues[stress_below(r, 2) ? SHARED : BY_FD], r);
            change(&queues[SHARED], RING, 0);
        }
        pthread_mutex_unlock(&outside);
        stress_sleep_us(100);
    }
}

static void
come_and_go(stress_random *r)
{
    struct queue *q = &queues[SHARED];

    while (!stress_over()) {
        uint32_t index = FIXED + (uint32_t)stress_below(r, COMING);
        effect *e = &q->effects[index];
        pthread_mutex_lock(&outside);
        for (uint64_t n = stress_below(r, 4); n > 0; n--)
            change(q, index, 0);
        cop__effect_queue_retire(&q->queue, index, false);
        uint64_t ran = atomic_load(&e->runs);
        atomic_store(&e->closed, 1);
        for (uint64_t n = stress_below(r, 3); n > 0; n--)
            change(q, index, 0);
        pthread_mutex_unlock(&outside);
        stress_sleep_us(20);
        stress_check(RETIRED, atomic_load(&e->runs) == ran && atomic_load(&e->busy) == 0,
                     "effect %u", index);
        atomic_store(&e->closed, 0);
        stress_need(cop__effect_queue_admit(&q->queue, index), "admit");
        stress_count(1);
    }
}

static void
check_at_rest(struct queue *q)
{
    for (uint32_t i = 0; i < FIXED; i++) {
        effect *e = &q->effects[i];
        uint64_t seen = atomic_load(&e->seen), changed = atomic_load(&e->changed);
        uint64_t ran = atomic_load(&e->runs) + atomic_load(&e->cuts);
        stress_check(LAST_SEEN, seen == changed, "effect %u: %" PRIu64 " of %" PRIu64, i, seen, changed);
        stress_check(ONCE, ran <= atomic_load(&e->posts), "effect %u", i);
        stress_check(REST_IS_REST, atomic_load(&e->busy) == 0, "effect %u runs", i);
    }
}

/* Keeps changes away until all is at rest, working along; pings go on, on the other queues. */
static void
settle(stress_random *r)
{
    while (!stress_over()) {
        uint64_t deadline = cop_deadline_in_ms(PATIENCE_MS);
        cop_status status = COP_OK;
        pthread_mutex_lock(&outside);
        while (!cop__effects_at_rest(&rest) && status == COP_OK) {
            cop__effect_queue_run(&queues[SHARED].queue, stress_below(r, 5));
            status = cop__effects_wait(&rest, &queues[SHARED].queue, true, deadline);
        }
        stress_check(COMES_TO_REST, status == COP_OK, "%" PRIu64 " are left",
                     atomic_load(&rest.pending));
        if (status == COP_OK)
            check_at_rest(&queues[SHARED]);
        else
            atomic_store(&stress.stop, true);
        pthread_mutex_unlock(&outside);
        stress_sleep_us(300);
    }
}

/* --- threads --------------------------------------------------------------------------------------- */

static void *
body(void *context)
{
    unsigned index = (unsigned)(uintptr_t)context;
    stress_random r = stress_random_of(index);

    switch (index) {
    case 0:
        serve_alone();
        return NULL;
    case 1:
        serve_by_fd();
        return NULL;
    case 2:
        publish_alone(&r);
        break;
    case 3:
        publish_shared(&r);
        break;
    case 4:
        come_and_go(&r);
        break;
    case 5:
        settle(&r);
        break;
    default:
        serve_shared(&r);
        return NULL;
    }
    if (atomic_fetch_sub(&working, 1) == 1) {
        atomic_store(&finished, true);
        for (unsigned q = 0; q < QUEUES; q++)
            change(&queues[q], 0, 0); /* whoever sleeps looks up */
    }
    return NULL;
}

static void
open_queues(void)
{
    cop_allocator libc = cop_allocator_libc();

    memory = cop__memory_new(&libc, UINT64_MAX);
    if (memory == NULL)
        stress_need(COP_E_MEMORY, "memory");
    for (unsigned q = 0; q < QUEUES; q++) {
        cop__effect_queue_options options = {BOUND, run, cut, NULL, &queues[q]};
        cop__effect_queue_init(&queues[q].queue, q == ALONE ? &rest_alone : &rest, memory, &options);
        for (uint32_t i = 0; i < EFFECTS; i++)
            stress_need(cop__effect_queue_admit(&queues[q].queue, i), "admit");
    }
}

int
main(int argc, char **argv)
{
    enum { ROLES = 6, SERVERS = 2 };

    stress_start(argc, argv, ROLES + SERVERS);
    stress_properties(properties, sizeof properties / sizeof *properties);
    open_queues();
    atomic_store(&working, 4);
    stress_run(stress.threads < ROLES ? ROLES : stress.threads, body);
    for (unsigned q = 0; q < QUEUES; q++) {
        cop__effect_queue_run(&queues[q].queue, 0);
        check_at_rest(&queues[q]);
    }
    stress_check(COMES_TO_REST, cop__effects_at_rest(&rest) && cop__effects_at_rest(&rest_alone),
                 "at the end");
    for (unsigned q = 0; q < QUEUES; q++)
        cop__effect_queue_end(&queues[q].queue);
    cop__memory_unref(memory);
    return stress_finish();
}
