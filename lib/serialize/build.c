/* SPDX-License-Identifier: MIT */
/*
 * Formatting the children of an owner into fragments (fragments.h).
 *
 * Children are written one behind the other; from `cut` bytes on what is there becomes a fragment.
 * A branch among them is written where it stands, until it turns out to be longer than a fragment
 * or nested deeper than is looked at here: what was written of it is then taken back, and it
 * becomes an owner, to be written later. So at most a fragment's worth is written twice for each
 * owner.
 */
#include "serialize/json_fast.h"

#include "serialize/fragments.h"

#define BUFFER_BYTES 8192u
#define LEVELS 24u
#define VECTOR_LEAST 128u
#define CERTAIN_CHILDREN (COP__FRAGMENT_BYTES / 2) /* no child is shorter than two bytes */

typedef struct level {
    cop__json_list list;
    bool array;
    char separator;
} level;

typedef struct vector {
    void *at;
    size_t n, capacity;
} vector;

struct cop__builder {
    cop__serializer *s;
    cop__owner *owner;
    cop__json_reader reader, ahead;
    cop__json_out out;
    size_t cut;
    bool begun, first, failed;
    vector spill; /* text that came before what is in the buffer */
    vector tokens, children, built;
    level levels[LEVELS];
    char buffer[BUFFER_BYTES];
};

/* ---- vectors ---- */

static bool
grow(cop__builder *b, vector *v, size_t more, size_t size)
{
    if (cop__likely(v->n + more <= v->capacity))
        return true;
    size_t need = v->n + more > VECTOR_LEAST ? v->n + more : VECTOR_LEAST;
    if (cop__memory_grow(b->s->memory, COP_MEMORY_FRAGMENTS, &v->at, &v->capacity, need, size))
        return true;
    b->failed = true;
    cop__store_relaxed(&b->s->refused, true);
    return false;
}

static void
release(cop__builder *b, vector *v, size_t size)
{
    cop__memory_free(b->s->memory, COP_MEMORY_FRAGMENTS, v->at, v->capacity * size, 16);
}

static int
spill(void *context, const char *bytes, size_t n)
{
    cop__builder *b = context;
    if (!grow(b, &b->spill, n, 1))
        return 1;
    memcpy((char *)b->spill.at + b->spill.n, bytes, n);
    b->spill.n += n;
    return 0;
}

/* ---- the builder ---- */

cop__builder *
cop__builder_open(cop__serializer *s, cop__owner *owner, bool begun, size_t cut)
{
    cop__builder *b = cop__memory_alloc(s->memory, COP_MEMORY_FRAGMENTS, sizeof *b, 16);
    if (b == NULL) {
        cop__store_relaxed(&s->refused, true);
        return NULL;
    }
    memset(b, 0, offsetof(cop__builder, levels));
    b->s = s;
    b->owner = owner;
    b->reader = b->ahead = cop__json_reader_of(s->base);
    b->out = cop__json_out_to(b->buffer, sizeof b->buffer, spill, b);
    b->cut = cut;
    b->begun = begun;
    b->first = !begun;
    return b;
}

void
cop__builder_close(cop__builder *b)
{
    release(b, &b->spill, 1);
    release(b, &b->tokens, sizeof(cop__token));
    release(b, &b->children, sizeof(uint32_t));
    release(b, &b->built, sizeof(cop__element));
    cop__memory_free(b->s->memory, COP_MEMORY_FRAGMENTS, b, sizeof *b, 16);
}

size_t
cop__build_pending(const cop__builder *b)
{
    return b->spill.n + (size_t)(b->out.at - b->out.start);
}

/* What was written from `position` on is taken back. */
static void
take_back(cop__builder *b, size_t position, size_t tokens)
{
    b->tokens.n = tokens;
    if (position >= b->spill.n) {
        b->out.at = b->out.start + (position - b->spill.n);
    } else {
        b->spill.n = position;
        b->out.at = b->out.start;
    }
}

static bool
add_element(cop__builder *b, cop__element element)
{
    if (!grow(b, &b->built, 1, sizeof element))
        return false;
    ((cop__element *)b->built.at)[b->built.n++] = element;
    return true;
}

/* ---- fragments ---- */

static cop__leaf *
make_leaf(cop__builder *b)
{
    size_t n = cop__build_pending(b), here = n - b->spill.n;
    cop__leaf *leaf = cop__leaf_new(b->s->memory, n, (n + n / 16 + 31) & ~(size_t)15);
    if (leaf == NULL)
        return NULL;
    if (b->spill.n > 0)
        memcpy(leaf->text, b->spill.at, b->spill.n);
    memcpy(leaf->text + b->spill.n, b->out.start, here);
    return leaf;
}

static cop__fragment *
make_fragment(cop__builder *b)
{
    size_t tokens = b->tokens.n * sizeof(cop__token), ids = b->children.n * sizeof(uint32_t);
    cop__fragment *f = cop__record_alloc(b->s, sizeof *f + tokens + ids);
    if (f == NULL)
        return NULL;
    *f = (cop__fragment){.leaf = make_leaf(b),
                         .tokens = (uint32_t)b->tokens.n,
                         .children = (uint32_t)b->children.n,
                         .first = b->first};
    if (f->leaf == NULL) {
        cop__record_free(b->s, f, sizeof *f + tokens + ids);
        return NULL;
    }
    cop__add_relaxed(&b->s->bytes, (int64_t)cop__leaf_size(f->leaf));
    memcpy(f->token, b->tokens.at, tokens);
    memcpy(cop__fragment_children(f), b->children.at, ids);
    return f;
}

/* Ids that follow one another have their places side by side. */
static bool
set_places(cop__builder *b, cop__fragment *f)
{
    _Atomic(uintptr_t) *page = NULL;
    uint32_t number = UINT32_MAX;
    for (uint32_t i = 0; i < f->tokens; i++) {
        uint32_t id = f->token[i].id;
        if (id >> COP__PLACE_BITS != number) {
            number = id >> COP__PLACE_BITS;
            page = cop__place_page(b->s, number);
            if (page == NULL)
                return false;
        }
        atomic_store_explicit(&page[id & (COP__PLACES - 1)], (uintptr_t)f, memory_order_relaxed);
    }
    return true;
}

bool
cop__build_flush(cop__builder *b)
{
    if (b->failed || b->children.n == 0)
        return !b->failed;
    cop__fragment *f = make_fragment(b);
    b->failed = f == NULL || !set_places(b, f) || !add_element(b, (cop__element)f);
    if (b->failed) {
        cop__store_relaxed(&b->s->refused, true);
        if (f != NULL)
            cop__fragment_free(b->s, f);
    }
    b->first = !b->begun;
    b->children.n = 0;
    take_back(b, 0, 0);
    return !b->failed;
}

/* ---- children ---- */

static bool
add_token(cop__builder *b, uint32_t id, size_t start, size_t end)
{
    if (!grow(b, &b->tokens, 1, sizeof(cop__token)))
        return false;
    size_t length = end - start;
    ((cop__token *)b->tokens.at)[b->tokens.n++] = (cop__token){
        .id = id,
        .start = (uint16_t)(start < COP__TOKEN_UNKNOWN ? start : COP__TOKEN_UNKNOWN),
        .length = (uint16_t)(length < COP__TOKEN_LONG ? length : COP__TOKEN_LONG) & COP__TOKEN_LONG,
    };
    return true;
}

/* A child that is no branch; it is known by a token even when nothing is written of it. */
static bool
put_leaf_child(cop__builder *b, uint32_t id, const cop__slot *slot, bool array, char *separator)
{
    size_t start = cop__build_pending(b);
    if (cop__slot_is_lazy(slot) && !array)
        return add_token(b, id, start, start);
    cop__json_put_begin(&b->out, &b->reader, id, array, *separator);
    *separator = ',';
    start = cop__build_pending(b);
    cop__json_put_scalar(&b->out, slot);
    return add_token(b, id, start, cop__build_pending(b));
}

/* Opens a branch, of which the separator and key are still to be written. */
static bool
open_level(cop__builder *b, level *l, uint32_t id, const cop__slot *slot)
{
    bool array = cop__slot_type(slot) == COP_ARRAY;
    *l = (level){cop__json_list_of(b->s->base, slot), array, array ? '[' : '{'};
    size_t start = cop__build_pending(b);
    return add_token(b, id, start, start);
}

static void
close_level(cop__builder *b, const level *l)
{
    if (l->separator != ',')
        cop__json_char(&b->out, l->separator);
    cop__json_char(&b->out, l->array ? ']' : '}');
}

typedef enum outcome { WRITTEN, TOO_LARGE, REFUSED } outcome;

static bool
has_place_of_its_own(cop__builder *b, uint32_t id, const cop__slot *slot)
{
    uintptr_t place = cop__place_of(b->s, id);
    return cop__is_owner(place) && !cop__to_owner(place)->gone &&
           cop__to_owner(place)->generation == slot->reserved;
}

/* One child within a branch that is being written. */
static outcome
put_inner(cop__builder *b, unsigned *depth)
{
    level *l = &b->levels[*depth - 1];
    uint32_t id = *l->list.id++;
    const cop__slot *slot = cop__json_slot(&b->reader, id);
    if (!cop__slot_is_branch(slot))
        return put_leaf_child(b, id, slot, l->array, &l->separator) ? WRITTEN : REFUSED;
    if (*depth == LEVELS || has_place_of_its_own(b, id, slot))
        return TOO_LARGE;
    cop__json_put_begin(&b->out, &b->reader, id, l->array, l->separator);
    l->separator = ',';
    return open_level(b, &b->levels[(*depth)++], id, slot) ? WRITTEN : REFUSED;
}

/* A branch with what is below it, where it stands. */
static outcome
put_branch(cop__builder *b, uint32_t id, const cop__slot *slot)
{
    size_t start = cop__build_pending(b);
    unsigned depth = 1;
    outcome result = WRITTEN;
    if (cop__list_count((cop__view){b->s->base, NULL}, slot) > CERTAIN_CHILDREN)
        return TOO_LARGE;
    char separator = b->begun ? ',' : b->owner->array ? '[' : '{';
    cop__json_put_begin(&b->out, &b->reader, id, b->owner->array, separator);
    if (!open_level(b, &b->levels[0], id, slot))
        return REFUSED;
    while (result == WRITTEN && depth > 0) {
        level *l = &b->levels[depth - 1];
        if (!cop__json_list_more(b->s->base, &l->list))
            close_level(b, &b->levels[--depth]);
        else
            result = put_inner(b, &depth);
        if (cop__build_pending(b) - start > COP__FRAGMENT_BYTES && result == WRITTEN)
            result = TOO_LARGE;
    }
    return result;
}

/* The owner that stands for a branch: what is kept of it, if that is still the same branch. */
static bool
put_owner(cop__builder *b, uint32_t id, const cop__slot *slot)
{
    uintptr_t place = cop__place_of(b->s, id);
    cop__owner *child = has_place_of_its_own(b, id, slot) ? cop__to_owner(place)
                                                          : cop__owner_new(b->s, b->s->base, id);
    if (!cop__build_flush(b) || child == NULL)
        return false;
    b->begun = true;
    b->first = false;
    return cop__build_keep(b, cop__of_owner(child), true);
}

bool
cop__build_child(cop__builder *b, uint32_t id)
{
    const cop__slot *slot = cop__json_slot(&b->reader, id);
    size_t start = cop__build_pending(b), tokens = b->tokens.n;
    bool good;
    if (!cop__slot_is_branch(slot)) {
        char bracket = b->owner->array ? '[' : '{', separator = b->begun ? ',' : bracket;
        good = put_leaf_child(b, id, slot, b->owner->array, &separator);
        b->begun |= cop__build_pending(b) > start;
    } else {
        outcome result = has_place_of_its_own(b, id, slot) ? TOO_LARGE : put_branch(b, id, slot);
        if (result == TOO_LARGE) {
            take_back(b, start, tokens);
            return put_owner(b, id, slot);
        }
        good = result == WRITTEN;
        b->begun = true;
    }
    good = good && grow(b, &b->children, 1, sizeof id);
    if (!good || b->out.stopped) {
        b->failed = true;
        return false;
    }
    ((uint32_t *)b->children.at)[b->children.n++] = id;
    return cop__build_pending(b) < b->cut || cop__build_flush(b);
}

void
cop__build_look_ahead(cop__builder *b, const cop__json_list *list)
{
    cop__json_look_ahead(&b->ahead, list);
}

bool
cop__build_keep(cop__builder *b, cop__element element, bool begun)
{
    b->begun = begun;
    b->first = !begun;
    return add_element(b, element);
}

cop__element *
cop__built(cop__builder *b, size_t *n)
{
    *n = b->built.n;
    return b->built.at;
}

void
cop__build_discard(cop__builder *b)
{
    const cop__element *built = b->built.at;
    for (size_t i = 0; i < b->built.n; i++)
        if (!cop__is_owner(built[i]) && ((cop__fragment *)built[i])->row == NULL)
            cop__fragment_free(b->s, (cop__fragment *)built[i]);
    b->built.n = 0;
}

bool
cop__build_join(cop__builder *b, cop__builder *from)
{
    size_t n = from->built.n;
    if (!grow(b, &b->built, n, sizeof(cop__element))) {
        cop__build_discard(from);
        return false;
    }
    if (n > 0)
        memcpy((cop__element *)b->built.at + b->built.n, from->built.at, n * sizeof(cop__element));
    b->built.n += n;
    b->begun |= from->begun;
    return true;
}

bool
cop__build_begun(const cop__builder *b)
{
    return b->begun;
}

void
cop__build_unkeep(cop__builder *b, bool begun)
{
    b->built.n--;
    b->begun = begun;
    b->first = !begun;
}

size_t
cop__build_scalar(const cop_snapshot *snapshot, uint32_t id, char out[COP__SPLICE_MAX])
{
    const cop__slot *slot = cop__root_slot(snapshot, id);
    char *end = cop__json_fast_scalar(out, COP__SPLICE_MAX, slot);
    if (cop__likely(end != NULL))
        return (size_t)(end - out);
    cop_value value = cop__slot_value(slot);
    size_t n;
    return cop_json_value(&value, out, COP__SPLICE_MAX, &n) == COP_OK ? n : 0;
}

/* Room for a key of which every byte needs an escape. */
static size_t
open_room(const cop__serializer *s, const cop__owner *owner)
{
    const cop__name *name = cop__info_name(cop__root_info(s->base, owner->id));
    return (name != NULL ? cop__name_length(name) * 6 : 0) + COP__JSON_KEY_ROOM;
}

cop__leaf *
cop__build_open(cop__serializer *s, const cop__owner *owner, bool first)
{
    cop__json_reader reader = cop__json_reader_of(s->base);
    const cop__owner *parent = owner->parent;
    size_t room = open_room(s, owner);
    cop__leaf *leaf = cop__leaf_new(s->memory, 0, room);
    if (leaf == NULL) {
        cop__store_relaxed(&s->refused, true);
        return NULL;
    }
    cop__json_out out = cop__json_out_to(leaf->text, room, NULL, NULL);
    char bracket = parent->array ? '[' : '{';
    cop__json_put_begin(&out, &reader, owner->id, parent->array, first ? bracket : ',');
    leaf->part.bytes = (size_t)(out.at - out.start);
    cop__add_relaxed(&s->bytes, (int64_t)cop__leaf_size(leaf));
    return leaf;
}
