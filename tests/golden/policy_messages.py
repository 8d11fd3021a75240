#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the rule language to one golden file, at least, for each message that its sources have.

    policy_messages.py SOURCE_ROOT

Takes the texts out of the calls that make errors, and looks for each of them in tests/golden/policy/*.txt. Exits 1
with one line per text that no golden file has.
"""

import pathlib
import re
import sys

SOURCES = ("rules.c", "rules_check.c", "rules_value.c", "rules_yaml.c", "yaml_read.c")
CALL = re.compile(r"\b(?:complain|yaml_complain|error_set|conflict)\s*\(", re.S)
TABLE = re.compile(r'^\s*\{"[^"]*", "[^"]*", "(expected [^"]*)"\},', re.M)
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
CONVERSION = re.compile(r"%(%|[-0-9.*]*(?:l|z|h)*[a-zA-Z]|PRI\w+)")

# What no file can bring about: memory, folders, and prefixes around other messages.
ELSEWHERE = ("out of memory", "%.100s: %s", "%s:%zu:%zu: %s", "expected at most %d KiB", "%s",
             "cannot be read", "expected a regular file")


def arguments(text, start):
    """The text between the brackets of a call that opens before start."""
    depth, i = 1, start
    while depth > 0 and i < len(text):
        if text[i] == '"':
            i = LITERAL.match(text, i).end()
            continue
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        i += 1
    return text[start:i - 1]


def formats(path):
    text = path.read_text(encoding="utf-8")
    for call in CALL.finditer(text):
        inside = re.sub(r"/\*.*?\*/", "", arguments(text, call.end()), flags=re.S)
        # Adjacent literals are one; the format is the first that has a blank or is alone.
        for group in re.findall(r'(?:"(?:[^"\\]|\\.)*"\s*(?:PRI\w+\s*)?)+', inside):
            words = "".join(LITERAL.findall(group)).replace('\\"', '"').replace("\\n", "\n")
            if " " in words or words == "%s":
                yield words
    yield from TABLE.findall(text)


def pattern(words):
    parts, at = [], 0
    for c in CONVERSION.finditer(words):
        parts += [re.escape(words[at:c.start()]), "%" if c.group(1) == "%" else ".*?"]
        at = c.end()
    return re.compile("".join(parts) + re.escape(words[at:]), re.S)


def main(root):
    goldens = [p.read_text(encoding="utf-8") for p in sorted((root / "tests/golden/policy").glob("*.txt"))]
    missing, count = [], 0
    for name in SOURCES:
        for words in dict.fromkeys(formats(root / "daemon/service" / name)):
            if any(e == words or (e != "%s" and "%" not in e and e in words) for e in ELSEWHERE):
                continue
            count += 1
            # A message is one line; what is behind its first conversion may be cut off at 255 bytes.
            if not any(pattern(words).search(g) for g in goldens):
                missing.append(f"{name}: no golden file has: {words}")
    print("\n".join(missing) or f"{count} messages, each in one of {len(goldens)} files")
    sys.exit(1 if missing or count < 40 else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
