/* SPDX-License-Identifier: MIT */
/* Reads /proc/self/statm; peaks are written to where a parent process reads them, too. */
#include "bench/memory_sample.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bench/clock.h"

static uint64_t
resident_pages(bool with_shared)
{
    unsigned long long size, resident = 0, shared = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu %llu", &size, &resident, &shared) != 3)
        resident = shared = 0;
    fclose(file);
    return resident - (with_shared ? 0 : shared);
}

uint64_t
memory_resident(void)
{
    return resident_pages(false) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t
memory_resident_all(void)
{
    return resident_pages(true) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
raise(uint64_t *to, uint64_t value)
{
    if (to != NULL && value > *to)
        *to = value;
}

static void
sample(memory_sampler *s)
{
    uint64_t resident = s->resident();
    raise(s->counted_peak, s->counted(s->context));
    raise(s->resident_peak, resident > s->baseline ? resident - s->baseline : 0);
    if (s->cap > 0 && resident > s->cap)
        atomic_store(s->over, true);
}

static void *
sampler_body(void *context)
{
    memory_sampler *s = context;
    uint64_t accepted = s->accepted(s->context), since = bench_wall_ns();
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        sample(s);
        uint64_t now = bench_wall_ns(), then = accepted;
        accepted = s->accepted(s->context);
        if (accepted != then)
            since = now;
        raise(s->longest_gap_ns, now - since);
        nanosleep(&(struct timespec){0, SAMPLE_MS * 1000000}, NULL);
    }
    sample(s);
    return NULL;
}

bool
memory_sampler_start(memory_sampler *s)
{
    atomic_store(&s->stop, false);
    return pthread_create(&s->thread, NULL, sampler_body, s) == 0;
}

void
memory_sampler_stop(memory_sampler *s)
{
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
}
