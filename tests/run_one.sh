#!/bin/sh
# SPDX-License-Identifier: MIT
# run_one.sh PROGRAM [ARGUMENT...]
# Runs one test for make check: gives a stress program its seconds, bounds
# the time, and sets what the sanitizers want. From the environment:
#   COP_STRESS_SECONDS  seconds for each stress program (2)
#   COP_TEST_TIMEOUT    seconds after which a test is ended and has failed (600)
#   COP_SANITIZE        no, address or thread: how the program was built
#   COP_TEST_WRAPPER    a command to run the program under, such as valgrind
set -eu

program=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)

case ${program##*/} in
stress_*) [ $# -gt 0 ] || set -- --seconds "${COP_STRESS_SECONDS:-2}" ;;
fuzz_*) [ $# -gt 0 ] || set -- "$here/tests/fuzz/corpus/${program##*/}.corpus" ;;
esac
case $program in
*.sh) set -- "$program" "$@"; program="sh" ;;
*.py) set -- "$program" "$@"; program="python3" ;;
esac

# A unit test's seconds, where it does not say itself; four is not much on a busy machine.
export CK_DEFAULT_TIMEOUT="${CK_DEFAULT_TIMEOUT:-60}"

case ${COP_SANITIZE:-no} in
address)
    # A forked child would report the leaks of the parent that it left behind.
    export CK_FORK=no
    export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:${ASAN_OPTIONS:-}"
    export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
    ;;
thread)
    export CK_FORK=no
    export TSAN_OPTIONS="suppressions=$here/valgrind/tsan.supp:second_deadlock_stack=1:${TSAN_OPTIONS:-}"
    ;;
esac

# SIGABRT first, so that what hangs leaves a trace where there is a core.
# shellcheck disable=SC2086 # the wrapper is a command with its arguments
exec timeout --signal=ABRT --kill-after=10 "${COP_TEST_TIMEOUT:-600}" \
    ${COP_TEST_WRAPPER:-} "$program" "$@"
