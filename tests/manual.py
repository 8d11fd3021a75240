#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every key that an editor completes is in the manual page of its file: manual.py SCHEMA PAGE"""

import json
import re
import sys


def keys(node):
    """Names of properties anywhere in a schema; of patterns, the word that they begin with"""
    if isinstance(node, list):
        return set().union(*map(keys, node))
    if not isinstance(node, dict):
        return set()
    found = set().union(*(keys(value) for value in node.values()))
    if isinstance(node.get("properties"), dict):
        found |= set(node["properties"])
    if isinstance(node.get("patternProperties"), dict):
        found |= {m[1] for m in (re.match(r"\^([a-z-]+) of ", p) for p in node["patternProperties"]) if m}
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        wanted = keys(json.load(f))
    with open(sys.argv[2], encoding="utf-8") as f:
        words = set(re.findall(r"[A-Za-z0-9-]+", f.read()))
    missing = sorted(wanted - words)
    print(len(wanted), "keys; not in the page:", ", ".join(missing) or "none")
    return 1 if missing or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
