#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Patches that the library writes, applied by others.

    patch_property.py [DRIVER] [--commits N]

DRIVER is tests/unit/test_patch_random, by default that of $top_builddir; it prints pairs of documents
with the patches between them. Each JSON Patch is applied to the older document by an implementation of
RFC 6902 that is written here from the RFC, and by python3-jsonpatch where it is installed; each merge
patch by the pseudocode of RFC 7396. The newer document must come out, the same values of the same
types.
Prints "N passed, N failed"; the exit status is non-zero when any failed.
"""
import argparse
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


def ways(line):
    """What each reader makes of one line's patches."""
    yield "RFC 6902", lambda: apply_patch(copy.deepcopy(line["before"]), line["patch"])
    # jsonpatch 1.33 takes a member called "-" for the end of an array
    if jsonpatch and not any("-" in tokens(o["path"]) for o in line["patch"]):
        yield "jsonpatch", lambda: jsonpatch.apply_patch(line["before"], line["patch"])
    if "merge" in line:
        yield "RFC 7396", lambda: merge(line["before"], line["merge"])


def check(line):
    """What is wrong, or None."""
    for name, way in ways(line):
        try:
            got = way()
        except Exception as error:  # whatever a reader trips over
            return "%s: %r" % (name, error)
        if text(got) != text(line["now"]):
            return "%s: %s" % (name, text(got))
    return None


def main():
    parser = argparse.ArgumentParser()
    default = os.path.join(os.environ.get("top_builddir", "."), "tests/unit/test_patch_random")
    parser.add_argument("driver", nargs="?", default=default)
    parser.add_argument("--commits", default="60")
    options = parser.parse_args()
    environment = dict(os.environ, PATCH_PRINT="1", PATCH_COMMITS=options.commits, CK_FORK="no")
    driver = subprocess.run([options.driver], env=environment, stdout=subprocess.PIPE, check=False)
    passed = failed = 0
    for raw in driver.stdout.decode("utf-8").splitlines():
        line = json.loads(raw)
        wrong = check(line)
        passed += wrong is None
        failed += wrong is not None
        if wrong and failed < 4:
            print("FAIL %s\n  %s" % (wrong, raw))
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0 or passed < 100 or driver.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
