#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fills the tables of a page from the CSV files that `bitshed-model sweep` wrote.

    sweep_page.py PAGE.md

A table stands between the lines <!-- sweep FILE.csv --> and <!-- end -->, FILE beside this script in sweeps/. One line
for each method: top-1 with 8-bit activations and, in brackets, with fp32 activations; sizes and seconds at four bits.
"""
import csv
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).parent / "sweeps"
BITS = [8, 4, 3, 2, 1]


def cell(row):
    if not row:
        return ""
    extra = f" ({float(row['float_top1']):.1f})" if int(row["float_images"]) else ""
    return f"{float(row['top1']):.1f}{extra}"


def table(name):
    with open(FOLDER / name, newline="") as file:
        rows = list(csv.DictReader(file))
    methods = list(dict.fromkeys(row["method"] for row in rows if row["bits"] != "32"))
    at = {(row["method"], int(row["bits"])): row for row in rows}
    fp32 = at["fp32", 32]
    lines = [f"fp32: {float(fp32['top1']):.1f} of {fp32['images']} pictures.", "",
             "| method | 8 | 4 | 3 | 2 | 1 | KiB at 4 | s at 4 |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for method in methods:
        four = at.get((method, 4))
        ends = [f"{int(four['bytes']) / 1024:.0f}", f"{float(four['seconds']):.1f}"] if four else ["", ""]
        cells = [cell(at.get((method, bits))) for bits in BITS] + ends
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    page = pathlib.Path(sys.argv[1])
    text = re.sub(r"(<!-- sweep (\S+) -->\n).*?(<!-- end -->)",
                  lambda m: f"{m[1]}\n{table(m[2])}\n\n{m[3]}", page.read_text(), flags=re.S)
    page.write_text(text)


if __name__ == "__main__":
    main()
