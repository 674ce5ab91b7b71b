#!/bin/sh
# SPDX-License-Identifier: MIT
# run_examples.sh: installs the library into an empty folder, builds every
# example with nothing but what pkg-config says, and runs it there.
#
# An example ends by itself, with 0, when it is given "--seconds 1"; one that
# takes no such argument ignores it.
set -u

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${top_builddir:-$src/build}
root=$build/tests/installed
failures=0
checks=0

rm -rf "$root"
mkdir -p "$root"
trap 'rm -rf "$root"' EXIT
(cd "$build" && ${MAKE:-make} install DESTDIR="$root") >"$root/install.log" 2>&1 || {
    cat "$root/install.log"
    echo "FAIL: make install"
    exit 1
}

pc=$(find "$root" -name coppice.pc)
libdir=$(dirname "$(dirname "$pc")")
PKG_CONFIG_PATH=$libdir/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
[ "$(find "$root" -path '*/include/coppice/coppice.h')" ] || {
    echo "FAIL: coppice.h is not installed"
    exit 1
}

for source in "$src"/examples/*.c; do
    [ -e "$source" ] || continue
    modules=coppice
    if grep -q 'coppice/http' "$source"; then
        [ -e "$libdir/pkgconfig/coppice-http.pc" ] || continue
        modules=coppice-http
    fi
    name=$(basename "$source" .c)
    checks=$((checks + 1))
    # shellcheck disable=SC2046 # flags are words
    if ! ${CC:-cc} -std=c11 -O2 -Wall -Wextra -Werror -pthread -o "$root/$name" "$source" \
        $(pkg-config --cflags --libs $modules) -Wl,-rpath-link,"$libdir"; then
        echo "FAIL: $name does not compile"
    elif ! LD_LIBRARY_PATH=$libdir timeout 60 "$root/$name" --seconds 1 \
        </dev/null >"$root/$name.log" 2>&1; then
        tail -n 20 "$root/$name.log"
        echo "FAIL: $name does not run"
    else
        echo "ok: $name"
        continue
    fi
    failures=$((failures + 1))
done

[ "$checks" -gt 0 ] || { echo "no examples"; exit 77; }
echo "$(((checks - failures) * 100 / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ "$failures" -eq 0 ]
