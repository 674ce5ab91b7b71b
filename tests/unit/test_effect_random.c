/* SPDX-License-Identifier: MIT */
/*
 * Effects with reads of every kind, over a small tree that changes at random. What an effect has
 * read is written down as a text: it runs exactly when another version gives another text.
 */
#include <stdarg.h>

#include <coppice/effect.h>

#include "store/store_internal.h"
#include "tests/support/store_test.h"

enum { WORDS = 6, EFFECTS = 70, ROUNDS = 300, TEXT = 2048 };

/* "v:path" reads the atom that stood there when the run began, or any earlier one; "l:path" its
 * children, "n:path" their number, "p:path" what the path leads to. */
static const char *const all_words[] = {
    "v:a", "v:b", "v:t", "v:o", "v:o/x", "v:o/y",  "v:lazy", "v:error", "l:o",   "n:o",
    "l:q", "n:q", "p:a", "p:o", "p:o/x", "p:none", "p:q/0",  "p:o/z",   "p:o/y", "l:a",
};

typedef struct watcher {
    cop_effect effect;
    unsigned count; /* words */
    const char *word[WORDS];
    cop_atom atom[WORDS];
    unsigned runs;
    uint32_t draws;
    char saw[TEXT];
} watcher;

static cop_store *store;
static watcher watchers[EFFECTS];
static watcher *meddler; /* commits in its next run */
static uint32_t draws;   /* for the changes */

static uint32_t
draw_of(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*state * below) >> 32);
}

static uint32_t
draw(uint32_t below)
{
    return draw_of(&draws, below);
}

/* --- what is seen ----------------------------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3))) put(char *text, const char *format, ...)
{
    size_t used = strlen(text);
    va_list list;

    va_start(list, format);
    ck_assert_int_lt(vsnprintf(text + used, TEXT - used, format, list), (int)(TEXT - used));
    va_end(list);
}

static void
put_value(char *text, const cop_value *value)
{
    if (cop_value_is_text(value))
        put(text, "'%.*s' ", (int)cop_value_length(value), (const char *)cop_value_data(value));
    else
        put(text, "%u:%" PRId64 " ", value->type,
            value->type == COP_I64 ? cop_value_i64(value) : 0);
}

typedef struct children {
    char *text;
    bool values;
} children;

static int
put_child(void *context, const cop_child *child)
{
    const children *c = context;

    put(c->text, "(%u.%u) ", child->atom.id, child->atom.generation);
    if (c->values)
        put_value(c->text, &child->value);
    return 0;
}

/* What a watcher's words give in a version. */
static const char *
text_of(const watcher *w, const cop_snapshot *snapshot, char *text)
{
    text[0] = '\0';
    for (unsigned i = 0; i < w->count; i++) {
        cop_value value = cop_null();
        cop_atom atom = w->atom[i];
        children c = {text, w->word[i][0] == 'l'};
        if (w->word[i][0] == 'p') {
            (void)cop_find(snapshot, P(w->word[i] + 2), &atom);
            put(text, "at %u.%u ", atom.id, atom.generation);
        }
        cop_status status = cop_get(snapshot, atom, &value);
        put(text, "%d ", status);
        if (status == COP_OK)
            put_value(text, &value);
        if (strchr("ln", w->word[i][0]) != NULL)
            (void)cop_each(snapshot, atom, put_child, &c, NULL);
    }
    return text;
}

static int
pass(void *context, const cop_child *child)
{
    (void)child;
    ++*(uint32_t *)context;
    return 0;
}

/* Depends on what a word says; the answers are those of the snapshot. */
static void
read_word(cop_evaluation *evaluation, const watcher *w, unsigned i)
{
    const cop_snapshot *snapshot = cop_effect_snapshot(evaluation);
    cop_value value, same;
    cop_atom atom = w->atom[i], found;
    uint32_t n = 0, count = 0;

    switch (w->word[i][0]) {
    case 'p':
        (void)cop_find(snapshot, P(w->word[i] + 2), &atom);
        CHECK_STATUS(cop_read_find(evaluation, P(w->word[i] + 2), &found),
                     atom.generation != 0 ? COP_OK : COP_E_ABSENT);
        ck_assert(SAME_ATOM(found, atom));
        if (atom.generation == 0)
            break;
        /* fall through */
    case 'v':
        CHECK_STATUS(cop_read(evaluation, atom, &value), cop_get(snapshot, atom, &same));
        ck_assert(value.type == same.type && (value.type >= COP_OBJECT || value.type == COP_NONE ||
                                              cop_value_equal(&value, &same)));
        break;
    case 'l':
        CHECK_STATUS(cop_read_each(evaluation, atom, pass, &n, NULL),
                     cop_count(snapshot, atom, &count));
        ck_assert_uint_eq(n, count);
        break;
    default:
        CHECK_STATUS(cop_read_count(evaluation, atom, &n), cop_count(snapshot, atom, &count));
        ck_assert_uint_eq(n, count);
        break;
    }
}

static bool change(void);

static cop_status
watch(cop_evaluation *evaluation, void *context)
{
    watcher *w = context;
    const cop_snapshot *snapshot = cop_effect_snapshot(evaluation);

    w->runs++;
    if (w->count == 0 || draw_of(&w->draws, 4) == 0) { /* other words, or one more, or one less */
        unsigned had = w->count;
        w->count = draw_of(&w->draws, WORDS + 1);
        for (unsigned i = draw_of(&w->draws, had + 1); i < w->count; i++) {
            w->word[i] = all_words[draw_of(&w->draws, sizeof all_words / sizeof *all_words)];
            w->atom[i] = (cop_atom){0, 0};
        }
    }
    for (unsigned i = 0; i < w->count; i++) {
        cop_atom atom;
        if (cop_find(snapshot, P(w->word[i] + 2), &atom) == COP_OK && draw_of(&w->draws, 3) > 0)
            w->atom[i] = atom;
        read_word(evaluation, w, i);
    }
    (void)text_of(w, snapshot, w->saw);
    if (w == meddler) {
        meddler = NULL;
        (void)change();
    }
    return COP_OK;
}

/* --- what changes ----------------------------------------------------------------------------- */

static cop_status
twice_a(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t a;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &a);

    *result = cop_i64(2 * a);
    return status;
}

/* An error as long as it is odd. */
static cop_status
even(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t b;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &b);

    *result = cop_i64(b);
    return status == COP_OK && b % 2 != 0 ? cop_fail(evaluation, "%d is odd", (int)b) : status;
}

static void
change_one(cop_txn *txn)
{
    static const char *const paths[] = {"a", "b", "o/x", "o/y", "o/z", "none"};
    char long_text[] = "a text that is too long for a slot: 0";
    cop_value value = cop_i64(draw(3)), object = cop_object(), array = cop_array();
    const char *path = paths[draw(6)];
    cop_atom branch;

    switch (draw(12)) {
    case 0:
        long_text[sizeof long_text - 2] = (char)('0' + draw(3));
        value = draw(2) ? cop_string(P(long_text)) : cop_string(long_text, 3 + draw(3));
        (void)cop_txn_set_at(txn, P("t"), &value, NULL);
        break;
    case 1:
        if (path[0] > 'b') /* a and b are read by others */
            (void)cop_txn_erase_at(txn, P(path), NULL);
        break;
    case 2:
        (void)cop_txn_erase_at(txn, P(draw(2) ? "o" : "q"), NULL);
        break;
    case 3:
        (void)cop_txn_erase_at(txn, P("q/0"), NULL);
        break;
    case 4:
        (void)cop_txn_set_at(txn, P(draw(2) ? "o" : "q"), draw(2) ? &object : &array, NULL);
        break;
    case 5:
    case 6:
        if (cop_txn_find(txn, P("q"), &branch, NULL) == COP_OK)
            (void)cop_txn_insert(txn, branch, draw(2) ? 0 : COP_AT_END, &value, NULL);
        break;
    default:
        (void)cop_txn_set_at(txn, P(path), &value, NULL);
        break;
    }
}

/* A commit, which may fail: then nothing has changed. In one of several operations a child may come
 * and go again, and its parent's list counts as changed. */
static bool
change(void)
{
    cop_txn *txn = t_begin(store);
    uint32_t n = 1 + draw(4) / 3 * draw(4);

    for (uint32_t i = 0; i < n; i++)
        change_one(txn);
    (void)cop_txn_commit(txn, NULL, NULL);
    t_graph_holds(store, 1000, false);
    return n == 1;
}

static void
open_one(watcher *w)
{
    memset(w, 0, sizeof *w);
    w->draws = draw(UINT32_MAX);
    CHECK_OK(cop_effect_open(store, watch, w, NULL, &w->effect, NULL));
}

/* Who sees something else than before runs once; where one of them commits in its run, once more.
 */
static void
one_round(bool meddle, bool simple)
{
    const cop_snapshot *snapshot = t_take(store);
    char text[TEXT];
    bool due[EFFECTS];
    unsigned ran[EFFECTS];
    watcher *who = NULL;

    for (unsigned i = 0; i < EFFECTS; i++) {
        due[i] =
            watchers[i].runs == 0 || strcmp(text_of(&watchers[i], snapshot, text), watchers[i].saw);
        ran[i] = watchers[i].runs;
        if (due[i] && meddle)
            who = &watchers[i];
    }
    cop_snapshot_drop(snapshot);
    meddler = who;
    CHECK_OK(cop_effects_run(store, NULL, 0, NULL));
    ck_assert_ptr_null(meddler);
    snapshot = t_take(store);
    for (unsigned i = 0; i < EFFECTS; i++) {
        unsigned more = watchers[i].runs - ran[i];
        ck_assert_str_eq(text_of(&watchers[i], snapshot, text), watchers[i].saw);
        ck_assert_msg(more >= due[i] && (more == due[i] || who != NULL || !simple),
                      "effect %u ran %u times, due %d", i, more, due[i]);
        ck_assert_msg(!simple || more <= due[i] + 1u, "effect %u ran %u times", i, more);
    }
    cop_snapshot_drop(snapshot);
    t_graph_holds(store, 1000, true);
}

START_TEST(who_sees_something_else_runs_once)
{
    static cop_atom a, b;
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    bool simple = true;

    store = t_open();
    draws = (uint32_t)_i;
    a = t_make(store, "a", cop_i64(0));
    b = t_make(store, "b", cop_i64(0));
    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P("lazy"), twice_a, &a, &options, NULL, NULL));
    CHECK_OK(cop_computed_define(store, P("error"), even, &b, NULL, NULL, NULL));
    for (unsigned i = 0; i < EFFECTS; i++)
        open_one(&watchers[i]);
    for (unsigned round = 0; round < ROUNDS; round++) {
        one_round(round % 3 == 2, simple);
        simple = change();
        if (draw(8) == 0) { /* its place is given to another */
            watcher *w = &watchers[draw(EFFECTS)];
            cop_effect_close(store, w->effect);
            open_one(w);
        }
    }
    for (unsigned i = 0; i < EFFECTS; i += 2)
        cop_effect_close(store, watchers[i].effect);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, who_sees_something_else_runs_once, 1, 12);
}

int
main(void)
{
    return t_run("effects at random", add);
}
