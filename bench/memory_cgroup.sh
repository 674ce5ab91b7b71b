#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ./dev bench memory_cgroup: bench_memory's scenarios in a control group whose memory limit is the
# store's limit and 30 %. The kernel kills a process that needs more: each scenario must come to its
# end, and no process of the group may have been killed.
#
#     bash bench/memory_cgroup.sh BUILD-FOLDER [--limits "32 128"] [--seconds N] [--percent 130]
#                                 [--scenarios "pin all"]
#
# The group holds the benchmark too: the program, and what its writers remember, come out of the
# 30 %. Both versions of control groups are tried; 77 where no group can be made.

set -u
build=${1:-}
bench=$build/bench/bench_memory
[ -x "$bench" ] || { echo "memory_cgroup.sh: no bench_memory in '$build'" >&2; exit 2; }
shift
limits="32 128 512" seconds=20 percent=130
scenarios="none pin pinning snapshots watcher history all"
while [ $# -gt 0 ]; do
    value=${2:?"$1 wants a value"}
    case $1 in
    --limits) limits=${value//,/ } ;;
    --seconds) seconds=$value ;;
    --percent) percent=$value ;;
    --scenarios) scenarios=${value//,/ } ;;
    *) echo "memory_cgroup.sh: --limits, --seconds, --percent, --scenarios" >&2; exit 2 ;;
    esac
    shift 2
done

note() { echo "memory_cgroup.sh: $*" >&2; }

# --- a group ----------------------------------------------------------------

group="" version=""

# Nothing of ours is left in it when this is called. The kernel may need a moment.
remove_group()
{
    [ -n "$group" ] || return 0
    for _ in $(seq 20); do
        rmdir "$group" 2>/dev/null && break
        sleep 0.1
    done
    group=""
}
trap remove_group EXIT
trap 'exit 1' INT TERM

# Version 1: a directory below the controller's mount has the controller's files at once.
make_v1()
{
    local mount=$1
    group=$mount/coppice-bench-$$
    if ! mkdir "$group" 2>/dev/null; then
        group=""
        return 1
    fi
    [ -w "$group/memory.limit_in_bytes" ] && version=1 && return
    remove_group
    return 1
}

# Version 2: the group above must hand the controller on.
make_v2()
{
    local mount=$1
    grep -qw memory "$mount/cgroup.controllers" 2>/dev/null || return 1
    grep -qw memory "$mount/cgroup.subtree_control" ||
        echo +memory >"$mount/cgroup.subtree_control" 2>/dev/null || return 1
    group=$mount/coppice-bench-$$
    if ! mkdir "$group" 2>/dev/null; then
        group=""
        return 1
    fi
    [ -w "$group/memory.max" ] && version=2 && return
    remove_group
    return 1
}

# At the top, else below the group that this process is in, if that was handed to its user.
make_group()
{
    local mount type options path
    while read -r _ mount type options _; do
        case $type in
        cgroup2)
            path=$(sed -n 's/^0:://p' /proc/self/cgroup)
            make_v2 "$mount" || make_v2 "$mount${path%/}" && return
            ;;
        cgroup)
            [[ ,$options, == *,memory,* ]] || continue
            path=$(sed -n 's/^[0-9]*:[^:]*memory[^:]*://p' /proc/self/cgroup)
            make_v1 "$mount" || make_v1 "$mount${path%/}" && return
            ;;
        esac
    done </proc/mounts
    return 1
}

# Without swap: what does not fit is to be seen.
set_limit()
{
    if [ "$version" = 2 ]; then
        echo "$1" >"$group/memory.max" || return 1
        [ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
    else
        echo "$1" >"$group/memory.limit_in_bytes" || return 1
        [ ! -e "$group/memory.memsw.limit_in_bytes" ] ||
            echo "$1" >"$group/memory.memsw.limit_in_bytes" || return 1
    fi
}

# field FILE NAME: the number behind a name, 0 where there is none
field()
{
    local n
    n=$(sed -n "s/^$2 //p" "$group/$1" 2>/dev/null)
    echo "${n:-0}"
}

kills()
{
    if [ "$version" = 2 ]; then field memory.events oom_kill; else field memory.oom_control oom_kill; fi
}

peak()
{
    if [ "$version" = 2 ]; then
        cat "$group/memory.peak" 2>/dev/null || echo 0 # since Linux 5.19
    else
        cat "$group/memory.max_usage_in_bytes"
    fi
}

# Times that the group was at its limit and the kernel had to take something back.
pressed()
{
    if [ "$version" = 2 ]; then field memory.events max; else cat "$group/memory.failcnt"; fi
}

# --- runs -------------------------------------------------------------------

mib() { awk -v n="$1" 'BEGIN { printf "%.1f", n / 1048576 }'; }

# run LIMIT SCENARIO: 0 when it came to its end and nothing was killed
run()
{
    local limit=$1 scenario=$2 bytes out status killed said
    make_group || return 77
    bytes=$((limit * 1048576 / 100 * percent))
    set_limit "$bytes" || { note "the limit could not be set"; return 1; }
    out=$( (
        echo "$BASHPID" >"$group/cgroup.procs" &&
            exec "$bench" --limits "$limit" --seconds "$seconds" --scenario "$scenario"
    ) 2>&1)
    status=$?
    killed=$(kills)
    said=survived
    [ "$killed" -eq 0 ] || said="KILLED ($killed)"
    printf '%-10s %9s %9s %9s %9s  %-12s %s\n' "$scenario" "$limit" "$(mib "$bytes")" \
        "$(mib "$(peak)")" "$(pressed)" "$said" "$([ $status -eq 0 ] || echo "exit status $status")"
    [ "$status" -eq 0 ] || echo "$out" | tail -n +6 | sed 's/^/    /'
    remove_group
    [ "$killed" -eq 0 ] && [ "$status" -eq 0 ]
}

make_group || {
    note "skipped: no memory controller of control groups is writable here (version 1 or 2)"
    exit 77
}
note "control groups of version $version, in ${group%/*}"
remove_group

printf '%-10s %9s %9s %9s %9s  %s\n' trouble "limit" "group" "peak" "pressed" "MiB; store's limit, group's, peak of the group"
failures=0
for limit in $limits; do
    for scenario in $scenarios; do
        run "$limit" "$scenario" || failures=$((failures + 1))
    done
done
[ "$failures" -eq 0 ]
