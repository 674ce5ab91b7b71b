/* SPDX-License-Identifier: MIT */
/* Without memory: stores, transactions, tickets, documents and patches. */
#include "tests/memory/refused.h"

#include <poll.h>

#include "commit/txn.h"

/* --- stores ------------------------------------------------------------------------------ */

static cop_status
store_open(world *w)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_store_open(NULL, (cop_store **)&w->made, &error);

    REQUIRE((w->made != NULL) == (status == COP_OK) && error.status == status);
    return status;
}

static cop_status
store_close(world *w)
{
    cop_store_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_store(world *w)
{
    (void)store_close(w);
}

static void
ready_store(world *w)
{
    REQUIRE_OK(store_open(w));
}

static cop_status
reconfigure(world *w)
{
    cop_options options = COP_OPTIONS_INIT;

    REQUIRE_OK(cop_store_options(w->store, &options));
    options.batch_max_transactions = 77;
    options.history_keep = 2;
    options.performance_monitor = 1;
    return cop_store_reconfigure(w->store, &options, COP_FOREVER, NULL);
}

static cop_status
flush(world *w)
{
    return cop_flush(w->store, COP_FOREVER);
}

static cop_status
store_fd(world *w)
{
    int fd;

    return cop_store_fd(w->store, &fd);
}

static cop_status
store_poll(world *w)
{
    return cop_store_poll(w->store);
}

/* What could not be done for want of memory stays due, 10 ms later. */
static void
done_poll(world *w)
{
    REQUIRE(poll(NULL, 0, 12) == 0);
    world_rest(w);
}

static void
ready_due(world *w)
{
    world_set(w, 7);
}

static cop_status
atom_at(world *w)
{
    return cop_atom_at(w->store, P("some/where/else"), &w->atom, NULL);
}

/* --- operations: none of them changes the transaction when it fails ---------------------- */

/* A thread has one transaction spare, with room in it: that one is begun, and another one after it.
 */
static void
ready_second(world *w)
{
    if (w->made == NULL)
        REQUIRE_OK(cop_txn_begin(w->store, (cop_txn **)&w->made));
}

/* Full: what is added next needs room. */
static void
ready_new_txn(world *w)
{
    cop_value value = cop_string(w->letters, 40);

    ready_second(w);
    ready_txn(w);
    while (w->txn->op_count < w->txn->op_capacity)
        REQUIRE_OK(cop_txn_set(w->txn, w->text, &value));
}

static void
done_new_commit(world *w)
{
    done_commit(w);
    cop_txn_cancel(w->made);
    w->made = NULL;
}

static void
done_new_cancel(world *w)
{
    done_cancel(w);
    cop_txn_cancel(w->made);
    w->made = NULL;
    w->value = cop_null();
}

static cop_status
txn_begin(world *w)
{
    return cop_txn_begin(w->store, &w->txn);
}

static cop_status
txn_set(world *w)
{
    cop_value value = cop_string(w->letters, 200);

    return cop_txn_set(w->txn, w->text, &value);
}

static cop_status
txn_set_at(world *w)
{
    cop_value value = cop_string(w->letters, 200);

    return cop_txn_set_at(w->txn, P("new/on/the/way"), &value, NULL);
}

static cop_status
txn_set_child(world *w)
{
    cop_value value = cop_i64(1);

    return cop_txn_set_child(w->txn, w->big, P("another item of some length"), &value, NULL);
}

static cop_status
txn_insert(world *w)
{
    cop_value value = cop_string(w->letters, 90);

    return cop_txn_insert(w->txn, w->list, 3, &value, NULL);
}

static cop_status
txn_create(world *w)
{
    cop_value value = cop_string(w->letters, 90);

    return cop_txn_create(w->txn, &value, &w->atom);
}

static cop_status
txn_erase(world *w)
{
    return cop_txn_erase(w->txn, w->tree);
}

static cop_status
txn_erase_at(world *w)
{
    return cop_txn_erase_at(w->txn, P("big/item-03"), NULL);
}

static cop_status
txn_clear(world *w)
{
    return cop_txn_clear(w->txn, w->big);
}

static cop_status
txn_clear_at(world *w)
{
    return cop_txn_clear_at(w->txn, P("tree"), NULL);
}

static cop_status
txn_add(world *w)
{
    cop_value value = cop_i64(100);

    return cop_txn_add(w->txn, w->number, &value);
}

static cop_status
txn_max(world *w)
{
    cop_value value = cop_i64(1000);

    return cop_txn_max(w->txn, w->number, &value);
}

static cop_status
txn_compare_set(world *w)
{
    cop_value expected = cop_string(w->letters, LONG_TEXT), desired = cop_string(w->letters, 50);

    return cop_txn_compare_set(w->txn, w->text, &expected, &desired, NULL);
}

static cop_status
txn_get(world *w)
{
    return cop_txn_get(w->txn, w->text, &w->value);
}

static cop_status
txn_get_lazy(world *w)
{
    return cop_txn_get(w->txn, w->lazy, &w->value);
}

static void
ready_lazy_txn(world *w)
{
    world_set(w, 7);
    ready_new_txn(w);
}

static cop_status
txn_find(world *w)
{
    return cop_txn_find(w->txn, P("big/item-02/n"), &w->atom, NULL);
}

static int
each(void *context, const cop_child *child)
{
    *(uint64_t *)context += child->index;
    return 0;
}

static cop_status
txn_each(world *w)
{
    return cop_txn_each(w->txn, w->big, each, &w->figure, NULL);
}

static cop_status
txn_snapshot(world *w)
{
    const cop_snapshot *snapshot;

    return cop_txn_snapshot(w->txn, &snapshot);
}

static cop_status
txn_require_unchanged(world *w)
{
    return cop_txn_require_unchanged(w->txn, w->big, UINT64_MAX);
}

static cop_status
txn_require_value(world *w)
{
    cop_value value = cop_string(w->letters, LONG_TEXT);

    return cop_txn_require_value(w->txn, w->text, &value);
}

static cop_status
txn_require_path(world *w)
{
    return cop_txn_require_path(w->txn, P("big/item-02/n"), true, NULL);
}

/* --- commits ----------------------------------------------------------------------------- */

static void
ready_large(world *w)
{
    ready_txn(w);
    for (int i = 0; i < 30; i++) {
        char path[32];
        cop_value value = i % 2 ? cop_i64(i) : cop_string(w->letters, 60);
        snprintf(path, sizeof path, "big/more-%d/n", i);
        REQUIRE_OK(cop_txn_set_at(w->txn, P(path), &value, NULL));
        REQUIRE_OK(cop_txn_insert(w->txn, w->list, (uint32_t)i, &value, NULL));
        REQUIRE_OK(cop_txn_create(w->txn, &value, NULL));
    }
    REQUIRE_OK(txn_set(w));
    REQUIRE_OK(txn_erase(w));
}

static void
ready_clear(world *w)
{
    ready_txn(w);
    REQUIRE_OK(cop_txn_clear(w->txn, cop_root()));
}

static void
ready_wave(world *w)
{
    cop_value value = cop_i64(50);

    ready_txn(w);
    REQUIRE_OK(cop_txn_set(w->txn, w->number, &value));
}

static cop_status
txn_commit(world *w)
{
    cop_txn *txn = w->txn;
    cop_error error = COP_ERROR_INIT;

    w->txn = NULL;
    cop_status status = cop_txn_commit(txn, NULL, &error);
    REQUIRE(error.status == status && (status == COP_OK || error.message[0] != 0));
    return status;
}

static cop_status
txn_cancel(world *w)
{
    done_cancel(w);
    return COP_OK;
}

/* --- tickets ----------------------------------------------------------------------------- */

static cop_status
txn_submit(world *w)
{
    cop_txn *txn = w->txn;

    w->txn = NULL;
    return cop_txn_submit(txn, &w->ticket);
}

static void
ready_ticket(world *w)
{
    if (w->ticket != NULL)
        cop_ticket_release(w->ticket);
    ready_wave(w);
    REQUIRE_OK(txn_submit(w));
}

static void
done_ticket(world *w)
{
    cop_ticket *ticket = w->ticket;

    w->ticket = NULL;
    REQUIRE_OK(cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL));
    cop_ticket_release(ticket);
}

static void
done_release(world *w)
{
    cop_ticket_release(w->ticket);
    w->ticket = NULL;
}

static cop_status
ticket_wait(world *w)
{
    return cop_ticket_wait(w->ticket, COP_FOREVER, NULL, NULL);
}

/* Committing by whoever has nobody to tell: the outcome is the ticket's. */
static cop_status
poll_and_ask(world *w)
{
    cop_status status = cop_store_poll(w->store);

    return status == COP_OK ? cop_ticket_poll(w->ticket, NULL) : status;
}

static void
done_polled(world *w)
{
    done_release(w);
    done_poll(w);
}

static cop_status
flush_and_ask(world *w)
{
    cop_status status = cop_flush(w->store, COP_FOREVER);

    return status == COP_OK ? cop_ticket_poll(w->ticket, NULL) : status;
}

static cop_status
ticket_poll(world *w)
{
    return cop_ticket_poll(w->ticket, NULL) == COP_E_PENDING ? COP_OK : COP_E_STATE;
}

static void
told(void *context, cop_status outcome, uint64_t version)
{
    world *w = context;

    (void)version;
    w->inner = outcome;
    w->figure++;
}

static cop_status
ticket_on_done(world *w)
{
    return cop_ticket_on_done(w->ticket, told, w, NULL, COP_FOREVER);
}

static void
done_told(world *w)
{
    REQUIRE(w->figure == 0);
    done_ticket(w);
    REQUIRE_OK(cop_store_poll(w->store));
    REQUIRE(w->figure == 1 && w->inner == COP_OK);
}

static cop_status
ticket_cancel(world *w)
{
    return cop_ticket_cancel(w->ticket);
}

static void
ready_made(world *w)
{
    cop_value value = cop_i64(1);

    ready_txn(w);
    REQUIRE_OK(cop_txn_create(w->txn, &value, &w->atom));
    REQUIRE_OK(txn_submit(w));
    REQUIRE_OK(ticket_wait(w));
}

static cop_status
ticket_atom(world *w)
{
    cop_atom real;

    return cop_ticket_atom(w->ticket, w->atom, &real);
}

static cop_status
ticket_release(world *w)
{
    done_release(w);
    return COP_OK;
}

static void
done_flush(world *w)
{
    REQUIRE_OK(cop_flush(w->store, COP_FOREVER));
}

static cop_status
add_one(cop_txn *txn, void *context)
{
    const world *w = context;
    cop_value value;
    cop_status status = cop_txn_get(txn, w->number, &value);

    if (status != COP_OK)
        return status;
    value = cop_i64(cop_value_i64(&value) + 1);
    return cop_txn_set(txn, w->number, &value);
}

static cop_status
transact(world *w)
{
    return cop_transact(w->store, add_one, w, COP_FOREVER, NULL);
}

/* --- documents --------------------------------------------------------------------------- */

static const char document[] =
    "{\"a\":[1,2,{\"b\":\"a text that is too long to lie "
    "inside\",\"c\":[[[[[[[[[[[[[[[[[[[[7]]]]]]]]]]]]]]]]]]]]}],"
    "\"d\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"},\"e\":1.5,\"f\":\"\\u00e9\\ud83d\\ude00\"}";

static cop_status
json_read(world *w)
{
    return cop_json_read(w->txn, P("tree"), document, sizeof document - 1, NULL, NULL);
}

static cop_status
json_merge(world *w)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;

    options.merge_patch = true;
    return cop_json_read(w->txn, P("tree"), document, sizeof document - 1, &options, NULL);
}

static cop_status
patch_json(world *w)
{
    static const char text[] =
        "[{\"op\":\"add\",\"path\":\"/new\",\"value\":{\"a\":[1,2,\"a text that is too long to lie "
        "inside\"]}},"
        "{\"op\":\"copy\",\"from\":\"/1\",\"path\":\"/copied\"},{\"op\":\"move\",\"from\":\"/"
        "2\",\"path\":\"/moved\"},"
        "{\"op\":\"remove\",\"path\":\"/3\"},{\"op\":\"test\",\"path\":\"/4/x\",\"value\":9}]";

    return cop_patch_apply(w->txn, P("tree"), COP_PATCH_JSON, text, sizeof text - 1, NULL);
}

static cop_status
patch_merge(world *w)
{
    static const char text[] =
        "{\"1\":null,\"2\":{\"y\":\"a text that is too long to lie inside\"}}";

    return cop_patch_apply(w->txn, P("tree"), COP_PATCH_MERGE, text, sizeof text - 1, NULL);
}

typedef struct bytes {
    char text[4096];
    size_t used;
} bytes;

static int
gather(void *context, const char *more, size_t n)
{
    bytes *to = context;

    REQUIRE(to->used + n <= sizeof to->text);
    memcpy(to->text + to->used, more, n);
    to->used += n;
    return 0;
}

/* From the version before the tree had `old` to the newest one. */
static cop_status
write_patch(world *w, cop_patch_format format, bytes *to)
{
    cop_pin_t pin = cop_pin(w->store);
    cop_status status;

    to->used = 0;
    status = cop_patch_write(w->old, pin.snapshot, P("big"), format, NULL, gather, to, NULL);
    cop_unpin(pin);
    return status;
}

static void
ready_difference(world *w)
{
    REQUIRE_OK(cop_txn_begin(w->store, &w->txn));
    REQUIRE_OK(txn_set_child(w));
    REQUIRE_OK(txn_erase_at(w));
    done_commit(w);
}

static cop_status
patch_write_json(world *w)
{
    bytes to;

    return write_patch(w, COP_PATCH_JSON, &to);
}

static cop_status
patch_write_merge(world *w)
{
    bytes to;

    return write_patch(w, COP_PATCH_MERGE, &to);
}

static cop_status
patch_write_binary(world *w)
{
    bytes to;

    return write_patch(w, COP_PATCH_BINARY, &to);
}

static bytes binary;

/* The difference, applied to what it was found from. */
static void
ready_binary(world *w)
{
    ready_difference(w);
    REQUIRE_OK(write_patch(w, COP_PATCH_BINARY, &binary));
    REQUIRE_OK(cop_history_restore(w->store, w->kept, COP_FOREVER, NULL, NULL));
    ready_new_txn(w);
}

static cop_status
patch_binary(world *w)
{
    return cop_patch_apply(w->txn, P("big"), COP_PATCH_BINARY, binary.text, binary.used, NULL);
}

static void
ready_patched(world *w)
{
    ready_txn(w);
    REQUIRE_OK(patch_json(w));
}

static const refused_call calls[] = {
    {"cop_store_open", NULL, store_open, 0, NULL, done_store, 0},
    {"cop_store_close", NULL, store_close, ASKS_NOTHING, ready_store, NULL, 0},
    {"cop_store_reconfigure", NULL, reconfigure, 0, NULL, NULL, 0},
    {"cop_store_fd", NULL, store_fd, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_store_poll", "a watcher is due", store_poll, BY_PARTS, ready_due, done_poll, 0},
    {"cop_store_poll", "a transaction is", poll_and_ask, READY_AGAIN | HEALS | BY_PARTS,
     ready_ticket, done_polled, 0},
    {"cop_flush", "nothing is submitted", flush, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_flush", "a transaction is", flush_and_ask, READY_AGAIN | HEALS, ready_ticket,
     done_release, 0},
    {"cop_atom_at", NULL, atom_at, HEALS, NULL, NULL, 0},
    {"cop_txn_begin", NULL, txn_begin, 0, ready_second, done_new_cancel, 0},
    {"cop_txn_set", NULL, txn_set, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_set_at", NULL, txn_set_at, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_set_child", NULL, txn_set_child, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_insert", NULL, txn_insert, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_create", NULL, txn_create, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_erase", NULL, txn_erase, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_erase_at", NULL, txn_erase_at, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_clear", NULL, txn_clear, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_clear_at", NULL, txn_clear_at, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_add", NULL, txn_add, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_max", NULL, txn_max, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_compare_set", NULL, txn_compare_set, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_get", NULL, txn_get, 0, ready_new_txn, done_new_cancel, 0},
    {"cop_txn_get", "a lazy atom", txn_get_lazy, 0, ready_lazy_txn, done_new_cancel, 0},
    {"cop_txn_find", NULL, txn_find, 0, ready_new_txn, done_new_cancel, 0},
    {"cop_txn_each", NULL, txn_each, 0, ready_new_txn, done_new_cancel, 0},
    {"cop_txn_snapshot", NULL, txn_snapshot, ASKS_NOTHING, ready_new_txn, done_new_cancel, 0},
    {"cop_txn_require_unchanged", NULL, txn_require_unchanged, 0, ready_new_txn, done_new_commit,
     0},
    {"cop_txn_require_value", NULL, txn_require_value, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_require_path", NULL, txn_require_path, 0, ready_new_txn, done_new_commit, 0},
    {"cop_txn_commit", "of many operations", txn_commit, READY_AGAIN | HEALS, ready_large, NULL, 0},
    {"cop_txn_commit", "that runs functions", txn_commit, READY_AGAIN | HEALS, ready_wave, NULL, 0},
    {"cop_txn_commit", "that clears all", txn_commit, READY_AGAIN, ready_clear, NULL, 0},
    {"cop_txn_commit", "of a patch", txn_commit, READY_AGAIN | HEALS, ready_patched, NULL, 0},
    {"cop_txn_cancel", NULL, txn_cancel, ASKS_NOTHING, ready_large, NULL, 0},
    {"cop_txn_submit", NULL, txn_submit, ASKS_NOTHING, ready_wave, done_ticket, 0},
    {"cop_ticket_wait", NULL, ticket_wait, READY_AGAIN | HEALS, ready_ticket, done_release, 0},
    {"cop_ticket_poll", NULL, ticket_poll, ASKS_NOTHING, ready_ticket, done_ticket, 0},
    {"cop_ticket_on_done", NULL, ticket_on_done, 0, ready_ticket, done_told, 0},
    {"cop_ticket_cancel", NULL, ticket_cancel, ASKS_NOTHING, ready_ticket, done_release, 0},
    {"cop_ticket_atom", NULL, ticket_atom, ASKS_NOTHING, ready_made, done_release, 0},
    {"cop_ticket_release", NULL, ticket_release, ASKS_NOTHING, ready_ticket, done_flush, 0},
    {"cop_transact", NULL, transact, HEALS, NULL, NULL, 0},
    {"cop_json_read", "a document", json_read, 0, ready_new_txn, done_new_commit, 0},
    {"cop_json_read", "a merge patch", json_merge, 0, ready_new_txn, done_new_commit, 0},
    {"cop_patch_apply", "JSON Patch", patch_json, 0, ready_new_txn, done_new_commit, 0},
    {"cop_patch_apply", "merge patch", patch_merge, 0, ready_new_txn, done_new_commit, 0},
    {"cop_patch_apply", "binary", patch_binary, 0, ready_binary, done_new_commit, 0},
    {"cop_patch_write", "JSON Patch", patch_write_json, 0, ready_difference, NULL, 0},
    {"cop_patch_write", "merge patch", patch_write_merge, 0, ready_difference, NULL, 0},
    {"cop_patch_write", "binary", patch_write_binary, 0, ready_difference, NULL, 0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}
