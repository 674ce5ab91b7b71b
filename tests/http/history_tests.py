# SPDX-License-Identifier: MIT
"""Versions that the store keeps."""
import os
import subprocess
import tempfile
from urllib.parse import quote

from harness import PATIENCE, PROGRAM, Server, check, equal, problem


def history(s, method, rest="", body=None):
    return s.call(method, "/v1/history" + rest, {} if method == "POST" and body is None else body)


def versions(s):
    return [v["version"] for v in history(s, "GET").json["versions"]]


def keep(s, **body):
    answer = history(s, "POST", "", body)
    equal(answer.status, 201, "keep: %r" % answer.body)
    return answer.json


def test_history(s):
    equal(history(s, "GET").json, {"versions": [], "bytes": 0, "pruned": 0, "lost": 0},
          "nothing is kept unasked")
    s.put("/h", {"a": 1, "b": [1, 2]})
    first = keep(s, label="before, \u00fc")
    equal(first["version"], s.call("GET", "/healthz").json["version"], "what is kept is the newest")
    equal(first["label"], "before, \u00fc", "its label")
    equal(first["pinned"], False, "it is not pinned")
    s.put("/h", {"a": 2, "c": True, "b": [2]})
    second = keep(s, pinned=True)
    equal(second["pinned"], True, "pinned at once")
    check("label" not in second, "it has no label", second)
    equal(versions(s), [first["version"], second["version"]], "the list")
    v = first["version"]
    equal(s.get("/h?version=%d" % v).json, {"a": 1, "b": [1, 2]}, "reading an old version")
    equal(s.get("/h/b/1?label=" + quote("before, \u00fc")).json, 2, "reading by label")
    equal(int(s.get("/h?version=%d" % v).headers["Coppice-Version"]), v, "the version that was read")
    problem(s.get("/h?version=999999"), 404, "snapshot", "a version that nobody has")
    problem(s.get("/h?label=none"), 404, "version", "a label that none has")
    problem(s.get("/h?label=none&version=1"), 400, "request", "label and version")
    problem(s.get("/h?label="), 400, "request", "an empty label")
    check("used_ms" in history(s, "GET", "/%d" % v).json, "reading is a use", None)
    equal(history(s, "GET", "/compare?from=%d&to=%d" % (v, second["version"])).json,
          {"from": v, "to": second["version"], "created": 1, "changed": 2, "erased": 1, "arrays": 1},
          "what changed")
    equal(s.call("GET", "/v1/diff?from=%d&branch=h" % v).json,
          [{"op": "add", "path": "/c", "value": True}, {"op": "remove", "path": "/b/1"},
           {"op": "replace", "path": "/a", "value": 2}, {"op": "replace", "path": "/b/0", "value": 2}],
          "a patch from a kept version")
    equal(s.call("GET", "/v1/diff?from_label=%s&branch=h" % quote("before, \u00fc")).json,
          s.call("GET", "/v1/diff?from=%d&branch=h" % v).json, "the same by its label")
    equal(s.call("GET", "/v1/diff?from=newest&to_label=%s&branch=h" % quote("before, \u00fc")).json,
          s.call("GET", "/v1/diff?from=newest&to=%d&branch=h" % v).json, "and to it")
    problem(s.call("GET", "/v1/diff?from_label=none"), 404, "version", "a patch from a label that none has")
    problem(s.call("GET", "/v1/diff?from_label"), 400, "request", "a patch from no label")
    equal(history(s, "POST", "/%d" % v, {"label": "x", "pinned": True}).json["label"], "x", "a new label")
    equal(history(s, "POST", "/%d" % v, {"label": ""}).json.get("label"), None, "no label")
    equal(history(s, "GET", "/%d" % v).json["pinned"], True, "its pin stays")
    equal(history(s, "POST", "/%d" % v, {"pinned": False}).json["pinned"], False, "unpinned")
    equal(history(s, "DELETE").json, {"dropped": 1}, "what is not pinned goes")
    equal(versions(s), [second["version"]], "and the other stays")
    equal(history(s, "DELETE", "/%d" % second["version"]).json, {"dropped": 1}, "by its number")
    equal(versions(s), [], "nothing is left")


def test_history_restore(s):
    s.put("/r", {"a": 1, "b": {"c": [1, 2, 3]}})
    kept = keep(s, label="good")["version"]
    whole = s.get("").json
    s.put("/r", {"a": 2})
    s.put("/more", 1)
    before = s.call("GET", "/healthz").json["version"]
    answer = history(s, "POST", "/restore", {"version": kept})
    equal(answer.json, {"restored": kept, "version": before + 1, "from": before, "edits": 3,
                        "left": 0}, "what was done")
    equal(s.get("").json, whole, "as it was")
    s.put("/r/a", 7)
    equal(history(s, "POST", "/restore", {"label": "good"}).status, 200, "by label")
    equal(s.get("").json, whole, "as it was again")
    history(s, "DELETE")
    problem(history(s, "POST", "/restore", {"version": kept}), 404, "version", "one that went")
    problem(history(s, "POST", "/restore", {"label": "good"}), 404, "version", "its label")
    for body in ({}, {"version": 1, "label": "x"}, {"version": "1"}, {"version": -1}, [],
                 {"version": 1, "more": 1}, {"label": "good", "pinned": True}):
        problem(history(s, "POST", "/restore", body), 400, "request", "restore %r" % (body,))


def test_history_refusals(s):
    s.put("/h", 1)
    v = keep(s)["version"]
    for body in ([], {"label": 5}, {"pinned": 1}, {"more": 1}, {"version": 1},
                 {"label": "a\nb"}, {"label": "x" * 256}):
        problem(history(s, "POST", "", body), 400, "request", "keep %r" % (body,))
        problem(history(s, "POST", "/%d" % v, body), 400, "request", "change %r" % (body,))
    problem(history(s, "POST", "", "{"), 400, "json", "no JSON")
    problem(history(s, "POST", "/x", {}), 404, "route", "no number")
    problem(history(s, "GET", "/x"), 404, "route", "no number")
    for method in ("GET", "DELETE", "POST"):
        problem(history(s, method, "/99999"), 404, "version", method + " of what is not kept")
    problem(history(s, "GET", "/compare?from=1"), 400, "request", "compare with nothing")
    problem(history(s, "GET", "/compare?from=99999&to=%d" % v), 404, "version", "compare with none")
    problem(s.call("PUT", "/v1/history", {}), 405, "method", "PUT")
    history(s, "DELETE")


def test_history_file(s):
    s.put("", {"a": 1, "b": {"c": [1, 2, 3]}})
    keep(s, label="one")
    s.put("", {"b": {"c": [3, 1]}, "d": "text"})
    keep(s, pinned=True)
    last = s.get("").json
    file = s.call("GET", "/v1/history/export")
    equal(file.headers["Content-Type"], "application/octet-stream", "the type of the file")
    check(file.body.startswith(b"COPHIST\n"), "its magic", file.body[:16])
    history(s, "DELETE")
    for version in versions(s):
        history(s, "DELETE", "/%d" % version)
    s.put("", {"else": 1})
    now = s.call("GET", "/healthz").json["version"]
    sent = {"Content-Type": "application/octet-stream"}
    for bad in (b"", b"nonsense", file.body[:-1], file.body[:60] + b"x" + file.body[61:]):
        problem(s.call("POST", "/v1/history/import", bad, sent), 400, "request", "import %r" % bad[:20])
    equal(s.get("").json, {"else": 1}, "nothing of a damaged file")
    problem(s.call("POST", "/v1/history/import", {}), 415, "media-type", "import as JSON")
    answer = s.call("POST", "/v1/history/import", file.body, sent)
    equal(answer.json, {"versions": 2, "first": now + 1, "last": now + 2}, "what was made")
    equal(s.get("").json, last, "the newest one")
    equal(s.get("?label=one").json, {"a": 1, "b": {"c": [1, 2, 3]}}, "the one before")
    equal([v["pinned"] for v in history(s, "GET").json["versions"]], [False, True], "pins")
    for version in versions(s):
        history(s, "DELETE", "/%d" % version)


def run(s, *arguments, **more):
    return subprocess.run([PROGRAM, *arguments, "--server", "http://127.0.0.1:%d" % s.port],
                          capture_output=True, timeout=PATIENCE, **more)


def test_history_command(s):
    s.put("", {"a": 1})
    done = run(s, "history", "--keep", "--label", "first", "--pin")
    equal(done.returncode, 0, "keep: %r" % done.stderr)
    version = versions(s)[-1]
    check(b"first" in done.stdout and b"pinned" in done.stdout, "what it says", done.stdout)
    s.put("", {"b": 2})
    done = run(s, "history")
    check(str(version).encode() in done.stdout and b"first" in done.stdout, "the list", done.stdout)
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "history")
        equal(run(s, "export", file).returncode, 0, "export")
        equal(run(s, "history", str(version), "--label", "1st").returncode, 0, "label")
        equal(run(s, "diff", "1st", "newest").stdout, b'[{"op":"remove","path":"/a"},'
              b'{"op":"add","path":"/b","value":2}]\n', "diff by label")
        equal(run(s, "restore", "1st").returncode, 0, "restore by label")
        equal(s.get("").json, {"a": 1}, "it is as it was")
        equal(run(s, "restore", str(version)).returncode, 0, "restore by version")
        s.put("", {"c": 1})
        done = run(s, "import", file)
        equal(done.returncode, 0, "import: %r" % done.stderr)
        check(b"1 versions" in done.stdout, "what it says", done.stdout)
        equal(s.get("").json, {"a": 1}, "it is as it was")
        with open(file, "r+b") as damaged:
            damaged.seek(40)
            damaged.write(b"??")
        done = run(s, "import", file)
        check(done.returncode != 0 and b"checksum" in done.stderr, "a damaged file", done.stderr)
        check(run(s, "export", os.path.join(directory, "no", "file")).returncode != 0, "no place", None)
        equal(run(s, "export", "-").stdout[:7], b"COPHIST", "to standard output")
    equal(run(s, "history", str(version), "--unpin").returncode, 0, "unpin")
    equal(run(s, "history", str(version), "--drop").returncode, 0, "drop")
    check(version not in versions(s), "it is gone", versions(s))
    for arguments in (("history", "x"), ("history", "1"), ("history", "--pin"), ("restore",),
                      ("history", "1", "--pin", "--unpin"), ("history", "--keep", "--drop"),
                      ("history", "1", "--drop", "--label", "x"), ("export",), ("import", "a", "b")):
        equal(run(s, *arguments).returncode, 2, "usage %r" % (arguments,))
    check(run(s, "restore", "999999").returncode == 1, "what is not kept", None)
    check(run(s, "import", "/nonexistent").returncode == 1, "a file that is not there", None)
    for v in versions(s):
        history(s, "DELETE", "/%d" % v)


def test_history_rules():
    with Server("--set", "history.keep=commit", "--set", "history.max_snapshots=3") as s:
        for i in range(5):
            s.put("/n", i)
        now = s.call("GET", "/healthz").json["version"]
        equal(versions(s), [now - 2, now - 1, now], "three are kept")
        equal(s.get("/n?version=%d" % (now - 1)).json, 3, "an old value")
        s.call("PATCH", "/v1/options", {"history.keep": "off"})
        equal(versions(s), [], "off is off")
        problem(history(s, "POST"), 409, "state", "keep while it is off")
