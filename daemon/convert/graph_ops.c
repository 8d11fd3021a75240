/* SPDX-License-Identifier: Apache-2.0 */
/* One net node to the engine's operations: fused clips, columns in engine order. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/export.h"

/**
 * struct result - the engine value that an operation will write
 * @net_value: which net value that is, behind the clips that were fused
 * @bits: of the last of them that rounds; 0: none does
 */
struct result {
	uint32_t value, net_value, bits;
	float low, high;
};

static uint32_t only_reader(const struct export *e, uint32_t net_value)
{
	const struct net *net = e->net;

	if (e->uses[net_value] != 1)
		return UINT32_MAX;
	for (uint32_t i = 0; i < net->n_nodes; i++)
		for (uint32_t j = 0; j < net->nodes[i].n_inputs; j++)
			if (net->nodes[i].inputs[j] == net_value)
				return i;
	return UINT32_MAX;
}

/* A clip that alone reads the node's output becomes part of the operation. */
static void fuse_clips(struct export *e, const struct net_node *n, struct result *ret)
{
	*ret = (struct result){.net_value = n->output, .low = -INFINITY, .high = INFINITY};
	for (;;) {
		uint32_t i = only_reader(e, ret->net_value);

		if (i == UINT32_MAX || e->net->nodes[i].kind != NET_CLIP)
			return;
		ret->low = fminf(fmaxf(ret->low, e->net->nodes[i].low), e->net->nodes[i].high);
		ret->high = fmaxf(fminf(ret->high, e->net->nodes[i].high), e->net->nodes[i].low);
		ret->net_value = e->net->nodes[i].output;
		ret->bits = e->net->nodes[i].bits ?: ret->bits;
		e->fused[i] = true;
	}
}

static int result_new(struct export *e, const struct net_node *n, struct shape shape, bool can_float,
	struct result *ret)
{
	bool plain;
	int v;

	fuse_clips(e, n, ret);
	plain = ret->low == -INFINITY && ret->high == INFINITY;
	v = graph_value(e, ret->net_value, shape,
		can_float && plain && e->is_float[ret->net_value] ? ELEMENT_F32 : ELEMENT_U8);
	if (v < 0)
		return v;
	ret->value = (uint32_t) v;
	return 0;
}

static int to_float(struct export *e, uint32_t net_value, uint32_t value)
{
	int v;

	if (e->values[value].element == ELEMENT_F32)
		return (int) value;
	v = graph_value(e, net_value, e->values[value].shape, ELEMENT_F32);
	if (v >= 0)
		(void) graph_op(e, OP_TO_FLOAT, &value, 1, (uint32_t) v, NULL);
	return v;
}

/* What rounds to few values leaves no choice of scale. */
static void set_exact(struct export *e, const struct result *result)
{
	struct export_value *v = &e->value_infos[result->value];

	if (!result->bits)
		return;
	v->bits = result->bits;
	v->exact = true;
	v->low = result->low;
	v->high = result->high;
}

/* @op is the operation that writes @result; gives it the clip and the place. */
static int result_place(struct export *e, int op, const struct result *result)
{
	int v = (int) result->value;

	e->op_infos[op].low = result->low;
	e->op_infos[op].high = result->high;
	set_exact(e, result);
	if (e->is_float[result->net_value])
		v = to_float(e, result->net_value, result->value);
	return v < 0 ? v : graph_place(e, result->net_value, (uint32_t) v, NULL);
}

static const struct net_shape *shape_of(const struct export *e, uint32_t net_value)
{
	return &e->net->values[net_value].shape;
}

/* The engine value of an input that must be in its standard order, in integers. */
static int plain_input(struct export *e, const struct net_node *n, uint32_t i, struct error *reterr)
{
	const struct place *p = &e->places[n->inputs[i]];

	if (p->value == UINT32_MAX || p->order || e->values[p->value].element != ELEMENT_U8)
		return error_set(reterr, -ENOTSUP, "its input '%s' is not in an order that it can read",
			e->net->values[n->inputs[i]].name);
	return (int) p->value;
}

/* Weights [O][I][kh][kw] to [O][kh][kw][I]. */
static float *columns_hwc(const float *w, uint32_t rows, uint32_t inputs, uint32_t taps)
{
	float *ret = malloc((size_t) rows * inputs * taps * sizeof *ret);

	for (uint32_t r = 0; ret && r < rows; r++)
		for (uint32_t c = 0; c < inputs; c++)
			for (uint32_t t = 0; t < taps; t++)
				ret[((size_t) r * taps + t) * inputs + c] =
					w[((size_t) r * inputs + c) * taps + t];
	return ret;
}

static int matrix_new(struct export *e, uint32_t node, uint32_t op, uint32_t columns, float *weight,
	bool depthwise, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	struct export_matrix *m = &e->matrices[e->n_matrices++];

	*m = (struct export_matrix){.net_node = node, .op = op, .rows = n->outputs,
		.columns = columns, .depthwise = depthwise, .weight = weight};
	m->bias = calloc(m->rows, sizeof *m->bias);
	m->row_scale = calloc(m->rows, sizeof *m->row_scale);
	if (!m->weight || !m->bias || !m->row_scale)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->rows; i++)
		m->row_scale[i] = 1;
	if ((uint64_t) columns * 127 * 255 > INT32_MAX)
		return error_set(reterr, -ENOTSUP, "%u inputs of one output are too many", columns);
	if (n->bias)
		memcpy(m->bias, n->bias, m->rows * sizeof *m->bias);
	e->ops[op].matrix = e->n_matrices - 1;
	return 0;
}

static void set_window(struct op *op, const struct net_node *n)
{
	op->kernel_h = n->kernel[0];
	op->kernel_w = n->kernel[1];
	op->stride_h = n->stride[0];
	op->stride_w = n->stride[1];
	op->dilation_h = n->dilation[0];
	op->dilation_w = n->dilation[1];
	op->pad_top = n->pads[0];
	op->pad_left = n->pads[1];
	op->pad_bottom = n->pads[2];
	op->pad_right = n->pads[3];
	op->count_padding = n->count_padding;
}

static int lower_convolution(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	int in = plain_input(e, n, 0, reterr), op, r;
	uint32_t value = (uint32_t) in, inputs, taps = n->kernel[0] * n->kernel[1];
	struct result result;
	struct op *o;
	bool depthwise;

	if (in < 0)
		return in;
	inputs = e->values[in].shape.channels;
	depthwise = n->groups > 1 && n->groups == inputs && n->outputs == inputs;
	r = result_new(e, n, graph_shape(shape_of(e, n->output)), true, &result);
	if (r < 0)
		return r;
	op = graph_op(e, depthwise ? OP_DEPTHWISE : OP_CONVOLUTION, &value, 1, result.value, &o);
	set_window(o, n);
	o->groups = n->groups;
	inputs /= n->groups;
	r = matrix_new(e, node, (uint32_t) op, inputs * taps,
		columns_hwc(n->weight, n->outputs, inputs, taps), depthwise, reterr);
	return r < 0 ? r : result_place(e, op, &result);
}

/* Weights [O][I], columns in the order in which the engine holds the input. */
static float *columns_ordered(const struct export *e, const struct net_node *n, uint32_t columns)
{
	_cleanup_free_ uint32_t *order = graph_order(e, n->inputs[0]);
	float *ret = malloc((size_t) n->outputs * columns * sizeof *ret);

	if (!order || !ret) {
		free(ret);
		return NULL;
	}
	for (uint32_t r = 0; r < n->outputs; r++)
		for (uint32_t c = 0; c < columns; c++)
			ret[(size_t) r * columns + c] = n->weight[(size_t) r * columns + order[c]];
	return ret;
}

static float *copy_weights(const struct net_node *n, uint32_t columns)
{
	size_t bytes = (size_t) n->outputs * columns * sizeof(float);
	float *ret = malloc(bytes);

	return ret ? memcpy(ret, n->weight, bytes) : NULL;
}

static int lower_linear(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	const struct net_shape *s = shape_of(e, n->inputs[0]);
	const struct place *p = &e->places[n->inputs[0]];
	uint32_t columns = s->n ? s->dims[s->n - 1] : 1, value;
	bool flat = net_elements(s) == columns;
	struct result result;
	int in, op, r;

	if (p->value == UINT32_MAX || e->values[p->value].element != ELEMENT_U8 ||
		(!flat && (p->order || s->n != 2)))
		return error_set(reterr, -ENOTSUP, "its input is not a vector");
	in = flat ? graph_reshape(e, p->value, (struct shape){1, 1, columns}) : (int) p->value;
	if (in < 0)
		return in;
	r = result_new(e, n, graph_shape(shape_of(e, n->output)), true, &result);
	if (r < 0)
		return r;
	value = (uint32_t) in;
	op = graph_op(e, OP_CONVOLUTION, &value, 1, result.value, NULL);
	r = matrix_new(e, node, (uint32_t) op, columns,
		flat ? columns_ordered(e, n, columns) : copy_weights(n, columns), false, reterr);
	return r < 0 ? r : result_place(e, op, &result);
}

static int lower_add(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	int a = plain_input(e, n, 0, reterr), b = plain_input(e, n, 1, reterr), r;
	uint32_t inputs[2] = {(uint32_t) a, (uint32_t) b};
	struct result result;

	if (a < 0 || b < 0)
		return a < 0 ? a : b;
	r = result_new(e, n, graph_shape(shape_of(e, n->output)), false, &result);
	if (r < 0)
		return r;
	return result_place(e, graph_op(e, OP_ADD, inputs, 2, result.value, NULL), &result);
}

static int lower_pool(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	bool max = n->kind == NET_MAX_POOL;
	int in = plain_input(e, n, 0, reterr), op, r;
	uint32_t value = (uint32_t) in;
	struct result result;
	struct op *o;

	if (in < 0)
		return in;
	if (n->dilation[0] > 1 || n->dilation[1] > 1)
		return error_set(reterr, -ENOTSUP, "pooling with dilation");
	r = result_new(e, n, graph_shape(shape_of(e, n->output)), !max, &result);
	if (r < 0)
		return r;
	op = graph_op(e, max ? OP_MAX_POOL : OP_AVERAGE_POOL, &value, 1, result.value, &o);
	set_window(o, n);
	o->dilation_h = o->dilation_w = 1;
	if (max)
		graph_tie(e, value, result.value);
	return result_place(e, op, &result);
}

static int lower_concat(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	uint32_t inputs[OP_INPUTS_MAX];
	int op, v;

	if (graph_axis(shape_of(e, n->output), n->axis) != 2)
		return error_set(reterr, -ENOTSUP, "concatenation along height or width");
	v = graph_value(e, n->output, graph_shape(shape_of(e, n->output)), ELEMENT_U8);
	if (v < 0)
		return v;
	for (uint32_t i = 0; i < n->n_inputs; i++) {
		int in = plain_input(e, n, i, reterr);

		if (in < 0)
			return in;
		inputs[i] = (uint32_t) in;
		if (e->uses[n->inputs[i]] == 1)
			graph_tie(e, inputs[i], (uint32_t) v);
	}
	op = graph_op(e, OP_CONCAT, inputs, n->n_inputs, (uint32_t) v, NULL);
	return result_place(e, op, &(struct result){.value = (uint32_t) v,
		.net_value = n->output, .low = -INFINITY, .high = INFINITY});
}

/* Pad and slice: the same numbers elsewhere. */
static int lower_move(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	const struct net_shape *s = shape_of(e, n->inputs[0]);
	int in = plain_input(e, n, 0, reterr), op, v;
	uint32_t value = (uint32_t) in, before[3] = {0}, after[3] = {0};
	struct op *o;

	if (in < 0)
		return in;
	if (s->n > 3)
		return error_set(reterr, -ENOTSUP, "more than three dimensions");
	v = graph_value(e, n->output, graph_shape(shape_of(e, n->output)), ELEMENT_U8);
	if (v < 0)
		return v;
	op = graph_op(e, n->kind == NET_PAD ? OP_PAD : OP_SLICE, &value, 1, (uint32_t) v, &o);
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t axis = graph_axis(s, i);

		before[axis] = n->pads[i];
		after[axis] = n->pads[s->n + i];
		if (n->kind == NET_SLICE) {
			o->begin[axis] = n->begin[i];
			o->step[axis] = n->step[i];
		}
	}
	if (n->kind == NET_PAD) {
		o->pad_top = before[0];
		o->pad_bottom = after[0];
		o->pad_left = before[1];
		o->pad_right = after[1];
		o->pad_channels_before = before[2];
		o->pad_channels_after = after[2];
	}
	graph_tie(e, value, (uint32_t) v);
	return result_place(e, op, &(struct result){.value = (uint32_t) v,
		.net_value = n->output, .low = -INFINITY, .high = INFINITY});
}

static int lower_function(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	const struct net_shape *s = shape_of(e, n->output);
	int in = plain_input(e, n, 0, reterr), op, r;
	uint32_t value = (uint32_t) in;
	struct result result;

	if (in < 0)
		return in;
	if (n->kind == NET_AFFINE && n->outputs != 1)
		return error_set(reterr, -ENOTSUP, "a factor per channel that no convolution can take in");
	r = result_new(e, n, graph_shape(s), false, &result);
	if (r < 0)
		return r;
	if (n->kind == NET_CLIP) {
		result.low = fmaxf(result.low, n->low);
		result.high = fminf(result.high, n->high);
		result.bits = result.bits ?: n->bits;
	}
	op = graph_op(e, OP_TABLE, &value, 1, result.value, NULL);
	e->op_infos[op].function = n->kind == NET_CLIP ? FUNCTION_CLIP
		: n->kind == NET_AFFINE		       ? FUNCTION_AFFINE
						       : FUNCTION_SIGMOID;
	if (n->kind == NET_AFFINE) {
		e->op_infos[op].a = n->weight ? n->weight[0] : 1;
		e->op_infos[op].b = n->bias ? n->bias[0] : 0;
	}
	return result_place(e, op, &result);
}

static int lower_softmax(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	const struct place *p = &e->places[n->inputs[0]];
	uint32_t value;
	int in, v;

	if (p->value == UINT32_MAX || p->order || graph_axis(shape_of(e, n->output), n->axis) != 2)
		return error_set(reterr, -ENOTSUP, "softmax along height or width");
	if (!e->is_float[n->output])
		return error_set(reterr, -ENOTSUP, "operations after softmax");
	in = to_float(e, n->inputs[0], p->value);
	if (in < 0)
		return in;
	value = (uint32_t) in;
	v = graph_value(e, n->output, graph_shape(shape_of(e, n->output)), ELEMENT_F32);
	if (v < 0)
		return v;
	(void) graph_op(e, OP_SOFTMAX, &value, 1, (uint32_t) v, NULL);
	return graph_place(e, n->output, (uint32_t) v, NULL);
}

/* Where element @i of @from lies after its dimensions were permuted. */
static uint32_t transposed(const struct net_node *n, const struct net_shape *from, uint32_t i)
{
	uint32_t at[NET_DIMS_MAX] = {0}, ret = 0;

	for (uint32_t d = from->n; d-- > 0; i /= from->dims[d])
		at[d] = i % from->dims[d];
	for (uint32_t d = 0; d < from->n; d++)
		ret = ret * from->dims[n->perm[d]] + at[n->perm[d]];
	return ret;
}

/* Reshape and transpose compute nothing: only the order changes its meaning. */
static int lower_order(struct export *e, uint32_t node, struct error *reterr)
{
	const struct net_node *n = &e->net->nodes[node];
	const struct net_shape *s = shape_of(e, n->inputs[0]);
	uint32_t value = e->places[n->inputs[0]].value, *order;

	if (value == UINT32_MAX)
		return error_set(reterr, -ENOTSUP, "its input has not been computed");
	order = graph_order(e, n->inputs[0]);
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; n->kind == NET_TRANSPOSE && i < net_elements(s); i++)
		order[i] = transposed(n, s, order[i]);
	return graph_place(e, n->output, value, order);
}

int graph_node(struct export *e, uint32_t node, struct error *reterr)
{
	switch (e->net->nodes[node].kind) {
	case NET_CONVOLUTION:
		return lower_convolution(e, node, reterr);
	case NET_LINEAR:
		return lower_linear(e, node, reterr);
	case NET_ADD:
		return lower_add(e, node, reterr);
	case NET_MAX_POOL:
	case NET_AVERAGE_POOL:
		return lower_pool(e, node, reterr);
	case NET_CONCAT:
		return lower_concat(e, node, reterr);
	case NET_PAD:
	case NET_SLICE:
		return lower_move(e, node, reterr);
	case NET_CLIP:
	case NET_AFFINE:
	case NET_SIGMOID:
		return lower_function(e, node, reterr);
	case NET_SOFTMAX:
		return lower_softmax(e, node, reterr);
	case NET_RESHAPE:
	case NET_TRANSPOSE:
		return lower_order(e, node, reterr);
	case NET_INPUT:
	case NET_BATCH_NORM:
	case _NET_KIND_MAX:
		break;
	}
	return error_set(reterr, -ENOTSUP, "an operation that cannot be run in integers");
}
