#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The HTTP protocol and the program: every route, every limit, every refusal.

Starts the built program on a free port of the loopback address, once for most of the tests and anew
where a limit is to be small. The program is $COPPICE, else $top_builddir/coppice, else build/coppice.
"""
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.environ.get("top_srcdir") or os.path.join(HERE, "..", "..")
BUILD = os.environ.get("top_builddir") or os.path.join(TOP, "build")
PROGRAM = os.environ.get("COPPICE") or os.path.join(BUILD, "coppice")
SLOW = 4 if os.environ.get("COP_SANITIZE", "no") != "no" or os.environ.get("COP_TEST_WRAPPER") else 1

passed = 0
failed = 0


def check(good, what, seen=None):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print("FAIL: %s%s" % (what, "" if seen is None else " (saw %r)" % (seen,)), flush=True)
    return good


def equal(seen, wanted, what):
    return check(seen == wanted, "%s: wanted %r" % (what, wanted), seen)


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """A running `coppice serve`."""

    def __init__(self, *arguments, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--port", "0", *arguments],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.banner = []
        self.complaints = []
        self.port = None
        for line in self.process.stdout:
            self.banner.append(line)
            found = re.search(r"http://\S+:(\d+)$", line.strip())
            if self.port is None and found:
                self.port = int(found.group(1))
            if "/v1/stats" in line:
                break
        if self.port is None:
            raise RuntimeError("the server did not start: " + self.process.stderr.read())
        self.output = []
        for stream, lines in ((self.process.stdout, self.output),
                              (self.process.stderr, self.complaints)):
            threading.Thread(target=lambda s=stream, to=lines: to.extend(s), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        equal(self.end(), 0, "a server ends with 0")

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            check(False, "the server ends when told to")
            return self.process.wait()

    def call(self, method, target, body=None, headers=None, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * SLOW)
        sent = {"Host": host or "127.0.0.1:%d" % self.port}
        if body is not None:
            sent["Content-Type"] = ("application/merge-patch+json" if method == "PATCH"
                                    else "application/json")
        sent.update(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        try:
            connection.request(method, target, body, {k: v for k, v in sent.items()
                                                      if v is not None})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, query="", **headers):
        return self.call("GET", "/v1/state" + path + query,
                         headers={k.replace("_", "-"): v for k, v in headers.items()})

    def put(self, path, value, **headers):
        return self.call("PUT", "/v1/state" + path, json.dumps(value),
                         headers={k.replace("_", "-"): v for k, v in headers.items()})

    def raw(self, data, seconds=10):
        """Sends bytes, reads until the other end closes or the time is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds * SLOW) as s:
            s.sendall(data)
            return read_all(s)

    def stats(self):
        return self.call("GET", "/v1/stats").json


def read_all(s):
    data = b""
    try:
        while True:
            got = s.recv(65536)
            if not got:
                break
            data += got
    except OSError:
        pass
    return data


def problem(answer, status, name, what):
    if not equal(answer.status, status, what + ": status"):
        return None
    equal(answer.headers.get("Content-Type"), "application/problem+json", what + ": type")
    document = answer.json
    equal(document["status"], status, what + ": status member")
    equal(document["type"], "/problems/" + name, what + ": problem type")
    check(document["title"] and document["detail"], what + ": title and detail", document)
    return document


# --- state -------------------------------------------------------------------------------------

DOCUMENT = {
    "text": "Gr\u00fc\u00dfe \U0001f333 \"quoted\" \\ \n\t\u0001", "empty": "", "zero": 0, "one": 1.0,
    "least": -2**63, "most": 2**63 - 1, "small": 5e-324, "big": 1.7976931348623157e308,
    "yes": True, "no": False, "nothing": None, "list": [1, [2, [3, []]], {"a": {}}],
    "branch": {"z": 1, "a": {"deep": {"deeper": "x"}}, "m": []}, "": "empty key", "a/b": "slash",
    "a~b": "tilde", "a*b": "star", "a b": "space", "\u00fc": "umlaut",
    "long": "0123456789" * 30,
}


def test_state(s):
    answer = s.put("", DOCUMENT)
    equal(answer.status, 200, "PUT of the root")
    version = answer.json["version"]
    got = s.get("")
    equal(got.status, 200, "GET of the root")
    equal(got.headers["Content-Type"], "application/json", "GET: type")
    equal(got.headers["Coppice-Version"], str(version), "GET: version")
    equal(got.headers["X-Content-Type-Options"], "nosniff", "GET: nosniff")
    equal(got.headers["Cross-Origin-Resource-Policy"], "same-origin", "GET: resource policy")
    equal(got.headers.get("Access-Control-Allow-Origin"), None, "GET: no CORS")
    equal(got.body.decode(), json.dumps(DOCUMENT, ensure_ascii=False, separators=(",", ":")),
          "what was put is read equal, order and number types included")
    equal(s.get("/").body, got.body, "a slash at the end of the prefix is the root too")
    pretty = s.get("", "?pretty")
    equal(pretty.body.decode(), json.dumps(DOCUMENT, ensure_ascii=False, indent=2) + "\n",
          "?pretty")
    for query in ("?pretty=1", "?pretty=true", "?pretty="):
        equal(s.get("", query).body, pretty.body, query)
    for query in ("?pretty=0", "?pretty=false"):
        equal(s.get("", query).body, got.body, query)


def test_paths(s):
    for path, wanted in (("/text", DOCUMENT["text"]), ("/list/1/0", 2), ("/list/1/1/0", 3),
                         ("/branch/a/deep/deeper", "x"), ("/~3", "empty key"),
                         ("/a~1b", "slash"), ("/a~0b", "tilde"), ("/a%7E0b", "tilde"),
                         ("/a~2b", "star"), ("/a%20b", "space"), ("/%C3%BC", "umlaut"),
                         ("/%c3%bc", "umlaut"), ("/most", 2**63 - 1)):
        answer = s.get(path)
        if equal(answer.status, 200, "GET " + path):
            equal(answer.json, wanted, "GET " + path)
    equal(s.get("/one").body, b"1.0", "1.0 stays 1.0")
    for path in ("/absent", "/text/below", "/list/9", "/list/x", "/branch/a/b/c", "/list/-"):
        problem(s.get(path), 404, "absent", "GET " + path)
    for path, position in (("//a", 0), ("/a//b", 2), ("/a/", 2), ("/a~", 2), ("/a~9", 2),
                           ("/a%2Ab", 1), ("/%FF", 0), ("/a/%00", 2)):
        seen = problem(s.get(path), 400, "path", "GET " + path)
        check(seen and "position" in seen, "GET %s: the position is told" % path, seen)
    for path in ("/a%2Fb", "/a%2fb", "/%", "/%4", "/%zz", "/" + "a" * 4097,
                 "/" + "/".join(["a"] * 513)):
        problem(s.get(path), 400, "path", "GET " + path[:20])
    equal(s.get("/" + "a" * 4096).status, 404, "a path of 4,096 bytes is one")
    equal(s.get("/" + "/".join(["a"] * 512)).status, 404, "a path of 512 segments is one")


def test_query(s):
    equal(s.get("", "?depth=1").json["branch"], {}, "?depth=1 ends at the children")
    equal(s.get("", "?depth=1").json["list"], [], "?depth=1: an array")
    equal(s.get("/branch", "?depth=2").json, {"z": 1, "a": {"deep": {}}, "m": []}, "?depth=2")
    equal(s.get("", "?depth=512").body, s.get("").body, "?depth=512")
    equal(s.get("/text", "?depth=1").json, DOCUMENT["text"], "?depth of a value")
    equal(s.get("/branch", "?pretty&depth=1").body,
          (json.dumps({"z": 1, "a": {}, "m": []}, indent=2) + "\n").encode(), "?pretty&depth=1")
    for query in ("?depth=0", "?depth=513", "?depth=", "?depth", "?depth=-1", "?depth=1x",
                  "?version=x", "?version=", "?version=99999999999999999999", "?unknown=1",
                  "?pretty=maybe", "?depth=1&extra"):
        problem(s.get("", query), 400, "request", "GET " + query)


def test_head(s):
    for target in ("/v1/state", "/v1/state/branch?pretty", "/v1/stats", "/healthz"):
        get, head = s.call("GET", target), s.call("HEAD", target)
        equal(head.status, 200, "HEAD " + target)
        equal(head.body, b"", "HEAD %s: no body" % target)
        if "stats" not in target and "health" not in target:
            equal(head.headers["Content-Length"], get.headers["Content-Length"],
                  "HEAD %s: length" % target)
            equal(head.headers["ETag"], get.headers["ETag"], "HEAD %s: ETag" % target)
    equal(s.call("HEAD", "/v1/state/absent").status, 404, "HEAD of nothing")
    tag = s.call("HEAD", "/v1/state").headers["ETag"]
    equal(s.call("HEAD", "/v1/state", headers={"If-None-Match": tag}).status, 304, "HEAD: 304")


def test_etags(s):
    s.put("/tags", {"a": {"x": 1}, "b": {"x": 1}, "leaf": "v"})
    a, b = s.get("/tags/a").headers["ETag"], s.get("/tags/b").headers["ETag"]
    root, leaf = s.get("/tags").headers["ETag"], s.get("/tags/leaf").headers["ETag"]
    version = s.put("/tags/b/x", 2).json["version"]
    equal(s.get("/tags/a").headers["ETag"], a, "another branch's change leaves the ETag")
    equal(s.get("/tags/a", If_None_Match=a).status, 304, "idle branch: 304")
    check(s.get("/tags/b").headers["ETag"] != b, "a change below changes the ETag")
    check(s.get("/tags").headers["ETag"] != root, "and that of the branches above")
    check(s.get("/tags/b").headers["ETag"].startswith('"%d-' % version),
          "the ETag begins with the version of the change", s.get("/tags/b").headers["ETag"])
    equal(s.get("/tags/leaf").headers["ETag"], leaf, "a value's ETag is of its content")
    unchanged = s.get("/tags/a", If_None_Match=a)
    equal(unchanged.body, b"", "304 has no body")
    equal(unchanged.headers["ETag"], a, "304 has the ETag")
    for value in (a, "*", '"x", %s' % a, "W/" + a, '"x",W/%s , "y"' % a):
        equal(s.get("/tags/a", If_None_Match=value).status, 304, "If-None-Match: " + value)
    for value in ('"x"', '""', "x", "", '"', leaf, a[:-2] + '"', a[:-1] + '-p"'):
        equal(s.get("/tags/a", If_None_Match=value).status, 200, "If-None-Match: " + value)
    equal(s.get("/tags/leaf", If_None_Match=leaf).status, 304, "value: 304")
    s.put("/tags/leaf", "w")
    equal(s.get("/tags/leaf", If_None_Match=leaf).status, 200, "value: changed")
    s.put("/tags/leaf", "v")
    equal(s.get("/tags/leaf", If_None_Match=leaf).status, 304, "value: changed back")
    forms = [s.get("/tags/a", q).headers["ETag"] for q in ("", "?pretty", "?depth=1",
                                                            "?depth=2", "?pretty&depth=1")]
    equal(len(set(forms)), 5, "each form has its own ETag")
    equal(s.get("/tags/a", "?pretty", If_None_Match=forms[1]).status, 304, "a form's 304")
    equal(s.get("/tags/a", "?pretty", If_None_Match=forms[0]).status, 200, "another form's ETag")
    s.put("/tags/n", 1)
    number = s.get("/tags/n").headers["ETag"]
    s.put("/tags/n", 1.0)
    check(s.get("/tags/n").headers["ETag"] != number, "1 and 1.0 have different ETags")


def test_put_delete(s):
    answer = s.put("/made/of/parts", 1)
    equal(answer.status, 201, "PUT that creates")
    equal(answer.headers["Content-Type"], "application/json", "PUT: type")
    version = answer.json["version"]
    again = s.put("/made/of/parts", 1)
    equal((again.status, again.json["version"]), (200, version), "no change, no version")
    equal(s.put("/made/of/parts", 2).json["version"], version + 1, "one change, one version")
    equal(s.put("/made/of/parts", {"a": [1, 2]}).status, 200, "a branch for a value")
    equal(s.put("/made/of/parts/a/-", 3).status, 201, "PUT at the end of an array")
    equal(s.get("/made/of/parts").json, {"a": [1, 2, 3]}, "appended")
    equal(s.put("/made/of/parts/a/1", "x").status, 200, "PUT of an element")
    equal(s.put("/made/of/parts", 5).status, 200, "a value for a branch")
    equal(s.get("/made/of").json, {"parts": 5}, "in its place")
    s.put("/made/order", {"a": 1, "b": 2, "c": 3})
    s.put("/made/order/b", {"x": 1})
    equal(list(s.get("/made/order").json), ["a", "b", "c"], "order is kept")
    problem(s.put("/made/of/parts/below", 1), 409, "state", "PUT below a value")
    problem(s.put("/made/order/b/~9", 1), 400, "path", "PUT of a bad path")
    s.put("/made/list", [1])
    problem(s.put("/made/list/7", 1), 409, "state", "PUT beyond an array's end")
    for body, column in (('{"a":1,"a":2}', None), ('{"a":', None), ("[1,]", None), ("", None),
                         ("1e999", None), ("9223372036854775808", None), ("NaN", None),
                         ("nul", None), ('"\ud800"', None), ("{} x", None),
                         (b'"\xff"', None), ('{"a\\u0000":1}', None)):
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        seen = problem(s.call("PUT", "/v1/state/bad", body), 400, "json", "PUT %r" % body)
        check(seen and seen.get("line", 0) >= 1 and "column" in seen,
              "PUT %r: line and column" % body, seen)
    problem(s.call("PUT", "/v1/state/bad", "[" * 600 + "]" * 600), 413, "too-large",
            "PUT nested too deep")
    equal(s.get("/bad").status, 404, "nothing of a bad document is kept")
    answer = s.call("DELETE", "/v1/state/made/of")
    equal(answer.status, 200, "DELETE")
    check(answer.json["version"] > version, "DELETE: version")
    equal(s.get("/made/of/parts").status, 404, "DELETE takes what is below")
    problem(s.call("DELETE", "/v1/state/made/of"), 404, "absent", "DELETE of nothing")
    problem(s.call("DELETE", "/v1/state"), 409, "state", "DELETE of the root")
    equal(s.call("DELETE", "/v1/state/made").status, 200, "DELETE of a top branch")
    equal(s.put("/bytes", {"$bytes": "AAECAw=="}).status, 201, "PUT of bytes")
    equal(s.get("/bytes").json, {"$bytes": "AAECAw=="}, "bytes")


def test_patch(s):
    # The examples of RFC 7396, appendix A, that have an object at the top.
    cases = [({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
             ({"a": "b"}, {"a": None}, {}), ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
             ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
             ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
             ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}), (["a", "b"], ["c", "d"], ["c", "d"]),
             ({"a": "b"}, ["c"], ["c"]), ({"a": "foo"}, "bar", "bar"),
             ({"e": None}, {"a": 1}, {"e": None, "a": 1}), ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
             ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}})]
    for before, patch, after in cases:
        s.put("/patch", before)
        answer = s.call("PATCH", "/v1/state/patch", json.dumps(patch))
        equal(answer.status, 200, "PATCH %r" % (patch,))
        equal(s.get("/patch").json, after, "PATCH %r of %r" % (patch, before))
    equal(s.call("PATCH", "/v1/state/patched", {"a": 1, "b": None}).status, 201, "PATCH creates")
    equal(s.get("/patched").json, {"a": 1}, "PATCH of nothing")
    problem(s.call("PATCH", "/v1/state/patch", "{"), 400, "json", "PATCH with bad JSON")
    answer = s.call("PATCH", "/v1/state/patch", {}, {"Content-Type": "application/json"})
    problem(answer, 415, "media-type", "PATCH with application/json")
    equal(answer.headers["Accept-Patch"], "application/merge-patch+json", "Accept-Patch")


def test_conditions(s):
    s.put("/if", {"branch": {"x": 1}, "leaf": 1, "other": 1})
    for path, change in (("/if/branch", "/if/branch/x"), ("/if/leaf", "/if/leaf")):
        tag = s.get(path).headers["ETag"]
        s.put("/if/other", time.time())
        equal(s.put(change, 2, If_Match="*").status, 200, "If-Match: * on " + path)
        for method, body in (("PUT", {"x": 3}), ("PATCH", {"x": 3}), ("DELETE", None)):
            seen = s.call(method, "/v1/state" + path, body, {"If-Match": tag})
            problem(seen, 412, "precondition", "%s %s with an old ETag" % (method, path))
        tag = s.get(path).headers["ETag"]
        equal(s.put(path, {"x": 4}, If_Match=tag).status, 200, "PUT with the ETag of " + path)
        tag = s.get(path).headers["ETag"]
        equal(s.put(path, {"x": 5}, If_Match='"y", ' + tag).status, 200, "a list of ETags")
        tag = s.get(path).headers["ETag"]
        problem(s.put(path, 1, If_Match="W/" + tag), 412, "precondition", "weak never matches")
        problem(s.put(path, 1, If_None_Match=tag), 412, "precondition", "If-None-Match on PUT")
        problem(s.put(path, 1, If_None_Match="*"), 412, "precondition", "If-None-Match: *")
        pretty = s.get(path, "?pretty").headers["ETag"]
        equal(s.call("PATCH", "/v1/state" + path, {"x": 6}, {"If-Match": pretty}).status, 200,
              "any form's ETag will do for a write")
        tag = s.get(path).headers["ETag"]
        equal(s.call("DELETE", "/v1/state" + path, headers={"If-Match": tag}).status, 200,
              "DELETE with the ETag of " + path)
    problem(s.put("/if/absent", 1, If_Match="*"), 412, "precondition", "If-Match: * of nothing")
    problem(s.put("/if/absent", 1, If_Match='"1"'), 412, "precondition", "If-Match of nothing")
    equal(s.put("/if/absent", 1, If_None_Match="*").status, 201, "create only")
    problem(s.put("/if/absent", 2, If_None_Match="*"), 412, "precondition", "create only, again")
    equal(s.get("/if/absent").json, 1, "the refused write left the value")


def test_condition_race(s):
    """Increments by GET and PUT with If-Match from several threads: none may be lost."""
    s.put("/race", {"n": 0})
    refused = []

    def work():
        for _ in range(25):
            for _ in range(400):
                got = s.get("/race")
                answer = s.put("/race", {"n": got.json["n"] + 1}, If_Match=got.headers["ETag"])
                if answer.status == 200:
                    break
                if answer.status != 412:
                    refused.append(answer.status)
                    break
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(refused, [], "a lost race is a 412")
    equal(s.get("/race/n").json, 100, "no increment is lost")


# --- transactions ------------------------------------------------------------------------------

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


# --- snapshots ---------------------------------------------------------------------------------

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
    with Server("--max-snapshots", "2", "--lease-ms", "300", "--deadline-ms", "2000") as s:
        s.put("/x", 1)
        first = s.call("POST", "/v1/snapshots", {}).json
        equal(s.call("POST", "/v1/snapshots", {"lease_ms": 60000}).status, 201, "two are held")
        full = s.call("POST", "/v1/snapshots", {})
        problem(full, 503, "busy", "a third is refused")
        equal(full.headers["Retry-After"], "1", "Retry-After")
        check(s.stats()["http"]["leases"] == 2, "two leases are counted")
        deadline = time.time() + 5 * SLOW
        while s.stats()["http"]["leases"] != 1 and time.time() < deadline:
            time.sleep(0.05)
        equal(s.stats()["http"]["leases"], 1, "a lease that has run out is ended by itself")
        s.put("/x", 2)
        equal(s.call("POST", "/v1/snapshots", {}).status, 201, "there is room again")
        check(first["version"] <= 1, "the first version", first)
    with Server("--max-snapshots", "0") as s:
        problem(s.call("POST", "/v1/snapshots", {}), 503, "busy", "--max-snapshots 0")


# --- refusals ----------------------------------------------------------------------------------

def test_host_header(s):
    for host in ("127.0.0.1:%d", "localhost:%d", "LOCALHOST:%d", "[::1]:%d"):
        equal(s.call("GET", "/healthz", host=host % s.port).status, 200, "Host " + host)
    for host in ("127.0.0.1", "localhost", "localhost:1", "evil.example:%d" % s.port,
                 "evil.example", "127.0.0.1:%d." % s.port, "127.0.0.1:%d@evil" % s.port,
                 "127.0.0.2:%d" % s.port, "0.0.0.0:%d" % s.port, "x127.0.0.1:%d" % s.port):
        for target in ("/healthz", "/v1/state", "/v1/stats", "/nowhere"):
            problem(s.call("GET", target, host=host), 421, "host", "Host %s %s" % (host, target))
    problem(s.call("PUT", "/v1/state/x", 1, host="evil.example"), 421, "host", "PUT, foreign Host")
    equal(s.get("/x").status, 404, "and nothing was written")
    name = b"127.0.0.1:%d" % s.port
    for head in (b"", b"Host: %s\r\nHost: %s\r\n" % (name, name),
                 b"Host: %s\r\nHost: evil\r\n" % name):
        seen = s.raw(b"GET /healthz HTTP/1.1\r\n%sConnection: close\r\n\r\n" % head)
        check(seen.startswith(b"HTTP/1.1 400"), "Hosts %r" % head, seen[:60])
    seen = s.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    check(b" 400 " in seen[:15], "HTTP/1.0 without Host", seen[:60])
    with Server("--allow-host", "db.example", "--allow-host", "proxy.example:80") as other:
        equal(other.call("GET", "/healthz", host="db.example:%d" % other.port).status, 200,
              "--allow-host name")
        equal(other.call("GET", "/healthz", host="proxy.example:80").status, 200,
              "--allow-host name:port")
        problem(other.call("GET", "/healthz", host="db.example"), 421, "host",
                "--allow-host wants the port")


def test_origin(s):
    mine = "http://127.0.0.1:%d" % s.port
    for origin in (mine, "http://localhost:%d" % s.port, "HTTP://localhost:%d" % s.port):
        equal(s.put("/origin", 1, Origin=origin).status in (200, 201), True, "Origin " + origin)
    for origin in ("http://evil.example", "null", "", "https://127.0.0.1:%d" % s.port, mine + "/",
                   mine + ".evil.example", "http://localhost", "file://"):
        for method, target, body in (("PUT", "/v1/state/origin", 2), ("PATCH", "/v1/state/o", {}),
                                     ("DELETE", "/v1/state/origin", None),
                                     ("POST", "/v1/transaction", {"operations": []}),
                                     ("POST", "/v1/snapshots", {})):
            problem(s.call(method, target, body, {"Origin": origin}), 403, "origin",
                    "%s with Origin %r" % (method, origin))
    for site, good in (("same-origin", True), ("none", True), ("cross-site", False),
                       ("same-site", False), ("", False), ("nonsense", False)):
        answer = s.put("/origin", 1, Sec_Fetch_Site=site)
        if good:
            equal(answer.status, 200, "Sec-Fetch-Site " + site)
        else:
            problem(answer, 403, "origin", "Sec-Fetch-Site %r" % site)
    equal(s.get("/origin").json, 1, "nothing foreign was written")
    preflight = s.call("OPTIONS", "/v1/state/origin", headers={
        "Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"})
    problem(preflight, 405, "method", "a preflight request")
    check(not [h for h in preflight.headers if h.lower().startswith("access-control")],
          "no CORS headers")


def test_content_types(s):
    for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON",
                 "application/json ;charset=utf-8"):
        answer = s.call("PUT", "/v1/state/type", "1", {"Content-Type": kind})
        check(answer.status in (200, 201), "type " + kind, answer.status)
    for kind in (None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
                 "multipart/form-data; boundary=x", "application/merge-patch+json", "json"):
        for method, target in (("PUT", "/v1/state/type"), ("POST", "/v1/transaction"),
                               ("POST", "/v1/snapshots"), ("POST", "/v1/snapshots/1")):
            answer = s.call(method, target, b"2", {"Content-Type": kind})
            problem(answer, 415, "media-type", "%s of type %r" % (method, kind))
    problem(s.call("PUT", "/v1/state/type", "2", {"Content-Encoding": "gzip"}), 415, "media-type",
            "an encoded body")
    equal(s.get("/type").json, 1, "nothing of another type was written")
    problem(s.call("DELETE", "/v1/state/type", "2"), 400, "request", "DELETE with a body")
    problem(s.call("GET", "/v1/state/type", "2"), 400, "request", "GET with a body")


def test_routes(s):
    for target in ("/", "/v1", "/v1/", "/v1/states", "/v1/stat", "/v2/state", "/v1/stats/x",
                   "/healthz/x", "/v1/transaction/x", "/problems", "/problems/none",
                   "/%76%31/state"):
        problem(s.call("GET", target), 404, "route", "GET " + target)
    for method, target, allow in (("POST", "/v1/state", "GET, HEAD, PUT, PATCH, DELETE"),
                                  ("PUT", "/v1/stats", "GET, HEAD"),
                                  ("POST", "/healthz", "GET, HEAD"),
                                  ("PUT", "/v1/transaction", "POST"),
                                  ("BREW", "/v1/state", "GET, HEAD, PUT, PATCH, DELETE"),
                                  ("PUT", "/v1/snapshots", "GET, HEAD, POST, DELETE")):
        answer = s.call(method, target, "{}")
        problem(answer, 405, "method", "%s %s" % (method, target))
        equal(answer.headers["Allow"], allow, "%s %s: Allow" % (method, target))
    health = s.call("GET", "/healthz")
    equal((health.status, health.json["status"]), (200, "ok"), "/healthz")
    check(health.json["version"] >= 0, "/healthz: version")
    explained = s.call("GET", "/problems/precondition")
    equal((explained.status, explained.headers["Content-Type"]),
          (200, "text/plain; charset=utf-8"), "/problems/NAME")
    check(b"If-Match" in explained.body, "/problems/NAME explains", explained.body)


def test_stats(s):
    stats = s.stats()
    header = open(os.path.join(TOP, "include", "coppice", "stats.h"), encoding="utf-8").read()
    names = re.findall(r"^\s+X\((\w+), \"", header, re.M)
    check(len(names) > 20, "the table of statistics is found", names)
    for name in names:
        check(isinstance(stats.get(name), int), "stats: " + name, stats.get(name))
    check(sum(stats["bytes_by_kind"].values()) <= stats["bytes_held"] * 2, "bytes by kind")
    check(stats["http"]["requests"] > 100, "requests are counted", stats["http"])
    check(stats["http"]["refused"] > 10, "refusals are counted")
    check(stats["http"]["connections"] >= 1, "connections are counted")
    writes = stats["http"]["writes"]
    s.put("/stats", writes)
    equal(s.stats()["http"]["writes"], writes + 1, "writes are counted")
    check(b"\n" in s.call("GET", "/v1/stats?pretty").body, "/v1/stats?pretty")


def test_keep_alive(s):
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * SLOW)
    connection.connect()
    mine = connection.sock.getsockname()
    statuses = []
    for method, target, body in (("GET", "/healthz", None), ("PUT", "/v1/state/keep", "1"),
                                 ("PUT", "/v1/state/keep", "{"), ("GET", "/v1/state/none", None),
                                 ("PUT", "/v1/state/keep//x", "1"), ("DELETE", "/v1/state/keep", None),
                                 ("GET", "/healthz", None)):
        connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    equal(statuses, [200, 201, 400, 404, 400, 200, 200], "several requests on one connection")
    equal(connection.sock and connection.sock.getsockname(), mine, "which stayed the same")
    connection.close()
    name = b"Host: 127.0.0.1:%d\r\n" % s.port
    seen = s.raw(b"GET /healthz HTTP/1.1\r\n" + name + b"\r\nGET /healthz HTTP/1.1\r\n" + name +
                 b"Connection: close\r\n\r\n")
    equal(seen.count(b"HTTP/1.1 200"), 2, "two requests sent at once")
    chunks = (b"PUT /v1/state/chunks HTTP/1.1\r\n" + name + b"Content-Type: application/json\r\n"
              b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
              b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n")
    check(b" 201 " in s.raw(chunks)[:15], "a chunked body")
    equal(s.get("/chunks").json, [1, 2], "a chunked body is read whole")


# --- large answers -----------------------------------------------------------------------------

def test_streams(s):
    big = {"rows": [{"id": i, "name": "row %d \u00fc" % i, "v": i / 7, "e": {}, "l": [i, None]}
                    for i in range(40000)], "bytes": {"$bytes": "QUJD"}, "a/b~c*": "x" * 300000,
           "": [[[[]]]]}
    streamed = s.stats()["http"]["streamed"]
    equal(s.put("/large", big).status, 201, "PUT of several megabytes")
    got = s.get("/large")
    text = json.dumps(big, ensure_ascii=False, separators=(",", ":")).encode()
    check(len(text) > 2 << 20, "large enough to be streamed", len(text))
    check(got.body == text, "a streamed answer is the document", (len(got.body), len(text)))
    equal(got.headers.get("Transfer-Encoding"), "chunked", "it has no length")
    pretty = s.get("/large", "?pretty")
    check(pretty.body == (json.dumps(big, ensure_ascii=False, indent=2) + "\n").encode(),
          "?pretty, streamed")
    wide = s.get("/large", "?depth=2")
    check(wide.json["rows"] == [{}] * 40000, "?depth, streamed or not")
    deep = s.get("/large/rows", "?depth=2")
    check(deep.json[7] == dict(big["rows"][7], l=[]), "?depth=2, streamed")
    equal(s.get("/large", If_None_Match=got.headers["ETag"]).status, 304, "its ETag")
    head = s.call("HEAD", "/v1/state/large")
    equal((head.status, head.body, head.headers["ETag"]), (200, b"", got.headers["ETag"]), "HEAD")
    check(s.stats()["http"]["streamed"] >= streamed + 3, "streams are counted")
    s.put("/text", "y" * 3000000)
    check(s.get("/text").json == "y" * 3000000, "a long text is streamed too")
    # A reader that stops in the middle: the version it reads stays whole.
    with socket.create_connection(("127.0.0.1", s.port), timeout=20 * SLOW) as slow:
        slow.sendall(b"GET /v1/state/large HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
                     % s.port)
        first = slow.recv(1000)
        s.put("/large", 1)
        rest = read_all(slow)
    seen = b"".join(unchunk((first + rest).split(b"\r\n\r\n", 1)[1]))
    check(seen == text, "an answer in the middle of which the branch was replaced", len(seen))
    equal(s.get("/large").json, 1, "and the new value is there")
    deadline = time.time() + 5 * SLOW
    while s.stats()["snapshots"] and time.time() < deadline:
        time.sleep(0.05)
    equal(s.stats()["snapshots"], 0, "the snapshots of answers are dropped")
    equal(s.stats()["http"]["buffered_bytes"] < 1 << 20, True, "buffers are given back")
    s.call("DELETE", "/v1/state/text")


def unchunk(data):
    while data:
        size, data = data.split(b"\r\n", 1)
        n = int(size, 16)
        if n == 0:
            return
        yield data[:n]
        data = data[n + 2:]


# --- limits ------------------------------------------------------------------------------------

def test_body_limit():
    with Server("--max-body-bytes", "1000") as s:
        equal(s.call("PUT", "/v1/state/x", '"%s"' % ("x" * 998)).status, 201, "a body at the limit")
        answer = s.call("PUT", "/v1/state/x", '"%s"' % ("y" * 999))
        problem(answer, 413, "too-large", "a body over the limit")
        name = b"Host: 127.0.0.1:%d\r\nContent-Type: application/json\r\n" % s.port
        seen = s.raw(b"PUT /v1/state/x HTTP/1.1\r\n" + name +
                     b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n", 5)
        check(seen.startswith(b"HTTP/1.1 413"), "refused before it is sent", seen[:40])
        seen = s.raw(b"PUT /v1/state/x HTTP/1.1\r\n" + name +
                     b"Content-Length: 99999999999999999999999\r\n\r\n", 5)
        check(b" 413 " in seen[:15] or b" 400 " in seen[:15], "an absurd length", seen[:40])
        chunk = b"190\r\n" + b"z" * 400 + b"\r\n"
        head = (b"PUT /v1/state/x HTTP/1.1\r\n" + name +
                b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        seen = s.raw(head + chunk * 4 + b"0\r\n\r\n", 5)
        check(b" 413 " in seen[:15], "chunks over the limit", seen[:40])
        try:
            seen = s.raw(head + chunk * 200, 5)
        except OSError:
            seen = b""
        check(b" 20" not in seen[:15], "endless chunks are cut", seen[:40])
        equal(s.get("/x").json, "x" * 998, "nothing over the limit was written")
        equal(s.stats()["http"]["buffered_bytes"], 0, "and nothing is held")
    with Server("--max-buffered-bytes", "65536") as s:
        problem(s.put("/x", "x" * 200000), 503, "busy", "over the budget of all bodies")
        equal(s.put("/x", "x" * 20000).status, 201, "within it")
        s.put("/list", ["x" * 3000] * 4)
        for i in range(12):
            s.put("/list/-", "y" * 3000 + str(i))
        seen = s.get("")
        check(len(seen.json["list"]) == 16, "an answer over the budget is streamed")
        equal(seen.headers.get("Transfer-Encoding"), "chunked", "streamed for the budget's sake")


def test_header_limit():
    with Server("--max-header-bytes", "4096") as s:
        equal(s.call("GET", "/healthz", headers={"X-Pad": "x" * 3000}).status, 200, "a long header")
        problem(s.call("GET", "/healthz", headers={"X-Pad": "x" * 5000}), 431, "header",
                "a header over the limit")
        for pad in (20000, 200000):
            seen = s.raw(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Pad: %s\r\n"
                         b"Connection: close\r\n\r\n" % (s.port, b"x" * pad), 5)
            check(b" 431 " in seen[:15] or b" 400 " in seen[:15] or seen == b"",
                  "a header of %d bytes" % pad, seen[:40])
        seen = s.raw(b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (b"a" * 100000, s.port), 5)
        check(b" 414 " in seen[:15] or b" 431 " in seen[:15] or seen == b"", "a long URL", seen[:40])
        equal(s.call("GET", "/healthz").status, 200, "and it serves on")


def test_malformed(s):
    for data in (b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x00\x01\x02\x03\r\n\r\n",
                 b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                 b"PUT /v1/state/m HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json"
                 b"\r\nContent-Length: -5\r\n\r\n1" % s.port,
                 b"PUT /v1/state/m HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json"
                 b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n1\r\n0\r\n\r\n" % s.port):
        with socket.create_connection(("127.0.0.1", s.port), timeout=5 * SLOW) as c:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            seen = read_all(c)
        check(b" 20" not in seen[:15], "not answered as good: %r" % data[:30], seen[:40])
    equal(s.call("GET", "/healthz").status, 200, "and it serves on")
    equal(s.get("/m").status, 404, "nothing was written")


def test_connections():
    with Server("--threads", "1", "--max-connections", "2") as s:
        def open_one():
            return socket.create_connection(("127.0.0.1", s.port), timeout=10 * SLOW)

        def ask(c):
            c.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % s.port)
        held = [open_one(), open_one()]
        for c in held:
            ask(c)
            check(c.recv(4096).startswith(b"HTTP/1.1 200"), "within the limit")
        third = open_one()
        ask(third)
        check(not select.select([third], [], [], 0.7)[0], "one too many is not answered")
        held.pop().close()
        ready = select.select([third], [], [], 10 * SLOW)[0]
        check(bool(ready) and third.recv(4096).startswith(b"HTTP/1.1 200"),
              "until another has ended")
        third.close()
        held.pop().close()


def drip(s, first, seconds, byte=b"x"):
    """Sends a byte now and then until the connection is cut; the time that took."""
    began = time.time()
    with socket.create_connection(("127.0.0.1", s.port), timeout=5) as c:
        c.sendall(first)
        while time.time() - began < seconds:
            if select.select([c], [], [], 0.1)[0]:
                try:
                    if not c.recv(4096):
                        return time.time() - began
                except OSError:
                    return time.time() - began
            try:
                c.sendall(byte)
            except OSError:
                return time.time() - began
    return None


def read_slowly(s):
    """Reads an answer of 10 MB in small bits: when it was cut (None: it was not), bytes read."""
    s.put("/big", ["0123456789" * 10] * 100000)
    began, total = time.time(), 0
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(10 * SLOW)
        c.connect(("127.0.0.1", s.port))
        c.sendall(b"GET /v1/state/big HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % s.port)
        while time.time() - began < 10 * SLOW:
            try:
                got = c.recv(2000)
            except OSError:
                got = b""
            if not got:
                return time.time() - began, total
            total += len(got)
            time.sleep(0.02)
    return None, total


def test_deadlines():
    second = str(1000 * SLOW)
    with Server("--deadline-ms", second, "--idle-timeout-s", "1") as s:
        name = b"Host: 127.0.0.1:%d\r\n" % s.port
        body = (b"PUT /v1/state/slow HTTP/1.1\r\n" + name + b"Content-Type: application/json\r\n"
                b"Content-Length: 100000\r\n\r\n")
        for what, first, least, most in (
                ("a dripped first line", b"GET /healthz", 1.5, 4),
                ("dripped headers", b"GET /healthz HTTP/1.1\r\n" + name + b"X-Slow: ", 0.7, 3),
                ("a dripped body", body, 0.7, 3)):
            took = drip(s, first, 10 * SLOW)
            check(took is not None and least <= took <= most * SLOW, what + " is cut in time", took)
        took, total = read_slowly(s)
        check(took is not None and total < 10000000, "an answer that is read slowly is cut",
              (took, total))
        check(s.stats()["http"]["deadlines_passed"] >= 3, "deadlines are counted",
              s.stats()["http"])
        equal(s.get("/slow").status, 404, "half a body writes nothing")
        with socket.create_connection(("127.0.0.1", s.port), timeout=10 * SLOW) as c:
            began = time.time()
            equal(c.recv(10), b"", "an idle connection is closed")
            check(time.time() - began < 5 * SLOW, "in time", time.time() - began)
    with Server("--deadline-ms", second) as s:
        took, total = read_slowly(s)
        check(took is not None and total < 10000000, "a slow reader is cut by the deadline too",
              (took, total))
        check(took is None or took >= 0.7, "and not before it", took)
        equal(s.stats()["http"]["deadlines_passed"], 1, "by the deadline")


# --- the program -------------------------------------------------------------------------------

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
                      ("erase",), ("load",), ("load", "a", "b", "c"), ("stats", "x"),
                      ("version", "x"), ("options", "x"), ("get", "--unknown"), ("get", "--depth"),
                      ("get", "--depth", "0", "x"), ("get", "--depth", "x", "y"),
                      ("get", "--json=1", "x"), ("set", "--json", "--string", "a", "b"),
                      ("serve", "x"), ("serve", "--port", "65536"), ("serve", "--rate", "0"),
                      ("serve", "--rate", "x"), ("serve", "--threads", "0"),
                      ("serve", "--feed", "file"), ("serve", "--set", "nonsense"),
                      ("serve", "--set", "no.such=1"), ("serve", "--set", "memory.wait_ms=x"),
                      ("serve", "--max-connections", "1", "--threads", "2"),
                      ("options", "--set", "batch.window_ms=99999999")):
        code, out, err = run(*arguments)
        check(code == 2 and out == "" and err, "usage: %r" % (arguments,), (code, out, err))
        if arguments:
            check(err.startswith("coppice: ") and err.count("\n") == 1, "one line: %r" % (arguments,),
                  err)
    for command in ("serve", "get", "set", "erase", "load", "stats", "options", "version"):
        code, out, err = run(command, "--help")
        check(code == 0 and out.startswith("usage: coppice " + command) and "--help" in out and
              err == "", command + " --help", (code, err))
        check(command in run("--help")[1], "--help lists " + command)
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
            time.sleep(0.1)
            equal("".join(other.complaints), "", "without a complaint")
        code, out, err = run("serve", "--port", "0", "--address", "nonsense")
        check(code == 1 and err.count("\n") == 1, "a bad address", err)
        code, out, err = run("serve", "--port", "0", "--address", "192.0.2.1")
        check(code == 1 and err.count("\n") == 1, "an address of another machine", err)
    again = subprocess.Popen([PROGRAM, "serve", "--port", str(port)], stdout=subprocess.PIPE, text=True)
    check(str(port) in again.stdout.readline(), "the port can be had again at once")
    again.send_signal(signal.SIGTERM)
    equal(again.wait(20 * SLOW), 0, "and ended again")
    again.stdout.close()
    # With a connection open in the middle of a request it ends too.
    s = Server()
    with socket.create_connection(("127.0.0.1", s.port)) as c:
        c.sendall(b"PUT /v1/state/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 10\r\n"
                  b"Content-Type: application/json\r\n\r\n12" % s.port)
        time.sleep(0.2)
        began = time.time()
        equal(s.end(), 0, "ends in the middle of a request")
        check(time.time() - began < 5 * SLOW, "without waiting for it", time.time() - began)
    try:
        probe = socket.socket(socket.AF_INET6)
        probe.bind(("::1", 0))
        probe.close()
    except OSError:
        return
    six = Server("--address", "::1")
    c = http.client.HTTPConnection("::1", six.port, timeout=10)
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
    deadline = time.time() + 10 * SLOW
    while s.get("/fed/last").status != 200 and time.time() < deadline:
        time.sleep(0.05)
    equal(s.get("/fed").json, {"a": 1, "b": {"c": [1.5, None]}, "last": "done"}, "what was fed")
    equal(s.end(), 0, "ends after the end of input")
    time.sleep(0.2)
    seen = sorted(int(n) for n in re.findall(r"coppice: feed: line (\d+): ", "".join(s.complaints)))
    equal(seen, [4, 5, 8, 9, 10, 11, 12, 13, 14], "bad lines are told by number")
    check("15 lines, 9 bad" in "".join(s.complaints), "and counted", s.complaints)
    # It ends while the feed is still open, and takes many lines.
    s = Server("--feed", "-", stdin=subprocess.PIPE)
    count = 20000
    for i in range(count):
        s.process.stdin.write('{"path":"n/%d","value":%d}\n' % (i % 100, i))
    s.process.stdin.flush()
    deadline = time.time() + 30 * SLOW
    while (s.get("/n/99").status != 200 or s.get("/n/99").json != count - 1) and \
            time.time() < deadline:
        time.sleep(0.05)
    equal(s.get("/n").json, {str(i): count - 100 + i for i in range(100)}, "many lines")
    equal(s.end(signal.SIGINT), 0, "ends while the feed is open")


# --- this machine ------------------------------------------------------------------------------

def meminfo():
    with open("/proc/meminfo", encoding="ascii") as file:
        return {line.split(":")[0]: int(line.split(":")[1].split()[0]) for line in file}


def wait_for(condition, seconds=5):
    deadline = time.time() + seconds * SLOW
    while time.time() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_host_source():
    with Server("--host", "--rate", "20") as s:
        check(wait_for(lambda: s.get("/host/procs").status == 200), "the first sweep")
        host = s.get("/host").json
        equal(set(host) >= {"cpu", "mem", "load", "net", "procs"}, True, "branches of the host")
        for name, key in (("MemTotal", "total"), ("SwapTotal", "swap_total"),
                          ("CommitLimit", "commit_limit"), ("VmallocTotal", "vmalloc_total"),
                          ("Hugepagesize", "hugepagesize")):
            if name in meminfo():
                equal(host["mem"].get(key), meminfo()[name], "host/mem/" + key)
        equal(host["mem"]["unit"], "kB", "host/mem/unit")
        for key in ("free", "available", "buffers", "cached", "active_anon"):
            check(isinstance(host["mem"].get(key), int), "host/mem/" + key, host["mem"].get(key))
        equal(len(host["mem"]) - 1, len(meminfo()), "every line of meminfo is there")

        def agrees():
            before, seen, after = meminfo(), s.get("/host/mem").json, meminfo()
            low, high = sorted((before["MemFree"], after["MemFree"]))
            return low - 8192 <= seen["free"] <= high + 8192
        check(wait_for(agrees), "host/mem/free agrees with /proc/meminfo")
        cpus = [k for k in host["cpu"] if k != "total"]
        equal(len(cpus), os.cpu_count(), "every CPU")
        check(host["cpu"]["total"]["user_ticks"] >= 0, "CPU times")
        check("lo" in host["net"] or not os.path.exists("/sys/class/net/lo"), "interfaces")
        mine = host["procs"][str(os.getpid())]
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            name = file.read().split("(", 1)[1].rsplit(")", 1)[0]
        equal(mine["name"], name, "this process's name")
        equal(set(mine), {"name", "state", "parent", "threads", "rss_bytes", "user_ticks",
                          "system_ticks", "ticks"}, "what a process has")
        check(mine["rss_bytes"] > 1 << 20 and mine["threads"] >= 1, "its figures", mine)
        for _ in range(3):
            child = subprocess.Popen(["sleep", "60"])
            path = "/host/procs/%d" % child.pid
            check(wait_for(lambda: s.get(path).status == 200), "a process that starts appears")
            equal(s.get(path + "/name").json, "sleep", "with its name")
            child.kill()
            child.wait()
            check(wait_for(lambda: s.get(path).status == 404), "and one that ends goes")
        tag = s.get("/host/mem/total").headers["ETag"]
        time.sleep(0.3)
        equal(s.get("/host/mem/total", If_None_Match=tag).status, 304, "what stays is 304")
        s.put("/idle", {"x": 1})
        tag = s.get("/idle").headers["ETag"]
        time.sleep(0.3)
        equal(s.get("/idle", If_None_Match=tag).status, 304, "an idle branch is 304 during sweeps")
        whole_versions(s)
        # What others do to the branch is mended by the next sweeps.
        s.call("DELETE", "/v1/state/host/procs")
        check(wait_for(lambda: s.get("/host/procs/%d" % os.getpid()).status == 200),
              "an erased branch comes back")
        s.put("/host", 5)
        check(wait_for(lambda: s.get("/host/mem/free").status == 200), "a replaced one too")
        s.put("", {"other": 1})
        check(wait_for(lambda: s.get("/host/mem/free").status == 200), "a replaced root too")
        equal(s.get("/other").json, 1, "beside what was put there")


def whole_versions(s):
    """GETs during the sweep: each process seen has all its members, versions do not go back."""
    last, count, bad = 0, 0, []
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * SLOW)
    began = time.time()
    while time.time() - began < 1.0:
        connection.request("GET", "/v1/state/host/procs")
        response = connection.getresponse()
        procs = json.loads(response.read())
        version = int(response.headers["Coppice-Version"])
        if version < last or any(len(p) != 8 or p["ticks"] != p["user_ticks"] + p["system_ticks"]
                                 for p in procs.values()):
            bad.append(version)
        last, count = version, count + 1
    connection.close()
    equal(bad, [], "every version read is whole")
    check(count * SLOW >= 100, "GETs a second during sweeps", count)


def test_status_line():
    import pty
    master, slave = pty.openpty()
    process = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--host"], stdin=slave,
                               stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    deadline = time.time() + 10 * SLOW
    while time.time() < deadline and seen.count(b"commits/s") < 3:
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 4096)
    check(seen.count(b"commits/s") >= 3, "a live status line", seen[-200:])
    for word in (b"version ", b"atoms ", b"readers ", b"oldest held ", b"\r", b"\x1b[K"):
        check(word in seen, "the status line has %r" % word)
    equal(seen.count(b"curl"), 3, "three commands to try")
    process.send_signal(signal.SIGINT)
    equal(process.wait(20 * SLOW), 0, "ends on a terminal")
    os.close(master)


def main():
    if not os.access(PROGRAM, os.X_OK):
        print("no program at %s" % PROGRAM)
        return 77
    shared = [test_state, test_paths, test_query, test_head, test_etags, test_put_delete, test_patch,
              test_conditions, test_condition_race, test_transaction, test_transaction_refusals,
              test_preconditions, test_transaction_race, test_snapshots, test_host_header,
              test_origin, test_content_types, test_routes, test_stats, test_keep_alive,
              test_malformed, test_streams, test_client, test_usage]
    own = [test_lease_end, test_body_limit, test_header_limit, test_connections, test_deadlines,
           test_options, test_ports, test_load_and_feed, test_host_source, test_status_line]
    wanted = sys.argv[1:]
    server = None
    for test in shared + own:
        if wanted and test.__name__ not in wanted and test is not test_state:
            continue
        began = time.time()
        try:
            if test in shared:
                if server is None or server.process.poll() is not None:
                    server = Server()
                test(server)
            else:
                test()
        except Exception as error:  # a test that breaks off has failed, the others go on
            check(False, "%s broke off" % test.__name__, repr(error))
        if os.environ.get("VERBOSE"):
            print("%-28s %6.2f s" % (test.__name__, time.time() - began), flush=True)
    if server:
        equal(server.process.poll(), None, "the server lived through it all")
        equal(server.end(), 0, "and ends with 0")
        equal("".join(server.complaints), "", "it complained of nothing")
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
