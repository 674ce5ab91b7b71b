#!/bin/sh
# SPDX-License-Identifier: MIT
# run_exports.sh: the shared libraries export every public function of the
# headers, and nothing that is not named cop_*.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${top_builddir:-$src/build}
failures=0
exports=$(mktemp)
trap 'rm -f "$exports"' EXIT

fail()
{
    echo "FAIL: $*"
    failures=$((failures + 1))
}

found=
for library in "$build"/.libs/libcoppice.so "$build"/.libs/libcoppice-http.so; do
    [ -e "$library" ] || continue
    found="$found $library"
    # The version node of the map is an absolute symbol of its own.
    nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' >>"$exports"
done
[ -n "$found" ] || { echo "no shared library in this build"; exit 77; }

for name in $(grep -v '^cop_[^_]' "$exports"); do
    fail "exported, but not a public name: $name"
done

for header in "$src"/include/coppice/*.h; do
    # Without the HTTP module its header has nothing behind it.
    case $header in
    */http*.h) [ -e "$build/.libs/libcoppice-http.so" ] || continue ;;
    esac
    for name in $(tr '\n' ' ' <"$header" | grep -Eo 'COP_PUBLIC [^;(]*\bcop_[a-z0-9_]*\(' |
        sed 's/.*[^a-z0-9_]\(cop_[a-z0-9_]*\)($/\1/' | sort -u); do
        grep -qx "$name" "$exports" || fail "${header##*/} declares $name, no library exports it"
    done
done

[ "$failures" -eq 0 ]
