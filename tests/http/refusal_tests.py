# SPDX-License-Identifier: MIT
"""What is refused before anything is done: hosts, origins, types, routes, noise."""
import http.client
import os
import re
import socket

from harness import SLOW, TOP, Server, check, equal, problem, read_all


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
