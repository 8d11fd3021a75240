#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes LeNet-5 as ALQ compresses it, with zeros for weights (needs python3-numpy and python3-onnx).

    lenet.py FILE

For `bitshed-model train FILE --scratch --method fp32`, which draws the weights. 430,500 of them: convolutions of
20 and 50 channels, 5x5, each with a maximum of 2x2 behind it, and matrices of 500 and 10 rows.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    weights, nodes = [], []

    def node(op, x, y, *shapes, **attributes):
        for i, shape in enumerate(shapes):
            weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"{y}.{i}"))
        names = [w.name for w in weights[len(weights) - len(shapes):]]
        nodes.append(helper.make_node(op, [x, *names], [y], **attributes))

    node("Conv", "picture", "conv1", (20, 1, 5, 5), (20,), kernel_shape=[5, 5])
    node("MaxPool", "conv1", "pool1", kernel_shape=[2, 2], strides=[2, 2])
    node("Conv", "pool1", "conv2", (50, 20, 5, 5), (50,), kernel_shape=[5, 5])
    node("MaxPool", "conv2", "pool2", kernel_shape=[2, 2], strides=[2, 2])
    node("Flatten", "pool2", "flat")
    node("Gemm", "flat", "fc1", (500, 800), (500,), transB=1)
    node("Relu", "fc1", "relu")
    node("Gemm", "relu", "classes", (10, 500), (10,), transB=1)
    graph = helper.make_graph(nodes, "lenet5",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [1, 10])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.save_model(model, sys.argv[1])


main()
