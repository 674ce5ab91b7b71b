#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh BUILD: what make check-memory runs. Everything opened, run and closed in a loop, with nothing
# lost: under valgrind, or in a build with the address sanitizer under the leak sanitizer; a short soak
# that must be flat; each of the two once more with a planted leak, which must be found; and how many
# requests for memory were refused in how many public calls.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${1:-$src/build}
programs=$build/tests/memory
log=$(mktemp)
trap 'rm -f "$log"' EXIT
checks=0
failures=0

# judge WHAT WANTED STATUS: one check; shows the log of one that failed
judge()
{
    checks=$((checks + 1))
    if [ "$2" = "$3" ]; then
        echo "ok: $1"
    else
        echo "FAIL: $1 (status $3, should be $2)"
        tail -n 40 "$log"
        failures=$((failures + 1))
    fi
}

valgrind_leaks()
{
    valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=all \
        --errors-for-leak-kinds=definite,possible,indirect --fair-sched=yes \
        --suppressions="$src/valgrind/coppice.supp" "$programs/leaks" "$@" >"$log" 2>&1
}

if [ "${COP_SANITIZE:-no}" = address ]; then
    ASAN_OPTIONS=detect_leaks=1 "$programs/leaks" 12 >"$log" 2>&1
    judge "the leak sanitizer finds nothing lost" 0 $?
    ASAN_OPTIONS=detect_leaks=1:exitcode=9 COP_LEAK=1 "$programs/leaks" 1 >"$log" 2>&1
    judge "the leak sanitizer finds what is planted" 9 $?
else
    "$programs/leaks" 40 >"$log" 2>&1
    judge "every byte is given back" 0 $?
    if command -v valgrind >/dev/null; then
        valgrind_leaks 2
        judge "valgrind finds nothing lost and no error" 0 $?
        # Still reachable is not lost, but nothing of ours should be.
        reachable=$(grep -c 'still reachable' "$log")
        judge "valgrind finds nothing that is still reachable" 0 "$reachable"
        COP_LEAK=1 valgrind_leaks 1
        judge "valgrind finds what is planted" 9 $?
    else
        echo "skipped: there is no valgrind"
    fi
    "$programs/soak" --seconds "${COP_SOAK_SECONDS:-12}" >"$log" 2>&1
    judge "a soak is flat" 0 $?
    cat "$log"
    "$programs/soak" --seconds 4 --leak 40000 >"$log" 2>&1
    judge "a soak finds bytes that are forgotten" 1 $?
    "$programs/soak" --seconds 4 --hold 4 >"$log" 2>&1
    judge "a soak finds snapshots that are forgotten" 1 $?
fi

calls=0
points=0
for program in "$programs"/refused_*; do
    case $program in *.*) continue ;; esac
    "$program" >"$log" 2>&1
    judge "${program##*/}: $(tail -n 1 "$log")" 0 $?
    calls=$((calls + $(sed -n 's/^points: \([0-9]*\) calls.*/\1/p' "$log")))
    points=$((points + $(sed -n 's/^points: .*, \([0-9]*\) points.*/\1/p' "$log")))
done
echo "refused: $calls calls, $points points"
[ "$points" -gt 1000 ] || failures=$((failures + 1))

echo "Checks: $checks, Failures: $failures, Errors: 0"
[ "$failures" -eq 0 ]
