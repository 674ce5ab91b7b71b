# SPDX-License-Identifier: MIT
"""What holds the memory: GET /v1/memory, POST /v1/memory/trim, `coppice doctor`."""
import http.server
import json
import re
import threading
import time

from harness import PATIENCE, Server, check, equal, problem
from program_tests import run

FIGURES = ("held", "used", "limit", "soft", "reserve", "peak", "version")


def memory(s):
    return s.call("GET", "/v1/memory").json


def doctor(s, *arguments):
    return run("doctor", "--server", "127.0.0.1:%d" % s.port, *arguments)


def replaced(told):
    return [h for h in told["holders"] if h["replaced_ms"] > 0]


def test_memory(s):
    told, stats = memory(s), s.stats()
    equal(told["level"], "normal", "the level")
    check(all(isinstance(told[name], int) for name in FIGURES), "figures", told)
    check(0 < told["used"] <= told["held"] <= told["peak"] <= told["limit"] and
          told["reserve"] < told["soft"] < told["limit"], "how they lie", told)
    equal((told["limit"], told["soft"]), (stats["bytes_limit"], stats["bytes_soft"]), "as in the statistics")
    equal(set(told["by_kind"]), set(stats["bytes_by_kind"]), "bytes by kind")
    check(abs(sum(told["by_kind"].values()) - told["held"]) < 65536, "they are all there is", told)
    equal(told["chunks"]["free"] <= told["chunks"]["bytes"], True, "chunks")
    equal(told["levels"], {"soft": stats["memory_soft"], "full": stats["memory_full"]}, "how often they were reached")
    for group, names in (("chunks", "count bytes free given_back"), ("old", "versions page_bytes values"),
                         ("history", "versions pinned bytes lost"), ("gave_way", "fragments lazy history pages watch"),
                         ("transactions", "waiting waited refused")):
        equal(sorted(told[group]), sorted(names.split()), group)
    check("MiB held" in told["explanation"], "in words", told["explanation"])
    head = s.call("HEAD", "/v1/memory")
    equal((head.status, head.body, head.headers["Cache-Control"]), (200, b"", "no-cache"), "HEAD")
    check(b"\n  " in s.call("GET", "/v1/memory?pretty").body, "?pretty")


def test_memory_holders(s):
    s.put("/m", {str(i): "a long text, longer than what a word holds %d" % i for i in range(500)})
    lease = s.call("POST", "/v1/snapshots", {}).json
    s.call("POST", "/v1/snapshots", {})
    s.put("/m", 1)
    time.sleep(0.01)
    told = memory(s)
    held = [h for h in told["holders"] if h["version"] == lease["version"] and h["kind"] == "snapshot"]
    equal(len(held), 1, "who holds it, told once")
    h = held[0]
    equal((h["holds"], h["revocable"], h["revoked"]), (2, False, False), "how")
    check(h["replaced_ms"] > 0 and h["held_ms"] + 20 >= h["replaced_ms"] and h["bytes"] > 10000 and h["thread"] > 0 and
          h["site"] and "snapshots.max_age_ms" in h["advice"], "since when, what it keeps, from where", h)
    equal(h["thread_name"][:3], "MHD", "the name of the thread")
    equal(told["holders_complete"], True, "all of them")
    equal([h["version"] for h in told["holders"]], sorted(h["version"] for h in told["holders"]), "the oldest first")
    check(told["old"]["page_bytes"] > 0 and told["old"]["versions"] >= 1, "what old versions have", told["old"])
    for one in s.call("GET", "/v1/snapshots").json["snapshots"]:
        s.call("DELETE", "/v1/snapshots/%d" % one["id"])
    equal([h for h in replaced(memory(s)) if h["kind"] == "snapshot"], [], "dropped")


def test_memory_trim(s):
    s.put("/t", {str(i): {"a": i, "b": "text %d" % i} for i in range(40000)})
    full = memory(s)
    s.call("DELETE", "/v1/state/t")
    before = memory(s)
    answer = s.call("POST", "/v1/memory/trim", b"")
    after = memory(s)
    equal((answer.status, list(answer.json)), (200, ["given_back"]), "trim")
    # Some of it went before, by itself.
    given = after["chunks"]["given_back"] - full["chunks"]["given_back"]
    check(given > 1 << 20 and 0 <= answer.json["given_back"] <= given, "what was given back", (given, answer.body))
    check(after["held"] <= before["held"] - answer.json["given_back"] + (1 << 20), "is held no more", (before, after))
    equal(after["version"], before["version"], "nothing has changed")
    for target, method, allow in (("/v1/memory", "POST", "GET, HEAD"), ("/v1/memory", "DELETE", "GET, HEAD"),
                                  ("/v1/memory/trim", "GET", "POST"), ("/v1/memory/trim", "PUT", "POST")):
        answer = s.call(method, target, None if method == "GET" else b"")
        problem(answer, 405, "method", method + " " + target)
        equal(answer.headers["Allow"], allow, "Allow of " + target)
    problem(s.call("GET", "/v1/memory/x"), 404, "route", "nothing is below")
    problem(s.call("POST", "/v1/memory/trim", b"", {"Content-Type": "text/plain"}), 415, "media-type", "of another type")
    problem(s.call("POST", "/v1/memory/trim", b"", {"Sec-Fetch-Site": "cross-site"}), 403, "origin", "from another site")


def test_memory_limit():
    """Who holds the memory is told at the limit, too; and when not even that can be, why not."""
    with Server("--set", "memory.limit_bytes=64Mi", "--set", "memory.on_limit=fail") as s:
        s.put("/m", {str(i): "text %d" % i + "x" * 100 for i in range(20000)})
        s.call("POST", "/v1/snapshots", {})
        s.put("/m/0", "y" * 100)
        time.sleep(0.01)
        s.call("PATCH", "/v1/options", {"memory.limit_bytes": memory(s)["held"] * 1014 // 1000})
        told = memory(s)
        check(told["limit"] - told["reserve"] < told["held"] < told["limit"], "within the reserve", told)
        equal([h["kind"] for h in replaced(told)] if "holders" in told else told, ["snapshot"], "the holders")
        s.call("PATCH", "/v1/options", {"memory.limit_bytes": "1Mi"})
        problem(s.put("/m/1", 2), 507, "memory", "a write")
        told = memory(s)
        equal((told["holders_error"], "holders" in told), ("COP_E_MEMORY", False), "why they are not told")
        code, out, err = doctor(s)
        check(code == 1 and err == "" and "who holds versions (COP_E_MEMORY)" in out and
              "of a limit of 1.0 MiB, and more is held than that" in out and "the biggest are m (20000 atoms)" in out,
              "a doctor's view of it", (code, out, err))
        s.call("PATCH", "/v1/options", {"memory.limit_bytes": "64Mi"})
        s.put("/m/1", 1)
        equal((memory(s)["level"], doctor(s)[0]), ("normal", 0), "a limit that leaves room")


def test_memory_full():
    with Server("--set", "memory.limit_bytes=16Mi", "--set", "memory.on_limit=fail") as s:
        statuses = []
        while len(statuses) < 1000 and 507 not in statuses:
            n = len(statuses)
            statuses.append(s.put("/m/%d" % n, {str(i): "text %d" % i + "x" * 90 for i in range(300)}).status)
        equal(statuses[-1], 507, "the memory is full")
        told = memory(s)
        equal((told["level"], told["transactions"]["refused"], "holders" in told), ("full", 1, True), "what is told of it")
        equal((told["levels"]["full"], told["levels"]["soft"] <= 1), (1, True), "each threshold is counted")
        code, out, err = doctor(s)
        check(code == 1 and err == "" and out.startswith("memory full: ") and "that did not fit: waiting now 0," in out and
              out.count("refused 1\n") == 1 and "memory.limit_bytes=%d" % (24 << 20) in out and
              "the biggest are m (" in out and "nothing wrong" not in out, "a doctor's view of it", (code, out, err))


def test_memory_waiting():
    """What waits for memory does not keep the doctor from his work."""
    with Server("--set", "memory.limit_bytes=16Mi", "--set", "memory.wait_ms=60000", "--deadline-ms", "80000") as s:
        big = {str(i): "text %d" % i + "x" * 190 for i in range(20000)}
        for i in range(4):
            s.put("/m/%d" % i, {str(k): "text %d" % k + "x" * 290 for k in range(5000)})
        statuses = []
        writer = threading.Thread(target=lambda: statuses.append(s.put("/n", big).status))
        writer.start()
        deadline = time.time() + PATIENCE
        while memory(s)["transactions"]["waiting"] == 0 and writer.is_alive() and time.time() < deadline:
            time.sleep(0.02)
        code, out, err = doctor(s)
        check(code == 1 and err == "" and "waiting now 1, had to wait 1, refused 0\n" in out and
              "1 transaction waits for memory" in out, "a transaction that waits", (code, out, err, statuses))
        equal(s.call("PATCH", "/v1/options", {"memory.limit_bytes": "64Mi"}).status, 200, "a higher limit")
        writer.join(PATIENCE)
        equal(statuses, [201], "lets it through")
        equal(memory(s)["transactions"]["waiting"], 0, "nobody waits")


def test_memory_many():
    """More holders than are told."""
    with Server("--max-snapshots", "1100", "--set", "snapshots.max_age_ms=600000") as s:
        for i in range(1001):
            s.call("POST", "/v1/snapshots", {})
        told = memory(s)
        equal((len(told["holders"]), told["holders_complete"]), (1000, False), "a thousand")
        equal({h["revocable"] for h in told["holders"] if h["kind"] == "snapshot"}, {True}, "that can be revoked")
        s.put("/m", 1)
        time.sleep(0.01)
        out = doctor(s)[1]
        check("... and 980 more at least: --json lists them\n" in out, "of which a doctor shows some", out)


def test_doctor():
    with Server("--set", "memory.limit_bytes=64Mi", "--set", "memory.stall_ms=200") as s:
        code, out, err = doctor(s)
        check(code == 0 and err == "" and out.startswith("memory normal: ") and " of a limit of 64.0 MiB (" in out and
              "pages of the tree\n" in out and out.endswith("\nnothing wrong\n") and "who holds" not in out and
              "gave way" not in out and "did not fit" not in out, "a healthy server", (code, out, err))
        code, out, err = doctor(s, "--json")
        told = json.loads(out)
        equal((code, err, told["healthy"], told["findings"], told["memory"]["level"], "given_back" in told),
              (0, "", True, [], "normal", False), "--json")
        leases = []
        for i in range(25):
            s.put("/m", {str(k): "text %d, which is long enough to be told" % (i + k) for k in range(50)})
            leases.append(s.call("POST", "/v1/snapshots", {}).json)
        s.put("/m", 1)
        time.sleep(0.3)
        code, out, err = doctor(s)
        check(code == 1 and "  1. 25 old versions are held, by 25 leases; the oldest was replaced " in out and
              "(frees about " in out and "DELETE /v1/snapshots/ID" in out and "... and 5 more: --json" in out and
              "snapshot, lease %d of an HTTP client\n" % leases[0]["id"] in out, "forgotten leases", (code, out, err))
        told = json.loads(doctor(s, "--json")[1])
        check(not told["healthy"] and told["findings"][0]["stalled"] and told["findings"][0]["frees"] > 25 * 50 * 40 and
              len(told["memory"]["holders"]) >= 25, "--json", told["findings"])
        for lease in leases:
            s.call("DELETE", "/v1/snapshots/%d" % lease["id"])
        s.put("/m", {str(i): {"a": "text %d" % i} for i in range(100000)})
        s.call("DELETE", "/v1/state/m")
        most = memory(s)["chunks"]["free"]
        code, out, err = doctor(s)
        least = memory(s)["chunks"]["free"]  # it goes by itself meanwhile
        equal(code, 0, "what lies free is no illness")
        check(least < 8 << 20 or "coppice doctor --trim" in out, "advice", (least, out))
        check(most >= 8 << 20 or "coppice doctor --trim" not in out, "no advice", (most, out))
        code, out, err = doctor(s, "--trim")
        check(code == 0 and re.match("[0-9.]+ ([KM]i)?B given back to the system\nmemory normal: ", out) and
              "--trim" not in out, "--trim", (code, out, err))
        told = json.loads(doctor(s, "--trim", "--json")[1])
        check(told["given_back"] >= 0, "--trim --json", told)
    code, out, err = doctor(s)
    check(code == 2 and out == "" and err.startswith("coppice: no server at ") and err.count("\n") == 1, "it is gone", err)
    code, out, err = doctor(s, "--trim")
    equal((code, out, err.count("\n")), (2, "", 1), "--trim of nobody")
    code, out, err = doctor(s, "x")
    equal((code, out, err.count("\n")), (2, "", 1), "usage")


# ---- what is told of a server that is as ill as one likes ----

class Ill(http.server.BaseHTTPRequestHandler):
    documents = {}

    def do_GET(self):
        status, document = self.documents[self.path.split("?")[0]]
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def holder(kind, version, replaced_ms=5000, size=1000, **more):
    return dict({"kind": kind, "version": version, "replaced_ms": replaced_ms, "held_ms": replaced_ms, "bytes": size,
                 "holds": 1, "others": 0, "thread": 0, "thread_name": "", "site": "", "revocable": False,
                 "revoked": False}, **more)


def examine(memory_is=None, options=None, monitor=None, leases=(), answers=None):
    """The findings, and the page, of a server that answers so."""
    base = {"level": "normal", "held": 50 << 20, "used": 40 << 20, "version": 100, "limit": 64 << 20, "soft": 54 << 20, "peak": 50 << 20,
            "by_kind": {"pages": 30 << 20, "values": 20 << 20, "fragments": 0}, "chunks": {"free": 0},
            "old": {"page_bytes": 0}, "history": {"versions": 0, "pinned": 0, "bytes": 0}, "gave_way": {},
            "transactions": {"waiting": 0, "waited": 0, "refused": 0}, "holders": [], "holders_complete": True}
    base.update(memory_is or {})
    documents = {"/v1/memory": (200, base),
                 "/v1/options": (200, dict({"memory.stall_ms": 1000, "snapshots.max_age_ms": 0, "memory.wait_ms": 100},
                                           **(options or {}))),
                 "/v1/monitor": (200, {"warnings": []} if monitor is None else monitor),
                 "/v1/snapshots": (200, {"snapshots": list(leases)})}
    documents.update(answers or {})
    handler = type("Handler", (Ill,), {"documents": documents})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        at = ("doctor", "--server", "127.0.0.1:%d" % server.server_address[1])
        code, out, err = run(*at)
        json_code, found, _ = run(*at, "--json")
        equal(json_code, code, "--json has the same exit code")
        return code, (json.loads(found)["findings"] if found else None), out, err
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def one(what, code, *texts, stalled=None, frees=None, **server):
    seen, findings, out, err = examine(**server)
    equal((seen, err), (code, ""), what + ": the exit code")
    finding = findings[0] if findings else {"what": "", "do": []}
    text = " ".join([finding["what"]] + finding["do"])
    check(all(t in text for t in texts), what + ": %r" % (texts,), findings)
    check(finding["what"] in out and all(t in out for t in finding["do"]), what + ": for people", out)
    if stalled is not None:
        equal(finding.get("stalled"), stalled, what + ": stalled")
    if frees is not None:
        equal(finding.get("frees"), frees, what + ": what it frees")
    return findings, out


def test_doctor_old():
    MIB = 1 << 20
    _, out = one("a snapshot", 1, "1 old version is held, by 1 snapshot; the oldest was replaced 5.0 s ago",
                 "snapshots.max_age_ms=1000", stalled=True, frees=3 * MIB, memory_is={"holders": [
                     holder("snapshot", 7, size=3 * MIB, thread=12, thread_name="worker", site="take+0x7 (app)"),
                     holder("snapshot", 100, replaced_ms=0)]})
    check("3.0 MiB  snapshot, thread 12 worker, at take+0x7 (app)\n" in out, "the table", out)
    check("\n         100 " not in out, "the newest version is no old one", out)
    one("held for a moment", 0, "", stalled=None, memory_is={"holders": [holder("snapshot", 7, 999)]})
    equal(examine({"holders": [holder("snapshot", 7, 999)]})[1], [], "for a moment: nothing is wrong")
    equal(examine({"holders": [holder("snapshot", 7, 9999)]}, {"memory.stall_ms": 0})[1], [], "no stalls are looked for: ten seconds")
    one("for a moment, under pressure", 0, "1 old version is held, by 1 pin;", "end the pins sooner", stalled=False,
        memory_is={"level": "soft", "holders": [holder("pin", 7, 999, site="x")]})
    one("several of one version count once", 1, "2 old versions are held, by 1 lease, 3 snapshots, 2 pins, 1 call;",
        "DELETE /v1/snapshots/ID", "wait for the calls", frees=1500, leases=[{"id": 3, "version": 8}],
        memory_is={"holders": [holder("snapshot", 7, holds=3, others=3), holder("pin", 7, others=3),
                               holder("pin", 7, others=3), holder("call", 7, others=3), holder("snapshot", 8, size=500)]})
    one("what several need together", 1, "snapshots", frees=9 * MIB, memory_is={
        "holders": [holder("snapshot", 7), holder("snapshot", 8)], "old": {"page_bytes": 10 * MIB},
        "history": {"versions": 1, "pinned": 0, "bytes": MIB}})
    one("an answer", 1, "by 2 answers under way;", "request's deadline", memory_is={
        "holders": [holder("snapshot", 7, holds=2, site="cop_json_stream_open+0xfb (libcoppice.so.0)")]})
    one("they are revoked", 1, "they are revoked when they are 9000 ms old", options={"snapshots.max_age_ms": 9000},
        memory_is={"holders": [holder("snapshot", 7, revocable=True)]})
    _, out = one("they cannot be", 1, "2 snapshots were taken before snapshots.max_age_ms was set",
                 options={"snapshots.max_age_ms": 9000}, memory_is={"holders": [
                     holder("snapshot", 6, revocable=True, revoked=True), holder("snapshot", 7, holds=2)]})
    check("revoked snapshot\n" in out and "snapshot (2 times)\n" in out, "as they are listed", out)
    equal(examine({"holders": [holder("history", 7), holder("kept texts", 8), holder("watchers", 9)]})[1], [],
          "what the store keeps by itself is no illness")


def test_doctor_pressure():
    MIB = 1 << 20
    soft = {"level": "soft"}
    one("history", 0, "the history keeps 4 versions, 10.0 MiB", "history.max_bytes=5242880", "2 are pinned", frees=10 * MIB,
        memory_is=dict(soft, history={"versions": 4, "pinned": 2, "bytes": 10 * MIB}))
    findings, _ = one("nothing of it is pinned", 0, "history.max_bytes", memory_is=dict(
        soft, history={"versions": 4, "pinned": 0, "bytes": 10 * MIB}))
    check("pinned" not in str(findings), "not a word of pins", findings)
    one("texts", 0, "JSON texts", "serialization.cache_bytes=%d" % (2 * MIB + 1), frees=5 * MIB, memory_is=dict(
        soft, by_kind={"pages": MIB, "fragments": 4 * MIB}, holders=[
            holder("kept texts", 7, size=MIB), holder("kept texts", 8, size=MIB, others=1)]))
    one("free memory", 0, "lies free", "coppice doctor --trim", frees=2 * MIB, memory_is=dict(soft, chunks={"free": 2 * MIB}))
    equal(examine({"chunks": {"free": 12 * MIB}})[1], [], "less than a quarter, and nothing is short: not a word")
    one("much of it", 0, "coppice doctor --trim", memory_is={"chunks": {"free": 13 * MIB}})
    findings, out = one("the limit", 1, "40.0 MiB are used of a limit of 64.0 MiB", "memory.limit_bytes=%d" % (96 * MIB),
                        "the biggest are a (9 atoms), b (8 atoms)", frees=0, memory_is={"level": "full", "gave_way": {
                            "fragments": 5000, "lazy": 0, "watch": 3 * MIB}},
                        monitor={"warnings": [], "branches": [{"path": "a", "atoms": 9}, {"path": "b", "atoms": 8},
                                                              {"path": "c" * 300, "atoms": 7}]})
    check("c" * 300 not in str(findings), "what is too long to be told is left out", findings)
    check("what gave way since the start: fragments 4.9 KiB, watch 3.0 MiB\n" in out, "what gave way", out)
    one("a limit that was lowered", 1, "more is held than that", "memory.limit_bytes=%d" % (75 * MIB),
        stalled=True, memory_is={"limit": 32 * MIB})
    findings, out = one("transactions wait", 1, "3 transactions wait", "memory.wait_ms (100)", stalled=True,
                        memory_is={"transactions": {"waiting": 3, "waited": 5, "refused": 1}})
    check("that did not fit: waiting now 3, had to wait 5, refused 1\n" in out, "in the state", out)
    findings, _ = one("the order", 0, "JSON texts", memory_is=dict(
        soft, chunks={"free": 2 * MIB}, by_kind={"fragments": 5 * MIB},
        history={"versions": 1, "pinned": 0, "bytes": 4 * MIB}))
    equal([f["frees"] // MIB for f in findings], [5, 4, 2, 0], "what frees most first")
    out = examine({"by_kind": {"pages": 700, "values": 0, "names": 3000}, "held": 3700})[2]
    check(out.index("2.9 KiB   81 %  names") < out.index("700 B   19 %  pages of the tree") and "long values" not in out,
          "what there is most of first", out)


def test_doctor_behind():
    behind = {"name": "watcher behind", "path": "a/*", "text": "for 12000 ms", "advice": "return sooner"}
    findings, _ = one("a watcher", 1, "a watcher is behind: a/*: for 12000 ms", "return sooner", stalled=True, frees=700,
                      monitor={"warnings": [behind, {"name": "batches of one"}, dict(behind, path="")]},
                      memory_is={"holders": [holder("watchers", 7, size=700)]})
    equal([(f["what"][:32], f["frees"]) for f in findings],
          [("a watcher is behind: a/*: for 12", 700), ("a watcher is behind: for 12000 m", 0)], "each, its bytes once")
    findings, _ = one("a long path", 1, "\u00fc" * 250, stalled=True, monitor={"warnings": [
        dict(behind, path="\u00fc" * 250, text="x" * 191), dict(behind, text="\u00fc" * 2000)]})
    equal(len(findings), 2, "what is cut inside a character does not break it")
    one("a long commit", 1, "who holds versions (COP_E_TIMEOUT)", "coppice trace", stalled=True,
        memory_is={"holders_error": "COP_E_TIMEOUT"})
    one("no memory for that", 0, "who holds versions (COP_E_MEMORY)", "ask again", stalled=False,
        memory_is={"holders_error": "COP_E_MEMORY"})
    for answer in ((200, {}), (507, {})):
        one("no warnings", 0, "whether a watcher is behind", stalled=False, answers={"/v1/monitor": answer})
    for path in "/v1/memory", "/v1/options", "/v1/snapshots":
        code, _, out, err = examine(answers={path: (404, {"title": "No such resource"})})
        equal((code, out, err), (2, "", "coppice: %s: No such resource\n" % path), "an older server: " + path)
        code, _, out, err = examine(answers={path: (200, b"nonsense")})
        equal((code, out, err), (2, "", "coppice: %s: the server's answer is no JSON\n" % path), "no JSON: " + path)
    code, _, out, err = examine(answers={"/v1/monitor": (200, b"nonsense")})
    equal((code, out), (2, ""), "no JSON of the monitor")
