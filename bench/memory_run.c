/* SPDX-License-Identifier: MIT */
/* The course of a run, and the process that it is in. */
#include "bench/memory_run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/memory_sample.h"
#include "bench/memory_trouble.h"
#include "bench/report.h"

enum { GRACE_S = 90, LEAST_ATOM_BYTES = 240, AFTER_MS = 1000 };

static memory_load load;
static memory_trouble trouble;

unsigned
memory_calm(unsigned seconds)
{
    return seconds >= 12 ? 3 : 1;
}

void
memory_stage(memory_figures *figures, const char *stage)
{
    (void)snprintf(figures->stage, sizeof figures->stage, "%s", stage);
}

void
memory_sleep_ms(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* --- what the sampler asks -----------------------------------------------------------------------
 */

static cop_stats
stats_now(void)
{
    cop_stats stats = COP_STATS_INIT;
    (void)cop_stats_take(load.store, &stats);
    return stats;
}

/* The store keeps the peak itself, to the byte. */
static uint64_t
counted(void *context)
{
    (void)context;
    return stats_now().bytes_peak;
}

static uint64_t
accepted(void *context)
{
    (void)context;
    return memory_load_totals(&load).accepted;
}

/* --- who held what -------------------------------------------------------------------------------
 */

static int
print_kinds(const cop_stats *stats, char *out, size_t n)
{
    int used = 0;
    for (int kind = 0; kind < COP_MEMORY_KINDS; kind++)
        if (stats->bytes_by_kind[kind] >= MIB / 8 && (size_t)used < n)
            used += snprintf(out + used, n - (size_t)used, "%s %.1f, ",
                             cop_memory_kind_name((cop_memory_kind)kind),
                             (double)stats->bytes_by_kind[kind] / (double)MIB);
    return used;
}

static void
describe(memory_figures *f)
{
    cop_stats stats = stats_now();
    int used = print_kinds(&stats, f->held, sizeof f->held);
    if ((size_t)used >= sizeof f->held)
        return;
    (void)snprintf(
        f->held + used, sizeof f->held - (size_t)used,
        "of these dead: %.1f MiB of pages, %llu values, %llu names; held besides the "
        "newest: %llu versions, the oldest for %.1f s (pinned %u, in pinning %u, "
        "snapshots %u, revoked %llu, stuck watchers %u, history %llu with %.1f MiB), %u calls of "
        "these refused",
        (double)stats.pages_dead * 512 / (double)MIB, (unsigned long long)stats.values_dead,
        (unsigned long long)stats.names_dead, (unsigned long long)stats.held_versions,
        (double)stats.oldest_held_age / 1000, atomic_load(&trouble.pins),
        atomic_load(&trouble.pinning), atomic_load(&trouble.snapshots),
        (unsigned long long)stats.snapshots_revoked, atomic_load(&trouble.sticking),
        (unsigned long long)stats.history_versions, (double)stats.history_bytes / (double)MIB,
        atomic_load(&trouble.refused));
}

/* --- the course ----------------------------------------------------------------------------------
 */

static bool
prepare(const memory_case *c, memory_figures *f)
{
    uint64_t live = c->limit / 100 * c->live_percent;
    memory_settings settings = {.limit = c->limit,
                                .live_bytes = live,
                                .atoms = (uint32_t)(live / LEAST_ATOM_BYTES),
                                .writers = c->writers,
                                .wait = c->wait,
                                .max_age_ms = c->max_age_ms};
    memory_stage(f, "fill");
    if (!memory_load_prepare(&load, &settings))
        return false;
    f->baseline = memory_resident();
    cop_status status = memory_load_open(&load);
    if (status == COP_OK)
        status = cop_reader_register(load.store); /* to look at the end, also at the limit */
    if (status != COP_OK) {
        report_note("%s at %.0f MiB: fill: %s", c->scenario, (double)c->limit / (double)MIB,
                    cop_status_message(status));
        return false;
    }
    f->live_counted = stats_now().bytes_held;
    f->live_resident = memory_resident() - f->baseline;
    f->live_atoms = memory_load_atoms(&load);
    return true;
}

static double
rate(uint64_t from, uint64_t began)
{
    return (double)(accepted(NULL) - from) * 1e9 / (double)(bench_wall_ns() - began);
}

static bool
run_writers(const memory_case *c, memory_figures *f)
{
    uint64_t calm = memory_calm(c->seconds) * UINT64_C(1000),
             rest = c->seconds * UINT64_C(1000) - calm;
    uint64_t began = bench_wall_ns();
    memory_stage(f, "writers alone");
    if (memory_load_start(&load) != COP_OK)
        return false;
    memory_sleep_ms(calm);
    f->alone_per_s = rate(0, began);
    memory_stage(f, "trouble begins");
    if (!memory_trouble_begin(&trouble, load.store, c->kinds))
        return false;
    memory_stage(f, "trouble");
    memory_sleep_ms(rest / 2);
    uint64_t half = accepted(NULL);
    began = bench_wall_ns();
    memory_sleep_ms(rest - rest / 2);
    f->with_per_s = rate(half, began);
    describe(f);
    memory_stage(f, "writers stop");
    memory_load_stop(&load);
    f->totals = memory_load_totals(&load);
    f->messages = memory_load_messages(&load, f->message, MEMORY_MESSAGES);
    return true;
}

static void
verify(memory_figures *f)
{
    memory_stage(f, "verify");
    cop_pin_t pin = cop_pin(load.store);
    if (pin.snapshot != NULL) {
        f->verdict = memory_load_verify(&load, pin.snapshot);
        f->verified = true;
    }
    cop_unpin(pin);
}

/* A store without a pool is polled by its host. */
static void
recover(memory_figures *f)
{
    uint64_t end = bench_wall_ns() + AFTER_MS * UINT64_C(1000000);
    memory_stage(f, "after the trouble");
    memory_trouble_end(&trouble);
    while (bench_wall_ns() < end) {
        (void)cop_store_poll(load.store);
        memory_sleep_ms(1);
    }
    f->counted_after = stats_now().bytes_held;
    uint64_t resident = memory_resident();
    f->resident_after = resident > f->baseline ? resident - f->baseline : 0;
    uint64_t before = accepted(NULL);
    memory_load_run(&load, 100);
    f->recovered = accepted(NULL) > before;
}

static bool
run_coppice(const memory_case *c, memory_figures *f)
{
    if (!prepare(c, f))
        return false;
    memory_sampler sampler = {.counted = counted,
                              .accepted = accepted,
                              .resident = memory_resident,
                              .baseline = f->baseline,
                              .counted_peak = &f->counted_peak,
                              .resident_peak = &f->resident_peak,
                              .longest_gap_ns = &f->longest_gap_ns};
    if (!memory_sampler_start(&sampler))
        return false;
    bool ok = run_writers(c, f);
    memory_sampler_stop(&sampler);
    if (!ok)
        return false;
    verify(f);
    recover(f);
    memory_stage(f, "close");
    memory_load_close(&load);
    return true;
}

/* --- the process ---------------------------------------------------------------------------------
 */

/* The default of SIGALRM ends the process, and the parent says during what. */
static _Noreturn void
child_main(const memory_case *c, memory_figures *f)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(c->seconds + GRACE_S);
    bool ok = strcmp(c->system, "coppice") == 0 ? run_coppice(c, f) : memory_peer_run(c, f);
    f->finished = ok;
    fflush(stdout);
    _exit(ok ? 0 : 1);
}

static void
say_end(int status, char ended[64])
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        (void)snprintf(ended, 64, "hung: nothing for %d s beyond its time", GRACE_S);
    else if (WIFSIGNALED(status))
        (void)snprintf(ended, 64, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        (void)snprintf(ended, 64, "exit status %d", WEXITSTATUS(status));
}

bool
memory_run(const memory_case *c, memory_figures *figures, char ended[64])
{
    memory_figures *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0;
    (void)snprintf(ended, 64, "no process: %s", "out of memory");
    if (shared == MAP_FAILED)
        return false;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        child_main(c, shared);
    if (pid > 0 && waitpid(pid, &status, 0) == pid)
        say_end(status, ended);
    *figures = *shared;
    munmap(shared, sizeof *shared);
    return figures->finished;
}
