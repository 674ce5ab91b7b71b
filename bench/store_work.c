/* SPDX-License-Identifier: MIT */
/* Preparing the workload, and what the kernel and malloc say about memory and CPUs. */
#include "bench/store_work.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void
bench_key_make(uint64_t *key, uint32_t id, bool by_name)
{
    char text[40];
    if (!by_name) {
        key[0] = id;
        return;
    }
    snprintf(text, sizeof text, "users/%06u/balance-usd", id);
    memcpy(key, text, BENCH_NAME_WORDS * sizeof *key);
}

bool
bench_work_init(bench_work *work, bool by_name, uint32_t keys, uint32_t value_bytes)
{
    uint64_t seed = 0x9e3779b97f4a7c15ull;
    *work = (bench_work){.by_name = by_name, .keys = keys, .value_bytes = value_bytes};
    work->queries = keys < 1000000 ? keys : 1000000;
    work->query_id = malloc(work->queries * sizeof *work->query_id);
    work->query_key = malloc(work->queries * bench_key_words(by_name) * sizeof *work->query_key);
    if (!work->query_id || !work->query_key) {
        bench_work_free(work);
        return false;
    }
    for (uint32_t i = 0; i < work->queries; i++) {
        work->query_id[i] = (uint32_t)(bench_random(&seed) % keys);
        bench_key_make(work->query_key + i * bench_key_words(by_name), work->query_id[i], by_name);
    }
    return true;
}

void
bench_work_free(bench_work *work)
{
    free(work->query_id);
    free(work->query_key);
    *work = (bench_work){0};
}

uint64_t
bench_rss(void)
{
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t
bench_malloc_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* The CPUs that the process was started with. */
static cpu_set_t allowed;

unsigned
bench_cpus(void)
{
    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        CPU_SET(0, &allowed);
    return (unsigned)CPU_COUNT(&allowed);
}

void
bench_pin_cpu(unsigned n)
{
    cpu_set_t one;
    unsigned left = n % bench_cpus();
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && left-- == 0) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    /* A refusal leaves the thread where it is: noisier, not wrong. */
    (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

void
bench_unpin_cpu(void)
{
    bench_cpus();
    (void)pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
}
