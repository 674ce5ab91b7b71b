# SPDX-License-Identifier: MIT
"""GET /v1/watch: what changes is told once, whoever comes back, does not read, or is too slow."""
import json
import signal
import socket
import subprocess
import time

from harness import PATIENCE, PROGRAM, SLOW, Server, check, equal, problem


class Event:
    def __init__(self, fields):
        self.id = fields.get("id")
        self.kind = fields.get("event")
        self.data = json.loads(fields["data"])

    def __repr__(self):
        return "%s %s %r" % (self.id, self.kind, self.data)


class Stream:
    """A client that reads only when it is asked for an event."""

    def __init__(self, server, target, last=None, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        head = "GET /v1/watch%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % (target, server.port)
        if last is not None:
            head += "Last-Event-ID: %s\r\n" % last
        self.socket.sendall((head + "\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        for line in iter(self.file.readline, b"\r\n"):
            name, value = line.decode().split(":", 1)
            self.headers[name.lower()] = value.strip()
        self.text = b""
        self.beats = 0
        self.ended = False  # by a last chunk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def line(self):
        while b"\n" not in self.text:
            size = self.file.readline()
            if not size.strip():
                return None
            n = int(size, 16)
            if n == 0:
                self.ended = True
                return None
            self.text += self.file.read(n)
            self.file.read(2)
        line, self.text = self.text.split(b"\n", 1)
        return line.decode()

    def next(self, beats=False):
        """The next event; None at the end. With beats, a heartbeat counts as one."""
        fields = {}
        while True:
            line = self.line()
            if line is None:
                return None
            if line.startswith(":"):
                self.beats += 1
                if beats:
                    return None
            elif line:
                name, value = line.split(": ", 1)
                fields[name] = value
            elif "data" in fields:
                return Event(fields)

    def quiet(self, seconds):
        """Whether nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            got = self.socket.recv(1, socket.MSG_PEEK)
        except (TimeoutError, socket.timeout):
            got = None
        self.socket.settimeout(PATIENCE)
        return got is None and not self.text


def number(event):
    return int(event.id.split("-")[0])


def follow(stream, model, told, until):
    """Applies events to a model of scalars by path, and checks that they adjoin, until it holds."""
    events = 0
    while not until(model):
        event = stream.next()
        if not check(event is not None and event.kind == "change", "a change follows", event):
            return told, events
        events += 1
        equal(event.data["from"], told, "intervals adjoin")
        told = event.data["to"]
        equal(number(event), told, "the id is the version")
        for change in event.data["changes"]:
            path = change["path"]
            if change["kind"] == "created":
                check(path not in model, "created once", change)
                check("old" not in change, "what is created was not there", change)
            elif "old" in change:
                equal(change["old"], model.get(path), "the old value of " + path)
            if change["kind"] == "erased":
                model.pop(path, None)
            else:
                model[path] = change["value"]
    return told, events


def begin(stream):
    """The reset that a stream begins with: its value and version."""
    event = stream.next()
    equal(event.kind, "reset", "a stream begins with the whole")
    equal(number(event), event.data["to"], "the id of a reset")
    return event.data.get("value"), event.data["to"]


def test_watch(s):
    s.put("/w", {"x": 0, "deep": {"y": 1}})
    with Stream(s, "/w?window_ms=0") as stream:
        equal((stream.status, stream.headers["content-type"]), (200, "text/event-stream"), "head")
        value, told = begin(stream)
        equal(value, {"x": 0, "deep": {"y": 1}}, "the whole")
        model = {"w/x": 0, "w/deep": {}, "w/deep/y": 1}
        for i in range(1, 21):  # one by one: each is told by itself
            version = s.put("/w/x", i).json["version"]
            s.put("/elsewhere", i)
            told, events = follow(stream, model, told, lambda m: m["w/x"] == i)
            equal(events, 1, "one event for one write")
            check(told >= version, "with its version", (told, version))
        for i in range(1, 201):
            s.put("/w/x", -i)
        s.put("/w/deep", {"y": 2, "z": "a\nb\u00fc"})
        told, events = follow(stream, model, told, lambda m: m.get("w/deep/z"))
        check(events <= 201, "no more events than writes", events)
        equal(model, {"w/x": -200, "w/deep": {}, "w/deep/y": 2, "w/deep/z": "a\nb\u00fc"}, "model")
        check(stream.quiet(0.3), "each is told once")
        s.put("/w/x", {"a": [1, 2]})  # a value becomes a branch, an array is made
        told, _ = follow(stream, model, told, lambda m: "w/x/a/1" in m)
        equal((model["w/x"], model["w/x/a"], model["w/x/a/1"]), ({}, [], 2), "branches")
    with Stream(s, "?window_ms=0") as stream:
        value, _ = begin(stream)
        equal(value, s.get("").json, "without a path: everything")


def test_watch_erased(s):
    s.put("/gone", {"a": 1, "b": {"c": 2}})
    with Stream(s, "/gone/b") as stream:
        begin(stream)
        s.call("DELETE", "/v1/state/gone")
        event = stream.next()
        equal(event.data["changes"], [{"kind": "erased", "path": "gone/b/c", "old": 2},
                                      {"kind": "erased", "path": "gone/b", "old": {}}], "erased")
        with Stream(s, "/gone/b") as other:
            equal(begin(other)[0], None, "nothing is there")
        s.put("/gone/b", 7)
        equal(stream.next().data["changes"], [{"kind": "created", "path": "gone/b", "value": 7}],
              "and is there again")


def test_watch_patterns(s):
    s.put("/pat", {"a": {"x": 1, "y": 1}, "b": {"x": 1}})
    with Stream(s, "/pat/*/x") as stream:
        event = stream.next()
        equal(event.data["path"], "pat", "a reset of a pattern is of what is before its star")
        equal(event.data["value"], s.get("/pat").json, "with all that is there")
        s.put("/pat/a/y", 2)
        s.put("/pat/b/x", 2)
        equal(stream.next().data["changes"],
              [{"kind": "changed", "path": "pat/b/x", "value": 2, "old": 1}], "only what matches")
    s.put("/pat/list", [1, 2, 3])
    with Stream(s, "/pat/list") as stream:
        begin(stream)
        s.call("POST", "/v1/transaction", {"operations": [
            {"op": "insert", "path": "pat/list", "index": 0, "value": 0}]})
        changes = stream.next().data["changes"]
        equal(changes[-1], {"kind": "elements", "path": "pat/list", "value": [0, 1, 2, 3]}, "moved")


def test_watch_resume(s):
    s.put("/back", {"x": 0, "y": 0})
    with Stream(s, "/back?window_ms=0") as stream:
        begin(stream)
        s.put("/back/x", 1)
        last = stream.next().id
    with Stream(s, "/back", last) as stream:
        check(stream.quiet(0.3), "nothing is told again")
        s.put("/back/x", 2)
        event = stream.next()
        equal(event.data["changes"],
              [{"kind": "changed", "path": "back/x", "value": 2, "old": 1}], "what is new is")
        last = event.id
    s.put("/back/x", 3)
    s.put("/back/x", 4)
    s.put("/back/z", 5)
    s.call("DELETE", "/v1/state/back/y")
    wanted = [{"kind": "erased", "path": "back/y"},
              {"kind": "changed", "path": "back/x", "value": 4},
              {"kind": "created", "path": "back/z", "value": 5}]
    for target, header in (("/back", last), ("/back?last_event_id=" + last, None),
                           ("/back?last_event_id=0", last)):  # the header wins
        with Stream(s, target, header) as stream:
            event = stream.next()
            equal(event.kind, "change", "the log reaches back")
            equal(event.data["from"], int(last.split("-")[0]), "from where it was")
            equal(event.data["changes"], wanted, "the net change, old values not known")
            check(stream.quiet(0.1), "once")
    version = s.get("/back").headers["Coppice-Version"]
    with Stream(s, "/back?last_event_id=" + version) as stream:
        check(stream.quiet(0.2), "a version of this server's is an id, too")


def test_watch_reset(s):
    s.put("/again", 1)
    with Stream(s, "/again") as stream:
        instance = stream.next().id.split("-")[1]
    other = "%08x" % (int(instance, 16) ^ 1)
    newest = s.put("/again", 2).json["version"]
    for last in ("%d-%s" % (newest, other), "nonsense", "", "-", "%d-" % newest, str(2**64 - 1),
                 str(2**64), str(2**64 - 2), "%d-%s" % (newest + 1000, instance)):
        with Stream(s, "/again", last) as stream:
            equal(begin(stream), (2, newest), "an id that is not of this server: %r" % last)


def test_watch_log():
    with Server("--lease-ms", "300", "--set", "watch.log_bytes=4096") as s:
        with Stream(s, "/x?window_ms=0") as stream:
            equal(begin(stream), (None, 0), "of an empty store")
            s.put("/x", 1)
            last = stream.next().id
        with Stream(s, "/x", last) as stream:
            check(stream.quiet(0.1), "the log goes on without a client")
        time.sleep(1.0)
        s.put("/x", 2)
        with Stream(s, "/x", last) as stream:
            equal(begin(stream)[0], 2, "but not for ever")
            s.put("/x", 3)
            last = stream.next().id
            s.put("/other", {"k%d" % i: i for i in range(1000)})
        with Stream(s, "/x", last) as stream:
            equal(begin(stream)[0], 3, "nor of more bytes than it may have")


def test_watch_window(s):
    s.put("/slow", 0)
    with Stream(s, "/slow?window_ms=400") as stream:
        _, told = begin(stream)
        began = time.time()
        for i in range(1, 41):
            s.put("/slow", i)
            time.sleep(0.02)
        model = {"slow": 0}
        told, events = follow(stream, model, told, lambda m: m["slow"] == 40)
        took = time.time() - began
        check(events <= took / 0.4 + 2, "a window gathers", (events, took))
    with Stream(s, "/slow?heartbeat_ms=100") as stream:
        begin(stream)
        began = time.time()
        for _ in range(3):
            stream.next(beats=True)
        equal(stream.beats, 3, "heartbeats")
        check(time.time() - began > 0.25, "not too many", time.time() - began)
        s.put("/slow", 41)
        equal(stream.next().data["changes"][0]["value"], 41, "and events between them")


def test_watch_refusals(s):
    head = s.call("HEAD", "/v1/watch/x")
    equal((head.status, head.headers["Content-Type"], head.body), (200, "text/event-stream", b""),
          "HEAD")
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        answer = s.call(method, "/v1/watch/x", None if method == "DELETE" else {})
        problem(answer, 405, "method", method)
        equal(answer.headers["Allow"], "GET, HEAD", "Allow")
    problem(s.call("GET", "/v1/watcher"), 404, "route", "another route")
    for query in ("window_ms=60001", "window_ms=", "window_ms=-1", "heartbeat_ms=99", "pretty",
                  "heartbeat_ms=3600001", "window_ms=1x"):
        problem(s.call("GET", "/v1/watch/x?" + query), 400, "request", query)
    for path in ("a//b", "a/%2Fb", "a/%zz", "a/~9", "a/b*", "%ff"):
        problem(s.call("GET", "/v1/watch/" + path), 400, "path", path)
    problem(s.call("GET", "/v1/watch/x", host="evil.example"), 421, "host", "another host")


def wait_until(condition, what):
    end = time.time() + PATIENCE
    while not condition() and time.time() < end:
        time.sleep(0.02)
    check(condition(), what)


def test_watch_places():
    with Server("--max-watchers", "2") as s:
        with Stream(s, "/a"), Stream(s, "/b") as second:
            answer = s.call("GET", "/v1/watch/c")
            problem(answer, 503, "busy", "no place")
            check(int(answer.headers["Retry-After"]) >= 1, "Retry-After")
            equal(s.stats()["http"]["watchers"], 2, "told in the statistics")
            begin(second)
        # They have only closed their sockets: that is seen without an event.
        wait_until(lambda: s.stats()["http"]["watchers"] == 0, "places are given back")
        with Stream(s, "/c") as stream:
            equal(stream.status, 200, "and taken again")
            begin(stream)
            s.process.send_signal(signal.SIGTERM)
            equal(stream.next(), None, "the server ends")
            check(stream.ended, "and says so")
    with Server("--max-watchers", "0") as s:
        problem(s.call("GET", "/v1/watch/c"), 503, "busy", "none at all")


def put_many(s, count, size):
    longest = 0
    for i in range(count):
        began = time.time()
        equal(s.put("/big/v", "%08d" % i + "x" * size).status, 201 if i == 0 else 200, "a write")
        longest = max(longest, time.time() - began)
    return longest


def test_watch_slow():
    """One that does not read holds one event; then it is told the net change, or is cut."""
    count, size = 400, 8000
    with Server("--watch-bytes", "16384", "--idle-timeout-s", "120", "--deadline-ms", "60000") as s:
        with Stream(s, "/big?window_ms=0", receive_bytes=4096) as stream:
            begin(stream)
            with Stream(s, "/big?window_ms=0") as reader:
                _, other = begin(reader)
                longest = put_many(s, count, size)
                last = "%08d" % (count - 1) + "x" * size
                # the other one has been told all along
                model = {}
                follow(reader, model, other, lambda m: m.get("big/v") == last)
            check(longest < 5 * SLOW, "nobody waits for it", longest)
            check(s.stats()["http"]["buffered_bytes"] < 10 * 16384, "and little is kept for it",
                  s.stats()["http"]["buffered_bytes"])
            model = {}
            _, events = follow(stream, model, 0, lambda m: m.get("big/v") == last)
            check(events < count / 2, "it is told what changed since", events)
        s.put("/big", {"many": list(range(20000))})
        with Stream(s, "/big") as stream:
            value, _ = begin(stream)
            equal(value, {"many": list(range(20000))}, "a document larger than an event")
            s.put("/big/many", list(range(20000, 0, -1)))
            equal(begin(stream)[0], {"many": list(range(20000, 0, -1))},
                  "more than an event holds is a reset")
    with Server("--watch-bytes", "4096", "--deadline-ms", "500") as s:
        with Stream(s, "/big?window_ms=0", receive_bytes=4096) as stream:
            begin(stream)
            put_many(s, 20, 60000)  # more than the kernel takes
            wait_until(lambda: s.stats()["http"]["watchers"] == 0, "who never reads is cut")
            equal(s.stats()["http"]["deadlines_passed"], 1, "by the deadline")
        with Stream(s, "/quiet?heartbeat_ms=60000") as stream:
            begin(stream)
            check(stream.quiet(1.5), "who has nothing to read is not")
            s.put("/quiet", 1)
            equal(stream.next().data["changes"][0]["value"], 1, "and goes on")


def test_watch_command():
    s = Server()
    with subprocess.Popen([PROGRAM, "watch", "c", "--server", "http://127.0.0.1:%d" % s.port,
                           "--window", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        equal(process.stdout.readline(), "0 reset c\n", "nothing is there")
        s.put("/c", {"x": "a b"})
        equal([process.stdout.readline() for _ in range(2)],
              ["1 created c {}\n", '1 created c/x "a b"\n'], "what is made")
        s.put("/c/x", 1.0)
        equal(process.stdout.readline(), '2 changed c/x 1.0 was "a b"\n', "changed")
        port = s.port
        equal(s.end(), 0, "the server ends")
        s = Server("--port", str(port))
        equal(process.stdout.readline(), "0 reset c\n", "it comes back by itself")
        s.put("/c", 5)
        equal(process.stdout.readline(), "1 created c 5\n", "and goes on")
        process.send_signal(signal.SIGINT)
        equal(process.wait(PATIENCE), 0, "SIGINT ends it well")
    with subprocess.Popen([PROGRAM, "watch", "--json", "--server", "http://127.0.0.1:%d" % s.port],
                          stdout=subprocess.PIPE, text=True) as process:
        equal(json.loads(process.stdout.readline()),
              {"version": 1, "kind": "reset", "path": "", "value": {"c": 5}}, "as JSON")
        s.put("/c", None)
        equal(json.loads(process.stdout.readline()),
              {"version": 2, "kind": "changed", "path": "c", "value": None, "old": 5}, "a change")
        process.terminate()
        equal(process.wait(PATIENCE), 0, "SIGTERM does too")
    for arguments, code, says in ((["a//b"], 1, "malformed path"), (["a", "b"], 2, "one path"),
                                  (["--window", "70000"], 2, "window")):
        done = subprocess.run([PROGRAM, "watch", *arguments, "--server",
                               "http://127.0.0.1:%d" % s.port], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        equal(done.returncode, code, "watch %r" % arguments)
        check(says in done.stderr, "says why", done.stderr)
    equal(s.end(), 0, "the server ends")
    done = subprocess.run([PROGRAM, "watch", "--server", "http://127.0.0.1:%d" % port],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    equal((done.returncode, "no server" in done.stderr), (1, True), "no server to begin with")
