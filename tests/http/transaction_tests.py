# SPDX-License-Identifier: MIT
"""Transactions, and versions held for clients."""
import threading
import time

from harness import PATIENCE, Server, check, equal, problem


def transact(s, operations, preconditions=None):
    body = {"operations": operations}
    if preconditions is not None:
        body["preconditions"] = preconditions
    return s.call("POST", "/v1/transaction", body)


def test_transaction(s):
    s.put("/t", {"n": 1, "f": 0.5, "s": "old", "list": [1, 2], "branch": {"x": 1}, "gone": 1})
    before = s.get("/t/n").headers["Coppice-Version"]
    answer = transact(s, [
        {"op": "set", "path": "t/new", "value": {"a": [1, {"b": None}]}},
        {"op": "erase", "path": "t/gone"}, {"op": "clear", "path": "t/branch"},
        {"op": "add", "path": "t/n", "value": 41}, {"op": "max", "path": "t/f", "value": 2.5},
        {"op": "compare_set", "path": "t/s", "expected": "old", "value": "new"},
        {"op": "compare_set", "path": "t/n", "expected": "no", "value": 0},
        {"op": "insert", "path": "t/list", "index": 0, "value": {"first": True}},
        {"op": "insert", "path": "t/list", "value": ["last"]},
        {"op": "insert", "path": "t/list", "index": 2, "value": "mid"}])
    equal(answer.status, 200, "transaction: %r" % answer.body)
    equal(answer.json["applied"], [True] * 6 + [False] + [True] * 3, "what applied")
    equal(answer.json["version"], int(before) + 1, "all of it is one version")
    equal(s.get("/t").json, {"n": 42, "f": 2.5, "s": "new",
                             "list": [{"first": True}, 1, "mid", 2, ["last"]], "branch": {},
                             "new": {"a": [1, {"b": None}]}}, "what a transaction left")
    equal(transact(s, []).status, 200, "an empty transaction")
    equal(transact(s, [{"op": "set", "path": "", "value": s.get("").json}]).status, 200,
          "the root by transaction")


def test_transaction_refusals(s):
    s.put("/t", {"n": 1, "s": "x", "list": [1], "max": 2**63 - 1})
    version = s.call("GET", "/healthz").json["version"]
    good = {"op": "set", "path": "t/n", "value": 2}
    state = [({"op": "add", "path": "t/s", "value": 1}, 409, "state"),
             ({"op": "add", "path": "t/max", "value": 1}, 409, "state"),
             ({"op": "max", "path": "t/s", "value": 1}, 409, "state"),
             ({"op": "erase", "path": "t/absent"}, 404, "absent"),
             ({"op": "set", "path": "t/n/below", "value": 1}, 409, "state"),
             ({"op": "insert", "path": "t/list", "index": 5, "value": 1}, 409, "state")]
    for bad, status, name in state:
        problem(transact(s, [good, bad]), status, name, "transaction %r" % bad)
    early = [({"op": "add", "path": "t/absent", "value": 1}, 404, "absent"),
             ({"op": "insert", "path": "t", "value": 1}, 409, "state"),
             ({"op": "insert", "path": "t/n", "value": 1}, 409, "state"),
             ({"op": "erase", "path": ""}, 400, "request"),
             ({"op": "set", "path": "t//n", "value": 1}, 400, "path"),
             ({"op": "set", "path": 5, "value": 1}, 400, "request"),
             ({"op": "set", "path": "t/n"}, 400, "request"),
             ({"op": "set", "path": "t/n", "value": 1, "extra": 1}, 400, "request"),
             ({"op": "erase", "path": "t/n", "value": 1}, 400, "request"),
             ({"op": "compare_set", "path": "t/n", "value": 1}, 400, "request"),
             ({"op": "compare_set", "path": "t/n", "value": {}, "expected": 1}, 400, "request"),
             ({"op": "add", "path": "t/n", "value": [1]}, 400, "request"),
             ({"op": "insert", "path": "t/list", "index": -1, "value": 1}, 400, "request"),
             ({"op": "insert", "path": "t/list", "index": "0", "value": 1}, 400, "request"),
             ({"op": "unknown", "path": "t/n"}, 400, "request"), ({"path": "t/n"}, 400, "request"),
             (5, 400, "request")]
    for bad, status, name in early:
        seen = problem(transact(s, [good, bad]), status, name, "transaction %r" % (bad,))
        check(seen and seen.get("operation") == 1, "%r: which operation" % (bad,), seen)
    for body in ([], 5, {}, {"operations": 1}, {"operations": [], "preconditions": {}},
                 {"operations": [], "more": 1}):
        seen = s.call("POST", "/v1/transaction", body)
        check(seen.status == 400, "transaction %r" % (body,), seen.status)
    for text in ("", "{", '{"operations":[],"operations":[]}', "nonsense"):
        seen = problem(s.call("POST", "/v1/transaction", text), 400, "json", "body %r" % text)
        check(seen and seen.get("line") == 1, "line of %r" % text, seen)
    equal(s.get("/t/n").json, 1, "nothing of a refused transaction is kept")
    equal(s.call("GET", "/healthz").json["version"], version, "and there is no version of it")
    problem(s.call("GET", "/v1/transaction"), 405, "method", "GET of the transaction")


def test_preconditions(s):
    s.put("/p", {"n": 1, "branch": {"x": 1}})
    since = int(s.get("/p").headers["Coppice-Version"])
    write = [{"op": "add", "path": "p/n", "value": 1}]
    good = [{"path": "p/n", "value": 1}, {"path": "p/absent", "absent": True},
            {"path": "p/branch", "absent": False}, {"path": "p/branch", "unchanged_since": since}]
    equal(transact(s, write, good).status, 200, "preconditions that hold")
    for bad in ({"path": "p/n", "value": 1}, {"path": "p/n", "value": 2.0},
                {"path": "p/absent", "value": 1}, {"path": "p/n", "absent": True},
                {"path": "p/absent", "absent": False}, {"path": "p", "unchanged_since": since},
                {"path": "p/absent", "unchanged_since": since}):
        seen = problem(transact(s, write, [{"path": "p/n", "value": 2}, bad]), 412, "precondition",
                       "precondition %r" % bad)
        equal(seen and seen.get("precondition"), 1, "which precondition")
    for bad in ({"path": "p/n"}, {"path": "p/n", "value": 2, "absent": False},
                {"path": "p/n", "absent": 1}, {"path": "p/branch", "unchanged_since": "x"},
                {"path": "p/branch", "unchanged_since": -1}, {"path": "p/n", "unchanged_since": since},
                {"path": "p/n", "value": {}}, {"path": "p/n", "more": 1}, {"value": 1}, 7):
        problem(transact(s, write, [bad]), 400, "request", "precondition %r" % (bad,))
    problem(transact(s, write, [{"path": "/p", "value": 1}]), 400, "path", "precondition's path")
    equal(s.get("/p/n").json, 2, "only the good one was applied")


def test_transaction_race(s):
    """Transfers between two accounts, and counters by add: sums hold, nothing is lost."""
    s.put("/bank", {"a": 1000, "b": 1000, "count": 0})
    bad, sums = [], []

    def work(sign):
        for _ in range(50):
            answer = transact(s, [{"op": "add", "path": "bank/a", "value": sign},
                                  {"op": "add", "path": "bank/b", "value": -sign},
                                  {"op": "add", "path": "bank/count", "value": 1}])
            if answer.status != 200:
                bad.append(answer.body)

    def read():
        for _ in range(200):
            seen = s.get("/bank").json
            sums.append(seen["a"] + seen["b"])
    threads = [threading.Thread(target=work, args=(n,)) for n in (1, -2, 3)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(bad, [], "adds do not conflict")
    equal(set(sums), {2000}, "every reader sees whole transactions")
    equal(s.get("/bank").json, {"a": 1100, "b": 900, "count": 150}, "nothing is lost")


def test_snapshots(s):
    s.put("/snap", {"n": 1, "gone": {"x": 1}})
    answer = s.call("POST", "/v1/snapshots", "", {"Content-Type": "application/json"})
    equal(answer.status, 201, "POST /v1/snapshots")
    lease = answer.json
    equal(lease["lease_ms"], 60000, "the default lease")
    equal(answer.headers["Location"], "/v1/snapshots/%d" % lease["id"], "Location")
    version = lease["version"]
    s.put("/snap", {"n": 2, "new": 1})
    equal(s.get("/snap", "?version=%d" % version).json, {"n": 1, "gone": {"x": 1}},
          "a held version reads as it was")
    equal(s.call("GET", lease["state"].replace("?", "/snap/n?")).json, 1, "the state member")
    equal(s.get("/snap", "?version=%d" % version).headers["Coppice-Version"], str(version),
          "and says its version")
    equal(s.get("/snap").json, {"n": 2, "new": 1}, "the newest is another")
    problem(s.get("/snap/new", "?version=%d" % version), 404, "absent", "not there yet")
    problem(s.get("/snap", "?version=%d" % (version + 1)), 404, "snapshot", "a version not held")
    second = s.call("POST", "/v1/snapshots", {"lease_ms": 5000}).json
    equal(second["lease_ms"], 5000, "a lease of one's own")
    listed = s.call("GET", "/v1/snapshots").json
    equal(sorted(x["id"] for x in listed["snapshots"]), sorted([lease["id"], second["id"]]),
          "the list")
    check(s.stats()["snapshots"] >= 2, "held snapshots are counted")
    equal(s.call("POST", "/v1/snapshots/%d" % lease["id"], {"lease_ms": 7000}).json["lease_ms"],
          7000, "renewal")
    equal(s.call("DELETE", "/v1/snapshots/%d" % lease["id"]).status, 200, "DELETE")
    problem(s.get("/snap", "?version=%d" % version), 404, "snapshot", "gone with its lease")
    problem(s.call("DELETE", "/v1/snapshots/%d" % lease["id"]), 404, "snapshot", "DELETE, again")
    problem(s.call("POST", "/v1/snapshots/%d" % lease["id"], {}), 404, "snapshot", "late renewal")
    equal(s.call("DELETE", "/v1/snapshots/%d" % second["id"]).status, 200, "DELETE of the other")
    for path in ("/x", "/0", "/1x", "/1/2", "/99999999999999999999999"):
        problem(s.call("DELETE", "/v1/snapshots" + path), 404, "snapshot", "DELETE of " + path)
    for body in ({"lease_ms": 0}, {"lease_ms": 3600001}, {"lease_ms": "1"}, {"x": 1}, [], 5,
                 {"lease_ms": 1, "x": 2}, {"lease_ms": 1.5}):
        answer = s.call("POST", "/v1/snapshots", body)
        check(answer.status == 400, "POST %r" % (body,), answer.status)
    problem(s.call("POST", "/v1/snapshots", "{"), 400, "json", "POST of bad JSON")
    equal(s.call("DELETE", "/v1/snapshots").headers["Allow"], "GET, HEAD, POST", "Allow of the list")
    equal(s.call("GET", "/v1/snapshots/1").headers["Allow"], "POST, DELETE", "Allow of a lease")
    equal(s.call("GET", "/v1/snapshots").json["snapshots"], [], "none is left")


def test_lease_end():
    with Server("--max-snapshots", "2", "--lease-ms", "3000", "--deadline-ms", "20000") as s:
        s.put("/x", 1)
        first = s.call("POST", "/v1/snapshots", {}).json
        equal(s.call("POST", "/v1/snapshots", {"lease_ms": 60000}).status, 201, "two are held")
        full = s.call("POST", "/v1/snapshots", {})
        problem(full, 503, "busy", "a third is refused")
        equal(full.headers["Retry-After"], "1", "Retry-After")
        check(s.stats()["http"]["leases"] == 2, "two leases are counted")
        deadline = time.time() + PATIENCE
        while s.stats()["http"]["leases"] != 1 and time.time() < deadline:
            time.sleep(0.05)
        equal(s.stats()["http"]["leases"], 1, "a lease that has run out is ended by itself")
        s.put("/x", 2)
        equal(s.call("POST", "/v1/snapshots", {}).status, 201, "there is room again")
        check(first["version"] <= 1, "the first version", first)
    with Server("--max-snapshots", "0") as s:
        problem(s.call("POST", "/v1/snapshots", {}), 503, "busy", "--max-snapshots 0")
