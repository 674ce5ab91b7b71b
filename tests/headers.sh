#!/bin/sh
# SPDX-License-Identifier: MIT
# headers.sh: every public header compiles alone, as C11 and as C++17.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
cc=${CC:-cc}
cxx=${CXX-c++}
strict="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only"
checks=0
failures=0

# compile LANGUAGE COMPILER FLAGS HEADER
compile()
{
    checks=$((checks + 1))
    # Twice: a header must also stand being included again.
    printf '#include <coppice/%s>\n#include <coppice/%s>\n' "$4" "$4" |
        $2 -x "$1" $3 $strict -I"$src/include" - && return
    failures=$((failures + 1))
    echo "FAIL: coppice/$4 as $3"
}

for header in "$src"/include/coppice/*.h; do
    [ -e "$header" ] || continue
    compile c "$cc" "-std=c11 -Wstrict-prototypes" "${header##*/}"
    [ -z "$cxx" ] || compile c++ "$cxx" "-std=c++17" "${header##*/}"
done
[ -n "$cxx" ] || echo "no C++ compiler: the headers were compiled as C only"

[ "$checks" -gt 0 ] || { echo "no public header found"; exit 99; }
echo "$(((checks - failures) * 100 / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ "$failures" -eq 0 ]
