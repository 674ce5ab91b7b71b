# SPDX-License-Identifier: MIT
"""Large answers, limits and deadlines."""
import json
import select
import socket
import tempfile
import time

from harness import PATIENCE, SLOW, Server, check, equal, problem, read_all


def unchunk(data):
    while data:
        size, data = data.split(b"\r\n", 1)
        n = int(size, 16)
        if n == 0:
            return
        yield data[:n]
        data = data[n + 2:]


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
    equal(got.headers["Coppice-Version"], s.get("/large", "?depth=1").headers["Coppice-Version"],
          "and a version")
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
    deadline = time.time() + PATIENCE
    while s.stats()["snapshots"] and time.time() < deadline:
        time.sleep(0.05)
    equal(s.stats()["snapshots"], 0, "the snapshots of answers are dropped")
    equal(s.stats()["http"]["buffered_bytes"] < 1 << 20, True, "buffers are given back")
    s.call("DELETE", "/v1/state/text")


def resident(s):
    """Bytes of memory that the server's process has."""
    with open("/proc/%d/statm" % s.process.pid, encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_slow_readers():
    """Who does not read holds one version and a bounded buffer, however long the answer is."""
    clients, most = 40, 512 << 10  # bytes each: the socket's buffers are the kernel's
    rows = {"rows": [[i, "row %d" % i] for i in range(200000)], "text": "z" * 4000000}
    text = json.dumps(rows, separators=(",", ":")).encode()
    with Server("--max-buffered-bytes", "100000000") as s:
        s.put("/big", rows)
        s.get("/big")
        before = s.stats()
        had = resident(s)
        slow = []
        for _ in range(clients):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.settimeout(30 * SLOW)
            reader.connect(("127.0.0.1", s.port))
            reader.sendall(b"GET /v1/state/big HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                           b"Connection: close\r\n\r\n" % s.port)
            slow.append((reader, reader.recv(100)))
        deadline = time.time() + PATIENCE
        while s.stats()["http"]["buffered_bytes"] and time.time() < deadline:
            time.sleep(0.05)
        now = s.stats()
        equal(now["snapshots"] - before["snapshots"], clients, "each holds the version")
        equal(now["http"]["buffered_bytes"], 0, "and no buffer that grows with the answer")
        other = now["bytes_by_kind"]["other"] - before["bytes_by_kind"]["other"]
        check(other <= clients * 4096, "in the store a stream is small", other)
        if SLOW == 1:
            grown = resident(s) - had
            check(grown < clients * most, "in the process too", grown)
        for i in range(100):
            s.put("/big/rows/%d" % i, i)
        held = s.stats()["bytes_held"] - now["bytes_held"]
        check(held < 4 << 20, "versions that nobody reads are not kept for them", held)
        reader, first = slow.pop()
        with reader:
            rest = read_all(reader)
        seen = b"".join(unchunk((first + rest).split(b"\r\n\r\n", 1)[1]))
        check(seen == text, "its version is whole", len(seen))
        for reader, _ in slow:
            reader.close()
        deadline = time.time() + PATIENCE
        while s.stats()["snapshots"] > before["snapshots"] and time.time() < deadline:
            time.sleep(0.05)
        equal(s.stats()["snapshots"], before["snapshots"], "and is let go")


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
        deadline = time.time() + PATIENCE
        while s.stats()["http"]["buffered_bytes"] and time.time() < deadline:
            time.sleep(0.05)  # the server learns of the end of the last one
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


def test_store_limits():
    with Server("--set", "snapshots.max=1", "--max-snapshots", "8") as s:
        s.put("/x", {"n": 1, "text": "x" * 3000000})
        equal(s.call("POST", "/v1/snapshots", {}).status, 201, "the one snapshot of the store")
        problem(s.call("POST", "/v1/snapshots", {}), 503, "busy", "snapshots.max")
        problem(s.put("/x/n", 2), 503, "busy", "a write that needs a snapshot")
        problem(s.call("POST", "/v1/transaction",
                       {"operations": [{"op": "add", "path": "x/n", "value": 1}]}),
                503, "busy", "a transaction that needs a snapshot")
        problem(s.get("/x"), 503, "busy", "an answer that must be streamed")
        equal(s.get("/x/n").json, 1, "a short answer needs none")
        equal(s.call("DELETE", "/v1/snapshots/1").status, 200, "it is let go")
        equal(s.put("/x/n", 2).status, 200, "and there is room again")
        equal(len(s.get("/x").body) > 3000000, True, "for a stream too")


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
        ready = select.select([third], [], [], PATIENCE)[0]
        check(bool(ready) and third.recv(4096).startswith(b"HTTP/1.1 200"),
              "until another has ended")
        third.close()
        held.pop().close()


def drip(s, first, seconds, byte=b"x"):
    """Sends a byte now and then until the connection is cut; the time that took."""
    began = time.time()
    with socket.create_connection(("127.0.0.1", s.port), timeout=10 * SLOW) as c:
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


def drip_to_deadline(s, first):
    """The time to the deadline. One that could not drip for a second was cut for being idle: once more."""
    for _ in range(10):
        passed = s.stats()["http"]["deadlines_passed"]
        took = drip(s, first, PATIENCE)
        if took is None or s.stats()["http"]["deadlines_passed"] > passed:
            return took
    return None


def read_slowly(s):
    """Reads a state of 10 MB in small bits: when it was cut (None: it was not), bytes read."""
    began, total = time.time(), 0
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(10 * SLOW)
        c.connect(("127.0.0.1", s.port))
        c.sendall(b"GET /v1/state HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % s.port)
        while time.time() - began < PATIENCE:
            try:
                got = c.recv(2000)
            except OSError:
                got = b""
            if not got:
                return time.time() - began, total
            total += len(got)
            time.sleep(0.02)
    return None, total


def slow_readers(file, second):
    with Server("--load", file, "--deadline-ms", second, "--idle-timeout-s", "1") as s:
        took, total = read_slowly(s)
        check(took is not None and total < 10000000, "an answer that is read slowly is cut",
              (took, total))
    with Server("--load", file, "--deadline-ms", second) as s:
        took, total = read_slowly(s)
        check(took is not None and total < 10000000, "a slow reader is cut by the deadline too",
              (took, total))
        check(took is None or took >= 0.7, "and not before it", took)
        equal(s.stats()["http"]["deadlines_passed"], 1, "by the deadline")


def test_deadlines():
    second = str(1000 * SLOW)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(["0123456789" * 10] * 100000, file)
        file.flush()
        slow_readers(file.name, second)
    with Server("--deadline-ms", second, "--idle-timeout-s", "1") as s:
        name = b"Host: 127.0.0.1:%d\r\n" % s.port
        body = (b"PUT /v1/state/slow HTTP/1.1\r\n" + name + b"Content-Type: application/json\r\n"
                b"Content-Length: 100000\r\n\r\n")
        for what, first, least in (("a dripped first line", b"GET /healthz", 1.5),
                                   ("dripped headers", b"GET /healthz HTTP/1.1\r\n" + name + b"X-Slow: ", 0.7),
                                   ("a dripped body", body, 0.7)):
            took = drip_to_deadline(s, first)
            check(took is not None and took >= least, what + " is cut in time, by the deadline", took)
        equal(s.get("/slow").status, 404, "half a body writes nothing")
        with socket.create_connection(("127.0.0.1", s.port), timeout=10 * SLOW) as c:
            began = time.time()
            equal(c.recv(10), b"", "an idle connection is closed")
            check(time.time() - began < PATIENCE / 2, "in time", time.time() - began)
