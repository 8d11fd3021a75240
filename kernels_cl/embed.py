#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Puts OpenCL sources into a C header, with what they include.

    embed.py OUT.h FILE.cl...

Each becomes kernel_cl_source_NAME, so that a program needs no file at run time.
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"\s*$')
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def expand(path, seen):
    for line in COMMENT.sub("", path.read_text(encoding="utf-8")).split("\n"):
        found = INCLUDE.match(line)
        if not found:
            yield line.rstrip()
        elif found.group(1) not in seen:
            seen.add(found.group(1))
            yield from expand(path.parent / found.group(1), seen)


def quoted(line):
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"'


def main(out, *files):
    text = ["/* Made by kernels_cl/embed.py. */", "#pragma once", ""]
    for name in files:
        path = pathlib.Path(name)
        lines = [line for line in expand(path, set()) if line]
        text.append(f"static const char kernel_cl_source_{path.stem}[] =")
        text += ["\t" + quoted(line) for line in lines]
        text[-1] += ";"
        text.append("")
    pathlib.Path(out).write_text("\n".join(text), encoding="utf-8")


main(*sys.argv[1:])
