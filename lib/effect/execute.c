/* SPDX-License-Identifier: MIT */
/*
 * Running effects: pinning, running what a queue gives to claim, and telling the graph what was read.
 *
 * A PIN serves run after run, as long as nothing new is published. The newest root is compared with
 * it after each claim, so a run sees what was published before its post.
 *
 * RELINKING. A run that read something else than the one before waits to be relinked: its edges belong
 * to the holder of the right, and taking that for each would cost more than the runs. Its claim is
 * kept meanwhile, so it does not run again before its edges are right.
 *
 * WHY NO CHANGE FALLS BETWEEN. Say the run saw version S, and the right is taken when R is the newest.
 *  1 What was published after R finds the edges: publishing needs the right, which the linker holds.
 *  2 What was published after S, up to R, may not have found them. Each dependency is therefore
 *    compared in S and in R; where they differ the effect is made due again. Where they are equal
 *    although something came and went between, the run saw what there is now.
 *  3 A run that read what the one before did needs nothing: its edges were there all the time, so
 *    what was published after S has marked it, or will.
 * The pin on S lasts until the comparison.
 *
 * A ROUND for what is posted again: 0 if anything from outside was published after S; else only
 * effects have written, and it is as if one had written to this one.
 *
 * LONG RUNS. A batch of claims delays each other's relinking and repeated runs. The clock is read once
 * a batch: effects of a batch that took long are claimed singly the next time, and those that are long
 * by themselves stay so.
 *
 * OUT OF MEMORY. An effect that could not be linked is marked; whoever serves its queue next makes it
 * due. Where nothing can be pinned, what was claimed is due again. Either way the caller hears of it, and
 * the queue's descriptor stays readable; a worker of the pool comes again by itself (serve.c).
 */
#include "effect/effects.h"

#include <stdio.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "store/log.h"
#include "tree/directory.h"
#include "tree/list.h"

#define LONG_RUN_NS 20000u   /* a batch beyond this is taken apart */
#define SHORT_RUN_NS 5000u   /* a run below this may stand in a batch again */
#define PENDING_MOST 2048u   /* relinked under one hold of the right */
#define BLOCK(list) ((uint64_t *)(uintptr_t)((list) & ~(UINT64_C(3) << 62)))

bool
cop__executor_room(cop__executor *e, void *vector, size_t *capacity, size_t need, size_t element)
{
    return cop__memory_grow(e->frame.store->memory, COP_MEMORY_GRAPH, vector, capacity, need, element);
}

/* ---- names for the log ---- */

static void
name_of(cop_store *store, uint32_t index, char *name, size_t size)
{
    const cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    bool extra = (cop__load_acquire(&record->state) & COP_EFFECT_EXTRA) != 0;
    if (extra && record->extra->label[0] != 0)
        (void)snprintf(name, size, "\"%.60s\"", record->extra->label);
    else
        (void)snprintf(name, size, "%u", index);
}

static void
note_cut(cop__executor *e, uint32_t index)
{
    char name[80];
    size_t used = strlen(e->cut_names);
    e->cut_count++;
    name_of(e->frame.store, index, name, sizeof name);
    if (used + strlen(name) + 8 < sizeof e->cut_names)
        (void)snprintf(e->cut_names + used, sizeof e->cut_names - used, "%s%s", used ? ", " : "",
                       name);
}

static void
log_cut(cop__executor *e)
{
    cop_store *store = e->frame.store;
    if (e->cut_count == 0)
        return;
    cop__add_relaxed(&store->effects.cut, (uint64_t)e->cut_count);
    cop__log_write(&store->log, COP_LOG_WARNING,
                   "effects run each other without rest: %u cut off after %u rounds: %s", e->cut_count,
                   (unsigned)store->options.effects_rounds, e->cut_names);
    e->cut_count = 0;
    e->cut_names[0] = 0;
}

static __attribute__((noinline)) void
note_failed(cop__executor *e, cop_status status)
{
    char name[80];
    cop_store *store = e->frame.store;
    cop__add_relaxed(&store->effects.failed, UINT64_C(1));
    name_of(store, e->frame.index, name, sizeof name);
    cop__log_write(&store->log, COP_LOG_WARNING, "effect %s failed: %s%s%s", name,
                   cop_status_name(status), e->run.message[0] ? ": " : "", e->run.message);
}

/* ---- what a run has read becomes its record's list ---- */

static uint64_t
list_make(cop_store *store, uint64_t had, const uint64_t *words, uint32_t n)
{
    if (n == 0 || (n == 1 && words[0] >> 62 != 3)) {
        cop__effect_list_free(store, had);
        return n == 0 ? COP_DEPENDENCY_END : words[0];
    }
    bool block = had != COP_DEPENDENCY_END && had >> 62 == 3;
    uint64_t *to = block ? BLOCK(had) : NULL;
    if (to == NULL || to[0] >> 32 < n || to[0] >> 32 > 4 * (uint64_t)n) {
        cop__effect_list_free(store, had);
        to = cop__memory_alloc(store->memory, COP_MEMORY_GRAPH, ((size_t)n + 2) * sizeof *to, 16);
        if (to == NULL)
            return COP_DEPENDENCY_END; /* the next run will find its list new, and link it again */
        to[0] = (uint64_t)n << 32;
    }
    to[0] = (to[0] >> 32) << 32 | n;
    memcpy(to + 1, words, n * sizeof *words);
    to[n + 1] = COP_DEPENDENCY_END;
    return (uint64_t)(uintptr_t)to | UINT64_C(3) << 62;
}

/* ---- linking; under the right ---- */

typedef struct linking {
    cop__executor *e;
    cop__graph *graph;
    const cop_snapshot *seen, *newest;
    const char *note; /* of the next path */
    size_t count;     /* in e->linked */
    bool changed;
} linking;

static bool
link_word(linking *l, uint64_t dependency)
{
    l->e->linked[l->count++] = dependency; /* room was made */
    return true;
}

static cop_atom
unpack(uint64_t dependency)
{
    dependency &= ~COP_DEPENDS_WHAT;
    return (cop_atom){(uint32_t)dependency, (uint32_t)(dependency >> 32)};
}

static bool
value_changed(const cop__slot *seen, const cop__slot *now)
{
    if (seen == NULL || now == NULL)
        return seen != now;
    if (cop__slot_is_branch(seen) && cop__slot_is_branch(now))
        return cop__slot_type(seen) != cop__slot_type(now);
    if (cop__slot_is_long(seen) && cop__slot_is_long(now)) { /* whose bytes may have moved */
        cop_value value = cop__slot_value(seen);
        return !cop__slot_holds(now, &value);
    }
    return !cop__slot_same(seen, now);
}

static bool
link_atom(linking *l, uint64_t dependency)
{
    const cop__slot *seen = cop__root_atom(l->seen, unpack(dependency));
    const cop__slot *now = cop__root_atom(l->newest, unpack(dependency));
    l->changed |= value_changed(seen, now);
    return now == NULL || link_word(l, dependency); /* what is gone stays so */
}

static bool
link_children(linking *l, uint64_t dependency)
{
    const cop__slot *seen = cop__root_atom(l->seen, unpack(dependency));
    const cop__slot *now = cop__root_atom(l->newest, unpack(dependency));
    if (now == NULL || !cop__slot_is_branch(now)) {
        l->changed = true;
        return true;
    }
    l->changed |= cop__list_changed((cop__view){l->seen, NULL}, seen) !=
                  cop__list_changed((cop__view){l->newest, NULL}, now);
    return cop__interest_list(l->graph, unpack(dependency)) != 0 && link_word(l, dependency);
}

static bool
link_path(linking *l)
{
    cop__effect_note note;
    const char *path = l->note + sizeof note;
    cop_atom now = {0, 0};
    memcpy(&note, l->note, sizeof note);
    l->note = path + ((note.length + 7) & ~UINT64_C(7));
    cop__found found = cop__path_resolve((cop__view){l->newest, NULL}, path, note.length);
    if (found.found)
        now = (cop_atom){found.id, cop__root_slot(l->newest, found.id)->reserved};
    l->changed |= now.id != note.atom.id || now.generation != note.atom.generation;
    uint32_t number = cop__interest_path(l->graph, path, note.length, now);
    return number != 0 && link_word(l, COP_DEPENDS_PATH | number);
}

/* What was noted as the graph's dependencies, compared on the way. */
static bool
translate(linking *l, const uint64_t *list, uint32_t n)
{
    cop__executor *e = l->e;
    bool fine = cop__executor_room(e, &e->linked, &e->linked_capacity, n, sizeof *e->linked);
    for (uint32_t i = 0; fine && i < n; i++) {
        if (list[i] >> 62 < 2)
            fine = link_atom(l, list[i]);
        else if (list[i] >> 62 == 2)
            fine = link_children(l, list[i]);
        else
            fine = link_path(l);
    }
    return fine;
}

/* Interests that were made for a link that then failed. */
static void
forget_interests(linking *l)
{
    for (size_t i = 0; i < l->count; i++) {
        uint64_t d = l->e->linked[i];
        uint32_t number = (uint32_t)d;
        if (d >> 62 < 2)
            continue;
        if (d >> 62 == 2)
            number = cop__map_get(&l->graph->interest_of, d);
        if (l->graph->interests[number].dependents.count == 0)
            cop__interest_drop(l->graph, number);
    }
}

/* False: out of memory, the node has no edges. *changed: something it read is another by now. */
static bool
link_one(cop__executor *e, const cop__effect_pending *p, cop__effect_record *record, bool *changed)
{
    cop_store *store = e->frame.store;
    cop__graph *graph = &store->graph;
    cop__node *node = &graph->nodes[record->node];
    const uint64_t *list = e->list + p->first;
    linking l = {e, graph, e->run.snapshot, store->tree.root, e->notes + p->notes, 0, false};
    bool fine = !p->refused;
    if (fine && p->plain && l.seen == l.newest) {
        fine = cop__relink(graph, node, list, p->count);
    } else if (fine) {
        fine = translate(&l, list, p->count) && cop__relink(graph, node, e->linked, l.count);
        if (!fine)
            forget_interests(&l);
    }
    node->flags &= ~(uint32_t)COP_NODE_POISONED;
    store->tree.failed = COP_OK; /* there is no draft */
    *changed = l.changed;
    return fine;
}

static void
unlinked(cop_store *store, cop__effect_record *record, bool is)
{
    bool was = (cop__load_relaxed(&record->state) & COP_EFFECT_UNLINKED) != 0;
    if (cop__likely(was == is))
        return;
    if (is) {
        atomic_fetch_or_explicit(&record->state, COP_EFFECT_UNLINKED, memory_order_seq_cst);
        cop__add_seq_cst(&store->effects.unlinked, 1u);
    } else {
        atomic_fetch_and_explicit(&record->state, ~COP_EFFECT_UNLINKED, memory_order_seq_cst);
        cop__sub_seq_cst(&store->effects.unlinked, 1u);
    }
}

/* True: it is to run again. */
static bool
pending_link(cop__executor *e, const cop__effect_pending *p)
{
    cop_store *store = e->frame.store;
    cop__effect_record *record = cop__effect_record_of(&store->effects, p->index);
    bool changed;
    if (cop__load_acquire(&record->state) & COP_EFFECT_CLOSED)
        return false;
    bool fine = link_one(e, p, record, &changed);
    cop__effect_list_set(record, list_make(store, record->list, e->list + p->first,
                                           fine ? p->count : 0));
    unlinked(store, record, !fine);
    if (!fine)
        e->status = COP_E_MEMORY;
    return fine && changed;
}

/* Gives back the claims of what has been linked, word by word. */
static void
pending_release(cop__executor *e, cop__effect_queue *queue)
{
    for (size_t i = 0; i < e->pending_count;) {
        uint32_t word = e->pending[i].index / 64;
        uint64_t bits = 0;
        for (; i < e->pending_count && e->pending[i].index / 64 == word; i++)
            bits |= UINT64_C(1) << (e->pending[i].index % 64);
        cop__effect_queue_release(queue, cop__effect_word_at(queue, word), word, bits);
    }
    e->pending_count = 0;
    e->list_count = e->list_first = e->notes_count = e->notes_first = 0;
}

static void
flush(cop__executor *e, cop__effect_queue *queue)
{
    cop_store *store = e->frame.store;
    if (e->pending_count == 0)
        return;
    (void)cop__right_wait(store, COP_FOREVER);
    bool outside = store->effects.outside > e->run.snapshot->version;
    for (size_t i = 0; i < e->pending_count; i++) {
        const cop__effect_pending *p = &e->pending[i];
        if (cop__unlikely(pending_link(e, p)))
            cop__effect_queue_post(queue, p->index / 64, UINT64_C(1) << (p->index % 64),
                                   outside ? 0 : p->round + 1);
    }
    cop__right_leave(store);
    pending_release(e, queue);
}

/* ---- running ---- */

/* Sees the newest version, at least that of the last post. False: nothing can be pinned. */
static bool
pin_newest(cop__executor *e, cop__effect_queue *queue)
{
    cop_store *store = e->frame.store;
    if (cop__likely(e->pin.snapshot != NULL && cop__load_acquire(&store->root) == e->pin.snapshot))
        return true;
    if (e->pin.snapshot != NULL) {
        flush(e, queue); /* compares with what is pinned */
        cop_unpin(e->pin);
    }
    e->pin = cop_pin(store);
    e->run.snapshot = e->pin.snapshot;
    e->page_number = UINT32_MAX;
    if (e->pin.snapshot == NULL)
        e->status = cop_pin_status();
    return e->pin.snapshot != NULL;
}

/* The run read something else than the one before. True: it waits to be linked. */
static __attribute__((noinline)) bool
read_anew(cop__executor *e)
{
    bool refused = e->run.stuck == COP_E_MEMORY || !cop__effect_list_own(e);
    if (e->pending_count == e->pending_capacity)
        return false; /* room was made for a word */
    e->pending[e->pending_count++] = (cop__effect_pending){
        .index = e->frame.index,
        .count = (uint32_t)(e->list_count - e->list_first),
        .first = e->list_first,
        .notes = e->notes_first,
        .round = e->frame.round - 1,
        .plain = e->plain,
        .refused = refused,
    };
    e->list_first = e->list_count;
    e->notes_first = e->notes_count;
    e->run.slow = false;
    e->run.stuck = COP_OK;
    return true;
}

static inline void expect(cop__executor *e, uint64_t list);

/* The same where something else than one plain value on the page at hand is expected. */
static __attribute__((noinline)) void
expect_slowly(cop__executor *e, uint64_t list)
{
    const cop_snapshot *snapshot = e->run.snapshot;
    uint32_t number = (uint32_t)list >> COP_SLOT_BITS;
    e->run.public.cursor_ = cop__effect_nothing;
    e->expect = e->had = e->few;
    if (list >> 62 == 3) {
        if (list != COP_DEPENDENCY_END)
            e->expect = e->had = BLOCK(list) + 1;
    } else if (number != e->page_number && number < snapshot->space[COP_SPACE_VALUES].count) {
        e->page = cop__space_page_dense(&snapshot->space[COP_SPACE_VALUES], number);
        e->page_number = number;
        expect(e, list);
    }
}

/*
 * Prepares for what the last run read. If that was one plain value, cop_read will find it by itself:
 * its place is looked up here, and the table is put where cop_read's arithmetic ends at e->page. (As
 * numbers: the table's begin is no object.)
 */
static inline void
expect(cop__executor *e, uint64_t list)
{
    cop_evaluation *public = &e->run.public;
    uint32_t id = (uint32_t)list, number = id >> COP_SLOT_BITS;
    e->few[0] = list;
    if (cop__likely(number == e->page_number)) {
        uint64_t word;
        memcpy(&word, &e->page[id & (COP_SLOTS - 1)], sizeof word);
        unsigned type = (unsigned)(word & COP_SLOT_TYPE);
        if (cop__likely((word >> 16 & UINT16_MAX) == list >> 32 &&
                        type - COP_NULL < COP_ERROR - COP_NULL)) {
            public->table_ = (const char *)((uintptr_t)&e->page - (uintptr_t)number * 32);
            public->cursor_ = e->few;
            return;
        }
    }
    expect_slowly(e, list);
}

/* One run. True: it waits to be linked. */
static inline bool
run_one(cop__executor *e, cop__effect_record *record)
{
    cop_effect_function function = record->function;
    cop__evaluator *run = &e->run;
    bool pending = false;
    if (cop__unlikely(cop__load_relaxed(&record->state) & COP_EFFECT_EXTRA)) {
        function = record->extra->function;
        cop__effect_tidy(e->frame.store, record->extra);
    }
    expect(e, record->list);
    cop_status status = COP_OK;
    if (cop__likely(!e->frame.finish)) /* a cleanup may have closed it */
        status = function(&run->public, record->context);
    if (cop__unlikely(status < 0))
        note_failed(e, status);
    if (cop__unlikely(run->public.cursor_ != e->few + 1)) {
        cop__effect_position(e);
        if (run->slow || run->stuck != COP_OK || *e->expect != COP_DEPENDENCY_END)
            pending = read_anew(e);
    }
    if (cop__unlikely(run->message[0] != 0))
        run->message[0] = 0;
    if (cop__unlikely(run->scratch != NULL))
        cop__run_scratch_end(run);
    if (cop__unlikely(e->frame.finish)) {
        e->frame.finish = false;
        cop__effect_finish(e->frame.store, record);
    }
    e->notes_count = e->notes_first;
    return pending;
}

/* What was claimed cannot be run: due again, for a later time. */
static void
claim_undo(cop__effect_queue *queue, const cop__effect_claim *claim)
{
    uint64_t bits = claim->bits | claim->cut;
    cop__effect_queue_post(queue, claim->word, bits, 0);
    cop__effect_queue_release(queue, claim->w, claim->word, bits);
}

static void
run_claim(cop__executor *e, cop__effect_queue *queue, const cop__effect_claim *claim)
{
    uint32_t place, base = claim->word * 64;
    cop__effect_table *table = cop__effect_table_of(&e->frame.store->effects, base, &place);
    cop__effect_record *records = &table->record[place];
    uint64_t waiting = 0, ran = 0;
    for (uint64_t left = claim->bits; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (cop__unlikely(!cop__effect_start(queue, claim->w, i)))
            continue;
        e->frame.index = base + i;
        if (cop__unlikely(claim->rounded >> i & 1))
            e->frame.round = cop__effect_claim_round(claim, i) + 1;
        ran++;
        if (run_one(e, &records[i]))
            waiting |= UINT64_C(1) << i;
        cop__effect_stop(queue, claim->w, i);
        e->frame.round = 1;
    }
    e->ran += ran;
    e->frame.index = COP_EFFECT_NONE;
    for (uint64_t left = claim->cut; left != 0; left &= left - 1)
        note_cut(e, base + (unsigned)__builtin_ctzll(left));
    uint64_t done = (claim->bits | claim->cut) & ~waiting;
    if (done != 0)
        cop__effect_queue_release(queue, claim->w, claim->word, done);
}

/* Room for all that a word may have to have linked. */
static bool
pending_room(cop__executor *e, cop__effect_queue *queue)
{
    if (e->pending_count >= PENDING_MOST)
        flush(e, queue);
    if (cop__executor_room(e, &e->pending, &e->pending_capacity, e->pending_count + 64,
                           sizeof *e->pending))
        return true;
    flush(e, queue);
    e->status = COP_E_MEMORY;
    return e->pending_capacity >= 64;
}

/* What a batch has cost tells how its effects are claimed the next time. */
static void
judge(const cop__effect_claim *claim, bool single, uint64_t ns)
{
    if (cop__unlikely(single) ? ns < SHORT_RUN_NS : ns > LONG_RUN_NS)
        cop__effect_queue_slow(claim->w, claim->bits, !single);
}

uint64_t
cop__effects_serve_found(void *context, cop__effect_queue *queue, uint64_t most)
{
    cop__executor *e = (cop__executor *)(void *)cop__effect_here; /* of cop__effects_serve */
    uint32_t from = cop__load_relaxed(&queue->cursor);
    uint64_t begin = 0, ran = e->ran;
    cop__effect_claim claim;
    (void)context;
    for (;;) {
        while (e->ran - ran < most &&
               cop__effect_queue_claim(queue, &from, most - (e->ran - ran), &claim)) {
            bool single = (cop__load_relaxed(&claim.w->slow) & claim.bits) != 0;
            if (single)
                flush(e, queue);
            if (!pending_room(e, queue) || !pin_newest(e, queue)) {
                claim_undo(queue, &claim);
                return COP__EFFECT_STOP;
            }
            if (begin == 0 || single)
                begin = cop__clock_ns();
            run_claim(e, queue, &claim);
            uint64_t now = cop__clock_ns();
            judge(&claim, single, now - begin);
            begin = now;
        }
        if (e->pending_count == 0)
            break;
        flush(e, queue); /* what has become due meanwhile is found by one more look */
    }
    return e->ran - ran;
}

static void
executor_end(cop__executor *e)
{
    cop__memory *memory = e->frame.store->memory;
    log_cut(e);
    cop__memory_free(memory, COP_MEMORY_GRAPH, e->list, e->list_capacity * sizeof *e->list, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, e->notes, e->notes_capacity, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, e->pending, e->pending_capacity * sizeof *e->pending,
                     16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, e->linked, e->linked_capacity * sizeof *e->linked, 16);
}

cop_status
cop__effects_serve(cop_effect_queue *queue, uint64_t most, uint64_t *ran)
{
    cop_store *store = queue->store;
    cop__executor e;
    if (cop__unlikely(cop__load_seq_cst(&store->effects.unlinked) > 0))
        cop__effects_post_unlinked(store, queue);
    memset(&e, 0, sizeof e);
    e.frame = (cop__effect_frame){
        .up = cop__effect_here, .store = store, .queue = queue, .index = COP_EFFECT_NONE};
    cop__run_init(&e.run, &store->graph);
    e.run.effect = &e;
    e.run.public.cursor_ = cop__effect_nothing;
    e.few[1] = COP_DEPENDENCY_END;
    e.frame.round = 1;
    cop__effect_here = &e.frame;
    (void)cop__effect_queue_run(&queue->queue, most);
    cop__effect_here = e.frame.up;
    if (e.pin.snapshot != NULL)
        cop_unpin(e.pin);
    executor_end(&e);
    cop__effects_drain_soon(store);
    if (ran != NULL)
        *ran = e.ran;
    if (e.status != COP_OK)
        cop__effect_queue_left(&queue->queue);
    return e.status;
}
