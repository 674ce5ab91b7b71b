/* SPDX-License-Identifier: MIT */
/* Metrics as text, line by line, in both formats; and the buffer through which text goes to a sink.
 */
#include <coppice/graph.h>
#include <coppice/stats.h>

#include <stdarg.h>

#include "commit/combiner.h"
#include "monitor/monitor.h"
#include "monitor/text.h"
#include "tests/support/store_test.h"

typedef struct sheet {
    char text[65536];
    size_t used, stop_at, calls, greatest;
} sheet;

static sheet s;
static const char *at; /* in s.text: what has not been looked at */

static int
write_sheet(void *context, const char *bytes, size_t n)
{
    ck_assert_ptr_eq(context, &s);
    s.calls++;
    if (s.used + n > s.stop_at)
        return 1;
    memcpy(s.text + s.used, bytes, n);
    s.used += n;
    s.text[s.used] = '\0';
    s.greatest = n > s.greatest ? n : s.greatest;
    return 0;
}

static void
sheet_begin(void)
{
    s = (sheet){.stop_at = sizeof s.text - 1};
    at = s.text;
}

/* ---- lines ---- */

/* The next line is this one. */
__attribute__((format(printf, 1, 2))) static void
line(const char *format, ...)
{
    char want[512];
    va_list args;
    size_t n = strcspn(at, "\n");

    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    ck_assert_msg(strlen(want) == n && memcmp(at, want, n) == 0, "'%.*s', should be '%s'", (int)n,
                  at, want);
    ck_assert_int_eq(at[n], '\n');
    at += n + 1;
}

/* The next line begins like this, and has a number after it. */
static uint64_t
sample(const char *name)
{
    size_t n = strlen(name);
    char *end;

    ck_assert_msg(strncmp(at, name, n) == 0 && at[n] == ' ', "'%.60s', should be '%s'", at, name);
    uint64_t value = strtoull(at + n + 1, &end, 10);
    ck_assert(end > at + n + 1 && *end == '\n');
    at = end + 1;
    return value;
}

static uint64_t
single(const char *name, const char *unit, const char *help, bool open)
{
    char full[128];
    bool counter = strcmp(unit, "count") == 0;
    const char *total = counter ? "_total" : "";

    line("# HELP coppice_%s%s %s", name, open ? "" : total, help);
    line("# TYPE coppice_%s%s %s", name, open ? "" : total, counter ? "counter" : "gauge");
    snprintf(full, sizeof full, "coppice_%s%s", name, total);
    return sample(full);
}

static void
stats_lines(bool open)
{
    char name[128];
    uint64_t sum = 0;
#define ROW(row, unit, help)                                          \
    sum = single(#row, unit, help, open);                             \
    if (strcmp(#row, "commits") == 0 || strcmp(#row, "version") == 0) \
        ck_assert_uint_eq(sum, 3);
    COP_STATS_MAP(ROW)
#undef ROW
    line("# HELP coppice_memory_bytes bytes held, by what they are for");
    line("# TYPE coppice_memory_bytes gauge");
    sum = 0;
    for (int kind = 0; kind < COP_MEMORY_KINDS; kind++) {
        snprintf(name, sizeof name, "coppice_memory_bytes{kind=\"%s\"}",
                 cop_memory_kind_name((cop_memory_kind)kind));
        sum += sample(name);
    }
    ck_assert_uint_gt(sum, 1000);
}

static void
graph_lines(bool open)
{
#define ROW(row, unit, help) (void)single("graph_" #row, unit, help, open);
    COP_GRAPH_STATS_MAP(ROW)
#undef ROW
}

static const char *const le_time[] = {"1e-06",  "2.5e-06", "5e-06",  "1e-05", "2.5e-05", "5e-05",
                                      "0.0001", "0.00025", "0.0005", "0.001", "0.0025",  "0.005",
                                      "0.01",   "0.025",   "0.05",   "0.1",   "0.25",    "0.5",
                                      "1",      "2.5",     "5",      "10",    "30"};
static const char *const le_count[] = {"1",   "2",   "4",   "8",    "16",   "32",   "64",
                                       "128", "256", "512", "1024", "4096", "65536"};

/* Three deliveries, of 900 ns, 3 ms and 40 s. */
static uint64_t
delivered(double le)
{
    return le >= 40 ? 3 : le >= 0.003 ? 2 : 1;
}

static void
time_lines(cop_measure measure)
{
    const char *name = cop_measure_name(measure);
    bool notify = measure == COP_MEASURE_NOTIFY;

    for (unsigned i = 0; i < sizeof le_time / sizeof *le_time; i++)
        line("coppice_duration_seconds_bucket{of=\"%s\",le=\"%s\"} %" PRIu64, name, le_time[i],
             notify ? delivered(strtod(le_time[i], NULL)) : 0);
    line("coppice_duration_seconds_bucket{of=\"%s\",le=\"+Inf\"} %d", name, notify ? 3 : 0);
    line("coppice_duration_seconds_sum{of=\"%s\"} %.17g", name, notify ? 40003000900 / 1e9 : 0.0);
    line("coppice_duration_seconds_count{of=\"%s\"} %d", name, notify ? 3 : 0);
}

static void
measured_lines(bool open)
{
    const char *total = open ? "" : "_total";

    line("# HELP coppice_duration_seconds how long a part of a commit, or what is named, took");
    line("# TYPE coppice_duration_seconds histogram");
    if (open)
        line("# UNIT coppice_duration_seconds seconds");
    for (int i = 0; i < COP_MEASURES; i++)
        if (i != COP_MEASURE_BATCH && i != COP_MEASURE_OPERATIONS)
            time_lines((cop_measure)i);
    line("# HELP coppice_overruns%s what took longer than its budget", total);
    line("# TYPE coppice_overruns%s counter", total);
    line("coppice_overruns_total{of=\"commit\"} 0");
    line("coppice_overruns_total{of=\"computed\"} 0");
    line("coppice_overruns_total{of=\"notify\"} 1");
    line("# HELP coppice_commit_size what one commit took together");
    line("# TYPE coppice_commit_size histogram");
    for (int i = COP_MEASURE_BATCH; i <= COP_MEASURE_OPERATIONS; i++) {
        const char *name = cop_measure_name((cop_measure)i);
        for (unsigned k = 0; k < sizeof le_count / sizeof *le_count; k++)
            line("coppice_commit_size_bucket{in=\"%s\",le=\"%s\"} 0", name, le_count[k]);
        line("coppice_commit_size_bucket{in=\"%s\",le=\"+Inf\"} 0", name);
        line("coppice_commit_size_sum{in=\"%s\"} 0", name);
        line("coppice_commit_size_count{in=\"%s\"} 0", name);
    }
}

static cop_store *
three_commits(void)
{
    cop_store *store = t_open();
    for (int64_t i = 0; i < 3; i++)
        t_set_at(store, "a/b", cop_i64(i));
    return store;
}

START_TEST(every_line)
{
    bool open = _i != 0;
    cop_metrics_format format = open ? COP_METRICS_OPENMETRICS : COP_METRICS_PROMETHEUS;
    cop_store *store = three_commits();
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;

    sheet_begin();
    CHECK_OK(cop_metrics_write(store, format, COP_FOREVER, write_sheet, &s));
    stats_lines(open);
    graph_lines(open);
    ck_assert_uint_eq(single("monitor_running", "", "1 when commits are being measured", open), 0);
    if (open)
        line("# EOF");
    ck_assert_str_eq(at, ""); /* never measured */
    options.notify_budget_ns = UINT64_C(10000000000);
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    cop__monitor_notified(store, P("w"), 900);
    cop__monitor_notified(store, P("w"), 3000000);
    cop__monitor_notified(store, P("w"), UINT64_C(40000000000));
    sheet_begin();
    CHECK_OK(cop_metrics_write(store, format, COP_FOREVER, write_sheet, &s));
    stats_lines(open);
    graph_lines(open);
    ck_assert_uint_eq(single("monitor_running", "", "1 when commits are being measured", open), 1);
    measured_lines(open);
    if (open)
        line("# EOF");
    ck_assert_str_eq(at, "");
    t_close(store);
}
END_TEST

static bool
has(const char *wanted)
{
    const char *found = strstr(s.text, wanted);
    while (found != NULL && found != s.text && found[-1] != '\n')
        found = strstr(found + 1, wanted);
    return found != NULL;
}

START_TEST(sizes_of_commits)
{
    cop_store *store = t_open();
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;

    options.sample_every = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    for (unsigned n = 1; n <= 3; n++) {
        cop_txn *txn = t_begin(store);
        for (unsigned i = 0; i < n; i++) {
            cop_value value = cop_i64((int64_t)(n * 10 + i));
            CHECK_OK(cop_txn_set_at(txn, P("a/b"), &value, NULL));
        }
        t_commit(txn);
    }
    sheet_begin();
    CHECK_OK(cop_metrics_write(store, COP_METRICS_PROMETHEUS, COP_FOREVER, write_sheet, &s));
    ck_assert(has("coppice_duration_seconds_count{of=\"commit\"} 3\n"));
    ck_assert(has("coppice_commit_size_bucket{in=\"batch\",le=\"1\"} 3\n"));
    ck_assert(has("coppice_commit_size_sum{in=\"batch\"} 3\n"));
    ck_assert(has("coppice_commit_size_bucket{in=\"operations\",le=\"1\"} 1\n"));
    ck_assert(has("coppice_commit_size_bucket{in=\"operations\",le=\"2\"} 2\n"));
    ck_assert(has("coppice_commit_size_bucket{in=\"operations\",le=\"4\"} 3\n"));
    ck_assert(has("coppice_commit_size_bucket{in=\"operations\",le=\"+Inf\"} 3\n"));
    ck_assert(has("coppice_commit_size_sum{in=\"operations\"} 6\n"));
    ck_assert(has("coppice_commit_size_count{in=\"operations\"} 3\n"));
    CHECK_OK(cop_monitor_stop(store));
    sheet_begin();
    CHECK_OK(cop_metrics_write(store, COP_METRICS_PROMETHEUS, COP_FOREVER, write_sheet, &s));
    ck_assert(has("coppice_monitor_running 0\n")); /* what was measured is told still */
    ck_assert(has("coppice_commit_size_count{in=\"operations\"} 3\n"));
    t_close(store);
}
END_TEST

/* What needs the right is left out while another one has it. */
START_TEST(without_the_right)
{
    cop_store *store = three_commits();

    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    sheet_begin();
    CHECK_OK(
        cop_metrics_write(store, COP_METRICS_OPENMETRICS, cop_deadline_in_ms(1), write_sheet, &s));
    cop__right_leave(store);
    stats_lines(true);
    ck_assert_uint_eq(single("monitor_running", "", "1 when commits are being measured", true), 0);
    line("# EOF");
    t_close(store);
}
END_TEST

START_TEST(what_is_wrong)
{
    cop_store *store = three_commits();
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    cop__monitor *monitor = atomic_load(&store->monitor);

    CHECK_STATUS(cop_metrics_write(store, COP_METRICS_PROMETHEUS, 0, NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_metrics_write(store, (cop_metrics_format)7, 0, write_sheet, &s),
                 COP_E_INVALID);
    sheet_begin();
    s.stop_at = 5000;
    CHECK_STATUS(cop_metrics_write(store, COP_METRICS_PROMETHEUS, COP_FOREVER, write_sheet, &s),
                 COP_E_IO);
    sheet_begin();
    CHECK_OK(cop__monitor_lock(monitor, COP_FOREVER));
    CHECK_STATUS(
        cop_metrics_write(store, COP_METRICS_OPENMETRICS, cop_deadline_in_ms(3), write_sheet, &s),
        COP_E_TIMEOUT);
    ck_assert_ptr_null(strstr(s.text, "# EOF")); /* it is not whole */
    pthread_mutex_unlock(&monitor->reader->lock);
    cop__evaluating = true;
    CHECK_STATUS(cop_metrics_write(store, COP_METRICS_PROMETHEUS, 0, write_sheet, &s),
                 COP_E_IN_EVALUATION);
    cop__evaluating = false;
    const cop_snapshot *held = t_take(store);
    cop_store_close(store);
    CHECK_STATUS(cop_metrics_write(store, COP_METRICS_PROMETHEUS, 0, write_sheet, &s),
                 COP_E_CLOSING);
    cop_snapshot_drop(held);
    t_all_released();
}
END_TEST

/* ---- the buffer ---- */

START_TEST(text_is_passed_on)
{
    cop__text text;
    char want[20000], longest[COP_TEXT_LINE];
    size_t used = 0;

    sheet_begin();
    cop__text_begin(&text, write_sheet, &s);
    CHECK_OK(cop__text_end(&text));
    ck_assert_uint_eq(s.calls, 0); /* nothing */
    cop__text_begin(&text, write_sheet, &s);
    for (unsigned i = 0; i < 1000; i++) {
        cop__text_put(&text, "line %u\n", i);
        used += (size_t)snprintf(want + used, sizeof want - used, "line %u\n", i);
    }
    CHECK_OK(cop__text_end(&text));
    ck_assert_str_eq(s.text, want);
    ck_assert_uint_eq(s.calls, 3);
    ck_assert_uint_gt(s.greatest, sizeof text.buffer - COP_TEXT_LINE);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    sheet_begin();
    cop__text_begin(&text, write_sheet, &s);
    for (unsigned i = 0; i < 20; i++)
        cop__text_put(&text, "%s", longest);
    CHECK_OK(cop__text_end(&text));
    ck_assert_uint_eq(s.used, 20 * (sizeof longest - 1));
    ck_assert_uint_eq(s.greatest, 8 * (sizeof longest - 1)); /* as many as fit for sure */
    ck_assert_uint_eq(strspn(s.text, "x"), s.used);
    sheet_begin();
    s.stop_at = 0;
    cop__text_begin(&text, write_sheet, &s);
    for (unsigned i = 0; i < 100; i++)
        cop__text_put(&text, "%s", longest);
    ck_assert(text.stopped);
    CHECK_STATUS(cop__text_end(&text), COP_E_IO);
    ck_assert_uint_eq(s.calls, 1); /* who wants no more is not asked again */
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, every_line, 0, 2);
    tcase_add_test(tests, sizes_of_commits);
    tcase_add_test(tests, without_the_right);
    tcase_add_test(tests, what_is_wrong);
    tcase_add_test(tests, text_is_passed_on);
}

int
main(void)
{
    return t_run("metrics", add);
}
