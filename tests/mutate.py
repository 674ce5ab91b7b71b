#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Mutation: do the unit tests notice when the library is wrong?

A mutant is the library with one small change in one place: a comparison that is off by one or the
other way round, + for -, && for ||, a number that is one more or less, a condition negated, a call
or an assignment left out, the other truth value returned, ++ for --. The unit tests are run against
it; one that fails, crashes or runs into its time kills the mutant. What survives shows a line whose
effect no test looks at (or that has none: such are listed with their reasons in
mutation-exclusions.txt, so that a reader can judge them).

How it is done:
  * The library and the unit tests are built once, with assertions, expensive checks, poisoned free
    memory, the leak sanitizer and checked bounds of arrays, in a directory of their own (--build
    keeps it for the next run).
  * For a mutant one file is compiled, and linked in front of the archive, whose member of that
    name is then not used. A test that includes that file is compiled with the mutant in its place.
    A mutant that does not compile, or compiles to the same code, is replaced by the next one.
  * A failed assertion of Check ends the test program at once; programs do not fork for each test.
  * A mutant is put to the tests that run its line, as a build with --enable-coverage has found (a
    line that none runs, to all). Those of its room come first, the others in the order of their
    time; the first that fails ends the mutant.
  * Which mutants: N, spread over the files by the number of places to mutate, chosen by --seed.

  mutate.py [--mutants N] [--seed S] [--at-least PERCENT] [--only TEXT] [--jobs 1|2] [--build DIR]
            [--place FILE:LINE] [--list]

The last line is "mutation: N mutants, K killed, P %"; the exit status is 1 when P is below
--at-least (85), 2 when there is nothing to measure. --only takes files whose name holds a text (or, given
again, one of several), --place every mutant of one line, --list shows what would be done.
"""
import argparse
import bisect
import hashlib
import json
import os
import queue
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from mutate_places import SOURCE, all_places, read_exclusions

# Room or file: the tests that know it best. Then come the others, fastest first.
RELEVANT = {
    "lib/tree/path.c": ["test_path"],
    "lib/tree/value.c": ["test_value"],
    "lib/tree/diff.c": ["test_diff"],
    "lib/tree/difference": ["test_difference", "test_patch"],
    "lib/tree/items.c": ["test_difference", "test_patch"],
    "lib/tree/name": ["test_name", "test_directory"],
    "lib/tree/list": ["test_list", "test_branches"],
    "lib/tree/directory.c": ["test_directory"],
    "lib/tree/name.c": ["test_directory"],
    "lib/tree/compact.c": ["test_compact", "test_memory_trim"],
    "lib/tree": ["test_tree", "test_list", "test_directory", "test_branches"],
    "lib/reclaim/snapshot.c": ["test_snapshot"],
    "lib/reclaim/reader.c": ["test_pin"],
    "lib/reclaim/pin.c": ["test_pin", "test_pin_schedule"],
    "lib/reclaim/handle": ["test_revoke", "test_holders"],
    "lib/reclaim/holders.c": ["test_holders", "test_revoke"],
    "lib/reclaim/memory_manager.c": ["test_memory_manager", "test_memory_limit"],
    "lib/reclaim/pool.c": ["test_pool", "test_pool_trim"],
    "lib/reclaim/slab.c": ["test_pool", "test_pool_trim", "test_memory_trim"],
    "lib/reclaim": ["test_dead", "test_pool", "test_snapshot"],
    "lib/commit/conditions.c": ["test_conflicts"],
    "lib/commit/background.c": ["test_background"],
    "lib/commit/define.c": ["test_define_rules", "test_computed", "test_owned_branch", "test_background"],
    "lib/commit/reduce.c": ["test_define_rules", "test_reduce"],
    "lib/commit/step.c": ["test_patch_apply", "test_history_restore", "test_patch_refused"],
    "lib/commit/scarce.c": ["test_memory_limit"],
    "lib/commit/trim.c": ["test_memory_trim"],
    "lib/commit": ["test_txn", "test_conflicts", "test_tickets"],
    "lib/graph/lazy": ["test_lazy_rules", "test_lazy", "test_background"],
    "lib/graph/own.c": ["test_owned_branch"],
    "lib/graph/emit.c": ["test_owned_branch"],
    "lib/graph/explain.c": ["test_explain", "test_explain_whole", "test_explain_limits"],
    "lib/graph/inspect.c": ["test_explain", "test_explain_whole", "test_explain_limits"],
    "lib/graph/look.c": ["test_explain", "test_explain_whole", "test_explain_limits"],
    "lib/graph/tell.c": ["test_explain", "test_explain_whole", "test_explain_limits"],
    "lib/graph/follow": ["test_follow_rules", "test_reduce"],
    "lib/graph/pattern.c": ["test_follow_rules", "test_reduce"],
    "lib/graph/parallel.c": ["test_shared_wave"],
    "lib/graph/arena.c": ["test_shared_wave"],
    "lib/graph": ["test_graph_rules", "test_effect", "test_computed", "test_owned_branch", "test_lazy"],
    "lib/reduce/exact_sum.c": ["test_exact_sum"],
    "lib/reduce/group": ["test_group"],
    "lib/reduce/reducer.c": ["test_reduce"],
    "lib/reduce": ["test_reduction", "test_group", "test_reduce", "test_reduce_random"],
    "lib/effect/queue.c": ["test_effect_queue"],
    "lib/effect/scope": ["test_scope", "test_scope_memory"],
    "lib/effect": ["test_effect_rules", "test_effect_random", "test_effect", "test_scope"],
    "lib/watch/index.c": ["test_watch_index"],
    "lib/watch/give_way.c": ["test_watch_memory", "test_memory_limit"],
    "lib/watch/list.c": ["test_watch_log"],
    "lib/watch/log.c": ["test_watch_log"],
    "lib/watch": ["test_watch_turns", "test_watch_clock", "test_watch", "test_watch_memory",
                  "test_watch_serve"],
    "lib/monitor/histogram.c": ["test_histogram"],
    "lib/monitor/budget.c": ["test_budgets", "test_monitor_budget"],
    "lib/monitor/record.c": ["test_monitor_record", "test_monitor"],
    "lib/monitor/trace.c": ["test_monitor_trace"],
    "lib/monitor/warnings.c": ["test_warning_rules", "test_monitor_warnings"],
    "lib/monitor/metrics.c": ["test_metrics"],
    "lib/monitor/text.c": ["test_metrics"],
    "lib/monitor": ["test_monitor", "test_monitor_budget", "test_monitor_trace",
                    "test_monitor_warnings", "test_histogram"],
    "lib/serialize/json_read.c": ["test_json"],
    "lib/serialize/json_scan.c": ["test_json"],
    "lib/serialize/json": ["test_json_write", "test_json_stream", "test_json", "test_rope"],
    "lib/serialize": ["test_rope", "test_rope_memory"],
    "lib/patch": ["test_patch", "test_patch_apply", "test_patch_refused", "test_patch_random"],
    "lib/history": ["test_history", "test_history_file", "test_history_restore"],
    "lib/store/options": ["test_options"],
    "lib/store/reconfigure.c": ["test_reconfigure"],
    "lib/store/stats.c": ["test_stats"],
    "lib/store/relieve.c": ["test_memory_limit", "test_memory_manager"],
    "lib/store/explain.c": ["test_memory_limit"],
    "lib/store": ["test_store", "test_upkeep", "test_fork_exit"],
    "workers/region.c": ["test_region_rules"],
    "workers/parallel_for.c": ["test_loop_rules", "test_parallel"],
    "workers/worker.c": ["test_worker_rules"],
    "workers/task_group.c": ["test_task_group_rules", "test_parallel"],
    "workers/alarms.c": ["test_alarms", "test_timers"],
    "workers": ["test_pool_rules", "test_parallel", "test_workers"],
}
# They play the files that they include in many orders, slowly: run for mutants of these alone.
SCHEDULES = {"test_handle_schedule", "test_pin_schedule", "test_races", "test_workers_schedule"}
# Those that take seconds run for the rooms that they are about, last.
SLOW = {
    "test_dead": ("lib/tree", "lib/reclaim"),
    "test_lazy": ("lib/graph", "lib/commit"),
    "test_model": ("lib/tree", "lib/reclaim", "lib/commit"),
    "test_oom": ("lib/tree", "lib/reclaim", "lib/commit", "lib/serialize", "lib/store", "lib/graph"),
    "test_patch_random": ("lib/patch", "lib/tree/difference", "lib/commit/step.c"),
    "test_reduce_random": ("lib/reduce", "lib/commit/reduce.c"),
    "test_rope_memory": ("lib/serialize",),
    "test_shared_wave": ("lib/graph", "workers"),
    "test_workers": ("workers",),
}
# Where threads meet, or an oracle compares, a second of stress is among them.
STRESS = {"lib/commit": ["stress_threads", "stress_counters"],
          "lib/reclaim/handle": ["stress_revoke"],
          "lib/reclaim": ["stress_threads", "stress_reclaim"],
          "lib/graph/lazy": ["stress_lazy"],
          "lib/graph/memo": ["stress_lazy"],
          "lib/graph": ["stress_graph"],
          "lib/reduce": ["stress_reduce"],
          "lib/history": ["stress_kept"],
          "lib/serialize": ["stress_serialize"],
          "lib/effect": ["stress_effects", "stress_effect_queue"],
          "lib/watch": ["stress_watch"],
          "lib/monitor": ["stress_monitor"],
          "workers": ["stress_pool"]}
STRESS_SECONDS = "1"

RUN_ENVIRONMENT = dict(os.environ, CK_FORK="no", COP_TEST_SECONDS="1", CK_DEFAULT_TIMEOUT="0")
RUN_ENVIRONMENT.pop("COP_FAULT", None)
MEMORY_BYTES = 3 << 30
TRIES = 3  # of a test without a mutant: some fail when other work keeps the machine busy


def shares(counts, n):
    """n split in proportion to the counts, by largest remainders."""
    total = sum(counts.values())
    exact = {file: n * count / total for file, count in counts.items()}
    share = {file: int(x) for file, x in exact.items()}
    rest = sorted(exact, key=lambda file: (share[file] - exact[file], file))
    for file in rest[:n - sum(share.values())]:
        share[file] += 1
    return share


# --- building and running ---------------------------------------------------------------------

def limits(processor_seconds):
    os.setsid()
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds + 1))


def run(command, seconds, processor_seconds=600, **keywords):
    """The exit status, or None when time ran out. Whatever it started ends with it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL,
                               preexec_fn=lambda: limits(processor_seconds), **keywords)
    try:
        status = process.wait(seconds)
        return None if status == -signal.SIGXCPU else status
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def must(command, directory):
    done = subprocess.run(["nice", "-n", "5"] + command, cwd=directory, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-4000:]}\nmutate.py: failed: {' '.join(command)}")


CONFIGURE = [os.path.join(SOURCE, "configure"), "-q", "--disable-shared", "--disable-http",
             "--enable-planted-faults", "--enable-expensive-checks"]
# A failed assertion of Check ends the program, and so does what the thread sanitizer would report: who
# unlocks a mutex has locked it, and has not locked it before.
HOOKS = """
#include <pthread.h>
#include <unistd.h>
void __wrap__ck_assert_failed(void);
void __wrap__ck_assert_failed(void) { _exit(1); }
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (mutex->__data.__owner == gettid())
        _exit(1);
    return __real_pthread_mutex_lock(mutex);
}
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (mutex->__data.__owner != gettid())
        _exit(1);
    return __real_pthread_mutex_unlock(mutex);
}
"""
WRAPPED = ["_ck_assert_failed", "pthread_mutex_lock", "pthread_mutex_unlock"]


class Build:
    def __init__(self, directory, jobs):
        self.directory = directory
        self.tests = sorted(name[:-2] for name in os.listdir(os.path.join(SOURCE, "tests/unit"))
                            if re.match(r"test_\w+\.c$", name))
        self.stress = sorted({test for tests in STRESS.values() for test in tests})
        os.makedirs(directory, exist_ok=True)
        if not os.path.exists(os.path.join(directory, "Makefile")):
            self.must(CONFIGURE + ["CFLAGS=-O1 -fsanitize=leak,bounds -fno-sanitize-recover=bounds "
                                   "-DCOP_LEAK_SANITIZER=1"])
        self.must(["make", f"-j{jobs}", "libcoppice_internal.la", "libtest.la"] +
                  [self.object(test) for test in self.tests + self.stress])
        self.included = {test: self.sources_in(test) for test in self.tests}
        with open(os.path.join(directory, "show.mk"), "w", encoding="utf-8") as out:
            out.write("include Makefile\nshow:\n"
                      "\t@echo '$(CC) $(DEFS) $(AM_CPPFLAGS) $(CPPFLAGS) $(AM_CFLAGS) $(CFLAGS)'\n"
                      "\t@echo '$(CHECK_LIBS) $(JANSSON_LIBS) $(LIBCONFIG_LIBS) -lm -pthread'\n")
        shown = subprocess.run(["make", "-s", "-f", "show.mk", "show"], cwd=directory, check=True,
                               stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")
        self.compiler = shlex.split(shown[0]) + ["-w", "-fno-ident", "-frandom-seed=0"]
        self.libraries = shlex.split(shown[1])
        hook = os.path.join(directory, "hooks.c")
        with open(hook, "w", encoding="utf-8") as out:
            out.write(HOOKS)
        self.must(self.compiler + ["-D_GNU_SOURCE", "-c", hook, "-o", "hooks.o"])

    def must(self, command):
        must(command, self.directory)

    def sources_in(self, test):
        """The library's sources that a test is compiled with, as the compiler wrote them down."""
        with open(f"{self.directory}/tests/unit/.deps/{test}.Po", encoding="utf-8") as stream:
            names = re.findall(r"^\S+\.c(?=:)", stream.read(), flags=re.M)
        return {os.path.relpath(os.path.join(self.directory, name), SOURCE) for name in names}

    def compile(self, file, text, work):
        """The object's bytes, or None. The source stands where its name is the original's, alone."""
        for room in ("lib", "workers"):
            shutil.rmtree(os.path.join(work, room), ignore_errors=True)
        source = os.path.join(work, file)
        os.makedirs(os.path.dirname(source))
        with open(source, "w", encoding="utf-8") as out:
            out.write(text)
        target = os.path.join(work, "mutant.o")
        if run(self.compiling(file) + ["-c", file, "-o", target], 120, cwd=work) != 0:
            return None
        with open(target, "rb") as stream:
            return stream.read()

    def compiling(self, file):
        """The compiler's words for a source that is or includes the mutant of the file."""
        return self.compiler + ["-iquote", "lib", "-iquote", ".",
                                "-iquote", os.path.join(SOURCE, os.path.dirname(file))]

    def object(self, test):
        return f"tests/{'stress' if test in self.stress else 'unit'}/{test}.o"

    def arguments(self, test):
        return ["--seconds", STRESS_SECONDS, "--seed", "1"] if test in self.stress else []

    def mutated(self, test, file, work):
        """The objects of a test with the mutant of a file (if any) in it, or None."""
        if file is None:
            return [os.path.join(self.directory, self.object(test))]
        if file not in self.included.get(test, set()):
            return [os.path.join(self.directory, self.object(test)), os.path.join(work, "mutant.o")]
        target = os.path.join(work, "including.o")
        command = self.compiling(file) + ["-c", f"{SOURCE}/tests/unit/{test}.c", "-o", target]
        return [target] if run(command, 120, cwd=work) == 0 else None

    def link(self, test, file, work):
        program = os.path.join(work, test)
        d = self.directory
        objects = self.mutated(test, file, work)
        if objects is None:
            return None
        command = [self.compiler[0]] + [o for o in self.compiler[1:] if o.startswith("-f")] + \
            [f"-Wl,--wrap={name}" for name in WRAPPED] + objects + \
            [f"{d}/hooks.o", f"{d}/.libs/libtest.a", f"{d}/.libs/libcoppice_internal.a",
             "-o", program] + self.libraries
        return program if run(command, 120) == 0 else None


class Known:
    """What is known of each test from a run without a mutant, which is kept while its programs
    are the same: the seconds that it takes, and, in a build with coverage,
    {file: {line: whether it ran}}."""

    def __init__(self, build, jobs, work):
        self.build, self.work = build, work
        self.directory = os.path.join(build.directory, "coverage")
        programs = [build.object(test)[:-2] for test in build.tests + build.stress]
        os.makedirs(self.directory, exist_ok=True)
        if not os.path.exists(os.path.join(self.directory, "Makefile")):
            must(CONFIGURE + ["--enable-coverage", "CFLAGS=-O1"], self.directory)
        must(["make", f"-j{jobs}"] + programs, self.directory)
        known = {os.path.basename(program): self.of(program) for program in programs}
        for test in [test for test, found in known.items() if found is None]:
            print(f"  {test} is left out", flush=True)
            del known[test]
        self.seconds = {test: found["seconds"] for test, found in known.items()}
        self.lines = {test: found["lines"] for test, found in known.items()}

    def of(self, program):
        test = os.path.basename(program)
        kept = os.path.join(self.directory, f"{test}.known")
        counting = os.path.join(self.directory, program)
        plain = self.build.link(test, None, self.work)
        if plain is None:
            sys.exit(f"mutate.py: {test} does not link")
        digest = hashlib.sha1()
        for name in (counting, plain):
            with open(name, "rb") as stream:
                digest.update(stream.read())
        digest = digest.hexdigest()
        if os.path.exists(kept):
            with open(kept, encoding="utf-8") as stream:
                found = json.load(stream)
            if found.get("programs") == digest:
                return found
        for name in self.counters():
            os.remove(os.path.join(self.directory, name))
        lines = {}
        if test not in SCHEDULES:  # which would take minutes: they are asked anyway
            if self.time(counting, test, self.directory) is None:
                return None
            lines = self.read()
        seconds = self.time(plain, test, self.work)
        if seconds is None:
            return None
        found = {"programs": digest, "lines": lines, "seconds": seconds}
        with open(kept, "w", encoding="utf-8") as out:
            json.dump(found, out)
        print(f"  {test:<20} {found['seconds']:6.2f} s", flush=True)
        return found

    def time(self, program, test, where):
        """The seconds that it took of a processor; None when it fails again and again."""
        for _ in range(TRIES):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            status = run([program] + self.build.arguments(test), 300, cwd=where, env=RUN_ENVIRONMENT)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if status == 0:
                return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"  {test}: fails without a mutant (status {status})", flush=True)
        return None

    def counters(self):
        return [os.path.join(folder, name) for folder, _, names in os.walk(self.directory)
                for name in names if name.endswith(".gcda")]

    def read(self):
        """The counters of the library, and of what the test includes of it."""
        shown = subprocess.run(["gcov", "--json-format", "--stdout"] + self.counters(), check=True,
                               cwd=self.directory, stdout=subprocess.PIPE, text=True).stdout
        lines = {}
        for report_of_one in shown.splitlines():
            for file in json.loads(report_of_one)["files"]:
                name = os.path.relpath(os.path.join(self.directory, file["file"]), SOURCE)
                if not name.startswith(("lib/", "workers/")) or not name.endswith(".c"):
                    continue
                of_file = lines.setdefault(name, {})
                for line in file["lines"]:
                    n = str(line["line_number"])
                    of_file[n] = of_file.get(n, False) or line["count"] > 0
        return lines

    def runs(self, test, place):
        """Whether the test runs the line: the last at or before the place that is counted."""
        counted = self.lines[test].get(place.file, {})
        numbers = sorted(int(n) for n in counted)
        at = bisect.bisect_right(numbers, place.line)
        return at > 0 and counted[str(numbers[at - 1])]


class Tests:
    """Which tests a mutant is put to, in which order, and what they say."""

    def __init__(self, build, known):
        self.build, self.known = build, known

    def order(self, place):
        file, first = place.file, []
        for prefix in sorted(RELEVANT, key=len, reverse=True):
            if file.startswith(prefix):
                first += [test for test in RELEVANT[prefix] if test not in first]
        rest = sorted((test for test in self.build.tests if test not in first),
                      key=lambda test: (test in SLOW or test in SCHEDULES,
                                        self.known.seconds.get(test, 0)))
        stress = [test for room in STRESS if file.startswith(room) for test in STRESS[room]]
        order = [test for test in first + rest + stress if self.of_use(test, file)]
        return [test for test in order if test in SCHEDULES or self.known.runs(test, place)] or order

    def of_use(self, test, file):
        if test not in self.known.seconds:
            return False
        if test in SCHEDULES:
            return file in self.build.included[test]
        return test not in SLOW or file.startswith(SLOW[test])

    def killer(self, place, work):
        """The test that fails, with how it did; None when all pass."""
        for test in self.order(place):
            program = self.build.link(test, place.file, work)
            if program is None:
                return f"{test} (link)"
            needs = self.known.seconds[test]
            status = run([program] + self.build.arguments(test), max(30, 20 * needs),
                         int(max(5, 4 * needs)), cwd=work, env=RUN_ENVIRONMENT)
            if status is None:
                return f"{test} (time)"
            if status != 0:
                return f"{test} ({'signal' if status < 0 else 'exit'} {abs(status)})"
        return None


class Session:
    """Mutants of all files, tried by one or two workers."""

    def __init__(self, build, tests, sources, chosen, works):
        self.build, self.tests, self.sources, self.works = build, tests, sources, works
        self.lock = threading.Lock()
        self.originals = {}
        self.backlog = chosen  # file: [places in random order]
        self.jobs = queue.Queue()
        self.results = []  # (place, killer or None)
        self.skipped = 0
        self.done = 0

    def original(self, file, work):
        if file not in self.originals:
            self.originals[file] = self.build.compile(file, self.sources[file][0], work)
        return self.originals[file]

    def next_place(self, file):
        with self.lock:
            return self.backlog[file].pop() if self.backlog[file] else None

    def one(self, file, work):
        """Tries the file's next mutant that is one."""
        text = self.sources[file][0]
        original = self.original(file, work)
        while (place := self.next_place(file)) is not None:
            mutant = self.build.compile(file, text[:place.start] + place.new + text[place.end:], work)
            if mutant is None or mutant == original:
                with self.lock:
                    self.skipped += 1
                continue
            killer = self.tests.killer(place, work)
            with self.lock:
                self.results.append((place, killer))
                self.done += 1
                print(f"{self.done:4} {'killed' if killer else 'SURVIVED':<8} {place}"
                      f"{'  by ' + killer if killer else ''}", flush=True)
            return

    def worker(self, work):
        while True:
            try:
                file = self.jobs.get_nowait()
            except queue.Empty:
                return
            self.one(file, work)

    def run(self, share):
        order = [file for file, n in share.items() for _ in range(n)]
        random.Random(0).shuffle(order)  # what is seen of a run that is ended early is of all rooms
        for file in order:
            self.jobs.put(file)
        threads = [threading.Thread(target=self.worker, args=(work,)) for work in self.works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def report(results, skipped, sources):
    survivors = [place for place, killer in results if killer is None]
    if survivors:
        print("\nsurvivors:")
        for place in sorted(survivors, key=lambda p: (p.file, p.line)):
            line = sources[place.file][0].split("\n")[place.line - 1].strip()
            print(f"  {place}\n      {line}")
    print(f"\n{'file':<32}{'mutants':>8}{'killed':>8}{'by time':>8}{'%':>8}")
    for file in sources:
        of_file = [killer for place, killer in results if place.file == file]
        if not of_file:
            continue
        killed = sum(killer is not None for killer in of_file)
        by_time = sum(killer is not None and killer.endswith("(time)") for killer in of_file)
        print(f"{file:<32}{len(of_file):>8}{killed:>8}{by_time:>8}{100 * killed / len(of_file):>8.1f}")
    killed = len(results) - len(survivors)
    percent = 100 * killed / len(results)
    print(f"{skipped} more did not compile, or to the same code")
    print(f"mutation: {len(results)} mutants, {killed} killed, {percent:.1f} %")
    return percent


def arguments():
    parser = argparse.ArgumentParser(description="Runs the unit tests against mutants of the library.")
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-least", type=float, default=85)
    parser.add_argument("--only", action="append")
    parser.add_argument("--place", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2))
    parser.add_argument("--build")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    rules = read_exclusions()
    sources = all_places(rules, options.only)
    for rule in rules:
        if options.only is None and rule["used"] == 0:
            print(f"mutation-exclusions.txt: excludes nothing: {rule['file']} | {rule['text']}")
    if options.place:
        sources = {file: (text, [p for p in places if f"{file}:{p.line}" in options.place])
                   for file, (text, places) in sources.items()}
    counts = {file: len(places) for file, (_, places) in sources.items() if places}
    if not counts:
        print("mutate.py: nothing to mutate", file=sys.stderr)
        return 2
    n = sum(counts.values()) if options.place else min(options.mutants, sum(counts.values()))
    share = shares(counts, n)
    chosen = {}
    for file in counts:
        chosen[file] = list(sources[file][1])
        random.Random(f"{options.seed} {file}").shuffle(chosen[file])
    print(f"{sum(counts.values())} places in {len(counts)} files, seed {options.seed}")
    if options.list:
        for file, k in share.items():
            for place in chosen[file][len(chosen[file]) - k:]:
                print(f"  {place}")
        return 0

    scratch = tempfile.mkdtemp(prefix="mutate.")
    try:
        build = Build(os.path.abspath(options.build or os.path.join(scratch, "build")), options.jobs)
        works = [os.path.join(scratch, f"work{i}") for i in range(options.jobs)]
        for work in works:
            os.mkdir(work)
        tests = Tests(build, Known(build, options.jobs, works[0]))
        session = Session(build, tests, sources, chosen, works)
        session.run(share)
        if not session.results:
            print("mutate.py: no mutant compiles", file=sys.stderr)
            return 2
        percent = report(session.results, session.skipped, sources)
        return 0 if percent >= options.at_least else 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
