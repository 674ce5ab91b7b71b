/* SPDX-License-Identifier: MIT */
/*
 * Warnings: a table of rules. Each rule looks at what was measured, at the graph, or at the store,
 * and notes what is over its limit; what was noted is told when nothing is held any more.
 */
#include <coppice/computed.h>

#include <inttypes.h>
#include <stdio.h>

#include "commit/combiner.h"
#include "graph/inspect.h"
#include "monitor/measurements.h"
#include "reclaim/gate.h"
#include "watch/room.h"
#include "workers/cpus.h"
#include "workers/region.h"

#define EACH_MAX 8u /* of one kind */

typedef struct findings {
    cop_store *store;
    cop_warning_limits limits;
    const cop_measurements *measured; /* NULL: nothing */
    uint32_t count;
    cop_warning warning[COP_WARNINGS_MAX];
} findings;

/* Notes one, in place of the least of its kind when there are EACH_MAX. NULL: it is less than
 * those. */
static cop_warning *
note(findings *f, cop_warning_kind kind, cop_atom atom, uint64_t figure, uint64_t limit)
{
    cop_warning *least = NULL;
    uint32_t have = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->warning[i].kind != kind)
            continue;
        have++;
        if (least == NULL || f->warning[i].figure < least->figure)
            least = &f->warning[i];
    }
    if (have < EACH_MAX && f->count < COP_WARNINGS_MAX)
        least = &f->warning[f->count++];
    else if (least == NULL || least->figure >= figure)
        return NULL;
    *least = (cop_warning){.kind = kind, .atom = atom, .figure = figure, .limit = limit};
    return least;
}

#define SAY(warning, ...)                                                 \
    do {                                                                  \
        cop_warning *said_ = (warning);                                   \
        if (said_ != NULL)                                                \
            (void)snprintf(said_->text, sizeof said_->text, __VA_ARGS__); \
    } while (0)

static const cop_atom the_store = {0, 0};

/* ---- the graph: in development ---- */

#ifndef COP_PRODUCTION

static void
rule_runs(findings *f)
{
    const cop_warning_limits *limits = &f->limits;
    for (uint32_t i = 0; f->measured != NULL && i < f->measured->hot_count; i++) {
        const cop_hot *hot = &f->measured->hot[i];
        if (hot->runs < limits->runs)
            continue;
        uint64_t same = hot->same * 100 / hot->runs, listed = hot->relisted * 100 / hot->runs;
        if (same >= limits->same_percent)
            SAY(note(f, COP_WARNING_SAME_RESULT, hot->atom, same, limits->same_percent),
                "%" PRIu64 " of %" PRIu64 " runs gave the value it had, in %" PRIu64 " ns each",
                hot->same, hot->runs, hot->total_ns / hot->runs);
        if (listed >= limits->listed_percent)
            SAY(note(f, COP_WARNING_RELISTED, hot->atom, listed, limits->listed_percent),
                "%" PRIu64 " of %" PRIu64 " runs read other atoms than the one before",
                hot->relisted, hot->runs);
    }
}

static void
rule_written(findings *f)
{
    cop__monitor *monitor = cop__load_acquire(&f->store->monitor_home);
    if (monitor == NULL)
        return;
    pthread_mutex_lock(&monitor->budgets->lock);
    for (unsigned i = 0; i < COP_WRITTEN_MAX; i++) {
        const cop__written *w = &monitor->budgets->written[i];
        uint64_t mean = w->batches > 0 ? w->writes / w->batches : 0;
        if (mean >= f->limits.writes)
            SAY(note(f, COP_WARNING_WRITTEN_OFTEN, w->atom, mean, f->limits.writes),
                "%" PRIu64 " writes in %" PRIu64 " batches, up to %" PRIu64 " in one", w->writes,
                w->batches, w->greatest);
    }
    pthread_mutex_unlock(&monitor->budgets->lock);
}

static cop_atom
atom_of(const cop__graph *graph, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, id);
    return slot != NULL ? (cop_atom){id, slot->reserved} : the_store;
}

/* A pair in a set of dependents has at most 64: most sets need no counting. */
static void
rule_fan_out(findings *f)
{
    const cop__graph *graph = &f->store->graph;
    for (uint32_t id = 1; id < graph->record_count; id++) {
        uint32_t pairs = graph->records[id].dependents.count;
        uint64_t n =
            pairs * UINT64_C(64) >= f->limits.fan_out ? cop__dependents_count(graph, id) : 0;
        if (n > 0 && n >= f->limits.fan_out)
            SAY(note(f, COP_WARNING_FAN_OUT, atom_of(graph, id), n, f->limits.fan_out),
                "%" PRIu64 " computed atoms and effects read it", n);
    }
}

static void
rule_depth(findings *f)
{
    const cop__graph *graph = &f->store->graph;
    const cop__node *deepest = NULL;
    for (uint32_t i = 1; i < graph->node_count; i++) {
        const cop__node *node = &graph->nodes[i];
        bool counts = (node->flags & (COP_NODE_LIVE | COP_NODE_PLACED | COP_NODE_EFFECT)) ==
                      (COP_NODE_LIVE | COP_NODE_PLACED);
        if (counts && (deepest == NULL || node->height > deepest->height))
            deepest = node;
    }
    if (deepest != NULL && deepest->height >= f->limits.depth)
        SAY(note(f, COP_WARNING_DEPTH, atom_of(graph, deepest->id), deepest->height,
                 f->limits.depth),
            "it ends a chain of %u computed atoms", deepest->height);
}

#endif

/* ---- the store ---- */

/* A version is replaced when the next is published, which is about when this one is no longer the
 * newest: its own publication is what is known. What the history keeps is meant to be old. */
static void
rule_snapshots(findings *f)
{
    cop_store *store = f->store;
    uint64_t now = cop__realtime_ns(), newest = cop__load_acquire(&store->version);
    pthread_mutex_lock(&store->snapshot_lock);
    for (const cop_snapshot *s = store->held_first; s != NULL; s = s->next_held) {
        uint64_t ms = now > s->time_ns ? (now - s->time_ns) / 1000000 : 0;
        if (s->version < newest && s->kept < s->holds && ms >= f->limits.snapshot_ms)
            SAY(note(f, COP_WARNING_SNAPSHOT, the_store, ms, f->limits.snapshot_ms),
                "version %" PRIu64 " of %" PRIu64 " ms ago is held, %" PRIu64 " versions behind",
                s->version, ms, newest - s->version);
    }
    pthread_mutex_unlock(&store->snapshot_lock);
}

static void
rule_batches(findings *f)
{
    cop_distribution batch = COP_DISTRIBUTION_INIT, wait = COP_DISTRIBUTION_INIT;
    if (f->measured == NULL)
        return;
    (void)cop_measurements_of(f->measured, COP_MEASURE_BATCH, &batch);
    (void)cop_measurements_of(f->measured, COP_MEASURE_QUEUE_WAIT, &wait);
    if (batch.count < f->limits.batches)
        return;
    uint64_t usual = cop_measurements_quantile(f->measured, COP_MEASURE_BATCH, 0.1);
    uint64_t most = cop__load_relaxed(&f->store->batcher.most);
    if (usual + usual / 100 >= most) /* told to within 0.4 % */
        SAY(note(f, COP_WARNING_BATCHES_FULL, the_store, batch.p50, most),
            "nine of ten of %" PRIu64 " batches had the %" PRIu64 " transactions that fill one",
            batch.count, most);
    if (batch.greatest == 1 && wait.count * 10 >= batch.count * 9)
        SAY(note(f, COP_WARNING_BATCHES_OF_ONE, the_store, batch.count, f->limits.batches),
            "%" PRIu64 " batches, and %" PRIu64 " transactions were submitted", batch.count,
            wait.count);
}

static void
rule_memory(findings *f)
{
    const cop__memory *memory = f->store->memory;
    uint64_t held = cop__load_relaxed(&memory->held), limit = cop__load_relaxed(&memory->limit);
    uint64_t percent = limit > 0 ? (uint64_t)((double)held / (double)limit * 100) : 0;
    if (percent >= f->limits.memory_percent)
        SAY(note(f, COP_WARNING_MEMORY, the_store, percent, f->limits.memory_percent),
            "%" PRIu64 " of %" PRIu64 " bytes are held, %" PRIu64 " %%", held, limit, percent);
}

static void
note_behind(void *context, const char *path, size_t length, uint64_t late_ns)
{
    findings *f = context;
    uint64_t ms = late_ns / 1000000;
    cop_warning *warning = note(f, COP_WARNING_WATCHER, the_store, ms, f->limits.watcher_ms);
    SAY(warning, "what changed has been waiting for it for %" PRIu64 " ms beyond its windows", ms);
    if (warning == NULL)
        return;
    length = length < sizeof warning->path ? length : sizeof warning->path - 1;
    memcpy(warning->path, path, length);
}

static void
rule_watchers(findings *f)
{
    cop__watch_behind(cop__load_acquire(&f->store->watch), f->limits.watcher_ms * 1000000u,
                      note_behind, f);
}

static void
rule_workers(findings *f)
{
    uint32_t cpus = cop__cpus_of_mask(NULL, 0);
    uint32_t threads = cop__region_lanes(f->store->graph.region) - 1;
    if (cpus > 0 && threads > cpus)
        SAY(note(f, COP_WARNING_WORKERS, the_store, threads, cpus), "%u worker threads on %u CPUs",
            threads, cpus);
}

/* ---- the table ---- */

static const struct {
    void (*look)(findings *f);
    bool right; /* it needs the commit right */
} rules[] = {
#ifndef COP_PRODUCTION
    {rule_runs, false},      {rule_written, false}, {rule_fan_out, true}, {rule_depth, true},
#endif
    {rule_snapshots, false}, {rule_batches, false}, {rule_memory, false}, {rule_workers, true},
    {rule_watchers, false},
};

static const struct {
    const char *name, *advice;
} kinds[] = {
#define KIND_ROW(name, text, development, advice) {text, advice},
    COP_WARNING_MAP(KIND_ROW)
#undef KIND_ROW
};

static void
apply_rules(findings *f, bool right)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].right == right)
            rules[i].look(f);
}

static void
tell(findings *f, cop_warning_function function, void *context)
{
    cop_pin_t pin = cop_pin(f->store);
    for (uint32_t i = 0; i < f->count; i++) {
        cop_warning *warning = &f->warning[i];
        warning->name = kinds[warning->kind].name;
        warning->advice = kinds[warning->kind].advice;
        if (warning->atom.generation != 0) /* a watcher has no atom, but a path */
            cop__monitor_path(pin.snapshot, warning->atom, warning->path);
    }
    cop_unpin(pin);
    for (uint32_t i = 0; i < f->count; i++)
        if (function(context, &f->warning[i]) != 0)
            return;
}

static cop_status
find(findings *f, uint64_t deadline)
{
    cop_measurements *measured = NULL;
    cop_status status = cop_monitor_take(f->store, deadline, &measured);
    if (status != COP_OK && status != COP_E_STATE)
        return status;
    f->measured = measured;
    status = cop__inspect_begin(f->store, deadline);
    if (status == COP_OK) {
        apply_rules(f, true);
        cop__inspect_end(f->store);
        apply_rules(f, false);
    }
    cop_measurements_free(measured);
    return status;
}

cop_status
cop_warnings_each(cop_store *store, const cop_warning_limits *limits, uint64_t deadline,
                  cop_warning_function function, void *context)
{
    const cop_warning_limits defaults = COP_WARNING_LIMITS_INIT;
    if (function == NULL || (limits != NULL && limits->size != sizeof *limits))
        return COP_E_INVALID;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    findings *f = cop__memory_zalloc(store->memory, COP_MEMORY_MONITOR, sizeof *f, 16);
    status = f != NULL ? COP_OK : COP_E_MEMORY;
    if (f != NULL) {
        f->store = store;
        f->limits = limits != NULL ? *limits : defaults;
        status = find(f, deadline);
        if (status == COP_OK)
            tell(f, function, context);
        cop__memory_free(store->memory, COP_MEMORY_MONITOR, f, sizeof *f, 16);
    }
    cop__gate_end_use(gate);
    return status;
}
