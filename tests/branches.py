#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
branches.py BUILD-DIRECTORY REGEX...

The gate on branches, called by coverage.sh after the unit tests: of the files whose path from the
top of the tree matches one of the expressions, every branch was taken or is in
branch-exclusions.txt with the reason, and what is there is true: an entry without a branch fails.

It asks gcov itself. Some tests compile a file anew, with other macros, and then a line has other
branches than in the library; reports that number branches together with calls mix them up. Here the
library's own object says which branches a line has; a test's copy adds to them if it has as many.
"""
import json
import pathlib
import re
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent
TOP = TESTS.parent


class Branches:
    """How often the branches of a line were taken, and in which function it is."""

    def __init__(self, function, counts):
        self.function = function
        self.counts = counts

    def not_taken(self):
        return {i for i, count in enumerate(self.counts) if count == 0}


def left_out():
    """The pattern of the lines that coverage-exclusions.txt leaves out."""
    text = (TESTS / "coverage-exclusions.txt").read_text()
    return re.compile("|".join(re.findall(r"^line +(.*\S) +\| .+$", text, re.M)) or r"(?!)")


def gcov(build, objects):
    """Yields path, line and what gcov says of it, for the files of the tree in these objects."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", *map(str, objects)]
    run = subprocess.run(command, cwd=build, check=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    for report in run.stdout.splitlines():
        for file in json.loads(report)["files"]:
            path = (build / file["file"]).resolve()
            if path.is_relative_to(TOP):
                for line in file["lines"]:
                    yield str(path.relative_to(TOP)), line


def collect(build, wanted):
    """The branches of the files that are wanted, by (path, line)."""
    found = {}
    library = sorted((build / "lib").rglob("*.gcda"))
    tests = sorted((build / "tests").rglob("*.gcda"))
    for objects in library, tests:
        for path, line in gcov(build, objects):
            counts = [branch["count"] for branch in line["branches"]]
            if not counts or not wanted.match(path):
                continue
            key = path, line["line_number"]
            if objects is library:
                found.setdefault(key, Branches(line["function_name"], [0] * len(counts)))
            if key in found and len(found[key].counts) == len(counts):
                found[key].counts = [a + b for a, b in zip(found[key].counts, counts)]
    return found


def read_exclusions():
    """Entries (path, function, text) -> (numbers of branches, whether always), and mistakes."""
    entries, mistakes, always = {}, [], None
    for number, line in enumerate((TESTS / "branch-exclusions.txt").read_text().splitlines(), 1):
        heading = re.match(r"(never|sometimes): \S", line)
        entry = re.match(r"(\S+) \| (\w+) \| (\d+(?: \d+)*) \| (.*\S)$", line)
        if not line or line.startswith("#"):
            continue
        if heading:
            always = heading[1] == "never"
        elif entry and always is not None and entry.group(1, 2, 4) not in entries:
            entries[entry[1], entry[2], entry[4]] = set(map(int, entry[3].split())), always
        else:
            mistakes.append(f"branch-exclusions.txt:{number}: not one entry under a reason: {line}")
    return entries, mistakes


def judge(found, entries):
    """What is wrong, and how many branches there are, were not taken, and may be not taken."""
    wrong, total, missed, sometimes = [], 0, 0, 0
    left, source, seen = left_out(), {}, set()
    for (path, number), line in sorted(found.items()):
        text = source.setdefault(path, (TOP / path).read_text().splitlines())[number - 1].strip()
        if left.search(text):
            continue
        key = path, line.function, text
        allowed, always = entries.get(key, (set(), False))
        place = f"{path}:{number}: {line.function}: branch"
        seen.add(key)
        wrong += [f"{place} {i} of {len(line.counts)} was not taken: {text}"
                  for i in sorted(line.not_taken() - allowed)]
        wrong += [f"{place} {i} is not there: {text}"
                  for i in sorted(allowed) if i >= len(line.counts)]
        if always:
            wrong += [f"{place} {i} was taken, branch-exclusions.txt says never: {text}"
                      for i in sorted(allowed - line.not_taken()) if i < len(line.counts)]
        total += len(line.counts)
        missed += len(line.not_taken())
        sometimes += 0 if always else len(allowed)
    wrong += [f"branch-exclusions.txt: no such line: {' | '.join(key)}"
              for key in entries if key not in seen]
    return wrong, total, missed, sometimes


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    found = collect(build, re.compile("|".join(sys.argv[2:])))
    entries, wrong = read_exclusions()
    more, total, missed, sometimes = judge(found, entries)
    wrong += more
    for line in wrong:
        print(line)
    print(f"branches: {total}, not taken: {missed}; {len(entries)} lines have a reason, "
          f"{sometimes} branches depend on timing")
    failed = bool(wrong) or total == 0
    if failed:
        print("FAIL: branches not taken and without a reason, or reasons without a branch (above)")
    print(f"{0 if failed else 100}%: Checks: 1, Failures: {int(failed)}, Errors: 0")
    sys.exit(failed)


if __name__ == "__main__":
    main()
