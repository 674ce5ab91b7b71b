#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random documents through the store, beside python3's json.

    json_property.py [DRIVER] [--seed N] [--documents N] [--seconds N]

What the store writes must be, byte for byte, what json.dumps writes of what json.loads reads:
the same types, key order, array order and digits. Merge patches are compared with a model of
RFC 7396, refusals with a strict reading in Python, and their line and column with the place where
the fault was put. DRIVER is tests/property/json_roundtrip, by default that of $top_builddir.
Prints "N passed, N failed"; the exit status is non-zero when any failed.
"""
import argparse
import base64
import json
import math
import os
import random
import struct
import subprocess
import sys
import time

PATH_MAX, DEPTH_MAX = 4096, 512
I64_MIN, I64_MAX = -2 ** 63, 2 ** 63 - 1

KEYS = ["", "/", "*", "~", "~0", "~1", "~2", "~3", "a/b", "a*b", "//", "a", "b", "c", "0", "1",
        "-", "007", "$bytes", "$error", "key", "\x7f", "\n", "\x01", "\u00e9", "\u2028", "\U0001f600",
        "\\", '"', "a~b", "null", " ", "\u0301", "\uffff", "\U0010ffff", "."]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.1, 1e308, -1e308, 5e-324, -5e-324, 2.2250738585072014e-308,
          2.225073858507201e-308, 1.7976931348623157e308, 1e16, 1e15, 9007199254740993.0, 1e-4, 1e-5,
          123456789012345680.0, 1e22, 1e23, 2.0 ** -44, 2.0 ** 63, 1.5, 100.0, 3.141592653589793]
INTEGERS = [0, 1, -1, I64_MIN, I64_MAX, I64_MIN + 1, I64_MAX - 1, 2 ** 53, 2 ** 53 + 1, 10, -10, 255]


class Generator:
    """Documents, and texts that spell them in odd ways."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def character(self, nul):
        r = self.r
        kind = r.randrange(8)
        if kind == 0:
            return chr(r.randrange(0 if nul else 1, 0x20))
        if kind == 1:
            return chr(r.randrange(0x80, 0xd800))
        if kind == 2:
            return chr(r.randrange(0x10000, 0x110000))
        if kind == 3:
            return r.choice('"\\/~*\x7f\u2028\ue000\uffff')
        return chr(r.randrange(0x20, 0x7f))

    def string(self, nul=True):
        n = self.r.choice([0, 1, 2, 5, 11, 12, 13, 20, 40, 300 if self.r.random() < 0.05 else 7])
        if self.r.random() < 0.5:
            return "".join(chr(self.r.randrange(0x20, 0x7f)) for _ in range(n))
        return "".join(self.character(nul) for _ in range(n))

    def key(self):
        return self.r.choice(KEYS) if self.r.random() < 0.6 else self.string(nul=False)

    def number(self):
        r = self.r
        kind = r.randrange(6)
        if kind == 0:
            return r.choice(INTEGERS)
        if kind == 1:
            return r.choice(FLOATS)
        if kind == 2:
            return r.randrange(I64_MIN, I64_MAX + 1) >> r.randrange(64)
        if kind == 3:
            return math.ldexp(r.choice([1.0, 1.0 + 2.0 ** -52, 2.0 - 2.0 ** -52]), r.randrange(-1074, 1023))
        if kind == 4:
            return r.randrange(10 ** r.randrange(1, 17)) / 10.0 ** r.randrange(0, 30)
        f = struct.unpack("<d", struct.pack("<Q", r.getrandbits(64)))[0]
        return f if math.isfinite(f) else 1.0

    def tagged(self):
        data = self.r.randbytes(self.r.choice([0, 1, 2, 3, 4, 12, 13, 50]))
        text = base64.b64encode(data).decode()
        if self.r.random() < 0.3:  # not canonical: an ordinary object
            text = self.r.choice([text + "=", text.rstrip("=") + "*", "QQ", "QR==", "QUI", "Q===", " "])
        return {"$bytes": text} if self.r.random() < 0.7 else {"$error": self.string()}

    def scalar(self):
        kind = self.r.randrange(9)
        if kind < 3:
            return self.number()
        if kind < 6:
            return self.string()
        return self.r.choice([None, True, False])

    def value(self, depth, width, tags=True):
        r = self.r
        if depth == 0 or r.random() < 0.4:
            return self.tagged() if tags and r.random() < 0.05 else self.scalar()
        n = r.choice([0, 1, 2, 3, width])
        if r.random() < 0.5:
            return [self.value(depth - 1, width, tags) for _ in range(n)]
        d = {}
        for _ in range(n):
            key = self.key()
            if tags or not key.startswith("$"):
                d[key] = self.value(depth - 1, width, tags)
        return d

    def deep(self, depth):
        doc = self.scalar()
        for _ in range(depth):
            doc = [doc] if self.r.random() < 0.5 else {self.r.choice(KEYS): doc}
        return doc

    def document(self, tags=True):
        kind = self.r.randrange(20)
        if kind == 0:
            return self.deep(self.r.choice([10, 100, 300, 500, 511]))
        if kind == 1:
            return [self.scalar() for _ in range(self.r.choice([100, 500, 2000]))]
        if kind == 2:
            return {str(i) + self.key(): self.scalar() for i in range(self.r.choice([100, 500]))}
        if kind == 3:
            return self.scalar()
        return self.value(self.r.randrange(1, 7), self.r.randrange(1, 12), tags)

    # --- text ---

    def space(self):
        if self.r.random() < 0.7:
            return ""
        return "".join(self.r.choice(" \t\n\r") for _ in range(self.r.randrange(1, 4)))

    def spell_string(self, s):
        if self.r.random() < 0.8:
            return json.dumps(s, ensure_ascii=self.r.random() < 0.3)
        out = ['"']
        for c in s:
            if c == "/" and self.r.random() < 0.5:
                out.append("\\/")
            elif self.r.random() < 0.3 or c in '"\\' or ord(c) < 0x20:
                form = "\\u%04x" if self.r.random() < 0.5 else "\\u%04X"
                units = c.encode("utf-16-be")
                out.extend(form % int.from_bytes(units[i:i + 2], "big") for i in range(0, len(units), 2))
            else:
                out.append(c)
        return "".join(out) + '"'

    def spell_number(self, n):
        if isinstance(n, int) or self.r.random() < 0.6:
            return repr(n)
        return self.r.choice(["%.17e" % n, "%.20E" % n, "%.17g" % n, repr(n).replace("e", "E")])

    def spell(self, v):
        """Pieces of text; the offset of a piece is where its token begins."""
        if isinstance(v, bool) or v is None:
            return [self.space(), json.dumps(v), self.space()]
        if isinstance(v, Fault):
            return [self.space(), v, self.space()]
        if isinstance(v, (int, float)):
            return [self.space(), self.spell_number(v), self.space()]
        if isinstance(v, str):
            return [self.space(), self.spell_string(v), self.space()]
        out = [self.space(), "[" if isinstance(v, list) else "{", self.space()]
        first = True
        for item in v if isinstance(v, list) else v.items():
            if not first:
                out.append(",")
            first = False
            if isinstance(v, dict):
                key, item = item
                out += [self.space(), key if isinstance(key, Fault) else self.spell_string(key),
                        self.space(), ":"]
            out += self.spell(item)
        return out + ["]" if isinstance(v, list) else "}", self.space()]


class Fault:
    """A piece of text that must be refused, `at` bytes (all ASCII) after its beginning."""

    def __init__(self, text, at=0):
        self.text, self.at = text, at


def model_tagged(v):
    """True when this object stands for a value."""
    if not isinstance(v, dict) or len(v) != 1:
        return False
    (key, content), = v.items()
    if not isinstance(content, str):
        return False
    if key == "$error":
        return True
    if key != "$bytes":
        return False
    try:
        return base64.b64encode(base64.b64decode(content, validate=True)).decode() == content
    except ValueError:
        return False


def fits(v, above=0, depth=1):
    """True when all paths below v are within the limits."""
    if not isinstance(v, (dict, list)) or model_tagged(v):
        return True
    if v and depth > DEPTH_MAX - 1:  # the document stands at "doc", one segment down
        return False
    for item in v.items() if isinstance(v, dict) else enumerate(v):
        key, item = item
        here = 0
        if isinstance(v, dict):
            segment = len(key.encode()) + sum(key.count(c) for c in "~/*") if key else 2
            here = above + (above > 0) + segment
            if here > PATH_MAX:
                return False
        if not fits(item, here, depth + 1):
            return False
    return True


class Refused(Exception):
    pass


def strict_loads(data):
    """json.loads, refusing what the store refuses."""
    def pairs(items):
        d = dict(items)
        if len(d) != len(items) or any("\0" in k for k in d):
            raise Refused
        return d

    def integer(text):
        if not I64_MIN <= int(text) <= I64_MAX:
            raise Refused
        return int(text)

    def real(text):
        if math.isinf(float(text)):
            raise Refused
        return float(text)

    def constant(_):
        raise Refused

    try:
        document = json.loads(data.decode(), object_pairs_hook=pairs, parse_int=integer,
                              parse_float=real, parse_constant=constant)
        json.dumps(document, ensure_ascii=False).encode()
    except ValueError as e:  # lone surrogates and bad UTF-8 as well
        raise Refused from e
    return document


def merge(target, patch):
    """RFC 7396, with tagged objects as values."""
    if not isinstance(patch, dict) or model_tagged(patch):
        return patch
    result = dict(target) if isinstance(target, dict) and not model_tagged(target) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def dump(document, indent, ascii_only):
    if indent:
        return json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    return json.dumps(document, separators=(",", ":"), ensure_ascii=ascii_only).encode()


class Driver:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, op, where, data, indent=0, ascii_only=False):
        head = "%s %s %d %d %d\n" % (op, where, indent, ascii_only, len(data))
        self.process.stdin.write(head.encode() + data)
        self.process.stdin.flush()
        reply = self.process.stdout.readline().split()
        if len(reply) != 5:
            raise SystemExit("the driver died: status %r" % self.process.wait())
        return reply[0].decode(), (int(reply[1]), int(reply[2])), self.process.stdout.read(int(reply[4]))

    def end(self):
        self.process.stdin.close()
        return self.process.wait()


def place(data, offset):
    """Line and column of a byte."""
    before = data[:offset].decode(errors="replace")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class Test:
    def __init__(self, program, seed):
        self.driver = Driver(program)
        self.g = Generator(seed)
        self.passed = self.failed = 0
        self.state = {"doc": None, "root": {}}  # what the stores hold; None: nothing there
        self.state["doc"] = self.sync("doc", {})

    def sync(self, where, document):
        self.driver.ask("load", where, json.dumps(document).encode())
        return document

    def check(self, good, what, data, *details):
        if good:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= 5:
            print("FAILED: %s\n  text     %r" % (what, data[:400]), file=sys.stderr)
            for detail in details:
                print("           %r" % (detail,), file=sys.stderr)

    def compare(self, what, op, where, data, expected, expected_status="COP_OK", at=None):
        indent, ascii_only = self.g.r.choice([0, 0, 1, 2, 4, 16]), self.g.r.random() < 0.3
        status, where_said, out = self.driver.ask(op, where, data, indent, ascii_only)
        wanted = dump(expected, indent, ascii_only)
        good = status == expected_status and out == wanted and (at is None or at == where_said)
        if good and status == "COP_OK":  # and as values, key by key
            good = repr(json.loads(out, object_pairs_hook=list)) == \
                repr(json.loads(wanted, object_pairs_hook=list))
        self.check(good, what, data, status, (at, where_said), wanted[:400], out[:400])
        self.state[where] = expected if good else self.sync(where, expected)

    def where(self, document):
        branch = isinstance(document, (dict, list)) and not model_tagged(document)
        return "root" if branch and self.g.r.random() < 0.4 else "doc"

    def load(self):
        document = self.g.document()
        data = "".join(self.g.spell(document)).encode()
        document, where = json.loads(data), self.where(document)
        if fits(document, 3):
            self.compare("load", "load", where, data, document)
        else:
            self.compare("load", "load", "doc", data, self.state["doc"], "COP_E_LIMIT")

    def patch(self):
        target, patch = self.g.value(4, 6, False), self.g.value(4, 6, False)
        if isinstance(target, dict) and isinstance(patch, dict):  # meet in some keys
            for key in list(target):
                if self.g.r.random() < 0.5:
                    patch[key] = self.g.r.choice([None, self.g.value(3, 4, False)])
        target = {"x": target}
        patch = {"x": patch}
        self.state["root"] = self.sync("root", target)
        data = "".join(self.g.spell(patch)).encode()
        self.compare("patch", "patch", "root", data, merge(target, json.loads(data)))

    def fault_text(self):
        return self.g.r.choice([
            Fault("9223372036854775808"), Fault("-9223372036854775809"), Fault("1" * 400),
            Fault("1e309"), Fault("-1e999"), Fault("nul"), Fault("True"), Fault("NaN"), Fault("Infinity"),
            Fault("-"), Fault("01"), Fault("1."), Fault(".5"), Fault("+1"), Fault("'a'"), Fault("1e"),
            Fault('"a\\q"', 3), Fault('"\\ud800"'), Fault('"\\udc00x"'), Fault('"ab\tc"', 3),
            Fault('"a\nb"', 2), Fault("{,}", 1), Fault("[1,]", 3), Fault("[1 2]", 3), Fault('{"a" 1}', 5),
            Fault('{"a":1,"a":2}', 7), Fault('{"a\\u0000":1}', 1), Fault("{1:2}", 1), Fault("@"),
            Fault('{"k":{"\\u0061":1,"b":2,"a":3}}', 23), Fault("[1}", 2), Fault('"\\u12g4"', 5)])

    def refusal(self):
        """A fault at a random place of a document: its line and column must be told."""
        document, fault = self.g.value(4, 6), self.fault_text()
        parent = document
        while isinstance(parent, (dict, list)) and parent and not model_tagged(parent):
            key = self.g.r.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
            if not isinstance(parent[key], (dict, list)) or model_tagged(parent[key]) \
                    or self.g.r.random() < 0.2:
                break
            parent = parent[key]
        if isinstance(parent, (dict, list)) and parent and not model_tagged(parent):
            parent[key] = fault
        else:
            document = fault
        data, at = b"", None
        for piece in self.g.spell(document):
            if piece is fault:
                at = len(data) + fault.at
                piece = fault.text
            data += piece.encode()
        self.compare("refusal", "load", "doc", data, self.state["doc"], "COP_E_SYNTAX", place(data, at))

    def mutation(self):
        """A few bytes changed: accepted exactly when a strict reading in Python accepts it."""
        r = self.g.r
        data = bytearray("".join(self.g.spell(self.g.value(4, 5))).encode())
        for _ in range(r.randrange(1, 4)):
            i = r.randrange(len(data) + 1)
            kind = r.randrange(3)
            if kind == 0:
                data[i:i + 1] = b""
            elif kind == 1:
                data[i:i] = r.choice([b",", b"}", b"]", b"{", b"[", b'"', b"\\", b"0", b"e", b"-", b":"])
            else:
                data[i:i + 1] = bytes([r.randrange(256)])
        data = bytes(data)
        try:
            document = strict_loads(data)
        except Refused:
            self.compare("mutation", "load", "doc", data, self.state["doc"], "COP_E_SYNTAX")
            return
        self.compare("mutation", "load", "doc", data, document)

    def run(self, documents, seconds):
        kinds = [self.load] * 5 + [self.patch] * 2 + [self.refusal] * 2 + [self.mutation] * 2
        end = time.monotonic() + seconds
        while self.passed + self.failed < documents and time.monotonic() < end:
            self.g.r.choice(kinds)()
        status = self.driver.end()
        self.check(status == 0, "the driver's exit status", b"", status)


def main():
    parser = argparse.ArgumentParser()
    here = os.environ.get("top_builddir", ".")
    parser.add_argument("driver", nargs="?", default=here + "/tests/property/json_roundtrip")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("COP_SEED", "7396")))
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    sys.setrecursionlimit(10000)
    test = Test(arguments.driver, arguments.seed)
    test.run(arguments.documents, arguments.seconds)
    print("%d passed, %d failed" % (test.passed, test.failed))
    return 1 if test.failed or test.passed < min(1000, arguments.documents) else 0


if __name__ == "__main__":
    sys.exit(main())
