#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the demo network on drawn shapes and writes it as ONNX (needs python3-numpy and python3-onnx;
libopenblas0-pthread makes it several times faster).

    train.py OUT.onnx [--epochs 24] [--pictures 6000] [--seed 1]

A small residual network: 3x3 convolutions with batch normalisation, one identity shortcut, global average
pooling, ten classes; about 33,000 weights. The committed shapes.onnx is this script's output with its
defaults; pictures for training are drawn with seed 1, those for testing with seed 2.
"""

import argparse
import io
import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import draw

MEAN, SCALE = 0.5, 1 / 255
# (name, inputs, outputs, stride) of the 3x3 convolutions; "same" adds its input to its output.
LAYERS = [("stem", 3, 16, 1), ("down1", 16, 32, 2), ("same", 32, 32, 1), ("down2", 32, 64, 2)]
CLASSES = len(draw.LABELS)
EPSILON = 1e-5


def pictures(count, seed):
    rng = random.Random(seed)
    labels = np.arange(count) % CLASSES
    pixels = np.array([[list(plane) for plane in draw.picture(label, rng)] for label in labels], np.float32)
    x = pixels.reshape(count, 3, draw.SIDE, draw.SIDE) * SCALE - MEAN
    return x, labels


def patches(x, stride):
    """[N, C, H, W] to [N * H' * W', C * 9], padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    n, c, h, w = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9), (n, c, h, w)


def scatter(columns, shape, stride):
    """The transpose of patches()."""
    n, c, h, w = shape
    out = np.zeros((n, c, h * stride + 2, w * stride + 2), np.float32)
    columns = columns.reshape(n, h, w, c, 3, 3).transpose(0, 3, 4, 5, 1, 2)
    for i in range(3):
        for j in range(3):
            out[:, :, i : i + h * stride : stride, j : j + w * stride : stride] += columns[:, :, i, j]
    return out[:, :, 1:-1, 1:-1]


def initial(rng):
    weights = {}
    for name, inputs, outputs, _ in LAYERS:
        weights[name] = rng.normal(0, (2 / (inputs * 9)) ** 0.5, (outputs, inputs * 9)).astype(np.float32)
        weights[name + "_gamma"] = np.ones(outputs, np.float32)
        weights[name + "_beta"] = np.zeros(outputs, np.float32)
    weights["head"] = rng.normal(0, 0.1, (CLASSES, 64)).astype(np.float32)
    weights["head_bias"] = np.zeros(CLASSES, np.float32)
    return weights


def normalise(flat, name, weights, running, training):
    """Batch normalisation of [pixels, channels]; returns also the normalised values and 1 / deviation."""
    if training:
        mean, variance = flat.mean(axis=0), flat.var(axis=0)
        old_mean, old_variance = running.get(name, (mean, variance))
        running[name] = (0.95 * old_mean + 0.05 * mean, 0.95 * old_variance + 0.05 * variance)
    else:
        mean, variance = running[name]
    inverse = 1 / np.sqrt(variance + EPSILON)
    unit = (flat - mean) * inverse
    return unit * weights[name + "_gamma"] + weights[name + "_beta"], unit, inverse


def forward(weights, running, x, training):
    """Logits, and what backward() needs."""
    kept = []
    for name, _, outputs, stride in LAYERS:
        columns, shape = patches(x, stride)
        n, _, h, w = shape
        y, unit, inverse = normalise(columns @ weights[name].T, name, weights, running, training)
        y = y.reshape(n, h, w, outputs).transpose(0, 3, 1, 2)
        if name == "same":
            y = y + x
        kept.append((columns, shape, y > 0, unit, inverse))
        x = np.maximum(y, 0)
    pooled = x.mean(axis=(2, 3))
    return pooled @ weights["head"].T + weights["head_bias"], (kept, pooled, x.shape)


def backward(weights, saved, slope):
    kept, pooled, shape = saved
    gradients = {"head": slope.T @ pooled, "head_bias": slope.sum(axis=0)}
    area = shape[2] * shape[3]
    g = np.broadcast_to((slope @ weights["head"] / area)[:, :, None, None], shape)
    for (name, _, outputs, stride), (columns, patch_shape, active, unit, inverse) in zip(LAYERS[::-1], kept[::-1]):
        g = g * active
        flat = g.transpose(0, 2, 3, 1).reshape(-1, outputs)
        gradients[name + "_gamma"] = (flat * unit).sum(axis=0)
        gradients[name + "_beta"] = flat.sum(axis=0)
        flat = flat * weights[name + "_gamma"]
        flat = (flat - flat.mean(axis=0) - unit * (flat * unit).mean(axis=0)) * inverse
        gradients[name] = flat.T @ columns
        below = scatter(flat @ weights[name], patch_shape, stride) if name != "stem" else None
        g = below + g if name == "same" else below
    return gradients


def adam(weights, gradients, state, rate):
    state["t"] = state.get("t", 0) + 1
    for name, g in gradients.items():
        m, v = state.setdefault(name, (np.zeros_like(g), np.zeros_like(g)))
        m[...] = 0.9 * m + 0.1 * g
        v[...] = 0.999 * v + 0.001 * g * g
        step = (m / (1 - 0.9 ** state["t"])) / (np.sqrt(v / (1 - 0.999 ** state["t"])) + 1e-8)
        weights[name] -= rate * (step + 1e-4 * weights[name])


def accuracy(weights, running, x, labels):
    right = 0
    for i in range(0, len(labels), 200):
        right += (forward(weights, running, x[i : i + 200], False)[0].argmax(axis=1) == labels[i : i + 200]).sum()
    return 100 * right / len(labels)


def train(weights, running, x, labels, epochs, rng):
    state, batch = {}, 64
    steps = epochs * (len(labels) // batch)
    done = 0
    for epoch in range(epochs):
        order = rng.permutation(len(labels))
        total = 0.0
        for i in range(0, len(labels) - batch + 1, batch):
            pick = order[i : i + batch]
            logits, saved = forward(weights, running, x[pick], True)
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            total -= np.log(p[np.arange(batch), labels[pick]] + 1e-9).sum()
            p[np.arange(batch), labels[pick]] -= 1
            rate = 4e-3 * 0.5 * (1 + np.cos(np.pi * done / steps))
            adam(weights, backward(weights, saved, p / batch), state, rate)
            done += 1
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(labels):.3f}", flush=True)


def to_onnx(weights, running):
    nodes, constants, x = [], [], "image"
    for name, inputs, outputs, stride in LAYERS:
        constants.append(numpy_helper.from_array(weights[name].reshape(outputs, inputs, 3, 3), name + ".weight"))
        statistics = dict(zip(("mean", "variance"), running[name]), gamma=weights[name + "_gamma"],
                          beta=weights[name + "_beta"])
        order = [f"{name}.{key}" for key in ("gamma", "beta", "mean", "variance")]
        for key in order:
            constants.append(numpy_helper.from_array(statistics[key.split(".")[1]], key))
        nodes.append(helper.make_node("Conv", [x, name + ".weight"], [name + ".x"], name=name,
                                      kernel_shape=[3, 3], strides=[stride, stride], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("BatchNormalization", [name + ".x"] + order, [name + ".y"], name=name + ".bn",
                                      epsilon=EPSILON))
        y = name + ".y"
        if name == "same":
            nodes.append(helper.make_node("Add", [y, x], ["sum"], name="sum"))
            y = "sum"
        nodes.append(helper.make_node("Relu", [y], [name + ".out"], name=name + ".relu"))
        x = name + ".out"
    constants.append(numpy_helper.from_array(weights["head"], "head.weight"))
    constants.append(numpy_helper.from_array(weights["head_bias"], "head.bias"))
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["logits"], name="head", transB=1))
    graph = helper.make_graph(
        nodes, "shapes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, draw.SIDE, draw.SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="bitshed shapes")
    model.ir_version = 7
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    x, labels = pictures(options.pictures, 1)
    test_x, test_labels = pictures(1000, 2)
    weights = initial(rng)
    running = {}
    train(weights, running, x, labels, options.epochs, rng)
    print(f"test accuracy {accuracy(weights, running, test_x, test_labels):.1f} % of 1000 pictures drawn with seed 2")
    buffer = io.BytesIO()
    onnx.save_model(to_onnx(weights, running), buffer)
    with open(options.out, "wb") as out:
        out.write(buffer.getvalue())


if __name__ == "__main__":
    main()
