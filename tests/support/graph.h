/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks of random weights, built in memory without a file: one function per op, which returns
 * the index of the value that the op writes. Scales, zero points, clamps and tables are drawn too.
 */
#pragma once

#include "engine/model.h"

#define GRAPH_MAX 256

/**
 * struct graph - @model is ready to run at any moment; its reference belongs to the graph
 * @planes: weights get this many; 0: each matrix 1 to 8 of its own
 * @plain: sum coding, one group per row, no offset: what most files have
 */
struct graph {
	struct network network;
	struct model model;
	struct value values[GRAPH_MAX];
	struct op ops[GRAPH_MAX];
	struct matrix matrices[GRAPH_MAX];
	struct layer layers[GRAPH_MAX];
	void *memory[GRAPH_MAX * 16];
	uint32_t n_memory;
	uint64_t state;
	uint32_t planes;
	bool plain;
};

void graph_init(struct graph *g, uint64_t seed);
void graph_done(struct graph *g);

uint64_t graph_random(struct graph *g);

/** graph_below() - Return: 0 .. n - 1 */
uint32_t graph_below(struct graph *g, uint32_t n);

/** struct graph_window - zeros mean: 1x1, stride 1, dilation 1, no padding, one group, 8 bits,
 * output in u8 */
struct graph_window {
	uint32_t height, width, stride_h, stride_w, dilation_h, dilation_w;
	uint32_t top, left, bottom, right;
	uint32_t groups, activation_bits;
	bool f32, depthwise, average, count_padding;
};

/** graph_fits() - does the window have a place in the padded input? */
bool graph_fits(const struct graph *g, uint32_t in, const struct graph_window *w);

uint32_t graph_input(struct graph *g, uint32_t height, uint32_t width, uint32_t channels);
uint32_t graph_convolution(struct graph *g, uint32_t in, uint32_t channels, struct graph_window w);
uint32_t graph_pool(struct graph *g, uint32_t in, struct graph_window w);
uint32_t graph_add(struct graph *g, uint32_t a, uint32_t b);
uint32_t graph_concat(struct graph *g, const uint32_t *in, uint32_t n);
uint32_t graph_pad(struct graph *g, uint32_t in);
uint32_t graph_slice(struct graph *g, uint32_t in);
uint32_t graph_reshape(struct graph *g, uint32_t in, struct shape shape);
uint32_t graph_table(struct graph *g, uint32_t in, uint32_t bits);
uint32_t graph_to_float(struct graph *g, uint32_t in);
uint32_t graph_softmax(struct graph *g, uint32_t in);

/** graph_resnet18() - 224x224x3, 11 million weights, 1000 classes: the shape of the network of that
 * name */
void graph_resnet18(struct graph *g, uint32_t planes);

/** graph_resnet20() - 32x32x3, 41 million products, 10 classes */
void graph_resnet20(struct graph *g, uint32_t planes);
