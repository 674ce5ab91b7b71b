#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh [--long]
# Checks the pin protocol with Spin: the sound model must pass in every size, each broken one must
# be caught. --long adds a publication to the largest size (2 minutes, 8 GB). Skips without Spin.
set -u

model=$(cd "$(dirname "$0")" && pwd)/pin.pml
spin=${SPIN:-spin}
cc=${CC:-cc}
long=${1:-}

if ! command -v "$spin" >/dev/null; then
    echo "skipped: spin is missing (Debian: apt-get install spin)"
    exit 77
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
checks=0
failures=0

# search NAME COMPILER-FLAGS RUN-FLAGS MODEL-FLAG...: leaves what the search printed in NAME/out
search()
{
    mkdir "$work/$1" || exit 99
    (
        cd "$work/$1" || exit 99
        compile=$2
        run=$3
        shift 3
        "$spin" -a "$@" "$model" >out 2>&1 || exit 99
        # shellcheck disable=SC2086 # words
        $cc -w -DSAFETY -DNOFAIR -DVECTORSZ=512 -DMEMLIM=12000 $compile -o pan pan.c >>out 2>&1 ||
            exit 99
        # shellcheck disable=SC2086
        ./pan -n -m100000 $run >>out 2>&1
    )
}

# What the search called NAME printed:
states() { sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/$1/out"; }
seconds() { sed -n 's/^pan: elapsed time \([0-9.e-]*\) seconds/\1/p' "$work/$1/out"; }
violated() { sed -n 's/^pan:1: \(assertion violated\) *\(.*\) (at depth.*/\2/p' "$work/$1/out"; }

# verdict NAME WORD TEXT
verdict()
{
    checks=$((checks + 1))
    case $2 in
    FAILED | MISSED) failures=$((failures + 1)); tail -n 20 "$work/$1/out" ;;
    esac
    printf '%-22s %-7s %s\n' "$1" "$2" "$3"
}

# A search that ran out of memory or depth has shown nothing.
sound()
{
    if grep -q 'errors: 0$' "$work/$1/out" && ! grep -Eq 'MEMLIM bound|max search depth' "$work/$1/out"; then
        verdict "$1" passed "$(states "$1") states, $(seconds "$1") s: $2"
    else
        verdict "$1" FAILED "$2"
    fi
}

broken()
{
    name=$1
    shift
    search "$name" -O0 -w20 "$@" "-DFAULT_$name"
    if [ -n "$(violated "$name")" ]; then
        verdict "$name" caught "$(states "$name") states: $(violated "$name")"
    else
        verdict "$name" MISSED "$*"
    fi
}

publications=2
[ "$long" = --long ] && publications=3
search two_by_two -O2 -w24 -DREADERS=2 -DPUBLISH=$publications -DLOWEST_FREE &
search one_reader -O2 -w22 -DGROWTH -DPUBLISH=5
sound one_reader "1 reader, 2 pins, 5 publications"
search three_pins -O2 -w23 -DGROWTH -DPINS=3 -DPUBLISH=3
sound three_pins "1 reader, 3 pins, 3 publications"
search fence_mode -O2 -w22 -DGROWTH -DPUBLISH=5 -DFENCE
sound fence_mode "1 reader, 2 pins, 5 publications, without membarrier"
search two_readers -O2 -w23 -DREADERS=2 -DPINS=1 -DPUBLISH=3 -DLOWEST_FREE
sound two_readers "2 readers, 1 pin, 3 publications"

for fault in pending_ignored help_without_barrier no_first_barrier exact_only posted_only \
    stale_counted no_reload repost any_help; do
    broken $fault -DGROWTH
done
broken fence_store -DGROWTH -DFENCE

wait
sound two_by_two "2 readers, 2 pins, $publications publications"
echo "$(((checks - failures) * 100 / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ "$failures" -eq 0 ]
