/* SPDX-License-Identifier: MIT */
/* Without memory: reading. Snapshots, pins, values, paths, options, statistics. */
#include "tests/memory/refused.h"

#include <unistd.h>

/* --- readers come in slabs: all of the first one's are taken ----------------------------- */

enum { READERS_MOST = 4096 };
static cop_reader *taken[READERS_MOST];
static unsigned taken_count;

static uint64_t
reader_bytes(const world *w)
{
    cop_stats stats = COP_STATS_INIT;

    REQUIRE_OK(cop_stats_take(w->store, &stats));
    return stats.bytes_by_kind[COP_MEMORY_READERS];
}

/* The thread of the test has one, too. The first reader of the next slab is given back with its
 * slab only when the store goes, so the store is asked how many fit: of a store made for that. */
static unsigned
slab_readers(void)
{
    static unsigned known;
    static cop_reader *reader[READERS_MOST];
    world w = {0};
    unsigned n = 0;

    if (known > 0)
        return known;
    REQUIRE_OK(cop_store_open(NULL, &w.store, NULL));
    REQUIRE_OK(cop_reader_open(w.store, &reader[n++]));
    for (uint64_t first = reader_bytes(&w); reader_bytes(&w) == first && n < READERS_MOST; n++)
        REQUIRE_OK(cop_reader_open(w.store, &reader[n]));
    known = n - 1;
    while (n > 0)
        cop_reader_close(reader[--n]);
    cop_store_close(w.store);
    return known;
}

static void
ready_slab(world *w)
{
    cop_stats stats = COP_STATS_INIT;

    REQUIRE_OK(cop_stats_take(w->store, &stats));
    for (uint64_t n = stats.readers; n < slab_readers(); n++)
        REQUIRE_OK(cop_reader_open(w->store, &taken[taken_count++]));
}

static void
done_slab(world *w)
{
    if (w->made != NULL)
        cop_reader_close(w->made);
    w->made = NULL;
    while (taken_count > 0)
        cop_reader_close(taken[--taken_count]);
}

/* --- holds ------------------------------------------------------------------------------- */

static cop_status
pin_once(world *w)
{
    cop_pin_t pin = cop_pin(w->store);
    cop_status status = pin.snapshot != NULL ? COP_OK : cop_pin_status();

    cop_unpin(pin);
    return status;
}

static cop_status
pin_apart(world *w)
{
    return refused_apart(pin_once, w);
}

static cop_status
register_once(world *w)
{
    return cop_reader_register(w->store);
}

static cop_status
register_apart(world *w)
{
    return refused_apart(register_once, w);
}

static cop_status
reader_open(world *w)
{
    return cop_reader_open(w->store, (cop_reader **)&w->made);
}

static void
ready_reader(world *w)
{
    REQUIRE_OK(reader_open(w));
}

static cop_status
reader_pin(world *w)
{
    cop_pin_t pin = cop_reader_pin(w->made);

    REQUIRE(pin.snapshot != NULL);
    cop_unpin(pin);
    return COP_OK;
}

static cop_status
reader_close(world *w)
{
    cop_reader_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_reader(world *w)
{
    (void)reader_close(w);
}

static cop_status
snapshot_take(world *w)
{
    const cop_snapshot *snapshot = NULL;
    cop_status status = cop_snapshot_take(w->store, &snapshot);

    w->made = (void *)(uintptr_t)snapshot;
    return status;
}

static cop_status
take_apart(world *w)
{
    return refused_apart(snapshot_take, w);
}

static void
done_take_apart(world *w)
{
    cop_snapshot_drop(w->made);
    w->made = NULL;
    done_slab(w);
}

static void
ready_snapshot(world *w)
{
    REQUIRE_OK(snapshot_take(w));
}

static cop_status
snapshot_drop(world *w)
{
    cop_snapshot_drop(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_drop(world *w)
{
    (void)snapshot_drop(w);
}

static cop_status
snapshot_keep(world *w)
{
    return cop_snapshot_keep(w->old);
}

static void
done_keep(world *w)
{
    cop_snapshot_drop(w->old);
}

/* A pinned version that nobody held before. */
static cop_status
snapshot_keep_pinned(world *w)
{
    return cop_snapshot_keep(w->batch.now);
}

static void
ready_pinned(world *w)
{
    cop_pin_t pin = cop_pin(w->store);

    REQUIRE(pin.snapshot != NULL);
    w->batch.now = pin.snapshot;
    w->made = pin.slot;
}

static void
done_pinned(world *w)
{
    cop_unpin((cop_pin_t){w->batch.now, w->made});
    cop_snapshot_drop(w->batch.now);
    w->made = NULL;
}

/* --- looking ----------------------------------------------------------------------------- */

static int
each(void *context, const cop_child *child)
{
    *(uint64_t *)context += child->index;
    return 0;
}

static int
scan(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    (void)atoms;
    (void)values;
    *(uint64_t *)context += n;
    return 0;
}

/* Everything that reads a version that the thread holds, of atoms that are there. */
static cop_status
look(world *w)
{
    const cop_snapshot *s = w->old;
    const cop_atom atoms[2] = {w->number, w->text};
    cop_cursor cursor;
    cop_child child;
    cop_value value, values[2];
    cop_atom atom;
    const char *text;
    char path[64];
    size_t length;
    uint64_t version, sum = 0;
    uint32_t count;
    int64_t i64;
    double f64;
    bool truth;

    REQUIRE_OK(cop_get(s, w->number, &value));
    REQUIRE_OK(cop_get_many(s, atoms, 2, values));
    REQUIRE_OK(cop_get_i64(s, w->number, &i64));
    REQUIRE_OK(cop_get_f64(s, w->number, &f64));
    REQUIRE(cop_get_bool(s, w->number, &truth) == COP_E_TYPE);
    REQUIRE_OK(cop_get_string(s, w->text, &text, &length));
    REQUIRE_OK(cop_find(s, P("big/item-03/n"), &atom));
    REQUIRE_OK(cop_get_at(s, P("list/3"), &value));
    REQUIRE_OK(cop_each(s, w->big, each, &sum, NULL));
    REQUIRE_OK(cop_cursor_open(s, w->list, &cursor));
    REQUIRE(cop_cursor_next(&cursor, &child));
    REQUIRE_OK(cop_count(s, w->big, &count));
    REQUIRE_OK(cop_child_at(s, w->list, 2, &atom));
    REQUIRE_OK(cop_parent(s, atom, &atom));
    REQUIRE_OK(cop_child_named(s, w->big, P("item-02"), &atom));
    REQUIRE_OK(cop_changed(s, w->big, &version));
    REQUIRE_OK(cop_atom_path(s, atom, path, sizeof path, &length));
    REQUIRE_OK(cop_scan(s, scan, &sum));
    REQUIRE(cop_snapshot_version(s) > 0 && cop_snapshot_time(s) > 0 && cop_snapshot_atoms(s) > 0);
    REQUIRE(cop_snapshot_store(s) == w->store);
    return COP_OK;
}

static void
ready_new_lazy(world *w)
{
    world_set(w, 7);
}

/* What must be evaluated first. */
static cop_status
get_lazy(world *w)
{
    cop_pin_t pin = cop_pin(w->store);
    cop_value value;
    cop_status status = cop_get(pin.snapshot, w->lazy, &value);

    REQUIRE(status != COP_OK || value.type == COP_STRING);
    cop_unpin(pin);
    return status;
}

static cop_status
origin(world *w)
{
    cop_pin_t pin = cop_pin(w->store);
    uint64_t version;

    REQUIRE_OK(cop_computed_origin(pin.snapshot, w->background, &version));
    REQUIRE_OK(cop_computed_origin(pin.snapshot, w->twice, &version));
    cop_unpin(pin);
    return COP_OK;
}

/* --- what needs no store ----------------------------------------------------------------- */

static cop_status
values(world *w)
{
    cop_value a = cop_i64(3), b = cop_string(w->letters, 100);

    REQUIRE(!cop_value_equal(&a, &b));
    REQUIRE(strcmp(cop_type_name(COP_I64), "i64") == 0);
    REQUIRE(strcmp(cop_memory_kind_name(COP_MEMORY_PAGES), "pages") == 0);
    REQUIRE(cop_status_name(COP_E_MEMORY) != NULL && cop_status_message(COP_E_MEMORY) != NULL);
    REQUIRE(cop_library_version() != 0);
    REQUIRE(cop_deadline_in_ms(1) > 0);
    REQUIRE(cop_cpus_usable() > 0);
    REQUIRE(cop_graph_kind_name(COP_GRAPH_EAGER) != NULL &&
            cop_depends_name((cop_depends)0) != NULL);
    REQUIRE(cop_run_cause_name(COP_CAUSE_DEFINED) != NULL &&
            cop_run_outcome_name(COP_RUN_SAME) != NULL);
    REQUIRE(cop_measure_name((cop_measure)0) != NULL);
    REQUIRE(cop_allocator_libc().allocate != NULL);
    return COP_OK;
}

static cop_status
value_copy(world *w)
{
    cop_value text = cop_string(w->letters, LONG_TEXT);

    return cop_value_copy(&text, &w->value);
}

static void
done_value(world *w)
{
    cop_value_free(&w->value);
}

static void
ready_value(world *w)
{
    REQUIRE_OK(value_copy(w));
}

static cop_status
value_free(world *w)
{
    cop_value_free(&w->value);
    return COP_OK;
}

static cop_status
paths(world *w)
{
    char out[64];
    size_t written;

    (void)w;
    REQUIRE_OK(cop_path_check(P("a/b/0"), NULL));
    REQUIRE_OK(cop_path_escape(P("a/b"), out, sizeof out, &written, NULL));
    REQUIRE_OK(cop_path_unescape(out, written, out + 32, 32, &written, NULL));
    return COP_OK;
}

static cop_status
options(world *w)
{
    cop_options a = COP_OPTIONS_INIT, b;
    char text[64];

    cop_options_init(&b);
    REQUIRE_OK(cop_options_set(&a, "batch.window_ms", "8", NULL));
    REQUIRE_OK(cop_options_get(&a, "batch.window_ms", text, sizeof text));
    REQUIRE(cop_options_differ(&a, &b, 0) < cop_options_count());
    REQUIRE_OK(cop_options_copy(&b, &a, 0));
    REQUIRE_OK(cop_options_check(&a, NULL));
    REQUIRE(cop_options_info(0) != NULL);
    REQUIRE_OK(cop_options_load_environment(&a, NULL));
    return cop_store_options(w->store, &a);
}

static char options_file[] = "/tmp/coppice-refused-XXXXXX";

static cop_status
options_load_file(world *w)
{
    cop_options read = COP_OPTIONS_INIT, kept = COP_OPTIONS_INIT;
    cop_status status = cop_options_load_file(&read, options_file, NULL);

    (void)w;
    if (status != COP_OK)
        REQUIRE(cop_options_differ(&read, &kept, 0) == cop_options_count());
    else
        REQUIRE(read.batch_window_ms == 8);
    return status;
}

static cop_status
allocator_jemalloc(world *w)
{
    cop_allocator allocator;
    cop_status status = cop_allocator_jemalloc(&allocator);

    (void)w;
    if (status == COP_OK && allocator.destroy != NULL)
        allocator.destroy(allocator.context);
    return status == COP_E_UNSUPPORTED ? COP_OK : status;
}

static cop_status
figures(world *w)
{
    cop_stats stats = COP_STATS_INIT;

    REQUIRE_OK(cop_stats_take(w->store, &stats));
    REQUIRE(cop_store_version(w->store) == stats.version);
    REQUIRE_OK(cop_wait_version(w->store, stats.version, 0));
    return cop_atom_find(w->store, P("big/item-01/n"), &w->atom);
}

static const refused_call calls[] = {
    {"cop_pin", "of a new thread", pin_apart, 0, ready_slab, done_slab, 0},
    {"cop_pin", "of a thread that has read", pin_once, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_unpin", NULL, pin_once, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_pin_status", NULL, pin_apart, 0, ready_slab, done_slab, 0},
    {"cop_reader_register", NULL, register_apart, 0, ready_slab, done_slab, 0},
    {"cop_reader_open", NULL, reader_open, 0, ready_slab, done_slab, 0},
    {"cop_reader_pin", NULL, reader_pin, ASKS_NOTHING, ready_reader, done_reader, 0},
    {"cop_reader_close", NULL, reader_close, ASKS_NOTHING, ready_reader, NULL, 0},
    {"cop_snapshot_take", "of a new thread", take_apart, 0, ready_slab, done_take_apart, 0},
    {"cop_snapshot_take", "of a thread that has read", snapshot_take, ASKS_NOTHING, NULL, done_drop,
     0},
    {"cop_snapshot_keep", "held", snapshot_keep, ASKS_NOTHING, NULL, done_keep, 0},
    {"cop_snapshot_keep", "pinned", snapshot_keep_pinned, ASKS_NOTHING, ready_pinned, done_pinned,
     0},
    {"cop_snapshot_drop", NULL, snapshot_drop, ASKS_NOTHING, ready_snapshot, NULL, 0},
    {"cop_get", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_get", "a lazy atom", get_lazy, 0, ready_new_lazy, NULL, 0},
    {"cop_get_many", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_get_bool", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_get_i64", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_get_f64", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_get_string", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_find", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_get_at", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_each", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_cursor_open", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_cursor_next", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_count", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_child_at", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_child_named", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_changed", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_parent", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_atom_path", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_scan", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_snapshot_version", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_snapshot_store", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_snapshot_time", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_snapshot_atoms", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_computed_origin", NULL, origin, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_value_equal", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_type_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_memory_kind_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_status_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_status_message", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_library_version", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_deadline_in_ms", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_cpus_usable", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_graph_kind_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_depends_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_run_cause_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_run_outcome_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_measure_name", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_allocator_libc", NULL, values, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_allocator_jemalloc", NULL, allocator_jemalloc, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_value_copy", NULL, value_copy, 0, NULL, done_value, 0},
    {"cop_value_free", NULL, value_free, ASKS_NOTHING, ready_value, NULL, 0},
    {"cop_path_check", NULL, paths, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_path_escape", NULL, paths, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_path_unescape", NULL, paths, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_init", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_set", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_get", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_differ", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_count", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_copy", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_check", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_info", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_load_environment", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_options_load_file", NULL, options_load_file, 0, NULL, NULL, 0},
    {"cop_store_options", NULL, options, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_stats_take", NULL, figures, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_store_version", NULL, figures, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_wait_version", NULL, figures, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_atom_find", NULL, figures, ASKS_NOTHING, NULL, NULL, 0},
};

int
main(void)
{
    static const char text[] = "batch = { window_ms = 8; };\n";
    int file = mkstemp(options_file), failed;

    REQUIRE(file >= 0 && write(file, text, sizeof text - 1) == (ssize_t)(sizeof text - 1));
    REQUIRE(close(file) == 0);
    failed = refused_main(calls, sizeof calls / sizeof *calls);
    (void)unlink(options_file);
    return failed;
}
