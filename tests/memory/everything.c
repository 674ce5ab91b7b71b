/* SPDX-License-Identifier: MIT */
#include "tests/memory/everything.h"

enum { ROWS = 24 };

/* --- functions --------------------------------------------------------------------------- */

static cop_status
long_text(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const everything *e = context;
    int64_t n;
    cop_status status = cop_read_i64(evaluation, e->number, &n);

    if (status == COP_OK)
        *result = cop_string(e->letters + n % 26, 200 + (size_t)(n % 300));
    return status;
}

static cop_status
by_scratch(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    char *copy = cop_scratch(evaluation, 300);
    cop_status status = cop_read_at(evaluation, P("rows/3/n"), &value);

    (void)context;
    if (copy == NULL)
        return COP_E_MEMORY;
    if (status == COP_E_ABSENT)
        return cop_fail(evaluation, "there is no third row, and this message is a long one");
    memset(copy, 'x', 300);
    *result = cop_string(copy, 300);
    return status;
}

static cop_status
branch(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const everything *e = context;
    int64_t n;
    cop_status status = cop_read_i64(evaluation, e->number, &n);

    (void)result;
    for (int64_t i = n % 5; i < n % 5 + 6 && status == COP_OK; i++) {
        char path[32];
        cop_value value = i % 2 ? cop_i64(n) : cop_string(e->letters, 50);
        snprintf(path, sizeof path, "%d/child", (int)i);
        status = cop_emit(evaluation, P(path), &value);
    }
    return status;
}

static void
nothing(void *context)
{
    (void)context;
}

static cop_status
effect(cop_evaluation *evaluation, void *context)
{
    everything *e = context;
    cop_value value;
    cop_scope *scope = cop_effect_scope(evaluation);

    __atomic_fetch_add(&e->ran, 1, __ATOMIC_RELAXED);
    REQUIRE(scope != NULL);
    REQUIRE_OK(cop_scope_add(scope, nothing, e));
    REQUIRE_OK(cop_effect_on_cleanup(evaluation, nothing, e));
    return cop_read(evaluation, e->text, &value);
}

static void
tell(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    everything *e = context;
    cop_change change;

    (void)watch;
    while (cop_watch_change(batch, &change))
        __atomic_fetch_add(&e->changes, 1, __ATOMIC_RELAXED);
}

static int
sum(void *context, const char *bytes, size_t n)
{
    uint64_t *to = context;

    for (size_t i = 0; i < n; i++)
        *to = *to * 31 + (unsigned char)bytes[i];
    return 0;
}

static int
gather(void *context, const char *bytes, size_t n)
{
    everything *e = context;

    REQUIRE(e->file.used + n <= sizeof e->file.bytes);
    memcpy(e->file.bytes + e->file.used, bytes, n);
    e->file.used += n;
    return 0;
}

/* --- life -------------------------------------------------------------------------------- */

static cop_atom
define(everything *e, const char *path, cop_computed_function function, cop_computed_kind kind,
       bool owns)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;

    options.kind = kind;
    options.branch = owns;
    options.scope = e->scope;
    options.label = path;
    REQUIRE_OK(cop_computed_define(e->store, P(path), function, e, &options, &atom, NULL));
    return atom;
}

static void
compute(everything *e)
{
    cop_reduce_options top = COP_REDUCE_OPTIONS_INIT;
    cop_effect_options queued = COP_EFFECT_OPTIONS_INIT;
    cop_effect one;
    cop_atom atom;

    e->text = define(e, "computed/text", long_text, COP_EAGER, false);
    e->lazy = define(e, "computed/lazy", long_text, COP_LAZY, false);
    define(e, "computed/scratch", by_scratch, COP_EAGER, false);
    define(e, "computed/background", long_text, COP_BACKGROUND, false);
    define(e, "computed/branch", branch, COP_EAGER, true);
    top.k = 5;
    REQUIRE_OK(cop_reduce_define(e->store, P("computed/sum"), P("rows/*/n"), COP_REDUCE_SUM, NULL,
                                 &atom, NULL));
    REQUIRE_OK(cop_reduce_define(e->store, P("computed/top"), P("rows/*/n"), COP_REDUCE_TOP, &top,
                                 &atom, NULL));
    REQUIRE_OK(cop_group_define(e->store, P("computed/groups"), P("rows/*"), "k", "n",
                                COP_REDUCE_MEAN, NULL, &atom, NULL));
    REQUIRE_OK(cop_effect_queue_open(e->store, &e->queue));
    queued.queue = e->queue;
    REQUIRE_OK(cop_effect_open(e->store, effect, e, &queued, &one, NULL));
    REQUIRE_OK(cop_effect_open(e->store, effect, e, NULL, &one, NULL));
}

void
everything_open(everything *e, uint32_t threads)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_pool_options workers = COP_POOL_OPTIONS_INIT;
    cop_value array = cop_array();
    cop_txn *txn;

    memset(e, 0, sizeof *e);
    for (size_t i = 0; i < sizeof e->letters; i++)
        e->letters[i] = (char)('a' + i % 26);
    options.batch_window_ms = 1;
    options.serialization_strategy = 2;
    options.history_keep = 3;
    options.history_every = 5;
    options.history_max_snapshots = 8;
    options.watch_log_bytes = 65536;
    REQUIRE_OK(cop_store_open(&options, &e->store, NULL));
    workers.threads = threads;
    REQUIRE_OK(cop_pool_open(&workers, &e->pool, NULL));
    REQUIRE_OK(cop_store_set_pool(e->store, e->pool));
    REQUIRE_OK(cop_scope_open(NULL, &e->scope));
    REQUIRE_OK(cop_atom_at(e->store, P("number"), &e->number, NULL));
    REQUIRE_OK(cop_txn_begin(e->store, &txn));
    REQUIRE_OK(cop_txn_set(txn, e->number, &(cop_value){.type = COP_I64}));
    REQUIRE_OK(cop_txn_set_at(txn, P("list"), &array, NULL));
    REQUIRE_OK(cop_txn_commit(txn, NULL, NULL));
    REQUIRE_OK(cop_atom_find(e->store, P("list"), &e->list));
    compute(e);
    REQUIRE_OK(cop_watch_open(e->store, P(""), NULL, NULL, NULL, &e->asked, NULL));
    REQUIRE_OK(cop_watch_open(e->store, P("rows"), NULL, tell, e, &e->told, NULL));
    REQUIRE_OK(cop_monitor_start(e->store, NULL, NULL));
}

void
everything_close(everything *e)
{
    cop_watch_close(e->asked);
    cop_watch_close(e->told);
    cop_scope_dispose(e->scope);
    REQUIRE_OK(cop_store_set_pool(e->store, NULL));
    cop_pool_close(e->pool);
    cop_store_close(e->store);
    cop_effect_queue_close(e->queue);
}

/* --- a round ----------------------------------------------------------------------------- */

static void
write_rows(everything *e, uint64_t n)
{
    cop_value number = cop_i64((int64_t)n);
    cop_txn *txn;

    REQUIRE_OK(cop_txn_begin(e->store, &txn));
    REQUIRE_OK(cop_txn_set(txn, e->number, &number));
    for (uint64_t i = 0; i < ROWS; i++) {
        char path[32];
        cop_value value = cop_i64((int64_t)((n * 7 + i) % 101)), key = cop_string(&"abc"[i % 3], 1);
        snprintf(path, sizeof path, "rows/%u/n", (unsigned)((n + i) % (2 * (size_t)ROWS)));
        REQUIRE_OK(cop_txn_set_at(txn, P(path), &value, NULL));
        snprintf(path, sizeof path, "rows/%u/k", (unsigned)((n + i) % (2 * (size_t)ROWS)));
        REQUIRE_OK(cop_txn_set_at(txn, P(path), &key, NULL));
    }
    cop_value text = cop_string(e->letters, 40 + n % 400);
    REQUIRE_OK(cop_txn_clear(txn, e->list));
    for (uint32_t i = 0; i < 40; i++)
        REQUIRE_OK(cop_txn_insert(txn, e->list, i / 2, &text, NULL));
    REQUIRE_OK(cop_txn_create(txn, &text, NULL));
    REQUIRE_OK(cop_txn_commit(txn, NULL, NULL));
}

/* What the round before made, anonymous atoms among it. */
static int
erase_anonymous(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    cop_txn *txn = context;
    const cop_snapshot *snapshot;
    cop_atom parent;

    (void)values;
    REQUIRE_OK(cop_txn_snapshot(txn, &snapshot));
    for (size_t i = 0; i < n; i++)
        if (atoms[i].id != cop_root().id && cop_parent(snapshot, atoms[i], &parent) == COP_E_ABSENT)
            REQUIRE_OK(cop_txn_erase(txn, atoms[i]));
    return 0;
}

static void
erase_rows(everything *e)
{
    const cop_snapshot *snapshot;
    cop_txn *txn;

    REQUIRE_OK(cop_txn_begin(e->store, &txn));
    REQUIRE_OK(cop_txn_snapshot(txn, &snapshot));
    REQUIRE_OK(cop_scan(snapshot, erase_anonymous, txn));
    REQUIRE_OK(cop_txn_clear_at(txn, P("rows"), NULL));
    REQUIRE_OK(cop_txn_commit(txn, NULL, NULL));
}

static void
done(void *context, cop_status outcome, uint64_t version)
{
    (void)version;
    (void)outcome;
    __atomic_fetch_add((uint64_t *)context, 1, __ATOMIC_RELAXED);
}

static cop_status
add_one(cop_txn *txn, void *context)
{
    const everything *e = context;
    cop_value value, one = cop_i64(1);
    cop_status status = cop_txn_get(txn, e->number, &value);

    return status == COP_OK ? cop_txn_add(txn, e->number, &one) : status;
}

/* Submitted in windows, by ticket; and tried until nothing conflicts. */
static void
submit(everything *e)
{
    cop_ticket *ticket[4];
    cop_value value = cop_i64(5);

    for (int i = 0; i < 4; i++) {
        cop_txn *txn;
        REQUIRE_OK(cop_txn_begin(e->store, &txn));
        REQUIRE_OK(cop_txn_set_at(txn, P("submitted"), &value, NULL));
        REQUIRE_OK(cop_txn_submit(txn, &ticket[i]));
        REQUIRE_OK(cop_ticket_on_done(ticket[i], done, &e->changes, NULL, COP_FOREVER));
    }
    for (int i = 0; i < 4; i++) {
        REQUIRE_OK(cop_ticket_wait(ticket[i], COP_FOREVER, NULL, NULL));
        cop_ticket_release(ticket[i]);
    }
    REQUIRE_OK(cop_transact(e->store, add_one, e, COP_FOREVER, NULL));
}

static void
documents(everything *e)
{
    static const char text[] =
        "{\"a\":[1,{\"b\":\"a text that is too long to lie inside\"}],\"c\":{}}";
    static const char patch[] =
        "[{\"op\":\"add\",\"path\":\"/a/0\",\"value\":{\"x\":[true]}},{\"op\":\"copy\","
        "\"from\":\"/a\",\"path\":\"/d\"},{\"op\":\"remove\",\"path\":\"/c\"}]";
    cop_txn *txn;
    uint64_t hash = 0;
    const cop_snapshot *before, *now;

    REQUIRE_OK(cop_snapshot_take(e->store, &before));
    REQUIRE_OK(cop_txn_begin(e->store, &txn));
    REQUIRE_OK(cop_json_read(txn, P("document"), text, sizeof text - 1, NULL, NULL));
    REQUIRE_OK(cop_patch_apply(txn, P("document"), COP_PATCH_JSON, patch, sizeof patch - 1, NULL));
    REQUIRE_OK(cop_txn_commit(txn, NULL, NULL));
    REQUIRE_OK(cop_snapshot_take(e->store, &now));
    for (int format = 0; format < 3; format++)
        REQUIRE_OK(
            cop_patch_write(before, now, P(""), (cop_patch_format)format, NULL, sum, &hash, NULL));
    REQUIRE_OK(cop_json_write(now, cop_root(), NULL, sum, &hash));
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    REQUIRE_OK(cop_txn_begin(e->store, &txn));
    REQUIRE_OK(cop_txn_erase_at(txn, P("document"), NULL));
    REQUIRE_OK(cop_txn_commit(txn, NULL, NULL));
}

static void
texts(everything *e)
{
    cop_pin_t pin = cop_pin(e->store);
    cop_json_stream *stream;
    cop_rope *rope;
    cop_value value, copy;
    char buffer[256];
    size_t written;
    bool more = true;

    REQUIRE(pin.snapshot != NULL);
    REQUIRE_OK(cop_json_rope(pin.snapshot, cop_root(), &rope));
    REQUIRE(cop_rope_copy(rope, 0, buffer, sizeof buffer) > 0);
    cop_rope_drop(rope);
    REQUIRE_OK(cop_json_stream_open(pin.snapshot, cop_root(), NULL, &stream));
    while (more)
        REQUIRE_OK(cop_json_stream_next(stream, buffer, sizeof buffer, &written, &more));
    cop_json_stream_close(stream);
    REQUIRE_OK(cop_get(pin.snapshot, e->lazy, &value));
    REQUIRE_OK(cop_value_copy(&value, &copy));
    cop_value_free(&copy);
    cop_unpin(pin);
}

static cop_status
range(void *context, uint64_t begin, uint64_t end)
{
    __atomic_fetch_add((uint64_t *)context, end - begin, __ATOMIC_RELAXED);
    return COP_OK;
}

static cop_status
task(cop_task_group *group, void *context, void **result)
{
    (void)group;
    *result = context;
    return COP_OK;
}

static void
workers(everything *e)
{
    cop_task_group *group;
    uint64_t count = 0;

    REQUIRE_OK(cop_parallel_for(e->pool, 500, range, &count, NULL));
    REQUIRE(count == 500);
    REQUIRE_OK(cop_task_group_open(e->pool, &group));
    for (int i = 0; i < 5; i++)
        REQUIRE_OK(cop_task_group_add(group, task, e, NULL, NULL));
    REQUIRE_OK(cop_task_group_wait(group, COP_FOREVER));
    cop_task_group_close(group);
}

/* What comes and goes: a reader, a watcher, an effect and an atom under a scope of the round. */
static void
comings_and_goings(everything *e)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_effect_options under = COP_EFFECT_OPTIONS_INIT;
    cop_scope *scope;
    cop_reader *reader;
    cop_watch *watch;
    cop_effect one;
    cop_atom atom;

    REQUIRE_OK(cop_scope_open(e->scope, &scope));
    options.scope = under.scope = scope;
    REQUIRE_OK(cop_computed_define(e->store, P("passing"), long_text, e, &options, &atom, NULL));
    REQUIRE_OK(cop_effect_open(e->store, effect, e, &under, &one, NULL));
    REQUIRE_OK(cop_watch_open(e->store, P("rows/*/n"), NULL, NULL, NULL, &watch, NULL));
    REQUIRE_OK(cop_scope_add_watch(scope, watch));
    REQUIRE_OK(cop_reader_open(e->store, &reader));
    cop_unpin(cop_reader_pin(reader));
    cop_reader_close(reader);
    cop_scope_dispose(scope);
}

static void
hear(everything *e)
{
    cop_watch_batch batch;
    cop_change change;

    REQUIRE_OK(cop_effects_run(e->store, e->queue, 0, NULL));
    if (cop_watch_next(e->asked, 0, &batch) != COP_OK)
        return;
    while (cop_watch_change(&batch, &change))
        __atomic_fetch_add(&e->changes, 1, __ATOMIC_RELAXED);
    cop_watch_batch_end(&batch);
}

static int
node(void *context, const cop_graph_node *one)
{
    *(uint64_t *)context += one->edge_count;
    return 0;
}

static void
look(everything *e)
{
    cop_explanation *explanation;
    cop_measurements *measured;
    uint64_t hash = 0;

    REQUIRE_OK(cop_graph_each(e->store, NULL, node, &hash, NULL));
    (void)cop_graph_explain(e->store, e->text, 0, &explanation);
    cop_explanation_free(explanation);
    REQUIRE_OK(cop_monitor_take(e->store, COP_FOREVER, &measured));
    cop_measurements_free(measured);
    REQUIRE_OK(cop_metrics_write(e->store, COP_METRICS_PROMETHEUS, COP_FOREVER, sum, &hash));
}

void
everything_round(everything *e, uint64_t n)
{
    write_rows(e, n);
    submit(e);
    documents(e);
    texts(e);
    workers(e);
    comings_and_goings(e);
    hear(e);
    look(e);
    erase_rows(e);
}

/* --- now and then ------------------------------------------------------------------------ */

static int
shown(void *context, const cop_history_entry *entry, cop_watch_batch *batch)
{
    (void)entry;
    __atomic_fetch_add((uint64_t *)context, batch->count, __ATOMIC_RELAXED);
    return 0;
}

static void
replay(everything *e)
{
    cop_history_replay_options options = COP_HISTORY_REPLAY_OPTIONS_INIT;
    cop_replay *one;

    options.speed = 0;
    REQUIRE_OK(cop_history_replay_open(e->store, &options, &one, NULL));
    REQUIRE_OK(cop_history_replay_run(one, COP_FOREVER, shown, &e->changes));
    cop_history_replay_close(one);
}

void
everything_seldom(everything *e, uint64_t n)
{
    uint64_t version, hash = 0;
    cop_options options = COP_OPTIONS_INIT;

    REQUIRE_OK(cop_history_keep(e->store, P("before"), &version, NULL));
    write_rows(e, n);
    REQUIRE_OK(cop_history_restore(e->store, version, COP_FOREVER, NULL, NULL));
    replay(e);
    e->file.used = 0;
    REQUIRE_OK(cop_history_export(e->store, gather, e, &version, NULL));
    REQUIRE_OK(cop_history_clear(e->store, NULL));
    REQUIRE_OK(cop_trace_start(e->store, 2000));
    erase_rows(e);
    REQUIRE_OK(cop_trace_stop(e->store));
    REQUIRE_OK(cop_trace_write(e->store, sum, &hash));
    REQUIRE_OK(cop_store_options(e->store, &options));
    options.batch_max_transactions = 100 + n % 50;
    REQUIRE_OK(cop_store_reconfigure(e->store, &options, COP_FOREVER, NULL));
    REQUIRE_OK(cop_pool_resize(e->pool, cop_pool_threads(e->pool) % 2 + 1));
}
