# SPDX-License-Identifier: MIT
"""GET /metrics: what it holds, and what the parsers of others say to it."""
import json
import re
import shutil
import subprocess

from harness import Server, check, equal, problem
from program_tests import run

OPEN = "application/openmetrics-text"


def sample(text, name):
    found = re.search(r"^%s (\S+)$" % re.escape(name), text, re.M)
    return float(found.group(1)) if found else None


def check_promtool(text):
    tool = shutil.which("promtool")
    if tool is None:
        print("promtool (Debian: prometheus) is not installed: metrics not checked by it", flush=True)
        return
    done = subprocess.run([tool, "check", "metrics"], input=text, text=True, capture_output=True,
                          timeout=60, check=False)
    equal((done.returncode, done.stderr), (0, ""), "promtool check metrics")


# Debian's python3-prometheus-client belongs to Debian's python.
PARSER = """
import sys
try:
    from prometheus_client.openmetrics import parser
except ImportError:
    sys.exit(77)
print(len(list(parser.text_string_to_metric_families(sys.stdin.read()))))
"""


def check_open_parser(text):
    done = subprocess.run(["/usr/bin/python3", "-c", PARSER], input=text, text=True,
                          capture_output=True, timeout=60, check=False)
    if done.returncode == 77:
        print("python3-prometheus-client is not installed: OpenMetrics not checked by it", flush=True)
        return
    equal((done.returncode, done.stderr), (0, ""), "a strict parser of OpenMetrics")
    check(int(done.stdout or 0) > 30, "families", done.stdout)


def check_complete(text, stats):
    """Each figure of /v1/stats is a metric."""
    names = {"coppice_" + name for name in stats if not isinstance(stats[name], dict)}
    names |= {"coppice_%s_%s" % (group, name) for group in ("graph", "http", "workers") for name in stats[group]}
    names |= {'coppice_memory_bytes{kind="%s"}' % kind for kind in stats["bytes_by_kind"]}
    equal({name for name in names if sample(text, name) is None and sample(text, name + "_total") is None}, set(),
          "no figure is missing")


def test_metrics_held(s):
    held = s.call("POST", "/v1/snapshots", {}).json
    s.put("/metered/held", held["version"])
    text = s.call("GET", "/metrics").body.decode()
    equal((sample(text, "coppice_http_leases"), sample(text, "coppice_oldest_held_version")), (1, held["version"]),
          "a version held for a client")
    check(sample(text, "coppice_held_versions") >= 1 and sample(text, "coppice_oldest_held_age") >= 0, "for how long")
    s.call("DELETE", "/v1/snapshots/%d" % held["id"])
    text = s.call("GET", "/metrics").body.decode()
    equal((sample(text, "coppice_http_leases"), sample(text, "coppice_oldest_held_age")), (0, 0), "no more")


MEASURES = {"apply", "propagate", "publish", "tell", "reclaim", "commit", "batch", "operations", "queue_wait",
            "notify", "serialize", "window_wait"}


def test_monitor(s):
    told = s.call("GET", "/v1/monitor").json
    s.call("PATCH", "/v1/options", {"performance.monitor": True})
    s.put("/watched", {"wide": list(range(100)), "deep": {"er": {"x": 1}}})
    for i in range(20):
        s.put("/watched/x", i)
    told = s.call("GET", "/v1/monitor?buckets&branches=64").json
    equal((told["running"], set(told["measures"])), (True, MEASURES), "what is measured")
    for name, m in told["measures"].items():
        check(m["p50"] <= m["p90"] <= m["p99"] <= m["p999"] <= m["greatest"] and m["unit"], name, m)
        counts = [count for _, count in m["buckets"]]
        check(counts == sorted(set(counts)) and (not m["count"] or counts[-1] == m["count"]),
              "the buckets of " + name, m["buckets"])
        for share, bound in (("p50", 0.5), ("p99", 0.99)):
            if m["count"]:
                up_to = next(b for b, count in m["buckets"] if count >= bound * m["count"])
                check(0.99 * m[share] <= up_to <= 1.07 * m[share] + 1, "%s of %s" % (share, name), (m[share], up_to))
    equal(told["measures"]["batch"]["buckets"][0][0], 1, "small numbers are exact")
    equal((told["hottest"], told["warnings"], told["branches_complete"]), ([], [], True), "nothing is amiss")
    equal(told["overruns"].keys(), {"commit", "computed", "notify"}, "budgets")
    here = {b["path"]: b["atoms"] for b in told["branches"]}
    equal([here.get(p) for p in ("watched", "watched/wide", "watched/deep", "watched/deep/er")], [105, 100, 2, 1],
          "branches")
    sizes = [b["atoms"] for b in told["branches"]]
    equal(sizes, sorted(sizes, reverse=True), "the biggest first")
    told = s.call("GET", "/v1/monitor?branches=1&hottest=0&worst=0&pretty").json
    check(len(told["branches"]) == 1 and "buckets" not in told["measures"]["commit"], "as little as is asked for", told)
    check("branches" not in s.call("GET", "/v1/monitor?branches=0").json, "or none")
    for query in ("branches=65", "branches=x", "hottest=-1", "worst=17", "no"):
        problem(s.call("GET", "/v1/monitor?" + query), 400, "request", query)
    equal(s.call("POST", "/v1/monitor", b"").status, 405, "reading only")
    s.call("PATCH", "/v1/options", {"performance.monitor": False})
    told = s.call("GET", "/v1/monitor").json
    check(not told["running"] and told["measures"]["commit"]["count"] >= 1, "what was measured can still be seen")
    s.call("DELETE", "/v1/state/watched")


def test_monitor_large():
    """More than is looked at, near the limit of memory, over budget."""
    with Server("--set", "memory.limit_bytes=64Mi", "--set", "performance.budget_ms=1") as s:
        told = s.call("GET", "/v1/monitor").json
        equal((told["running"], "measures" in told, told["branches"]), (False, False, []), "never switched on")
        s.call("PATCH", "/v1/options", {"performance.monitor": True})
        s.put("/big", {"list": list(range(150000)), "other": {str(i): {"x": 1} for i in range(20000)}, "last": [1, 2]})
        told = s.call("GET", "/v1/monitor?branches=64").json
        here = {b["path"]: b["atoms"] for b in told["branches"]}
        equal((told["branches_complete"], here["big/list"], here.get("big/last")), (False, 150000, 2),
              "one that is too large to be looked at does not hide the others")
        check(20000 < here["big/other"] <= 40000 and here["big"] == 5 - 2 + here["big/list"] + here["big/other"] + 2,
              "at least", here)
        commit = told["overruns"]["commit"]
        worst = commit["worst"][0]
        check(commit["count"] == 1 and worst["took_ns"] > worst["budget_ns"] == 1000000 and
              sum(worst["parts"].values()) == worst["took_ns"] and worst["operations"] > 0, "over budget", commit)
        limit = s.stats()["bytes_held"] * 21 // 20
        s.call("PATCH", "/v1/options", {"memory.limit_bytes": limit})
        warnings = {w["name"]: w for w in s.call("GET", "/v1/monitor").json["warnings"]}
        w = warnings.get("memory near its limit")
        check(w and w["path"] == "" and w["figure"] >= w["limit"] == 90 and " bytes are held" in w["text"] and
              "memory.limit_bytes" in w["advice"], "a warning with figures and advice", warnings)


def test_trace(s):
    equal(s.call("GET", "/v1/trace").status, 409, "nothing was recorded")
    answer = s.call("POST", "/v1/trace", b"")
    equal(answer.status, 409, "the monitor is off")
    check("performance.monitor" in answer.json["detail"], "says what to do", answer.body)
    equal(s.call("PATCH", "/v1/options", {"performance.monitor": True}).status, 200, "monitor on")
    for query in "spans=0", "spans=x", "spans=16777217":
        equal(s.call("POST", "/v1/trace?" + query, b"").status, 400, query)
    equal(s.call("POST", "/v1/trace?spans=50", b"").status, 204, "begun")
    equal(s.call("GET", "/v1/trace").status, 409, "still recorded")
    for i in range(40):
        s.put("/traced", i)
    for _ in range(2):
        equal(s.call("DELETE", "/v1/trace").status, 204, "ended, again too")
    answer = s.call("GET", "/v1/trace")
    equal(answer.status, 200, "trace")
    events = answer.json["traceEvents"]
    check(len(events) >= 50 and answer.json["otherData"]["lost"] > 0, "the newest 50", len(events))
    check({"apply", "publish"} <= {e["name"] for e in events}, "parts of commits", events[:9])
    at = ["--server", "http://127.0.0.1:%d" % s.port, "--seconds", "1"]
    status, out, err = run("trace", *at, "--spans", "9")
    equal((status, err), (0, ""), "coppice trace")
    check("traceEvents" in json.loads(out), "its output", out[:99])
    equal(s.call("PATCH", "/v1/options", {"performance.monitor": False}).status, 200, "monitor off")
    status, out, err = run("trace", *at)
    check(status == 1 and out == "" and "performance.monitor" in err, "coppice trace, monitor off", err)


def test_metrics(s):
    s.put("/metered/x", 1)
    answer = s.call("GET", "/metrics")
    text = answer.body.decode()
    equal(answer.status, 200, "metrics")
    equal(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "type")
    check(sample(text, "coppice_commits_total") >= 1, "commits")
    check(sample(text, "coppice_http_requests_total") >= 1, "requests")
    equal(sample(text, "coppice_monitor_running"), 0.0, "nothing is measured unless asked for")
    check("coppice_duration_seconds" not in text, "no distributions then")
    check_promtool(text)
    check_complete(text, s.stats())
    equal(s.call("PATCH", "/v1/options", {"performance.monitor": True}).status, 200, "monitor on")
    for i in range(20):
        s.put("/metered/x", i)
    text = s.call("GET", "/metrics").body.decode()
    equal(sample(text, "coppice_monitor_running"), 1.0, "measuring")
    count = sample(text, 'coppice_duration_seconds_count{of="commit"}')
    check(count >= 1, "commits measured", count)
    equal(sample(text, 'coppice_duration_seconds_bucket{of="commit",le="+Inf"}'), count, "all")
    check_promtool(text)
    answer = s.call("GET", "/metrics", headers={"Accept": OPEN + "; version=1.0.0,*/*;q=0.1"})
    check(answer.headers["Content-Type"].startswith(OPEN + ";"), "type", answer.headers["Content-Type"])
    text = answer.body.decode()
    check(text.endswith("# EOF\n"), "ends as OpenMetrics must")
    check_open_parser(text)
    equal(s.call("PATCH", "/v1/options", {"performance.monitor": False}).status, 200, "monitor off")
    text = s.call("GET", "/metrics").body.decode()
    equal(sample(text, "coppice_monitor_running"), 0.0, "measuring no more")
    equal(s.call("POST", "/metrics", b"").status, 405, "reading only")
