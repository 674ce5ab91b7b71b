#!/bin/sh
# SPDX-License-Identifier: MIT
# coverage.sh [BUILD-DIRECTORY]
# The gate on tested lines, after make check in a build with --enable-coverage:
# of the lines in the rooms below, at least the percentage below has run. What
# does not count is listed, with its reason, in coverage-exclusions.txt.
set -u

gate=95
rooms='lib/tree lib/reclaim lib/commit lib/monitor lib/graph lib/reduce lib/effect lib/serialize lib/store lib/watch workers'

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${1:-${top_builddir:-$src/build-cov}}
exclusions=$src/tests/coverage-exclusions.txt

command -v gcovr >/dev/null || { echo "gcovr is not installed"; exit 77; }

# Lines "file REGEX | reason" and "line REGEX | reason"; # begins a comment.
patterns()
{
    sed -n "s/^$1 \{1,\}\(.*[^ ]\) \{1,\}| .*/\1/p" "$exclusions"
}

grep -Ev '^(#|$|(file|line) +[^ ].* \| .+)' "$exclusions" && {
    echo "FAIL: lines of $exclusions without a reason (shown above)"
    exit 1
}

set --
for room in $rooms; do
    set -- "$@" --filter "$src/$room/"
done
for pattern in $(patterns file); do
    set -- "$@" --exclude "$src/$pattern"
done
lines=$(patterns line | paste -s -d '|')
[ -z "$lines" ] || set -- "$@" --exclude-lines-by-pattern ".*($lines).*"

gcovr --root "$src" --object-directory "$build" --exclude-unreachable-branches \
    --print-summary --fail-under-line "$gate" "$@" "$build"
status=$?
if [ $status -eq 0 ]; then
    echo "100%: Checks: 1, Failures: 0, Errors: 0"
else
    echo "FAIL: under $gate % of lines"
    echo "0%: Checks: 1, Failures: 1, Errors: 0"
fi
exit $status
