/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench watch: what watchers cost. CPU time of the one thread that commits and tells, so
 * other load on the machine and the waiting in a window do not count.
 *
 *   commit_N    a commit of one atom while N watchers of other atoms are open, nobody polling
 *   pass_N      the same, and a look at what it changed (cop_store_poll) after each
 *   told        one change told to a function that looks at it, 1,000 at once
 *   burst_*     1,000 commits to 100 atoms: without an observer; with one that writes each change
 * it is told as JSON, after each commit; and with one whose own window is a frame (16 ms) given_*
 * 1,000 updates of 100 atoms handed over with cop_txn_submit, until they are committed and told:
 * without gathering (batch.updates = false), and in windows of 16 ms; each without an observer, and
 * with one that writes each change it is told as JSON saved*      how much less the observer costs
 * (time with it less time without) by the window
 *
 * A round takes all cases in turn, every other one in the opposite order; what is saved is the
 * median of the rounds' own ratios. Intervals are of 95 %.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <coppice/coppice.h>

#include "bench/arguments.h"
#include "bench/clock.h"
#include "bench/need.h"
#include "bench/report.h"

enum { ATOMS = 1000, UPDATES = 1000, BURST_ATOMS = 100, WATCHERS = 1000 };
#define FRAME_NS UINT64_C(16000000)

static cop_store *store;
static cop_atom atom[ATOMS];
static volatile uint64_t sink;
static int64_t counter;

static void
commit_one(cop_atom a)
{
    cop_txn *txn;
    cop_value value = cop_i64(++counter);
    need(cop_txn_begin(store, &txn), "begin");
    need(cop_txn_set(txn, a, &value), "set");
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
open_store(void)
{
    char path[32];
    need(cop_store_open(NULL, &store, NULL), "open");
    for (int i = 0; i < ATOMS; i++) {
        int n = snprintf(path, sizeof path, "host/n%d", i);
        need(cop_atom_at(store, path, (size_t)n, &atom[i], NULL), "atom");
    }
}

/* ---- observers ---- */

static void
look(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    cop_change change;
    (void)context;
    (void)watch;
    while (cop_watch_change(batch, &change))
        sink += change.atom.id;
}

static void
serialize(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    cop_change change;
    char text[256];
    (void)context;
    (void)watch;
    while (cop_watch_change(batch, &change))
        sink += (uint64_t)snprintf(
            text, sizeof text,
            "{\"version\":%llu,\"path\":\"%.*s\",\"before\":%lld,\"now\":%lld}\n",
            (unsigned long long)batch->to, (int)change.path_length, change.path,
            (long long)cop_value_i64(&change.before), (long long)cop_value_i64(&change.now));
}

static cop_watch *
watch_open(const char *path, uint64_t window_ns, cop_watch_function function)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *watch;
    options.max_delay_ns = options.min_interval_ns = window_ns;
    need(cop_watch_open(store, path, strlen(path), &options, function, NULL, &watch, NULL),
         "watch");
    return watch;
}

/* ---- cases ---- */

/* ns a commit of the first atom. */
static double
commits(unsigned watchers, unsigned n, bool polls)
{
    static cop_watch *watch[WATCHERS];
    char path[32];
    for (unsigned i = 0; i < watchers; i++) {
        snprintf(path, sizeof path, "host/n%u", i + 1 < ATOMS ? i + 1 : 1);
        watch[i] = watch_open(path, 0, look);
    }
    uint64_t begin = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++) {
        commit_one(atom[0]);
        if (polls)
            need(cop_store_poll(store), "poll");
    }
    double ns = (double)(bench_cpu_ns() - begin) / n;
    for (unsigned i = 0; i < watchers; i++)
        cop_watch_close(watch[i]);
    return ns;
}

static double
told(unsigned n)
{
    cop_watch *watch = watch_open("host", 0, look);
    double ns = 0;
    for (unsigned i = 0; i < n; i++) {
        cop_txn *txn;
        need(cop_txn_begin(store, &txn), "begin");
        for (int k = 0; k < ATOMS; k++) {
            cop_value value = cop_i64(++counter);
            need(cop_txn_set(txn, atom[k], &value), "set");
        }
        need(cop_txn_commit(txn, NULL, NULL), "commit");
        uint64_t begin = bench_cpu_ns();
        need(cop_store_poll(store), "poll");
        ns += (double)(bench_cpu_ns() - begin);
    }
    cop_watch_close(watch);
    return ns / n / ATOMS;
}

/* ns a burst, until all is told. A host polls when the descriptor says so. */
static double
burst(bool observer, uint64_t window_ns)
{
    cop_watch *watch = observer ? watch_open("host", window_ns, serialize) : NULL;
    struct pollfd p = {.events = POLLIN};
    need(cop_store_fd(store, &p.fd), "descriptor");
    uint64_t begin = bench_cpu_ns();
    for (int i = 0; i < UPDATES; i++) {
        commit_one(atom[i % BURST_ATOMS]);
        if (observer && poll(&p, 1, 0) == 1)
            need(cop_store_poll(store), "poll");
    }
    while (observer && cop_watch_told(watch) != cop_store_version(store))
        if (poll(&p, 1, 1000) == 1)
            need(cop_store_poll(store), "poll");
    double ns = (double)(bench_cpu_ns() - begin);
    cop_watch_close(watch);
    return ns;
}

/* A loop that only asks whether there is something: what the host's loop costs without an observer.
 */
static double
burst_alone(void)
{
    struct pollfd p = {.events = POLLIN};
    need(cop_store_fd(store, &p.fd), "descriptor");
    uint64_t begin = bench_cpu_ns();
    for (int i = 0; i < UPDATES; i++) {
        commit_one(atom[i % BURST_ATOMS]);
        (void)poll(&p, 1, 0);
    }
    return (double)(bench_cpu_ns() - begin);
}

/* ---- handed over ---- */

static void
gather(bool updates)
{
    cop_options options = COP_OPTIONS_INIT;
    need(cop_store_options(store, &options), "options");
    options.batch_updates = updates;
    options.batch_window_ms = FRAME_NS / 1000000;
    need(cop_store_reconfigure(store, &options, COP_FOREVER, NULL), "reconfigure");
}

static cop_ticket *
submit_one(cop_atom a)
{
    cop_txn *txn;
    cop_ticket *ticket;
    cop_value value = cop_i64(++counter);
    need(cop_txn_begin(store, &txn), "begin");
    need(cop_txn_set(txn, a, &value), "set");
    need(cop_txn_submit(txn, &ticket), "submit");
    return ticket;
}

/* The host's loop: polls when the descriptor says so, for at most `ms`. */
static void
loop(struct pollfd *p, int ms)
{
    if (poll(p, 1, ms) == 1)
        need(cop_store_poll(store), "poll");
}

static void
hand_over(struct pollfd *p, cop_watch *watch)
{
    cop_ticket *ticket = NULL;
    for (int i = 0; i < UPDATES; i++) {
        cop_ticket_release(ticket);
        ticket = submit_one(atom[i % BURST_ATOMS]);
        loop(p, 0);
    }
    while (cop_ticket_poll(ticket, NULL) == COP_E_PENDING)
        loop(p, 1000);
    cop_ticket_release(ticket);
    while (watch != NULL && cop_watch_told(watch) != cop_store_version(store))
        loop(p, 1000);
}

/* ns a burst. The observer has no window of its own: it is told after each commit. */
static double
given(bool updates, bool observer)
{
    enum { BURSTS = 4 };
    gather(updates);
    cop_watch *watch = observer ? watch_open("host", 0, serialize) : NULL;
    struct pollfd p = {.events = POLLIN};
    need(cop_store_fd(store, &p.fd), "descriptor");
    uint64_t begin = bench_cpu_ns();
    for (int i = 0; i < BURSTS; i++)
        hand_over(&p, watch);
    double ns = (double)(bench_cpu_ns() - begin) / BURSTS;
    cop_watch_close(watch);
    gather(true);
    return ns;
}

enum {
    COMMIT_0,
    COMMIT_1,
    COMMIT_10,
    COMMIT_1000,
    PASS_1,
    PASS_1000,
    TOLD,
    ALONE,
    EACH,
    FRAME,
    SAVED,
    GIVEN_EACH_ALONE,
    GIVEN_EACH,
    GIVEN_FRAME_ALONE,
    GIVEN_FRAME,
    SAVED_GIVEN,
    CASES
};
static const struct {
    const char *name, *unit;
} cases[CASES] = {
    {"commit_0", "ns/op"},       {"commit_1", "ns/op"},
    {"commit_10", "ns/op"},      {"commit_1000", "ns/op"},
    {"pass_1", "ns/op"},         {"pass_1000", "ns/op"},
    {"told", "ns/change"},       {"burst_alone", "ns/burst"},
    {"burst_each", "ns/burst"},  {"burst_frame", "ns/burst"},
    {"saved", "percent"},        {"given_each_alone", "ns/burst"},
    {"given_each", "ns/burst"},  {"given_frame_alone", "ns/burst"},
    {"given_frame", "ns/burst"}, {"saved_given", "percent"},
};

/* By the update batcher. */
static void
round_given(report_samples of[CASES], bool opposite)
{
    double ns[4];
    for (unsigned k = 0; k < 4; k++) {
        unsigned i = opposite ? 3 - k : k; /* with each its pair beside it */
        ns[i] = given(i >= 2, i % 2 == 1);
    }
    for (unsigned i = 0; i < 4; i++)
        report_add(&of[GIVEN_EACH_ALONE + i], ns[i]);
    report_add(&of[SAVED_GIVEN], 100.0 * (1.0 - (ns[3] - ns[2]) / (ns[1] - ns[0])));
}

static void
round_run(report_samples of[CASES], unsigned n, bool opposite)
{
    report_add(&of[COMMIT_0], commits(0, n, false));
    report_add(&of[COMMIT_1], commits(1, n, false));
    report_add(&of[COMMIT_10], commits(10, n, false));
    report_add(&of[COMMIT_1000], commits(1000, n, false));
    report_add(&of[PASS_1], commits(1, n, true));
    report_add(&of[PASS_1000], commits(1000, n, true));
    report_add(&of[TOLD], told(n / 200));
    double alone = burst_alone(), each = burst(true, 0), frame = burst(true, FRAME_NS);
    report_add(&of[ALONE], alone);
    report_add(&of[EACH], each);
    report_add(&of[FRAME], frame);
    report_add(&of[SAVED], 100.0 * (1.0 - (frame - alone) / (each - alone)));
    round_given(of, opposite);
}

static void
print(const report_samples of[CASES], bool json)
{
    char number[32], fields[96];
    double low, high;
    for (int i = 0; i < CASES; i++) {
        report_interval(&of[i], &low, &high);
        snprintf(fields, sizeof fields, ",\"ci_low\":%.4g,\"ci_high\":%.4g", low, high);
        report_row row = {"watch", cases[i].name, "coppice", cases[i].unit, fields, &of[i]};
        if (json)
            report_json(&row);
        else
            printf("%-18s %10s %-10s [%.4g, %.4g]\n", cases[i].name,
                   report_number(report_median(&of[i]), number, sizeof number), cases[i].unit, low,
                   high);
    }
}

int
main(int argc, char **argv)
{
    static report_samples of[CASES];
    uint32_t rounds = 15;
    bool json = false, quick = false;
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_FLAG("quick", quick), BENCH_END};
    bench_arguments(argc, argv, table);
    open_store();
    for (uint32_t i = 0; i < rounds; i++)
        round_run(of, quick ? 2000 : 20000, i % 2 == 1);
    print(of, json);
    cop_store_close(store);
    return 0;
}
