#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the log of a training run as SVG: loss and accuracy of each width over the epochs.

    train_plot.py LOG.csv OUT.svg
"""

import csv
import sys

WIDTH, HEIGHT, EDGE = 640, 360, 40
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442"]


def curve(points, column, low, high, colour, dash):
    last = max(point["epoch"] for point in points) or 1
    place = []
    for point in points:
        x = EDGE + (WIDTH - 2 * EDGE) * point["epoch"] / last
        y = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (point[column] - low) / ((high - low) or 1)
        place.append(f"{x:.1f},{y:.1f}")
    return f'<polyline fill="none" stroke="{colour}" stroke-dasharray="{dash}" points="{" ".join(place)}"/>'


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    if not rows:
        sys.exit(f"{sys.argv[1]}: no epochs in it")
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
             f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    highest = max(row["loss"] for row in rows)
    for i, planes in enumerate(sorted({row["planes"] for row in rows})):
        points = [row for row in rows if row["planes"] == planes]
        colour = COLOURS[i % len(COLOURS)]
        parts.append(curve(points, "accuracy", 0, 100, colour, "none"))
        parts.append(curve(points, "loss", 0, highest, colour, "4 3"))
        parts.append(f'<text x="{WIDTH - EDGE + 4}" y="{EDGE + 14 * i}" fill="{colour}">{planes:g} bits</text>')
    parts.append(f'<text x="{EDGE}" y="{EDGE - 14}">accuracy, 0 to 100 % (lines); loss, 0 to {highest:.2f} (dashes)</text>')
    parts.append(f'<text x="{EDGE}" y="{HEIGHT - 14}">epoch 0 to {max(row["epoch"] for row in rows):g}</text></svg>')
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
