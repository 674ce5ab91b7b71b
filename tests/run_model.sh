#!/bin/sh
# SPDX-License-Identifier: MIT
# run_model.sh: Spin checks the pin protocol of tests/model/pin.pml in every
# interleaving, and must find a fault in each variant that breaks the protocol.
# COP_MODEL_FULL=1 adds two readers: 26 million states, 1.2 GB, some minutes.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
model=$src/tests/model/pin.pml
command -v spin >/dev/null || { echo "spin is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
checks=0
failures=0

# verify EXPECTED DEFINITION...: EXPECTED is holds or broken
verify()
{
    expected=$1
    shift
    checks=$((checks + 1))
    rm -f pan*
    verdict="not run"
    if spin -a "$@" "$model" >spin.log 2>&1 &&
        ${CC:-cc} -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=4096 -o pan pan.c >>spin.log 2>&1; then
        ./pan -m200000 >pan.log 2>&1
        # A search that was cut short proves nothing.
        if grep -Eq 'max search depth too small|out of memory|reached -DMEMLIM' pan.log; then
            verdict="cut short"
        elif grep -q 'errors: 0' pan.log; then
            verdict="holds"
        elif grep -q 'errors: [1-9]' pan.log; then
            verdict="broken"
        fi
    fi
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
    printf '%-9s %10s states  %s\n' "$verdict" "${states:-?}" "$*"
    [ "$verdict" = "$expected" ] && return
    failures=$((failures + 1))
    echo "FAIL: expected: $expected"
    cat spin.log
}

verify holds -DREADERS=1
verify holds -DREADERS=1 -DFENCE
[ -z "${COP_MODEL_FULL:-}" ] || verify holds -DREADERS=2 -DPINS=1 -DPUBLISH=2
for fault in $(grep -Eo '(ifn?def|defined) *\(? *FAULT_[a-z_]+' "$model" | grep -Eo 'FAULT_.*' | sort -u); do
    case $fault in
    # Without membarrier the reader's stores are its own business.
    FAULT_fence_store) verify broken "-D$fault" -DFENCE ;;
    *) verify broken "-D$fault" ;;
    esac
done

echo "$(((checks - failures) * 100 / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ "$failures" -eq 0 ]
