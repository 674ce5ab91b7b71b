#!/bin/sh
# SPDX-License-Identifier: MIT
# planted_faults.sh [BUILD-DIRECTORY [WHOSE [COMMAND]]]
# Every fault that is built in on purpose must be caught by a test. The build
# has --enable-planted-faults --enable-perturb; COP_FAULT=NAME switches one
# fault on. A fault is caught when its command passes without it, and with it
# fails within the limit below in one of three tries. A run that has to be
# ended by the clock caught nothing: a test must notice by itself. WHOSE is
# how the commands to be tried begin: tests/ or ./coppice; without it all are.
# As many commands run at once as there are processors, each with its faults one
# after the other, by this script with COMMAND: then only that one's lines come.
set -u

build=${1:-${top_builddir:-.}}
whose=${2:-}
only=${3:-}
limit=240
tries=3

# fault | the command, from the build directory, that must catch it. The load of a user is told
# all but help_without_barrier, which takes two store buffers to be late within the same 20 ns.
table='
page_freed_while_pinned | tests/stress/stress_reclaim --seconds 5
page_freed_early        | tests/stress/stress_reclaim --seconds 5
page_freed_early        | tests/unit/test_model
published_page_changed  | tests/stress/stress_reclaim --seconds 5
txn_dropped             | tests/stress/stress_counters --seconds 3
root_before_pages       | tests/stress/stress_reclaim --seconds 5
pending_ignored         | tests/unit/test_pin_schedule
help_without_barrier    | tests/unit/test_pin_schedule
watch_twice             | tests/stress/stress_watch --seconds 3
watch_edge              | tests/stress/stress_watch --seconds 3
watch_wake              | tests/stress/stress_watch --seconds 3
effect_wake_lost        | tests/stress/stress_effect_queue --seconds 3
wake_lost               | tests/unit/test_workers_schedule
deque_item_twice        | tests/unit/test_workers_schedule
dependent_not_marked    | tests/stress/stress_graph --seconds 5
dependency_kept         | tests/stress/stress_graph --seconds 5
node_before_dependency  | tests/stress/stress_graph --seconds 5
batch_edge              | tests/stress/stress_batcher --seconds 3
fragment_stale          | tests/stress/stress_serialize --seconds 3
monitor_torn            | tests/stress/stress_monitor --seconds 3
diff_page_skipped       | tests/unit/test_difference
diff_page_skipped       | tests/unit/test_patch_random
patch_array_order       | tests/unit/test_difference
patch_array_order       | tests/unit/test_patch_random
history_pruned_used     | tests/stress/stress_kept --seconds 3
reserve_used            | tests/unit/test_memory_limit
count_not_returned      | tests/unit/test_pool_trim
count_not_returned      | tests/stress/stress_memory --seconds 3
revoked_early           | tests/stress/stress_revoke --seconds 5
revoked_early           | tests/unit/test_handle_schedule
revoked_early           | tests/unit/test_revoke
page_freed_while_pinned | ./coppice stress --seconds 6 --patience-ms 4000
published_page_changed  | ./coppice stress --seconds 6 --patience-ms 4000
txn_dropped             | ./coppice stress --seconds 6 --patience-ms 4000
root_before_pages       | ./coppice stress --seconds 6 --patience-ms 4000
dependent_not_marked    | ./coppice stress --seconds 6 --patience-ms 4000
dependency_kept         | ./coppice stress --seconds 6 --patience-ms 4000
node_before_dependency  | ./coppice stress --seconds 6 --patience-ms 4000
effect_wake_lost        | ./coppice stress --seconds 8 --patience-ms 4000 --writers 0 --readers 0 --watchers 0 --depth 0 --threads 0
wake_lost               | ./coppice stress --seconds 8 --patience-ms 4000 --writers 0 --readers 0 --watchers 0 --depth 0 --threads 0
deque_item_twice        | ./coppice stress --seconds 8 --patience-ms 4000 --writers 0 --readers 0 --watchers 0 --depth 0 --threads 0
watch_twice             | ./coppice stress --seconds 6 --patience-ms 4000
watch_edge              | ./coppice stress --seconds 6 --patience-ms 4000
watch_wake              | ./coppice stress --seconds 6 --patience-ms 4000
batch_edge              | ./coppice stress --seconds 8 --patience-ms 4000 --writers 0 --readers 0 --watchers 0 --depth 0 --threads 0
monitor_torn            | ./coppice stress --seconds 8 --patience-ms 4000 --writers 0 --readers 0 --watchers 0 --depth 0 --threads 0
pending_ignored         | ./coppice stress --seconds 8 --patience-ms 4000 --writers 0 --readers 0 --watchers 0 --depth 0 --threads 0
'

# A fault that is built in but not in the table is caught by nobody.
check_table()
{
    src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
    for fault in $(sed -n '/#define COP_FAULT_MAP/,/[^\\]$/s/.*X(\([a-z_]*\)).*/\1/p' "$src/lib/base/base.h"); do
        echo "$table" | grep -q "^$fault " || {
            echo "FAIL: $fault is not in the table"
            exit 1
        }
    done
}

CK_FORK=no
export CK_FORK
unset COP_FAULT

# run FAULT COMMAND...: the status of the command, 124 when the clock ended it
run()
{
    name=$1
    shift
    if [ "$name" = none ]; then
        timeout -k 5 "$limit" "$@" >"$out" 2>&1 </dev/null
    else
        COP_FAULT=$name timeout -k 5 "$limit" "$@" >"$out" 2>&1 </dev/null
    fi
}

# what STATUS: the status in words
what()
{
    case $1 in
    0) echo "passed" ;;
    124 | 137) echo "ran into the limit of $limit s" ;;
    126 | 127) echo "could not be run" ;;
    *)
        if [ "$1" -gt 128 ]; then
            echo "killed by SIG$(kill -l $(($1 - 128)))"
        else
            echo "exit status $1"
        fi
        ;;
    esac
}

# try FAULT COMMAND...: sets verdict (caught or MISSED) and detail
try()
{
    verdict=MISSED
    attempt=0
    while [ "$attempt" -lt "$tries" ]; do
        attempt=$((attempt + 1))
        run "$@"
        status=$?
        detail="$(what $status), try $attempt of $tries"
        case $status in
        0 | 77 | 124 | 126 | 127 | 137) ;;
        *) verdict=caught; return ;;
        esac
    done
}

row()
{
    printf '%-26s %-8s %-38s %s\n' "$@"
}

# One command: without a fault, then with each of those that it is to catch.
of_command()
{
    out=$(mktemp)
    trap 'rm -f "$out"' EXIT
    # shellcheck disable=SC2086 # a command with its arguments
    if ! run none $1; then
        status=$?
        tail -n 20 "$out"
        row "(none)" FAILED "without a fault: $(what $status)" "$1"
        return
    fi
    for fault in $(echo "$table" | sed -n "s|^\([a-z_]*\) *. $1\$|\1|p"); do
        # shellcheck disable=SC2086
        try "$fault" $1
        row "$fault" "$verdict" "$detail" "$1"
    done
}

if [ -n "$only" ]; then
    cd "$build" || exit 99
    of_command "$only"
    exit 0
fi

check_table
table=$(echo "$table" | grep -F "| $whose")
commands=$(echo "$table" | sed 's/^[^|]*| *//' | sort -u)
self=$(cd "$(dirname "$0")" && pwd)/planted_faults.sh
cd "$build" || exit 99
# shellcheck disable=SC2046 # one word for each program
${MAKE:-make} -j"$(nproc)" $(echo "$commands" | sed 's/ .*//' | sort -u) || exit 1
row fault verdict how command
rows=$(echo "$commands" | xargs -d '\n' -P "$(nproc)" -n 1 sh "$self" . "$whose")
echo "$rows"

checks=$(echo "$table" | wc -l)
failures=$((checks - $(echo "$rows" | grep -c '^[a-z_]* *caught ')))
echo "$(((checks - failures) * 100 / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ "$failures" -eq 0 ]
