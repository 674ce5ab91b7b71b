#!/bin/sh
# SPDX-License-Identifier: MIT
# run_probes.sh: every static probe that lib/base/probes.h tells of is in what was built, when it was
# built with <sys/sdt.h>.
set -u

build=${top_builddir:-.}
src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}

grep -q 'HAVE_SYS_SDT_H=1' "$build/Makefile" || { echo "built without sys/sdt.h (Debian: systemtap-sdt-dev)"; exit 77; }
command -v readelf >/dev/null || { echo "no readelf"; exit 77; }

file=$build/.libs/libcoppice.so
[ -e "$file" ] || file=$build/coppice
notes=$(readelf -n "$file") || exit 1
failures=0
for probe in $(sed -n 's/^ \*   \([a-z]*\)  *[a-z].*/\1/p' "$src/lib/base/probes.h"); do
    echo "$notes" | grep -q "Name: $probe\$" && continue
    echo "FAIL: $file has no probe $probe"
    failures=$((failures + 1))
done
[ "$failures" -eq 0 ]
