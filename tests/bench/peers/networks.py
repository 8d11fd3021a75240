#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes networks of random weights for the comparison with others (needs python3-numpy and python3-onnx).

    networks.py FOLDER [NAME...]

Of each NAME: NAME.onnx in fp32, NAME.qdq.onnx with int8 weights per channel and u8 activations in
QuantizeLinear and DequantizeLinear pairs, and NAME.convolutions, a line of text for each convolution.
Weights are drawn so that activations keep a spread of about one; what is measured is time, not accuracy.
"""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Network:
    """Both graphs and the list of convolutions, built together; a value is its name, channels and size."""

    def __init__(self, name, channels, size):
        self.name, self.rng = name, np.random.default_rng(1)
        self.nodes, self.initial = [], []  # fp32
        self.q_nodes, self.q_initial = [], []
        self.convolutions, self.count = [], 0
        self.input = (channels, size)
        self.current = self.quantized("input", channels, size, 4.0)

    def fresh(self, what):
        self.count += 1
        return f"{what}{self.count}"

    def constant(self, array, both=False, quantized=False):
        name = self.fresh("c")
        tensor = numpy_helper.from_array(np.asarray(array), name)
        if both or not quantized:
            self.initial.append(tensor)
        if both or quantized:
            self.q_initial.append(tensor)
        return name

    def quantized(self, name, channels, size, reach, positive=False):
        """A value as others read it: in the second graph behind a pair."""
        scale = self.constant(np.float32(reach / 255 if positive else 2 * reach / 255), quantized=True)
        zero = self.constant(np.uint8(0 if positive else 128), quantized=True)
        self.q_nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [name + "_q"]))
        self.q_nodes.append(helper.make_node("DequantizeLinear", [name + "_q", scale, zero], [name + "_d"]))
        return name, channels, size

    def both(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        self.q_nodes.append(helper.make_node(op, [i + "_d" for i in inputs], [output], **attributes))

    def convolution(self, x, channels, kernel, stride=1, groups=1, activation="relu"):
        name, inputs, size = x
        pad, out, y = kernel // 2, (size + 2 * (kernel // 2) - kernel) // stride + 1, self.fresh("conv")
        shape = (channels, inputs // groups, kernel, kernel)
        w = self.rng.normal(0, (1.5 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        b = self.rng.normal(0, 0.1, channels).astype(np.float32)
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "group": groups}
        self.nodes.append(helper.make_node("Conv", [name, self.constant(w), self.constant(b)], [y], **window))
        scale = np.abs(w).max(axis=(1, 2, 3)).astype(np.float32) / 127
        q = np.round(w / scale[:, None, None, None]).astype(np.int8)
        names = [self.constant(v, quantized=True) for v in (q, scale, np.zeros(channels, np.int8))]
        self.q_nodes.append(helper.make_node("DequantizeLinear", names, [y + "_w"], axis=0))
        step = [n for n in self.q_nodes if n.output[0] == name + "_d"][0].input[1]
        step = numpy_helper.to_array([t for t in self.q_initial if t.name == step][0])
        bias = [self.constant(v, quantized=True) for v in (np.round(b / (scale * step)).astype(np.int32),
                (scale * step).astype(np.float32), np.zeros(channels, np.int32))]
        self.q_nodes.append(helper.make_node("DequantizeLinear", bias, [y + "_b"], axis=0))
        self.q_nodes.append(helper.make_node("Conv", [name + "_d", y + "_w", y + "_b"], [y], **window))
        self.convolutions.append((inputs, size, channels, kernel, stride, pad, groups, activation is not None))
        return self.activate(y, channels, out, activation)


    def activate(self, name, channels, size, activation):
        if activation is None:
            return self.quantized(name, channels, size, 5.0)
        y = self.fresh(activation)
        if activation == "relu6":
            low, high = (self.constant(np.float32(v), both=True) for v in (0, 6))
            op, inputs = "Clip", [name, low, high]
        else:
            op, inputs = "Relu", [name]
        self.nodes.append(helper.make_node(op, inputs, [y]))
        self.q_nodes.append(helper.make_node(op, inputs, [y]))
        return self.quantized(y, channels, size, 6.0, positive=True)

    def add(self, a, b, activation="relu"):
        y = self.fresh("add")
        self.both("Add", [a[0], b[0]], y)
        return self.activate(y, a[1], a[2], activation)

    def concat(self, parts):
        y = self.fresh("concat")
        self.both("Concat", [p[0] for p in parts], y, axis=1)
        return self.quantized(y, sum(p[1] for p in parts), parts[0][2], 6.0, positive=True)

    def pool(self, x, kernel, stride, pad, ceil=0):
        y, extra = self.fresh("pool"), stride - 1 if ceil else 0
        self.both("MaxPool", [x[0]], y, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=ceil)
        return self.quantized(y, x[1], (x[2] + 2 * pad - kernel + extra) // stride + 1, 6.0, positive=True)

    def classify(self, x, classes):
        """Global average, then a matrix, whose outcome is the network's."""
        self.both("GlobalAveragePool", [x[0]], "mean")
        mean = self.quantized("mean", x[1], 1, 6.0, positive=True)
        return self.convolution(mean, classes, 1, activation=None)

    def save(self, folder):
        channels, size = self.input
        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, channels, size, size])
        last = self.nodes[-1].output[0]
        for suffix, nodes, initial, name in (("", self.nodes, self.initial, last),
                (".qdq", self.q_nodes, self.q_initial, last + "_d")):
            result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            graph = helper.make_graph(nodes, self.name, [given], [result], initial)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
            model.ir_version = 7
            onnx.save_model(model, os.path.join(folder, self.name + suffix + ".onnx"))
        with open(os.path.join(folder, self.name + ".convolutions"), "w", encoding="ascii") as f:
            for c in self.convolutions:
                print(*(int(v) for v in c), file=f)


def basic_block(n, x, channels, stride):
    y = n.convolution(n.convolution(x, channels, 3, stride), channels, 3, activation=None)
    if stride > 1 or x[1] != channels:
        x = n.convolution(x, channels, 1, stride, activation=None)
    return n.add(y, x)


def resnet18():
    n = Network("resnet18", 3, 224)
    x = n.pool(n.convolution(n.current, 64, 7, 2), 3, 2, 1)
    for i in range(8):
        x = basic_block(n, x, 64 << i // 2, 2 if i % 2 == 0 and i > 0 else 1)
    n.classify(x, 1000)
    return n


def resnet20():
    n = Network("resnet20", 3, 32)
    x = n.convolution(n.current, 16, 3)
    for i in range(9):
        x = basic_block(n, x, 16 << i // 3, 2 if i % 3 == 0 and i > 0 else 1)
    n.classify(x, 10)
    return n


def resnet50():
    n = Network("resnet50", 3, 224)
    x = n.pool(n.convolution(n.current, 64, 7, 2), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for i in range(blocks):
            inner, stride = 64 << stage, 2 if i == 0 and stage > 0 else 1
            y = n.convolution(n.convolution(x, inner, 1), inner, 3, stride)
            y = n.convolution(y, inner * 4, 1, activation=None)
            if i == 0:
                x = n.convolution(x, inner * 4, 1, stride, activation=None)
            x = n.add(y, x)
    n.classify(x, 1000)
    return n


def googlenet():
    n = Network("googlenet", 3, 224)
    x = n.pool(n.convolution(n.current, 64, 7, 2), 3, 2, 1)
    x = n.pool(n.convolution(n.convolution(x, 64, 1), 192, 3), 3, 2, 1)
    for row in ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None, (192, 96, 208, 16, 48, 64),
                (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
                (256, 160, 320, 32, 128, 128), None, (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)):
        if row is None:
            x = n.pool(x, 3, 2, 1)
            continue
        parts = [n.convolution(x, row[0], 1), n.convolution(n.convolution(x, row[1], 1), row[2], 3),
                 n.convolution(n.convolution(x, row[3], 1), row[4], 5), n.convolution(n.pool(x, 3, 1, 1), row[5], 1)]
        x = n.concat(parts)
    n.classify(x, 1000)
    return n


def squeezenet():
    n = Network("squeezenet", 3, 224)
    x = n.pool(n.convolution(n.current, 64, 3, 2), 3, 2, 0)
    for squeeze, expand, pool in ((16, 64, 0), (16, 64, 1), (32, 128, 0), (32, 128, 1), (48, 192, 0), (48, 192, 0),
                                  (64, 256, 0), (64, 256, 0)):
        s = n.convolution(x, squeeze, 1)
        x = n.concat([n.convolution(s, expand, 1), n.convolution(s, expand, 3)])
        x = n.pool(x, 3, 2, 0) if pool else x
    n.classify(n.convolution(x, 512, 1), 1000)
    return n


def mobilenetv2():
    n = Network("mobilenetv2", 3, 224)
    x = n.convolution(n.current, 32, 3, 2, activation="relu6")
    for expand, channels, repeat, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                             (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(repeat):
            s, inner = stride if i == 0 else 1, x[1] * expand
            y = n.convolution(x, inner, 1, activation="relu6") if expand > 1 else x
            y = n.convolution(y, inner, 3, s, groups=inner, activation="relu6")
            y = n.convolution(y, channels, 1, activation=None)
            x = n.add(y, x, activation=None) if s == 1 and x[1] == channels else y
    n.classify(n.convolution(x, 1280, 1, activation="relu6"), 1000)
    return n


ALL = {f.__name__: f for f in (resnet18, resnet20, resnet50, googlenet, squeezenet, mobilenetv2)}

if __name__ == "__main__":
    for wanted in sys.argv[2:] or ALL:
        ALL[wanted]().save(sys.argv[1])
