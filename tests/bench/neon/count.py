#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per multiply-accumulate of the kernels for arm64, counted under qemu (no such processor needed).

    count.py BUILD-ARM64 [--json FILE]

Needs qemu-user with plugins (Debian's qemu-user, not -static) and a cross build with its benches. A product of
256 x 2304 with 48 columns runs once and twice; the difference is what one costs, tables, decoding and packing
of weights included. Counts, not times: they say nothing of stalls. On a Cortex-A53, which starts one 128-bit
instruction a cycle, they come close; wider processors do better where instructions are independent.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MACS = 256 * 2304 * 48
# (processor, what it stands for, [(what, kernel, planes, bits of values)]); the first one is what others are compared with
RUNS = [
    ("cortex-a53", "Armv8.0", [("int8 (u8 x s8), SMLAL", "int8-smlal", 8, 8), ("int8 (s8 x s8), SADALP", "int8-sadalp", 8, 8),
                               ("W1A1", "bitserial_neon", 1, 1), ("W2A2", "bitserial_neon", 2, 2),
                               ("W1A8", "lookup_neon", 1, 8), ("W2A8", "lookup_neon", 2, 8),
                               ("W4A8", "lookup_neon", 4, 8), ("W4A8", "decode_neon", 4, 8)]),
    ("cortex-a76", "Armv8.2 with dot products", [("int8 (s8 x s8), SDOT", "int8-sdot", 8, 8), ("W1A1", "bitserial_neon", 1, 1),
                                                 ("W2A2", "bitserial_neon", 2, 2), ("W2A8", "lookup_neon", 2, 8),
                                                 ("W2A8", "decode_dotprod", 2, 8), ("W4A8", "decode_dotprod", 4, 8)]),
    ("max", "Armv8.6 with products of matrices", [("int8 (s8 x s8), SDOT", "int8-sdot", 8, 8), ("W2A8", "decode_i8mm", 2, 8),
                                                  ("W4A8", "decode_i8mm", 4, 8)]),
]


def count(plugin, cpu, program, kernel, planes, bits):
    def total(times):
        command = ["qemu-aarch64", "-cpu", cpu, "-plugin", plugin, program, kernel, str(planes), str(bits), str(times)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(re.search(r"instructions (\d+)", result.stderr).group(1))

    return (total(2) - total(1)) / MACS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--json")
    options = parser.parse_args()
    program, rows = os.path.join(options.build, "tests/bench/neon/run_kernel"), []
    with tempfile.TemporaryDirectory() as folder:
        plugin = os.path.join(folder, "count.so")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", os.path.join(HERE, "count_plugin.c"), "-o", plugin], check=True)
        for cpu, name, runs in RUNS:
            print(f"{name} ({cpu})\n  {'':24} {'kernel':16} instructions per MAC   of the first")
            first = None
            for what, kernel, planes, bits in runs:
                n = count(plugin, cpu, program, kernel, planes, bits)
                first = first or n
                print(f"  {what:24} {kernel:16} {n:20.4f} {n / first:13.2f}")
                rows.append({"cpu": cpu, "what": what, "kernel": kernel, "per_mac": n, "ratio": n / first})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
