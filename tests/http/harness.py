# SPDX-License-Identifier: MIT
"""A server to test, and how a test says what it saw."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.environ.get("top_srcdir") or os.path.join(HERE, "..", "..")
BUILD = os.environ.get("top_builddir") or os.path.join(TOP, "build")
PROGRAM = os.environ.get("COPPICE") or os.path.join(BUILD, "coppice")
SLOW = 4 if os.environ.get("COP_SANITIZE", "no") != "no" or os.environ.get("COP_TEST_WRAPPER") else 1
PATIENCE = 60  # seconds for what comes by itself: the machine may be busy with other things

class Count:
    passed = 0
    failed = 0


def check(good, what, seen=None):
    if good:
        Count.passed += 1
    else:
        Count.failed += 1
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
        self.readers = [threading.Thread(target=lambda s=stream, to=lines: to.extend(s), daemon=True)
                        for stream, lines in ((self.process.stdout, self.output),
                                              (self.process.stderr, self.complaints))]
        for reader in self.readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        equal(self.end(), 0, "a server ends with 0")

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            check(False, "the server ends when told to")
            return self.process.wait()
        finally:
            for reader in self.readers:  # all that it has written is there
                reader.join(PATIENCE)

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


# What most tests of reading begin with.
DOCUMENT = {
    "text": "Gr\u00fc\u00dfe \U0001f333 \"quoted\" \\ \n\t\u0001", "empty": "", "zero": 0, "one": 1.0,
    "least": -2**63, "most": 2**63 - 1, "small": 5e-324, "big": 1.7976931348623157e308,
    "yes": True, "no": False, "nothing": None, "list": [1, [2, [3, []]], {"a": {}}],
    "branch": {"z": 1, "a": {"deep": {"deeper": "x"}}, "m": []}, "": "empty key", "a/b": "slash",
    "a~b": "tilde", "a*b": "star", "a b": "space", "\u00fc": "umlaut",
    "long": "0123456789" * 30,
}
