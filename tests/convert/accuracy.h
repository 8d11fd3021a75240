/* SPDX-License-Identifier: Apache-2.0 */
/* The classification networks of the test data: where they are, what they see, how often they are right. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * struct accuracy_row - one network and its data
 * @size: pictures are scaled to it first, 0: not. Means and deviations are of R, G, B, whatever the order
 * @top1: per cent on all items, as other software measured it in fp32
 * @subset, @subset_right: of the first @subset items so many are right, measured on a full run of ours
 */
struct accuracy_row {
	const char *net, *data, *labels;
	float scale, mean[3], std[3];
	uint32_t bgr, size, offset;
	float top1;
	uint32_t subset, subset_right;
};

#define CIFAR "cifar10_test_5000.bin", NULL
#define MNIST "mnist-test-5000-images-idx3-ubyte", "mnist-test-5000-labels-idx1-ubyte"
#define KWS "kws_500.npy", "kws_500_labels.npy"
#define IMAGENET "imagenet_val_325.npy", "imagenet_val_325_labels.npy"
#define BYTE 0.00392156862745098f
#define HALF 127.5f

/* clang-format off */
static const struct accuracy_row accuracy_rows[] = {
	{"cifar10/akamaster_resnet20.onnx",           CIFAR, BYTE, {.485f, .456f, .406f}, {.229f, .224f, .225f}, 0, 0, 0, 91.46f, 100, 93},
	{"cifar10/akamaster_resnet20_static.onnx",    CIFAR, BYTE, {.485f, .456f, .406f}, {.229f, .224f, .225f}, 0, 0, 0, 91.46f, 100, 93},
	{"cifar10/akamaster_resnet20_bn_static.onnx", CIFAR, BYTE, {.485f, .456f, .406f}, {.229f, .224f, .225f}, 0, 0, 0, 91.46f, 100, 93},
	{"cifar10/akamaster_resnet32_static.onnx",    CIFAR, BYTE, {.485f, .456f, .406f}, {.229f, .224f, .225f}, 0, 0, 0, 92.22f, 100, 91},
	{"cifar10/squeezenet_cifar10.onnx",           CIFAR, BYTE, {0, 0, 0}, {1, 1, 1}, 0, 0, 0, 77.64f, 100, 78},
	{"cifar10/vnncomp_resnet_2b.onnx",            CIFAR, BYTE, {.4914f, .4822f, .4465f}, {.2471f, .2435f, .2616f}, 0, 0, 0, 69.48f, 100, 71},
	{"cifar10/vnncomp_oval_cifar_deep_kw.onnx",   CIFAR, BYTE, {.485f, .456f, .406f}, {.225f, .225f, .225f}, 0, 0, 0, 55.72f, 100, 51},
	{"cifar10/vnncomp_marabou_cifar10_medium.onnx", CIFAR, BYTE, {0, 0, 0}, {1, 1, 1}, 0, 0, 0, 70.88f, 100, 74},
	{"mlperf_tiny/ic_resnet8.onnx",               CIFAR, 1, {0, 0, 0}, {1, 1, 1}, 0, 0, 0, 86.94f, 100, 86},
	{"mnist/vnncomp_mnist-net_256x2.onnx",        MNIST, BYTE, {0, 0, 0}, {1, 1, 1}, 0, 0, 0, 97.36f, 500, 491},
	{"mnist/vnncomp_mnist_relu_9_200.onnx",       MNIST, BYTE, {0, 0, 0}, {1, 1, 1}, 0, 0, 0, 93.40f, 500, 478},
	{"mlperf_tiny/kws_dscnn.onnx",                KWS, 1, {0, 0, 0}, {1, 1, 1}, 0, 0, 0, 90.60f, 200, 183},
	{"imagenet/ncnn_squeezenet_v1.1_fp16w.onnx",  IMAGENET, 1, {123, 117, 104}, {1, 1, 1}, 1, 227, 0, 72.00f, 10, 5},
	{"imagenet/coral_mobilenet_v1_0.25_128_quant.deq.onnx", IMAGENET, 1, {HALF, HALF, HALF}, {HALF, HALF, HALF}, 0, 128, 1, 54.46f, 20, 9},
	{"imagenet/coral_mobilenet_v1_0.5_160_quant.deq.onnx",  IMAGENET, 1, {HALF, HALF, HALF}, {HALF, HALF, HALF}, 0, 160, 1, 70.15f, 20, 12},
	{"imagenet/coral_mobilenet_v2_1.0_224_quant.deq.onnx",  IMAGENET, 1, {HALF, HALF, HALF}, {HALF, HALF, HALF}, 0, 0, 1, 79.69f, 10, 8},
};
/* clang-format on */
