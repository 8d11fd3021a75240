/* SPDX-License-Identifier: Apache-2.0 */
/* Small nets with drawn weights, one convolution after the other. */
#pragma once

#include "convert/net.h"
#include "convert/samples.h"

/** drawn_convolution() - of stride 1, with a border so that its output is as large as @in. Return: its output */
static inline uint32_t drawn_convolution(struct net *n, struct source *source, uint32_t in, uint32_t channels,
	uint32_t kernel)
{
	struct net_shape shape = n->values[in].shape;
	uint32_t columns = shape.dims[0] * kernel * kernel, out;
	int at = net_add_node(n, NET_CONVOLUTION, "convolution");
	struct net_node *c = &n->nodes[at];

	shape.dims[0] = channels;
	out = (uint32_t) net_add_value(n, "value", &shape);
	c->inputs[0] = in;
	c->n_inputs = 1;
	c->output = out;
	c->kernel[0] = c->kernel[1] = kernel;
	for (int i = 0; i < 4; i++)
		c->pads[i] = kernel / 2;
	c->outputs = channels;
	c->weight = malloc((size_t) channels * columns * sizeof(float));
	c->bias = malloc(channels * sizeof(float));
	sample_fill(source, c->weight, channels * columns, 0);
	sample_fill(source, c->bias, channels, 0);
	return out;
}
