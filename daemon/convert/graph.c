/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's graph in the making: values, operations, and where each net value lives. */
#include "convert/export.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct export *export_free(struct export *e)
{
	if (!e)
		return NULL;
	for (uint32_t i = 0; e->places && i < e->net->n_values; i++)
		free(e->places[i].order);
	for (uint32_t i = 0; e->ops && i < e->n_ops; i++)
		free(e->ops[i].table);
	for (uint32_t i = 0; e->matrices && i < e->n_matrices; i++) {
		struct export_matrix *m = &e->matrices[i];

		free(m->weight);
		free(m->bias);
		free(m->row_scale);
		free(m->gain_at);
		free(m->bias_at);
		free(m->sensitivity);
		coded_done(&m->coded);
		for (uint32_t p = 0; p < BITS_PLANES_MAX; p++)
			free(m->planes[p]);
	}
	free(e->places);
	free(e->uses);
	free(e->is_float);
	free(e->fused);
	free(e->values);
	free(e->value_infos);
	free(e->ops);
	free(e->op_infos);
	free(e->matrices);
	free(e);
	return NULL;
}

struct shape graph_shape(const struct net_shape *s)
{
	struct shape r = {1, 1, 1};

	if (s->n > 0)
		r.channels = s->dims[s->n == 3 ? 0 : s->n - 1];
	if (s->n == 3) {
		r.height = s->dims[1];
		r.width = s->dims[2];
	} else if (s->n > 1) {
		r.width = s->dims[s->n - 2];
		for (uint32_t i = 0; i + 2 < s->n; i++)
			r.height *= s->dims[i];
	}
	return r;
}

uint32_t graph_axis(const struct net_shape *s, uint32_t axis)
{
	if (s->n == 3)
		return (axis + 2) % 3;
	return axis + 3 - s->n;
}

int graph_value(struct export *e, uint32_t net_value, struct shape shape, enum element element)
{
	uint32_t i = e->n_values;

	if (shape_elements(shape) == 0)
		return -ENOTSUP;
	e->values[i] = (struct value){.element = element, .shape = shape, .scale = 1};
	e->value_infos[i] = (struct export_value){
		.net_value = net_value, .tie = i, .bits = e->options.activation_bits};
	e->n_values++;
	return (int) i;
}

int graph_op(struct export *e, enum op_kind kind, const uint32_t *inputs, uint32_t n_inputs,
	uint32_t output, struct op **ret)
{
	struct op *op = &e->ops[e->n_ops];

	*op = (struct op){.kind = kind, .n_inputs = n_inputs, .output = output, .kernel_h = 1,
		.kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1,
		.groups = 1, .step = {1, 1, 1}, .activation_bits = 8, .clamp_high = 255};
	for (uint32_t i = 0; i < n_inputs; i++)
		op->inputs[i] = inputs[i];
	e->op_infos[e->n_ops] = (struct export_op){.low = -INFINITY, .high = INFINITY, .a = 1};
	if (ret)
		*ret = op;
	return (int) e->n_ops++;
}

static uint32_t tie_root(struct export *e, uint32_t v)
{
	while (e->value_infos[v].tie != v)
		v = e->value_infos[v].tie;
	return v;
}

void graph_tie(struct export *e, uint32_t a, uint32_t b)
{
	e->value_infos[tie_root(e, a)].tie = tie_root(e, b);
}

int graph_reshape(struct export *e, uint32_t value, struct shape shape)
{
	const struct shape *old = &e->values[value].shape;
	int v;

	if (old->height == shape.height && old->width == shape.width && old->channels == shape.channels)
		return (int) value;
	v = graph_value(e, e->value_infos[value].net_value, shape, e->values[value].element);
	if (v < 0)
		return v;
	(void) graph_op(e, OP_RESHAPE, &value, 1, (uint32_t) v, NULL);
	graph_tie(e, value, (uint32_t) v);
	return v;
}

/* Element @i of the standard engine order of @s: which element of the net value it is. */
static size_t standard_order(const struct net_shape *s, size_t i)
{
	size_t c, channels, pixels;

	if (s->n != 3)
		return i;
	channels = s->dims[0];
	pixels = (size_t) s->dims[1] * s->dims[2];
	c = i % channels;
	return c * pixels + i / channels;
}

uint32_t *graph_order(const struct export *e, uint32_t net_value)
{
	const struct net_shape *s = &e->net->values[net_value].shape;
	size_t n = net_elements(s);
	uint32_t *order = malloc(n * sizeof *order);

	for (size_t i = 0; order && i < n; i++)
		order[i] = e->places[net_value].order ? e->places[net_value].order[i]
						      : (uint32_t) standard_order(s, i);
	return order;
}

int graph_place(struct export *e, uint32_t net_value, uint32_t value, uint32_t *order)
{
	const struct net_shape *s = &e->net->values[net_value].shape;
	size_t i = 0, n = net_elements(s);
	int v = (int) value;

	while (order && i < n && order[i] == standard_order(s, i))
		i++;
	if (order && i == n) {
		free(order);
		order = NULL;
	}
	if (!order)
		v = graph_reshape(e, value, graph_shape(s));
	if (v < 0) {
		free(order);
		return v;
	}
	e->places[net_value] = (struct place){.value = (uint32_t) v, .order = order};
	return 0;
}

/* A value is float where nothing but softmax, or the caller, reads it. */
static int find_floats(struct export *e)
{
	const struct net *net = e->net;
	_cleanup_free_ uint32_t *wants = calloc(net->n_values, sizeof *wants);

	if (!wants)
		return -ENOMEM;
	e->uses[net->output]++;
	wants[net->output]++;
	for (uint32_t i = net->n_nodes; i-- > 0;) {
		const struct net_node *n = &net->nodes[i];
		bool moves = n->kind == NET_RESHAPE || n->kind == NET_TRANSPOSE;

		e->is_float[n->output] = wants[n->output] == e->uses[n->output];
		if (n->kind == NET_SOFTMAX || (moves && e->is_float[n->output]))
			wants[n->inputs[0]]++;
	}
	return 0;
}

static int export_allocate(struct export *e)
{
	const struct net *net = e->net;
	size_t room = 4 * (size_t) net->n_nodes + 8;

	e->places = calloc(net->n_values, sizeof *e->places);
	e->uses = calloc(net->n_values, sizeof *e->uses);
	e->is_float = calloc(net->n_values, sizeof *e->is_float);
	e->fused = calloc(net->n_nodes + 1, sizeof *e->fused);
	e->values = calloc(room + OP_INPUTS_MAX, sizeof *e->values);
	e->value_infos = calloc(room + OP_INPUTS_MAX, sizeof *e->value_infos);
	e->ops = calloc(room, sizeof *e->ops);
	e->op_infos = calloc(room, sizeof *e->op_infos);
	e->matrices = calloc(net->n_nodes + 1, sizeof *e->matrices);
	if (!e->places || !e->uses || !e->is_float || !e->fused || !e->values || !e->value_infos ||
		!e->ops || !e->op_infos || !e->matrices)
		return -ENOMEM;
	for (uint32_t i = 0; i < net->n_values; i++)
		e->places[i].value = UINT32_MAX;
	for (uint32_t i = 0; i < net->n_nodes; i++)
		for (uint32_t j = 0; j < net->nodes[i].n_inputs; j++)
			e->uses[net->nodes[i].inputs[j]]++;
	return 0;
}

/* Pictures of one channel may feed a net that takes a vector: the vector is the picture, row by row. */
static struct shape input_shape(const struct export *e, struct shape pixels)
{
	const struct net_shape *s = &e->net->values[e->net->input].shape;

	if (!e->pixels || s->n == 3)
		return graph_shape(s);
	if (pixels.channels == 1 && shape_elements(pixels) == net_elements(s))
		return pixels;
	return (struct shape){(uint32_t) net_elements(s), 1, 1};
}

static int graph_input(struct export *e, struct shape pixels, struct error *reterr)
{
	struct op *op;
	int v;

	e->input_shape = input_shape(e, pixels);
	if (e->pixels && e->input_shape.channels > 4)
		return error_set(reterr, -EINVAL, "pixels have 1 to 4 channels, this network takes %u",
			e->input_shape.channels);
	v = graph_value(e, e->net->input, e->input_shape, ELEMENT_U8);
	if (v < 0)
		return error_set(reterr, v, "the input is too large");
	e->value_infos[v].bits = 8;
	(void) graph_op(e, OP_INPUT, NULL, 0, (uint32_t) v, &op);
	return graph_place(e, e->net->input, (uint32_t) v, NULL);
}

static int graph_output(struct export *e, struct error *reterr)
{
	const struct place *p = &e->places[e->net->output];
	int v;

	if (p->value == UINT32_MAX || p->order)
		return error_set(reterr, -ENOTSUP, "the output is not in an order that can be given out");
	e->output = p->value;
	if (e->values[p->value].element == ELEMENT_F32)
		return 0;
	v = graph_value(e, e->net->output, e->values[p->value].shape, ELEMENT_F32);
	if (v < 0)
		return v;
	(void) graph_op(e, OP_TO_FLOAT, &p->value, 1, (uint32_t) v, NULL);
	e->output = (uint32_t) v;
	return 0;
}

static uint64_t weights_of(const struct export_matrix *m)
{
	return (uint64_t) m->rows * m->columns;
}

/*
 * The first and the last matrix lose most when they lose planes; small ones keep all of theirs. So do depthwise
 * ones, whose rows are too short for the errors of their weights to even out, where they hold a small part of
 * all weights.
 */
static void mark_fixed(struct export *e)
{
	uint64_t all = 0, depthwise = 0;

	for (uint32_t i = 0; i < e->n_matrices; i++) {
		all += weights_of(&e->matrices[i]);
		depthwise += e->matrices[i].depthwise ? weights_of(&e->matrices[i]) : 0;
	}
	for (uint32_t i = 0; i < e->n_matrices && e->options.edge_planes; i++) {
		struct export_matrix *m = &e->matrices[i];
		bool edge = i == 0 || i + 1 == e->n_matrices;

		m->fixed = (edge && weights_of(m) <= all / 20) || (m->depthwise && depthwise <= all / 5);
	}
}

int export_graph(struct export **ret, const struct net *net, const struct export_options *options,
	const struct preprocess *preprocess, struct shape pixel_shape, struct error *reterr)
{
	_cleanup_(export_freep) struct export *e = calloc(1, sizeof *e);
	int r;

	if (!e)
		return -ENOMEM;
	e->net = net;
	e->options = *options;
	e->pixels = preprocess;
	if (preprocess)
		e->preprocess = *preprocess;
	r = export_allocate(e);
	if (r >= 0)
		r = find_floats(e);
	if (r >= 0)
		r = graph_input(e, pixel_shape, reterr);
	for (uint32_t i = 0; r >= 0 && i < net->n_nodes; i++) {
		if (net->nodes[i].kind == NET_INPUT || e->fused[i])
			continue;
		r = graph_node(e, i, reterr);
		if (r < 0)
			return error_prefix(reterr, r, "%s", net->nodes[i].name ? net->nodes[i].name : "?");
	}
	if (r >= 0)
		r = graph_output(e, reterr);
	if (r < 0)
		return r;
	if (e->n_matrices == 0)
		return error_set(reterr, -ENOTSUP, "the network has no weights to quantize");
	mark_fixed(e);
	*ret = take_ptr(e);
	return 0;
}
