/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operators, and those that work element by element or are a matrix product. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/onnx_import.h"

static int emit_clip(struct import *im, float low, float high)
{
	const struct onnx_value *v = import_input(im, 0);
	struct net_node *node;
	int r;

	if (isnan(low) || isnan(high))
		return error_set(im->reterr, -EBADMSG, "a bound is not a number");
	r = import_node(im, NET_CLIP, v->net, &v->shape, &node);
	if (r < 0)
		return r;
	node->low = low;
	node->high = high;
	return import_output(im, &v->shape);
}

static int op_relu(struct import *im)
{
	return emit_clip(im, 0, INFINITY);
}

/* A bound from opset 11 on: an optional scalar input. */
static int clip_input(struct import *im, size_t i, float *ret)
{
	const struct onnx_value *v = import_input(im, i);

	if (!v)
		return 0;
	if (!v->constant || v->constant->elements != 1)
		return error_set(im->reterr, -ENOTSUP, "input %zu is not a constant scalar", i);
	*ret = v->constant->is_float ? v->constant->f[0] : (float) v->constant->i[0];
	return 0;
}

static int op_clip(struct import *im)
{
	float low = -INFINITY, high = INFINITY;
	int r;

	if (im->opset < 11) {
		r = attribute_float(im, "min", low, &low);
		if (r >= 0)
			r = attribute_float(im, "max", high, &high);
	} else {
		r = clip_input(im, 1, &low);
		if (r >= 0)
			r = clip_input(im, 2, &high);
	}
	return r < 0 ? r : emit_clip(im, low, high);
}

static int op_sigmoid(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	struct net_node *node;
	int r;

	r = import_node(im, NET_SIGMOID, v->net, &v->shape, &node);
	return r < 0 ? r : import_output(im, &v->shape);
}

/* Until opset 12 softmax runs over everything from axis on; shapes are folded to two dimensions for it. */
static int softmax_flat(struct import *im, const struct onnx_value *v, uint32_t axis)
{
	struct onnx_shape flat = {.n = 2, .dims = {1, 1}};
	struct net_node *node;
	uint32_t net;
	int r;

	for (uint32_t i = 0; i < v->shape.n; i++)
		flat.dims[i >= axis] *= v->shape.dims[i];
	r = import_reshape(im, v->net, &flat, &net);
	if (r >= 0)
		r = import_node(im, NET_SOFTMAX, net, &flat, &node);
	if (r < 0)
		return r;
	node->axis = 1 - net_lead(&flat);
	r = import_reshape(im, node->output, &v->shape, &net);
	return r < 0 ? r : import_value(im, net, &v->shape);
}

static int op_softmax(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	struct net_node *node;
	int64_t wanted;
	uint32_t axis;
	int r;

	r = attribute_int(im, "axis", im->opset < 13 ? 1 : -1, &wanted);
	if (r < 0)
		return r;
	r = axis_of(im, wanted, v->shape.n, &axis);
	if (r < 0)
		return r;
	if (im->opset < 13)
		return softmax_flat(im, v, axis);
	if (axis < net_lead(&v->shape))
		return error_set(im->reterr, -ENOTSUP, "over the batch");
	r = import_node(im, NET_SOFTMAX, v->net, &v->shape, &node);
	if (r < 0)
		return r;
	node->axis = axis - net_lead(&v->shape);
	return import_output(im, &v->shape);
}

static bool same_shape(const struct onnx_shape *a, const struct onnx_shape *b)
{
	return a->n == b->n && memcmp(a->dims, b->dims, a->n * sizeof *a->dims) == 0;
}

static int op_add_values(struct import *im, const struct onnx_value *a, const struct onnx_value *b)
{
	struct net_node *node;
	int r;

	if (!same_shape(&a->shape, &b->shape))
		return error_set(im->reterr, -ENOTSUP, "two values of different shapes");
	r = import_node(im, NET_ADD, a->net, &a->shape, &node);
	if (r < 0)
		return r;
	node->inputs[node->n_inputs++] = b->net;
	return import_output(im, &a->shape);
}

/* How a constant lies over a value: one number, one per channel, or one per element. */
static int affine_strides(struct import *im, const struct onnx_shape *x, const struct constant *c,
	size_t strides[ONNX_DIMS_MAX])
{
	const struct onnx_shape *s = &c->shape;
	size_t stride = 1;

	memset(strides, 0, ONNX_DIMS_MAX * sizeof *strides);
	for (uint32_t i = s->n; i-- > 0; stride *= s->dims[i]) {
		uint32_t at = x->n - s->n + i;

		if (s->dims[i] == 1)
			continue;
		if (s->n - i > x->n || x->dims[at] != s->dims[i])
			return error_set(im->reterr, -ENOTSUP, "a constant larger than the value");
		strides[at] = stride;
	}
	/* Leading ones beyond the value's rank would add dimensions to the result. */
	if (s->n > x->n)
		return error_set(im->reterr, -ENOTSUP, "a constant of more dimensions than the value");
	return 0;
}

/* Only the first dimension of the net's shape differs. */
static bool is_per_channel(const struct onnx_shape *x, const size_t strides[ONNX_DIMS_MAX])
{
	for (uint32_t i = 0; i < x->n; i++)
		if (strides[i] && i != net_lead(x))
			return false;
	return true;
}

static float *spread(const struct onnx_shape *x, const struct constant *c, const size_t *strides,
	size_t elements)
{
	float *f = reallocarray(NULL, elements, sizeof *f);

	for (size_t i = 0; f && i < elements; i++) {
		size_t rest = i, at = 0;

		for (uint32_t d = x->n; d-- > 0; rest /= x->dims[d])
			at += rest % x->dims[d] * strides[d];
		f[i] = c->is_float ? c->f[at] : (float) c->i[at];
	}
	return f;
}

/* x * scale + shift from a constant @f beside @op; @swapped: the constant stood on the left. */
static int affine_fill(struct import *im, float *f, size_t n, bool swapped, struct net_node *node)
{
	char op = im->node->op_type[0];
	bool shifts = op == 'A' || op == 'S';
	float *other = reallocarray(NULL, n, sizeof *other);

	if (!other)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		other[i] = shifts ? (op == 'S' && swapped ? -1 : 1) : 0;
		if (op == 'S' && !swapped)
			f[i] = -f[i];
		else if (op == 'D')
			f[i] = 1 / f[i];
	}
	node->weight = shifts ? other : f;
	node->bias = shifts ? f : other;
	node->outputs = (uint32_t) n;
	return 0;
}

static int emit_affine(struct import *im, const struct onnx_value *v, const struct constant *c,
	const size_t *strides, bool swapped)
{
	bool channel = is_per_channel(&v->shape, strides);
	struct onnx_shape flat = {.n = 1, .dims = {1}}, shape = v->shape;
	_cleanup_free_ float *f = NULL;
	struct net_node *node;
	uint32_t net = v->net;
	size_t n;
	int r;

	r = dims_elements(im, &v->shape, &flat.dims[0]);
	if (r < 0)
		return r;
	n = c->elements == 1 ? 1 : channel ? v->shape.dims[net_lead(&v->shape)] : flat.dims[0];
	if (n > ONNX_GENERATED_ELEMENTS_MAX)
		return error_set(im->reterr, -ENOTSUP, "a constant over %zu elements", n);
	if (channel && n > 1)
		flat = (struct onnx_shape){.n = 1, .dims = {n}};
	f = spread(n == 1 ? &(struct onnx_shape){0} : channel ? &flat : &shape, c,
		n > 1 && channel ? &strides[net_lead(&shape)] : strides, n);
	if (!f)
		return -ENOMEM;
	if (!channel)
		r = import_reshape(im, net, &flat, &net);
	if (r >= 0)
		r = import_node(im, NET_AFFINE, net, channel ? &shape : &flat, &node);
	if (r >= 0)
		r = affine_fill(im, f, n, swapped, node);
	if (r < 0)
		return r;
	f = NULL;
	net = node->output;
	if (!channel)
		r = import_reshape(im, net, &shape, &net);
	return r < 0 ? r : import_value(im, net, &shape);
}

/* Add, Sub, Mul, Div of a value with a constant, and Add of two values. */
static int op_arithmetic(struct import *im)
{
	const struct onnx_value *a = import_input(im, 0), *b = import_input(im, 1);
	size_t strides[ONNX_DIMS_MAX];
	bool swapped;
	int r;

	if (!a || !b)
		return error_set(im->reterr, -EBADMSG, "needs two inputs");
	if (!a->constant && !b->constant && im->node->op_type[0] == 'A')
		return op_add_values(im, a, b);
	if (!a->constant && !b->constant)
		return error_set(im->reterr, -ENOTSUP, "of two values; one must be a constant");
	swapped = a->constant;
	if (swapped && im->node->op_type[0] == 'D')
		return error_set(im->reterr, -ENOTSUP, "by a value; only by a constant");
	r = affine_strides(im, swapped ? &b->shape : &a->shape, swapped ? a->constant : b->constant,
		strides);
	if (r < 0)
		return r;
	return swapped ? emit_affine(im, b, a->constant, strides, true) :
			 emit_affine(im, a, b->constant, strides, false);
}

static int op_batch_norm(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	int64_t spatial, training;
	struct net_node *node;
	float **to[4];
	int r;

	r = attribute_int(im, "spatial", 1, &spatial);
	if (r >= 0)
		r = attribute_int(im, "training_mode", 0, &training);
	if (r < 0)
		return r;
	if (spatial != 1 || training || v->shape.n < 2 || !net_lead(&v->shape))
		return error_set(im->reterr, -ENOTSUP,
			"only per channel, with a batch of one and not in training");
	for (size_t i = 1; i < 5; i++) {
		const struct onnx_value *p = import_input(im, i);

		if (!p || !p->constant || p->constant->elements != v->shape.dims[1])
			return error_set(im->reterr, -ENOTSUP, "input %zu is not one constant per channel",
				i);
	}
	r = import_node(im, NET_BATCH_NORM, v->net, &v->shape, &node);
	if (r >= 0)
		r = attribute_float(im, "epsilon", 1e-5f, &node->epsilon);
	if (r < 0)
		return r;
	node->outputs = (uint32_t) v->shape.dims[1];
	to[0] = &node->weight;
	to[1] = &node->bias;
	to[2] = &node->mean;
	to[3] = &node->variance;
	for (size_t i = 0; i < 4 && r >= 0; i++)
		r = constant_floats(im, import_input(im, i + 1)->constant, to[i]);
	return r < 0 ? r : import_output(im, &v->shape);
}

/* [K][N] to [N][K], or a copy of [N][K]; times @alpha. */
static int linear_weight(struct import *im, const struct constant *b, bool rows_are_outputs, float alpha,
	struct net_node *node)
{
	size_t k = b->shape.dims[rows_are_outputs], n = b->shape.dims[!rows_are_outputs];
	_cleanup_free_ float *f = NULL;
	int r;

	r = constant_floats(im, b, &f);
	if (r < 0)
		return r;
	node->weight = reallocarray(NULL, b->elements, sizeof *f);
	if (!node->weight)
		return -ENOMEM;
	for (size_t o = 0; o < n; o++)
		for (size_t i = 0; i < k; i++)
			node->weight[o * k + i] = alpha * f[rows_are_outputs ? o * k + i : i * n + o];
	node->outputs = (uint32_t) n;
	return 0;
}

static int emit_linear(struct import *im, uint32_t input, const struct onnx_shape *out,
	const struct constant *b, bool rows_are_outputs, float alpha)
{
	struct onnx_shape flat = {.n = 1, .dims = {b->shape.dims[rows_are_outputs]}}, result;
	struct net_node *node;
	uint32_t net;
	int r;

	result = (struct onnx_shape){.n = 1, .dims = {b->shape.dims[!rows_are_outputs]}};
	if (!b->elements || result.dims[0] > INT32_MAX)
		return error_set(im->reterr, -EBADMSG, "weights of %zu elements", b->elements);
	r = import_reshape(im, input, &flat, &net);
	if (r >= 0)
		r = import_node(im, NET_LINEAR, net, &result, &node);
	if (r >= 0)
		r = linear_weight(im, b, rows_are_outputs, alpha, node);
	if (r < 0)
		return r;
	return import_output(im, out);
}

static int gemm_bias(struct import *im, size_t n, struct net_node *node)
{
	const struct onnx_value *c = import_input(im, 2);
	_cleanup_free_ float *f = NULL;
	float beta;
	int r;

	if (!c)
		return 0;
	if (!c->constant || (c->constant->elements != 1 && c->constant->elements != n) ||
		(c->shape.n && c->shape.dims[c->shape.n - 1] != c->constant->elements))
		return error_set(im->reterr, -ENOTSUP, "C is not a constant with one element per column");
	r = attribute_float(im, "beta", 1, &beta);
	if (r >= 0)
		r = constant_floats(im, c->constant, &f);
	if (r < 0)
		return r;
	node->bias = reallocarray(NULL, n, sizeof *f);
	if (!node->bias)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		node->bias[i] = beta * f[c->constant->elements == 1 ? 0 : i];
	return 0;
}

static int op_gemm(struct import *im)
{
	const struct onnx_value *a = import_input(im, 0), *b = import_input(im, 1);
	struct onnx_shape out = {.n = 2, .dims = {1}};
	int64_t trans_a, trans_b;
	float alpha;
	int r;

	if (!b || !b->constant || b->shape.n != 2 || a->shape.n != 2)
		return error_set(im->reterr, -ENOTSUP, "A is no matrix, or B no constant matrix");
	r = attribute_int(im, "transA", 0, &trans_a);
	if (r >= 0)
		r = attribute_int(im, "transB", 0, &trans_b);
	if (r >= 0)
		r = attribute_float(im, "alpha", 1, &alpha);
	if (r < 0)
		return r;
	if (a->shape.dims[trans_a ? 1 : 0] != 1)
		return error_set(im->reterr, -ENOTSUP, "A has %zu rows; only one is supported",
			a->shape.dims[trans_a ? 1 : 0]);
	if (a->shape.dims[trans_a ? 0 : 1] != b->shape.dims[trans_b ? 1 : 0])
		return error_set(im->reterr, -EBADMSG, "A and B do not fit");
	out.dims[1] = b->shape.dims[trans_b ? 0 : 1];
	r = emit_linear(im, a->net, &out, b->constant, trans_b, alpha);
	return r < 0 ? r : gemm_bias(im, out.dims[1], &im->net->nodes[im->net->n_nodes - 1]);
}

/* One row times a constant matrix, or a constant matrix times one column. */
static int op_mat_mul(struct import *im)
{
	const struct onnx_value *a = import_input(im, 0), *b = import_input(im, 1);
	const struct onnx_value *x, *w;
	struct onnx_shape out;
	bool column;
	size_t elements;
	int r;

	if (!a || !b || !a->constant == !b->constant)
		return error_set(im->reterr, -ENOTSUP, "one of the two inputs must be a constant");
	column = a->constant;
	x = column ? b : a;
	w = column ? a : b;
	r = dims_elements(im, &x->shape, &elements);
	if (r < 0)
		return r;
	if (w->shape.n != 2 || !x->shape.n || (column && x->shape.n > 2))
		return error_set(im->reterr, -ENOTSUP, "the constant is no matrix");
	out = x->shape;
	if (elements != x->shape.dims[column ? 0 : x->shape.n - 1])
		return error_set(im->reterr, -ENOTSUP, "more than one row; only one is supported");
	if (elements != w->shape.dims[column])
		return error_set(im->reterr, -EBADMSG, "the inputs do not fit");
	out.dims[column ? 0 : out.n - 1] = w->shape.dims[!column];
	return emit_linear(im, x->net, &out, w->constant, column, 1);
}

/* clang-format off */
static const struct onnx_op ops[] = {
	{"Add",                fold_arithmetic,        op_arithmetic, true},
	{"AveragePool",        NULL,                   op_average_pool},
	{"BatchNormalization", NULL,                   op_batch_norm},
	{"Cast",               fold_cast,              op_cast},
	{"Clip",               NULL,                   op_clip},
	{"Concat",             fold_concat,            op_concat, true},
	{"Constant",           fold_constant,          NULL},
	{"ConstantOfShape",    fold_constant_of_shape, NULL},
	{"Conv",               NULL,                   op_conv},
	{"Div",                fold_arithmetic,        op_arithmetic, true},
	{"Dropout",            fold_dropout,           op_dropout},
	{"Flatten",            fold_flatten,           op_flatten},
	{"Gather",             fold_gather,            NULL},
	{"Gemm",               NULL,                   op_gemm},
	{"GlobalAveragePool",  NULL,                   op_global_average_pool},
	{"GlobalMaxPool",      NULL,                   op_global_max_pool},
	{"Identity",           fold_identity,          op_identity},
	{"MatMul",             NULL,                   op_mat_mul, true},
	{"MaxPool",            NULL,                   op_max_pool},
	{"Mul",                fold_arithmetic,        op_arithmetic, true},
	{"Pad",                NULL,                   op_pad},
	{"Range",              fold_range,             NULL},
	{"ReduceMean",         NULL,                   op_reduce_mean},
	{"Relu",               NULL,                   op_relu},
	{"Reshape",            fold_reshape,           op_reshape},
	{"Shape",              fold_shape,             op_shape},
	{"Sigmoid",            NULL,                   op_sigmoid},
	{"Size",               fold_size,              fold_size},
	{"Slice",              fold_slice,             op_slice},
	{"Softmax",            NULL,                   op_softmax},
	{"Squeeze",            fold_squeeze,           op_squeeze},
	{"Sub",                fold_arithmetic,        op_arithmetic, true},
	{"Transpose",          fold_transpose,         op_transpose},
	{"Unsqueeze",          fold_unsqueeze,         op_unsqueeze},
};
/* clang-format on */

const struct onnx_op *onnx_op_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	return NULL;
}
