#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of the demo network: ten shapes, 32 x 32, in random colours, sizes and turns.

    draw.py COUNT SEED OUT.bin        labelled records: one byte of label, then the R, G and B planes
    draw.py --ppm LABEL SEED OUT.ppm  one picture to look at, or to classify
    draw.py --labels                  the names of the ten classes, one per line

The record form is that of CIFAR-10's binary files. Plain Python, so that the demo needs nothing more.
"""

import math
import random
import sys

LABELS = ["disc", "ring", "square", "frame", "triangle", "cross", "plus", "bar", "crescent", "star"]
SIDE = 32


def inside(shape, x, y):
    """Whether (x, y), in a unit frame of the shape, is ink."""
    r = math.hypot(x, y)
    box = max(abs(x), abs(y))
    if shape == "disc":
        return r < 0.85
    if shape == "ring":
        return 0.55 < r < 0.95
    if shape == "square":
        return box < 0.75
    if shape == "frame":
        return 0.5 < box < 0.85
    if shape == "triangle":
        return -0.7 < y < 0.8 and abs(x) < (0.8 - y) * 0.6
    if shape == "cross":
        return box < 0.85 and (abs(x - y) < 0.32 or abs(x + y) < 0.32)
    if shape == "plus":
        return box < 0.9 and (abs(x) < 0.24 or abs(y) < 0.24)
    if shape == "bar":
        return abs(x) < 0.25 and abs(y) < 0.95
    if shape == "crescent":
        return r < 0.9 and math.hypot(x - 0.45, y) > 0.75
    # A star: five points; the edge runs from radius 1 at a point to 0.4 between two of them.
    away = abs(math.atan2(x, y) % (math.tau / 5) - math.tau / 10) / (math.tau / 10)
    return r < 0.4 + 0.6 * away**1.5


def colours(rng):
    """Ink and paper that differ enough to be seen."""
    while True:
        ink = [rng.uniform(0, 255) for _ in range(3)]
        paper = [rng.uniform(0, 255) for _ in range(3)]
        if sum(abs(a - b) for a, b in zip(ink, paper)) > 130:
            return ink, paper


def picture(label, rng):
    """One picture as three planes of bytes."""
    ink, paper = colours(rng)
    size = rng.uniform(8.0, 14.0)
    cx, cy = (SIDE / 2 + rng.uniform(-3, 3) for _ in range(2))
    turn = rng.uniform(-0.35, 0.35)
    stretch = rng.uniform(0.85, 1.15)
    noise = rng.uniform(4, 26)
    slope = rng.uniform(-1.5, 1.5)
    c, s = math.cos(turn) / size, math.sin(turn) / size
    planes = [bytearray(SIDE * SIDE) for _ in range(3)]
    for row in range(SIDE):
        for column in range(SIDE):
            cover = 0
            for dy in (0.25, 0.75):
                for dx in (0.25, 0.75):
                    px, py = column + dx - cx, row + dy - cy
                    cover += inside(LABELS[label], (px * c + py * s) * stretch, py * c - px * s)
            light = slope * (column - SIDE / 2)
            for i in range(3):
                v = paper[i] + (ink[i] - paper[i]) * cover / 4 + light + rng.gauss(0, noise)
                planes[i][row * SIDE + column] = min(255, max(0, round(v)))
    return planes


def write_records(count, seed, path):
    rng = random.Random(seed)
    with open(path, "wb") as out:
        for i in range(count):
            label = i % len(LABELS)
            out.write(bytes([label]) + b"".join(picture(label, rng)))


def write_ppm(label, seed, path):
    planes = picture(label, random.Random(seed))
    with open(path, "wb") as out:
        out.write(f"P6 {SIDE} {SIDE} 255\n".encode())
        out.write(bytes(v for pixel in zip(*planes) for v in pixel))


def main(arguments):
    if arguments == ["--labels"]:
        print("\n".join(LABELS))
    elif len(arguments) == 4 and arguments[0] == "--ppm" and arguments[1] in LABELS:
        write_ppm(LABELS.index(arguments[1]), int(arguments[2]), arguments[3])
    elif len(arguments) == 3 and arguments[0].isdigit():
        write_records(int(arguments[0]), int(arguments[1]), arguments[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
