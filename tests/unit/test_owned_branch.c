/* SPDX-License-Identifier: MIT */
/*
 * Computed atoms that own a branch. Most owners here follow a SCRIPT, a string in an atom: words
 * like "a=1 b/c=2 d={} e=s:text f=@path", or "fail". See cop_emit and options.branch.
 */
#include <math.h>

#include <coppice/computed.h>
#include <coppice/pool.h>

#include "store/store_internal.h"
#include "tests/support/store_test.h"
#include "tests/support/tree_check.h"

/* --- owners ------------------------------------------------------------------------ */

typedef struct owner {
    cop_atom script;
    int runs;
    cop_status refused; /* the first cop_emit that did not succeed */
    bool hand_on;       /* return it */
} owner;

/* Texts in values are not terminated. */
static int64_t
number(const char *text, size_t length)
{
    int64_t n = 0;
    for (size_t i = 0; i < length; i++)
        n = n * 10 + (text[i] - '0');
    return n;
}

static cop_status
emit_word(cop_evaluation *evaluation, const char *word, size_t length)
{
    const char *is = memchr(word, '=', length);
    cop_value value = cop_null();
    size_t rest;
    if (is == NULL)
        return length == 4 && memcmp(word, "fail", 4) == 0 ? cop_fail(evaluation, "told to")
                                                           : COP_OK;
    rest = length - (size_t)(is + 1 - word);
    if (rest == 2 && is[1] == '{')
        value = cop_object();
    else if (rest == 2 && is[1] == '[')
        value = cop_array();
    else if (rest >= 2 && is[1] == 's')
        value = cop_string(is + 3, rest - 2);
    else if (rest >= 1 && is[1] == '@') {
        cop_status status = cop_read_at(evaluation, is + 2, rest - 1, &value);
        if (status != COP_OK)
            return status;
    } else if (rest >= 1 && is[1] == 'n')
        value = cop_f64(NAN);
    else
        value = cop_i64(number(is + 1, rest));
    return cop_emit(evaluation, word, (size_t)(is - word), &value);
}

static cop_status
follow_script(cop_evaluation *evaluation, void *context, cop_value *result)
{
    owner *own = context;
    cop_value script;
    cop_status status = cop_read(evaluation, own->script, &script);
    (void)result;
    own->runs++;
    own->refused = COP_OK;
    if (status != COP_OK)
        return status;
    if (script.type != COP_STRING)
        return COP_OK;
    const char *at = cop_value_data(&script), *end = at + cop_value_length(&script);
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const char *stop = space != NULL ? space : end;
        status = stop > at ? emit_word(evaluation, at, (size_t)(stop - at)) : COP_OK;
        if (status == COP_E_FAILED || status == COP_E_PENDING || status == COP_E_CYCLE ||
            status == COP_E_MEMORY || status == COP_E_GONE || status == COP_E_ABSENT)
            return status;
        if (status != COP_OK && own->refused == COP_OK)
            own->refused = status;
        at = stop + 1;
    }
    return own->hand_on ? own->refused : COP_OK;
}

static cop_atom
define(cop_store *store, const char *path, cop_computed_function function, void *context,
       bool branch)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_atom atom = COP_ATOM_NONE_INIT;
    options.branch = branch;
    cop_status status = cop_computed_define(store, path, path != NULL ? strlen(path) : 0, function,
                                            context, &options, &atom, &error);
    ck_assert_msg(status == COP_OK, "define: %s", error.message);
    return atom;
}

static void
script(cop_store *store, const char *text)
{
    t_set_at(store, "script", cop_string(text, strlen(text)));
}

/* An owner "own" with its script at "script". */
static cop_atom
open_owner(cop_store *store, owner *own, const char *text)
{
    memset(own, 0, sizeof *own);
    script(store, text);
    own->script = t_find(store, "script");
    return define(store, "own", follow_script, own, true);
}

/* --- what a branch looks like --------------------------------------------------------- */

static size_t
show_value(const cop_snapshot *snapshot, cop_atom atom, const cop_value *value, char *text,
           size_t room)
{
    cop_cursor cursor;
    cop_child child;
    size_t used = 0;
    if (value->type == COP_I64)
        return (size_t)snprintf(text, room, "%" PRId64, cop_value_i64(value));
    if (value->type != COP_OBJECT)
        return (size_t)snprintf(text, room, "%s%.*s", value->type == COP_ERROR ? "!" : "",
                                (int)cop_value_length(value), (const char *)cop_value_data(value));
    used += (size_t)snprintf(text, room, "{");
    CHECK_OK(cop_cursor_open(snapshot, atom, &cursor));
    while (cop_cursor_next(&cursor, &child)) {
        used += (size_t)snprintf(text + used, room - used, "%s%.*s=", used > 1 ? " " : "",
                                 (int)child.key_length, child.key);
        used += show_value(snapshot, child.atom, &child.value, text + used, room - used);
        ck_assert_uint_lt(used, room);
    }
    used += (size_t)snprintf(text + used, room - used, "}");
    return used;
}

static const char *
show_in(const cop_snapshot *snapshot, const char *path)
{
    static char text[65536];
    cop_atom atom;
    cop_value value;
    if (cop_find(snapshot, P(path), &atom) != COP_OK)
        return "(none)";
    CHECK_OK(cop_get(snapshot, atom, &value));
    (void)show_value(snapshot, atom, &value, text, sizeof text);
    return text;
}

static const char *
show(cop_store *store, const char *path)
{
    const cop_snapshot *snapshot = t_take(store);
    const char *text = show_in(snapshot, path);
    cop_snapshot_drop(snapshot);
    return text;
}

/* --- readers ------------------------------------------------------------------------ */

typedef struct reader {
    cop_atom atom;
    const char *path;
    int runs;
} reader;

static cop_status
by_handle(cop_evaluation *evaluation, void *context, cop_value *result)
{
    reader *read = context;
    read->runs++;
    return cop_read(evaluation, read->atom, result);
}

static cop_status
as_text(const cop_value *value, cop_value *result)
{
    *result = value->type == COP_OBJECT ? cop_string("{}", 2) : *value;
    return COP_OK;
}

static cop_status
by_path(cop_evaluation *evaluation, void *context, cop_value *result)
{
    reader *read = context;
    cop_value value;
    read->runs++;
    cop_status status = cop_read_at(evaluation, P(read->path), &value);
    if (status == COP_E_ABSENT)
        *result = cop_string("absent", 6);
    return status == COP_OK ? as_text(&value, result) : status == COP_E_ABSENT ? COP_OK : status;
}

static cop_status
by_find(cop_evaluation *evaluation, void *context, cop_value *result)
{
    reader *read = context;
    cop_atom atom;
    read->runs++;
    cop_status status = cop_read_find(evaluation, P(read->path), &atom);
    *result = cop_bool(status == COP_OK);
    return status == COP_E_ABSENT ? COP_OK : status;
}

typedef struct listing {
    char *text;
    size_t used;
} listing;

static int
list_child(void *context, const cop_child *child)
{
    listing *list = context;
    const cop_value *value = &child->value;
    list->used +=
        (size_t)snprintf(list->text + list->used, 32768 - list->used,
                         "%s%.*s=", list->used ? " " : "", (int)child->key_length, child->key);
    if (value->type == COP_I64)
        list->used += (size_t)snprintf(list->text + list->used, 32768 - list->used, "%" PRId64,
                                       cop_value_i64(value));
    else
        list->used += (size_t)snprintf(list->text + list->used, 32768 - list->used, "%s",
                                       value->type == COP_OBJECT ? "{}" : "?");
    return 0;
}

/* "a=1 b={}" of the branch at a path. */
static cop_status
by_listing(cop_evaluation *evaluation, void *context, cop_value *result)
{
    reader *read = context;
    cop_atom atom;
    static char text[32768];
    listing list = {text, 0};
    read->runs++;
    cop_status status = cop_read_find(evaluation, P(read->path), &atom);
    if (status == COP_OK)
        status = cop_read_each(evaluation, atom, list_child, &list, NULL);
    *result = cop_string(list.text, list.used);
    return status;
}

static cop_status
by_count(cop_evaluation *evaluation, void *context, cop_value *result)
{
    reader *read = context;
    uint32_t count;
    read->runs++;
    cop_status status = cop_read_count(evaluation, read->atom, &count);
    *result = cop_i64(count);
    return status;
}

/* --- the rules, one by one ------------------------------------------------------------ */

START_TEST(children_are_made_in_order_of_emission)
{
    cop_store *store = t_open();
    owner own;
    cop_atom atom =
        open_owner(store, &own, "b=1 a=2 c/x=3 b2=s:a-text-of-more-than-twelve-bytes c/y/z=4 e={}");
    ck_assert_str_eq(show(store, "own"),
                     "{b=1 a=2 c={x=3 y={z=4}} b2=a-text-of-more-than-twelve-bytes e={}}");
    ck_assert_int_eq(own.runs, 1);
    ck_assert(SAME_ATOM(t_find(store, "own"), atom));
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(children_follow_the_function)
{
    static const char *const steps[][2] = {
        {"a=1 b=2 c=3", "{a=1 b=2 c=3}"},
        {"a=1 b=2 c=3 d=4", "{a=1 b=2 c=3 d=4}"},
        {"a=1 c=3 d=4", "{a=1 c=3 d=4}"},
        {"d=4 c=3 a=1", "{d=4 c=3 a=1}"},
        {"d=4 x=5 a=1 y=6 c=3", "{d=4 x=5 a=1 y=6 c=3}"},
        {"y/p=1 d/q=2", "{y={p=1} d={q=2}}"},
        {"d/q=2 d/r=3 y={}", "{d={q=2 r=3} y={}}"},
        {"d=7", "{d=7}"},
        {"", "{}"},
        {"z=1", "{z=1}"},
    };
    cop_store *store = t_open();
    owner own;
    (void)open_owner(store, &own, "q=1");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        script(store, steps[i][0]);
        ck_assert_str_eq(show(store, "own"), steps[i][1]);
        t_verify(store);
    }
    t_close(store);
}
END_TEST

START_TEST(a_child_that_stays_keeps_its_handle)
{
    cop_store *store = t_open();
    owner own;
    (void)open_owner(store, &own, "a=1 b=2 c/d=3");
    cop_atom b = t_find(store, "own/b"), d = t_find(store, "own/c/d"), a = t_find(store, "own/a");
    script(store, "c/d=3 x=9 b=5");
    t_is_i64(store, b, 5);
    t_is_i64(store, d, 3);
    CHECK_STATUS(t_status(store, a), COP_E_GONE);
    script(store, "a=1 b=5");
    ck_assert(!SAME_ATOM(t_find(store, "own/a"), a));
    CHECK_STATUS(t_status(store, d), COP_E_GONE);
    t_is_i64(store, b, 5);
    t_close(store);
}
END_TEST

START_TEST(an_unchanged_run_publishes_nothing)
{
    cop_store *store = t_open();
    owner own;
    (void)open_owner(store, &own, "a=1 b/c=2");
    cop_atom list = t_find(store, "own");
    const cop_snapshot *before = t_take(store);
    int runs = own.runs;
    script(store, "a=1  b/c=2");
    const cop_snapshot *after = t_take(store);
    ck_assert_int_eq(own.runs, runs + 1);
    uint64_t x = 0, y = 0;
    CHECK_OK(cop_changed(before, list, &x));
    CHECK_OK(cop_changed(after, list, &y));
    ck_assert_uint_eq(x, y);
    cop_snapshot_drop(before);
    cop_snapshot_drop(after);
    t_close(store);
}
END_TEST

START_TEST(an_unchanged_child_runs_nobody)
{
    cop_store *store = t_open();
    owner own;
    reader a = {0}, b = {0}, count = {0};
    count.atom = open_owner(store, &own, "a=1 b=2 c=3");
    a.atom = t_find(store, "own/a");
    b.atom = t_find(store, "own/b");
    cop_atom ra = define(store, "ra", by_handle, &a, false);
    cop_atom rb = define(store, "rb", by_handle, &b, false);
    cop_atom rc = define(store, "rc", by_count, &count, false);
    int na = a.runs, nb = b.runs, nc = count.runs;
    script(store, "a=1 b=20 c=3");
    t_is_i64(store, ra, 1);
    t_is_i64(store, rb, 20);
    t_is_i64(store, rc, 3);
    ck_assert_int_eq(a.runs, na);
    ck_assert_int_eq(b.runs, nb + 1);
    ck_assert_int_eq(count.runs, nc);
    script(store, "a=1 d=4 b=20 c=3");
    ck_assert_int_eq(a.runs, na);
    ck_assert_int_eq(b.runs, nb + 1);
    ck_assert_int_eq(count.runs, nc + 1);
    t_is_i64(store, rc, 4);
    script(store, "a=1 b=20 c=3 d=4"); /* an order is a change of the list */
    ck_assert_int_eq(count.runs, nc + 2);
    t_close(store);
}
END_TEST

static int times_asked;

static bool
close_enough(void *context, const cop_value *before, const cop_value *now)
{
    (void)context;
    times_asked++;
    return before->type == COP_I64 && now->type == COP_I64 &&
           llabs(cop_value_i64(before) - cop_value_i64(now)) < 10;
}

START_TEST(an_equality_of_its_own_is_asked_for_each_child)
{
    cop_store *store = t_open();
    owner own = {0};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.branch = true;
    options.equal = close_enough;
    script(store, "a=1 b=2");
    own.script = t_find(store, "script");
    CHECK_OK(cop_computed_define(store, P("own"), follow_script, &own, &options, NULL, NULL));
    script(store, "a=5 b=30");
    ck_assert_str_eq(show(store, "own"), "{a=1 b=30}");
    script(store, "fail");
    times_asked = 0;
    script(store, "a=6 b=31"); /* new ones: nothing to be equal to */
    ck_assert_str_eq(show(store, "own"), "{a=6 b=31}");
    ck_assert_int_eq(times_asked, 0);
    script(store, "c=1 a=6 d/e=2 b=30");
    ck_assert_str_eq(show(store, "own"), "{c=1 a=6 d={e=2} b=31}");
    ck_assert_int_eq(times_asked, 1); /* of b: who holds the same is not asked about */
    t_close(store);
}
END_TEST

START_TEST(what_cop_emit_refuses)
{
    static const struct {
        const char *text;
        cop_status status;
        const char *left;
    } cases[] = {
        {"a=1 a=2", COP_E_INVALID, "{a=1}"},
        {"a=1 a/b=2", COP_E_INVALID, "{a=1}"},
        {"a/b=1 a=2", COP_E_INVALID, "{a={b=1}}"},
        {"a={} a={}", COP_E_INVALID, "{a={}}"},
        {"a={} a=1", COP_E_INVALID, "{a={}}"},
        {"a/b=1 a={}", COP_OK, "{a={b=1}}"},
        {"a={} a/b=1", COP_OK, "{a={b=1}}"},
        {"a/b=1 a={} a={}", COP_E_INVALID, "{a={b=1}}"},
        {"a=[] b=1", COP_E_UNSUPPORTED, "{b=1}"},
        {"a//b=1", COP_E_PATH, "{}"},
        {"/a=1", COP_E_PATH, "{}"},
        {"=1", COP_E_PATH, "{}"},
        {"a=n", COP_OK, "{a=!the value is not a finite number}"},
    };
    cop_store *store = t_open();
    owner own;
    (void)open_owner(store, &own, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script(store, cases[i].text);
        CHECK_STATUS(own.refused, cases[i].status);
        ck_assert_str_eq(show(store, "own"), cases[i].left);
    }
    own.hand_on = true;
    script(store, "a=1 a=2");
    ck_assert_str_eq(show(store, "own"), "!invalid argument");
    t_close(store);
}
END_TEST

typedef struct emitter {
    const char *path;
    size_t length;
    cop_status status[4];
} emitter;

static cop_status
emit_odd(cop_evaluation *evaluation, void *context, cop_value *result)
{
    emitter *odd = context;
    cop_value one = cop_i64(1), none;
    memset(&none, 0, sizeof none);
    *result = cop_i64(3);
    odd->status[0] = cop_emit(evaluation, odd->path, odd->length, &one);
    odd->status[1] = cop_emit(evaluation, P("none"), &none);
    odd->status[2] = cop_emit(evaluation, P("null"), NULL);
    odd->status[3] = cop_emit(evaluation, P(""), &one);
    return COP_OK;
}

START_TEST(limits_of_paths_and_values)
{
    cop_store *store = t_open();
    char *path = malloc(COP_PATH_MAX + 1);
    memset(path, 'x', COP_PATH_MAX);
    emitter odd = {path, COP_PATH_MAX - 4, {0}}, plain = {"a", 1, {0}},
            longer = {path, COP_PATH_MAX - 3, {0}};
    (void)define(store, "own", emit_odd, &odd, true);
    CHECK_STATUS(odd.status[0], COP_OK);
    CHECK_STATUS(odd.status[1], COP_E_INVALID);
    CHECK_STATUS(odd.status[2], COP_E_INVALID);
    CHECK_STATUS(odd.status[3], COP_E_PATH);
    (void)define(store, "two", emit_odd, &longer, true);
    CHECK_STATUS(longer.status[0], COP_E_LIMIT);
    ck_assert_str_eq(show(store, "two"), "{}");
    (void)define(store, "plain", emit_odd, &plain, false);
    CHECK_STATUS(plain.status[0], COP_E_STATE);
    ck_assert_str_eq(show(store, "plain"), "3");
    t_verify(store);
    free(path);
    t_close(store);
}
END_TEST

START_TEST(options_that_cannot_be)
{
    cop_store *store = t_open();
    owner own = {0};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.branch = true;
    CHECK_STATUS(cop_computed_define(store, NULL, 0, follow_script, &own, &options, NULL, NULL),
                 COP_E_INVALID);
    options.kind = COP_LAZY;
    CHECK_STATUS(cop_computed_define(store, P("own"), follow_script, &own, &options, NULL, NULL),
                 COP_E_INVALID);
    t_close(store);
}
END_TEST

START_TEST(a_failed_run_makes_the_atom_an_error)
{
    cop_store *store = t_open();
    owner own;
    reader handle = {0}, path = {.path = "own/a"}, list = {.path = "own"}, self = {0}, count = {0};
    count.atom = self.atom = open_owner(store, &own, "a=1 b/c=2");
    handle.atom = t_find(store, "own/a");
    define(store, "handle", by_handle, &handle, false);
    define(store, "path", by_path, &path, false);
    define(store, "list", by_listing, &list, false);
    define(store, "count", by_count, &count, false);
    ck_assert_str_eq(show(store, "list"), "a=1 b={}");
    script(store, "a=1 fail");
    ck_assert_str_eq(show(store, "own"), "!told to");
    ck_assert_str_eq(show(store, "own/a"), "(none)");
    ck_assert_str_eq(show(store, "path"), "absent");
    ck_assert_str_eq(show(store, "handle"), "!the atom has been erased");
    ck_assert_str_eq(show(store, "list"), "!told to");
    ck_assert_str_eq(show(store, "count"), "!told to");
    t_verify(store);
    script(store, "a=5 x=7");
    ck_assert_str_eq(show(store, "own"), "{a=5 x=7}");
    ck_assert_str_eq(show(store, "path"), "5");
    ck_assert_str_eq(show(store, "list"), "a=5 x=7");
    ck_assert_str_eq(show(store, "count"), "2");
    ck_assert(SAME_ATOM(self.atom, t_find(store, "own")));
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(a_first_run_may_fail)
{
    cop_store *store = t_open();
    owner own;
    (void)open_owner(store, &own, "a=1 fail");
    ck_assert_str_eq(show(store, "own"), "!told to");
    script(store, "fail");
    script(store, "a=2");
    ck_assert_str_eq(show(store, "own"), "{a=2}");
    t_close(store);
}
END_TEST

START_TEST(others_may_not_write_in_it)
{
    cop_store *store = t_open();
    owner own;
    cop_value one = cop_i64(1), object = cop_object();
    bool failing = false;
    cop_atom atom = open_owner(store, &own, "a=1 b/c=2");
    do {
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_set_at(txn, P("own/new"), &one, NULL));
        t_commit_fails(store, txn, COP_E_COMPUTED);
        txn = t_begin(store);
        CHECK_OK(cop_txn_set(txn, atom, failing ? &one : &object));
        t_commit_fails(store, txn, COP_E_COMPUTED);
        txn = t_begin(store);
        CHECK_OK(cop_txn_clear(txn, atom));
        t_commit_fails(store, txn, COP_E_COMPUTED);
        failing = !failing;
        script(store, failing ? "fail" : "a=1 b/c=2");
    } while (failing);
    cop_atom a = t_find(store, "own/a"), b = t_find(store, "own/b"), c = t_find(store, "own/b/c");
    cop_atom all[] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_set(txn, all[i], i == 1 ? &object : &one));
        t_commit_fails(store, txn, COP_E_COMPUTED);
        txn = t_begin(store);
        CHECK_OK(cop_txn_erase(txn, all[i]));
        t_commit_fails(store, txn, COP_E_COMPUTED);
        CHECK_STATUS(cop_computed_dispose(store, all[i]), COP_E_COMPUTED);
    }
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_add(txn, a, &one));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    txn = t_begin(store);
    CHECK_OK(cop_txn_set_child(txn, b, P("d"), &one, NULL));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    txn = t_begin(store);
    CHECK_OK(cop_txn_erase_at(txn, P("own/b/c"), NULL));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    txn = t_begin(store);
    CHECK_OK(cop_txn_define(txn, P("own/b/e"), follow_script, &own, NULL, NULL, NULL));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    ck_assert_str_eq(show(store, "own"), "{a=1 b={c=2}}");
    t_close(store);
}
END_TEST

START_TEST(readers_by_path_wait_for_what_does_not_exist_yet)
{
    cop_store *store = t_open();
    owner own;
    reader soon = {.path = "own/k/deep"}, find = {.path = "own/k"}, list = {.path = "own"};
    cop_atom rs = define(store, "soon", by_path, &soon, false);
    define(store, "found", by_find, &find, false);
    define(store, "list", by_listing, &list, false);
    ck_assert_str_eq(show(store, "list"), "!no atom at this path");
    (void)open_owner(store, &own, "");
    ck_assert_str_eq(show(store, "soon"), "absent");
    ck_assert_str_eq(show(store, "list"), "");
    script(store, "k=1");
    ck_assert_str_eq(show(store, "soon"), "absent");
    ck_assert_str_eq(show(store, "list"), "k=1");
    script(store, "k/deep=5");
    t_is_i64(store, rs, 5);
    ck_assert_str_eq(show(store, "list"), "k={}");
    script(store, "k/deep/er=5");
    ck_assert_str_eq(show(store, "soon"), "{}");
    script(store, "j=1");
    ck_assert_str_eq(show(store, "soon"), "absent");
    cop_pin_t pin = cop_pin(store);
    bool found = true;
    CHECK_OK(cop_get_bool(pin.snapshot, t_find(store, "found"), &found));
    cop_unpin(pin);
    ck_assert(!found);
    t_close(store);
}
END_TEST

/* Readers that stood below their owner are raised above it, whichever was defined first. */
START_TEST(readers_defined_before_and_after)
{
    cop_store *store = t_open();
    owner own;
    reader before[4] = {
        {.path = "own/a"}, {.path = "own/b/c"}, {.path = "up/0"}, {.path = "own/2"}};
    reader after[4];
    char name[32];
    memcpy(after, before, sizeof after);
    t_set_at(store, "own2", cop_i64(1));
    for (int i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "before%d", i);
        define(store, name, by_path, &before[i], false);
    }
    script(store, "chain=1 @=@");
    t_set_at(store, "deep", cop_i64(3));
    reader chain[10];
    char paths[11][16] = {"deep"};
    for (int i = 0; i < 10; i++) { /* the owner stands high */
        (void)snprintf(paths[i + 1], sizeof paths[0], "deep%d", i);
        chain[i] = (reader){.path = paths[i]};
        define(store, paths[i + 1], by_path, &chain[i], false);
    }
    (void)open_owner(store, &own, "a=@deep9 b/c=2 2=@deep9");
    for (int i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "after%d", i);
        define(store, name, by_path, &after[i], false);
    }
    for (int round = 0; round < 6; round++) {
        cop_txn *txn = t_begin(store);
        cop_value value = cop_i64(10 + round);
        const char *text = round % 2 ? "b/c=2 a=@deep9 2=@deep9" : "2=@deep9 b=1";
        cop_value string = cop_string(text, strlen(text));
        CHECK_OK(cop_txn_set_at(txn, P("deep"), &value, NULL));
        CHECK_OK(cop_txn_set_at(txn, P("script"), &string, NULL));
        t_commit(txn);
        for (int i = 0; i < 4; i++) {
            char wanted[64];
            (void)snprintf(name, sizeof name, "before%d", i);
            (void)snprintf(wanted, sizeof wanted, "%s", show(store, before[i].path));
            if (strcmp(wanted, "(none)") == 0)
                (void)snprintf(wanted, sizeof wanted, "absent");
            ck_assert_str_eq(show(store, name), wanted);
            (void)snprintf(name, sizeof name, "after%d", i);
            ck_assert_str_eq(show(store, name), wanted);
        }
    }
    t_close(store);
}
END_TEST

START_TEST(owners_read_branches_of_owners)
{
    cop_store *store = t_open();
    owner one, two;
    t_set_at(store, "n", cop_i64(4));
    (void)open_owner(store, &one, "a=@n b=7");
    t_set_at(store, "script2", cop_string("x=@own/a y=@own/b", 17));
    memset(&two, 0, sizeof two);
    two.script = t_find(store, "script2");
    define(store, "own2", follow_script, &two, true);
    ck_assert_str_eq(show(store, "own2"), "{x=4 y=7}");
    t_set_at(store, "n", cop_i64(5));
    ck_assert_str_eq(show(store, "own2"), "{x=5 y=7}");
    script(store, "a=@n");
    ck_assert_str_eq(show(store, "own2"), "!no atom at this path");
    script(store, "b=1 a=@n");
    ck_assert_str_eq(show(store, "own2"), "{x=5 y=1}");
    t_close(store);
}
END_TEST

/* Readers that are run by whoever reads them see the branch of the version that is read. */
START_TEST(lazy_readers)
{
    static const char *const steps[][3] = {{"a=2 b/c=3", "2", "a=2 b={}"},
                                           {"fail", "absent", "!told to"},
                                           {"b=1", "absent", "b=1"},
                                           {"b=1 a/x=1", "{}", "b=1 a={}"},
                                           {"a=4", "4", "a=4"}};
    cop_store *store = t_open();
    owner own;
    reader path = {.path = "own/a"}, list = {.path = "own"}, eager = {.path = "lazy"};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    (void)open_owner(store, &own, "a=1");
    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P("lazy"), by_path, &path, &options, NULL, NULL));
    CHECK_OK(cop_computed_define(store, P("list"), by_listing, &list, &options, NULL, NULL));
    ck_assert_str_eq(show(store, "lazy"), "1");
    const cop_snapshot *first = t_take(store);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        script(store, steps[i][0]);
        ck_assert_str_eq(show(store, "lazy"), steps[i][1]);
        ck_assert_str_eq(show(store, "list"), steps[i][2]);
        ck_assert_str_eq(show_in(first, "lazy"), "1");
    }
    cop_snapshot_drop(first);
    define(store, "eager", by_path, &eager, false); /* makes it eager */
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        script(store, steps[i][0]);
        ck_assert_str_eq(show(store, "eager"), steps[i][1]);
    }
    t_close(store);
}
END_TEST

START_TEST(a_circle_through_a_child)
{
    cop_store *store = t_open();
    owner own;
    reader handle = {0};
    (void)open_owner(store, &own, "a=1 b/c=2");
    handle.atom = t_find(store, "own/a");
    define(store, "back", by_handle, &handle, false);
    script(store, "a=@back b/c=2");
    ck_assert_ptr_nonnull(strstr(show(store, "back"), "!cycle: "));
    ck_assert_ptr_nonnull(strstr(show(store, "own/b/c"), "!cycle: "));
    char *text = strdup(show(store, "own"));
    t_set_at(store, "other", cop_i64(1)); /* stays as long as no input breaks it */
    ck_assert_str_eq(show(store, "own"), text);
    script(store, "b/c=2 a=@back");
    ck_assert_ptr_nonnull(strstr(show(store, "own/a"), "!cycle: "));
    free(text);
    script(store, "b/c=3 a=4");
    ck_assert_str_eq(show(store, "own"), "{b={c=3} a=4}");
    ck_assert_str_eq(show(store, "back"), "4");
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(a_circle_through_a_path)
{
    cop_store *store = t_open();
    owner own;
    reader path = {.path = "own/a"}, list = {.path = "own"};
    t_set_at(store, "n", cop_i64(1));
    (void)open_owner(store, &own, "");
    define(store, "back", by_path, &path, false);
    script(store, "a=@back");
    ck_assert_ptr_nonnull(strstr(show(store, "own"), "!cycle: "));
    ck_assert_ptr_nonnull(strstr(show(store, "back"), "!cycle: "));
    t_set_at(store, "n", cop_i64(2));
    ck_assert_ptr_nonnull(strstr(show(store, "own"), "!cycle: "));
    script(store, "a=@n");
    ck_assert_str_eq(show(store, "own"), "{a=2}");
    ck_assert_str_eq(show(store, "back"), "2");
    script(store, "a=@own/a");
    ck_assert_ptr_nonnull(strstr(show(store, "own/a"), "!cycle: "));
    script(store, "z=3");
    ck_assert_str_eq(show(store, "own"), "{z=3}");
    define(store, "list", by_listing, &list, false);
    script(store, "z=@list");
    ck_assert_ptr_nonnull(strstr(show(store, "list"), "!cycle: "));
    script(store, "z=4");
    ck_assert_str_eq(show(store, "list"), "z=4");
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(snapshots_keep_the_old_children)
{
    cop_store *store = t_open();
    owner own;
    (void)open_owner(store, &own, "a=1 b/c=s:some-text-that-is-long");
    const cop_snapshot *first = t_take(store);
    script(store, "fail");
    const cop_snapshot *second = t_take(store);
    script(store, "b=2");
    CHECK_OK(cop_computed_dispose(store, t_find(store, "own")));
    ck_assert_str_eq(show(store, "own"), "(none)");
    ck_assert_str_eq(show_in(first, "own"), "{a=1 b={c=some-text-that-is-long}}");
    ck_assert_str_eq(show_in(second, "own"), "!told to");
    cop_snapshot_drop(first);
    cop_snapshot_drop(second);
    t_close(store);
}
END_TEST

START_TEST(erasing_the_owner_erases_the_branch)
{
    cop_store *store = t_open();
    owner own;
    reader handle = {0}, path = {.path = "own/b/c"}, list = {.path = "own"};
    cop_atom atom = open_owner(store, &own, "a=1 b/c=2");
    handle.atom = t_find(store, "own/a");
    define(store, "handle", by_handle, &handle, false);
    define(store, "path", by_path, &path, false);
    define(store, "list", by_listing, &list, false);
    t_erase(store, atom);
    CHECK_STATUS(t_status(store, handle.atom), COP_E_GONE);
    ck_assert_str_eq(show(store, "handle"), "!the atom has been erased");
    ck_assert_str_eq(show(store, "path"), "absent");
    ck_assert_str_eq(show(store, "list"), "!no atom at this path");
    t_set_at(store, "own/b/c", cop_i64(9)); /* anybody's again */
    ck_assert_str_eq(show(store, "path"), "9");
    t_erase_at(store, "own");
    own.runs = 0;
    define(store, "own", follow_script, &own, true);
    ck_assert_int_eq(own.runs, 1);
    ck_assert_str_eq(show(store, "path"), "2");
    ck_assert_str_eq(show(store, "list"), "a=1 b={}");
    t_verify(store);
    t_close(store);
}
END_TEST

static int ended;

static void
destroyed(void *context)
{
    (void)context;
    ended++;
}

/* Disposing, erasing and defining in one batch, in every order of two owners. */
START_TEST(disposal_in_mid_batch)
{
    cop_store *store = t_open();
    owner own;
    reader path = {.path = "own/a"};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_value text = cop_string("a=5 q=6", 7), one = cop_i64(1);
    options.branch = true;
    cop_atom atom = open_owner(store, &own, "a=1 b/c=2");
    define(store, "path", by_path, &path, false);
    cop_txn *txn = t_begin(store); /* gone and made anew, with other input */
    CHECK_OK(cop_txn_set_at(txn, P("script"), &text, NULL));
    CHECK_OK(cop_txn_erase(txn, atom));
    CHECK_OK(cop_txn_define(txn, P("own"), follow_script, &own, &options, &atom, NULL));
    t_commit(txn);
    ck_assert_str_eq(show(store, "own"), "{a=5 q=6}");
    ck_assert_str_eq(show(store, "path"), "5");
    txn = t_begin(store); /* an owner that never lived to be published */
    int runs = own.runs;
    cop_atom brief;
    options.destroy = destroyed;
    ended = 0;
    CHECK_OK(cop_txn_define(txn, P("brief"), follow_script, &own, &options, &brief, NULL));
    CHECK_OK(cop_txn_erase(txn, brief));
    CHECK_OK(cop_txn_set_at(txn, P("other"), &one, NULL));
    t_commit(txn);
    ck_assert_int_eq(own.runs, runs);
    ck_assert_int_eq(ended, 1);
    ck_assert_str_eq(show(store, "brief"), "(none)");
    ck_assert_str_eq(show(store, "own"), "{a=5 q=6}");
    txn = t_begin(store); /* a later transaction of the batch fails: all of it is applied again */
    CHECK_OK(cop_txn_erase(txn, atom));
    CHECK_OK(cop_txn_set_at(txn, P("other/below"), &one, NULL));
    t_commit_fails(store, txn, COP_E_NOT_BRANCH);
    ck_assert_str_eq(show(store, "own"), "{a=5 q=6}");
    script(store, "a=6");
    ck_assert_str_eq(show(store, "path"), "6");
    txn = t_begin(store);
    CHECK_OK(cop_txn_set_at(txn, P("own/a"), &one, NULL));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    txn = t_begin(store); /* with a branch above it */
    CHECK_OK(cop_txn_clear(txn, cop_root()));
    CHECK_OK(cop_txn_set_at(txn, P("own/a"), &one, NULL));
    t_commit(txn);
    ck_assert_str_eq(show(store, "own"), "{a=1}");
    t_verify(store);
    t_close(store);
}
END_TEST

static cop_store *disposer_store;

typedef struct disposer {
    cop_atom script, self;
} disposer;

static cop_status
dispose_itself(cop_evaluation *evaluation, void *context, cop_value *result)
{
    disposer *self = context;
    cop_value value, one = cop_i64(1);
    (void)result;
    cop_status status = cop_read(evaluation, self->script, &value);
    if (status != COP_OK)
        return status;
    if (value.type == COP_I64)
        CHECK_OK(cop_computed_dispose(disposer_store, self->self));
    return cop_emit(evaluation, P("child"), &one);
}

START_TEST(disposal_inside_its_own_function)
{
    cop_store *store = t_open();
    disposer self = {.script = t_make(store, "script", cop_null())};
    disposer_store = store;
    self.self = define(store, "own", dispose_itself, &self, true);
    ck_assert_str_eq(show(store, "own"), "{child=1}");
    t_set_at(store, "script", cop_i64(1));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_str_eq(show(store, "own"), "(none)");
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(an_owner_in_an_array)
{
    cop_store *store = t_open();
    owner own;
    reader path = {.path = "list/1/own/k"}, loose = {.path = "own2/7/k"};
    cop_value array = cop_array(), object = cop_object();
    script(store, "a=1");
    memset(&own, 0, sizeof own);
    own.script = t_find(store, "script");
    t_set_at(store, "list", array);
    t_set_at(store, "list/-", cop_i64(0));
    t_set_at(store, "list/-", object);
    define(store, "path", by_path, &path, false);
    define(store, "loose", by_path, &loose, false);
    define(store, "list/1/own", follow_script, &own, true);
    define(store, "own2", follow_script, &own, true);
    ck_assert_str_eq(show(store, "path"), "absent");
    script(store, "k=4 7/k=8");
    ck_assert_str_eq(show(store, "path"), "4");
    ck_assert_str_eq(show(store, "loose"), "8");
    script(store, "k=5 7/k=9");
    ck_assert_str_eq(show(store, "path"), "5");
    script(store, "j=5");
    ck_assert_str_eq(show(store, "path"), "absent");
    ck_assert_str_eq(show(store, "loose"), "absent");
    script(store, "k=6 7/k=1");
    ck_assert_str_eq(show(store, "path"), "6");
    ck_assert_str_eq(show(store, "loose"), "1");
    t_erase_at(store, "list/0");
    ck_assert_str_eq(show(store, "path"), "absent");
    ck_assert_str_eq(show(store, "list/0/own"), "{k=6 7={k=1}}");
    t_verify(store);
    t_close(store);
}
END_TEST

/* What an owner in an element may emit is counted from the element on, as paths are. */
START_TEST(room_in_an_array)
{
    cop_store *store = t_open();
    char *path = malloc(COP_PATH_MAX + 1);
    cop_value array = cop_array(), object = cop_object();

    ck_assert_ptr_nonnull(path);
    memset(path, 'x', COP_PATH_MAX + 1);
    t_set_at(store, "list", array);
    t_set_at(store, "list/-", object);
    t_set_at(store, "list/-", cop_i64(1));
    for (int i = 0; i < 2; i++) { /* below "own", which takes four */
        emitter fits = {path, COP_PATH_MAX - 4, {0}}, longer = {path, COP_PATH_MAX - 3, {0}};
        (void)define(store, i ? "list/0/own" : "own", emit_odd, &fits, true);
        CHECK_STATUS(fits.status[0], COP_OK);
        t_erase_at(store, i ? "list/0/own" : "own");
        (void)define(store, i ? "list/0/own" : "own", emit_odd, &longer, true);
        CHECK_STATUS(longer.status[0], COP_E_LIMIT);
    }
    t_verify(store);
    free(path);
    t_close(store);
}
END_TEST

/* --- single children --------------------------------------------------------------- */

typedef struct driver {
    cop_store *store;
    cop_atom script, owner;
} driver;

static cop_status
emit_nothing(cop_evaluation *evaluation, void *context, cop_value *result)
{
    (void)evaluation;
    (void)context;
    (void)result;
    return COP_OK;
}

/* Stands for a node of the library's own: "+k" puts k first, "-k" takes it out, "k" sets it. */
static cop_status
drive(cop_evaluation *evaluation, void *context, cop_value *result)
{
    driver *self = context;
    cop__graph *graph = &self->store->graph;
    cop_value script, own, one = cop_i64(1), object = cop_object();
    cop_status status = cop_read(evaluation, self->script, &script);
    if (status == COP_OK)
        status = cop_read(evaluation, self->owner, &own); /* which is up to date then */
    if (status != COP_OK || script.type != COP_STRING)
        return status;
    cop__node *node = &graph->nodes[graph->records[self->owner.id].node];
    const char *text = cop_value_data(&script);
    bool fine = cop__own_open(graph, node);
    for (size_t i = 0; i + 1 < cop_value_length(&script); i += 2) {
        if (text[i] == '-')
            fine = fine && cop__own_remove(graph, node, text + i + 1, 1);
        else if (text[i] == '{')
            fine = fine && cop__own_put(graph, node, text + i + 1, 1, COP_AT_END, &object);
        else
            fine = fine && cop__own_put(graph, node, text + i + 1, 1,
                                        text[i] == '+' ? 0 : COP_AT_END, &one);
    }
    *result = cop_i64((int64_t)cop_value_length(&script));
    return fine ? COP_OK : COP_E_MEMORY;
}

static cop_status
by_path_after(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    cop_status status = cop_read_at(evaluation, P("driver"), &value);
    return status == COP_OK ? by_path(evaluation, context, result) : status;
}

START_TEST(single_children_are_put_and_taken)
{
    cop_store *store = t_open();
    driver self = {.store = store, .script = t_make(store, "script", cop_null())};
    reader path = {.path = "own/b"};
    self.owner = define(store, "own", emit_nothing, NULL, true);
    define(store, "driver", drive, &self, false);
    define(store, "path", by_path_after, &path, false);
    script(store, "+a+b>c{d");
    ck_assert_str_eq(show(store, "own"), "{b=1 a=1 c=1 d={}}");
    ck_assert_str_eq(show(store, "path"), "1");
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_erase_at(txn, P("own/b"), NULL));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    script(store, "-b-x>d{a");
    ck_assert_str_eq(show(store, "own"), "{a={} c=1 d=1}");
    ck_assert_str_eq(show(store, "path"), "absent");
    script(store, ">b");
    ck_assert_str_eq(show(store, "path"), "1");
    CHECK_OK(cop_computed_dispose(store, t_find(store, "driver")));
    CHECK_OK(cop_computed_dispose(store, self.owner));
    ck_assert_str_eq(show(store, "own"), "(none)");
    t_verify(store);
    t_close(store);
}
END_TEST

/* --- many at once ------------------------------------------------------------------ */

typedef struct many {
    cop_atom count, shift, stride;
    cop_atom factor; /* of the values; generation 0: two */
} many;

/* count children; the i-th is named (i * stride + shift) % count. */
static cop_status
emit_many(cop_evaluation *evaluation, void *context, cop_value *result)
{
    many *all = context;
    int64_t count = 0, shift = 0, stride = 1, factor = 2;
    char name[32];
    (void)result;
    cop_status status = cop_read_i64(evaluation, all->count, &count);
    if (status == COP_OK)
        status = cop_read_i64(evaluation, all->shift, &shift);
    if (status == COP_OK)
        status = cop_read_i64(evaluation, all->stride, &stride);
    if (status == COP_OK && all->factor.generation != 0)
        status = cop_read_i64(evaluation, all->factor, &factor);
    for (int64_t i = 0; status == COP_OK && i < count; i++) {
        int64_t k = (i * stride + shift) % count;
        cop_value value = cop_i64(k * factor);
        int n = snprintf(name, sizeof name, "k%" PRId64, k);
        status = cop_emit(evaluation, name, (size_t)n, &value);
    }
    return status;
}

/* --- beside a pool ----------------------------------------------------------------- */

START_TEST(readers_beside_each_other)
{
    enum { N = 3000 };
    static reader readers[N];
    static many all;
    cop_store *store = t_open();
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool = NULL;
    cop_atom atoms[N];
    char name[32];
    options.threads = 3;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    all = (many){t_make(store, "count", cop_i64(N)), t_make(store, "shift", cop_i64(0)),
                 t_make(store, "stride", cop_i64(1)), t_make(store, "factor", cop_i64(2))};
    define(store, "own", emit_many, &all, true);
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "own/k%d", i);
        readers[i] = (reader){.atom = t_find(store, name)};
        (void)snprintf(name, sizeof name, "r%d", i);
        atoms[i] = define(store, name, by_handle, &readers[i], false);
    }
    for (int round = 0; round < 200; round++) {
        cop_txn *txn = t_begin(store);
        cop_value factor = cop_i64(round), count = cop_i64(round % 10 == 9 ? N + round : N);
        CHECK_OK(cop_txn_set(txn, all.factor, &factor));
        CHECK_OK(cop_txn_set(txn, all.count, &count));
        t_commit(txn);
        for (int i = round % 7; i < N; i += 97)
            t_is_i64(store, atoms[i], (int64_t)i * round);
    }
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(thousands_of_children)
{
    enum { N = 5003 };
    static const int64_t steps[][3] = {{N, 0, 1}, {N, 1, 1}, {N, 0, 1},   {N, 7, 2}, {N, 3, 5002},
                                       {0, 0, 1}, {N, 0, 3}, {100, 0, 1}, {N, 0, 1}, {29, 2, 3}};
    cop_store *store = t_open();
    many all = {t_make(store, "count", cop_i64(N)), t_make(store, "shift", cop_i64(0)),
                t_make(store, "stride", cop_i64(1)), COP_ATOM_NONE_INIT};
    reader count = {0};
    count.atom = define(store, "own", emit_many, &all, true);
    cop_atom counted = define(store, "counted", by_count, &count, false);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        cop_txn *txn = t_begin(store);
        cop_value a = cop_i64(steps[s][0]), b = cop_i64(steps[s][1]), c = cop_i64(steps[s][2]);
        CHECK_OK(cop_txn_set(txn, all.count, &a));
        CHECK_OK(cop_txn_set(txn, all.shift, &b));
        CHECK_OK(cop_txn_set(txn, all.stride, &c));
        t_commit(txn);
        t_is_i64(store, counted, steps[s][0]);
        const cop_snapshot *snapshot = t_take(store);
        cop_cursor cursor;
        cop_child child;
        int64_t i = 0;
        CHECK_OK(cop_cursor_open(snapshot, count.atom, &cursor));
        for (; cop_cursor_next(&cursor, &child); i++) {
            int64_t k = (i * steps[s][2] + steps[s][1]) % steps[s][0];
            ck_assert_int_eq(cop_value_i64(&child.value), k * 2);
            ck_assert_int_eq(number(child.key + 1, child.key_length - 1), k);
        }
        ck_assert_int_eq(i, steps[s][0]);
        cop_snapshot_drop(snapshot);
        t_verify(store);
    }
    t_close(store);
}
END_TEST

/* --- out of memory -------------------------------------------------------------------- */

static const char *const oom_pairs[][2] = {
    {"a=1 b/c=2 d=3", "d=4 e=s:some-longer-text-for-a-block f/g/h=5 a=1"},
    {"a=1 b/c=2 d=3", "fail"},
    {"fail", "a=1 b/c=2 d=3"},
    {"a=1", "b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1 p=1 q=1 r=1 s=1 t=1 u=1 v=1 "
            "w=1 x=1 y=1 z=1 a=1 b0=1 b1=1 b2=1 b3=1 b4=1 b5=1 b6=1 b7=1 b8=1 b9=1"},
    {"c0=1 c1=1 c2=1 c3=1 c4=1 c5=1 c6=1 c7=1 c8=1 c9=1 b0=1 b1=1 b2=1 b3=1 b4=1 b5=1 b6=1 b7=1",
     "b7=1 b6=1 b5=1 c0=1 c1=1 c2=1 new=4 c3=1 b0=1 c9=1"},
    {"a/b=1 a/c=2 z=1", "z=2 a=5"},
};

typedef struct oom {
    cop_store *store;
    owner own;
    reader handle, path, list, find;
    char before[4096];
} oom;

static void
oom_check(oom *test, const char *text)
{
    char expected[4096], top[4096];
    script(test->store, text);
    (void)snprintf(expected, sizeof expected, "%s", show(test->store, "own"));
    ck_assert_str_eq(expected, test->before);
    (void)snprintf(top, sizeof top, "%s", show(test->store, "own/a"));
    ck_assert_str_eq(show(test->store, "path"), strcmp(top, "(none)") == 0 ? "absent"
                                                : top[0] == '{'            ? "{}"
                                                                           : top);
}

/* The k-th request of one change is refused. True when there was no k-th. */
static bool
oom_step(oom *test, const char *from, const char *to, int64_t k, bool for_ever)
{
    char now[4096];
    cop_value text = cop_string(to, strlen(to));
    uint64_t version = cop_store_version(test->store);
    cop_txn *txn = t_begin(test->store);
    CHECK_OK(cop_txn_set_at(txn, P("script"), &text, NULL));
    fault_alloc_arm(&t_faults, k, for_ever);
    cop_status status = cop_txn_commit(txn, NULL, NULL);
    bool fired = fault_alloc_fired(&t_faults);
    fault_alloc_disarm(&t_faults);
    ck_assert(status == COP_OK || (fired && status == COP_E_MEMORY));
    (void)snprintf(now, sizeof now, "%s", show(test->store, "own"));
    t_verify(test->store);
    if (status == COP_E_MEMORY) {
        ck_assert_uint_eq(cop_store_version(test->store), version);
        ck_assert_str_eq(now, test->before);
        cop_txn *other = t_begin(test->store); /* its children are nobody else's still */
        cop_value one = cop_i64(1);
        CHECK_OK(cop_txn_set_at(other, P("own/a"), &one, NULL));
        t_commit_fails(test->store, other, COP_E_COMPUTED);
    }
    oom_check(test, from);
    return !fired;
}

START_TEST(every_request_refused)
{
    bool for_ever = _i % 2 != 0;
    const char *from = oom_pairs[_i / 2][0], *to = oom_pairs[_i / 2][1];
    static oom test;
    memset(&test, 0, sizeof test);
    test.store = t_open();
    (void)open_owner(test.store, &test.own, from);
    test.handle.atom = test.own.script;
    test.path.path = test.find.path = "own/a";
    test.list.path = "own";
    define(test.store, "path", by_path, &test.path, false);
    define(test.store, "find", by_find, &test.find, false);
    define(test.store, "list", by_listing, &test.list, false);
    (void)snprintf(test.before, sizeof test.before, "%s", show(test.store, "own"));
    int64_t k = 1;
    while (!oom_step(&test, from, to, k, for_ever))
        k++;
    ck_assert_int_gt(k, 1);
    t_close(test.store);
}
END_TEST

START_TEST(definitions_and_disposals_refused)
{
    static owner own;
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    reader path = {.path = "own/b/c"};
    options.branch = true;
    script(store, "a=1 b/c=2");
    memset(&own, 0, sizeof own);
    own.script = t_find(store, "script");
    define(store, "path", by_path, &path, false);
    for (int64_t k = 1;; k++) {
        cop_atom atom = COP_ATOM_NONE_INIT;
        fault_alloc_arm(&t_faults, k, false);
        cop_status status =
            cop_computed_define(store, P("own"), follow_script, &own, &options, &atom, NULL);
        bool fired = fault_alloc_fired(&t_faults);
        fault_alloc_disarm(&t_faults);
        t_verify(store);
        if (status != COP_OK) {
            CHECK_STATUS(status, COP_E_MEMORY);
            ck_assert_str_eq(show(store, "own"), "(none)");
            continue;
        }
        ck_assert_str_eq(show(store, "path"), "2");
        fault_alloc_arm(&t_faults, k, false);
        status = cop_computed_dispose(store, atom);
        fault_alloc_disarm(&t_faults);
        if (status != COP_OK) {
            CHECK_STATUS(status, COP_E_MEMORY);
            ck_assert_str_eq(show(store, "path"), "2");
            script(store, "a=1");
            ck_assert_str_eq(show(store, "path"), "absent");
            script(store, "a=1 b/c=2");
            CHECK_OK(cop_computed_dispose(store, atom));
        }
        ck_assert_str_eq(show(store, "path"), "absent");
        if (!fired)
            break;
    }
    t_close(store);
}
END_TEST

/* --- at random, against a model --------------------------------------------------------- */

enum { KEYS = 12, WORDS = 40 };

typedef struct words {
    char path[WORDS][32];
    int value[WORDS];
    int count;
    bool fail;
} words;

static uint64_t random_state;

static unsigned
pick(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % below);
}

/* Whether a path may stand beside those there are. */
static bool
fits(const words *all, const char *path)
{
    size_t n = strlen(path);
    for (int i = 0; i < all->count; i++) {
        size_t m = strlen(all->path[i]), least = n < m ? n : m;
        if (memcmp(path, all->path[i], least) == 0 &&
            (n == m || (n > m ? path : all->path[i])[least] == '/'))
            return false;
    }
    return true;
}

static void
add_word(words *all, unsigned keys)
{
    char path[32];
    int n = snprintf(path, sizeof path, "%c%u", 'a' + (int)pick(3), pick(keys));
    while (pick(4) == 0 && n < 20)
        n += snprintf(path + n, sizeof path - (size_t)n, "/%u", pick(4));
    if (!fits(all, path))
        return;
    memcpy(all->path[all->count], path, sizeof path);
    all->value[all->count++] = (int)pick(3);
}

static void
drop_word(words *all, int i)
{
    all->count--;
    memmove(&all->path[i], &all->path[i + 1], (size_t)(all->count - i) * sizeof all->path[0]);
    memmove(&all->value[i], &all->value[i + 1], (size_t)(all->count - i) * sizeof all->value[0]);
}

static void
change_words(words *all)
{
    unsigned what = pick(12), keys = pick(2) ? 3 : 12;
    all->fail = what == 0;
    if (what == 1)
        all->count = 0;
    while (what < 4 && all->count < WORDS - 1 && pick(12) != 0)
        add_word(all, keys);
    for (unsigned i = pick(4); i > 0 && all->count > 0; i--)
        all->value[pick((unsigned)all->count)] = (int)pick(3);
    for (unsigned i = pick(3); i > 0 && all->count > 0; i--)
        drop_word(all, (int)pick((unsigned)all->count));
    for (unsigned i = pick(3); i > 0 && all->count < WORDS; i--)
        add_word(all, keys);
    for (unsigned i = what > 9 ? pick(20) : 0; i > 0 && all->count > 1; i--) {
        int x = (int)pick((unsigned)all->count), y = (int)pick((unsigned)all->count);
        char path[32];
        memcpy(path, all->path[x], sizeof path);
        memcpy(all->path[x], all->path[y], sizeof path);
        memcpy(all->path[y], path, sizeof path);
    }
}

static void
words_script(const words *all, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < all->count; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%s=%d", i ? " " : "", all->path[i],
                                 all->value[i]);
    if (all->fail)
        (void)snprintf(text + used, room - used, " fail");
}

/* What the branch below a prefix of n bytes must look like. */
static size_t
words_show(const words *all, const char *prefix, size_t n, char *text, bool deep)
{
    bool done[WORDS] = {false};
    size_t used = (size_t)sprintf(text, "%s", deep ? "{" : "");
    bool first = true;
    for (int i = 0; i < all->count; i++) {
        if (done[i] || strncmp(all->path[i], prefix, n) != 0)
            continue;
        const char *key = all->path[i] + n, *slash = strchr(key, '/');
        size_t length = slash != NULL ? (size_t)(slash - key) : strlen(key);
        used += (size_t)sprintf(text + used, "%s%.*s=", first ? "" : " ", (int)length, key);
        first = false;
        if (slash == NULL) {
            used += (size_t)sprintf(text + used, "%d", all->value[i]);
            continue;
        }
        used += deep ? words_show(all, all->path[i], n + length + 1, text + used, true)
                     : (size_t)sprintf(text + used, "{}");
        for (int k = i; k < all->count; k++)
            done[k] |= strncmp(all->path[k], all->path[i], n + length + 1) == 0;
    }
    return used + (size_t)sprintf(text + used, "%s", deep ? "}" : "");
}

typedef struct random_test {
    cop_store *store;
    owner own;
    words all;
    reader list, path[8];
    char name[8][24];
    char path_text[8][24];
    cop_atom atom;
    bool defined;
} random_test;

static void
random_check(random_test *test)
{
    static char wanted[8192], top[8192];
    const words *all = &test->all;
    if (!test->defined || all->fail) {
        ck_assert_str_eq(show(test->store, "own"), test->defined ? "!told to" : "(none)");
        ck_assert_str_eq(show(test->store, "list"),
                         test->defined ? "!told to" : "!no atom at this path");
    } else {
        (void)words_show(all, "", 0, wanted, true);
        ck_assert_str_eq(show(test->store, "own"), wanted);
        (void)words_show(all, "", 0, top, false);
        ck_assert_str_eq(show(test->store, "list"), top);
    }
    for (int i = 0; i < 8; i++) {
        char got[64];
        (void)snprintf(got, sizeof got, "%.60s", show(test->store, test->path_text[i]));
        ck_assert_str_eq(show(test->store, test->name[i]), strcmp(got, "(none)") == 0 ? "absent"
                                                           : got[0] == '{'            ? "{}"
                                                                                      : got);
    }
}

static void
random_define(random_test *test, cop_txn *txn)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.branch = true;
    CHECK_OK(cop_txn_define(txn, P("own"), follow_script, &test->own, &options, &test->atom, NULL));
    test->defined = true;
}

/* One transaction, maybe refused memory; then the same again. */
static void
random_step(random_test *test, const cop_snapshot **kept)
{
    static char text[8192];
    random_test before = *test;
    bool erase = test->defined && pick(12) == 0, make = !test->defined && pick(2) == 0;
    bool refuse = pick(4) == 0;
    cop_atom old = test->atom;
    change_words(&test->all);
    words_script(&test->all, text, sizeof text);
    for (;;) {
        cop_value value = cop_string(text, strlen(text));
        cop_txn *txn = t_begin(test->store);
        bool make_now = make || (erase && test->all.count % 2 == 0);
        CHECK_OK(cop_txn_set_at(txn, P("script"), &value, NULL));
        if (erase)
            CHECK_OK(cop_txn_erase(txn, old));
        test->defined = before.defined && !erase;
        if (make_now)
            random_define(test, txn);
        fault_alloc_arm(&t_faults, refuse ? 1 + (int64_t)pick(30) : FAULT_NEVER, false);
        cop_status status = cop_txn_commit(txn, NULL, NULL);
        fault_alloc_disarm(&t_faults);
        if (status == COP_OK)
            break;
        CHECK_STATUS(status, COP_E_MEMORY);
        words all = test->all;
        *test = before;
        random_check(test);
        test->all = all;
        refuse = false;
    }
    random_check(test);
    const char *wrong = tree_check(&test->store->tree);
    ck_assert_msg(wrong == NULL, "%s", wrong);
    if (pick(8) == 0) {
        cop_snapshot_drop(*kept);
        *kept = t_take(test->store);
    }
}

START_TEST(at_random)
{
    static random_test test;
    memset(&test, 0, sizeof test);
    random_state = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(_i + 1);
    test.store = t_open();
    script(test.store, "");
    test.own.script = t_find(test.store, "script");
    test.list.path = "own";
    define(test.store, "list", by_listing, &test.list, false);
    for (int i = 0; i < 8; i++) {
        int n = snprintf(test.path_text[i], sizeof test.path_text[i], "own/%c%u",
                         'a' + (int)pick(3), pick(3));
        if (i % 2)
            (void)snprintf(test.path_text[i] + n, sizeof test.path_text[i] - (size_t)n, "/%u",
                           pick(4));
        (void)snprintf(test.name[i], sizeof test.name[i], "path%d", i);
        test.path[i].path = test.path_text[i];
        define(test.store, test.name[i], by_path, &test.path[i], false);
    }
    const cop_snapshot *kept = t_take(test.store);
    for (int step = 0; step < 150; step++)
        random_step(&test, &kept);
    cop_snapshot_drop(kept);
    t_verify(test.store);
    t_close(test.store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, children_are_made_in_order_of_emission);
    tcase_add_test(tests, children_follow_the_function);
    tcase_add_test(tests, a_child_that_stays_keeps_its_handle);
    tcase_add_test(tests, an_unchanged_run_publishes_nothing);
    tcase_add_test(tests, an_unchanged_child_runs_nobody);
    tcase_add_test(tests, an_equality_of_its_own_is_asked_for_each_child);
    tcase_add_test(tests, what_cop_emit_refuses);
    tcase_add_test(tests, limits_of_paths_and_values);
    tcase_add_test(tests, options_that_cannot_be);
    tcase_add_test(tests, a_failed_run_makes_the_atom_an_error);
    tcase_add_test(tests, a_first_run_may_fail);
    tcase_add_test(tests, others_may_not_write_in_it);
    tcase_add_test(tests, readers_by_path_wait_for_what_does_not_exist_yet);
    tcase_add_test(tests, readers_defined_before_and_after);
    tcase_add_test(tests, owners_read_branches_of_owners);
    tcase_add_test(tests, lazy_readers);
    tcase_add_test(tests, a_circle_through_a_child);
    tcase_add_test(tests, a_circle_through_a_path);
    tcase_add_test(tests, snapshots_keep_the_old_children);
    tcase_add_test(tests, erasing_the_owner_erases_the_branch);
    tcase_add_test(tests, disposal_in_mid_batch);
    tcase_add_test(tests, disposal_inside_its_own_function);
    tcase_add_test(tests, an_owner_in_an_array);
    tcase_add_test(tests, room_in_an_array);
    tcase_add_test(tests, single_children_are_put_and_taken);
    tcase_add_test(tests, readers_beside_each_other);
    tcase_add_test(tests, thousands_of_children);
    tcase_add_loop_test(tests, every_request_refused, 0,
                        2 * (int)(sizeof oom_pairs / sizeof *oom_pairs));
    tcase_add_test(tests, definitions_and_disposals_refused);
    tcase_add_loop_test(tests, at_random, 0, 40);
}

int
main(void)
{
    return t_run("owned_branch", add);
}
