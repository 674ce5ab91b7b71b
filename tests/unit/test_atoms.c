/* SPDX-License-Identifier: MIT */
/* Values of every type and size through every way of writing; handles, generations, reuse. */
#include <math.h>

#include "tests/support/store_test.h"

static const size_t sizes[] = {0, 1, 11, 12, 13, 64, 4096, 100000};
#define SIZES (sizeof sizes / sizeof *sizes)

enum { SCALARS = 9, KINDS = SCALARS + 3 * (int)SIZES };

/* The i-th of KINDS values; *bytes is to be freed after use. */
static cop_value
sample(int i, char **bytes)
{
    static const cop_type kinds[] = {COP_STRING, COP_BYTES, COP_ERROR};
    size_t n;

    *bytes = NULL;
    switch (i) {
    case 0:
        return cop_null();
    case 1:
        return cop_bool(true);
    case 2:
        return cop_bool(false);
    case 3:
        return cop_i64(INT64_MIN);
    case 4:
        return cop_i64(INT64_MAX);
    case 5:
        return cop_f64(-0.0);
    case 6:
        return cop_f64(1.5);
    case 7:
        return cop_f64(INFINITY);
    case 8:
        return cop_f64(NAN);
    default:
        n = sizes[(size_t)(i - SCALARS) / 3];
        *bytes = t_bytes(n, (unsigned)i);
        if (n > 0)
            (*bytes)[n / 2] = '\0';
        return cop_text(kinds[(i - SCALARS) % 3], *bytes, n);
    }
}

/* Writes it in the way asked for; the atom's real handle. */
static cop_atom
write_by(cop_store *store, int way, int i, const cop_value *value)
{
    cop_txn *txn = t_begin(store);
    cop_atom atom = COP_ATOM_NONE_INIT, list;
    char path[32];
    int n = snprintf(path, sizeof path, "by%d/%d", way, i);

    switch (way) {
    case 0:
        CHECK_OK(cop_txn_set_at(txn, path, (size_t)n, value, NULL));
        t_commit(txn);
        return t_find(store, path);
    case 1:
        CHECK_OK(cop_txn_set_child(txn, cop_root(), path, (size_t)n, value, &atom));
        break;
    case 2:
        list = t_find(store, "list");
        CHECK_OK(cop_txn_insert(txn, list, 0, value, &atom));
        break;
    case 3:
        CHECK_OK(cop_txn_create(txn, value, &atom));
        break;
    default:
        cop_txn_cancel(txn);
        CHECK_OK(cop_atom_at(store, path, (size_t)n, &atom, NULL));
        txn = t_begin(store);
        CHECK_OK(cop_txn_set(txn, atom, value));
        break;
    }
    t_commit(txn);
    return atom;
}

START_TEST(every_value_by_every_way)
{
    cop_store *store = t_open();
    cop_atom atom[KINDS];
    const cop_snapshot *snapshot;
    cop_value got, want;
    char *bytes;

    t_set_at(store, "list", cop_array());
    for (int i = 0; i < KINDS; i++) {
        want = sample(i, &bytes);
        atom[i] = write_by(store, _i, i, &want);
        if (bytes != NULL)
            memset(bytes, '#', sizes[(size_t)(i - SCALARS) / 3]);
        free(bytes);
    }
    snapshot = t_take(store);
    for (int i = 0; i < KINDS; i++) {
        want = sample(i, &bytes);
        CHECK_OK(cop_get(snapshot, atom[i], &got));
        ck_assert_msg(cop_value_equal(&got, &want), "value %d by way %d", i, _i);
        free(bytes);
    }
    ck_assert_ptr_null(dump_disagreement(snapshot));
    t_verify(store);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

START_TEST(every_value_over_every_other)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "x", cop_null());
    char *old_bytes, *new_bytes;
    cop_value old, new, got;

    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++) {
            const cop_snapshot *before;
            uint64_t version;
            old = sample(i, &old_bytes);
            new = sample(j, &new_bytes);
            version = t_set(store, atom, old);
            before = t_take(store);
            /* The same value again is no change. */
            ck_assert_uint_eq(t_set(store, atom, new), version + !cop_value_equal(&old, &new));
            CHECK_OK(cop_get(before, atom, &got));
            ck_assert(cop_value_equal(&got, &old));
            cop_snapshot_drop(before);
            free(old_bytes);
            free(new_bytes);
        }
    t_close(store);
}
END_TEST

START_TEST(refused_values)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "x", cop_i64(1)), out;
    cop_value none = {0}, object = cop_object(), array = cop_array();
    cop_txn *txn = t_begin(store);

    CHECK_STATUS(cop_txn_set(txn, atom, &none), COP_E_INVALID);
    CHECK_STATUS(cop_txn_set_at(txn, P("y"), &none, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_txn_set_child(txn, cop_root(), P("y"), &none, &out), COP_E_INVALID);
    CHECK_STATUS(cop_txn_insert(txn, cop_root(), 0, &none, &out), COP_E_INVALID);
    CHECK_STATUS(cop_txn_create(txn, &none, &out), COP_E_INVALID);
    CHECK_STATUS(cop_txn_create(txn, &object, &out), COP_E_INVALID);
    CHECK_STATUS(cop_txn_create(txn, &array, &out), COP_E_INVALID);
    CHECK_STATUS(cop_txn_require_value(txn, atom, &none), COP_E_INVALID);
    CHECK_STATUS(cop_txn_compare_set(txn, atom, &none, &object, NULL), COP_E_INVALID);
    /* What was refused is not part of it. */
    ck_assert_uint_eq(t_commit(txn), 1);
    t_is_i64(store, atom, 1);
    t_close(store);
}
END_TEST

/* --- handles -------------------------------------------------------------------- */

START_TEST(erased_is_gone_for_ever)
{
    cop_store *store = t_open();
    cop_atom old = t_make(store, "a", cop_i64(1)), new;
    const cop_snapshot *before = t_take(store);
    cop_value value;
    cop_txn *txn;
    int64_t i;

    t_erase(store, old);
    new = t_make(store, "a", cop_i64(2));
    ck_assert(!SAME_ATOM(old, new));
    CHECK_STATUS(t_status(store, old), COP_E_GONE);
    t_is_i64(store, new, 2);
    CHECK_OK(cop_get_i64(before, old, &i));
    ck_assert_int_eq(i, 1);
    CHECK_STATUS(cop_get(before, new, &value), COP_E_GONE);
    ck_assert_int_eq(cop_value_type(&value), COP_NONE);

    txn = t_begin(store);
    CHECK_OK(cop_txn_set(txn, old, &(cop_value){.type = COP_NULL}));
    t_commit_fails(store, txn, COP_E_GONE);
    txn = t_begin(store);
    CHECK_OK(cop_txn_erase(txn, old));
    t_commit_fails(store, txn, COP_E_GONE);
    cop_snapshot_drop(before);
    t_close(store);
}
END_TEST

START_TEST(ids_are_used_again_with_new_generations)
{
    enum { ATOMS = 100, ROUNDS = 300 };
    cop_store *store = t_open();
    static cop_atom past[ROUNDS][ATOMS];
    uint32_t greatest = 0, after_ten = 0;
    cop_stats stats = COP_STATS_INIT;

    for (int round = 0; round < ROUNDS; round++) {
        cop_txn *txn = t_begin(store);
        for (int i = 0; i < ATOMS; i++) {
            char key[16];
            cop_value value = cop_i64(round * ATOMS + i);
            int n = snprintf(key, sizeof key, "k%d", i);
            CHECK_OK(cop_txn_set_child(txn, cop_root(), key, (size_t)n, &value, &past[round][i]));
        }
        t_commit(txn);
        for (int i = 0; i < ATOMS; i++) {
            t_is_i64(store, past[round][i], round * ATOMS + i);
            if (past[round][i].id > greatest)
                greatest = past[round][i].id;
            if (round > 0)
                CHECK_STATUS(t_status(store, past[round / 2][i]), COP_E_GONE);
        }
        if (round == 10)
            after_ten = greatest;
        txn = t_begin(store);
        CHECK_OK(cop_txn_clear(txn, cop_root()));
        t_commit(txn);
    }
    /* Ids must have come back, however generously they are given out in runs. */
    ck_assert_uint_le(greatest, 4 * after_ten + 4096);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < ATOMS; i++)
            CHECK_STATUS(t_status(store, past[round][i]), COP_E_GONE);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.atoms, 0);
    t_close(store);
}
END_TEST

START_TEST(one_id_through_many_generations)
{
    cop_store *store = t_open();
    cop_atom first = t_make(store, "x", cop_i64(-1)), now = first;

    for (int i = 0; i < 5000; i++) {
        cop_atom last = now;
        cop_txn *txn = t_begin(store);
        cop_value value = cop_i64(i);
        CHECK_OK(cop_txn_erase(txn, now));
        CHECK_OK(cop_txn_set_child(txn, cop_root(), P("x"), &value, &now));
        t_commit(txn);
        ck_assert(!SAME_ATOM(last, now));
        ck_assert(!SAME_ATOM(first, now));
        CHECK_STATUS(t_status(store, last), COP_E_GONE);
        t_is_i64(store, now, i);
    }
    CHECK_STATUS(t_status(store, first), COP_E_GONE);
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(handles_that_never_were)
{
    cop_store *store = t_open();
    cop_atom strange[] = {{0, 0}, {0, 2}, {1, 1}, {UINT32_MAX, 1}, {1, UINT32_MAX}};
    cop_pin_t pin;
    cop_value value;
    uint32_t count;
    uint64_t version;

    pin = cop_pin(store);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        CHECK_STATUS(cop_get(pin.snapshot, strange[i], &value), COP_E_GONE);
        CHECK_STATUS(cop_count(pin.snapshot, strange[i], &count), COP_E_GONE);
        CHECK_STATUS(cop_each(pin.snapshot, strange[i], NULL, NULL, NULL), COP_E_GONE);
        ck_assert_int_ne(cop_changed(pin.snapshot, strange[i], &version), COP_OK);
    }
    CHECK_OK(cop_get(pin.snapshot, cop_root(), &value));
    ck_assert_int_eq(cop_value_type(&value), COP_OBJECT);
    cop_unpin(pin);
    t_close(store);
}
END_TEST

/* --- anonymous atoms -------------------------------------------------------------- */

START_TEST(anonymous_atoms)
{
    cop_store *store = t_open();
    cop_atom named = t_make(store, "n", cop_i64(1)), anonymous, parent;
    cop_value value = cop_i64(5), object = cop_object();
    cop_txn *txn = t_begin(store);
    const cop_snapshot *before = t_take(store), *after;
    char path[64];
    size_t length;
    cop_status status;

    CHECK_OK(cop_txn_create(txn, &value, &anonymous));
    ck_assert_uint_eq(t_commit(txn), 2);
    t_is_i64(store, anonymous, 5);
    CHECK_STATUS(cop_get(before, anonymous, &value), COP_E_GONE);
    after = t_take(store);
    ck_assert_uint_eq(cop_snapshot_atoms(after), 2);
    CHECK_STATUS(cop_parent(after, anonymous, &parent), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_path(after, anonymous, path, sizeof path, &length), COP_E_ABSENT);
    ck_assert_str_eq(t_list(after, cop_root()), "n");
    CHECK_OK(cop_atom_path(after, named, path, sizeof path, &length));

    txn = t_begin(store);
    status = cop_txn_set(txn, anonymous, &object);
    if (status == COP_OK)
        status = cop_txn_commit(txn, NULL, NULL);
    else
        cop_txn_cancel(txn);
    CHECK_STATUS(status, COP_E_INVALID);

    t_set(store, anonymous, cop_i64(6));
    t_erase(store, anonymous);
    CHECK_STATUS(t_status(store, anonymous), COP_E_GONE);
    CHECK_OK(cop_get(after, anonymous, &value));
    ck_assert_int_eq(cop_value_i64(&value), 5);
    cop_snapshot_drop(before);
    cop_snapshot_drop(after);
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(many_anonymous_atoms)
{
    enum { ATOMS = 20000 };
    cop_store *store = t_open();
    static cop_atom atoms[ATOMS];
    cop_txn *txn = t_begin(store);

    for (int i = 0; i < ATOMS; i++) {
        cop_value value = cop_i64(i);
        CHECK_OK(cop_txn_create(txn, &value, &atoms[i]));
    }
    t_commit(txn);
    for (int i = 0; i < ATOMS; i++)
        t_is_i64(store, atoms[i], i);
    txn = t_begin(store);
    for (int i = 0; i < ATOMS; i += 2)
        CHECK_OK(cop_txn_erase(txn, atoms[i]));
    t_commit(txn);
    for (int i = 0; i < ATOMS; i++)
        CHECK_STATUS(t_status(store, atoms[i]), i % 2 ? COP_OK : COP_E_GONE);
    t_verify(store);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, every_value_by_every_way, 0, 5);
    tcase_add_test(tests, every_value_over_every_other);
    tcase_add_test(tests, refused_values);
    tcase_add_test(tests, erased_is_gone_for_ever);
    tcase_add_test(tests, ids_are_used_again_with_new_generations);
    tcase_add_test(tests, one_id_through_many_generations);
    tcase_add_test(tests, handles_that_never_were);
    tcase_add_test(tests, anonymous_atoms);
    tcase_add_test(tests, many_anonymous_atoms);
}

int
main(void)
{
    return t_run("atoms", add);
}
