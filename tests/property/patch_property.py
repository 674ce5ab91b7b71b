#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Patches that the library writes, applied by others.

    patch_property.py [DRIVER] [--commits N]

DRIVER is tests/unit/test_patch_random, by default that of $top_builddir; it prints pairs of documents
with the patches between them: from each version to the next one, and from some to older ones. Each JSON
Patch is applied to the one document by an implementation of RFC 6902 that is written here from the RFC,
and by python3-jsonpatch where it is installed; each merge patch by the pseudocode of RFC 7396. The other
document must come out, the same values of the same types.
Prints what there was and "N passed, N failed"; the exit status is non-zero when any failed.
"""
import argparse
import collections
import copy
import json
import os
import re
import subprocess
import sys

try:
    import jsonpatch
except ImportError:
    jsonpatch = None

SEEDS = 12  # of the driver


def text(document):
    return json.dumps(document, sort_keys=True)


def tokens(pointer):
    if pointer == "":
        return []
    if not pointer.startswith("/") or re.search(r"~(?![01])", pointer):
        raise ValueError("no pointer: " + pointer)
    return [t.replace("~1", "/").replace("~0", "~") for t in pointer[1:].split("/")]


def index(array, token, end):
    if token == "-" and end:
        return len(array)
    if not re.fullmatch(r"0|[1-9][0-9]*", token) or int(token) >= len(array) + end:
        raise ValueError("no index: " + token)
    return int(token)


def find(document, path):
    for token in path:
        document = document[token if isinstance(document, dict) else index(document, token, 0)]
    return document


def add(document, path, value):
    if not path:
        return value
    parent = find(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        parent.insert(index(parent, path[-1], 1), value)
    return document


def remove(document, path):
    parent = find(document, path[:-1])
    if isinstance(parent, dict):
        return parent.pop(path[-1])
    return parent.pop(index(parent, path[-1], 0))


def replace(document, path, value):
    if not path:
        return value
    parent = find(document, path[:-1])
    if isinstance(parent, dict):
        if path[-1] not in parent:
            raise ValueError("nothing to replace")
        parent[path[-1]] = value
    else:
        parent[index(parent, path[-1], 0)] = value
    return document


def apply_patch(document, patch):
    for operation in patch:
        path = tokens(operation["path"])
        kind = operation["op"]
        if kind == "add":
            document = add(document, path, copy.deepcopy(operation["value"]))
        elif kind == "replace":
            document = replace(document, path, copy.deepcopy(operation["value"]))
        elif kind == "remove":
            remove(document, path)
        elif kind == "move":
            document = add(document, path, remove(document, tokens(operation["from"])))
        else:
            raise ValueError("the library does not write " + kind)
    return document


def merge(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merge(target.get(name), value)
    return target


def end_token(operation):
    """jsonpatch 1.33 takes a member called "-" for the end of an array."""
    return any("-" in tokens(operation[name]) for name in ("path", "from") if name in operation)


def ways(line):
    """What each reader makes of one line's patches."""
    yield "RFC 6902", lambda: apply_patch(copy.deepcopy(line["before"]), line["patch"])
    if jsonpatch and not any(end_token(o) for o in line["patch"]):
        yield "jsonpatch", lambda: jsonpatch.apply_patch(line["before"], line["patch"])
    if "merge" in line:
        yield "RFC 7396", lambda: merge(line["before"], line["merge"])


def check(line, counts):
    """What is wrong, or None."""
    wanted = text(line["now"])
    for name, way in ways(line):
        try:
            got = text(way())
        except Exception as error:  # whatever a reader trips over
            return "%s: %r" % (name, error)
        if got != wanted:
            return "%s: %s" % (name, got)
        counts["applied as " + name] += 1
    for operation in line["patch"]:
        counts[operation["op"]] += 1
    return None


def check_all(lines):
    """The number of pairs that are right, and of those that are not."""
    counts = collections.Counter()
    passed = failed = 0
    for raw in lines:
        line = json.loads(raw)
        wrong = check(line, counts)
        passed += wrong is None
        failed += wrong is not None
        if wrong and failed < 4:
            print("FAIL %s\n  %s" % (wrong, raw))
    print(", ".join("%s: %d" % item for item in sorted(counts.items())))
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    default = os.path.join(os.environ.get("top_builddir", "."), "tests/unit/test_patch_random")
    parser.add_argument("driver", nargs="?", default=default)
    parser.add_argument("--commits", type=int, default=1200, help="that made a version, at least")
    options = parser.parse_args()
    each = (options.commits + SEEDS - 1) // SEEDS
    environment = dict(os.environ, PATCH_PRINT="1", PATCH_COMMITS=str(each), CK_FORK="no")
    with subprocess.Popen(
        [options.driver], env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as driver:
        passed, failed = check_all(driver.stdout)
    enough = passed + failed >= options.commits
    print("%d commits%s" % (each * SEEDS, "" if enough else ", but fewer pairs of versions"))
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0 or not enough or driver.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
