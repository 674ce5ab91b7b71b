/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"
#include "tests/memory/refused_world.h"

#include "tests/support/dump.h"

/* --- what it computes ------------------------------------------------------------------------- */

static cop_status
twice(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const world *w = context;
    int64_t n = 0;
    cop_status status = cop_read_i64(evaluation, w->number, &n);

    *result = cop_i64(2 * n);
    return status;
}

static cop_status
words(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const world *w = context;
    int64_t n = 0;
    cop_status status = cop_read_i64(evaluation, w->number, &n);

    *result = cop_string(w->letters, LONG_TEXT - (size_t)(n & 63));
    return status;
}

static cop_status
owned(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const world *w = context;
    int64_t n = 0;
    cop_status status = cop_read_i64(evaluation, w->number, &n);
    cop_value value = cop_i64(n), text = cop_string(w->letters, 60);

    (void)result;
    if (status == COP_OK)
        status = cop_emit(evaluation, P("n"), &value);
    return status == COP_OK ? cop_emit(evaluation, P("below/text"), &text) : status;
}

static cop_status
effect(cop_evaluation *evaluation, void *context)
{
    const world *w = context;
    cop_value value;

    return cop_read(evaluation, w->twice, &value);
}

static cop_atom
define(world *w, const char *path, cop_computed_function function, cop_computed_kind kind,
       bool branch, cop_scope *scope)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;

    options.kind = kind;
    options.branch = branch;
    options.scope = scope;
    REQUIRE_OK(cop_computed_define(w->store, P(path), function, w, &options, &atom, NULL));
    return atom;
}

static void
compute(world *w)
{
    cop_reduce_options top = COP_REDUCE_OPTIONS_INIT;
    cop_effect_options under = COP_EFFECT_OPTIONS_INIT;
    cop_atom atom;
    cop_effect other;

    w->twice = define(w, "twice", twice, COP_EAGER, false, NULL);
    w->words = define(w, "words", words, COP_EAGER, false, NULL);
    w->lazy = define(w, "lazy", words, COP_LAZY, false, NULL);
    w->background = define(w, "background", twice, COP_BACKGROUND, false, NULL);
    w->owned = define(w, "owned", owned, COP_EAGER, true, NULL);
    define(w, "scoped", twice, COP_EAGER, false, w->scope);
    REQUIRE_OK(cop_reduce_define(w->store, P("total"), P("big/*/n"), COP_REDUCE_SUM, NULL,
                                 &w->total, NULL));
    top.k = 2;
    REQUIRE_OK(cop_group_define(w->store, P("groups"), P("big/*"), "k", "n", COP_REDUCE_TOP, &top,
                                &atom, NULL));
    REQUIRE_OK(cop_effect_open(w->store, effect, w, NULL, &w->effect, NULL));
    under.scope = w->scope;
    REQUIRE_OK(cop_effect_open(w->store, effect, w, &under, &other, NULL));
}

/* --- life -------------------------------------------------------------------------------- */

static void
logged(void *context, cop_log_level level, const char *message)
{
    world *w = context;

    (void)message;
    w->logged += level == COP_LOG_ERROR;
}

static cop_store *
open_store(world *w)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;

    options.memory_chunk_bytes = 4096; /* so that commits ask the allocator, too */
    options.memory_huge_pages = false;
    options.memory_on_limit = 1;
    options.memory_wait_ms = 0;
    options.batch_window_ms = 0;
    options.history_keep = 1;
    options.log = logged;
    options.log_context = w;
    REQUIRE_OK(cop_store_open(&options, &store, NULL));
    /* What gives way for a commit (versions that are kept, texts) is another state than before. */
    memset(store->manager.step, 0, sizeof store->manager.step);
    return store;
}

static void
fill(world *w)
{
    cop_value array = cop_array(), value = cop_string(w->letters, LONG_TEXT);

    REQUIRE_OK(cop_atom_at(w->store, P("number"), &w->number, NULL));
    REQUIRE_OK(cop_atom_at(w->store, P("text"), &w->text, NULL));
    ready_txn(w);
    REQUIRE_OK(cop_txn_set(w->txn, w->text, &value));
    REQUIRE_OK(cop_txn_set_at(w->txn, P("list"), &array, NULL));
    for (int i = 0; i < 12; i++) {
        char path[32];
        cop_value n = cop_i64(i), key = cop_string(i % 2 ? "odd" : "even", i % 2 ? 3 : 4);
        snprintf(path, sizeof path, "big/item-%02d/n", i);
        REQUIRE_OK(cop_txn_set_at(w->txn, P(path), &n, NULL));
        snprintf(path, sizeof path, "big/item-%02d/k", i);
        REQUIRE_OK(cop_txn_set_at(w->txn, P(path), &key, NULL));
        snprintf(path, sizeof path, "tree/%d/x", i % 5);
        REQUIRE_OK(cop_txn_set_at(w->txn, P(path), &n, NULL));
    }
    done_commit(w);
    REQUIRE_OK(cop_atom_find(w->store, P("list"), &w->list));
    REQUIRE_OK(cop_atom_find(w->store, P("big"), &w->big));
    REQUIRE_OK(cop_atom_find(w->store, P("tree"), &w->tree));
    ready_txn(w);
    for (int i = 0; i < 8; i++) {
        cop_value n = cop_i64(i);
        REQUIRE_OK(cop_txn_insert(w->txn, w->list, COP_AT_END, &n, NULL));
    }
    done_commit(w);
}

void
world_open(world *w)
{
    memset(w, 0, sizeof *w);
    for (int i = 0; i < LONG_TEXT; i++)
        w->letters[i] = (char)('a' + i * 7 % 26);
    w->store = open_store(w);
    REQUIRE_OK(cop_scope_open(NULL, &w->scope));
    fill(w);
    world_set(w, 1);
    REQUIRE_OK(cop_history_keep(w->store, P("first"), &w->kept, NULL));
    REQUIRE_OK(cop_snapshot_take(w->store, &w->old));
    compute(w);
    REQUIRE_OK(cop_effects_run(w->store, NULL, 0, NULL));
    REQUIRE_OK(cop_watch_open(w->store, P(""), NULL, NULL, NULL, &w->watch, NULL));
    world_set(w, 2);
    world_rest(w);
}

void
world_rest(world *w)
{
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(cop_effects_run(w->store, NULL, 0, NULL));
        REQUIRE_OK(cop_store_poll(w->store));
    }
}

void
world_close(world *w)
{
    REQUIRE(w->txn == NULL && w->ticket == NULL && w->made == NULL);
    cop_watch_close(w->watch);
    cop_snapshot_drop(w->old);
    cop_scope_dispose(w->scope);
    if (w->pool != NULL)
        REQUIRE_OK(cop_store_set_pool(w->store, NULL));
    cop_pool_close(w->pool);
    cop_store_close(w->store);
}

/* --- what there is to see ---------------------------------------------------------------- */

static void
tell_counts(const world *w, FILE *out, bool exact)
{
    cop_stats stats = COP_STATS_INIT;
    cop_graph_counts graph = COP_GRAPH_COUNTS_INIT;

    REQUIRE_OK(cop_stats_take(w->store, &stats));
    REQUIRE_OK(cop_graph_stats(w->store, COP_FOREVER, &graph));
    fprintf(out,
            WORLD_COUNTS "atoms %" PRIu64 " readers %" PRIu64 " snapshots %" PRIu64
                         " watchers %" PRIu64 " kept %" PRIu64 " pinned %" PRIu64 " nodes %" PRIu64
                         " looked %" PRIu64 " monitor %d told %d\n",
            stats.atoms, stats.readers, stats.snapshots, stats.watchers, stats.history_versions,
            stats.history_pinned, graph.nodes, graph.looked, cop_monitor_running(w->store),
            w->watch != NULL && cop_watch_told(w->watch) > 0);
    if (!exact) /* a commit that is refused has decided what was queued */
        fprintf(out, "queued %" PRIu64 "\n", stats.queued);
    if (exact)
        fprintf(out, "version %" PRIu64 " told %" PRIu64 "\n", stats.version,
                w->watch != NULL ? cop_watch_told(w->watch) : 0);
}

static void
tell_history(const world *w, FILE *out)
{
    cop_history_entry entry = {0};

    for (uint64_t from = 0; cop_history_next(w->store, from, &entry) == COP_OK;
         from = entry.version + 1)
        fprintf(out, "kept %" PRIu64 " '%s'%s\n", entry.version, entry.label,
                entry.pinned ? " pinned" : "");
}

static void
tell_options(const world *w, FILE *out)
{
    cop_options options = COP_OPTIONS_INIT;
    char text[64];

    REQUIRE_OK(cop_store_options(w->store, &options));
    for (size_t i = 0; i < cop_options_count(); i++) {
        REQUIRE_OK(cop_options_get(&options, cop_options_info(i)->name, text, sizeof text));
        fprintf(out, "%s ", text);
    }
    fputc('\n', out);
}

static void
tell_snapshot(const cop_snapshot *snapshot, FILE *out, unsigned flags)
{
    char *tree = dump_tree(snapshot, flags);

    REQUIRE(tree != NULL);
    fputs(tree, out);
    refused_free_text(tree);
}

char *
world_text(const world *w, bool exact)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const cop_snapshot *now;

    REQUIRE(out != NULL);
    REQUIRE_OK(cop_snapshot_take(w->store, &now));
    tell_snapshot(now, out, exact ? DUMP_CHANGED | DUMP_HANDLES : 0);
    if (w->old != NULL)
        tell_snapshot(w->old, out, DUMP_CHANGED | DUMP_HANDLES);
    cop_snapshot_drop(now);
    tell_counts(w, out, exact);
    tell_history(w, out);
    tell_options(w, out);
    REQUIRE(fclose(out) == 0);
    return text;
}
