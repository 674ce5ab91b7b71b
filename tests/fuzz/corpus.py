#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Inputs of a fuzzing program: a file of records in the tree, a folder of files for libFuzzer.

    corpus.py unpack FILE FOLDER
    corpus.py pack FOLDER FILE

A record is "LENGTH\\n", so many bytes, "\\n". Packing sorts by length, then by bytes.
"""
import hashlib
import os
import sys


def unpack(file, folder):
    os.makedirs(folder, exist_ok=True)
    with open(file, "rb") as packed:
        for line in iter(packed.readline, b""):
            record = packed.read(int(line))
            packed.read(1)
            with open(os.path.join(folder, hashlib.sha1(record).hexdigest()), "wb") as out:
                out.write(record)


def pack(folder, file):
    records = set()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as record:
            records.add(record.read())
    with open(file, "wb") as packed:
        for record in sorted(records, key=lambda r: (len(r), r)):
            packed.write(b"%d\n%s\n" % (len(record), record))


if len(sys.argv) != 4 or sys.argv[1] not in ("pack", "unpack"):
    sys.exit(__doc__)
{"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
