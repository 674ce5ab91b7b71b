/* SPDX-License-Identifier: MIT */
/* Texts of a store: asking for one, the serializer's life, its bound. See fragments.h. */
#include "serialize/serializer.h"

#include "monitor/monitor.h"
#include "serialize/fragments.h"
#include "serialize/json_compact.h"
#include "store/store_internal.h"

/* ---- texts that are not kept ---- */

static int
plain_take(void *context, const char *bytes, size_t n)
{
    cop__parts *parts = context;
    cop__leaf *leaf = cop__leaf_new(parts->memory, n, n);
    if (leaf == NULL)
        return 1;
    memcpy(leaf->text, bytes, n);
    if (cop__parts_add(parts, &leaf->part))
        return 0;
    cop__part_drop(parts->memory, &leaf->part);
    return 1;
}

/* A text that is written for one asker. */
static cop_status
plain_rope(const cop_snapshot *snapshot, cop_atom atom, cop_rope **rope)
{
    cop__parts parts = {.memory = snapshot->store->memory};
    cop_status status = cop_json_write(snapshot, atom, NULL, plain_take, &parts);
    *rope = cop__parts_end(&parts, status == COP_OK);
    if (status == COP_E_IO) /* the sink only stops for want of memory */
        return COP_E_MEMORY;
    return status == COP_OK && *rope == NULL ? COP_E_MEMORY : status;
}

static int
too_long(void *context, const char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    *(bool *)context = true;
    return 1;
}

/* A branch that fits a fragment is not worth an owner of its own. */
static bool
is_small(const cop_snapshot *snapshot, cop_atom atom)
{
    char buffer[COP__FRAGMENT_BYTES];
    bool large = false;
    cop__json_out out = cop__json_out_to(buffer, sizeof buffer, too_long, &large);
    return cop__json_compact(&out, snapshot, atom, 0) == COP_OK && !large;
}

/* ---- life ---- */

static bool
make_close(cop__serializer *s)
{
    static const char *const text[2][2] = {{"{}", "}"}, {"[]", "]"}};
    for (unsigned array = 0; array < 2; array++)
        for (unsigned begun = 0; begun < 2; begun++) {
            size_t n = strlen(text[array][begun]);
            cop__leaf *leaf = cop__leaf_new(s->memory, n, n);
            if (leaf == NULL)
                return false;
            memcpy(leaf->text, text[array][begun], n);
            s->close[array][begun] = leaf;
        }
    return true;
}

static void
serializer_free(cop__serializer *s)
{
    for (unsigned i = 0; i < 4; i++)
        if (s->close[i / 2][i % 2] != NULL)
            cop__part_drop(s->memory, &s->close[i / 2][i % 2]->part);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->owners_lock);
    cop__memory_free(s->memory, COP_MEMORY_FRAGMENTS, s, sizeof *s, 16);
}

static cop__serializer *
serializer_new(cop_store *store)
{
    cop__serializer *s = cop__memory_zalloc(store->memory, COP_MEMORY_FRAGMENTS, sizeof *s, 16);
    if (s == NULL)
        return NULL;
    s->store = store;
    s->memory = store->memory;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->owners_lock, NULL);
    if (make_close(s))
        return s;
    serializer_free(s);
    return NULL;
}

/* Made once, and kept. The lock is one that everybody holds for a moment only. */
static cop__serializer *
serializer_of(cop_store *store)
{
    cop__serializer *s = cop__load_acquire(&store->serializer);
    if (s != NULL)
        return s;
    pthread_mutex_lock(&store->timers.lock);
    s = cop__load_acquire(&store->serializer);
    if (s == NULL) {
        s = serializer_new(store);
        cop__store_seq_cst(&store->serializer, s); /* before a look at `closing`, see follow */
    }
    pthread_mutex_unlock(&store->timers.lock);
    return s;
}

/* All records, whatever state they are in; the base is let go by the caller, without the lock. */
static const cop_snapshot *
drop_all(cop__serializer *s)
{
    const cop_snapshot *base = s->base;
    for (cop__owner *owner = s->owners; owner != NULL; owner = owner->next) {
        owner->parent = NULL;
        size_t kept = 0;
        for (size_t i = 0; i < owner->elements; i++)
            if (!cop__is_owner(owner->element[i]))
                owner->element[kept++] = owner->element[i];
        owner->elements = kept;
    }
    while (s->owners != NULL)
        cop__owner_free(s, s->owners);
    cop__places_end(s);
    s->base = NULL;
    cop__store_relaxed(&s->refused, false);
    cop__add_relaxed(&s->count.drops, 1u);
    return base;
}

/* Drops what is kept, unless somebody has the lock. Whether there was anything.
 * Who wants that says so and then tries the lock; who has it gives it back and then looks. Both
 * exchange the mark, so the later one has seen the earlier one's step: one of the two finds mark
 * and lock free. */
static bool
drop_kept(cop__serializer *s, bool settle)
{
    (void)cop__swap_seq_cst(&s->pressed, true);
    if (pthread_mutex_trylock(&s->lock) != 0)
        return false; /* its holder does it */
    cop__store_relaxed(&s->pressed, false);
    bool kept = s->owners != NULL;
    const cop_snapshot *base = drop_all(s);
    pthread_mutex_unlock(&s->lock);
    if (base != NULL)
        cop__snapshot_let_go(base, COP_HELD_BY_TEXTS, settle);
    return kept;
}

/* Gives the lock back, and sees to what was asked of its holder meanwhile. */
static void
leave(cop__serializer *s, const cop_snapshot *let_go)
{
    pthread_mutex_unlock(&s->lock);
    if (let_go != NULL)
        cop__snapshot_let_go(let_go, COP_HELD_BY_TEXTS, true);
    if (cop__swap_seq_cst(&s->pressed, false))
        (void)drop_kept(s, true);
}

void
cop__serializer_closing(cop__serializer *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    leave(s, drop_all(s));
}

void
cop__serializer_end(cop__serializer *s)
{
    if (s != NULL)
        serializer_free(s);
}

bool
cop__serializer_press(cop__serializer *s)
{
    return s != NULL && drop_kept(s, false);
}

/* ---- the bound ---- */

static int64_t
limit_of(cop__serializer *s)
{
    pthread_mutex_lock(
        &s->store->snapshot_lock); /* of options that change while the store is open */
    uint64_t limit = s->store->options.serialization_cache_bytes;
    pthread_mutex_unlock(&s->store->snapshot_lock);
    if (limit == 0)
        limit = cop__load_relaxed(&s->memory->limit) / 8;
    return limit > INT64_MAX ? INT64_MAX : (int64_t)limit;
}

/* Asked for again since the hand went over it or, as part of more, over that. */
static bool
is_used(const cop__owner *owner)
{
    while (owner != NULL && !owner->visited)
        owner = owner->parent;
    return owner != NULL;
}

/* SIEVE: the hand goes round the owners and on from where it was, and drops what was not asked for
 * again since its last round. What is new is not used yet, so what is asked for once drives out
 * nothing that is asked for often. Two whole rounds drop everything. */
static void
keep_to(cop__serializer *s, int64_t limit)
{
    for (unsigned ends = 0; ends < 3 && cop__load_relaxed(&s->bytes) > limit;) {
        cop__owner *owner = s->hand;
        if (owner == NULL) {
            s->hand = s->owners;
            ends++;
            continue;
        }
        s->hand = owner->next; /* goes on by itself when that one is freed with what is above it */
        if (is_used(owner)) {
            owner->visited = false;
        } else if (owner->elements > 0) {
            cop__owner_empty(s, owner);
            cop__add_relaxed(&s->count.evicted, 1u);
        }
    }
}

uint64_t
cop__serializer_give_way(cop__serializer *s, uint64_t bytes)
{
    const cop_snapshot *base = NULL;
    if (s == NULL || pthread_mutex_trylock(&s->lock) != 0)
        return 0;
    int64_t before = cop__load_relaxed(&s->bytes);
    keep_to(s, (uint64_t)before > bytes ? before - (int64_t)bytes : 0);
    if (cop__load_relaxed(&s->bytes) == before)
        base = drop_all(s);
    uint64_t given = (uint64_t)(before - cop__load_relaxed(&s->bytes)) + (base != NULL);
    leave(s, NULL);
    if (base != NULL)
        cop__snapshot_let_go(base, COP_HELD_BY_TEXTS, false);
    return given;
}

/* ---- asking ---- */

static cop__owner *
owner_of(cop__serializer *s, const cop_snapshot *snapshot, cop_atom atom)
{
    uintptr_t place = cop__place_of(s, atom.id);
    if (cop__is_owner(place))
        return cop__to_owner(place);
    if (place != 0 || is_small(snapshot, atom))
        return NULL;
    return cop__owner_new(s, snapshot, atom.id);
}

/* What the strategy wants beside what was asked for. */
static bool
write_rest(cop__serializer *s)
{
    if (s->store->options.serialization_strategy != 2)
        return true;
    for (cop__owner *owner = s->owners; owner != NULL; owner = owner->next)
        if (owner->parent == NULL && !cop__owner_write(s, owner))
            return false;
    return true;
}

/* A store that closes first says so and then looks for a serializer, one that is made is first
 * entered and then looks whether it closes: so either its base is dropped by close, or it takes
 * none. */
static bool
follow(cop__serializer *s, const cop_snapshot *snapshot, cop_atom atom, const cop_snapshot **let_go)
{
    if (s->closing || cop__load_seq_cst(&s->store->closing))
        return false;
    if (s->base != NULL && snapshot->stamp < s->base->stamp)
        return false; /* older */
    if (s->base == snapshot)
        return true;
    if (!cop__places_reach(s, snapshot))
        return false;
    cop__snapshot_hold(snapshot, COP_HELD_BY_TEXTS);
    bool all = s->store->options.serialization_strategy == 2 || atom.id == cop_root().id;
    *let_go = cop__serializer_move(s, snapshot, all);
    return write_rest(s);
}

/* NULL: to be written without the cache. */
static cop_rope *
kept_rope(cop__serializer *s, const cop_snapshot *snapshot, cop_atom atom,
          const cop_snapshot **let_go)
{
    if (!follow(s, snapshot, atom, let_go))
        return NULL;
    cop__owner *owner = owner_of(s, snapshot, atom);
    if (owner == NULL)
        return NULL;
    owner->visited = owner->elements > 0;
    cop__add_relaxed(owner->dirty ? &s->count.writes : &s->count.hits, 1u);
    return cop__owner_write(s, owner) ? cop__owner_rope(s, owner) : NULL;
}

static cop_rope *
ask(cop__serializer *s, const cop_snapshot *snapshot, cop_atom atom)
{
    const cop_snapshot *let_go = NULL, *base = NULL;
    pthread_mutex_lock(&s->lock);
    cop_rope *rope = kept_rope(s, snapshot, atom, &let_go);
    if (cop__load_relaxed(&s->refused))
        base = drop_all(s);
    else
        keep_to(s, limit_of(s));
    if (rope == NULL)
        cop__add_relaxed(&s->count.plain, 1u);
    leave(s, let_go);
    if (base != NULL)
        cop__snapshot_let_go(base, COP_HELD_BY_TEXTS, true);
    return rope;
}

static cop_status
rope_of(const cop_snapshot *snapshot, cop_atom atom, cop_rope **rope)
{
    cop_store *store = snapshot->store;
    const cop__slot *slot = cop__root_atom(snapshot, atom);
    if (slot == NULL)
        return COP_E_GONE;
    if (cop__slot_is_branch(slot) && store->options.serialization_strategy != 1) {
        cop__serializer *s = serializer_of(store);
        uint64_t began = cop__monitor_clock(store);
        if (s != NULL)
            *rope = ask(s, snapshot, atom);
        if (*rope != NULL)
            cop__monitor_took(store, COP_MEASURE_SERIALIZE, began);
    }
    return *rope != NULL ? COP_OK : plain_rope(snapshot, atom, rope);
}

cop_status
cop_json_rope(const cop_snapshot *snapshot, cop_atom atom, cop_rope **rope)
{
    cop__entered entered;
    if (rope == NULL)
        return COP_E_INVALID;
    *rope = NULL;
    if (snapshot == NULL)
        return COP_E_INVALID;
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return status;
    status = rope_of(entered.root, atom, rope);
    cop__snapshot_leave(&entered);
    return status;
}

void
cop__serializer_counts(cop__serializer *s, cop_stats *stats)
{
    if (s == NULL)
        return;
    stats->fragments_hits = cop__load_relaxed(&s->count.hits);
    stats->fragments_writes = cop__load_relaxed(&s->count.writes);
    stats->fragments_plain = cop__load_relaxed(&s->count.plain);
    stats->fragments_spliced = cop__load_relaxed(&s->count.spliced);
    stats->fragments_formatted = cop__load_relaxed(&s->count.formatted);
    stats->fragments_evicted = cop__load_relaxed(&s->count.evicted);
    stats->fragments_dropped = cop__load_relaxed(&s->count.drops);
}
