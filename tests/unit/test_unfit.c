/* SPDX-License-Identifier: MIT */
/*
 * A result for which there is no memory becomes an error value, the rest of the commit is
 * published, and the next wave tries again: of a text, of a child of an owned branch, of a row of a
 * top, of a group, and of a function that runs beside others on a pool.
 */
#include "reclaim/memory.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"
#include "workers/region.h"

#define LONG 300
#define BESIDE 70 /* nodes of one level: more than a block of them */

static cop_store *store;
static cop_atom number;
static cop_pool *pool;

/* --- functions ---------------------------------------------------------------------------- */

static cop_status
long_text(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n;
    cop_status status = cop_read_i64(evaluation, number, &n);
    char *text = status == COP_OK ? cop_scratch(evaluation, LONG) : NULL;

    if (status != COP_OK)
        return status;
    if (text == NULL)
        return COP_E_MEMORY;
    memset(text, 'a' + (int)((n + (intptr_t)context) % 26), LONG);
    *result = cop_string(text, LONG);
    return COP_OK;
}

static cop_status
first_letter(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value text;
    cop_status status = cop_read(evaluation, *(cop_atom *)context, &text);

    if (status == COP_OK && text.type == COP_ERROR)
        *result = text;
    else if (status == COP_OK)
        *result = cop_i64(*(const char *)cop_value_data(&text));
    return status;
}

static cop_status
branch(cop_evaluation *evaluation, void *context, cop_value *result)
{
    char text[LONG];
    int64_t n;
    cop_status status = cop_read_i64(evaluation, number, &n);
    cop_value value = cop_i64(n);

    (void)context;
    (void)result;
    memset(text, 'A' + (int)(n % 26), sizeof text);
    if (status == COP_OK)
        status = cop_emit(evaluation, P("n"), &value);
    value = cop_string(text, sizeof text);
    if (status == COP_OK)
        status = cop_emit(evaluation, P("text"), &value);
    return status == COP_OK && n % 2 ? cop_emit(evaluation, P("odd"), &value) : status;
}

/* --- the scene ---------------------------------------------------------------------------- */

static void
rows(int64_t n)
{
    cop_txn *txn = t_begin(store);

    for (int i = 0; i < 4; i++) {
        char path[64];
        cop_value value = cop_i64((i + n) % 4),
                  key = cop_string(i % 2 ? "odd" : "even", i % 2 ? 3 : 4);
        snprintf(path, sizeof path, "rows/a-row-with-a-long-name-%d/v", i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
        snprintf(path, sizeof path, "rows/a-row-with-a-long-name-%d/k", i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &key, NULL));
    }
    t_commit(txn);
}

static void
scene_make(int beside)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_computed_options owns = COP_COMPUTED_OPTIONS_INIT;
    cop_reduce_options top = COP_REDUCE_OPTIONS_INIT;
    static cop_atom text, other;

    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.memory_chunk_bytes = 4096;
    options.memory_huge_pages = false;
    options.memory_on_limit = 1;
    options.memory_wait_ms = 0;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    store->tree.strict = false; /* as if nothing more could give way */
    store->trim.next_ns = UINT64_MAX; /* nothing is asked for beside the change */
    number = t_make(store, "number", cop_i64(0));
    rows(0);
    owns.branch = true;
    top.k = 3;
    CHECK_OK(cop_computed_define(store, P("text"), long_text, NULL, NULL, &text, NULL));
    CHECK_OK(cop_computed_define(store, P("letter"), first_letter, &text, NULL, &other, NULL));
    CHECK_OK(cop_computed_define(store, P("branch"), branch, NULL, &owns, &other, NULL));
    CHECK_OK(cop_reduce_define(store, P("top"), P("rows/*/v"), COP_REDUCE_TOP, &top, &other, NULL));
    CHECK_OK(cop_group_define(store, P("groups"), P("rows/*"), "k", "v", COP_REDUCE_TOP, &top,
                              &other, NULL));
    for (intptr_t i = 0; i < beside; i++) {
        char path[32];
        snprintf(path, sizeof path, "beside/%d", (int)i);
        CHECK_OK(cop_computed_define(store, P(path), long_text, (void *)i, NULL, &other, NULL));
    }
    if (beside > 0)
        CHECK_OK(cop_store_set_pool(store, pool));
}

static char *
state(void)
{
    const cop_snapshot *snapshot = t_take(store);
    char *text = dump_tree(snapshot, 0);

    cop_snapshot_drop(snapshot);
    return text;
}

/* The number and one row change. */
static cop_status
change(int64_t n)
{
    cop_value value = cop_i64(n), high = cop_i64(10 + n);
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(store, &txn);

    if (status == COP_OK)
        status = cop_txn_set(txn, number, &value);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, P("rows/a-row-with-a-long-name-0/v"), &high, NULL);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static bool
says_no_memory(const char *path)
{
    const cop_snapshot *snapshot = t_take(store);
    cop_value value;
    cop_status status = cop_get_at(snapshot, P(path), &value);
    bool unfit = status == COP_OK && value.type == COP_ERROR && cop_value_length(&value) == 9 &&
                 memcmp(cop_value_data(&value), "no memory", 9) == 0;

    cop_snapshot_drop(snapshot);
    return unfit;
}

static void
arm(int64_t k)
{
    atomic_store(&cop__store_memory(store)->fail_countdown, k);
}

/* --- tests -------------------------------------------------------------------------------- */

static const char *const texts[] = {"text",       "letter",     "branch/text",
                                    "branch/odd", "top/0/path", "groups/even/0/path"};
enum { TEXTS = sizeof texts / sizeof *texts };

/* The change with its k-th request refused. True when there was no k-th. */
static bool
refuse_one(int64_t k, unsigned *unfit, const char *expected, int64_t refuse_healing)
{
    char *before, *after;
    cop_status status;
    bool untouched, any = false;

    scene_make(0);
    before = state();
    arm(k);
    status = change(1);
    untouched = atomic_exchange(&cop__store_memory(store)->fail_countdown, -1) >= 0;
    after = state();
    if (status != COP_OK) {
        CHECK_STATUS(status, COP_E_MEMORY);
        ck_assert_str_eq(after, before);
        CHECK_OK(change(1));
    } else {
        t_is_i64(store, number, 1); /* the rest is there */
        any = strstr(after, "no memory") != NULL;
        for (int i = 0; i < TEXTS; i++)
            unfit[i] += says_no_memory(texts[i]);
        ck_assert(any || strcmp(after, expected) == 0);
        ck_assert(!any || !untouched);
    }
    free(after);
    if (any && refuse_healing >= 0) { /* what heals is refused: the one after that heals */
        arm(refuse_healing);
        cop_value value = cop_i64(5);
        cop_txn *txn = t_begin(store);
        if (cop_txn_set_at(txn, P("else"), &value, NULL) == COP_OK)
            (void)cop_txn_commit(txn, NULL, NULL);
        else
            cop_txn_cancel(txn);
        arm(-1);
    }
    t_set_at(store, "else", cop_i64(6));
    t_set_at(store, "else", cop_i64(7));
    t_erase_at(store, "else");
    after = state();
    ck_assert_str_eq(after, expected);
    free(after);
    free(before);
    t_close(store);
    return untouched;
}

static char *
undisturbed(int beside)
{
    scene_make(beside);
    CHECK_OK(change(1));
    char *text = state();
    t_close(store);
    return text;
}

START_TEST(the_rest_is_published_and_the_next_wave_tries_again)
{
    unsigned unfit[TEXTS] = {0};
    char *expected = undisturbed(0);
    unsigned missed = TEXTS;

    /* Where a text's request comes varies a little, with how names fall into the directory. */
    for (int round = 0; round < 20 && missed > 0; round++) {
        for (int64_t k = 0; !refuse_one(k, unfit, expected, _i - 1); k++)
            ck_assert_int_lt(k, 5000);
        missed = 0;
        for (int i = 0; i < TEXTS; i++)
            missed += unfit[i] == 0;
    }
    for (int i = 0; i < TEXTS; i++)
        ck_assert_msg(unfit[i] > 0, "%s was never without memory", texts[i]);
    free(expected);
}
END_TEST

/* While there is no memory at all for texts, each wave tries, and none is lost. */
START_TEST(a_shortage_that_lasts)
{
    scene_make(0);
    for (int64_t n = 1; n < 20; n++) {
        /* until the text itself is what is refused */
        for (int64_t k = 0; k < 200 && !says_no_memory("text"); k++) {
            arm(k);
            (void)change(n * 1000 + k); /* what was refused for another reason was tried again */
            arm(-1);
        }
        ck_assert(says_no_memory("text"));
        ck_assert(says_no_memory("letter"));
        t_set_at(store, "else", cop_i64(n));
        ck_assert(!says_no_memory("text"));
        ck_assert(!says_no_memory("letter"));
    }
    t_close(store);
}
END_TEST

/* Functions that run side by side write their texts down first; those copies may be refused, too.
 */
START_TEST(beside_others)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    unsigned unfit = 0;
    char *expected;

    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    cop__region_always = true;
    expected = undisturbed(BESIDE);
    for (int64_t k = 0; k < 900; k += 1 + k / 40) {
        scene_make(BESIDE);
        arm(k);
        cop_status status = change(1);
        arm(-1);
        if (status == COP_OK) {
            t_is_i64(store, number, 1);
            for (int i = 0; i < BESIDE; i++) {
                char path[32];
                snprintf(path, sizeof path, "beside/%d", i);
                unfit += says_no_memory(path);
            }
        } else {
            CHECK_STATUS(status, COP_E_MEMORY);
            CHECK_OK(change(1));
        }
        t_set_at(store, "else", cop_i64(7));
        t_erase_at(store, "else");
        char *after = state();
        ck_assert_str_eq(after, expected);
        free(after);
        t_close(store);
    }
    ck_assert_uint_gt(unfit, 0);
    cop__region_always = false;
    free(expected);
    cop_pool_close(pool);
}
END_TEST

static cop_status
wants_memory(cop_evaluation *evaluation, void *context, cop_value *result)
{
    *result = cop_i64(7);
    (*(unsigned *)context)++;
    return cop_scratch(evaluation, 1000) != NULL ? COP_OK : COP_E_MEMORY;
}

/* A lazy one answers whoever reads; nothing is remembered. */
START_TEST(lazy_ones_answer_and_forget)
{
    cop_computed_options lazy = COP_COMPUTED_OPTIONS_INIT;
    unsigned runs = 0, refused = 0;
    cop_atom atom;
    cop_value value;

    lazy.kind = COP_LAZY;
    for (int64_t k = 0; k < 40; k++) {
        store = t_open();
        CHECK_OK(cop_computed_define(store, P("lazy"), wants_memory, &runs, &lazy, &atom, NULL));
        cop_pin_t pin = cop_pin(store);
        arm(k);
        cop_status status = cop_get(pin.snapshot, atom, &value);
        arm(-1);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        refused += status != COP_OK;
        if (status == COP_OK)
            ck_assert_int_eq(cop_value_i64(&value), 7);
        CHECK_OK(cop_get(pin.snapshot, atom, &value));
        ck_assert(value.type == COP_I64);
        cop_unpin(pin);
        t_close(store);
    }
    ck_assert_uint_gt(runs, 40); /* at least once it ran in vain */
    ck_assert_uint_gt(refused, 1);
}
END_TEST

static void
add(TCase *tests)
{
    /* 0: healing undisturbed; n: its n-th request is refused */
    tcase_add_loop_test(tests, the_rest_is_published_and_the_next_wave_tries_again, 0, 12);
    tcase_add_test(tests, a_shortage_that_lasts);
    tcase_add_test(tests, beside_others);
    tcase_add_test(tests, lazy_ones_answer_and_forget);
}

int
main(void)
{
    return t_run("unfit", add);
}
