/* SPDX-License-Identifier: MIT */
/* Traces: what is recorded, and that what is written is the JSON that viewers want. */
#include <jansson.h>
#include <unistd.h>

#include "monitor/monitor.h"
#include "tests/support/store_test.h"

typedef struct sheet {
    char *text;
    size_t used, stop_at;
} sheet;

static int
write_sheet(void *context, const char *bytes, size_t n)
{
    sheet *s = context;
    if (s->stop_at > 0 && s->used + n > s->stop_at)
        return 1;
    s->text = realloc(s->text, s->used + n + 1);
    ck_assert_ptr_nonnull(s->text);
    memcpy(s->text + s->used, bytes, n);
    s->used += n;
    s->text[s->used] = '\0';
    return 0;
}

static json_t *
written(cop_store *store)
{
    sheet s = {NULL, 0, 0};
    json_error_t error;
    CHECK_OK(cop_trace_write(store, write_sheet, &s));
    json_t *json = json_loads(s.text, 0, &error);
    ck_assert_msg(json != NULL, "%s at %d: %s", error.text, error.position, s.text);
    free(s.text);
    return json;
}

static cop_store *
open_monitored(void)
{
    cop_store *store = t_open();
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    return store;
}

static const char *
name_of(const json_t *event)
{
    return json_string_value(json_object_get(event, "name"));
}

static double
number(const json_t *event, const char *name)
{
    const json_t *value = json_object_get(event, name);
    ck_assert_msg(json_is_number(value), "%s", name);
    return json_number_value(value);
}

static cop_status
copy(cop_evaluation *evaluation, void *context, cop_value *result)
{
    return cop_read(evaluation, *(cop_atom *)context, result);
}

static size_t
count(const json_t *events, const char *name)
{
    size_t n = 0, i;
    json_t *event;
    json_array_foreach(events, i, event)
    {
        ck_assert_str_eq(json_string_value(json_object_get(event, "ph")), "X");
        ck_assert(number(event, "ts") >= 0 && number(event, "dur") >= 0 &&
                  number(event, "pid") > 0 && number(event, "tid") > 0);
        n += strcmp(name_of(event), name) == 0;
    }
    return n;
}

/* Every part lies in a commit. */
static void
check_nesting(const json_t *events)
{
    size_t i, k;
    json_t *part, *commit;
    json_array_foreach(events, i, part)
    {
        bool inside = false;
        double from = number(part, "ts"), to = from + number(part, "dur");
        json_array_foreach(events, k, commit) inside |=
            strcmp(name_of(commit), "commit") == 0 && from > number(commit, "ts") - 0.0015 &&
            to < number(commit, "ts") + number(commit, "dur") + 0.0015;
        ck_assert_msg(inside, "%s at %f", name_of(part), from);
    }
}

START_TEST(a_trace_holds_each_commit_with_its_parts)
{
    cop_store *store = open_monitored();
    cop_atom x = t_make(store, "x", cop_i64(0)), made;
    CHECK_OK(cop_computed_define(store, P("odd \"name\"\\\x01"), copy, &x, NULL, &made, NULL));
    atomic_load(&store->monitor)->countdown = 1000000; /* it would not be measured otherwise */
    CHECK_OK(cop_trace_start(store, 0));
    for (int64_t i = 1; i <= 10; i++)
        t_set(store, x, cop_i64(i));
    CHECK_OK(cop_trace_stop(store));
    t_set(store, x, cop_i64(99));
    json_t *json = written(store);
    const json_t *events = json_object_get(json, "traceEvents");
    ck_assert_uint_eq(count(events, "commit"), 10);
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
        ck_assert_uint_eq(count(events, cop_measure_name((cop_measure)part)), 10);
    ck_assert_uint_eq(count(events, "run"), 10);
    check_nesting(events);
    size_t i;
    json_t *event;
    json_array_foreach(events, i, event) if (strcmp(name_of(event), "run") == 0)
        ck_assert_str_eq(json_string_value(json_object_get(json_object_get(event, "args"), "path")),
                         "odd \"name\"\\\x01");
    json_decref(json);
    t_close(store);
}
END_TEST

/* Microseconds with three digits behind the point; a run has a path, of which what JSON must not
 * hold is escaped. */
START_TEST(each_character)
{
    sheet s = {NULL, 0, 0};
    cop_store *store = open_monitored();
    cop__trace *trace = atomic_load(&store->monitor)->trace;
    cop_atom x = t_make(store, "a b\x1f\x7f\"\\", cop_i64(1)), none = {0, 0};
    char want[1024];
    long pid = getpid();
    int tid = gettid();

    CHECK_OK(cop_trace_start(store, 0));
    ck_assert_uint_eq(trace->capacity, 65536);
    uint64_t before = cop__clock_ns();
    CHECK_OK(cop_trace_start(store, 3));
    uint64_t began = trace->began_ns;
    ck_assert(began >= before && began <= cop__clock_ns());
    cop__trace_add(trace, COP_MEASURE_APPLY, none, began, began + 999);
    cop__trace_add(trace, COP_TRACE_RUN, x, began + 1234567, began + 1239573);
    CHECK_OK(cop_trace_stop(store));
    CHECK_OK(cop_trace_write(store, write_sheet, &s));
    snprintf(want, sizeof want,
             "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"lost\":0},\"traceEvents\":[\n"
             "{\"name\":\"apply\",\"cat\":\"commit\",\"ph\":\"X\",\"pid\":%ld,\"tid\":%d,"
             "\"ts\":0.000,\"dur\":0.999},\n"
             "{\"name\":\"run\",\"cat\":\"computed\",\"ph\":\"X\",\"pid\":%ld,\"tid\":%d,"
             "\"ts\":1234.567,\"dur\":5.006,"
             "\"args\":{\"path\":\"a b\\u001f\x7f\\\"\\\\\"}}\n]}\n",
             pid, tid, pid, tid);
    ck_assert_str_eq(s.text, want);
    free(s.text);
    t_close(store);
}
END_TEST

/* As many as there is room for, and one more. */
START_TEST(a_ring)
{
    cop_store *store = open_monitored();
    cop__trace *trace = atomic_load(&store->monitor)->trace;

    CHECK_OK(cop_trace_start(store, 3));
    for (int n = 1; n <= 7; n++) {
        cop__trace_add(trace, COP_MEASURE_NOTIFY, (cop_atom){0, 0}, trace->began_ns,
                       trace->began_ns + (uint64_t)n * 1000);
        atomic_store(&trace->on, false);
        json_t *json = written(store);
        const json_t *events = json_object_get(json, "traceEvents");
        ck_assert_uint_eq(json_array_size(events), n < 3 ? (size_t)n : 3);
        ck_assert(number(json_object_get(json, "otherData"), "lost") == (n < 3 ? 0 : n - 3));
        ck_assert(number(json_array_get(events, 0), "dur") == (n < 3 ? 1 : n - 2));
        json_decref(json);
        atomic_store(&trace->on, true);
    }
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop_trace_start(store, 16777216), COP_E_MEMORY); /* as many as are allowed */
    CHECK_STATUS(cop_trace_start(store, 16777217), COP_E_INVALID);
    CHECK_OK(cop_monitor_stop(store));
    CHECK_STATUS(cop_trace_start(store, 3), COP_E_STATE);
    t_close(store);
}
END_TEST

/* A sink that stops is not asked again. */
static int
count_and_stop(void *context, const char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    ++*(unsigned *)context;
    return 1;
}

START_TEST(a_sink_that_stops)
{
    cop_store *store = open_monitored();
    unsigned calls = 0;

    CHECK_OK(cop_trace_start(store, 1000));
    for (uint64_t i = 0; i < 1000; i++)
        cop__monitor_record(store, COP_MEASURE_NOTIFY, 1);
    CHECK_OK(cop_trace_stop(store));
    CHECK_STATUS(cop_trace_write(store, count_and_stop, &calls), COP_E_IO);
    ck_assert_uint_eq(calls, 1);
    t_close(store);
}
END_TEST

START_TEST(the_newest_are_kept)
{
    cop_store *store = open_monitored();
    CHECK_OK(cop_trace_start(store, 10));
    for (uint64_t i = 0; i < 25; i++)
        cop__monitor_record(store, COP_MEASURE_NOTIFY, i);
    CHECK_OK(cop_trace_stop(store));
    json_t *json = written(store);
    const json_t *events = json_object_get(json, "traceEvents");
    ck_assert_uint_eq(json_array_size(events), 10);
    ck_assert_uint_eq(count(events, "notify"), 10);
    ck_assert(number(json_array_get(events, 0), "dur") > 0.0145);
    ck_assert(number(json_object_get(json, "otherData"), "lost") == 15);
    json_decref(json);
    CHECK_OK(cop_trace_start(store, 10)); /* what was there is forgotten */
    CHECK_OK(cop_trace_start(store, 20));
    CHECK_OK(cop_trace_stop(store));
    json = written(store);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "traceEvents")), 0);
    json_decref(json);
    t_close(store);
}
END_TEST

START_TEST(what_is_wrong_is_refused)
{
    sheet s = {NULL, 0, 100};
    cop_store *store = t_open();
    CHECK_STATUS(cop_trace_start(store, 0), COP_E_STATE);
    CHECK_OK(cop_trace_stop(store));
    CHECK_STATUS(cop_trace_write(store, write_sheet, &s), COP_E_STATE);
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    CHECK_STATUS(cop_trace_write(store, write_sheet, &s), COP_E_STATE);
    CHECK_STATUS(cop_trace_write(store, NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_trace_start(store, SIZE_MAX), COP_E_INVALID);
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop_trace_start(store, 0), COP_E_MEMORY);
    CHECK_STATUS(cop_trace_write(store, write_sheet, &s), COP_E_STATE);
    CHECK_OK(cop_trace_start(store, 0));
    for (unsigned i = 0; i < 100; i++)
        cop__monitor_record(store, COP_MEASURE_NOTIFY, 1);
    CHECK_STATUS(cop_trace_write(store, write_sheet, &s), COP_E_STATE); /* still going on */
    CHECK_OK(cop_trace_stop(store));
    CHECK_STATUS(cop_trace_write(store, write_sheet, &s), COP_E_IO);
    cop__evaluating = true;
    CHECK_STATUS(cop_trace_start(store, 0), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    const cop_snapshot *held = t_take(store);
    cop_store_close(store);
    CHECK_STATUS(cop_trace_start(store, 0), COP_E_CLOSING);
    CHECK_STATUS(cop_trace_stop(store), COP_E_CLOSING);
    CHECK_STATUS(cop_trace_write(store, write_sheet, &s), COP_E_CLOSING);
    cop_snapshot_drop(held);
    free(s.text);
    t_all_released();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, a_trace_holds_each_commit_with_its_parts);
    tcase_add_test(tests, each_character);
    tcase_add_test(tests, a_ring);
    tcase_add_test(tests, a_sink_that_stops);
    tcase_add_test(tests, the_newest_are_kept);
    tcase_add_test(tests, what_is_wrong_is_refused);
}

int
main(void)
{
    return t_run("monitor trace", add);
}
