/* SPDX-License-Identifier: MIT */
/* Budgets and hot computed atoms: see budget.h. */
#include "monitor/budget.h"

#define SECOND_NS UINT64_C(1000000000)
#define DEFAULT_RATE 10u

void
cop__budgets_init(cop__budgets *budgets)
{
    pthread_mutex_init(&budgets->lock, NULL);
    pthread_cond_init(&budgets->told, NULL);
}

/* ---- who is told ---- */

static void
teller_end(cop__teller teller)
{
    if (teller.destroy != NULL)
        teller.destroy(teller.context);
}

cop__teller
cop__budgets_take(cop__budgets *budgets)
{
    pthread_mutex_lock(&budgets->lock);
    cop__teller teller = budgets->teller;
    budgets->teller = (cop__teller){NULL, NULL, NULL};
    cop__store_relaxed(&budgets->pending, 0u);
    pthread_mutex_unlock(&budgets->lock);
    return teller;
}

void
cop__budgets_retire(cop__budgets *budgets, cop__teller teller)
{
    pthread_mutex_lock(&budgets->lock);
    if (budgets->telling && pthread_equal(budgets->by, pthread_self()) &&
        budgets->replaced.function == NULL) { /* it is the one that calls this */
        budgets->replaced = teller;
        teller = (cop__teller){NULL, NULL, NULL};
    }
    while (budgets->telling && !pthread_equal(budgets->by, pthread_self()))
        pthread_cond_wait(&budgets->told, &budgets->lock);
    pthread_mutex_unlock(&budgets->lock);
    teller_end(teller);
}

void
cop__budgets_end(cop__budgets *budgets)
{
    teller_end(budgets->teller);
    pthread_mutex_destroy(&budgets->lock);
    pthread_cond_destroy(&budgets->told);
}

static void
limit_set(cop__budgets *budgets, cop_overrun_kind kind, uint64_t given, uint64_t by_default)
{
    uint64_t limit = given != 0 ? given : by_default;
    cop__store_relaxed(&budgets->limit_ns[kind], limit != 0 ? limit : UINT64_MAX);
    budgets->by_default[kind] = given == 0;
}

void
cop__budgets_default(cop__budgets *budgets, uint64_t default_ns)
{
    pthread_mutex_lock(&budgets->lock);
    for (int kind = 0; kind < COP_OVERRUNS; kind++)
        if (budgets->by_default[kind])
            limit_set(budgets, (cop_overrun_kind)kind, 0, default_ns);
    pthread_mutex_unlock(&budgets->lock);
}

void
cop__budgets_start(cop__budgets *budgets, const cop_monitor_options *options, uint64_t default_ns)
{
    pthread_mutex_lock(&budgets->lock);
    limit_set(budgets, COP_OVERRUN_COMMIT, options->commit_budget_ns, default_ns);
    limit_set(budgets, COP_OVERRUN_COMPUTED, options->computed_budget_ns, default_ns);
    limit_set(budgets, COP_OVERRUN_NOTIFY, options->notify_budget_ns, default_ns);
    memset(budgets->count, 0, sizeof budgets->count);
    memset(budgets->worst_count, 0, sizeof budgets->worst_count);
    memset(budgets->hot, 0, sizeof budgets->hot);
    memset(budgets->written, 0, sizeof budgets->written);
    budgets->untold = 0;
    budgets->rate = options->overruns_per_second != 0 ? options->overruns_per_second : DEFAULT_RATE;
    budgets->tokens_ns = SECOND_NS;
    if (options->overrun != NULL)
        budgets->teller =
            (cop__teller){options->overrun, options->overrun_context, options->overrun_destroy};
    pthread_mutex_unlock(&budgets->lock);
}

/* ---- overruns ---- */

static void
worst_keep(cop__budgets *budgets, const cop_overrun *overrun)
{
    cop_overrun *worst = budgets->worst[overrun->kind];
    uint32_t *count = &budgets->worst_count[overrun->kind], at = *count;
    if (at == COP_WORST_MAX && worst[at - 1].took_ns >= overrun->took_ns)
        return;
    at -= at == COP_WORST_MAX;
    for (; at > 0 && worst[at - 1].took_ns < overrun->took_ns; at--)
        worst[at] = worst[at - 1];
    worst[at] = *overrun;
    *count += *count < COP_WORST_MAX;
}

/* Takes a token, if there is one. A token is 1/rate of a second of waiting. */
static bool
token_take(cop__budgets *budgets)
{
    uint64_t now = cop__clock_ns(), price = SECOND_NS / budgets->rate;
    budgets->tokens_ns += now - budgets->filled_ns;
    budgets->filled_ns = now;
    if (budgets->tokens_ns > SECOND_NS)
        budgets->tokens_ns = SECOND_NS;
    if (budgets->tokens_ns < price)
        return false;
    budgets->tokens_ns -= price;
    return true;
}

void
cop__overrun(cop__budgets *budgets, const cop_overrun *overrun)
{
    pthread_mutex_lock(&budgets->lock);
    budgets->count[overrun->kind]++;
    worst_keep(budgets, overrun);
    uint32_t pending = cop__load_relaxed(&budgets->pending);
    if (budgets->teller.function != NULL && pending < COP_PENDING_MAX && token_take(budgets)) {
        budgets->ring[(budgets->first + pending) % COP_PENDING_MAX] = *overrun;
        cop__store_relaxed(&budgets->pending, pending + 1);
    } else {
        budgets->untold++;
    }
    pthread_mutex_unlock(&budgets->lock);
}

/* Calls once. Needs the lock, which it lets go meanwhile. */
static void
tell_one(cop__budgets *budgets, void (*path)(void *context, cop_overrun *overrun), void *context)
{
    cop_overrun overrun = budgets->ring[budgets->first];
    cop__teller teller = budgets->teller;
    uint64_t untold = budgets->untold;
    budgets->untold = 0;
    budgets->first = (budgets->first + 1) % COP_PENDING_MAX;
    cop__store_relaxed(&budgets->pending, cop__load_relaxed(&budgets->pending) - 1);
    pthread_mutex_unlock(&budgets->lock);
    path(context, &overrun);
    teller.function(teller.context, &overrun, untold);
    pthread_mutex_lock(&budgets->lock);
    teller = budgets->replaced;
    budgets->replaced = (cop__teller){NULL, NULL, NULL};
    if (teller.function == NULL)
        return;
    pthread_mutex_unlock(&budgets->lock);
    teller_end(teller);
    pthread_mutex_lock(&budgets->lock);
}

void
cop__overruns_tell(cop__budgets *budgets, void (*path)(void *context, cop_overrun *overrun),
                   void *context)
{
    if (cop__likely(cop__load_relaxed(&budgets->pending) == 0))
        return;
    pthread_mutex_lock(&budgets->lock);
    if (!budgets->telling) {
        budgets->telling = true;
        budgets->by = pthread_self();
        while (cop__load_relaxed(&budgets->pending) > 0)
            tell_one(budgets, path, context);
        budgets->telling = false;
        pthread_cond_broadcast(&budgets->told);
    }
    pthread_mutex_unlock(&budgets->lock);
}

/* ---- hot computed atoms ---- */

/* The place of an atom: its own, a free one, or that of the coolest nearby. */
static cop__hot *
hot_place(cop__budgets *budgets, cop_atom atom)
{
    uint32_t at = atom.id * UINT32_C(0x9e3779b1) >> COP_HOT_SHIFT;
    cop__hot *coolest = NULL;
    for (unsigned i = 0; i < COP_HOT_PROBES; i++) {
        cop__hot *hot = &budgets->hot[at ^ i];
        if (hot->atom.id == atom.id && hot->atom.generation == atom.generation)
            return hot;
        if (coolest == NULL || hot->total_ns < coolest->total_ns)
            coolest = hot;
    }
    *coolest = (cop__hot){.atom = atom};
    return coolest;
}

void
cop__hot_add(cop__budgets *budgets, const cop__timed_run *runs, size_t n)
{
    pthread_mutex_lock(&budgets->lock);
    for (size_t i = 0; i < n; i++) {
        cop__hot *hot = hot_place(budgets, runs[i].atom);
        hot->runs++;
        hot->same += runs[i].same;
        hot->relisted += runs[i].relisted;
        hot->total_ns += runs[i].ns;
        if (runs[i].ns > hot->greatest_ns)
            hot->greatest_ns = runs[i].ns;
    }
    pthread_mutex_unlock(&budgets->lock);
}

uint32_t
cop__hottest(const cop__budgets *budgets, cop__hot *hottest, uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < COP_HOT_SLOTS; i++) {
        const cop__hot *hot = &budgets->hot[i];
        if (hot->runs == 0 || (count == most && hottest[most - 1].total_ns >= hot->total_ns))
            continue;
        uint32_t at = count < most ? count++ : most - 1;
        for (; at > 0 && hottest[at - 1].total_ns < hot->total_ns; at--)
            hottest[at] = hottest[at - 1];
        hottest[at] = *hot;
    }
    return count;
}

/* ---- atoms that are written often ---- */

void
cop__written_add(cop__budgets *budgets, cop_atom atom, uint64_t writes)
{
    cop__written *place = &budgets->written[0];
    pthread_mutex_lock(&budgets->lock);
    for (unsigned i = 0; i < COP_WRITTEN_MAX; i++) {
        cop__written *written = &budgets->written[i];
        if (written->atom.id == atom.id && written->atom.generation == atom.generation) {
            place = written;
            break;
        }
        if (written->writes < place->writes)
            place = written;
    }
    if (place->atom.id != atom.id || place->atom.generation != atom.generation)
        *place = (cop__written){.atom = atom};
    place->batches++;
    place->writes += writes;
    if (writes > place->greatest)
        place->greatest = writes;
    pthread_mutex_unlock(&budgets->lock);
}
