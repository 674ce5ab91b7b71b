/* SPDX-License-Identifier: MIT */
/*
 * Random transactions on a store and on a simple model of it, side by side: every outcome and
 * version must be what the model says, and every version held must go on reading as it was.
 *
 * COP_TEST_SEED repeats a run, COP_TEST_SECONDS makes it longer.
 */
#include <time.h>

#include "tests/support/model.h"
#include "tests/support/store_test.h"

enum { HELD = 14, OPERATIONS_MAX = 40 };

typedef struct held {
    const cop_snapshot *snapshot;
    char *text;
} held;

/* How often each kind of operation comes, in parts of the sum. */
typedef struct mix {
    unsigned child, path, set, insert, erase, clear, create, add, absent;
    unsigned atoms; /* erase more from here on */
    unsigned keys;
} mix;

/* A handle asked for in the open transaction, and whose it is in the model. */
typedef struct wanted {
    uint64_t uid;
    cop_atom atom;
} wanted;

typedef struct run {
    cop_store *store;
    cop_txn *txn;
    model model;
    const mix *mix;
    uint64_t random;
    held held[HELD];
    wanted wanted[OPERATIONS_MAX];
    unsigned wants;
    uint64_t operations, commits, refused;
} run;

static const mix general = {30, 15, 10, 12, 10, 2, 5, 5, 1, 250, 40};
/* Few paths, erased and made again all the time. */
static const mix again = {40, 30, 5, 5, 35, 4, 1, 1, 1, 30, 4};
/* Mostly arrays. */
static const mix arrays = {10, 3, 5, 60, 20, 1, 0, 5, 1, 400, 10};

static uint64_t
next_random(run *r)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random * UINT64_C(2685821657736338717) >> 11;
}

static uint64_t
below(run *r, uint64_t n)
{
    return next_random(r) % n;
}

static cop_value
random_value(run *r, char **bytes)
{
    static const size_t lengths[] = {0, 3, 12, 13, 40, 200, 3000};
    size_t n = lengths[below(r, 7)];

    *bytes = NULL;
    switch (below(r, 10)) {
    case 0:
        return cop_null();
    case 1:
        return cop_bool(below(r, 2));
    case 2:
        return cop_f64((double)below(r, 100) / 4);
    case 3:
        return cop_object();
    case 4:
    case 5:
        return cop_array();
    case 6:
    case 7:
        *bytes = t_bytes(n, (unsigned)below(r, 1000));
        return cop_text(below(r, 2) ? COP_STRING : COP_BYTES, *bytes, n);
    default:
        return cop_i64((int64_t)below(r, 1000));
    }
}

static int
random_key(run *r, char key[16])
{
    static const char *const odd[] = {"", "/", "~", "*", "a b", "~1"};
    uint64_t i = below(r, r->mix->keys);

    return i < 3 && below(r, 2) ? snprintf(key, 16, "%s", odd[below(r, 6)])
                                : snprintf(key, 16, "k%d", (int)i);
}

static model_node *
pick_kind(run *r, uint8_t type)
{
    for (int i = 0; i < 30; i++) {
        model_node *node = model_pick(&r->model, next_random(r), false);
        if (node->value.type == type)
            return node;
    }
    return r->model.root;
}

/* A handle of this node that the transaction can use, if it has one. */
static bool
has_handle(run *r, const model_node *node, cop_atom *atom)
{
    *atom = node->atom;
    if (node->known || node == r->model.root)
        return true;
    for (unsigned i = 0; i < r->wants; i++)
        if (r->wanted[i].uid == node->uid) {
            *atom = r->wanted[i].atom;
            return true;
        }
    return false;
}

static cop_atom *
want(run *r, const model_node *node)
{
    wanted *w = &r->wanted[r->wants++];

    w->uid = node != NULL ? node->uid : UINT64_MAX;
    return &w->atom;
}

/* --- operations on both ------------------------------------------------------------- */

static cop_status
op_child(run *r)
{
    model_node *object = pick_kind(r, COP_OBJECT), *child;
    char key[16], *bytes;
    int n = random_key(r, key);
    cop_value value = random_value(r, &bytes);
    cop_atom atom;
    cop_status status;

    if (!has_handle(r, object, &atom)) {
        free(bytes);
        return COP_OK;
    }
    status = model_set_child(&r->model, object, key, (size_t)n, &value, &child);
    CHECK_OK(cop_txn_set_child(r->txn, atom, key, (size_t)n, &value, want(r, child)));
    free(bytes);
    return status;
}

/* Appends one random key as a segment; the key unescaped and its length too. */
static size_t
append_key(run *r, char *path, size_t used, char key[16], size_t *length)
{
    size_t written;

    *length = (size_t)random_key(r, key);
    if (used > 0)
        path[used++] = '/';
    CHECK_OK(cop_path_escape(key, *length, path + used, 40, &written, NULL));
    return used + written;
}

/* One to three keys below an object; what is missing on the way becomes objects. */
static cop_status
op_path(run *r)
{
    model_node *node = pick_kind(r, COP_OBJECT), *child;
    char path[COP_PATH_MAX], key[16], *bytes;
    cop_value value = random_value(r, &bytes), object = cop_object();
    cop_status status = COP_OK;
    size_t used, n;

    model_path(node, path, sizeof path);
    used = strlen(path);
    for (uint64_t left = 1 + below(r, 3); left > 0; left--) {
        used = append_key(r, path, used, key, &n);
        child = model_child(node, key, n);
        if (left == 1 || (child != NULL && child->value.type == COP_ARRAY)) {
            status = model_set_child(&r->model, node, key, n, &value, &child);
            break;
        }
        if (child == NULL) {
            model_set_child(&r->model, node, key, n, &object, &child);
        } else if (child->value.type != COP_OBJECT) {
            memcpy(path + used, "/x", 2);
            used += 2;
            status = COP_E_NOT_BRANCH;
            break;
        }
        node = child;
    }
    CHECK_OK(cop_txn_set_at(r->txn, path, used, &value, NULL));
    free(bytes);
    return status;
}

static cop_status
op_set(run *r)
{
    model_node *node = model_pick(&r->model, next_random(r), true);
    char path[COP_PATH_MAX], *bytes;
    cop_value value = random_value(r, &bytes);
    cop_atom atom;
    cop_status status = COP_OK;
    bool branch = value.type == COP_OBJECT || value.type == COP_ARRAY;
    bool anonymous = node->parent == r->model.anonymous;

    if (node != r->model.root && !(anonymous && branch)) {
        bool handle = has_handle(r, node, &atom);
        if (handle && (anonymous || below(r, 2))) {
            CHECK_OK(cop_txn_set(r->txn, atom, &value));
            status = model_set(&r->model, node, &value);
        } else if (!anonymous) {
            model_path(node, path, sizeof path);
            CHECK_OK(cop_txn_set_at(r->txn, P(path), &value, NULL));
            status = model_set(&r->model, node, &value);
        }
    }
    free(bytes);
    return status;
}

static cop_status
op_insert(run *r)
{
    model_node *array = pick_kind(r, COP_ARRAY), *element;
    uint32_t index = below(r, 3) ? (uint32_t)below(r, array->count + 1u) : COP_AT_END;
    char *bytes;
    cop_value value = random_value(r, &bytes);
    cop_status status = COP_OK;
    cop_atom atom;

    if (array->value.type == COP_ARRAY && below(r, 100) == 0)
        index = array->count + 1;
    if ((array->value.type == COP_ARRAY || below(r, 50) == 0) && has_handle(r, array, &atom)) {
        status = model_insert(&r->model, array, index, &value, &element);
        CHECK_OK(cop_txn_insert(r->txn, atom, index, &value, want(r, element)));
    }
    free(bytes);
    return status;
}

static cop_status
op_remove(run *r, bool clear)
{
    model_node *node = model_pick(&r->model, next_random(r), !clear);
    bool anonymous = node->parent == r->model.anonymous;
    char path[COP_PATH_MAX];
    cop_atom atom;
    bool handle = has_handle(r, node, &atom);

    if (node == r->model.root && (!clear || below(r, 10) != 0))
        return COP_OK;
    if (anonymous && !handle)
        return COP_OK;
    if (!anonymous)
        model_path(node, path, sizeof path);
    if (handle && (anonymous || below(r, 2)))
        CHECK_OK(clear ? cop_txn_clear(r->txn, atom) : cop_txn_erase(r->txn, atom));
    else
        CHECK_OK(clear ? cop_txn_clear_at(r->txn, P(path), NULL)
                       : cop_txn_erase_at(r->txn, P(path), NULL));
    return clear ? model_clear(&r->model, node) : model_erase(&r->model, node);
}

static cop_status
op_create(run *r)
{
    cop_value value = cop_i64((int64_t)below(r, 1000));
    model_node *node = model_create(&r->model, &value);

    CHECK_OK(cop_txn_create(r->txn, &value, want(r, node)));
    return COP_OK;
}

static cop_status
op_add(run *r)
{
    model_node *node = model_pick(&r->model, next_random(r), true);
    cop_value delta = below(r, 2) ? cop_i64((int64_t)below(r, 9)) : cop_f64(0.25);
    cop_atom atom;

    if (!has_handle(r, node, &atom) || (node->value.type != COP_I64 && below(r, 20) != 0))
        return COP_OK;
    CHECK_OK(cop_txn_add(r->txn, atom, &delta));
    return model_add(&r->model, node, &delta);
}

static cop_status
op_absent(run *r)
{
    CHECK_OK(cop_txn_erase_at(r->txn, P("never/there"), NULL));
    return COP_E_ABSENT;
}

static cop_status
operation(run *r)
{
    const mix *m = r->mix;
    unsigned erase = m->erase, i;

    if (model_count(&r->model) > m->atoms)
        erase *= 4;
    i = (unsigned)below(r, m->child + m->path + m->set + m->insert + erase + m->clear +
                               m->create + m->add + m->absent);
    r->operations++;
    if (i < m->child)
        return op_child(r);
    if ((i -= m->child) < m->path)
        return op_path(r);
    if ((i -= m->path) < m->set)
        return op_set(r);
    if ((i -= m->set) < m->insert)
        return op_insert(r);
    if ((i -= m->insert) < erase)
        return op_remove(r, false);
    if ((i -= erase) < m->clear)
        return op_remove(r, true);
    if ((i -= m->clear) < m->create)
        return op_create(r);
    if ((i -= m->create) < m->add)
        return op_add(r);
    return op_absent(r);
}

/* --- comparing ------------------------------------------------------------------------ */

static void
same_text(const run *r, const char *got, const char *want_text, const char *what)
{
    ck_assert_ptr_nonnull(got);
    if (strcmp(got, want_text) == 0)
        return;
    fprintf(stderr, "--- store\n%s--- model\n%s", got, want_text);
    ck_abort_msg("%s differs, version %" PRIu64 ", commit %" PRIu64, what, r->model.version,
                 r->commits);
}

/* The handles that the transaction gave are those of the nodes they were asked for. */
static void
settle_wanted(run *r, model_node *node)
{
    for (unsigned i = 0; i < r->wants; i++)
        if (r->wanted[i].uid == node->uid) {
            if (node->known)
                ck_assert_msg(SAME_ATOM(node->atom, r->wanted[i].atom), "a handle of another atom");
            node->atom = r->wanted[i].atom;
            node->known = true;
        }
    for (uint32_t i = 0; i < node->count; i++)
        settle_wanted(r, node->children[i]);
}

static void
compare_now(run *r, bool whole)
{
    const cop_snapshot *snapshot = t_take(r->store);
    const char *wrong;
    char *got, *want_text;

    ck_assert_msg(model_learn(&r->model, snapshot), "handles or lists differ at version %" PRIu64,
                  r->model.version);
    settle_wanted(r, r->model.root);
    settle_wanted(r, r->model.anonymous);
    if (whole) {
        got = dump_tree(snapshot, DUMP_CHANGED | DUMP_HANDLES);
        want_text = model_dump(&r->model, DUMP_CHANGED | DUMP_HANDLES);
        same_text(r, got, want_text, "the newest version");
        free(got);
        free(want_text);
        wrong = dump_disagreement(snapshot);
        ck_assert_msg(wrong == NULL, "%s", wrong);
        ck_assert_uint_eq(cop_snapshot_atoms(snapshot), model_count(&r->model));
    }
    cop_snapshot_drop(snapshot);
}

static void
check_held(run *r, held *h)
{
    char *got = dump_tree(h->snapshot, DUMP_CHANGED | DUMP_HANDLES);

    same_text(r, got, h->text, "a version held");
    free(got);
}

static void
let_go(run *r, held *h)
{
    if (h->snapshot == NULL)
        return;
    check_held(r, h);
    cop_snapshot_drop(h->snapshot);
    free(h->text);
    memset(h, 0, sizeof *h);
}

static void
hold(run *r, held *h)
{
    let_go(r, h);
    h->snapshot = t_take(r->store);
    h->text = model_dump(&r->model, DUMP_CHANGED | DUMP_HANDLES);
}

/* --- one transaction ------------------------------------------------------------------- */

static void
transaction(run *r)
{
    uint64_t n = 1 + below(r, below(r, 8) ? 6 : OPERATIONS_MAX), version = 0;
    cop_status expected = COP_OK, status;
    cop_error error = COP_ERROR_INIT;

    r->wants = 0;
    r->txn = t_begin(r->store);
    model_begin(&r->model);
    for (uint64_t i = 0; i < n && expected == COP_OK; i++)
        expected = operation(r);
    status = cop_txn_commit(r->txn, &version, &error);
    ck_assert_msg(status == expected, "commit %" PRIu64 ": %s (%s), should be %s", r->commits,
                  cop_status_name(status), error.message, cop_status_name(expected));
    r->commits++;
    if (status != COP_OK) {
        r->refused++;
        r->wants = 0;
        model_rollback(&r->model);
    } else {
        model_commit(&r->model);
        ck_assert_uint_eq(version, r->model.version);
    }
    ck_assert_uint_eq(cop_store_version(r->store), r->model.version);
    compare_now(r, r->commits % 16 == 0);
}

static void
step(run *r)
{
    transaction(r);
    if (below(r, 20) == 0)
        hold(r, &r->held[below(r, HELD)]);
    if (below(r, 10) == 0) {
        held *h = &r->held[below(r, HELD)];
        if (h->snapshot != NULL)
            check_held(r, h);
    }
    if (below(r, 60) == 0)
        let_go(r, &r->held[below(r, HELD)]);
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static void
run_mix(const mix *m)
{
    run *r = calloc(1, sizeof *r);
    uint64_t seed = from_environment("COP_TEST_SEED", (uint64_t)time(NULL));
    uint64_t end = cop_deadline_in_ms(1000 * from_environment("COP_TEST_SECONDS", 2));

    fprintf(stderr, "seed %" PRIu64 "\n", seed);
    r->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    r->mix = m;
    r->store = t_open();
    model_init(&r->model);
    while (cop_deadline_in_ms(0) < end)
        step(r);
    for (int i = 0; i < HELD; i++)
        let_go(r, &r->held[i]);
    fprintf(stderr, "%" PRIu64 " commits (%" PRIu64 " refused), %" PRIu64 " operations, %" PRIu64
            " versions\n",
            r->commits, r->refused, r->operations, r->model.version);
    ck_assert_uint_gt(r->commits, 2 * r->refused);
    t_verify(r->store);
    model_free(&r->model);
    t_close(r->store);
    free(r);
}

START_TEST(random_transactions)
{
    static const mix *const mixes[] = {&general, &again, &arrays};

    run_mix(mixes[_i]);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, random_transactions, 0, 3);
}

int
main(void)
{
    return t_run("model", add);
}
