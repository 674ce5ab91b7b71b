# SPDX-License-Identifier: MIT
"""JSON Patch: PATCH, /v1/diff, and patches to those who watch."""
import json

from harness import check, equal, problem
from watch_tests import Stream, begin

TYPE = {"Content-Type": "application/json-patch+json"}


def patch(s, path, operations, **headers):
    sent = dict(TYPE, **{k.replace("_", "-"): v for k, v in headers.items()})
    return s.call("PATCH", "/v1/state" + path, json.dumps(operations), sent)


def apply(document, operations):
    """Of RFC 6902 what these tests need."""
    for o in operations:
        tokens = [t.replace("~1", "/").replace("~0", "~") for t in o["path"].split("/")[1:]]
        if not tokens:
            document = o.get("value")
            continue
        at = document
        for t in tokens[:-1]:
            at = at[t if isinstance(at, dict) else int(t)]
        last = tokens[-1] if isinstance(at, dict) else int(tokens[-1])
        if o["op"] == "remove":
            del at[last]
        elif o["op"] == "add" and isinstance(at, list):
            at.insert(last, o["value"])
        else:
            at[last] = o["value"]
    return document


def test_json_patch(s):
    s.put("/jp", {"list": [1, 2, 3], "a": {"b": 1}})
    answer = patch(s, "/jp", [{"op": "test", "path": "/a/b", "value": 1},
                              {"op": "move", "from": "/list/0", "path": "/list/2"},
                              {"op": "add", "path": "/list/-", "value": {"x": []}},
                              {"op": "add", "path": "/list/3/x/0", "value": "in what is new"},
                              {"op": "copy", "from": "/a", "path": "/c~1d"},
                              {"op": "remove", "path": "/a"}])
    equal(answer.status, 200, "a JSON Patch: %r" % answer.body)
    equal(s.get("/jp").json, {"list": [2, 3, 1, {"x": ["in what is new"]}], "c/d": {"b": 1}}, "all")
    equal(patch(s, "/jp/new", [{"op": "add", "path": "", "value": [1]}]).status, 201, "creates")
    version = s.call("GET", "/healthz").json["version"]
    for operations, status, name, said in (
            ([{"op": "remove", "path": "/new/0"}, {"op": "test", "path": "/new", "value": [1]}],
             409, "state", "operation 1"),
            ([{"op": "remove", "path": "/absent"}], 404, "absent", "operation 0"),
            ([{"op": "add", "path": "/new/7", "value": 1}], 409, "state", "operation 0"),
            ([{"op": "add", "path": "new", "value": 1}], 400, "path", "pointer"),
            ([{"op": "add", "path": "/new"}], 400, "request", "value"),
            ({"new": 1}, 400, "request", "array")):
        answer = patch(s, "/jp", operations)
        problem(answer, status, name, "%r" % (operations,))
        check(said in answer.json["detail"], "says %s" % said, answer.body)
    equal(s.call("GET", "/healthz").json["version"], version, "and changes nothing")
    tag = s.get("/jp").headers["ETag"]
    equal(patch(s, "/jp", [{"op": "add", "path": "/k", "value": 1}], If_Match=tag).status, 200, "if")
    problem(patch(s, "/jp", [{"op": "remove", "path": "/k"}], If_Match=tag), 412, "precondition",
            "a tag that is over")
    problem(s.call("PATCH", "/v1/options", "[]", TYPE), 415, "media-type", "options are merged only")


def test_diff(s):
    s.put("/diff", {"a": 1, "list": [1, 2], "sub": {"x": 1}})
    first = s.call("POST", "/v1/snapshots", {}).json["version"]
    s.put("/diff", {"a": 2, "list": [2], "sub": {"x": 1, "y": "new"}})
    second = s.call("POST", "/v1/snapshots", {}).json["version"]
    s.put("/diff/sub", {"x": None})

    def diff(query):
        return s.call("GET", "/v1/diff?" + query)

    answer = diff("from=%d&to=%d&branch=diff" % (first, second))
    equal((answer.status, answer.headers["Content-Type"]), (200, "application/json-patch+json"), "diff")
    equal(apply(s.get("/diff", "?version=%d" % first).json, answer.json),
          s.get("/diff", "?version=%d" % second).json, "applied")
    answer = diff("from=%d&to=%d&branch=diff&format=merge-patch" % (first, second))
    equal(answer.json, {"a": 2, "list": [2], "sub": {"y": "new"}}, "a merge patch")
    equal(answer.headers["Content-Type"], "application/merge-patch+json", "its type")
    answer = diff("from=%d&branch=diff/sub" % second)
    equal(apply({"x": 1, "y": "new"}, answer.json), {"x": None}, "to the newest")
    problem(diff("from=%d&branch=diff/sub&format=merge-patch" % second), 406, "format", "a null")
    answer = diff("from=%d&to=%d&format=binary" % (second, first))
    equal((answer.status, answer.body[:5]), (200, b"COPP\x01"), "backwards, in binary")
    problem(diff("from=%d&branch=diff/none" % first), 404, "absent", "in neither")
    newest = s.call("POST", "/v1/snapshots", {}).json["version"]
    equal(diff("from=newest&to=%d&branch=diff" % first).json,
          diff("from=%d&to=%d&branch=diff" % (newest, first)).json, "from the newest, backwards")
    equal(diff("from=newest&to=newest").json, [], "from the newest to it")
    problem(diff("from=1"), 404, "snapshot", "a version that nobody holds")
    problem(diff("from=%d&to=99999999" % first), 404, "snapshot", "and one to come")
    for query in ("", "to=1", "from=x", "from=1&format=xml", "from=1&more=1"):
        problem(diff(query), 400, "request", "the query %r" % query)
    problem(diff("from=%d&branch=a//b" % first), 400, "path", "a malformed path")


def test_watch_patches(s):
    s.put("/wp", {"list": [1, 2, 3], "a": 1})
    with Stream(s, "/wp?format=json-patch&window_ms=0") as stream:
        model, _ = begin(stream)
        for i, change in enumerate(([3, 1], {"x": 1}, None, [[1], [2]], "text")):
            s.put("/wp/list", change)
            s.put("/elsewhere", i)
            event = stream.next()
            equal(event.kind, "patch", "what it is told")
            model = apply(model, event.data["patch"])
            equal(model, {"list": change, "a": 1}, "after %r" % (change,))
        s.call("DELETE", "/v1/state/wp")
        equal(stream.next().data["patch"], [{"op": "remove", "path": ""}], "it went")
        s.put("/wp", [0])
        equal(stream.next().data["patch"], [{"op": "add", "path": "", "value": [0]}], "it came")
    problem(s.call("GET", "/v1/watch/wp/*?format=json-patch"), 400, "request", "a pattern")
    problem(s.call("GET", "/v1/watch/wp?format=xml"), 400, "request", "another format")
