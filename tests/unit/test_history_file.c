/* SPDX-License-Identifier: MIT */
/* Export and import of kept versions, and their replay. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <coppice/computed.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commit/txn_internal.h"

#include "tests/support/history_test.h"

/* --- files ------------------------------------------------------------------------ */

static text
exported(void)
{
    text file = {NULL, 0, 0};
    uint64_t versions;
    cop_stats stats = COP_STATS_INIT;

    CHECK_OK(cop_history_export(store, take, &file, &versions, NULL));
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(versions, stats.history_versions);
    return file;
}

typedef struct known {
    uint64_t version, time_ns;
    char *document, *label;
    bool pinned;
} known;

static known all[400];
static size_t known_count;

static void
remember(void)
{
    cop_history_entry entry;

    known_count = 0;
    for (uint64_t v = 0; cop_history_next(store, v, &entry) == COP_OK; v = entry.version + 1)
        all[known_count++] = (known){entry.version, entry.time_ns, document_of(entry.version),
                                     strdup(entry.label), entry.pinned};
}

static void
forget(void)
{
    for (size_t i = 0; i < known_count; i++) {
        free(all[i].document);
        free(all[i].label);
    }
}

/* The versions from `first` on are those that were remembered. */
static void
same_as_known(uint64_t first)
{
    cop_history_entry entry;

    for (size_t i = 0; i < known_count; i++, first = entry.version + 1) {
        CHECK_OK(cop_history_next(store, first, &entry));
        char *document_text = document_of(entry.version);
        ck_assert_str_eq(document_text, all[i].document);
        free(document_text);
        ck_assert_str_eq(entry.label, all[i].label);
        ck_assert(entry.pinned == all[i].pinned);
        ck_assert_uint_eq(entry.imported_version, all[i].version);
        ck_assert_uint_eq(entry.imported_ns, all[i].time_ns);
    }
    CHECK_STATUS(cop_history_next(store, first, &entry), COP_E_ABSENT);
}

static void
round_trip(void)
{
    cop_history_imported imported;
    cop_error error = COP_ERROR_INIT;
    text file = exported();

    remember();
    t_close(store);
    open_keeping();
    cop_status status = cop_history_import(store, file.bytes, file.length, &imported, &error);
    ck_assert_msg(status == COP_OK, "import: %s", error.message);
    ck_assert_uint_eq(imported.versions, known_count);
    same_as_known(imported.first);
    t_verify(store);
    forget();
    free(file.bytes);
    t_close(store);
}

START_TEST(every_type_and_label)
{
    open_keeping();
    json("", "{\"n\":null,\"t\":true,\"f\":false,\"i\":-9223372036854775808,\"d\":-0.125,\"s\":\"\","
             "\"l\":\"a longer text, with a \\u0000 and a \\u2713 in it\",\"b\":{\"$bytes\":\"AP8=\"},"
             "\"o\":{},\"a\":[],\"x/y~*\":{\"\":1},\"deep\":[[[{\"a\":[1]}]]]}");
    CHECK_OK(cop_history_label(store, 1, P("the first"), NULL));
    t_erase_at(store, "deep/0/0");
    CHECK_OK(cop_history_pin(store, 2));
    json("a", "[1,2,3,4,5,6]");
    json("a", "[6,2,7,1]");
    CHECK_OK(cop_history_label(store, 4, P("✓"), NULL));
    json("o", "{\"z\":1,\"y\":2}");
    json("o", "{\"y\":2,\"x\":3,\"z\":[]}");
    json("", "[1,{\"a\":2}]");
    json("1", "{\"b\":2,\"a\":3}");
    round_trip();
}
END_TEST

START_TEST(nothing_is_a_file_too)
{
    open_keeping();
    round_trip();
    store = t_open(); /* that was never asked to keep anything */
    free(exported().bytes);
    t_close(store);
}
END_TEST

START_TEST(trees_at_random)
{
    seed = (unsigned long long)_i * 104729 + 17;
    open_keeping();
    for (int i = 0; i < 300; i++)
        random_change();
    while (cop_history_drop(store, 1 + random_below(250)) == COP_OK) /* gaps between versions */
        ;
    round_trip();
}
END_TEST

START_TEST(on_top_of_what_there_is)
{
    cop_history_imported imported;

    open_keeping();
    json("", "{\"a\":1,\"b\":{\"c\":2}}");
    json("", "{\"b\":{\"c\":2,\"d\":[]},\"a\":1}");
    text file = exported();
    remember();
    t_set_at(store, "other", cop_i64(1));
    CHECK_OK(cop_history_import(store, file.bytes, file.length, &imported, NULL));
    ck_assert_uint_eq(imported.first, 4);
    ck_assert_uint_eq(imported.last, 5);
    same_as_known(4);
    forget();
    free(file.bytes);
    t_close(store);
}
END_TEST

START_TEST(computed_atoms_are_left_out)
{
    cop_history_imported imported;
    cop_error error = COP_ERROR_INIT;

    open_keeping();
    json("", "{\"a\":1,\"z\":[5]}");
    CHECK_OK(cop_computed_define(store, P("twice"), twice_a, NULL, NULL, NULL, NULL));
    CHECK_OK(cop_computed_define(store, P("z/1"), twice_a, NULL, NULL, NULL, NULL));
    json("q", "{\"r\":1}");
    t_set_at(store, "a", cop_i64(4));
    t_erase_at(store, "z/0");
    json_is("{\"a\":4,\"z\":[8],\"twice\":8,\"q\":{\"r\":1}}");
    text file = exported();
    t_close(store);
    open_keeping();
    CHECK_OK(cop_history_import(store, file.bytes, file.length, NULL, NULL));
    json_is("{\"a\":4,\"z\":[null],\"q\":{\"r\":1}}");
    CHECK_OK(cop_computed_define(store, P("twice"), twice_a, NULL, NULL, NULL, NULL));
    CHECK_OK(cop_history_import(store, file.bytes, file.length, NULL, NULL)); /* it stays */
    json_is("{\"twice\":8,\"a\":4,\"z\":[null],\"q\":{\"r\":1}}");
    CHECK_OK(cop_computed_define(store, P("q2"), twice_a, NULL, NULL, NULL, NULL));
    t_erase_at(store, "q");
    CHECK_OK(cop_computed_define(store, P("q"), twice_a, NULL, NULL, NULL, NULL));
    CHECK_STATUS(cop_history_import(store, file.bytes, file.length, &imported, &error), COP_E_SYNTAX);
    ck_assert_ptr_nonnull(strstr(error.message, "computed"));
    free(file.bytes);
    t_close(store);
}
END_TEST

START_TEST(computed_atoms_in_the_first_version)
{
    open_keeping();
    json("", "{\"a\":1,\"z\":[5]}");
    CHECK_OK(cop_computed_define(store, P("q/twice"), twice_a, NULL, NULL, NULL, NULL));
    CHECK_OK(cop_computed_define(store, P("z/1"), twice_a, NULL, NULL, NULL, NULL));
    json_is("{\"a\":1,\"z\":[5,2],\"q\":{\"twice\":2}}");
    for (uint64_t v = 1; v < cop_store_version(store); v++)
        CHECK_OK(cop_history_drop(store, v));
    text file = exported();
    t_close(store);
    open_keeping();
    CHECK_OK(cop_history_import(store, file.bytes, file.length, NULL, NULL));
    json_is("{\"a\":1,\"z\":[5,null],\"q\":{}}");
    free(file.bytes);
    t_close(store);
}
END_TEST

/* --- damaged files ---------------------------------------------------------------- */

/* Refused, and nothing has changed. */
static void
refused(const char *bytes, size_t length, cop_status status)
{
    cop_error error = COP_ERROR_INIT;
    cop_history_imported imported;
    uint64_t version = cop_store_version(store);

    CHECK_STATUS(cop_history_import(store, bytes, length, &imported, &error), status);
    ck_assert_uint_gt(strlen(error.message), 0);
    if (status == COP_E_SYNTAX)
        ck_assert_ptr_nonnull(strstr(error.message, "byte"));
    ck_assert_uint_eq(cop_store_version(store), version);
    ck_assert_uint_eq(imported.versions, 0);
}

START_TEST(any_damage_is_found)
{
    open_keeping();
    json("", "{\"a\":1,\"b\":{\"c\":\"text\"}}");
    json("", "{\"b\":{\"d\":[1,2]},\"a\":2}");
    text file = exported();
    for (size_t n = 0; n < file.length; n++)
        refused(file.bytes, n, COP_E_SYNTAX);
    for (size_t at = 0; at < file.length; at++) {
        file.bytes[at] = (char)(file.bytes[at] ^ (1 << at % 8));
        refused(file.bytes, file.length, COP_E_SYNTAX);
        file.bytes[at] = (char)(file.bytes[at] ^ (1 << at % 8));
    }
    CHECK_OK(cop_history_import(store, file.bytes, file.length, NULL, NULL));
    free(file.bytes);
    t_close(store);
}
END_TEST

START_TEST(where_it_is_damaged)
{
    cop_error error = COP_ERROR_INIT;

    open_keeping();
    json("", "{\"a\":1}");
    text file = exported();
    file.bytes[30]++;
    CHECK_STATUS(cop_history_import(store, file.bytes, file.length, NULL, &error), COP_E_SYNTAX);
    ck_assert_str_eq(error.message,
                     "byte 12: the record that begins here is damaged: its checksum differs");
    ck_assert_uint_eq(error.position, 12);
    file.bytes[30]--;
    file.bytes[8]++;
    CHECK_STATUS(cop_history_import(store, file.bytes, file.length, NULL, &error), COP_E_SYNTAX);
    ck_assert_ptr_nonnull(strstr(error.message, "format"));
    free(file.bytes);
    t_close(store);
}
END_TEST

/* Elements that move: nothing in a document moves them, so it is done by hand. */
START_TEST(elements_that_move)
{
    seed = 4711;
    open_keeping();
    json("", "{\"l\":[0,1,2,3,4,5,6,7,8,9],\"o\":{\"a\":1,\"b\":2,\"c\":3,\"d\":4}}");
    for (int i = 0; i < 40; i++) {
        cop_txn *txn = t_begin(store);
        cop_atom branch = t_find(store, i % 2 ? "l" : "o"), child, after;
        uint32_t count = i % 2 ? 10 : 4, from = random_below(count), to = random_below(count);
        cop_pin_t pin = cop_pin(store);
        CHECK_OK(cop_child_at(pin.snapshot, branch, from, &child));
        CHECK_OK(cop_child_at(pin.snapshot, branch, to, &after));
        cop_unpin(pin);
        if (from != to)
            CHECK_OK(cop__txn_place(txn, child, random_below(4) ? &after : NULL));
        (void)t_commit(txn);
    }
    uint64_t newest = cop_store_version(store);
    ck_assert_uint_gt(newest, 20);
    for (int i = 0; i < 40; i++) { /* and going back moves them back */
        uint64_t version = 1 + random_below((unsigned)newest);
        char *want = document_of(version);
        CHECK_OK(cop_history_restore(store, version, COP_FOREVER, NULL, NULL));
        json_is(want);
        free(want);
    }
    round_trip();
}
END_TEST

/* --- files that add up and are wrong ----------------------------------------------- */

static void
put_number(char *at, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        at[i] = (char)(n >> 8 * i);
}

static uint64_t
number_at(const char *at)
{
    uint64_t n = 0;

    for (int i = 0; i < 8; i++)
        n |= (uint64_t)(unsigned char)at[i] << 8 * i;
    return n;
}

/* All checksums are right again. */
static void
sum_up(text *file)
{
    size_t at = 12;

    while (memcmp(file->bytes + at, "VERS", 4) == 0) {
        uint64_t n = number_at(file->bytes + at + 4);
        put_number(file->bytes + at + 12 + n, XXH3_64bits(file->bytes + at + 12, n));
        at += 12 + n + 8;
    }
    put_number(file->bytes + at + 12, XXH3_64bits(file->bytes, at + 12));
}

/* A file of one record whose edits are these bytes. */
static text
file_of(const char *edits, size_t n)
{
    text file = {NULL, 0, 0};
    char head[30] = "COPHIST\n\1\0\0\0VERS", tail[28] = {0};

    put_number(head + 16, 18 + n);
    take(&file, head, 24);
    memset(head, 0, sizeof head);
    head[0] = 1; /* version, time, pinned, label */
    take(&file, head, 18);
    take(&file, edits, n);
    memcpy(tail + 8, "END.\1", 5);
    take(&file, tail, 28);
    sum_up(&file);
    return file;
}

static void
edits_are_refused(const char *edits, size_t n, const char *why)
{
    cop_error error = COP_ERROR_INIT;
    uint64_t version = cop_store_version(store);
    text file = file_of(edits, n);

    CHECK_STATUS(cop_history_import(store, file.bytes, file.length, NULL, &error), COP_E_SYNTAX);
    ck_assert_msg(strstr(error.message, why) != NULL, "%s: not because of: %s", error.message, why);
    ck_assert_msg(strstr(error.message, "record 1 (version 1), byte ") == error.message, "%s",
                  error.message);
    ck_assert_uint_eq(cop_store_version(store), version);
    free(file.bytes);
}

#define REFUSED(edits, why) edits_are_refused(edits, sizeof edits - 1, why)

START_TEST(sums_alone_do_not_convince)
{
    char deep[2000];

    open_keeping();
    text good = file_of("\7\0\x8\0", 4); /* an empty object */
    CHECK_OK(cop_history_import(store, good.bytes, good.length, NULL, NULL));
    free(good.bytes);
    REFUSED("\x63\0", "no such edit");
    REFUSED("\7\2a", "ends in the middle");
    REFUSED("\7\2//\1", "a path is malformed");
    REFUSED("\7\0\x63", "no such type");
    REFUSED("\7\0\1", "");
    REFUSED("\7\1a\5\1\xff", "not UTF-8");
    REFUSED("\7\1a\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "a size is too long");
    REFUSED("\7\0\x8\1\3a/b\1\0", "a key is malformed");
    REFUSED("\7\0\x8\1\0\1\0", "a key is malformed");
    REFUSED("\1\0\1x", "no atom at this path");
    REFUSED("\1\0\0", "a key is malformed");
    REFUSED("\2\0\5", "");
    REFUSED("\2\0\xff\xff\xff\xff\xf", "a position is too large");
    REFUSED("\3\0\1x\0", "no atom at this path");
    REFUSED("\7\1a\1\3\0\1a\1\1x", "no atom at this path");
    REFUSED("\4\0\0\0", "no atom at this path");
    REFUSED("\4\1a\1\2", "no atom at this path");
    REFUSED("\5\1a\1b\0\1", "no atom at this path");
    REFUSED("\5\0\1b\1\1c\1", "no atom at this path");
    REFUSED("\5\0\1b\0\x63", "no such type");
    REFUSED("\6\0\0\1", "not a branch");
    REFUSED("\6\0\0\x63", "no such type");
    REFUSED("\7\1a\x9\0\6\1a\2\1", "out of range");
    memcpy(deep, "\7\0\x8\1\1a", 6);
    memset(deep + 6, 0, sizeof deep - 6);
    for (size_t i = 6; i + 2 <= sizeof deep; i += 2)
        memcpy(deep + i, "\x9\1", 2);
    edits_are_refused(deep, sizeof deep, "too deep");
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(paths_that_would_be_too_long)
{
    char edits[COP_PATH_MAX + 64], *p = edits;

    open_keeping();
    *p++ = 1;
    *p++ = (char)(0x80 | (COP_PATH_MAX & 0x7f));
    *p++ = COP_PATH_MAX >> 7;
    for (size_t i = 0; i < COP_PATH_MAX; i++)
        *p++ = i % 200 == 199 ? '/' : 'a';
    p[-1] = 'b';
    memcpy(p, "\1x", 2);
    edits_are_refused(edits, (size_t)(p - edits) + 2, "malformed path");
    edits[0] = 3;
    memcpy(p, "\1x\0", 3);
    edits_are_refused(edits, (size_t)(p - edits) + 3, "malformed path");
    t_close(store);
}
END_TEST

/* Bytes changed at random, and summed up: taken or refused, and refused without a trace. */
START_TEST(summed_damage)
{
    cop_error error = COP_ERROR_INIT;
    unsigned refusals = 0;

    seed = 31337;
    open_keeping();
    json("", "{\"a\":[1,2.5,\"t\",[{}]],\"b\":{\"c\":\"text\",\"d\":true}}");
    json("", "{\"b\":{\"d\":[1,2],\"x\":0},\"a\":[2,\"u\"],\"n\":null}");
    text file = exported();
    for (int i = 0; i < 1500; i++) {
        char *other = malloc(file.length);
        ck_assert_ptr_nonnull(other);
        memcpy(other, file.bytes, file.length);
        text t = {other, file.length, file.length};
        for (unsigned n = random_below(3) + 1; n > 0; n--) {
            size_t at = 24 + random_below((unsigned)file.length - 24 - 20);
            uint64_t first = number_at(other + 16);
            if (at < 24 + first || at >= 24 + first + 8 + 12) /* not the frame */
                other[at] = (char)random_below(random_below(2) ? 12 : 256);
        }
        sum_up(&t);
        uint64_t version = cop_store_version(store);
        cop_status status = cop_history_import(store, other, file.length, NULL, &error);
        ck_assert_msg(status == COP_OK || status == COP_E_SYNTAX, "%s", error.message);
        if (status != COP_OK)
            ck_assert_uint_eq(cop_store_version(store), version);
        refusals += status != COP_OK;
        free(other);
    }
    ck_assert_uint_gt(refusals, 500);
    free(file.bytes);
    t_verify(store);
    t_close(store);
}
END_TEST

/* How many allocations an export makes: each is refused once. */
static int
refusals_of_an_export(void)
{
    cop_status status = COP_E_MEMORY;
    int k;

    for (k = 0; k < 100 && status == COP_E_MEMORY; k++) {
        text other = {NULL, 0, 0};
        atomic_store(&store->memory->fail_for_ever, false);
        atomic_store(&store->memory->fail_countdown, k);
        status = cop_history_export(store, take, &other, NULL, NULL);
        atomic_store(&store->memory->fail_countdown, -1);
        free(other.bytes);
    }
    CHECK_OK(status);
    return k - 1;
}

/* What is left of the store's memory is what the file may be tried out in. */
START_TEST(no_room_to_try_a_file_out)
{
    cop_options options = COP_OPTIONS_INIT;

    open_keeping();
    json("", "{\"a\":1}");
    text file = exported();
    CHECK_OK(cop_store_options(store, &options));
    options.memory_limit_bytes = cop__load_relaxed(&store->memory->held);
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    refused(file.bytes, file.length, COP_E_MEMORY);
    free(file.bytes);
    t_close(store);
}
END_TEST

/* The versions made until then stay, and are kept. */
START_TEST(memory_refused_to_an_import)
{
    cop_history_imported imported;
    cop_error error = COP_ERROR_INIT;
    cop_stats stats = COP_STATS_INIT;
    cop_options options = COP_OPTIONS_INIT;
    cop_status status = COP_E_MEMORY;
    unsigned partly = 0;
    int k;

    open_keeping();
    json("", "{\"a\":1,\"b\":{\"c\":\"a text that is not inlined anywhere\"}}");
    CHECK_OK(cop_history_label(store, 1, P("the first"), NULL));
    json("", "{\"b\":{\"d\":[1,2]},\"a\":2}");
    CHECK_OK(cop_history_label(store, 2, P("the second"), NULL));
    text file = exported();
    CHECK_OK(cop_store_options(store, &options));
    CHECK_OK(cop_options_set(&options, "history.keep", "label", NULL));
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    for (k = 0; k < 500 && status == COP_E_MEMORY; k++) {
        uint64_t before = cop_store_version(store);
        CHECK_OK(cop_history_clear(store, NULL));
        atomic_store(&store->memory->fail_for_ever, true);
        atomic_store(&store->memory->fail_countdown, k);
        status = cop_history_import(store, file.bytes, file.length, &imported, &error);
        atomic_store(&store->memory->fail_countdown, -1);
        ck_assert_msg(status == COP_OK || status == COP_E_MEMORY, "%s", error.message);
        ck_assert_uint_eq(cop_store_version(store), before + imported.versions);
        CHECK_OK(cop_stats_take(store, &stats));
        ck_assert_uint_le(stats.history_versions, imported.versions);
        ck_assert_uint_le(imported.versions, stats.history_versions + 1);
        partly += status != COP_OK && imported.versions > 0;
    }
    CHECK_OK(status);
    ck_assert_uint_gt(partly, 3);
    json_is("{\"b\":{\"d\":[1,2]},\"a\":2}");
    free(file.bytes);
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(memory_and_sinks_that_refuse)
{
    open_keeping();
    ck_assert_int_eq(refusals_of_an_export(), 2); /* of nothing */
    json("", "{\"a\":1,\"b\":{\"c\":\"text\"}}");
    json("", "{\"b\":{\"d\":[1,2]},\"a\":2}");
    text file;
    ck_assert_int_gt(refusals_of_an_export(), 2);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    CHECK_OK(cop_options_set(&options, "history.keep", "off", NULL));
    file = exported();
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    refused(file.bytes, file.length, COP_E_STATE);
    cop__evaluating = true;
    refused(file.bytes, file.length, COP_E_IN_EVALUATION);
    cop__evaluating = false;
    free(file.bytes);
    t_close(store);
}
END_TEST

static int
refuse_sink(void *context, const char *bytes, size_t n)
{
    unsigned *left = context;

    (void)bytes;
    (void)n;
    return (*left)-- == 0;
}

START_TEST(a_sink_that_refuses)
{
    open_keeping();
    json("", "{\"a\":1}");
    for (unsigned left = 0; left < 7; left++) {
        unsigned n = left;
        CHECK_STATUS(cop_history_export(store, refuse_sink, &n, NULL, NULL), COP_E_IO);
    }
    unsigned enough = 7;
    CHECK_OK(cop_history_export(store, refuse_sink, &enough, NULL, NULL));
    t_close(store);
}
END_TEST

/* --- replay ----------------------------------------------------------------------- */

typedef struct showing {
    char text[2048];
    size_t used;
    int stop_after;
    uint64_t at[64];
    int count;
    cop_replay *stops;
} showing;

static int
show(void *context, const cop_history_entry *entry, cop_watch_batch *batch)
{
    showing *s = context;
    cop_change change;

    s->at[s->count++] = cop_deadline_in_ms(0);
    s->used += (size_t)sprintf(s->text + s->used, "%" PRIu64 "%s:", entry->version,
                               batch->gap ? "?" : "");
    while (cop_watch_change(batch, &change))
        s->used += (size_t)sprintf(s->text + s->used, " %c%.*s", "-=+#"[change.kind],
                                   (int)change.path_length, change.path);
    s->used += (size_t)sprintf(s->text + s->used, "\n");
    ck_assert_uint_eq(batch->to, entry->version);
    ck_assert_uint_eq(cop_snapshot_version(batch->now), entry->version);
    if (s->stops != NULL)
        cop_history_replay_stop(s->stops);
    cop_watch_batch_end(batch); /* legal, and nothing */
    return --s->stop_after == 0;
}

static void
five_versions(void)
{
    json("", "{\"a\":1}");
    json("b", "{\"c\":[1]}");
    t_set_at(store, "a", cop_i64(2));
    t_erase_at(store, "b/c/0");
    t_erase_at(store, "b");
}

static cop_replay *
replay_of(uint64_t from, uint64_t to, double speed, uint64_t interval_ns)
{
    cop_history_replay_options options = COP_HISTORY_REPLAY_OPTIONS_INIT;
    cop_replay *replay;

    options.from = from;
    options.to = to;
    options.speed = speed;
    options.interval_ns = interval_ns;
    CHECK_OK(cop_history_replay_open(store, &options, &replay, NULL));
    return replay;
}

START_TEST(shown_in_order)
{
    showing s = {.stop_after = 0};
    uint64_t due;

    open_keeping();
    five_versions();
    cop_replay *replay = replay_of(0, UINT64_MAX, 0, 0);
    CHECK_OK(cop_history_replay_run(replay, COP_FOREVER, show, &s));
    ck_assert_str_eq(s.text, "1?:\n2: +b +b/c +b/c/0\n3: =a\n4: -b/c/0 #b/c\n5: -b/c -b\n");
    CHECK_STATUS(cop_history_replay_due(replay, &due), COP_E_ABSENT);
    CHECK_OK(cop_history_replay_run(replay, COP_FOREVER, show, &s)); /* nothing more */
    ck_assert_int_eq(s.count, 5);
    cop_history_replay_close(replay);

    s = (showing){.stop_after = 2};
    replay = replay_of(2, 4, 0, 0);
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
    ck_assert_str_eq(s.text, "2?:\n3: =a\n");
    CHECK_OK(cop_history_drop(store, 4));
    CHECK_STATUS(cop_history_replay_due(replay, &due), COP_E_ABSENT); /* 5 is behind the last one */
    CHECK_OK(cop_history_replay_run(replay, COP_FOREVER, show, &s));
    ck_assert_str_eq(s.text, "2?:\n3: =a\n");
    cop_history_replay_close(replay);

    s = (showing){.stop_after = 0};
    replay = replay_of(1, 5, 0, 0);
    CHECK_OK(cop_history_drop(store, 3)); /* its changes are part of the next step */
    CHECK_OK(cop_history_replay_run(replay, COP_FOREVER, show, &s));
    ck_assert_str_eq(s.text, "1?:\n2: +b +b/c +b/c/0\n5: -b/c/0 -b/c -b =a\n");
    cop_history_replay_close(replay);
    cop_history_replay_close(NULL);
    t_close(store);
}
END_TEST

START_TEST(at_a_pace)
{
    showing s = {.stop_after = 0};
    cop_history_entry first, last;
    uint64_t due;

    open_keeping();
    for (int i = 0; i < 5; i++) {
        t_set_at(store, "a", cop_i64(i));
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    CHECK_OK(cop_history_next(store, 1, &first));
    CHECK_OK(cop_history_next(store, 5, &last));
    uint64_t span = last.time_ns - first.time_ns;
    cop_replay *replay = replay_of(0, UINT64_MAX, 2, 0);
    CHECK_OK(cop_history_replay_run(replay, COP_FOREVER, show, &s));
    ck_assert_int_eq(s.count, 5);
    ck_assert_uint_ge(s.at[4] - s.at[0] + 1000000, span / 2);
    cop_history_replay_close(replay);

    s = (showing){.stop_after = 0};
    replay = replay_of(0, UINT64_MAX, 1, 5000000);
    CHECK_STATUS(cop_history_replay_run(replay, 0, show, &s), COP_E_TIMEOUT); /* what is due */
    ck_assert_int_eq(s.count, 1);
    CHECK_OK(cop_history_replay_due(replay, &due));
    ck_assert_uint_ge(due + 1, s.at[0] + 4000000);
    CHECK_STATUS(cop_history_replay_run(replay, cop_deadline_in_ms(7), show, &s), COP_E_TIMEOUT);
    ck_assert_int_le(s.count, 3);
    CHECK_OK(cop_history_replay_run(replay, COP_FOREVER, show, &s));
    ck_assert_int_eq(s.count, 5);
    ck_assert_uint_ge(s.at[4] - s.at[0], 20000000);
    cop_history_replay_close(replay);
    t_close(store);
}
END_TEST

static void *
stop_soon(void *replay)
{
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    cop_history_replay_stop(replay);
    return NULL;
}

START_TEST(stopped)
{
    showing s = {.stop_after = 0};
    pthread_t thread;

    open_keeping();
    five_versions();
    cop_replay *replay = replay_of(0, UINT64_MAX, 1, UINT64_C(3600000000000));
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, replay), 0);
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
    pthread_join(thread, NULL);
    ck_assert_int_eq(s.count, 1);
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
    cop_history_replay_close(replay);
    replay = replay_of(0, UINT64_MAX, 0, 0);
    s = (showing){.stops = replay};
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
    ck_assert_int_eq(s.count, 1);
    cop_history_replay_close(replay);
    t_close(store);
}
END_TEST

START_TEST(refused_replays)
{
    cop_history_replay_options options = COP_HISTORY_REPLAY_OPTIONS_INIT;
    cop_replay *replay;
    cop_error error = COP_ERROR_INIT;
    showing s = {.stop_after = 0};

    open_keeping();
    five_versions();
    options.speed = -1;
    CHECK_STATUS(cop_history_replay_open(store, &options, &replay, &error), COP_E_INVALID);
    options.speed = 0.0 / 0.0;
    CHECK_STATUS(cop_history_replay_open(store, &options, &replay, &error), COP_E_INVALID);
    options.speed = 1e-300; /* slower than anybody waits */
    options.size = 3;
    CHECK_STATUS(cop_history_replay_open(store, &options, &replay, &error), COP_E_INVALID);
    options.size = sizeof options;
    atomic_store(&store->memory->fail_countdown, 0);
    CHECK_STATUS(cop_history_replay_open(store, NULL, &replay, &error), COP_E_MEMORY);
    atomic_store(&store->memory->fail_countdown, -1);
    CHECK_OK(cop_history_replay_open(store, NULL, &replay, &error));
    cop__evaluating = true;
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    cop_history_replay_close(replay);
    replay = replay_of(0, UINT64_MAX, 0, 0); /* gaps in the place of lists that get no memory */
    s.stop_after = 1;
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
    for (int k = 0; k < 4; k++) {
        s.stop_after = 1;
        atomic_store(&store->memory->fail_for_ever, true);
        atomic_store(&store->memory->fail_countdown, k);
        CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
        atomic_store(&store->memory->fail_countdown, -1);
    }
    ck_assert_int_eq(strncmp(s.text, "1?:\n2?:\n", 8), 0);
    cop_store_close(store);
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CLOSING);
    cop_replay *none;
    CHECK_STATUS(cop_history_replay_open(store, NULL, &none, &error), COP_E_CLOSING);
    cop_history_replay_close(replay);
    t_all_released();
}
END_TEST

START_TEST(nothing_after_a_fork)
{
    showing s = {.stop_after = 1};
    cop_history_entry entry;
    uint64_t due;
    int status;

    open_keeping();
    five_versions();
    cop_replay *replay = replay_of(0, UINT64_MAX, 0, 0);
    CHECK_STATUS(cop_history_replay_run(replay, COP_FOREVER, show, &s), COP_E_CANCELLED);
    pid_t child = fork();
    if (child == 0) {
        bool refused_all =
            cop_history_replay_run(replay, COP_FOREVER, show, &s) == COP_E_FORKED &&
            cop_history_replay_due(replay, &due) == COP_E_FORKED &&
            cop_history_find(store, 1, &entry) == COP_E_FORKED &&
            cop_history_keep(store, NULL, 0, NULL, NULL) == COP_E_FORKED &&
            cop_history_restore(store, 1, COP_FOREVER, NULL, NULL) == COP_E_FORKED &&
            cop_history_export(store, take, NULL, NULL, NULL) == COP_E_FORKED &&
            cop_history_import(store, "", 0, NULL, NULL) == COP_E_FORKED;
        cop_history_replay_close(replay);
        t_exit_child(refused_all ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    cop_history_replay_close(replay);
    t_close(store);
}
END_TEST

static void
tests(TCase *tests)
{
    tcase_add_test(tests, every_type_and_label);
    tcase_add_test(tests, nothing_is_a_file_too);
    tcase_add_loop_test(tests, trees_at_random, 0, 8);
    tcase_add_test(tests, on_top_of_what_there_is);
    tcase_add_test(tests, computed_atoms_are_left_out);
    tcase_add_test(tests, computed_atoms_in_the_first_version);
    tcase_add_test(tests, no_room_to_try_a_file_out);
    tcase_add_test(tests, memory_refused_to_an_import);
    tcase_add_test(tests, any_damage_is_found);
    tcase_add_test(tests, where_it_is_damaged);
    tcase_add_test(tests, elements_that_move);
    tcase_add_test(tests, sums_alone_do_not_convince);
    tcase_add_test(tests, paths_that_would_be_too_long);
    tcase_add_test(tests, summed_damage);
    tcase_add_test(tests, memory_and_sinks_that_refuse);
    tcase_add_test(tests, a_sink_that_refuses);
    tcase_add_test(tests, shown_in_order);
    tcase_add_test(tests, at_a_pace);
    tcase_add_test(tests, stopped);
    tcase_add_test(tests, refused_replays);
    tcase_add_test(tests, nothing_after_a_fork);
}

int
main(void)
{
    return t_run("history files", tests);
}
