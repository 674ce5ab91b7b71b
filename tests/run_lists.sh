#!/bin/sh
# SPDX-License-Identifier: MIT
# run_lists.sh: every source file of the tree is named in Makefile.am, and every
# file named there exists. A file outside the lists is neither built nor shipped.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
cd "$src" || exit 99
failures=0

for file in $(find include lib workers http devtools tools tests bench examples docs valgrind \
    -type f \( -name '*.[ch]' -o -name '*.cc' -o -name '*.sh' -o -name '*.py' -o -name '*.pml' \
    -o -name '*.md' -o -name '*.txt' -o -name '*.json' -o -name '*.conf' -o -name '*.supp' \
    -o -name '*.cfg' -o -name '*.map' -o -name '*.corpus' \) 2>/dev/null | sort); do
    case $file in
    # A program of one file is named without its ending.
    tests/unit/test_*.c | tests/stress/stress_*.c | tests/property/*.c | tests/http/test_*.c | \
        tests/fuzz/fuzz_*.c) name=${file%.c} ;;
    *) name=$file ;;
    esac
    grep -Eq "(^|[[:space:]]|/)$name([[:space:]]|\$)" Makefile.am && continue
    echo "FAIL: $file is not in Makefile.am"
    failures=$((failures + 1))
done

for file in $(grep -Eo '^	(include|lib|workers|http|devtools|tools|tests|bench|examples|docs|valgrind)/[^ ]*' \
    Makefile.am | sort -u); do
    [ -e "$file" ] || [ -e "$file.c" ] && continue
    echo "FAIL: Makefile.am names $file, which does not exist"
    failures=$((failures + 1))
done

[ "$failures" -eq 0 ]
