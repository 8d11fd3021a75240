/* SPDX-License-Identifier: Apache-2.0 */
/* Operators on values of the net that only move elements. */
#include <errno.h>
#include <string.h>

#include "convert/onnx_import.h"

int op_shape(struct import *im)
{
	return fold_shape(im);
}

int op_identity(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);

	return import_value(im, v->net, &v->shape);
}

/* A dropout does something in training only, which newer files ask for by an input. */
static int check_inference(struct import *im)
{
	const struct onnx_value *training = import_input(im, 2);

	if (training && (!training->constant || training->constant->is_float ||
				training->constant->elements != 1 || training->constant->i[0]))
		return error_set(im->reterr, -ENOTSUP, "in training mode");
	return 0;
}

int op_dropout(struct import *im)
{
	int r = check_inference(im);

	return r < 0 ? r : op_identity(im);
}

int fold_dropout(struct import *im)
{
	int r = check_inference(im);

	return r < 0 ? r : fold_identity(im);
}

int op_cast(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	int64_t to;
	int r;

	r = attribute_int(im, "to", 0, &to);
	if (r < 0)
		return r;
	if (to != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT && to != ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE)
		return error_set(im->reterr, -ENOTSUP, "to type %lld at run time", (long long) to);
	return import_value(im, v->net, &v->shape);
}

typedef int (*shape_fn)(struct import *im, const struct onnx_shape *in, struct onnx_shape *out);

static int op_view(struct import *im, shape_fn fn)
{
	const struct onnx_value *v = import_input(im, 0);
	struct onnx_shape shape;
	uint32_t net;
	int r;

	if (!v || v->constant)
		return error_set(im->reterr, -EBADMSG, "no input");
	r = fn(im, &v->shape, &shape);
	if (r < 0)
		return r;
	r = import_reshape(im, v->net, &shape, &net);
	return r < 0 ? r : import_value(im, net, &shape);
}

int op_reshape(struct import *im)
{
	return op_view(im, shape_reshape);
}

int op_squeeze(struct import *im)
{
	return op_view(im, shape_squeeze);
}

int op_unsqueeze(struct import *im)
{
	return op_view(im, shape_unsqueeze);
}

int op_flatten(struct import *im)
{
	return op_view(im, shape_flatten);
}

/* Without dimensions of one, whose moves change nothing. Return: whether the rest moves. */
static bool squeeze_perm(const struct onnx_shape *in, const uint32_t *perm, struct onnx_shape *from,
	struct onnx_shape *to, uint32_t *squeezed)
{
	uint32_t place[ONNX_DIMS_MAX] = {0};
	bool moves = false;

	from->n = to->n = 0;
	for (uint32_t i = 0; i < in->n; i++) {
		if (in->dims[i] == 1)
			continue;
		place[i] = from->n;
		from->dims[from->n++] = in->dims[i];
	}
	for (uint32_t i = 0; i < in->n; i++) {
		if (in->dims[perm[i]] == 1)
			continue;
		squeezed[to->n] = place[perm[i]];
		moves |= squeezed[to->n] != to->n;
		to->dims[to->n++] = in->dims[perm[i]];
	}
	return moves;
}

static int emit_transpose(struct import *im, uint32_t *net, const struct onnx_shape *to,
	const uint32_t *perm, uint32_t lead)
{
	struct net_node *node;
	int r;

	r = import_node(im, NET_TRANSPOSE, *net, to, &node);
	if (r < 0)
		return r;
	for (uint32_t i = lead; i < to->n; i++)
		node->perm[i - lead] = perm[i] - lead;
	*net = node->output;
	return 0;
}

int op_transpose(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	uint32_t perm[ONNX_DIMS_MAX], squeezed[ONNX_DIMS_MAX], net = v->net;
	struct onnx_shape shape, from, to;
	int r;

	r = shape_transpose(im, &v->shape, &shape, perm);
	if (r < 0)
		return r;
	if (!squeeze_perm(&v->shape, perm, &from, &to, squeezed)) {
		r = import_reshape(im, net, &shape, &net);
		return r < 0 ? r : import_value(im, net, &shape);
	}
	if (net_lead(&v->shape) == net_lead(&shape) && (!net_lead(&shape) || perm[0] == 0)) {
		r = emit_transpose(im, &net, &shape, perm, net_lead(&shape));
		return r < 0 ? r : import_value(im, net, &shape);
	}
	r = import_reshape(im, net, &from, &net);
	if (r >= 0)
		r = emit_transpose(im, &net, &to, squeezed, 0);
	if (r >= 0)
		r = import_reshape(im, net, &shape, &net);
	return r < 0 ? r : import_value(im, net, &shape);
}

int op_concat(struct import *im)
{
	size_t n = im->node->n_input;
	struct net_node *node;
	struct onnx_shape shape;
	uint32_t axis;
	int r;

	if (n > NET_INPUTS_MAX)
		return error_set(im->reterr, -ENOTSUP, "%zu inputs, at most %d are supported", n,
			NET_INPUTS_MAX);
	r = shape_concat(im, &shape, &axis);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const struct onnx_value *v = import_input(im, i);

		if (v->constant)
			return error_set(im->reterr, -ENOTSUP, "input %zu is a constant", i);
		if (net_lead(&v->shape) != net_lead(&shape) || axis < net_lead(&shape))
			return error_set(im->reterr, -ENOTSUP, "along the batch");
	}
	r = import_node(im, NET_CONCAT, import_input(im, 0)->net, &shape, &node);
	if (r < 0)
		return r;
	for (node->n_inputs = 0; node->n_inputs < n; node->n_inputs++)
		node->inputs[node->n_inputs] = import_input(im, node->n_inputs)->net;
	node->axis = axis - net_lead(&shape);
	return import_output(im, &shape);
}

int op_slice(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	struct onnx_shape shape;
	struct net_node *node;
	struct slice slice;
	uint32_t lead;
	int r;

	if (v->constant)
		return error_set(im->reterr, -ENOTSUP, "of a constant at run time");
	r = shape_slice(im, &v->shape, &shape, &slice);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < shape.n; i++)
		if (slice.step[i] < 0 || !shape.dims[i])
			return error_set(im->reterr, -ENOTSUP, "backwards, or of nothing");
	if (memcmp(shape.dims, v->shape.dims, shape.n * sizeof *shape.dims) == 0)
		return import_value(im, v->net, &shape);
	lead = net_lead(&v->shape);
	if (lead != net_lead(&shape))
		return error_set(im->reterr, -ENOTSUP, "along the batch");
	r = import_node(im, NET_SLICE, v->net, &shape, &node);
	if (r < 0)
		return r;
	for (uint32_t i = lead; i < shape.n; i++) {
		node->begin[i - lead] = (uint32_t) slice.begin[i];
		node->step[i - lead] = (uint32_t) slice.step[i];
	}
	return import_output(im, &shape);
}

static int pad_zero(struct import *im)
{
	const struct onnx_value *value = im->opset < 11 ? NULL : import_input(im, 2);
	float fill = 0;
	int r = 0;

	if (attribute_find(im, "mode") && !attribute_is_string(im, "mode", "constant"))
		return error_set(im->reterr, -ENOTSUP, "only constant padding is supported");
	if (im->opset < 11)
		r = attribute_float(im, "value", 0, &fill);
	else if (value && (!value->constant || value->constant->elements != 1))
		r = error_set(im->reterr, -ENOTSUP, "value is no constant");
	else if (value)
		fill = value->constant->is_float ? value->constant->f[0] :
						   (float) value->constant->i[0];
	if (r < 0)
		return r;
	if (fill != 0)
		return error_set(im->reterr, -ENOTSUP, "with %g; only 0 is supported", (double) fill);
	return 0;
}

static int pad_shape(struct import *im, const struct onnx_shape *in, struct onnx_shape *out,
	const int64_t **pads, bool *any)
{
	size_t n;
	int r;

	r = ints_of(im, "pads", 1, 11, pads, &n);
	if (r <= 0)
		return r ?: error_set(im->reterr, -EBADMSG, "no pads");
	if (n != 2 * (size_t) in->n)
		return error_set(im->reterr, -EBADMSG, "%zu pads for %u dimensions", n, in->n);
	*out = *in;
	*any = false;
	for (uint32_t i = 0; i < n; i++) {
		if ((*pads)[i] < 0 || (*pads)[i] > ONNX_SPATIAL_MAX)
			return error_set(im->reterr, -ENOTSUP, "pads of %lld", (long long) (*pads)[i]);
		out->dims[i % in->n] += (size_t) (*pads)[i];
		*any |= (*pads)[i] != 0;
	}
	return 0;
}

int op_pad(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	struct onnx_shape shape;
	struct net_node *node;
	const int64_t *pads;
	uint32_t lead, n;
	bool any = false;
	int r;

	if (v->constant)
		return error_set(im->reterr, -ENOTSUP, "of a constant");
	r = pad_zero(im);
	if (r < 0)
		return r;
	r = pad_shape(im, &v->shape, &shape, &pads, &any);
	if (r < 0)
		return r;
	if (!any)
		return import_value(im, v->net, &shape);
	lead = net_lead(&v->shape);
	if (lead != net_lead(&shape))
		return error_set(im->reterr, -ENOTSUP, "of the batch");
	r = import_node(im, NET_PAD, v->net, &shape, &node);
	if (r < 0)
		return r;
	n = shape.n - lead;
	for (uint32_t i = 0; i < n; i++) {
		node->pads[i] = (uint32_t) pads[i + lead];
		node->pads[n + i] = (uint32_t) pads[i + lead + shape.n];
	}
	return import_output(im, &shape);
}
