/* SPDX-License-Identifier: MIT */
/* Recipes and their oracle: see recipe.h. */
#include "tests/stress/recipe.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* One run: the library's, or the oracle's. */
typedef struct reading {
    cop_evaluation *evaluation; /* NULL: the oracle's */
    oracle *o;
    oracle_node *self;
    bool stuck;
    uint64_t hash;
    int64_t sum;
    cop_value last;
} reading;

static uint64_t
pack(cop_atom atom)
{
    return (uint64_t)atom.generation << 32 | atom.id;
}

static uint64_t
mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t
mix_value(uint64_t hash, const cop_value *value)
{
    hash = mix(hash, value->type);
    if (cop_value_is_text(value)) {
        const char *data = cop_value_data(value);
        size_t n = cop_value_length(value);
        hash = mix(hash, n);
        for (size_t i = 0; i < n; i++)
            hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
        return hash;
    }
    return value->type >= COP_OBJECT ? hash : mix(hash, (uint64_t)cop_value_i64(value));
}

bool
oracle_same(const cop_value *a, const cop_value *b)
{
    if (a->type != b->type)
        return false;
    if (cop_value_is_text(a))
        return cop_value_length(a) == cop_value_length(b) &&
               memcmp(cop_value_data(a), cop_value_data(b), cop_value_length(a)) == 0;
    return a->type >= COP_OBJECT || cop_value_i64(a) == cop_value_i64(b);
}

/* ---- the book ---- */

recipe *
recipe_new(recipe_book *book)
{
    recipe *made;

    if (book->count == RECIPES_MAX)
        return NULL;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        abort();
    made->book = book;
    made->index = book->count;
    book->recipes[book->count++] = made;
    return made;
}

void
recipe_book_free(recipe_book *book)
{
    recipe_note *note = atomic_load(&book->all);

    while (note != NULL) {
        recipe_note *next = note->next_of_all;
        free(note);
        note = next;
    }
    for (unsigned i = 0; i < book->count; i++)
        free(book->recipes[i]);
    free(book);
}

recipe *
recipe_of(recipe_book *book, cop_atom atom)
{
    uint64_t packed = pack(atom);
    const recipe_note *note = atomic_load_explicit(&book->bucket[atom.id % RECIPE_BUCKETS],
                                                   memory_order_acquire);

    while (note != NULL && note->packed != packed)
        note = note->next;
    return note != NULL ? note->what : NULL;
}

static void
push(_Atomic(recipe_note *) *list, recipe_note **next, recipe_note *note)
{
    *next = atomic_load(list);
    while (!atomic_compare_exchange_weak(list, next, note))
        continue;
}

/* Before the version that holds the atom is published. */
static void
note_down(recipe *what)
{
    recipe_note *note = calloc(1, sizeof *note);

    if (note == NULL)
        abort();
    what->noted = what->atom;
    note->packed = pack(what->atom);
    note->what = what;
    push(&what->book->bucket[what->atom.id % RECIPE_BUCKETS], &note->next, note);
    push(&what->book->all, &note->next_of_all, note);
}

bool
recipe_equal(void *context, const cop_value *before, const cop_value *now)
{
    (void)context;
    if (before->type == COP_I64 && now->type == COP_I64)
        return cop_value_i64(before) >> 4 == cop_value_i64(now) >> 4;
    if (before->type == COP_STRING && now->type == COP_STRING)
        return cop_value_length(before) % 16 == cop_value_length(now) % 16;
    return oracle_same(before, now);
}

void
recipe_destroy(void *context)
{
    recipe *what = context;

    atomic_fetch_add(&what->destroyed, 1);
}

void
recipe_print(const recipe *what)
{
    static const char *const ops[] = {"read",  "typed",     "at",   "find", "each",   "count",
                                      "untracked", "skip", "fail", "status", "dispose", "refused"};

    fprintf(stderr, "  recipe %u (#%u %s): rank %u, result %u of %u%s%s\n", what->index,
            what->atom.id, what->path, what->rank, what->result, what->range,
            what->own_equality ? ", own equality" : "", what->stubborn ? ", stubborn" : "");
    for (unsigned i = 0; i < what->step_count; i++) {
        const recipe_step *step = &what->step[i];
        fprintf(stderr, "    %s #%u '%s' number %u%s\n", ops[step->op],
                step->target != NULL ? step->target->atom.id : step->atom.id, step->path,
                step->number, step->strict ? " strict" : "");
    }
}

/* ---- the oracle ---- */

typedef struct oracle_block {
    struct oracle_block *next;
    char bytes[];
} oracle_block;

static void *
oracle_bytes(oracle *o, size_t n)
{
    oracle_block *block = malloc(sizeof *block + n);

    if (block == NULL)
        abort();
    block->next = o->memory;
    o->memory = block;
    return block->bytes;
}

static void
oracle_forget(oracle *o)
{
    while (o->memory != NULL) {
        oracle_block *block = o->memory;
        o->memory = block->next;
        free(block);
    }
}

void
oracle_open(oracle *o, recipe_book *book)
{
    *o = (oracle){.book = book};
    o->node = calloc(RECIPES_MAX, sizeof *o->node);
    o->stack = calloc(RECIPES_MAX, sizeof *o->stack);
    if (o->node == NULL || o->stack == NULL)
        abort();
}

void
oracle_close(oracle *o)
{
    oracle_forget(o);
    free(o->node);
    free(o->stack);
}

void
oracle_begin(oracle *o, const cop_snapshot *snapshot)
{
    oracle_forget(o);
    o->snapshot = snapshot;
    o->stamp++;
}

static cop_value
kept_error(oracle *o, const char *text)
{
    size_t n = strlen(text);
    char *copy = oracle_bytes(o, n + 1);

    memcpy(copy, text, n + 1);
    return cop_error_value(copy, n);
}

static size_t
member_name(const oracle *o, const recipe *what, char *text, size_t room)
{
    cop_atom parent;
    cop_value value;

    if (what->path[0] == 0 || cop_parent(o->snapshot, what->atom, &parent) != COP_OK ||
        cop_get(o->snapshot, parent, &value) != COP_OK || value.type == COP_ARRAY)
        return (size_t)snprintf(text, room, "#%u", what->atom.id);
    return (size_t)snprintf(text, room, "%s", what->path);
}

/* All on the stack from this one up read each other. */
static void
close_circle(oracle *o, unsigned first)
{
    char text[1024];
    unsigned n = o->depth - first, least = 0;
    size_t used;
    recipe *const *recipes = o->book->recipes;

    for (unsigned i = 1; i < n; i++)
        if (recipes[o->stack[first + i]]->atom.id < recipes[o->stack[first + least]]->atom.id)
            least = i;
    used = (size_t)snprintf(text, sizeof text, "cycle: ");
    for (unsigned i = 0; i <= n; i++) {
        if (i > 0)
            used += (size_t)snprintf(text + used, sizeof text - used, " -> ");
        if (i < n && sizeof text - used < 80) {
            snprintf(text + used, sizeof text - used, "... (%u atoms)", n);
            break;
        }
        used += member_name(o, recipes[o->stack[first + (least + i) % n]], text + used,
                            sizeof text - used);
    }
    o->circles++;
    for (unsigned i = first; i < o->depth; i++) {
        oracle_node *node = &o->node[o->stack[i]];
        node->value = node->fresh = kept_error(o, text);
        node->done = node->member = true;
    }
}

/* What a snapshot holds, a computed atom's as it must be. */
static cop_status
oracle_read(oracle *o, const oracle_node *self, cop_atom atom, cop_value *value)
{
    cop_status status;
    recipe *what;
    oracle_node *node;

    memset(value, 0, sizeof *value);
    if (self->done)
        return COP_E_CYCLE;
    status = cop_get(o->snapshot, atom, value);
    what = status == COP_OK ? recipe_of(o->book, atom) : NULL;
    if (what == NULL)
        return status;
    node = &o->node[what->index];
    if (node->stamp == o->stamp && node->active && !node->done) {
        unsigned first = o->depth;
        while (o->stack[first - 1] != what->index)
            first--;
        close_circle(o, first - 1);
    } else {
        (void)oracle_ask(o, what);
    }
    if (self->done)
        return COP_E_CYCLE;
    *value = node->value;
    return COP_OK;
}

/* ---- reading, by whom ever ---- */

static void
trace(reading *r, uint64_t word)
{
    if (r->self != NULL)
        r->self->trace = mix(r->self->trace, word);
}

static void
trace_value(reading *r, cop_status status, const cop_value *value)
{
    if (r->self == NULL)
        return;
    r->self->trace = mix_value(mix(r->self->trace, (uint64_t)status), value);
    if (status == COP_OK && value->type == COP_ERROR)
        r->self->failed = *value;
}

static cop_status
read_atom(reading *r, cop_atom atom, cop_value *value)
{
    cop_status status;

    if (r->evaluation != NULL)
        return cop_read(r->evaluation, atom, value);
    status = oracle_read(r->o, r->self, atom, value);
    trace_value(r, status, value);
    return status;
}

static cop_status
read_untracked(reading *r, cop_atom atom, cop_value *value)
{
    if (r->evaluation != NULL)
        return cop_read_untracked(r->evaluation, atom, value);
    return oracle_read(r->o, r->self, atom, value);
}

static cop_status
find(reading *r, const char *path, cop_atom *atom)
{
    cop_status status;

    if (r->evaluation != NULL)
        return cop_read_find(r->evaluation, path, strlen(path), atom);
    *atom = (cop_atom){0, 0};
    if (r->self->done)
        return COP_E_CYCLE;
    status = cop_find(r->o->snapshot, path, strlen(path), atom);
    trace(r, (uint64_t)status);
    trace(r, pack(*atom));
    return status;
}

static cop_status
read_at(reading *r, const char *path, cop_value *value)
{
    cop_atom atom;
    cop_status status;

    if (r->evaluation != NULL)
        return cop_read_at(r->evaluation, path, strlen(path), value);
    memset(value, 0, sizeof *value);
    status = find(r, path, &atom);
    return status == COP_OK ? read_atom(r, atom, value) : status;
}

static cop_status
fail(reading *r, const char *format, ...)
{
    char text[400];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (r->evaluation != NULL)
        return cop_fail(r->evaluation, "%s", text);
    text[sizeof r->self->message - 1] = 0;
    memcpy(r->self->message, text, sizeof r->self->message);
    return COP_E_FAILED;
}

static cop_status
read_typed(reading *r, cop_atom atom, unsigned type, uint64_t *word)
{
    static const cop_type types[] = {COP_I64, COP_F64, COP_BOOL};
    int64_t i = 0;
    double d = 0;
    bool b = false;
    cop_value value;
    cop_status status;

    if (r->evaluation != NULL) {
        status = type == 0   ? cop_read_i64(r->evaluation, atom, &i)
                 : type == 1 ? cop_read_f64(r->evaluation, atom, &d)
                             : cop_read_bool(r->evaluation, atom, &b);
    } else {
        status = read_atom(r, atom, &value);
        if (status == COP_OK && value.type == COP_ERROR)
            status = COP_E_FAILED;
        else if (status == COP_OK && value.type != types[type] &&
                 !(type == 1 && value.type == COP_I64)) {
            status = COP_E_TYPE;
            if (r->self->message[0] == 0)
                (void)fail(r, "expected %s, found %s", cop_type_name(types[type]),
                           cop_type_name((cop_type)value.type));
        }
        i = cop_value_i64(&value);
        d = value.type == COP_I64 ? (double)i : cop_value_f64(&value);
        b = cop_value_bool(&value);
    }
    if (status != COP_OK)
        return status;
    if (type == 1)
        memcpy(word, &d, sizeof d);
    else
        *word = type == 0 ? (uint64_t)i : b;
    return COP_OK;
}

/* ---- lists ---- */

static int
fold_child(void *context, const cop_child *child)
{
    reading *r = context;
    cop_value value = child->value;

    r->hash = mix(mix(r->hash, pack(child->atom)), child->index);
    for (size_t i = 0; i < child->key_length; i++)
        r->hash = mix(r->hash, (unsigned char)child->key[i]);
    r->hash = mix_value(r->hash, &value);
    return r->hash % 9 == 0 ? 3 : 0;
}

/* The list is looked at as a whole, whatever is read of it. */
static cop_status
list_open(reading *r, cop_atom branch, cop_cursor *cursor, cop_value *value)
{
    cop_status status = read_atom(r, branch, value);
    cop_child child;

    if (status == COP_OK)
        status = value->type == COP_ERROR   ? COP_E_FAILED
                 : value->type < COP_OBJECT ? COP_E_NOT_BRANCH
                                            : cop_cursor_open(r->o->snapshot, branch, cursor);
    if (status != COP_OK)
        return status;
    while (cop_cursor_next(cursor, &child))
        trace(r, pack(child.atom));
    return cop_cursor_open(r->o->snapshot, branch, cursor);
}

static cop_status
read_each(reading *r, cop_atom branch, int *stopped)
{
    cop_cursor cursor;
    cop_child child;
    cop_value value;
    cop_status status;

    if (r->evaluation != NULL)
        return cop_read_each(r->evaluation, branch, fold_child, r, stopped);
    *stopped = 0;
    status = list_open(r, branch, &cursor, &value);
    while (status == COP_OK && *stopped == 0 && cop_cursor_next(&cursor, &child)) {
        status = read_atom(r, child.atom, &child.value);
        if (status == COP_OK)
            *stopped = fold_child(r, &child);
    }
    return status;
}

static cop_status
read_count(reading *r, cop_atom branch, uint32_t *count)
{
    cop_cursor cursor;
    cop_child child;
    cop_value value;
    cop_status status;

    if (r->evaluation != NULL)
        return cop_read_count(r->evaluation, branch, count);
    *count = 0;
    status = list_open(r, branch, &cursor, &value);
    while (status == COP_OK && cop_cursor_next(&cursor, &child))
        ++*count;
    return status;
}

/* ---- steps ---- */

static bool
handed_on(reading *r, cop_status status)
{
    if (status != COP_E_PENDING && status != COP_E_CYCLE)
        return false;
    r->stuck = true;
    return true;
}

static cop_status
step_list(reading *r, const recipe_step *step)
{
    cop_atom branch;
    uint32_t count = 0;
    int stopped = 0;
    cop_status status = find(r, step->path, &branch);

    if (status == COP_OK)
        status = step->op == RECIPE_EACH ? read_each(r, branch, &stopped)
                                         : read_count(r, branch, &count);
    if (!handed_on(r, status))
        r->hash = mix(mix(mix(r->hash, (uint64_t)status), count), (uint64_t)stopped);
    return status;
}

static cop_status
step_value(reading *r, const recipe_step *step)
{
    cop_value value;
    cop_atom atom = step->target != NULL ? step->target->atom : step->atom;
    cop_status status = step->op == RECIPE_AT ? read_at(r, step->path, &value)
                                              : read_atom(r, atom, &value);

    if (handed_on(r, status))
        return status;
    r->hash = mix_value(mix(r->hash, (uint64_t)status), &value);
    r->last = value;
    if (value.type == COP_I64)
        r->sum += cop_value_i64(&value) & 0xffff;
    if (status == COP_OK && value.type == COP_ERROR && step->strict)
        return COP_E_FAILED;
    if (step->op != RECIPE_UNTRACKED)
        return status;
    atom = step->untracked != NULL ? step->untracked->atom : step->other;
    status = read_untracked(r, atom, &value);
    if (!handed_on(r, status))
        r->hash = mix_value(mix(r->hash, (uint64_t)status), &value);
    return status;
}

static cop_status
step_typed(reading *r, const recipe_step *step)
{
    uint64_t word = 0;
    cop_atom atom = step->target != NULL ? step->target->atom : step->atom;
    cop_status status = read_typed(r, atom, step->number % 3, &word);

    if (handed_on(r, status))
        return status;
    r->hash = mix(mix(r->hash, (uint64_t)status), word);
    if (step->number % 3 == 0)
        r->sum += (int64_t)(word & 0xffff);
    return status;
}

static cop_status
step_find(reading *r, const recipe_step *step)
{
    cop_atom atom;
    cop_status status = find(r, step->path, &atom);

    if (!handed_on(r, status))
        r->hash = mix(mix(r->hash, (uint64_t)status), pack(atom));
    return status;
}

/* The steps that read nothing; *end: the run is over with this status. */
static cop_status
step_other(reading *r, const recipe *what, const recipe_step *step, bool *end)
{
    static const cop_status statuses[] = {COP_E_FAILED, COP_E_RANGE, COP_E_MEMORY, COP_E_ABSENT,
                                          COP_E_FAILED};
    cop_status status = COP_OK;
    cop_txn *txn = NULL;

    if (r->hash % step->number != 0)
        return COP_OK;
    switch (step->op) {
    case RECIPE_FAIL:
        status = r->hash % 13 == 0 ? fail(r, "too much: %0300u", (unsigned)(r->hash % 100))
                                   : fail(r, "bad %u", (unsigned)(r->hash % 100));
        *end = step->strict;
        break;
    case RECIPE_STATUS:
        status = statuses[r->hash / step->number % 5];
        *end = true;
        break;
    case RECIPE_DISPOSE:
        if (r->evaluation == NULL)
            break;
        if (!atomic_exchange(&((recipe *)(uintptr_t)what)->disposed, true))
            atomic_fetch_add(&what->book->disposals, 1);
        atomic_store(&what->book->wave, 0); /* another one follows */
        if (cop_computed_dispose(what->book->store, what->atom) != COP_OK)
            atomic_fetch_add(&what->book->allowed, 1);
        break;
    case RECIPE_REFUSED:
        if (r->evaluation == NULL)
            break;
        atomic_fetch_add(&what->book->refused, 1);
        if (cop_txn_begin(what->book->store, &txn) != COP_E_IN_EVALUATION)
            atomic_fetch_add(&what->book->allowed, 1);
        break;
    default:
        break;
    }
    return status;
}

static cop_status
one_step(reading *r, const recipe *what, const recipe_step *step, bool *end)
{
    cop_status status;

    switch (step->op) {
    case RECIPE_READ:
    case RECIPE_AT:
    case RECIPE_UNTRACKED: status = step_value(r, step); break;
    case RECIPE_TYPED: status = step_typed(r, step); break;
    case RECIPE_FIND: status = step_find(r, step); break;
    case RECIPE_EACH:
    case RECIPE_COUNT: status = step_list(r, step); break;
    default: return step_other(r, what, step, end);
    }
    *end = status != COP_OK && (step->strict || (r->stuck && !what->stubborn));
    return status;
}

/* ---- results ---- */

static char *
result_bytes(reading *r, size_t n)
{
    char *bytes = r->evaluation != NULL ? cop_scratch(r->evaluation, n) : oracle_bytes(r->o, n);

    for (size_t i = 0; bytes != NULL && i < n; i++)
        bytes[i] = (char)('a' + (r->hash >> (i % 48)) % 26);
    return bytes;
}

static cop_value
result_f64(uint64_t pick)
{
    if (pick % 16 == 0)
        return cop_f64(pick / 16 % 2 ? INFINITY : NAN);
    return pick % 16 == 1 ? cop_f64(-0.0) : cop_f64((double)(pick / 16 % 4) / 4);
}

static void
result_of(reading *r, const recipe *what, cop_value *result)
{
    uint64_t pick = r->hash % what->range;
    size_t n = what->result == RECIPE_SHORT ? 1 + pick % 12 : 13 + pick * 37 % 3000;
    const char *bytes;

    switch (what->result) {
    case RECIPE_SMALL: *result = cop_i64((int64_t)pick); return;
    case RECIPE_SUM: *result = cop_i64(r->sum); return;
    case RECIPE_F64: *result = result_f64(r->hash % (16 * (uint64_t)what->range)); return;
    case RECIPE_BOOL: *result = cop_bool(pick % 2); return;
    case RECIPE_LAST: *result = r->last; return;
    case RECIPE_NOTHING: *result = pick % 2 ? cop_object() : (cop_value){.type = COP_NONE}; return;
    case RECIPE_SHORT:
    case RECIPE_LONG:
    case RECIPE_BYTES:
    case RECIPE_ERROR:
        r->hash = mix(77, pick);
        bytes = result_bytes(r, n);
        *result = cop_text(what->result == RECIPE_BYTES   ? COP_BYTES
                           : what->result == RECIPE_ERROR ? COP_ERROR
                                                          : COP_STRING,
                           bytes, bytes != NULL ? n : 0);
        return;
    default: return;
    }
}

static cop_status
run(reading *r, const recipe *what, cop_value *result)
{
    bool end = false;

    r->hash = what->index;
    r->last = cop_null();
    for (unsigned i = 0; i < what->step_count; i++) {
        const recipe_step *step = &what->step[i];
        if (step->op == RECIPE_SKIP) {
            i += r->hash % step->number == 0;
            continue;
        }
        cop_status status = one_step(r, what, step, &end);
        if (end)
            return status;
    }
    result_of(r, what, result);
    return COP_OK;
}

cop_status
recipe_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    recipe *what = context;
    recipe_book *book = what->book;
    reading r = {.evaluation = evaluation};
    uint64_t wave = atomic_load(&book->wave);
    cop_status status;

    if (atomic_exchange(&what->running, true))
        atomic_fetch_add(&book->overlapped, 1);
    if (atomic_load(&what->destroyed) != 0)
        atomic_fetch_add(&book->late, 1);
    if (pack(what->noted) != pack(what->atom))
        note_down(what);
    atomic_fetch_add(&what->calls, 1);
    atomic_fetch_add(&book->calls, 1);
    status = run(&r, what, result);
    if (!r.stuck) {
        if (wave != 0 && what->completed_in == wave)
            atomic_fetch_add(&book->twice, 1);
        what->completed_in = wave;
        atomic_fetch_add(&book->completed, 1);
    }
    atomic_store(&what->running, false);
    return status;
}

/* What becomes of a function's answer: computed.h, ERRORS. */
static cop_value
outcome(oracle *o, const oracle_node *node, cop_status status, const cop_value *result)
{
    if (status != COP_OK) {
        if (node->message[0] != 0)
            return kept_error(o, node->message);
        if (status == COP_E_FAILED && node->failed.type == COP_ERROR)
            return node->failed;
        return kept_error(o, cop_status_message(status));
    }
    if (result->type == COP_F64 && !isfinite(cop_value_f64(result)))
        return kept_error(o, "the result is not a finite number");
    if (result->type == COP_NONE || result->type >= COP_OBJECT)
        return kept_error(o, "the result is no value");
    return *result;
}

const oracle_node *
oracle_ask(oracle *o, const recipe *what)
{
    oracle_node *node = &o->node[what->index];
    reading r = {.o = o, .self = node};
    cop_value result = cop_null(), stored;
    cop_status status;

    if (node->stamp == o->stamp)
        return node;
    *node = (oracle_node){.stamp = o->stamp, .active = true};
    o->stack[o->depth++] = what->index;
    status = run(&r, what, &result);
    o->depth--;
    node->active = false;
    if (node->done)
        return node;
    node->done = true;
    node->value = node->fresh = outcome(o, node, status, &result);
    /* Of values that count as the same, the first one stays. */
    if (what->own_equality && cop_get(o->snapshot, what->atom, &stored) == COP_OK &&
        stored.type != COP_ERROR && node->fresh.type != COP_ERROR &&
        recipe_equal(NULL, &stored, &node->fresh))
        node->value = stored;
    return node;
}
