#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up meson's test logs: one line, "N passed, N failed, N skipped".

    count.py TESTLOG.json...
"""

import json
import sys

PASSED, SKIPPED = ("OK", "EXPECTEDFAIL"), ("SKIP",)


def main(paths):
    results = []
    for path in paths:
        with open(path, encoding="utf-8") as log:
            results += [json.loads(line)["result"] for line in log if line.strip()]
    passed = sum(r in PASSED for r in results)
    skipped = sum(r in SKIPPED for r in results)
    line = f"{passed} passed, {len(results) - passed - skipped} failed"
    print(line + (f", {skipped} skipped" if skipped else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
