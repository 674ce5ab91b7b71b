# SPDX-License-Identifier: MIT
"""State: reading, paths, ETags, writing, merge patches, preconditions."""
import json
import threading
import time

from harness import DOCUMENT, check, equal, problem


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
    equal(answer.headers["Accept-Patch"], "application/merge-patch+json, application/json-patch+json",
          "Accept-Patch")


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
