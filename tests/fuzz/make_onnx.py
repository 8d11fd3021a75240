#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus/onnx/small.onnx: a few operators of each family, in protobuf's wire format by hand."""
import os
import struct


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def data(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(name, dims, values, integers=False):
    raw = struct.pack("<%d%s" % (len(values), "q" if integers else "f"), *values)
    return b"".join(number(1, d) for d in dims) + number(2, 7 if integers else 1) + data(8, name) + data(9, raw)


def attribute(name, value):
    if isinstance(value, list):
        return data(1, name) + b"".join(number(8, v) for v in value) + number(20, 7)
    return data(1, name) + number(3, value) + number(20, 2)


def node(op, inputs, output, **attributes):
    return (b"".join(data(1, i) for i in inputs) + data(2, output) + data(3, "node " + output) + data(4, op)
            + b"".join(data(5, attribute(k, v)) for k, v in attributes.items()))


def info(name, dims):
    shape = b"".join(data(1, number(1, d) if d else data(2, "N")) for d in dims)
    return data(1, name) + data(2, data(1, number(1, 1) + data(2, shape)))


def some(n):
    return [(i * 37 % 17 - 8) / 8 for i in range(n)]


initializers = [
    tensor("w", [4, 3, 3, 3], some(108)), tensor("b", [4], some(4)),
    tensor("gamma", [4], some(4)), tensor("beta", [4], some(4)), tensor("mean", [4], some(4)),
    tensor("variance", [4], [1, 2, 3, 4]), tensor("pads", [8], [0, 2, 0, 0, 0, 2, 0, 0], True),
    tensor("starts", [2], [0, 0], True), tensor("ends", [2], [8, 8], True), tensor("axes", [2], [2, 3], True),
    tensor("steps", [2], [2, 2], True), tensor("minus", [1], [-1], True), tensor("fc", [3, 16], some(48)),
    tensor("zero", [], [0], True),
]
nodes = [
    node("Transpose", ["image"], "chw", perm=[0, 3, 1, 2]),
    node("Conv", ["chw", "w", "b"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    node("BatchNormalization", ["conv", "gamma", "beta", "mean", "variance"], "bn"),
    node("Relu", ["bn"], "relu"),
    node("Slice", ["relu", "starts", "ends", "axes", "steps"], "slice"),
    node("Pad", ["slice", "pads"], "pad"),
    node("Concat", ["slice", "slice"], "twice", axis=1),
    node("Add", ["pad", "twice"], "sum"),
    node("MaxPool", ["sum"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    node("AveragePool", ["pool"], "mean pool", kernel_shape=[2, 2], strides=[2, 2]),
    node("GlobalAveragePool", ["sum"], "global"),
    node("Concat", ["mean pool", "global"], "features", axis=1),
    node("Shape", ["features"], "shape"),
    node("Gather", ["shape", "zero"], "batch", axis=0),
    node("Unsqueeze", ["batch"], "batch list", axes=[0]),
    node("Concat", ["batch list", "minus"], "flat shape", axis=0),
    node("Reshape", ["features", "flat shape"], "flat"),
    node("Gemm", ["flat", "fc"], "fully", transB=1),
    node("Softmax", ["fully"], "output", axis=1),
]
graph = (b"".join(data(1, n) for n in nodes) + data(2, "small") + b"".join(data(5, t) for t in initializers)
         + data(11, info("image", [0, 8, 8, 3])) + data(12, info("output", [0, 3])))
model = number(1, 7) + data(7, graph) + data(8, data(1, "") + number(2, 12))
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus/onnx/small.onnx"), "wb") as f:
    f.write(model)
