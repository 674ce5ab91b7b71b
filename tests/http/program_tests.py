# SPDX-License-Identifier: MIT
"""The program: its commands, options, ports, what it loads and is fed."""
import fcntl
import http.client
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time

from harness import DOCUMENT, PATIENCE, PROGRAM, SLOW, TOP, Server, check, equal, problem


def run(*arguments, text=None, env=None, timeout=60):
    result = subprocess.run([PROGRAM, *arguments], input=text, capture_output=True, text=True,
                            timeout=timeout * SLOW, env=dict(os.environ, **(env or {})))
    return result.returncode, result.stdout, result.stderr


def test_client(s):
    url = "http://127.0.0.1:%d" % s.port
    at = ["--server", url]
    for value, shown in (("5", "5"), ("1.0", "1.0"), ("true", "true"), ("null", "null"),
                         ("hello", "hello"), ('"quoted"', "quoted"), ("not {json", "not {json"),
                         ("", ""), ("-1", "-1"), ("\u00fc", "\u00fc")):
        equal(run("set", *at, "--", "cli/v", value), (0, "", ""), "set %r" % value)
        equal(run("get", *at, "cli/v"), (0, shown + "\n", ""), "get of %r" % value)
    equal(run("set", *at, "--string", "cli/v", "5")[0], 0, "set --string")
    equal(run("get", *at, "--json", "cli/v")[1], '"5"\n', "get --json quotes")
    code, out, err = run("set", *at, "--json", "cli/v", "not json")
    check((code, out) == (1, "") and re.match(r"coppice: cli/v:1:\d+: .*\n$", err),
          "set --json refuses", (code, out, err))
    equal(run("set", *at, "cli/v", "-", text='{"a": 1}')[0], 0, "set from standard input")
    equal(run("get", *at, "cli/v")[1], '{\n  "a": 1\n}\n', "get of a branch")
    equal(run("get", *at, "--json", "cli/v")[1], '{"a":1}\n', "get --json of a branch")
    equal(run("get", *at, "--json", "--depth", "1", "cli")[1], '{"v":{}}\n', "get --depth")
    held = s.call("POST", "/v1/snapshots", {}).json
    run("set", *at, "cli/v", "9")
    equal(run("get", *at, "--json", "--version", str(held["version"]), "cli/v")[1], '{"a":1}\n',
          "get --version")
    equal(run("set", *at, "cli/we ird~1*".replace("*", "~2"), "1")[0], 0, "a key with odd characters")
    equal(s.get("/cli").json["we ird/*"], 1, "is the key that was meant")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write('{"loaded": [1, 2]}')
        file.flush()
        equal(run("load", *at, file.name, "cli/file"), (0, "", ""), "load")
        equal(run("get", *at, "--json", "cli/file")[1], '{"loaded":[1,2]}\n', "what was loaded")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        lease = s.call("POST", "/v1/snapshots", {}).json
        since = lease["version"]
        file.write('[{"op": "add", "path": "/loaded/0", "value": 0}]')
        file.flush()
        equal(run("patch", *at, file.name, "cli/file"), (0, "", ""), "patch")
        equal(run("get", *at, "--json", "cli/file")[1], '{"loaded":[0,1,2]}\n', "what was patched")
        equal(run("diff", *at, str(since), "newest", "cli/file"),
              (0, '[{"op":"add","path":"/loaded/0","value":0}]\n', ""), "diff")
        equal(run("diff", *at, "--format", "merge-patch", str(since), "newest", "cli"),
              (0, '{"file":{"loaded":[0,1,2]}}\n', ""), "diff --format")
        equal(run("diff", *at, "newest", str(since), "cli/file"),
              (0, '[{"op":"remove","path":"/loaded/0"}]\n', ""), "diff backwards")
        binary = subprocess.run([PROGRAM, "diff", *at, "--format", "binary", str(since), "newest"],
                                capture_output=True, timeout=60 * SLOW)
        equal((binary.returncode, binary.stdout[:5]), (0, b"COPP\x01"), "a binary diff")
        equal(run("diff", *at, "--format", "x&y", str(since), "newest")[0], 1, "diff of no format")
        equal(run("patch", *at, "--merge", "-", "cli/file", text='{"loaded": [1, 2]}'), (0, "", ""),
              "patch --merge")
        code, out, err = run("patch", *at, "-", "cli/file", text='[{"op":"remove","path":"/no"}]')
        check((code, out) == (1, "") and "operation 0" in err, "patch refuses", (code, out, err))
        equal(s.call("DELETE", "/v1/snapshots/%d" % lease["id"]).status, 200, "the lease is over")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write('{"loaded": [1, 2]}')
        file.write("garbage")
        file.flush()
        code, out, err = run("load", *at, file.name, "cli/file")
        check(code == 1 and re.match(r"coppice: %s:1:\d+: " % re.escape(file.name), err),
              "load tells line and column", err)
    equal(run("load", *at, "-", "cli/stdin", text="[true]")[0], 0, "load from standard input")
    equal(run("erase", *at, "cli/file"), (0, "", ""), "erase")
    code, out, err = run("erase", *at, "cli/file")
    check((code, out) == (1, "") and re.match(r"coppice: cli/file: .+\n$", err), "erase of nothing",
          err)
    code, out, err = run("get", *at, "cli/nothing")
    check((code, out) == (1, "") and re.match(r"coppice: cli/nothing: .+\n$", err),
          "get of nothing", err)
    check(run("stats", *at)[1].startswith("version "), "stats")
    equal(json.loads(run("stats", *at, "--json")[1])["http"]["leases"], 1, "stats --json")
    equal(run("get", "cli/v", env={"COPPICE_SERVER": url})[:2], (0, "9\n"), "COPPICE_SERVER")
    equal(run("get", *at[:1], url + "/", "cli/v")[0], 0, "a URL with a slash")
    equal(run("get", *at[:1], "localhost:%d" % s.port, "cli/v")[0], 0, "a server without http://")
    big = json.dumps(["0123456789" * 10] * 30000, separators=(",", ":"))
    equal(run("load", *at, "-", "cli/big", text=big)[0], 0, "load of 3 MB")
    check(run("get", *at, "--json", "cli/big")[1] == big + "\n", "get of 3 MB, in chunks")
    s.call("DELETE", "/v1/snapshots/%d" % held["id"])
    s.call("DELETE", "/v1/state/cli")


def test_usage(s):
    for arguments in ((), ("nonsense",), ("get", "a", "b"), ("set", "a"), ("set", "a", "b", "c"),
                      ("erase",), ("load",), ("load", "a", "b", "c"), ("stats", "x"), ("diff", "1"),
                      ("diff", "1", ""), ("diff", "", "2"), ("patch",), ("patch", "a", "b", "c"),
                      ("version", "x"), ("options", "x"), ("get", "--unknown"), ("get", "--depth"),
                      ("get", "--depth", "0", "x"), ("get", "--depth", "x", "y"),
                      ("get", "--json=1", "x"), ("set", "--json", "--string", "a", "b"),
                      ("serve", "x"), ("serve", "--port", "65536"), ("serve", "--rate", "0"),
                      ("serve", "--rate", "x"), ("serve", "--threads", "0"),
                      ("serve", "--feed", "file"), ("serve", "--set", "nonsense"),
                      ("serve", "--set", "no.such=1"), ("serve", "--set", "memory.wait_ms=x"),
                      ("serve", "--max-connections", "1", "--threads", "2"),
                      ("why",), ("why", "a", "b"), ("why", "--wait", "x", "a"), ("graph", "x"),
                      ("graph", "--dot", "--json"), ("graph", "--depth", "65"), ("options", "set"),
                      ("options", "set", "a"), ("options", "set", "a=1", "b"),
                      ("options", "--set", "batch.window_ms=99999999"), ("top", "x"), ("doctor", "x"), ("doctor", "--trim=1"), ("top", "--interval-ms", "49"),
                      ("top", "--once", "--pages", "2"), ("stress", "x"),
                      ("stress", "--atoms", "1"), ("stress", "--churn", "101"),
                      ("stress", "--seconds", "0"), ("stress", "--skew", "x"), ("tune", "x"),
                      ("tune", "--repeat", "0"), ("tune", "--max-threads", "1025")):
        code, out, err = run(*arguments)
        check(code == 2 and out == "" and err, "usage: %r" % (arguments,), (code, out, err))
        if arguments:
            check(err.startswith("coppice: ") and err.count("\n") == 1, "one line: %r" % (arguments,),
                  err)
    for command in ("serve", "get", "set", "erase", "load", "diff", "patch", "stats", "why", "graph", "top",
                    "doctor", "stress", "tune", "options", "version"):
        code, out, err = run(command, "--help")
        check(code == 0 and out.startswith("usage: coppice " + command) and "--help" in out and
              err == "", command + " --help", (code, err))
        check(command in run("--help")[1], "--help lists " + command)
    check(run("options", "get", "--help")[1].startswith("usage: coppice options get "), "options get --help")
    check(run("options", "set", "--help")[1].startswith("usage: coppice options set "), "options set --help")
    code, out, err = run("version")
    check(code == 0 and re.match(r"coppice \d+\.\d+\.\d+\n$", out), "version", out)
    check("version" in json.loads(run("version", "--json")[1]), "version --json")
    equal(run("--version")[1], out, "--version")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        code, out, err = run("get", "--server", "http://127.0.0.1:%d" % port, "x")
    check(code == 1 and err.startswith("coppice: no server at 127.0.0.1:%d: " % port) and
          err.count("\n") == 1, "no server", err)
    for url in ("ftp://x", "http://", "http://x:y", "http://127.0.0.1:1/path"):
        code, out, err = run("get", "--server", url, "x")
        check(code == 1 and err.count("\n") == 1, "a bad URL " + url, (code, err))
    code, out, err = run("load", "--server", "http://127.0.0.1:%d" % s.port, "/no/such/file")
    equal((code, err), (1, "coppice: /no/such/file: No such file or directory\n"), "no file")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            code = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.DEVNULL,
                                  timeout=20 * SLOW).returncode
        equal(code, 1, "output that cannot be written")


PROMISES = {"sum", "version", "pinned", "text", "applied", "handle", "computed", "reduced", "lazy", "cutoff",
            "ticket", "effect", "task", "measured", "interval", "model", "told", "status", "progress", "alive"}
OPERATIONS = {"commit", "ticket", "churn", "read", "scan", "define", "told", "gathered", "task", "effect"}


def test_stress():
    code, out, err = run("stress", "--seconds", "1", "--atoms", "100", "--skew", "1.1", "--json")
    equal((code, err), (0, ""), "a load breaks no promise, and draws no bar into a pipe")
    told = json.loads(out)
    equal((told["broken"], told["config"]["atoms"]), (None, 100), "stress --json")
    equal(set(told["checks"]), PROMISES, "the promises are listed")
    unchecked = {name for name, count in told["checks"].items() if count == 0}
    equal(unchecked, {"progress", "alive"}, "each was checked, but for those that only a failure tells")
    equal(set(told["operations"]), OPERATIONS, "the operations are listed")
    for name, o in told["operations"].items():
        check(0 < o["p50_ns"] <= o["p99_ns"] <= o["p999_ns"] <= o["max_ns"] and o["count"] > 0 and
              o["per_second"] > 0, "the figures of " + name, o)
    code, out, err = run("stress", "--seconds", "0.2", "--readers", "0", "--writers", "0",
                         "--watchers", "0", "--depth", "0", "--threads", "0", "--value-bytes", "0")
    check(code == 0 and err == "" and out.startswith("operation "), "next to no load", (code, out, err))
    told = json.loads(run("stress", "--seconds", "0.2", "--load-only", "--json")[1])
    equal([told["operations"][name]["count"] for name in ("task", "effect", "gathered", "define")], [0] * 4,
          "--load-only leaves out what is not measured")


def test_stress_server():
    with Server() as s:
        at = "127.0.0.1:%d" % s.port
        run("set", "--server", at, "kept", "1")
        code, out, err = run("stress", "--server", at, "--seconds", "1", "--atoms", "50", "--json")
        equal((code, err), (0, ""), "a load on a server")
        told = json.loads(out)
        equal((told["broken"], told["config"]["server"]), (None, at), "stress --server --json")
        for name in ("sum", "version", "pinned", "applied", "interval", "model", "status"):
            check(told["checks"][name] > 0, "checked: " + name, told["checks"])
        for name in ("commit", "read", "scan", "told"):
            o = told["operations"][name]
            check(0 < o["p50_ns"] <= o["p99_ns"] <= o["p999_ns"] <= o["max_ns"], "the figures of " + name, o)
        equal(json.loads(run("get", "--server", at)[1]), {"kept": 1}, "it leaves nothing behind")
        equal(s.call("GET", "/v1/snapshots").json["snapshots"], [], "no version either")
        code, out, err = run("stress", "--server", at, "--seconds", "0.2", "--watchers", "0", "--readers", "0",
                             "--writers", "1")
        check(code == 0 and out.startswith("operation ") and not err, "one writer", (code, out, err))
    code, out, err = run("stress", "--server", at, "--seconds", "1")
    check(code == 1 and err.startswith("coppice: no server at " + at) and not out, "no server", (code, out, err))


def test_stress_server_ended():
    """A load that is interrupted tells what it saw, and takes away what it made."""
    with Server() as s:
        at = "127.0.0.1:%d" % s.port
        load = subprocess.Popen([PROGRAM, "stress", "--server", at, "--seconds", "60", "--atoms", "10"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        end = time.monotonic() + PATIENCE
        while s.call("GET", "/healthz").json["version"] < 5 and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(load.pid, signal.SIGINT)
        out, err = load.communicate(timeout=PATIENCE)
        check(load.returncode == 0 and "commit" in out and not err, "interrupted", (load.returncode, out, err))
        equal(s.call("GET", "/v1/state").json, {}, "it leaves nothing behind")


GAP = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
       b'event: reset\ndata: {"to":1,"value":{"0":1000,"1":1000}}\n\n'
       b'event: change\ndata: {"from":2,"to":3,"changes":[]}\n\n')


def answer_falsely(connection, how, watched):
    """Says yes to every write, and knows of none afterwards; or answers no POST; or tells no version 2, or
    never answers a watcher. watched is set by one."""
    with connection, connection.makefile("rb") as lines:
        for line in iter(lines.readline, b""):
            method, target = line.split()[:2]
            length = 0
            for header in iter(lines.readline, b"\r\n"):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            lines.read(length)
            if how == "mute" and method == b"POST":
                continue
            if target.startswith(b"/v1/watch"):
                watched.set()
                if how == "silent":
                    continue
                connection.sendall(GAP)
                return
            body = b"0" if method == b"GET" else b'{"version":1}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nCoppice-Version: 1\r\nContent-Length: %d\r\n\r\n%s"
                               % (len(body), body))
            if method in (b"PUT", b"DELETE"):
                return


def false_server(listener, how, watched):
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=answer_falsely, args=(connection, how, watched), daemon=True).start()


def test_stress_server_unanswered():
    """A load that is interrupted before its watcher was answered blames nobody."""
    watched = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=false_server, args=(listener, "silent", watched), daemon=True).start()
        load = subprocess.Popen([PROGRAM, "stress", "--server", "127.0.0.1:%d" % listener.getsockname()[1],
                                 "--seconds", "60", "--atoms", "2", "--readers", "0", "--writers", "0",
                                 "--watchers", "1"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        check(watched.wait(PATIENCE), "a watcher asks")
        os.killpg(load.pid, signal.SIGINT)
        out, err = load.communicate(timeout=PATIENCE)
    check(load.returncode == 0 and not err, "interrupted", (load.returncode, out, err))


def test_stress_server_faults():
    """Servers that do not hold what they promised."""
    for how, promise, words, more in (
            ("liar", "applied", "transactions of thread 0 were accepted, 0 are in", ("--watchers", "0")),
            ("mute", "progress", "POST of thread 0 has not returned for 0.5 s",
             ("--watchers", "0", "--patience-ms", "500")),
            ("gap", "interval", "told up to 1 is told (2, 3]", ("--watchers", "1", "--writers", "0"))):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=false_server, args=(listener, how, threading.Event()), daemon=True).start()
            code, out, err = run("stress", "--server", "127.0.0.1:%d" % listener.getsockname()[1], "--seconds", "30",
                                 "--atoms", "2", "--readers", "0", "--writers", "1", "--json", *more)
        equal((code, json.loads(out)["broken"]["promise"]), (1, promise), "finds " + promise)
        check(words in err, "says what was broken", err)


def test_stress_bar():
    shown, terminal = pty.openpty()
    for more, drawn in ((), True), (("--quiet",), False):
        done = subprocess.run([PROGRAM, "stress", "--seconds", "0.3", "--atoms", "10", *more], stderr=terminal,
                              stdout=subprocess.PIPE, timeout=60 * SLOW)
        os.write(terminal, b"end")
        text = b""
        while not text.endswith(b"end"):
            text += os.read(shown, 65536)
        equal((done.returncode, b"[#" in text and b"operations/s" in text), (0, drawn), "a bar on a terminal")
    os.close(shown)
    os.close(terminal)


def test_stress_faults():
    """In a build that has the planted faults; in all others COP_FAULT is not looked at."""
    for fault, promise in (("dependent_not_marked", "computed"), ("dependency_kept", "cutoff"),
                           ("watch_edge", "model"), ("txn_dropped", "ticket"), ("batch_edge", "ticket")):
        seconds = "1" if fault == "dependent_not_marked" else "10"
        code, out, err = run("stress", "--seconds", seconds, "--patience-ms", "2000", "--json", env={"COP_FAULT": fault})
        if code == 0 and fault == "dependent_not_marked":
            return  # not such a build
        equal((code, json.loads(out)["broken"]["promise"]), (1, promise), "finds " + fault)
        check(err.startswith("coppice: broken promise '%s': " % promise), "names " + promise, err)


def top_in_terminal(at, columns, rows):
    """The last page on a terminal of that size, and all that was written."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen([PROGRAM, "top", *at, "--pages", "2", "--interval-ms", "50"], stdout=inner)
    os.close(inner)
    written = b""
    try:
        while True:
            written += os.read(outer, 65536)
    except OSError:
        pass  # the other end is closed
    os.close(outer)
    equal(process.wait(PATIENCE), 0, "top ends")
    written = written.decode().replace("\r", "")
    return written.split("\033[H")[-1].replace("\033[K", "").replace("\033[J", "").split("\n"), written


def test_top():
    with Server("--set", "performance.monitor=true", "--set", "performance.budget_ms=1") as s:
        at = ["--server", "http://127.0.0.1:%d" % s.port]
        code, out, err = run("top", *at, "--interval-ms", "50", "--pages", "2")
        pages = out.split("version ")[1:]
        check((code, err, len(pages)) == (0, "", 2) and "\033" not in out, "two pages", (code, out, err))
        check("\nsince the start:\ncommits 0   " in pages[0] and "\na second:\ncommits 0.0   " in pages[1],
              "a total, then a rate", out)
        check("\ncommit " not in out and "is off" not in out, "no percentiles of what never happened", out)
        s.put("/top", {"wide": list(range(30)), "deep": {"er": {"x": 1, "y": "\u001b[2J\u00fc"}}})
        for i in range(10):
            s.put("/top/x", i)
        s.put("/top/e%1b]~1", {"x": 1})
        out = run("top", *at, "--once")[1]
        # Of all 12 commits, or where measuring costs much of fewer.
        check(re.search(r"^commit( +[\d.]+ (ns|us|ms|s)){5} +\d+$", out, re.M), "percentiles of commits", out)
        check(re.search(r"^transactions( +1){5} +\d+$", out, re.M), "small numbers are exact", out)
        check(re.search(r"\n    atoms  biggest branches\n       38  top\n       30  top/wide\n", out),
              "branches by atoms", out)
        check("warning:" not in out, "nothing to warn of", out)
        check("\033" not in out and "  top/e?]~1\n" in out, "a path cannot write to the terminal", out)
        s.call("GET", "/v1/stats", host="nobody.example")
        held = s.call("POST", "/v1/snapshots", {}).json
        s.put("/top/x", "newer")
        out = run("top", *at, "--once")[1]
        check("\nwarning: requests refused: 1\n" in out, "what was refused", out)
        check(re.search(r"\nheld versions 1   the oldest %d of [\d.]+ (ns|ms|s) ago   by snapshots 1 " % held["version"],
                        out), "what is held", out)
        lines = run("top", *at, "--json", "--pages", "2", "--interval-ms", "50")[1].splitlines()
        first, second = (json.loads(line) for line in lines)
        check("rates" not in first and second["rates"]["commits"] == 0 and second["seconds"] > 0.04, "rates as JSON",
              lines)
        counts = [page["interval"]["commit"]["count"] for page in (first, second)]
        check(1 <= counts[0] <= 13 and counts[1] == 0, "between pages", counts)
        check(first["monitor"]["running"] and "buckets" not in first["monitor"]["measures"]["commit"],
              "what the server said", lines[0])
        equal(len(run("top", *at, "--json", "--once")[1].splitlines()), 1, "one line")
        lines, written = top_in_terminal(at, 40, 16)
        check(all(len(line) <= 40 for line in lines) and len(lines) == 16, "a small terminal", lines)
        check("\033[2J" in written and any(re.match(r"took up to +p50 +p99$", line) for line in lines),
              "with the columns there is room for", lines)
        lines, written = top_in_terminal(at, 200, 100)
        check(any(re.match(r"took up to +p50 +p90 +p99 +p99.9 +max +count$", line) for line in lines),
              "all columns", lines)
        with subprocess.Popen([PROGRAM, "top", *at, "--interval-ms", "50"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as endless:
            s.end()
            check(endless.wait(PATIENCE) == 1 and "no server at" in endless.stderr.read(), "ends with the server")
    with Server() as s:
        at = ["--server", "http://127.0.0.1:%d" % s.port]
        out = run("top", *at, "--once")[1]
        check("The monitor is off" in out and "\n    coppice options set performance.monitor=true\n" in out,
              "says why there are no percentiles", out)
        equal(run("options", "set", *at, "performance.monitor=true")[0], 0, "what it says")
        check("The monitor is off" not in run("top", *at, "--once")[1], "helps")


def test_tune():
    short = ["tune", "--seconds", "0.05", "--repeat", "1", "--max-threads", "1", "--atoms", "100"]
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "tuned.conf")
        code, out, err = run(*short, "--json", "--output", name)
        equal((code, err), (0, ""), "tune")
        told = json.loads(out)
        equal([(s["threads"], s["window_ms"]) for s in told["settings"]], [(1, 0), (1, 1), (1, 4), (1, 16)],
              "the settings tried")
        most = max(told["settings"], key=lambda s: s["writes_per_second"])
        first = next(s for s in told["settings"]
                     if s is most or s["of_best"]["high"] >= 1 or s["of_best"]["median"] >= 0.95)
        equal(most["of_best"], {"low": 1, "median": 1, "high": 1}, "the best beside itself")
        chosen = told["chosen"]
        equal((chosen["threads"], chosen["window_ms"]), (first["threads"], first["window_ms"]), "its choice")
        check(told["reason"].startswith("Chosen: workers.threads 1 and batch.window_ms %d, "
                                        % chosen["window_ms"]), "its reason", told["reason"])
        options = {o["name"]: o["value"] for o in json.loads(run("options", "--json", "--config", name)[1])}
        equal((options["workers.threads"], options["batch.window_ms"]), ("1", str(chosen["window_ms"])),
              "the configuration is one")
        with Server("--config", name) as server:
            served = server.call("GET", "/v1/options").json
            equal((served["workers.threads"], served["batch.window_ms"]), (1, chosen["window_ms"]),
                  "a server takes it")
    told = json.loads(run("tune", "--seconds", "0.02", "--repeat", "9", "--max-threads", "1", "--atoms", "10",
                          "--json")[1])
    check(0.95 <= told["probability"] < 0.99 and
          all(s["of_best"]["low"] <= s["of_best"]["median"] <= s["of_best"]["high"] for s in told["settings"]),
          "intervals of 9 runs", told)
    code, out, err = run(*short, "--output", "/no/such/folder/x")
    check(code == 1 and out.startswith("threads window ms") and err.startswith("coppice: /no/such/folder/x: "),
          "a table, and a file that cannot be written", (code, out, err))


def test_options():
    listed = json.loads(run("options", "--json")[1])
    header = open(os.path.join(TOP, "include", "coppice", "options.h"), encoding="utf-8").read()
    names = re.findall(r"^\s+X\(\w+, \"([\w.]+)\", (?:BOOL|U64|ENUM)", header, re.M)
    equal(sorted(o["name"] for o in listed), sorted(names), "every option is listed")
    check(all(name in run("options")[1] for name in names), "in the text too")

    def value(name, *arguments, env=None):
        options = json.loads(run("options", "--json", *arguments, env=env)[1])
        return [o["value"] for o in options if o["name"] == name][0]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("memory = { wait_ms = 7; };\n")
        file.flush()
        env = {"COPPICE_MEMORY_WAIT_MS": "8"}
        equal(value("memory.wait_ms"), "100", "default")
        equal(value("memory.wait_ms", "--config", file.name), "7", "file")
        equal(value("memory.wait_ms", "--config", file.name, env=env), "8", "environment")
        equal(value("memory.wait_ms", "--config", file.name, "--set", "memory.wait_ms=9", env=env),
              "9", "command line")
        file.write("memory = nonsense\n")
        file.flush()
        code, out, err = run("options", "--config", file.name)
        check(code == 1 and err.startswith("coppice: %s:" % file.name), "a bad file", err)
    code, out, err = run("options", env={"COPPICE_MEMORY_WAIT_MS": "x"})
    check(code == 1 and "COPPICE_MEMORY_WAIT_MS" in err, "a bad environment", err)
    code, out, err = run("serve", "--port", "0", "--config", "/no/such.conf")
    check(code == 1 and err.count("\n") == 1, "serve with a bad file", err)
    with Server("--set", "memory.limit_bytes=64Mi") as s:
        equal(s.stats()["bytes_limit"], 64 << 20, "the limit is in force")
    with Server("--set", "memory.limit_bytes=32Mi", "--set", "memory.on_limit=fail") as s:
        s.put("/kept", "here")
        statuses = set()
        for i in range(40):
            answer = s.put("/fill/%d" % i, "z" * 2000000)
            statuses.add(answer.status)
            if answer.status == 507:
                problem(answer, 507, "memory", "over the store's limit")
                break
        equal(statuses, {201, 507}, "writes up to the limit, then 507")
        equal(s.get("/kept").json, "here", "and what was there is there")
        equal(s.call("DELETE", "/v1/state/fill").status, 200, "erasing at the limit")
        equal(s.put("/after", 1).status, 201, "and there is room again")


def options_of(s):
    return s.call("GET", "/v1/options").json


def test_options_set():
    with Server() as s:
        at = ["--server", "http://127.0.0.1:%d" % s.port]
        before = options_of(s)
        for settings, complaint in (
                (("snapshots.max=7", "batch.window_ms=60001"),
                 "batch.window_ms: 60001 is out of range: 0 to 60000"),
                (("snapshots.max=7", "batch.window_ms=soon"),
                 "batch.window_ms: expected a whole number, with k, M, G, Ki, Mi, Gi or no unit, not \"soon\""),
                (("batch.updates=maybe", "snapshots.max=7"),
                 "batch.updates: expected true, false, on, off, 1 or 0, not \"maybe\""),
                (("snapshots.max=7", "no.such=1"), "no.such: there is no such option"),
                (("snapshots.max=7", "readers.max=5"), "readers.max: this option is fixed when the store is opened")):
            code, out, err = run("options", "set", *at, *settings)
            equal((code, out, err), (1, "", "coppice: options set: %s; nothing has changed\n" % complaint),
                  "refused: %r" % (settings,))
            equal(options_of(s), before, "nothing of it was taken")
        equal(run("options", "set", *at, "batch.window_ms=4", "memory.limit_bytes=1Gi", "performance.monitor=on"),
              (0, "", ""), "several")
        now = options_of(s)
        equal((now["batch.window_ms"], now["memory.limit_bytes"], now["performance.monitor"]), (4, 1 << 30, True),
              "all of them")
        equal(run("options", "get", *at, "batch.window_ms", "performance.monitor", "memory.on_limit"),
              (0, "batch.window_ms=4\nperformance.monitor=true\nmemory.on_limit=wait\n", ""), "options get")
        every = run("options", "get", *at)[1].split()
        equal(sorted(line.split("=")[0] for line in every), sorted(now), "all of them")
        equal(run("options", "set", *at, *every), (0, "", ""), "what was got can be set")
        equal(run("options", "get", *at, "no.such"), (1, "", "coppice: no.such: there is no such option\n"), "none")
        equal(json.loads(run("options", "set", *at, "--json", "snapshots.max=7", "snapshots.max=8")[1])["snapshots.max"],
              8, "the last of two counts, as with --set")


def wait_for(seen, what):
    deadline = time.time() + PATIENCE
    while not seen() and time.time() < deadline:
        time.sleep(0.02)
    check(seen(), what)


def test_reload():
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        def rewrite(text):
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()
            s.output.clear()
            s.complaints.clear()
            s.process.send_signal(signal.SIGHUP)
        file.write("batch = { window_ms = 8; };")
        file.flush()
        s = Server("--config", file.name, "--set", "snapshots.max=9")
        equal(options_of(s)["batch.window_ms"], 8, "as in the file")
        s.call("PATCH", "/v1/options", {"batch.max_transactions": 5})
        rewrite("batch = { window_ms = 5; };\nworkers = { threads = 2; };\nsnapshots = { max = 10; };\n"
                "effects = { rounds = 5; };\nreaders = { max = 99; };\n")
        wait_for(lambda: len(s.output) >= 3, "it is told what has changed")
        equal(s.output, ["coppice: batch.window_ms = 5, was 8\n", "coppice: batch.max_transactions = 1024, was 5\n",
                         "coppice: workers.threads = 2, was 0\n"], "live ones take effect, the command line stands")
        equal(s.complaints, ["coppice: %s: %s until a restart, not %s: it is not live\n" % (file.name, stays, wanted)
                             for stays, wanted in (("effects.rounds stays 100", 5), ("readers.max stays 4096", 99))],
              "the others are named")
        before = options_of(s)
        equal((before["batch.window_ms"], before["snapshots.max"], before["readers.max"], before["workers.threads"]),
              (5, 9, 4096, 2), "in force")
        wait_for(lambda: s.stats()["workers"]["threads"] == 2, "and the pool has the threads")
        nothing = "coppice: %s was read again: nothing has changed\n" % file.name
        for text, line, fault in (("batch = { window_ms = 4; };\nsnapshots = { max = 0; };\n", 2, "snapshots.max: 0 is"),
                                  ("batch = { window_ms = 4; };\n\nnonsense", 3, "syntax error"),
                                  ("batch = { window_ms = 4;\n wind = 1; };", 2, "unknown option batch.wind")):
            rewrite(text)
            wait_for(lambda: len(s.complaints) >= 2, "a broken file is told")
            check(s.complaints[0].startswith("coppice: %s:%d: %s" % (file.name, line, fault)) and
                  s.complaints[1:] == [nothing], "with its line", s.complaints)
            equal(options_of(s), before, "and changes nothing")
        rewrite("batch = { window_ms = 5; };workers = { threads = 2; };")
        wait_for(lambda: s.output, "told too")
        equal((s.output, s.complaints), (["coppice: %s was read again, and changes nothing\n" % file.name], []),
              "the same again")
        equal(s.end(), 0, "it ends with 0")
    s = Server()
    equal(s.end(signal.SIGHUP), 0, "without a file SIGHUP ends it")
    equal("".join(s.complaints), "", "in order")


def test_ports():
    with Server() as s:
        for _ in range(2):
            code, out, err = run("serve", "--port", str(s.port))
            check(code == 1 and "%d" % s.port in err and "in use" in err and err.count("\n") == 1 and
                  out == "", "a port in use", (code, out, err))
        port = s.port
        for number in (signal.SIGINT, signal.SIGTERM):
            other = Server()
            check(other.end(number) == 0, "ends with 0 by signal %d" % number)
            equal("".join(other.complaints), "", "without a complaint")
        code, out, err = run("serve", "--port", "0", "--address", "nonsense")
        check(code == 1 and err.count("\n") == 1, "a bad address", err)
        code, out, err = run("serve", "--port", "0", "--address", "192.0.2.1")
        check(code == 1 and err.count("\n") == 1, "an address of another machine", err)
    again = subprocess.Popen([PROGRAM, "serve", "--port", str(port)], stdout=subprocess.PIPE, text=True)
    check(str(port) in again.stdout.readline(), "the port can be had again at once")
    again.send_signal(signal.SIGTERM)
    equal(again.wait(PATIENCE), 0, "and ended again")
    again.stdout.close()
    # With a connection open in the middle of a request it ends too.
    s = Server()
    with socket.create_connection(("127.0.0.1", s.port)) as c:
        c.sendall(b"PUT /v1/state/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 10\r\n"
                  b"Content-Type: application/json\r\n\r\n12" % s.port)
        time.sleep(0.2)
        began = time.time()
        equal(s.end(), 0, "ends in the middle of a request")
        check(time.time() - began < 20, "without waiting for it", time.time() - began)
    try:
        probe = socket.socket(socket.AF_INET6)
        probe.bind(("::1", 0))
        probe.close()
    except OSError:
        return
    six = Server("--address", "::1")
    c = http.client.HTTPConnection("::1", six.port, timeout=PATIENCE)
    c.request("GET", "/healthz")
    equal(c.getresponse().status, 200, "served on ::1")
    c.close()
    six.end()


def test_load_and_feed():
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(DOCUMENT))
        file.flush()
        s = Server("--load", file.name, "--feed", "-", stdin=subprocess.PIPE)
        equal(s.get("").json, DOCUMENT, "--load")
        file.write("}")
        file.flush()
        code, out, err = run("serve", "--port", "0", "--load", file.name)
        check(code == 1 and re.match(r"coppice: %s:1:\d+: " % re.escape(file.name), err),
              "a bad file to load", err)
    lines = ['{"path": "fed/a", "value": 1}', '{"path": "fed/b", "value": {"c": [1.5, null]}}', "",
             "nonsense", '{"path": "fed/a"}', '{"path": "fed/gone", "value": 1}',
             '{"path": "fed/gone", "erase": true}', '{"path": "fed/none", "erase": true}',
             '{"path": "fed//x", "value": 1}', '{"path": "fed/a/below", "value": 1}',
             '{"path": "fed/a", "erase": false}', '{"path": 5, "value": 1}', "[]",
             '{"path": "fed/a", "value": 1, "extra": 1}', '{"path": "fed/last", "value": "done"}']
    s.process.stdin.write("\n".join(lines))
    s.process.stdin.flush()
    s.process.stdin.close()
    deadline = time.time() + PATIENCE
    while s.get("/fed/last").status != 200 and time.time() < deadline:
        time.sleep(0.05)
    equal(s.get("/fed").json, {"a": 1, "b": {"c": [1.5, None]}, "last": "done"}, "what was fed")
    equal(s.end(), 0, "ends after the end of input")
    seen = sorted(int(n) for n in re.findall(r"coppice: feed: line (\d+): ", "".join(s.complaints)))
    equal(seen, [4, 5, 8, 9, 10, 11, 12, 13, 14], "bad lines are told by number")
    check("15 lines, 9 bad" in "".join(s.complaints), "and counted", s.complaints)
    # It ends while the feed is still open, and takes many lines.
    s = Server("--feed", "-", stdin=subprocess.PIPE)
    count = 20000
    for i in range(count):
        s.process.stdin.write('{"path":"n/%d","value":%d}\n' % (i % 100, i))
    s.process.stdin.flush()
    deadline = time.time() + PATIENCE
    while (s.get("/n/99").status != 200 or s.get("/n/99").json != count - 1) and \
            time.time() < deadline:
        time.sleep(0.05)
    equal(s.get("/n").json, {str(i): count - 100 + i for i in range(100)}, "many lines")
    equal(s.end(signal.SIGINT), 0, "ends while the feed is open")
