/* SPDX-License-Identifier: MIT */
/* Memos: what lazy records remember, how it is read, and how it goes again. See lazy.h. */
#include "graph/lazy.h"

/* ---- fronts: written under the lock, read without ---- */

static void
front_write(cop__lazy *lazy, unsigned i, const cop__span *span, cop__memo *memo)
{
    uint32_t sequence = cop__load_relaxed(&lazy->sequence);
    cop__front *front = &lazy->front[i];
    uint64_t word[2] = {0, 0};
    if (memo != NULL)
        memcpy(word, &memo->value, sizeof word);
    cop__store_relaxed(&lazy->sequence, sequence + 1);
    /* Releases: who sees one of these sees the odd count when it looks again. */
    cop__store_release(&front->from, memo != NULL ? span->from : 1);
    cop__store_release(&front->to, memo != NULL ? span->to : 0);
    cop__store_release(&front->head, word[0]);
    cop__store_release(&front->tail, word[1]);
    cop__store_release(&front->memo, memo);
    cop__store_release(&lazy->sequence, sequence + 2);
}

/* The value at this stamp, if it is one of those that were used last. */
static bool
front_read(cop__lazy *lazy, uint64_t stamp, cop_value *value, const cop_value **kept)
{
    uint32_t before = cop__load_acquire(&lazy->sequence);
    uint64_t word[2] = {0, 0};
    cop__memo *memo = NULL;
    for (unsigned i = 0; i < COP_LAZY_FRONTS && memo == NULL; i++) {
        cop__front *front = &lazy->front[i];
        if (cop__load_acquire(&front->from) > stamp || cop__load_acquire(&front->to) < stamp)
            continue;
        word[0] = cop__load_acquire(&front->head);
        word[1] = cop__load_acquire(&front->tail);
        memo = cop__load_acquire(&front->memo);
    }
    if (memo == NULL || (before & 1) || cop__load_relaxed(&lazy->sequence) != before)
        return false;
    memcpy(value, word, sizeof word);
    if (kept != NULL && cop_value_is_text(value))
        *kept = &memo->value;
    return true;
}

static void
front_forget(cop__lazy *lazy, const cop__memo *memo)
{
    for (unsigned i = 0; i < COP_LAZY_FRONTS; i++)
        if (cop__load_relaxed(&lazy->front[i].memo) == memo)
            front_write(lazy, i, NULL, NULL);
}

static void
front_show(cop__lazy *lazy, cop__memo *memo, const cop__span *span)
{
    unsigned i = 0;
    while (i < COP_LAZY_FRONTS && (cop__load_relaxed(&lazy->front[i].memo) != memo ||
                                   cop__load_relaxed(&lazy->front[i].from) != span->from))
        i++;
    if (i == COP_LAZY_FRONTS)
        i = lazy->next_front++ % COP_LAZY_FRONTS;
    front_write(lazy, i, span, memo);
}

/* ---- memos ---- */

static cop__span *
span_at(cop__memo *memo, uint64_t stamp)
{
    for (uint32_t i = 0; i < memo->spans; i++)
        if (memo->span[i].from <= stamp && stamp <= memo->span[i].to)
            return &memo->span[i];
    return NULL;
}

cop__memo *
cop__memo_at(const cop__lazy *lazy, uint64_t stamp)
{
    for (cop__memo *memo = lazy->memos; memo != NULL; memo = memo->next)
        if (span_at(memo, stamp) != NULL)
            return memo;
    return NULL;
}

/* The span that has this stamp from now on: one that it adjoins, else one of its own. */
static cop__span *
span_with(cop__memo *memo, uint64_t stamp)
{
    cop__span *span = span_at(memo, stamp);
    if (span != NULL)
        return span;
    memo->low = stamp < memo->low ? stamp : memo->low;
    memo->high = stamp > memo->high ? stamp : memo->high;
    for (uint32_t i = 0; i < memo->spans; i++) {
        span = &memo->span[i];
        if (stamp + 1 == span->from)
            span->from = stamp;
        else if (stamp == span->to + 1)
            span->to = stamp;
        else
            continue;
        return span;
    }
    if (memo->spans < COP_MEMO_SPANS)
        memo->last_span = memo->spans++;
    else
        memo->last_span = (memo->last_span + 1) % COP_MEMO_SPANS;
    memo->span[memo->last_span] = (cop__span){stamp, stamp};
    return &memo->span[memo->last_span];
}

static bool
is_text(const cop__memo *memo)
{
    return cop_value_is_text(&memo->value);
}

void
cop__memo_free(cop__graph *graph, cop__memo *memo)
{
    cop__sub_relaxed(&graph->lazies->bytes, memo->bytes);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, memo, memo->bytes, 16);
}

static void
memo_unlink(cop__lazy *lazy, cop__memo **link)
{
    cop__memo *memo = *link;
    *link = memo->next;
    lazy->memo_count--;
    front_forget(lazy, memo);
    cop__memo_free(lazy->graph, memo);
}

/* Frees the memo used longest ago of those that may be freed now. */
static bool
memo_evict(cop__lazy *lazy)
{
    cop__memo **oldest = NULL;
    for (cop__memo **link = &lazy->memos; *link != NULL; link = &(*link)->next)
        if ((*link)->references == 1 && !is_text(*link))
            oldest = link;
    if (oldest != NULL)
        memo_unlink(lazy, oldest);
    return oldest != NULL;
}

void
cop__memos_end(cop__lazy *lazy)
{
    while (lazy->memos != NULL)
        memo_unlink(lazy, &lazy->memos);
}

void
cop__memo_use(cop__lazy *lazy, cop__memo *memo, uint64_t stamp)
{
    cop__memo **link = &lazy->memos;
    while (*link != memo)
        link = &(*link)->next;
    *link = memo->next;
    memo->next = lazy->memos;
    lazy->memos = memo;
    front_show(lazy, memo, span_with(memo, stamp));
    cop__store_relaxed(&lazy->used, true);
}

void
cop__memo_link(cop__lazy *lazy, cop__memo *memo, uint64_t stamp)
{
    memo->serial = 0;
    for (const cop__memo *other = lazy->memos; other != NULL && memo->serial == 0;
         other = other->next)
        if (cop_value_equal(&other->value, &memo->value))
            memo->serial = other->serial;
    if (memo->serial == 0)
        memo->serial = cop__add_relaxed(&lazy->graph->lazies->serials, UINT64_C(1)) + 1;
    memo->low = memo->high = stamp;
    memo->spans = 0;
    memo->last_span = 0;
    memo->references = 2; /* the list's, and that of who evaluated it */
    memo->next = lazy->memos;
    lazy->memos = memo;
    lazy->memo_count++;
    cop__memo_use(lazy, memo, stamp);
    while (lazy->memo_count > COP_LAZY_MEMOS && memo_evict(lazy))
        ;
}

void
cop__memo_release(cop__lazy *lazy, cop__memo *memo)
{
    pthread_mutex_lock(&lazy->lock);
    memo->references--; /* the list has one: it goes only when that is the last */
    pthread_mutex_unlock(&lazy->lock);
}

/* ---- the ring that the clock's hand goes round, and the crowd ---- */

static void
ring_enter(cop__lazies *all, cop__lazy *lazy)
{
    lazy->in_ring = true;
    if (all->hand == NULL) {
        all->hand = lazy->ring_next = lazy->ring_previous = lazy;
        return;
    }
    lazy->ring_next = all->hand;
    lazy->ring_previous = all->hand->ring_previous;
    lazy->ring_previous->ring_next = lazy;
    all->hand->ring_previous = lazy;
}

void
cop__lazy_unlist(cop__lazies *all, cop__lazy *lazy)
{
    if (!lazy->in_ring)
        return;
    lazy->in_ring = false;
    lazy->ring_next->ring_previous = lazy->ring_previous;
    lazy->ring_previous->ring_next = lazy->ring_next;
    if (all->hand == lazy)
        all->hand = lazy->ring_next != lazy ? lazy->ring_next : NULL;
}

void
cop__lazy_list(cop__lazy *lazy, bool crowded)
{
    cop__lazies *all = lazy->graph->lazies;
    pthread_mutex_lock(&all->lock);
    if (!lazy->in_ring)
        ring_enter(all, lazy);
    if (crowded && !lazy->crowded) {
        lazy->crowded = true;
        lazy->crowded_next = all->crowded;
        all->crowded = lazy;
    }
    pthread_mutex_unlock(&all->lock);
}

#define HAND_STEPS 256u

void
cop__lazies_evict(cop__graph *graph, uint64_t most)
{
    cop__lazies *all = graph->lazies;
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0;
         i < HAND_STEPS && all->hand != NULL && cop__load_relaxed(&all->bytes) > most; i++) {
        cop__lazy *lazy = all->hand;
        all->hand = lazy->ring_next;
        if (pthread_mutex_trylock(&lazy->lock) != 0)
            continue;
        if (cop__load_relaxed(&lazy->used))
            cop__store_relaxed(&lazy->used, false);
        else
            while (memo_evict(lazy))
                ;
        pthread_mutex_unlock(&lazy->lock);
    }
    pthread_mutex_unlock(&all->lock);
}

/* ---- reading ---- */

static bool
read_ready(cop__lazy *lazy, uint64_t stamp, cop_value *value, const cop_value **kept)
{
    pthread_mutex_lock(&lazy->lock);
    cop__memo *memo = cop__memo_at(lazy, stamp);
    if (memo != NULL) {
        cop__memo_use(lazy, memo, stamp);
        *value = memo->value;
        if (kept != NULL)
            *kept = &memo->value;
    }
    pthread_mutex_unlock(&lazy->lock);
    return memo != NULL;
}

cop_status
cop__lazy_get(cop__lazy_head *head, const cop_snapshot *snapshot, cop_value *value,
              const cop_value **kept)
{
    cop__lazy *lazy = (cop__lazy *)(void *)head;
    cop__memo *memo = NULL;
    if (front_read(lazy, snapshot->stamp, value, kept)) {
        if (!cop__load_relaxed(&lazy->used))
            cop__store_relaxed(&lazy->used, true);
        return COP_OK;
    }
    if (read_ready(lazy, snapshot->stamp, value, kept))
        return COP_OK;
    memset(value, 0, sizeof *value);
    cop_status status = cop__lazy_evaluate(lazy, snapshot, &memo, value);
    if (status != COP_OK || memo == NULL)
        return status;
    *value = memo->value;
    if (kept != NULL)
        *kept = &memo->value;
    cop__memo_release(lazy, memo);
    return COP_OK;
}

/* ---- scans ---- */

bool
cop__held_between(const uint64_t *stamps, size_t n, uint64_t from, uint64_t to)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (stamps[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && stamps[low] <= to;
}

bool
cop__memos_thin(cop__lazy *lazy, const uint64_t *stamps, size_t n, uint64_t current)
{
    pthread_mutex_lock(&lazy->lock);
    for (uint32_t left = lazy->memo_count; lazy->memo_count > COP_LAZY_MEMOS && left > 0; left--) {
        cop__memo **oldest = NULL;
        for (cop__memo **link = &lazy->memos; *link != NULL; link = &(*link)->next) {
            const cop__memo *memo = *link;
            bool seen = (memo->low <= current && current <= memo->high) ||
                        cop__held_between(stamps, n, memo->low, memo->high);
            if (memo->references == 1 && (!is_text(memo) || !seen))
                oldest = link;
        }
        if (oldest == NULL)
            break;
        memo_unlink(lazy, oldest);
    }
    bool crowded = lazy->memo_count > COP_LAZY_MEMOS;
    pthread_mutex_unlock(&lazy->lock);
    return crowded;
}
