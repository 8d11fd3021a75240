#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Trains LeNet-5 on 10,000 of MNIST's pictures, then takes it below half a bit with ALQ.
#
#   tests/bench/train_lenet.sh BITSHED_MODEL DATA [OUTPUT]
#
# DATA is the folder of tests/support/data.sh. Seven minutes of a core. The small
# first and last matrix keep 8 bits: 0.38 bits of the others are 0.48 of all weights.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,9p' "$0" | cut -c3-; exit 2; }
model=$1 data=$2 out=${3:-.}

/usr/bin/python3 "$(dirname "$0")/lenet.py" "$out/lenet.onnx"
common=(--scale 0.00392157 --crop 2 --data "$data/mnist-train-10000-images-idx3-ubyte"
	--data-labels "$data/mnist-train-10000-labels-idx1-ubyte" --evaluate "$data/mnist-test-5000-images-idx3-ubyte"
	--evaluate-labels "$data/mnist-test-5000-labels-idx1-ubyte")
"$model" train "$out/lenet.onnx" -o "$out/lenet-fp32.onnx" "${common[@]}" --scratch --method fp32 --epochs 50 \
	--rate 0.05 --decay 0.0005 --smoothing 0.1
"$model" train "$out/lenet-fp32.onnx" -o "$out/lenet-alq.gguf" "${common[@]}" --method alq --average-bits 0.38 \
	--epochs 60 --cutmix 0.5
"$model" inspect "$out/lenet-alq.gguf"
