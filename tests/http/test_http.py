#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The HTTP protocol and the program: every route, every limit, every refusal.

    test_http.py [TEST...]

Starts the built program on a free port of the loopback address, once for most of the tests and anew
where a limit is to be small. The program is $COPPICE, else $top_builddir/coppice, else build/coppice.
$VERBOSE tells how long each test took. Prints "N passed, N failed".
"""
import os
import sys
import time

sys.dont_write_bytecode = True  # the tree may be read-only, and is not to be littered

import graph_tests
import history_tests
import host_tests
import limit_tests
import memory_tests
import metrics_tests
import patch_tests
import program_tests
import refusal_tests
import state_tests
import transaction_tests
import watch_tests
from harness import PROGRAM, Count, Server, check, equal


def tests_of(module, names):
    return [getattr(module, "test_" + name) for name in names.split()]


# Of one server, which they share and which must live through them all.
SHARED = (tests_of(state_tests, "state paths query head etags put_delete patch conditions "
                                "condition_race")
          + tests_of(transaction_tests, "transaction transaction_refusals preconditions "
                                        "transaction_race snapshots")
          + tests_of(history_tests, "history history_restore history_refusals history_file history_command")
          + tests_of(refusal_tests, "host_header origin content_types routes stats keep_alive "
                                    "malformed")
          + tests_of(memory_tests, "memory memory_holders memory_trim")
          + tests_of(limit_tests, "streams") + tests_of(metrics_tests, "metrics metrics_held monitor trace") + tests_of(program_tests, "client usage")
          + tests_of(patch_tests, "json_patch diff watch_patches")
          + tests_of(watch_tests, "watch watch_erased watch_patterns watch_resume watch_reset "
                                  "watch_window watch_refusals"))
# With servers of their own.
OWN = (tests_of(transaction_tests, "lease_end") + tests_of(history_tests, "history_rules")
       + tests_of(limit_tests, "slow_readers body_limit store_limits header_limit connections deadlines")
       + tests_of(program_tests, "stress stress_server stress_server_ended stress_server_unanswered "
                                 "stress_server_faults stress_bar stress_faults tune top options options_set "
                                 "reload ports load_and_feed")
       + tests_of(metrics_tests, "monitor_large")
       + tests_of(memory_tests, "memory_limit memory_full memory_waiting memory_many doctor doctor_old doctor_pressure doctor_behind")
       + tests_of(watch_tests, "watch_log watch_places watch_slow watch_command")
       + tests_of(host_tests, "host_source status_line")
       + tests_of(graph_tests, "derived why why_at_the_end graph live_options threads_under_load"))


def main():
    if not os.access(PROGRAM, os.X_OK):
        print("no program at %s" % PROGRAM)
        return 77
    wanted = sys.argv[1:]
    server = None
    for test in SHARED + OWN:
        if wanted and test.__name__ not in wanted and test is not state_tests.test_state:
            continue
        began = time.time()
        try:
            if test in SHARED:
                if server is None or server.process.poll() is not None:
                    # It is to complain of nothing, and clients hold versions here for long.
                    server = Server("--set", "memory.stall_ms=0")
                test(server)
            else:
                test()
        except Exception as error:  # a test that breaks off has failed, the others go on
            check(False, "%s broke off" % test.__name__, repr(error))
        if os.environ.get("VERBOSE"):
            print("%-28s %6.2f s" % (test.__name__, time.time() - began), flush=True)
    if server:
        equal(server.process.poll(), None, "the server lived through it all")
        equal(server.end(), 0, "and ends with 0")
        equal("".join(server.complaints), "", "it complained of nothing")
    print("%d passed, %d failed" % (Count.passed, Count.failed))
    return 1 if Count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
