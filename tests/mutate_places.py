# SPDX-License-Identifier: MIT
"""Where mutate.py changes the library: places in the sources, without those that are excluded."""
import os
import re
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXCLUSIONS = os.path.join(SOURCE, "tests", "mutation-exclusions.txt")
# Not measured: what asks the system for its memory and its processors.
LEFT_OUT = {"lib/reclaim/allocator_jemalloc.c", "lib/reclaim/memory.c", "lib/reclaim/memory_limit.c",
            "workers/cpus.c"}


# --- places to mutate ------------------------------------------------------------------------

def blanked(text):
    """The text with comments, strings and preprocessor lines as spaces; as long as before."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    text = re.sub(pattern, blank, text, flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)


SWAPS = [
    ("comparison", r"(?<= )<=(?=\s)", "<"), ("comparison", r"(?<= )<(?=\s)", "<="),
    ("comparison", r"(?<= )>=(?=\s)", ">"), ("comparison", r"(?<= )>(?=\s)", ">="),
    ("comparison", r"(?<= )==(?=\s)", "!="), ("comparison", r"(?<= )!=(?=\s)", "=="),
    ("arithmetic", r"(?<= )\+(?=\s)", "-"), ("arithmetic", r"(?<= )-(?=\s)", "+"),
    ("arithmetic", r"(?<= )\+=(?=\s)", "-="), ("arithmetic", r"(?<= )-=(?=\s)", "+="),
    ("logic", r"(?<=\s)&&(?=\s)", "||"), ("logic", r"(?<=\s)\|\|(?=\s)", "&&"),
    ("step", r"\+\+", "--"), ("step", r"(?<!-)--(?!-)", "++"),
    ("truth", r"\breturn true;", "return false;"), ("truth", r"\breturn false;", "return true;"),
]
NEVER = re.compile(r"COP_\w*ASSERT|COP_ALWAYS|COP_FAULT\(|__builtin_prefetch|_Static_assert")
STATEMENT = re.compile(r"(?<=[;{})])\s*\n[ \t]+(?P<s>(?:\(void\))?\w+\([^;{}]*\);|"
                       r"(?:\*|\+\+|--)?[\w>.\[\]+-]+(?: [+*/|&^<>-]*= [^;{}]*|\+\+|--)?;)")


class Place:
    """One mutation: text[start:end] becomes `new`."""

    def __init__(self, file, line, kind, start, end, old, new):
        self.file, self.line, self.kind = file, line, kind
        self.start, self.end, self.old, self.new = start, end, old, new

    def __str__(self):
        old, new = " ".join(self.old.split()), " ".join(self.new.split())
        return f"{self.file}:{self.line}: {self.kind}: {old[:60]} -> {new[:60] or 'nothing'}"


def bodies(text):
    """(start, end) of each function's body."""
    return [match.span() for match in re.finditer(r"^\{\n.*?^\}", text, flags=re.S | re.M)]


def closing(text, at):
    """The place of the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError("parentheses")


def of_two(clean, at):
    """Whether the comparison at `at` chooses the lesser or the greater of two, as a < b ? a : b does:
    of equals it does not matter which."""
    before = re.split(r"[({;,=?:]|&&|\|\||\breturn\b", clean[max(0, at - 200):at])[-1]
    after = re.match(r"[<>]=?\s+([^?;]*?)\s+\?\s+([^?:;]*?)\s+:\s+([^?:;]*?)\s*[;,)]", clean[at:])
    two = {" ".join(before.split()), " ".join(after.group(1).split())} if after else set()
    return bool(two) and two == {" ".join(after.group(i).split()) for i in (2, 3)}


ARRAY = re.compile(r"^\s+(?:(?:static|const|unsigned|struct) )*\w+ (?:\**\w+(?:\[[^\]]*\])*, )*(\w+)\[[^\]]*$")
MIDDLE = re.compile(r"\(high - low\) / $")


def more_is_the_same(clean, at):
    """Whether the number at `at` may as well be greater: the size of an array that is declared and never asked
    for its size, and what a binary search divides by."""
    line = clean[clean.rfind("\n", 0, at) + 1:at]
    array = ARRAY.match(line)
    if array:
        return f"sizeof {array.group(1)}" not in clean[at:clean.find("\n}", at)]
    return bool(MIDDLE.search(line))


def raw_places(clean, begin, end):
    """(kind, start, end, new) in one function."""
    for kind, pattern, new in SWAPS:
        for match in re.finditer(pattern, clean[begin:end]):
            if kind == "comparison" and new in ("<", "<=", ">", ">=") and \
                    of_two(clean, begin + match.start()):
                continue
            yield kind, begin + match.start(), begin + match.end(), new
    for match in re.finditer(r"(?<![\w.])\d+(?=[uU]?[lL]*\b)(?![xX.])", clean[begin:end]):
        at, n = begin + match.start(), int(match.group(0))
        if not more_is_the_same(clean, at):
            yield "number", at, begin + match.end(), str(n + 1)
        if n > 0:
            yield "number", at, begin + match.end(), str(n - 1)
    for match in re.finditer(r"\bif \(", clean[begin:end]):
        at = begin + match.end() - 1
        close = closing(clean, at)
        yield "condition", at, close + 1, None
    for match in STATEMENT.finditer(clean[begin:end]):
        start, stop = begin + match.start("s"), begin + match.end("s")
        if not re.match(r"(return|goto|break|continue|case|default|else|do)\b", clean[start:stop]):
            yield "statement", start, stop, ";"


def places_of(file, text):
    clean = blanked(text)
    line_starts = [0] + [match.end() for match in re.finditer(r"\n", text)]
    places = []
    for begin, end in bodies(clean):
        for kind, start, stop, new in raw_places(clean, begin, end):
            first = text.count("\n", 0, start)
            last = text.count("\n", 0, stop)
            after = line_starts[last + 1] if last + 1 < len(line_starts) else len(text)
            if NEVER.search(text[line_starts[first]:after]):
                continue
            old = text[start:stop]
            if new is None:
                new = f"(!{old})"
            places.append(Place(file, first + 1, kind, start, stop, old, new))
    return places


# --- exclusions ------------------------------------------------------------------------------

def read_exclusions():
    """Lines "FILE | KIND ... or * | TEXT | REASON": the places of that kind in lines that hold TEXT. A kind
    may be followed by :OLD or :OLD:NEW, and then is of this change only."""
    rules = []
    if not os.path.exists(EXCLUSIONS):
        return rules
    with open(EXCLUSIONS, encoding="utf-8") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            parts = [part.strip() for part in re.split(r" \| ", line)]
            if len(parts) != 4 or not all(parts):
                sys.exit(f"mutation-exclusions.txt: four parts wanted: {line}")
            rules.append({"file": parts[0], "kinds": set(parts[1].split()), "text": parts[2], "used": 0})
    return rules


def kinds_of(place):
    return {"*", place.kind, f"{place.kind}:{place.old}", f"{place.kind}:{place.old}:{place.new}"}


def excluded(place, line_text, rules):
    found = False
    for rule in rules:
        if place.file == rule["file"] and rule["text"] in line_text and \
                kinds_of(place) & rule["kinds"]:
            rule["used"] += 1
            found = True
    return found


def rooms():
    """Those of the gate on tested lines."""
    with open(os.path.join(SOURCE, "tests/coverage.sh"), encoding="utf-8") as script:
        return re.search(r"^rooms='([^']+)'$", script.read(), flags=re.M).group(1).split()


def all_places(rules, only):
    """{file: (text, places)}"""
    result = {}
    for room in rooms():
        for name in sorted(os.listdir(os.path.join(SOURCE, room))):
            file = f"{room}/{name}"
            if not name.endswith(".c") or file in LEFT_OUT:
                continue
            with open(os.path.join(SOURCE, file), encoding="utf-8") as stream:
                text = stream.read()
            lines = text.split("\n")
            places = [p for p in places_of(file, text) if not excluded(p, lines[p.line - 1], rules)]
            if only is None or any(text in file for text in only):
                result[file] = (text, places)
    return result
