/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that only move elements: pad, slice, transpose, reshape, concat. Each becomes a map from elements
 * of the output to elements of the inputs, in the order in which they lie in memory, worked out once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "convert/train/op.h"

/* Where the element with these coordinates (without batch) lies. */
static size_t place_of(const struct net_shape *s, const uint32_t *at)
{
	size_t i = 0;

	if (s->n == 3)
		return ((size_t) at[1] * s->dims[2] + at[2]) * s->dims[0] + at[0];
	for (uint32_t d = 0; d < s->n; d++)
		i = i * s->dims[d] + at[d];
	return i;
}

static void coordinates(const struct net_shape *s, size_t i, uint32_t *at)
{
	for (uint32_t d = s->n; d-- > 0; i /= s->dims[d])
		at[d] = (uint32_t) (i % s->dims[d]);
}

/* Which element of input @k comes to @at; *begin: where the part of this input begins, for concat. */
static bool source_of(const struct net_node *n, const struct net_shape *in, const uint32_t *at,
	uint32_t begin, uint32_t *from)
{
	for (uint32_t d = 0; d < in->n; d++) {
		switch (n->kind) {
		case NET_PAD:
			if (at[d] < n->pads[d] || at[d] - n->pads[d] >= in->dims[d])
				return false;
			from[d] = at[d] - n->pads[d];
			break;
		case NET_SLICE:
			from[d] = n->begin[d] + at[d] * n->step[d];
			break;
		case NET_TRANSPOSE:
			from[n->perm[d]] = at[d];
			break;
		default:
			from[d] = at[d] - (d == n->axis ? begin : 0);
			if (d == n->axis && (at[d] < begin || from[d] >= in->dims[d]))
				return false;
		}
	}
	return true;
}

static void fill_map(int32_t *map, const struct net_node *n, const struct net_shape *in,
	const struct net_shape *out, uint32_t begin)
{
	size_t elements = net_elements(out);

	for (size_t i = 0; i < elements; i++) {
		uint32_t at[NET_DIMS_MAX], from[NET_DIMS_MAX] = {};
		bool any = true;

		coordinates(out, i, at);
		if (n->kind == NET_RESHAPE)
			coordinates(in, i, from);
		else
			any = source_of(n, in, at, begin, from);
		map[place_of(out, at)] = any ? (int32_t) place_of(in, from) : -1;
	}
}

static int move_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_value *out = &g->values[op->output];
	uint32_t begin = 0;

	op->map = reallocarray(NULL, out->elements, op->n_inputs * sizeof *op->map);
	if (!op->map)
		return -ENOMEM;
	for (uint32_t k = 0; k < op->n_inputs; k++) {
		const struct net_shape *in = &g->values[op->inputs[k]].shape;

		fill_map(op->map + k * out->elements, op->node, in, &out->shape, begin);
		if (op->node->kind == NET_CONCAT)
			begin += in->dims[op->node->axis];
	}
	return 0;
}

static int move_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_value *out = &g->values[op->output];
	size_t n = out->elements;

	memset(out->data, 0, g->batch * n * sizeof *out->data);
	for (uint32_t k = 0; k < op->n_inputs; k++) {
		const struct train_value *in = &g->values[op->inputs[k]];
		const int32_t *map = op->map + k * n;

		for (size_t b = 0; b < g->batch; b++)
			for (size_t i = 0; i < n; i++)
				if (map[i] >= 0)
					out->data[b * n + i] = in->data[b * in->elements + (size_t) map[i]];
	}
	return 0;
}

static int move_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const struct train_value *out = &g->values[op->output];
	size_t n = out->elements;
	int r = 0;

	for (uint32_t k = 0; r >= 0 && k < op->n_inputs; k++) {
		size_t each = g->values[op->inputs[k]].elements;
		const int32_t *map = op->map + k * n;
		float *to;

		if (!op->wanted[k])
			continue;
		to = train_op_gradient(g, op, k);
		memset(to, 0, g->batch * each * sizeof *to);
		for (size_t b = 0; b < g->batch; b++)
			for (size_t i = 0; i < n; i++)
				if (map[i] >= 0)
					to[b * each + (size_t) map[i]] += out->grad[b * n + i];
		r = train_op_gradient_done(g, op, k, reterr);
	}
	return r;
}

const struct train_op_class train_op_move = {move_init, move_forward, move_backward};
