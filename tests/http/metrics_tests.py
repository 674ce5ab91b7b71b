# SPDX-License-Identifier: MIT
"""GET /metrics: what it holds, and what the parsers of others say to it."""
import json
import re
import shutil
import subprocess

from harness import check, equal
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
