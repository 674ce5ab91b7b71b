#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Random sequences of changes to reducers and groups, beside the rules of coppice/reduce.h in Python.

    reduce_property.py [DRIVER] [--seed N] [--sequences N] [--seconds N]

Sums and means are those of python3's fractions, rounded once; doubles are compared bit for bit. Some
of the changes are taken back. DRIVER is tests/property/reduce_driver, by default that of
$top_builddir. Prints "N passed, N failed"; the exit status is non-zero when any failed.
"""
import argparse
import math
import os
import random
import struct
import subprocess
import sys
import time
from fractions import Fraction

RULES = ["sum", "count", "mean", "min", "max", "top", "maps", "letters", "wrap", "wrap_tree"]
K, PRIME, I64_MIN, I64_MAX = 3, 65521, -2 ** 63, 2 ** 63 - 1
DOUBLE_MAX = Fraction(sys.float_info.max)
LIMIT = DOUBLE_MAX + Fraction(2) ** 970  # from here on nearest even is infinity
DOUBLES = [0.0, -0.0, 1.0, -1.0, 0.1, 1e308, -1e308, 1.7976931348623157e308, -1.7976931348623157e308,
           5e-324, -5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 9007199254740992.0,
           9007199254740994.0, 2.0 ** 63, -2.0 ** 63, 2.0 ** 62, 1e16, 0.5, 1.5, 2.0 ** -1022, 2.0 ** 970]
INTEGERS = [0, 1, -1, 2, I64_MIN, I64_MAX, I64_MAX - 1, I64_MIN + 1, 2 ** 53, 2 ** 53 + 1, -2 ** 53 - 1,
            2 ** 62, 2 ** 62 + 1]


class Text:
    """A value with a type beside it; numbers are int and float, bools bool, absent and null None."""

    def __init__(self, kind, data=b""):
        self.kind, self.data = kind, data


NAMES = {"s": "string", "y": "bytes", "e": "error"}


def bits(f):
    return "%016x" % struct.unpack("<Q", struct.pack("<d", f))[0]


def spell(v):
    if isinstance(v, Text):
        return v.kind + ":" + v.data.hex()
    if v is None:
        return "n"
    if isinstance(v, bool):
        return "t:%d" % v
    if isinstance(v, int):
        return "i:%d" % v
    return "f:" + bits(v)


def rounded(exact, all_minus_zero):
    """Nearest even; a Fraction becomes a double by one correctly rounded division of integers."""
    if exact == 0:
        return -0.0 if all_minus_zero else 0.0
    if abs(exact) >= LIMIT:
        return math.inf if exact > 0 else -math.inf
    try:
        f = exact.numerator / exact.denominator
    except OverflowError:
        f = math.inf if exact > 0 else -math.inf
    return f if f != 0 or exact > 0 else -0.0


def special(numbers):
    nan = any(isinstance(n, float) and math.isnan(n) for n in numbers)
    up, down = math.inf in numbers, -math.inf in numbers
    if nan or (up and down):
        return "f:7ff8000000000000"
    if up or down:
        return "f:" + bits(math.inf if up else -math.inf)
    return None


def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def passed_over(v):
    return v is None or (isinstance(v, Text) and v.kind in "oa-")


def takes(rule, v):
    """True when the rule has a use for a value that is not passed over."""
    if rule == "count":
        return True
    if rule in ("maps", "letters", "wrap", "wrap_tree"):
        return not isinstance(v, Text) or (v.kind == "s" and len(v.data) <= 12)
    return is_number(v)


def error(text):
    return "e:" + (text if isinstance(text, bytes) else text.encode()).hex()


def complaint(rule, path, v):
    name = "bool" if isinstance(v, bool) else NAMES[v.kind]
    if rule in ("sum", "mean", "min", "max", "top"):
        ending = " in place of a number"
    else:
        ending = " of more than 12 bytes" if name == "string" else ", which cannot be combined"
    return error(path + b": " + (name + ending).encode())


def sum_of(numbers):
    if all(isinstance(n, int) for n in numbers):
        total = sum(numbers)
        return "i:%d" % total if I64_MIN <= total <= I64_MAX else error("the sum does not fit in an i64")
    return special(numbers) or "f:" + bits(rounded(sum(map(Fraction, numbers)), minus_zeros(numbers)))


def minus_zeros(numbers):
    return all(isinstance(n, float) and n == 0 and math.copysign(1, n) < 0 for n in numbers)


def mean_of(numbers):
    if not numbers:
        return error("the mean of no children")
    return special(numbers) or \
        "f:" + bits(rounded(sum(map(Fraction, numbers)) / len(numbers), minus_zeros(numbers)))


def payload(v):
    """What cop_value_i64 reads of any value."""
    if isinstance(v, Text):
        return int.from_bytes(v.data.ljust(12, b"\0")[4:12], "little")
    if isinstance(v, float):
        return struct.unpack("<Q", struct.pack("<d", v))[0]
    return v % 2 ** 64


def maps_of(values):
    def as_map(v):
        if isinstance(v, Text) and len(v.data) == 4:
            return struct.unpack("<HH", v.data)
        n = payload(v)
        return n % PRIME, (n >> 16) % PRIME

    if not values:
        return "n"
    if len(values) == 1:
        return spell(values[0])
    a, b = as_map(values[0])
    for v in values[1:]:
        c, d = as_map(v)
        a, b = a * c % PRIME, (b * c + d) % PRIME
    return "s:" + struct.pack("<HH", a, b).hex()


def wrap_of(values, zero):
    total = (sum(map(payload, values)) + zero) % 2 ** 64
    return "i:%d" % (total - 2 ** 64 if total >= 2 ** 63 else total)


def letters_of(values):
    """Strings only are inserted under this rule; too many of them are an error in any order."""
    joined = b">" + b"".join(v.data for v in values)
    return "s:" + joined.hex() if len(joined) <= 12 else error("out of range")


def result(rule, children):
    """children: (path, value) in any order."""
    present = sorted(((p, v) for p, v in children if not passed_over(v)), key=lambda c: c[0])
    if rule == "count":
        return "i:%d" % len(present)
    for path, v in present:
        if not takes(rule, v):
            return complaint(rule, path, v)
    values = [v for _, v in present]
    if rule == "sum":
        return sum_of(values)
    if rule == "mean":
        return mean_of(values)
    if rule in ("min", "max", "top"):
        ordered = [c for c in present if c[1] == c[1]]
        ordered.sort(key=lambda c: c[1], reverse=rule != "min")  # stable: path decides
        if rule == "top":
            return "[" + ",".join(p.hex() + "=" + spell(v) for p, v in ordered[:K]) + "]"
        return spell(ordered[0][1]) if ordered else "n"
    if rule == "maps":
        return maps_of(values)
    if rule == "letters":
        return letters_of(values)
    if rule == "wrap":
        return wrap_of(values, 100)
    if len(values) == 1:
        return spell(values[0])
    return wrap_of(values, 0) if values else "n"


def group_name(key):
    if isinstance(key, Text):
        return key.data if key.kind == "s" else None
    if key is None:
        return None
    if isinstance(key, bool):
        return b"true" if key else b"false"
    if isinstance(key, float):
        if math.isnan(key):
            return b"NaN"
        if math.isinf(key):
            return b"Infinity" if key > 0 else b"-Infinity"
    return repr(key).encode()


def groups(rule, content):
    """content: id -> (path, value, key)."""
    members = {}
    for path, value, key in sorted(content.values(), key=lambda c: c[0]):
        name = group_name(key)
        if name is not None:
            members.setdefault(name, []).append((path, value))
    return " ".join("%s:%d:%s" % (name.hex(), len(children), result(rule, children))
                    for name, children in members.items())


class Sequence:
    """One script for the driver, and what it must answer."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.rule = self.r.choice(RULES)
        self.grouped = self.r.random() < 0.4
        self.mood = self.r.choice(["any", "finite", "integers", "tiny", "huge", "few"])
        self.odd = self.r.choice([0, 0, 0.02, 0.3])
        self.lines = ["open %s%s" % (self.rule, " grouped" if self.grouped else "")]
        self.answers, self.content, self.kept = [], {}, None
        self.ids = self.r.sample(range(4096), self.r.choice([2, 5, 30, 150]))
        paths = set()
        while len(paths) < len(self.ids):
            paths.add(self.r.randbytes(self.r.randrange(1, 4)) if self.r.random() < 0.5
                      else b"host/%d/rss" % self.r.randrange(1000))
        self.path = dict(zip(self.ids, sorted(paths, key=lambda _: self.r.random())))

    def double(self):
        r = self.r
        if self.mood == "tiny":
            return math.ldexp(r.randrange(-2 ** 53, 2 ** 53), r.randrange(-1074, -1000))
        if self.mood == "huge":
            return math.ldexp(r.randrange(-2 ** 53, 2 ** 53), r.randrange(960, 971))
        if self.mood == "few" or r.random() < 0.3:
            return r.choice(DOUBLES)
        if self.mood == "any" and r.random() < 0.1:
            return r.choice([math.inf, -math.inf, math.nan])
        f = struct.unpack("<d", r.randbytes(8))[0]
        return f if math.isfinite(f) and r.random() < 0.5 else r.uniform(-1000, 1000)

    def number(self):
        r = self.r
        if self.mood == "integers" or r.random() < 0.4:
            return r.choice(INTEGERS) if r.random() < 0.5 else \
                r.randrange(I64_MIN, I64_MAX + 1) >> r.randrange(64)
        return self.double()

    def value(self):
        r = self.r
        if self.rule == "letters":
            return Text("s", r.randbytes(r.choice([0, 0, 0, 0, 1, 2, 5])))
        if r.random() < self.odd:
            kind = r.choice("ssyen-oat")
            if kind == "n":
                return None
            if kind == "t":
                return r.random() < 0.5
            return Text(kind, r.randbytes(r.choice([0, 4, 12, 13, 40])) if kind in "sye" else b"")
        return self.number()

    def key(self):
        r = self.r
        kind = r.randrange(10)
        if kind < 6:
            return Text("s", b"group%d" % r.randrange(4))
        if kind < 7:
            return r.choice([1, 1.0, True, False, -5, 1e300, math.inf, math.nan, Text("s", b"1"), Text("s")])
        if kind < 8:
            return r.choice([None, Text("-"), Text("o"), Text("y", b"group1"), Text("e", b"no")])
        return Text("s", r.choice([b"a name that is longer than 12 bytes", b"another of those names"]))

    def insert(self, i):
        self.content[i] = (self.path[i], self.value(), self.key() if self.grouped else None)
        path, value, key = self.content[i]
        line = "i %d x%s %s" % (i, path.hex(), spell(value))
        self.lines.append(line + " " + spell(key) if self.grouped else line)

    def change(self, i):
        path, value, key = self.content[i]
        if self.grouped and self.r.random() < 0.4:
            key = self.key()
            self.lines.append("g %d %s" % (i, spell(key)))
        else:
            value = self.value()
            self.lines.append("c %d %s" % (i, spell(value)))
        self.content[i] = (path, value, key)

    def mark_or_end(self):
        if self.kept is None:
            self.kept = dict(self.content)
            self.lines.append("m")
            return
        back = self.r.random() < 0.6
        self.content = self.kept if back else self.content
        self.lines.append("b" if back else "k")
        self.kept = None

    def ask(self):
        children = [(p, v) for p, v, _ in self.content.values()]
        self.lines.append("?")
        self.answers.append(groups(self.rule, self.content) if self.grouped
                            else result(self.rule, children))

    def make(self):
        bias = self.r.random()
        for _ in range(self.r.choice([10, 60, 250])):
            i = self.r.choice(self.ids)
            if self.r.random() < 0.03:
                bias = self.r.random()
            if i not in self.content:
                if self.r.random() < 0.3 + bias:
                    self.insert(i)
            elif self.r.random() < 0.5:
                self.change(i)
            elif self.r.random() > bias:
                del self.content[i]
                self.lines.append("r %d" % i)
            if self.r.random() < 0.1:
                self.mark_or_end()
            if self.r.random() < 0.3:
                self.ask()
        self.ask()
        return self


def run(driver, sequences):
    """All sequences through one process; returns the passed and the failed."""
    script = "\n".join("\n".join(s.lines) for s in sequences) + "\n"
    done = subprocess.run([driver], input=script.encode(), stdout=subprocess.PIPE, check=False)
    out, passed, failed = done.stdout.decode().split("\n"), 0, int(done.returncode != 0)
    if done.returncode != 0:
        print("FAILED: the driver's exit status is %d" % done.returncode, file=sys.stderr)
    at = 0
    for s in sequences:
        got = out[at:at + len(s.answers)]
        at += len(s.answers)
        wrong = [i for i, (a, b) in enumerate(zip(s.answers, got)) if a != b]
        if not wrong and len(got) == len(s.answers):
            passed += 1
            continue
        failed += 1
        if failed < 5:
            i = wrong[0] if wrong else len(got)
            print("FAILED: %s %s, answer %d\n  should be %s\n  is        %s"
                  % (s.lines[0], s.mood, i, s.answers[i][:300], got[i][:300] if wrong else "missing"),
                  file=sys.stderr)
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    here = os.environ.get("top_builddir", ".")
    parser.add_argument("driver", nargs="?", default=here + "/tests/property/reduce_driver")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("COP_SEED", "1074")))
    parser.add_argument("--sequences", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    end, passed, failed, seed = time.monotonic() + arguments.seconds, 0, 0, arguments.seed * 1000003
    while passed + failed < arguments.sequences and time.monotonic() < end:
        batch = [Sequence(seed + i).make() for i in range(100)]
        seed += len(batch)
        counts = run(arguments.driver, batch)
        passed, failed = passed + counts[0], failed + counts[1]
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or passed < min(500, arguments.sequences) else 0


if __name__ == "__main__":
    sys.exit(main())
