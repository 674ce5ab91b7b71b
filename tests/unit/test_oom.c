/* SPDX-License-Identifier: MIT */
/*
 * Out of memory: the k-th request is refused, once and for ever, for every k until the operation
 * succeeds without a refusal. After a failure the state is as before, reading works, the same
 * operation succeeds when there is memory again, and nothing is leaked.
 */
#include <pthread.h>

#include "reclaim/memory.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

enum { FOR_EVER = 1, BY_HOOK = 2, WAYS = 4 };

typedef struct scene {
    cop_store *store;
    cop_atom number, list, big;
    char *text;
} scene;

static cop_store *
open_small(cop_error *error)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store = NULL;

    options.allocator = fault_alloc_table(&t_faults);
    /* Small chunks come from the allocator often. */
    options.memory_chunk_bytes = 4096;
    options.memory_huge_pages = false;
    options.memory_on_limit = 1;
    options.memory_wait_ms = 0;
    return cop_store_open(&options, &store, error) == COP_OK ? store : NULL;
}

static void
scene_make(scene *s)
{
    cop_value array = cop_array(), value;
    cop_txn *txn;

    fault_alloc_init(&t_faults);
    s->text = t_bytes(3000, 4);
    s->store = open_small(NULL);
    ck_assert_ptr_nonnull(s->store);
    s->number = t_make(s->store, "number", cop_i64(1));
    t_set_at(s->store, "old/text", cop_string(s->text, 3000));
    txn = t_begin(s->store);
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("list"), &array, &s->list));
    for (int i = 0; i < 300; i++) {
        char path[32];
        value = cop_i64(i);
        CHECK_OK(cop_txn_insert(txn, s->list, COP_AT_END, &value, NULL));
        value = i % 2 ? value : cop_bytes(s->text, (size_t)i + 13);
        snprintf(path, sizeof path, "big/%d/item-%d", i % 7, i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    }
    t_commit(txn);
    s->big = t_find(s->store, "big");
    t_is_i64(s->store, s->number, 1);
}

static void
scene_end(scene *s)
{
    t_close(s->store);
    free(s->text);
}

static char *
scene_text(const scene *s)
{
    const cop_snapshot *snapshot = t_take(s->store);
    char *text = dump_tree(snapshot, DUMP_CHANGED | DUMP_HANDLES);
    const char *wrong = dump_disagreement(snapshot);

    ck_assert_ptr_nonnull(text);
    ck_assert_msg(wrong == NULL, "%s", wrong);
    cop_snapshot_drop(snapshot);
    return text;
}

/* --- operations: each answers a status and leaves nothing open ------------------------------ */

static cop_status
finish(cop_txn *txn, cop_status status)
{
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static cop_status
do_set(scene *s)
{
    cop_value value = cop_string(s->text, 2000);
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    return status != COP_OK ? status : finish(txn, cop_txn_set(txn, s->number, &value));
}

static cop_status
do_set_at(scene *s)
{
    cop_value value = cop_string(s->text, 100);
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    if (status != COP_OK)
        return status;
    return finish(txn, cop_txn_set_at(txn, P("new/on/the/way/down"), &value, NULL));
}

static cop_status
do_insert(scene *s)
{
    cop_value value = cop_string(s->text, 50);
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    for (uint32_t i = 0; i < 40 && status == COP_OK; i++)
        status = cop_txn_insert(txn, s->list, i * 7, &value, NULL);
    return txn == NULL ? status : finish(txn, status);
}

static cop_status
do_erase(scene *s)
{
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    return status != COP_OK ? status : finish(txn, cop_txn_erase(txn, s->big));
}

static cop_status
do_clear_and_fill(scene *s)
{
    cop_value value = cop_string(s->text, 20);
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    if (status == COP_OK)
        status = cop_txn_clear(txn, s->big);
    for (int i = 0; i < 60 && status == COP_OK; i++) {
        char path[32];
        snprintf(path, sizeof path, "big/%d/again-%d", i % 5, i);
        status = cop_txn_set_at(txn, P(path), &value, NULL);
    }
    return txn == NULL ? status : finish(txn, status);
}

static cop_status
do_create_many(scene *s)
{
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    for (int i = 0; i < 500 && status == COP_OK; i++) {
        cop_value value = i % 10 ? cop_i64(i) : cop_bytes(s->text, 100);
        status = cop_txn_create(txn, &value, NULL);
    }
    return txn == NULL ? status : finish(txn, status);
}

static cop_status
do_atom_at(scene *s)
{
    cop_atom atom;

    return cop_atom_at(s->store, P("some/where/else"), &atom, NULL);
}

static cop_status
do_submit(scene *s)
{
    cop_value value = cop_i64(7);
    cop_txn *txn = NULL;
    cop_ticket *ticket = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    if (status != COP_OK)
        return status;
    status = cop_txn_set_at(txn, P("by/ticket"), &value, NULL);
    if (status != COP_OK)
        return finish(txn, status);
    status = cop_txn_submit(txn, &ticket);
    if (status == COP_OK)
        status = cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL);
    cop_ticket_release(ticket);
    return status;
}

static cop_status
add_one(cop_txn *txn, void *context)
{
    const scene *s = context;
    cop_value value;
    cop_status status = cop_txn_get(txn, s->number, &value);

    if (status != COP_OK)
        return status;
    value = cop_i64(cop_value_i64(&value) + 1);
    return cop_txn_set(txn, s->number, &value);
}

static cop_status
do_transact(scene *s)
{
    return cop_transact(s->store, add_one, s, COP_FOREVER, NULL);
}

static cop_status
do_take(scene *s)
{
    const cop_snapshot *snapshot = NULL;
    cop_status status = cop_snapshot_take(s->store, &snapshot);

    ck_assert_int_eq(snapshot != NULL, status == COP_OK);
    cop_snapshot_drop(snapshot);
    return status;
}

static cop_status
do_reader(scene *s)
{
    cop_reader *reader = NULL;
    cop_status status = cop_reader_open(s->store, &reader);

    if (status != COP_OK)
        return status;
    cop_unpin(cop_reader_pin(reader));
    cop_reader_close(reader);
    return COP_OK;
}

static void *
pin_in_thread(void *context)
{
    scene *s = context;
    cop_pin_t pin = cop_pin(s->store);
    cop_status status = pin.snapshot != NULL ? COP_OK : cop_pin_status();

    cop_unpin(pin);
    return (void *)(intptr_t)status;
}

static cop_status
do_pin(scene *s)
{
    pthread_t thread;
    void *status;

    if (pthread_create(&thread, NULL, pin_in_thread, s) != 0)
        abort();
    pthread_join(thread, &status);
    return (cop_status)(intptr_t)status;
}

static const struct {
    const char *name;
    cop_status (*run)(scene *);
    bool commits;
} operations[] = {
    {"set", do_set, true},
    {"set_at", do_set_at, true},
    {"insert", do_insert, true},
    {"erase", do_erase, true},
    {"clear and fill", do_clear_and_fill, true},
    {"create many", do_create_many, true},
    {"atom_at", do_atom_at, true},
    {"submit", do_submit, true},
    {"transact", do_transact, true},
    {"snapshot_take", do_take, false},
    {"reader_open", do_reader, false},
    {"pin of a new thread", do_pin, false},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* --- refusing --------------------------------------------------------------------------------- */

static void
arm(scene *s, int64_t k, int way)
{
    cop__memory *memory = cop__store_memory(s->store);

    if (way & BY_HOOK) {
        atomic_store(&memory->fail_for_ever, (way & FOR_EVER) != 0);
        atomic_store(&memory->fail_countdown, k - 1);
    } else {
        fault_alloc_arm(&t_faults, k, (way & FOR_EVER) != 0);
    }
}

/* True when the k-th request was never reached. */
static bool
disarm(scene *s, int way)
{
    cop__memory *memory = cop__store_memory(s->store);
    int64_t left;

    if (!(way & BY_HOOK)) {
        fault_alloc_disarm(&t_faults);
        return !fault_alloc_fired(&t_faults);
    }
    left = atomic_exchange(&memory->fail_countdown, -1);
    /* For ever it stays at 0, refused or not: then one more k tells. */
    return way & FOR_EVER ? left > 0 : left >= 0;
}

/* Runs the operation with its k-th request refused; true when there was no k-th. */
static bool
refuse_one(int operation, int way, int64_t k)
{
    scene s;
    char *before, *after, *later;
    uint64_t version;
    cop_status status;
    bool untouched;
    int64_t got = 0;
    cop_pin_t pin;

    scene_make(&s);
    before = scene_text(&s);
    version = cop_store_version(s.store);
    arm(&s, k, way);
    status = operations[operation].run(&s);
    pin = cop_pin(s.store);
    ck_assert_ptr_nonnull(pin.snapshot);
    if (status != COP_OK)
        CHECK_OK(cop_get_i64(pin.snapshot, s.number, &got));
    cop_unpin(pin);
    untouched = disarm(&s, way);
    after = scene_text(&s);
    if (status != COP_OK) {
        ck_assert_msg(status == COP_E_MEMORY, "%s, way %d, k %" PRId64 ": %s",
                      operations[operation].name, way, k, cop_status_name(status));
        ck_assert_msg(!untouched, "out of memory without a refusal");
        ck_assert_uint_eq(cop_store_version(s.store), version);
        ck_assert_msg(strcmp(before, after) == 0, "%s, way %d, k %" PRId64 ": the state changed",
                      operations[operation].name, way, k);
        CHECK_OK(operations[operation].run(&s));
    }
    later = scene_text(&s);
    if (status == COP_OK)
        ck_assert_str_eq(after, later);
    free(before);
    free(after);
    free(later);
    scene_end(&s);
    return untouched;
}

START_TEST(every_request_of_an_operation)
{
    int operation = _i / WAYS, way = _i % WAYS;
    int64_t k = 1;

    while (!refuse_one(operation, way, k)) {
        k++;
        ck_assert_int_lt(k, 20000);
    }
    /* The hook sees what pools hand out, so that every commit has requests. */
    if ((way & BY_HOOK) && operations[operation].commits)
        ck_assert_int_gt(k, 1);
}
END_TEST

START_TEST(every_request_of_an_open)
{
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        int64_t k = 1;
        for (;; k++) {
            cop_error error = COP_ERROR_INIT;
            cop_store *store;
            fault_alloc_init(&t_faults);
            fault_alloc_arm(&t_faults, k, for_ever != 0);
            store = open_small(&error);
            if (store == NULL) {
                CHECK_STATUS(error.status, COP_E_MEMORY);
                ck_assert(fault_alloc_fired(&t_faults));
                ck_assert_int_eq(atomic_load(&t_faults.blocks), 0);
                ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
                continue;
            }
            fault_alloc_disarm(&t_faults);
            t_set_at(store, "a", cop_i64(1));
            t_close(store);
            if (!fault_alloc_fired(&t_faults))
                break;
        }
        ck_assert_int_gt(k, 1);
    }
}
END_TEST

/* Many commits refused in a row must not use anything up. */
START_TEST(refused_again_and_again)
{
    scene s;
    char *before, *after;
    cop_stats first = COP_STATS_INIT, last = COP_STATS_INIT;

    scene_make(&s);
    before = scene_text(&s);
    for (int i = 0; i < 2000; i++) {
        arm(&s, 1 + i % 50, BY_HOOK | FOR_EVER);
        CHECK_STATUS(do_clear_and_fill(&s), COP_E_MEMORY);
        disarm(&s, BY_HOOK);
        if (i == 500)
            CHECK_OK(cop_stats_take(s.store, &first));
    }
    CHECK_OK(cop_stats_take(s.store, &last));
    ck_assert_uint_le(last.bytes_held, first.bytes_held + 65536);
    after = scene_text(&s);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    CHECK_OK(do_clear_and_fill(&s));
    scene_end(&s);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, every_request_of_an_operation, 0, OPERATIONS * WAYS);
    tcase_add_test(tests, every_request_of_an_open);
    tcase_add_test(tests, refused_again_and_again);
}

int
main(void)
{
    return t_run("oom", add);
}
