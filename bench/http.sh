#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ./dev bench http: requests a second and the 99th percentile of GET and PUT with wrk, beside nginx
# with a static file of the same size (PUT: nginx writes the body to a file in /dev/shm). All of it
# on loopback, a few seconds a case, the systems in turns.
#
#     bash bench/http.sh BUILD-FOLDER [--json] [--quick] [--rounds N]

set -u
top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-}
[ -x "${build:-.}/coppice" ] || { echo "http.sh: no coppice in '$build'" >&2; exit 2; }
shift
json="" rounds=3 seconds=3 connections=16
while [ $# -gt 0 ]; do
    case $1 in
    --json) json=1 ;;
    --quick) rounds=1 seconds=1 ;;
    --rounds) rounds=${2:?--rounds wants a number}; shift ;;
    *) echo "http.sh: --json, --quick, --rounds N" >&2; exit 2 ;;
    esac
    shift
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || { echo "http.sh: --rounds wants a number" >&2; exit 2; }

note() { echo "http.sh: $*" >&2; }

# --- the servers ------------------------------------------------------------

work=$(mktemp -d /dev/shm/coppice-bench-http.XXXXXX) || exit 1
pids=()
finish()
{
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
    wait
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

# Below the range that connections take their own ports from.
coppice_port=$((20000 + $$ % 5000))
nginx_port=$((25001 + $$ % 5000))
coppice_url=http://127.0.0.1:$coppice_port/v1/state
nginx_url=http://127.0.0.1:$nginx_port

# answers URL: waits up to 10 s
answers()
{
    for _ in $(seq 100); do
        curl -sf -o "$work/answer" "$1" && return
        sleep 0.1
    done
    return 1
}

# "small": one number. "kilobyte", "large": branches of about 1 kB and 100 kB. "put": what is written.
make_document()
{
    awk 'BEGIN {
        printf "{\"bench\":{\"small\":12345678,\"put\":\"\",\"kilobyte\":{"
        for (i = 0; i < 50; i++) printf "%s\"key-%03d\":%d", i ? "," : "", i, 100000000 + i * 7919
        printf "},\"large\":{"
        for (i = 0; i < 4500; i++) printf "%s\"key-%04d\":%d", i ? "," : "", i, 100000000 + i * 7919
        printf "}}}\n"
    }' >"$work/document.json"
}

start_coppice()
{
    make_document
    "$build/coppice" serve --load "$work/document.json" --port "$coppice_port" \
        >"$work/coppice.log" 2>&1 </dev/null &
    pids+=("$!")
    answers "$coppice_url/bench/small" && return
    cat "$work/coppice.log" >&2
    note "coppice serve does not answer"
    exit 1
}

# The static files are what coppice answers, byte for byte.
start_nginx()
{
    command -v nginx >/dev/null || { note "nginx is not installed; left out"; return 1; }
    mkdir -p "$work/root/bench" "$work/tmp"
    chmod 755 "$work"
    for name in small kilobyte large; do
        curl -sf -o "$work/root/bench/$name" "$coppice_url/bench/$name" || return 1
    done
    cat >"$work/nginx.conf" <<END
daemon off;
worker_processes auto;
pid $work/nginx.pid;
error_log $work/nginx.log;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    default_type application/json;
    client_body_temp_path $work/tmp;
    proxy_temp_path $work/tmp/proxy;
    fastcgi_temp_path $work/tmp/fastcgi;
    uwsgi_temp_path $work/tmp/uwsgi;
    scgi_temp_path $work/tmp/scgi;
    server {
        listen 127.0.0.1:$nginx_port;
        root $work/root;
        location = /bench/put { dav_methods PUT; }
    }
}
END
    nginx -e "$work/nginx.log" -c "$work/nginx.conf" >"$work/nginx.out" 2>&1 </dev/null &
    pids+=("$!")
    answers "$nginx_url/bench/small" && return
    cat "$work/nginx.log" "$work/nginx.out" >&2
    note "nginx does not answer; left out"
    return 1
}

# --- measuring --------------------------------------------------------------

# measure CASE SYSTEM: appends "requests/s p50 p99 errors" to the case's file
measure()
{
    local case=$1 system=$2 url put="" figures
    [ "$system" = coppice ] && url=$coppice_url || url=$nginx_url
    case $case in
    get_*) url=$url/bench/${case#get_} ;;
    put_*) url=$url/bench/put put=${case#put_} ;;
    esac
    figures=$(
        [ -z "$put" ] || export COP_PUT="$put"
        timeout $((seconds + 20)) wrk -t1 -c"$connections" -d"${seconds}s" --latency \
            -s "$top/bench/http.lua" "$url" 2>&1 | sed -n 's/^figures //p'
    )
    if [ -z "$figures" ]; then
        note "$case, $system: wrk gave no figures; left out"
        return
    fi
    [ "${figures##* }" = 0 ] || note "$case, $system: ${figures##* } failed requests"
    echo "$figures" >>"$work/$case.$system"
}

# figure FILE COLUMN: median, least and greatest
figure()
{
    awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '
        { v[NR] = $1 }
        END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR] }'
}

# --- output -----------------------------------------------------------------

# json_row CASE SYSTEM UNIT COLUMN
json_row()
{
    local median low high
    read -r median low high < <(figure "$work/$1.$2" "$4")
    printf '{"bench":"http","case":"%s","system":"%s","value":%s,"unit":"%s","bytes":%d,"connections":%d,"low":%s,"high":%s,"rounds":%d}\n' \
        "$1" "$2" "$median" "$3" "$(bytes_of "$1")" "$connections" "$low" "$high" \
        "$(wc -l <"$work/$1.$2")"
}

# table_row CASE SYSTEM: medians, and least and greatest of the first
table_row()
{
    local rate low high p50 p99 rest
    read -r rate low high < <(figure "$work/$1.$2" 1)
    read -r p50 rest < <(figure "$work/$1.$2" 2)
    read -r p99 rest < <(figure "$work/$1.$2" 3)
    printf '%-14s %8d %-9s %11.0f %11.0f .. %-11.0f %8.3f %8.3f\n' \
        "$1" "$(bytes_of "$1")" "$2" "$rate" "$low" "$high" "$p50" "$p99"
}

bytes_of()
{
    case $1 in
    get_*) stat -c %s "$work/size.${1#get_}" ;;
    put_*) echo "${1#put_}" ;;
    esac
}

report()
{
    local case system
    [ -n "$json" ] || printf '%-14s %8s %-9s %11s %26s %8s %8s\n' \
        case bytes system requests/s "least .. greatest" "p50 ms" "p99 ms"
    for case in $cases; do
        for system in $systems; do
            [ -s "$work/$case.$system" ] || continue
            [ -n "$json" ] || { table_row "$case" "$system"; continue; }
            json_row "$case" "$system" requests/s 1
            json_row "$case" "$system" "ms p50" 2
            json_row "$case" "$system" "ms p99" 3
        done
    done
}

command -v wrk >/dev/null || { note "wrk is not installed"; exit 2; }
start_coppice
for name in small kilobyte large; do
    curl -sf -o "$work/size.$name" "$coppice_url/bench/$name" || { note "no $name"; exit 1; }
done
systems=coppice
start_nginx && systems="coppice nginx"
cases="get_small get_kilobyte get_large put_16 put_1024"
for _ in $(seq "$rounds"); do
    for case in $cases; do
        for system in $systems; do
            measure "$case" "$system"
        done
    done
done
report
