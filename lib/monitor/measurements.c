/* SPDX-License-Identifier: MIT */
/* Measurements: an immutable copy of the totals, of each histogram only the buckets in use. */
#include "monitor/measurements.h"

#include "reclaim/gate.h"

const char *
cop_measure_name(cop_measure measure)
{
    static const char *const names[] = {
#define MEASURE_NAME(name, text, unit, help) text,
        COP_MEASURE_MAP(MEASURE_NAME)
#undef MEASURE_NAME
    };
    return (unsigned)measure < COP_MEASURES ? names[measure] : "unknown";
}

/* ---- taking ---- */

static uint32_t
buckets_in_use(const cop__histogram *histogram)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < COP_HISTOGRAM_BUCKETS; i++)
        n += atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed) != 0;
    return n;
}

static void
distribution_copy(const cop__histogram *histogram, cop__measured *measured,
                  cop__used_bucket *bucket)
{
    measured->bucket = bucket;
    measured->sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    measured->greatest = atomic_load_explicit(&histogram->greatest, memory_order_relaxed);
    for (uint32_t i = 0; i < COP_HISTOGRAM_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
        if (n == 0)
            continue;
        measured->count += n;
        *bucket++ = (cop__used_bucket){measured->count, i};
    }
    measured->buckets = (uint32_t)(bucket - measured->bucket);
}

/* Needs the reader's lock. NULL: out of memory. */
static cop_measurements *
copy_totals(cop_store *store, const cop__monitor_block *total)
{
    uint32_t all = 0;
    for (unsigned i = 0; i < COP_MEASURES; i++)
        all += buckets_in_use(&total->of[i]);
    size_t bytes = sizeof(cop_measurements) + all * sizeof(cop__used_bucket);
    cop_measurements *taken = cop__memory_zalloc(store->memory, COP_MEMORY_MONITOR, bytes, 16);
    if (taken == NULL)
        return NULL;
    cop__memory_ref(store->memory);
    taken->memory = store->memory;
    taken->bytes = bytes;
    cop__used_bucket *next = taken->bucket;
    for (unsigned i = 0; i < COP_MEASURES; i++) {
        distribution_copy(&total->of[i], &taken->of[i], next);
        next += taken->of[i].buckets;
    }
    return taken;
}

static void
copy_hot(cop_hot *to, const cop__hot *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        to[i].atom = from[i].atom;
        to[i].runs = from[i].runs;
        to[i].same = from[i].same;
        to[i].relisted = from[i].relisted;
        to[i].total_ns = from[i].total_ns;
        to[i].greatest_ns = from[i].greatest_ns;
    }
}

static void
copy_budgets(cop__budgets *budgets, cop_measurements *taken)
{
    cop__hot hottest[COP_HOTTEST_MAX];
    pthread_mutex_lock(&budgets->lock);
    memcpy(taken->overruns, budgets->count, sizeof taken->overruns);
    memcpy(taken->worst_count, budgets->worst_count, sizeof taken->worst_count);
    memcpy(taken->worst, budgets->worst, sizeof taken->worst);
    taken->hot_count = cop__hottest(budgets, hottest, COP_HOTTEST_MAX);
    pthread_mutex_unlock(&budgets->lock);
    copy_hot(taken->hot, hottest, taken->hot_count);
}

static void
find_paths(cop_store *store, cop_measurements *taken)
{
    cop_pin_t pin = cop_pin(store);
    for (unsigned kind = 0; kind < COP_OVERRUN_NOTIFY; kind++)
        for (uint32_t i = 0; i < taken->worst_count[kind]; i++)
            cop__monitor_path(pin.snapshot, taken->worst[kind][i].atom, taken->worst[kind][i].path);
    for (uint32_t i = 0; i < taken->hot_count; i++)
        cop__monitor_path(pin.snapshot, taken->hot[i].atom, taken->hot[i].path);
    cop_unpin(pin);
}

static cop_status
take(cop_store *store, cop__monitor *monitor, uint64_t deadline, cop_measurements **taken)
{
    cop_status status = cop__monitor_lock(monitor, deadline);
    if (status != COP_OK)
        return status;
    status = cop__monitor_collect(monitor, deadline);
    if (status == COP_OK) {
        *taken = copy_totals(store, monitor->reader->total);
        status = *taken != NULL ? COP_OK : COP_E_MEMORY;
    }
    pthread_mutex_unlock(&monitor->reader->lock);
    if (status == COP_OK) {
        copy_budgets(monitor->budgets, *taken);
        find_paths(store, *taken);
    }
    return status;
}

cop_status
cop_monitor_take(cop_store *store, uint64_t deadline, cop_measurements **measurements)
{
    *measurements = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    cop__monitor *monitor = cop__load_acquire(&store->monitor_home);
    status = monitor != NULL ? take(store, monitor, deadline, measurements) : COP_E_STATE;
    cop__gate_end_use(gate);
    return status;
}

void
cop_measurements_free(cop_measurements *measurements)
{
    if (measurements == NULL)
        return;
    cop__memory *memory = measurements->memory;
    cop__memory_free(memory, COP_MEMORY_MONITOR, measurements, measurements->bytes, 16);
    cop__memory_unref(memory);
}

/* ---- reading ---- */

/* The value at a rank, 1 .. count. */
static uint64_t
value_at(const cop__measured *measured, uint64_t rank)
{
    uint32_t low = 0, high = measured->buckets - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (measured->bucket[middle].up_to >= rank)
            high = middle;
        else
            low = middle + 1;
    }
    uint64_t value = cop__histogram_value(measured->bucket[low].index);
    return value < measured->greatest ? value : measured->greatest;
}

static uint64_t
quantile(const cop__measured *measured, double part)
{
    if (measured->count == 0)
        return 0;
    double rank = part * (double)measured->count;
    if (!(rank < (double)measured->count))
        return measured->greatest;
    uint64_t whole = rank > 0 ? (uint64_t)rank : 0;
    whole += rank > (double)whole;
    return value_at(measured, whole > 0 ? whole : 1);
}

uint64_t
cop_measurements_quantile(const cop_measurements *measurements, cop_measure measure, double part)
{
    return (unsigned)measure < COP_MEASURES ? quantile(&measurements->of[measure], part) : 0;
}

cop_status
cop_measurements_of(const cop_measurements *measurements, cop_measure measure,
                    cop_distribution *distribution)
{
    if (distribution == NULL || distribution->size != sizeof *distribution ||
        (unsigned)measure >= COP_MEASURES)
        return COP_E_INVALID;
    const cop__measured *measured = &measurements->of[measure];
    distribution->count = measured->count;
    distribution->sum = measured->sum;
    distribution->greatest = measured->greatest;
    distribution->p50 = quantile(measured, 0.5);
    distribution->p90 = quantile(measured, 0.9);
    distribution->p99 = quantile(measured, 0.99);
    distribution->p999 = quantile(measured, 0.999);
    return COP_OK;
}

uint64_t
cop_measurements_at_most(const cop_measurements *measurements, cop_measure measure, uint64_t value)
{
    if ((unsigned)measure >= COP_MEASURES)
        return 0;
    const cop__measured *measured = &measurements->of[measure];
    uint32_t index = cop__histogram_index(value);
    uint64_t count = 0;
    for (uint32_t i = 0; i < measured->buckets && measured->bucket[i].index <= index; i++)
        count = measured->bucket[i].up_to;
    return count;
}

uint64_t
cop_measurements_overruns(const cop_measurements *measurements, cop_overrun_kind kind)
{
    return (unsigned)kind < COP_OVERRUNS ? measurements->overruns[kind] : 0;
}

bool
cop_measurements_worst(const cop_measurements *measurements, cop_overrun_kind kind, size_t index,
                       cop_overrun *overrun)
{
    if ((unsigned)kind >= COP_OVERRUNS || index >= measurements->worst_count[kind])
        return false;
    *overrun = measurements->worst[kind][index];
    return true;
}

bool
cop_measurements_hottest(const cop_measurements *measurements, size_t index, cop_hot *hot)
{
    if (index >= measurements->hot_count)
        return false;
    *hot = measurements->hot[index];
    return true;
}
