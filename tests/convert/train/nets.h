/* SPDX-License-Identifier: Apache-2.0 */
/* Small nets made by hand, and data that they can learn. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "convert/net.h"
#include "convert/train/loader.h"
#include "support/test.h"

static inline float drawn(uint64_t key, uint64_t i)
{
	return (float) ((double) (draw_u64(key, i) >> 11) / 4503599627370496.0 - 1);
}

static inline float *drawn_floats(uint64_t key, size_t n, float scale)
{
	float *ret = malloc(n * sizeof *ret);

	for (size_t i = 0; i < n; i++)
		ret[i] = scale * drawn(key, i);
	return ret;
}

static inline uint32_t net_value_of(struct net *n, uint32_t dims, uint32_t c, uint32_t h, uint32_t w)
{
	struct net_shape s = {.n = dims, .dims = {c, h, w}};

	return (uint32_t) net_add_value(n, "v", &s);
}

/* A node with one input, whose output is the next value. */
static inline struct net_node *net_step(struct net *n, enum net_kind kind, uint32_t from, uint32_t to)
{
	int i = net_add_node(n, kind, net_kind_name(kind));
	struct net_node *node = &n->nodes[i];

	node->inputs[node->n_inputs++] = from;
	node->output = to;
	return node;
}

static inline struct net_node *net_convolution(struct net *n, uint32_t from, uint32_t to, uint32_t kernel,
	uint32_t stride, uint32_t groups)
{
	struct net_node *c = net_step(n, NET_CONVOLUTION, from, to);
	uint32_t inputs = n->values[from].shape.dims[0], outputs = n->values[to].shape.dims[0];
	size_t row = (size_t) inputs / groups * kernel * kernel;

	c->kernel[0] = c->kernel[1] = kernel;
	c->stride[0] = c->stride[1] = stride;
	c->pads[0] = c->pads[1] = c->pads[2] = c->pads[3] = kernel / 2;
	c->groups = groups;
	c->outputs = outputs;
	c->weight = drawn_floats(from + 1, outputs * row, sqrtf(4 / (float) row));
	c->bias = drawn_floats(from + 2, outputs, 0.1f);
	return c;
}

static inline struct net_node *net_linear(struct net *n, uint32_t from, uint32_t to)
{
	struct net_node *c = net_step(n, NET_LINEAR, from, to);
	size_t row = net_elements(&n->values[from].shape);

	c->outputs = n->values[to].shape.dims[0];
	c->weight = drawn_floats(from + 3, c->outputs * row, sqrtf(4 / (float) row));
	c->bias = drawn_floats(from + 4, c->outputs, 0.1f);
	return c;
}

static inline void net_relu(struct net *n, uint32_t from, uint32_t to)
{
	net_step(n, NET_CLIP, from, to)->low = 0;
}

/* Convolutions, a shortcut, mean of the picture, four classes of 8x8x3 pictures. */
static inline struct net *net_small(void)
{
	struct net *n = net_new("small");
	uint32_t v[11], in = net_value_of(n, 3, 3, 8, 8);

	(void) net_add_node(n, NET_INPUT, "input");
	n->nodes[0].output = n->input = in;
	for (int i = 0; i < 7; i++)
		v[i] = net_value_of(n, 3, 16, 8, 8);
	v[7] = net_value_of(n, 3, 16, 1, 1);
	v[8] = net_value_of(n, 1, 16, 0, 0);
	v[9] = net_value_of(n, 1, 4, 0, 0);
	(void) net_convolution(n, in, v[0], 3, 1, 1);
	net_relu(n, v[0], v[1]);
	(void) net_convolution(n, v[1], v[2], 3, 1, 1);
	net_relu(n, v[2], v[3]);
	(void) net_convolution(n, v[3], v[4], 3, 1, 1);
	struct net_node *add = net_step(n, NET_ADD, v[4], v[5]);
	add->inputs[add->n_inputs++] = v[1];
	net_relu(n, v[5], v[6]);
	struct net_node *pool = net_step(n, NET_AVERAGE_POOL, v[6], v[7]);
	pool->kernel[0] = pool->kernel[1] = 8;
	(void) net_step(n, NET_RESHAPE, v[7], v[8]);
	(void) net_linear(n, v[8], v[9]);
	n->output = v[9];
	return n;
}

/* Which of four stripe patterns a noisy picture shows; an .npy pair in @folder. */
static inline void write_stripes(const char *folder, uint32_t count, uint64_t seed, char *data, char *labels,
	size_t size)
{
	static const char head[] = "\x93NUMPY\x01";
	FILE *d, *l;

	(void) snprintf(data, size, "%s/stripes-%llu.npy", folder, (unsigned long long) seed);
	(void) snprintf(labels, size, "%s/stripes-%llu-labels.npy", folder, (unsigned long long) seed);
	d = fopen(data, "w");
	l = fopen(labels, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	(void) fwrite(head, 7, 1, d);
	(void) fwrite(head, 7, 1, l);
	(void) fputc(0, d);
	(void) fputc(0, l);
	(void) fprintf(d, "%c%c%-117s\n", 118, 0, "");
	(void) fprintf(l, "%c%c%-117s\n", 118, 0, "");
	(void) fseek(d, 10, SEEK_SET);
	(void) fprintf(d, "{'descr': '|u1', 'fortran_order': False, 'shape': (%u, 8, 8, 3), }", count);
	(void) fseek(l, 10, SEEK_SET);
	(void) fprintf(l, "{'descr': '<i4', 'fortran_order': False, 'shape': (%u,), }", count);
	(void) fseek(d, 128, SEEK_SET);
	(void) fseek(l, 128, SEEK_SET);
	for (uint32_t i = 0; i < count; i++) {
		int32_t label = (int32_t) (draw_u64(seed, i) % 4);
		uint32_t shift = (uint32_t) (draw_u64(seed + 1, i) % 4);

		(void) fwrite(&label, sizeof label, 1, l);
		for (uint32_t y = 0; y < 8; y++)
			for (uint32_t x = 0; x < 8; x++) {
				uint32_t along[] = {x, y, x + y, x + 8 - y};
				int ink = (along[label] + shift) / 2 % 2 ? 170 : 85;

				for (uint32_t c = 0; c < 3; c++) {
					float noise = 150 * drawn(seed + 2, ((i * 8 + y) * 8 + x) * 3 + c);
					int pixel = ink + (int) noise;

					(void) fputc(pixel < 0 ? 0 : pixel > 255 ? 255 : pixel, d);
				}
			}
	}
	(void) fclose(d);
	(void) fclose(l);
}
