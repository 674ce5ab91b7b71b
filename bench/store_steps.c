/* SPDX-License-Identifier: MIT */
/*
 * Each measurement of workload A. Single-threaded ones count the CPU time of their thread, so that
 * a neighbour on the machine costs little; those with several threads count the wall clock, because
 * waiting for a lock is part of what they measure.
 */
#include "bench/store_steps.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/report.h"

#define PIN_TIMES 3000000
#define WARM_PASSES 3 /* before the one that is timed */
#define READ_CHUNK 1000
#define THREADS_MAX 64

static volatile uint64_t sink; /* keeps reads from being left out */

/* --- one thread ------------------------------------------------------------------------------ */

typedef uint64_t (*query_loop)(bench_reader *reader, size_t from, size_t n);

/* Other systems' turns have emptied the caches; their contents settle after two or three passes. */
static double
time_queries(bench_child *child, query_loop loop)
{
    uint64_t begin;
    size_t n = child->work->queries;
    for (int pass = 0; pass < WARM_PASSES; pass++)
        sink += loop(child->reader, 0, n);
    begin = bench_cpu_ns();
    sink += loop(child->reader, 0, n);
    return (double)(bench_cpu_ns() - begin) / (double)n;
}

static double
time_pins(bench_child *child)
{
    uint64_t begin = bench_cpu_ns();
    child->system->pin(child->reader, PIN_TIMES);
    return (double)(bench_cpu_ns() - begin) / PIN_TIMES;
}

static bool
time_scan(bench_child *child, double *ns)
{
    uint64_t begin, seen;
    for (int pass = 0; pass < WARM_PASSES; pass++)
        sink += child->system->scan(child->reader);
    begin = bench_cpu_ns();
    seen = child->system->scan(child->reader);
    *ns = (double)(bench_cpu_ns() - begin) / (double)child->work->keys;
    /* A counter may stand beside the keys. */
    if (seen < child->work->keys || seen > child->work->keys + 1)
        report_note("%s: a scan saw %llu of %u keys", child->system->name, (unsigned long long)seen,
                    child->work->keys);
    return seen >= child->work->keys;
}

/* --- the writer's thread --------------------------------------------------------------------- */

typedef struct writer {
    const bench_system *system;
    const bench_work *work;
    unsigned batch;
    double seconds; /* 0: until told to stop */
    bool warm;      /* a fifth of the time before it counts */
    atomic_bool stop, ok;
    uint64_t updates, wall_ns, cpu_ns;
    pthread_t thread;
} writer;

/* Queries are random already: taking them in order costs the writer no cache miss of our own. */
static void
write_for(writer *w, size_t *position, double seconds)
{
    static uint64_t stamp = 1;
    uint64_t begin = bench_wall_ns(), cpu = bench_cpu_ns(), end = begin + (uint64_t)(seconds * 1e9);
    uint64_t updates = 0;
    while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
        if (*position + w->batch > w->work->queries)
            *position = 0;
        if (!w->system->update(*position, w->batch, stamp++)) {
            atomic_store(&w->ok, false);
            break;
        }
        *position += w->batch;
        updates += w->batch;
        if (seconds > 0 && updates % 64 < w->batch && bench_wall_ns() >= end)
            break;
    }
    w->updates = updates;
    w->wall_ns = bench_wall_ns() - begin;
    w->cpu_ns = bench_cpu_ns() - cpu;
}

static void *
writer_main(void *argument)
{
    writer *w = argument;
    size_t position = w->work->queries / 2;
    bench_pin_cpu(1);
    if (w->system->writer_enter)
        w->system->writer_enter();
    if (w->warm)
        write_for(w, &position, w->seconds / 5);
    write_for(w, &position, w->seconds);
    if (w->system->writer_leave)
        w->system->writer_leave();
    return NULL;
}

static bool
writer_start(writer *w, bench_child *child, unsigned batch, double seconds)
{
    *w = (writer){.system = child->system, .work = child->work, .seconds = seconds};
    w->batch = batch < child->work->queries ? batch : child->work->queries;
    w->warm = seconds > 0;
    atomic_store(&w->ok, true);
    return pthread_create(&w->thread, NULL, writer_main, w) == 0;
}

/* Wall clock and CPU time of one update, into figure[at] and figure[at + BESIDE_CPU]. */
static void
writer_figures(const writer *w, double *figure, int at)
{
    double updates = w->updates ? (double)w->updates : 1;
    figure[at] = (double)w->wall_ns / updates;
    figure[at + BESIDE_CPU] = (double)w->cpu_ns / updates;
}

static bool
time_update(bench_child *child, const bench_command *command, double *ns)
{
    writer w;
    if (!writer_start(&w, child, command->batch, command->seconds))
        return false;
    pthread_join(w.thread, NULL);
    child->system->drain();
    *ns = w.updates ? (double)w.cpu_ns / (double)w.updates : 0;
    return atomic_load(&w.ok) && w.updates;
}

/* --- a writer and a reader at once ----------------------------------------------------------- */

/* As writer_figures, for one pin_lookup; figure may be NULL. */
static void
read_for(bench_child *child, double seconds, double *figure, int at)
{
    uint64_t begin = bench_wall_ns(), cpu = bench_cpu_ns(), end = begin + (uint64_t)(seconds * 1e9);
    uint64_t now, n = 0;
    size_t position = 0, chunk = READ_CHUNK;
    if (chunk > child->work->queries)
        chunk = child->work->queries;
    do {
        if (position + chunk > child->work->queries)
            position = 0;
        sink += child->system->pin_lookup(child->reader, position, chunk);
        position += chunk;
        n += chunk;
        now = bench_wall_ns();
    } while (now < end);
    if (!figure)
        return;
    figure[at] = (double)(now - begin) / (double)n;
    figure[at + BESIDE_CPU] = (double)(bench_cpu_ns() - cpu) / (double)n;
}

static bool
time_beside(bench_child *child, const bench_command *command, bench_answer *answer)
{
    writer alone, beside;
    double half = command->seconds / 2;
    read_for(child, half / 2, NULL, 0);
    read_for(child, half, answer->figure, BESIDE_READ_ALONE_NS);
    if (!writer_start(&alone, child, command->batch, half))
        return false;
    pthread_join(alone.thread, NULL);
    child->system->drain();
    writer_figures(&alone, answer->figure, BESIDE_WRITE_ALONE_NS);
    if (!writer_start(&beside, child, command->batch, 0))
        return false;
    read_for(child, half / 4, NULL, 0);
    read_for(child, command->seconds, answer->figure, BESIDE_READ_NS);
    atomic_store(&beside.stop, true);
    pthread_join(beside.thread, NULL);
    child->system->drain();
    writer_figures(&beside, answer->figure, BESIDE_WRITE_NS);
    return atomic_load(&alone.ok) && atomic_load(&beside.ok) && beside.updates;
}

/* --- a reader that stalls in a pin ----------------------------------------------------------- */

static double
rss_growth(const bench_child *child)
{
    return (double)bench_rss() - child->rss_loaded;
}

static double
own_growth(const bench_child *child)
{
    return (double)child->system->bytes() - child->own_loaded;
}

/* Looks every 10 ms, so that a system that grows by gigabytes a second is stopped in time. */
static void
watch_growth(const bench_child *child, const writer *w, double seconds, bench_answer *answer)
{
    uint64_t begin = bench_wall_ns();
    double interval = seconds / STALL_SAMPLES, passed, growth;
    do {
        usleep(10000);
        passed = (double)(bench_wall_ns() - begin) / 1e9;
        growth = own_growth(child);
        if (answer->samples < STALL_SAMPLES && passed >= interval * (answer->samples + 1))
            answer->sample[answer->samples++] = growth;
    } while (passed < seconds && growth < STALL_CAP_BYTES && atomic_load(&w->ok));
    answer->figure[STALL_SECONDS] = passed;
    answer->figure[STALL_RSS] = rss_growth(child);
    answer->figure[STALL_OWN] = growth;
}

/* Where the held reader has locked the writer out, the writer ends only after the release. */
static bool
writer_ends_within_ms(const writer *w, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_timedjoin_np(w->thread, NULL, &until) == 0;
}

static bool
run_stall(bench_child *child, const bench_command *command, bench_answer *answer)
{
    uint64_t begin;
    bool joined;
    writer w;
    child->system->drain();
    malloc_trim(0);
    answer->figure[STALL_TREE] = child->own_loaded;
    child->system->hold(child->reader);
    if (!writer_start(&w, child, command->batch, 0)) {
        child->system->release(child->reader);
        return false;
    }
    watch_growth(child, &w, command->seconds, answer);
    atomic_store(&w.stop, true);
    joined = writer_ends_within_ms(&w, 200);
    begin = bench_wall_ns();
    child->system->release(child->reader);
    if (!joined)
        pthread_join(w.thread, NULL);
    child->system->drain();
    answer->figure[STALL_RELEASE_MS] = (double)(bench_wall_ns() - begin) / 1e6;
    answer->figure[STALL_OWN_AFTER] = own_growth(child);
    answer->figure[STALL_UPDATES] = (double)w.updates;
    return atomic_load(&w.ok) || answer->figure[STALL_OWN] > 0;
}

/* --- several threads ------------------------------------------------------------------------- */

typedef struct crowd_member {
    const bench_child *child;
    const bench_command *command;
    pthread_barrier_t *start;
    unsigned number;
    bool ok;
    uint64_t done, wall_ns;
    pthread_t thread;
} crowd_member;

/* Each thread goes round all queries, from a place of its own. */
static uint64_t
go_round(const bench_child *child, bench_reader *reader, size_t from)
{
    return child->system->lookup(reader, from, child->work->queries - from) +
           child->system->lookup(reader, 0, from);
}

static void *
reader_main(void *argument)
{
    crowd_member *m = argument;
    size_t from = (size_t)m->number * m->child->work->queries / m->command->threads;
    bench_reader *reader;
    uint64_t begin;
    bench_pin_cpu(m->number);
    reader = m->child->system->reader_open();
    pthread_barrier_wait(m->start);
    if (!reader)
        return NULL;
    for (int pass = 0; pass < WARM_PASSES; pass++)
        sink += go_round(m->child, reader, from);
    begin = bench_wall_ns();
    sink += go_round(m->child, reader, from);
    m->wall_ns = bench_wall_ns() - begin;
    m->done = m->child->work->queries;
    m->ok = true;
    m->child->system->reader_close(reader);
    return NULL;
}

static void *
counter_main(void *argument)
{
    crowd_member *m = argument;
    const bench_system *system = m->child->system;
    uint64_t begin, end, added;
    bench_unpin_cpu();
    if (system->writer_enter)
        system->writer_enter();
    pthread_barrier_wait(m->start);
    begin = bench_wall_ns();
    end = begin + (uint64_t)(m->command->seconds * 1e9);
    do {
        added = system->count[m->command->way]();
        m->done += added;
    } while (added && bench_wall_ns() < end);
    m->wall_ns = bench_wall_ns() - begin;
    m->ok = added != 0;
    if (system->writer_leave)
        system->writer_leave();
    return NULL;
}

/* Threads that could not be started would leave the barrier waiting: that ends the process. */
static bool
run_crowd(bench_child *child, const bench_command *command, void *(*body)(void *),
          crowd_member *members)
{
    pthread_barrier_t start;
    bool ok = true;
    pthread_barrier_init(&start, NULL, command->threads);
    for (unsigned i = 0; i < command->threads; i++) {
        members[i] = (crowd_member){child, command, &start, i, false, 0, 0, 0};
        if (pthread_create(&members[i].thread, NULL, body, &members[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < command->threads; i++) {
        pthread_join(members[i].thread, NULL);
        ok = ok && members[i].ok;
    }
    pthread_barrier_destroy(&start);
    return ok;
}

static bool
time_threads(bench_child *child, const bench_command *command, bench_answer *answer)
{
    crowd_member members[THREADS_MAX];
    double per_second = 0, ns = 0;
    if (!run_crowd(child, command, reader_main, members))
        return false;
    for (unsigned i = 0; i < command->threads; i++) {
        per_second += (double)members[i].done / (double)members[i].wall_ns * 1e9;
        ns += (double)members[i].wall_ns / (double)members[i].done / command->threads;
    }
    answer->figure[THREADS_PER_SECOND] = per_second;
    answer->figure[THREADS_NS] = ns;
    return true;
}

static bool
time_counter(bench_child *child, const bench_command *command, bench_answer *answer)
{
    crowd_member members[THREADS_MAX];
    uint64_t before = child->system->counter(), total = 0, least = UINT64_MAX, wall = 0;
    if (!run_crowd(child, command, counter_main, members))
        return false;
    for (unsigned i = 0; i < command->threads; i++) {
        total += members[i].done;
        least = members[i].done < least ? members[i].done : least;
        wall = members[i].wall_ns > wall ? members[i].wall_ns : wall;
    }
    answer->figure[COUNTER_PER_SECOND] = (double)total / (double)wall * 1e9;
    answer->figure[COUNTER_LEAST_SHARE] = (double)least * command->threads / (double)total;
    if (child->system->counter() == before + total)
        return true;
    report_note("%s: %llu counted, the counter says %llu", child->system->name,
                (unsigned long long)total, (unsigned long long)(child->system->counter() - before));
    return false;
}

/* --- commands -------------------------------------------------------------------------------- */

static bool
run_load(bench_child *child, bench_answer *answer)
{
    uint64_t begin, rss;
    bench_cpus();
    if (child->system->prepare && !child->system->prepare(child->work))
        return false;
    rss = bench_rss();
    uint64_t own = child->system->bytes == bench_malloc_bytes ? bench_malloc_bytes() : 0;
    begin = bench_cpu_ns();
    if (!child->system->load(child->work, &child->config))
        return false;
    answer->figure[LOAD_NS] = (double)(bench_cpu_ns() - begin) / child->work->keys;
    child->rss_loaded = (double)bench_rss();
    child->own_loaded = (double)child->system->bytes();
    answer->figure[LOAD_RSS] = (child->rss_loaded - (double)rss) / child->work->keys;
    answer->figure[LOAD_OWN] = (child->own_loaded - (double)own) / child->work->keys;
    if (child->system->kinds)
        answer->kinds = child->system->kinds(answer->kind);
    if (child->system->parts)
        answer->parts = child->system->parts(answer->part, &answer->atoms);
    bench_pin_cpu(0);
    child->reader = child->system->reader_open();
    return child->reader != NULL;
}

bool
bench_step_applies(const bench_system *system, const bench_command *command)
{
    return command->step != STEP_COUNTER || system->count[command->way];
}

bench_answer
bench_step_run(bench_child *child, const bench_command *command)
{
    bench_answer answer = {.ok = true};
    double *first = &answer.figure[LOOKUP_NS];
    switch (command->step) {
    case STEP_LOAD:
        answer.ok = run_load(child, &answer);
        break;
    case STEP_LOOKUP:
        *first = time_queries(child, child->system->lookup);
        break;
    case STEP_PIN_LOOKUP:
        *first = time_queries(child, child->system->pin_lookup);
        break;
    case STEP_PIN:
        *first = time_pins(child);
        break;
    case STEP_SCAN:
        answer.ok = time_scan(child, first);
        break;
    case STEP_UPDATE:
        answer.ok = time_update(child, command, first);
        break;
    case STEP_BESIDE:
        answer.ok = time_beside(child, command, &answer);
        break;
    case STEP_THREADS:
        answer.ok = time_threads(child, command, &answer);
        break;
    case STEP_COUNTER:
        answer.ok = time_counter(child, command, &answer);
        break;
    case STEP_STALL:
        answer.ok = run_stall(child, command, &answer);
        break;
    default:
        answer.ok = false;
    }
    answer.config = child->config;
    return answer;
}
