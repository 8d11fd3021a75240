#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares bitshed with ONNX Runtime and oneDNN: the same networks, one run, interleaved, medians.

    peers.py PROGRAMS [--networks resnet18,...] [--threads 1,2] [--rounds 7] [--json FILE] [--cache FOLDER]
                      [--processor-time]

PROGRAMS is the build folder, after `ninja -C BUILD tests/bench/peers/peer_bitshed tests/bench/peers/peer_onednn`. ONNX Runtime is used when node finds the npm package onnxruntime-node
(NODE_PATH; `npm install --ignore-scripts onnxruntime-node` is enough), oneDNN when libdnnl-dev was there at
build time; a line says who is missing. Networks are written by networks.py. All participants are started
first and then asked in turn, so that what else the machine does meets all of them; each gives the median of
all its runs. On a machine that has other work, --processor-time with one thread compares what programs use
instead of how long they take.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NETWORKS = ["resnet18", "resnet20", "mobilenetv2", "squeezenet", "googlenet", "resnet50"]


class Peer:
    """A program that answers lines with times; see peer.h."""

    def __init__(self, name, command, environment=None):
        self.name, self.times, self.resident = name, [], 0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, **(environment or {})))
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{' '.join(command)} does not start")

    def ask(self):
        print("run", file=self.process.stdin, flush=True)
        times, resident = self.process.stdout.readline().split("rss")
        self.times += [int(t) / 1e6 for t in times.split()]
        self.resident = int(resident)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    def median(self):
        return statistics.median(self.times)


def has_onnxruntime():
    probe = "require('onnxruntime-node/dist/binding.js')"
    try:
        return subprocess.run(["node", "-e", probe], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def model(options, network, planes, activations):
    """A model file of @network, made once."""
    path = os.path.join(options.cache, f"{network}-w{planes}a{activations}.gguf")
    if not os.path.exists(path):
        subprocess.run([os.path.join(options.programs, "daemon/tools/bitshed-model"), "import",
                        os.path.join(options.cache, network + ".onnx"), "-o", path, "--method", "bcq",
                        "--planes", str(planes), "--activation-bits", str(activations), "--no-correction",
                        "--clip", "min-max"], check=True, stdout=subprocess.DEVNULL)
    return path


def start(options, network, threads):
    """Everyone who can take part. The first one is what the others are compared with."""
    onnx = os.path.join(options.cache, network)
    bitshed = os.path.join(options.programs, "tests/bench/peers/peer_bitshed")
    onednn = os.path.join(options.programs, "tests/bench/peers/peer_onednn")
    peers = [Peer("bitshed W4A8", [bitshed, model(options, network, 4, 8), "4", str(threads)])]
    if options.onnxruntime:
        for name, suffix in (("ONNX Runtime int8", ".qdq.onnx"), ("ONNX Runtime fp32", ".onnx")):
            peers.append(Peer(name, ["node", os.path.join(HERE, "onnxruntime.js"), onnx + suffix, str(threads)]))
    if os.path.exists(onednn) and network in ("resnet18", "resnet50"):
        peers.append(Peer("oneDNN u8s8, convolutions", [onednn, onnx + ".convolutions"],
                          {"OMP_NUM_THREADS": str(threads)}))
        for planes, activations in ((4, 8), (2, 2), (1, 2), (1, 1)):
            peers.append(Peer(f"bitshed W{planes}A{activations}, convolutions",
                              [bitshed, model(options, network, planes, activations), str(planes), str(threads),
                               "convolutions"]))
    return peers


def compare(options, network, threads):
    peers = start(options, network, threads)
    for _ in range(options.rounds):
        for p in peers:
            p.ask()
    rows = []
    for p in peers:
        base = [q for q in peers if q.name.endswith("convolutions") == p.name.endswith("convolutions")
                and not q.name.startswith("bitshed")]
        ratio = p.median() / base[0].median() if base else None
        rows.append({"network": network, "threads": threads, "who": p.name, "median_ms": p.median(),
                     "least_ms": min(p.times), "runs": len(p.times), "resident_bytes": p.resident,
                     "ratio": ratio, "ratio_to": base[0].name if base else None})
        print(f"{network:12} {threads:2}  {p.name:28} {p.median():9.3f} {min(p.times):9.3f} "
              f"{p.resident / 1e6:8.1f} " + (f"{ratio:8.2f}" if ratio else "        "))
        p.stop()
    sys.stdout.flush()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/bitshed-bench"))
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    if options.processor_time:
        os.environ["PEER_CLOCK"] = "processor"
    options.programs = os.path.abspath(options.programs)
    options.onnxruntime = has_onnxruntime()
    if not options.onnxruntime:
        print("ONNX Runtime is left out: node does not find onnxruntime-node")
    if not os.path.exists(os.path.join(options.programs, "tests/bench/peers/peer_onednn")):
        print("oneDNN is left out: libdnnl-dev was not there when bitshed was built")
    os.makedirs(options.cache, exist_ok=True)
    rows = []
    print(f"{'network':12} {'thr':>3}  {'who':28} {'median ms':>9} {'least ms':>9} {'MB':>8} {'ratio':>8}")
    for network in options.networks.split(","):
        if not os.path.exists(os.path.join(options.cache, network + ".convolutions")):
            subprocess.run([sys.executable, os.path.join(HERE, "networks.py"), options.cache, network], check=True)
        for threads in options.threads.split(","):
            rows += compare(options, network, int(threads))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
