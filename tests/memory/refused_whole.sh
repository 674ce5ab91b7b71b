#!/bin/sh
# SPDX-License-Identifier: MIT
# refused_whole.sh: every public function of the headers has a row in a table of tests/memory/refused_*.c,
# and the file of that row calls it.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
failures=0
functions=0

fail()
{
    echo "FAIL: $*"
    failures=$((failures + 1))
}

for name in $(cat "$src"/include/coppice/*.h | tr '\n' ' ' | grep -Eo 'COP_PUBLIC [^;(]*\bcop_[a-z0-9_]*\(' |
    sed 's/.*[^a-z0-9_]\(cop_[a-z0-9_]*\)($/\1/' | sort -u); do
    functions=$((functions + 1))
    files=$(grep -l "^    {\"$name\"," "$src"/tests/memory/refused_*.c)
    if [ -z "$files" ]; then
        fail "$name has no row in tests/memory/refused_*.c"
    elif ! cat $files | grep -Eq "(^|[^a-z_\"])$name\("; then
        fail "$name has a row, and is not called"
    fi
done

# A row that names no function is one that was renamed.
for name in $(cat "$src"/tests/memory/refused_*.c | sed -n 's/^    {"\(cop_[a-z0-9_]*\)",.*/\1/p' | sort -u); do
    grep -qE "\b$name\(" "$src"/include/coppice/*.h || fail "there is a row for $name, and no such function"
done

echo "$functions public functions"
[ "$functions" -gt 200 ] && [ "$failures" -eq 0 ]
