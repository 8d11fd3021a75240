/* SPDX-License-Identifier: Apache-2.0 */
/* Operators with windows over images: convolutions, pools, means over height and width. */
#include <errno.h>
#include <string.h>

#include "convert/onnx_import.h"

struct window {
	size_t kernel[2], stride[2], dilation[2], pads[4]; /* top, left, bottom, right */
	size_t out[2];
};

/* Two sizes of an attribute, each from 1 on; when it is missing they stay. */
static int window_pair(struct import *im, const char *name, size_t pair[2])
{
	const int64_t *v;
	size_t n;
	int r;

	r = attribute_ints(im, name, &v, &n);
	if (r <= 0)
		return r;
	if (n != 2)
		return error_set(im->reterr, -ENOTSUP, "%s of %zu dimensions; two are supported", name, n);
	for (unsigned i = 0; i < 2; i++) {
		if (v[i] < 1 || v[i] > ONNX_SPATIAL_MAX)
			return error_set(im->reterr, -EBADMSG, "%s of %lld", name, (long long) v[i]);
		pair[i] = (size_t) v[i];
	}
	return 0;
}

static int window_pads(struct import *im, struct window *w)
{
	const int64_t *v;
	size_t n;
	int r;

	r = attribute_ints(im, "pads", &v, &n);
	if (r <= 0)
		return r;
	if (n != 4)
		return error_set(im->reterr, -ENOTSUP, "%zu pads; four are supported", n);
	for (unsigned i = 0; i < 4; i++) {
		if (v[i] < 0 || v[i] > ONNX_SPATIAL_MAX)
			return error_set(im->reterr, -ENOTSUP, "pads of %lld", (long long) v[i]);
		w->pads[i] = (size_t) v[i];
	}
	return 0;
}

static size_t reach(const struct window *w, unsigned i)
{
	return (w->kernel[i] - 1) * w->dilation[i] + 1;
}

/* SAME: as many outputs as strides fit; the odd pixel goes to the end (UPPER) or the begin (LOWER). */
static void window_same(struct window *w, const size_t *image, bool upper)
{
	for (unsigned i = 0; i < 2; i++) {
		size_t out = (image[i] + w->stride[i] - 1) / w->stride[i];
		size_t need = (out - 1) * w->stride[i] + reach(w, i);
		size_t total = need > image[i] ? need - image[i] : 0;

		w->pads[i] = upper ? total / 2 : total - total / 2;
		w->pads[2 + i] = total - w->pads[i];
	}
}

static int window_auto_pad(struct import *im, struct window *w, const size_t *image)
{
	if (attribute_is_string(im, "auto_pad", "SAME_UPPER"))
		window_same(w, image, true);
	else if (attribute_is_string(im, "auto_pad", "SAME_LOWER"))
		window_same(w, image, false);
	else if (attribute_is_string(im, "auto_pad", "VALID"))
		memset(w->pads, 0, sizeof w->pads);
	else if (!attribute_find(im, "auto_pad") || attribute_is_string(im, "auto_pad", "NOTSET"))
		return window_pads(im, w);
	else
		return error_set(im->reterr, -EBADMSG, "unknown auto_pad");
	return 0;
}

/*
 * Sizes of the result. With @ceil a last window may hang over the end: the missing rows become padding
 * there, unless it would start in padding.
 */
static int window_out(struct import *im, struct window *w, const size_t *image, bool ceil)
{
	for (unsigned i = 0; i < 2; i++) {
		size_t room = image[i] + w->pads[i] + w->pads[2 + i], rest;

		if (room < reach(w, i))
			return error_set(im->reterr, -EBADMSG, "window of %zu over %zu", reach(w, i), room);
		w->out[i] = (room - reach(w, i)) / w->stride[i] + 1;
		rest = (room - reach(w, i)) % w->stride[i];
		if (ceil && rest && w->out[i] * w->stride[i] < image[i] + w->pads[i]) {
			w->pads[2 + i] += w->stride[i] - rest;
			w->out[i]++;
		}
	}
	return 0;
}

static int check_image(struct import *im, const struct onnx_shape *s)
{
	if (s->n != 4)
		return error_set(im->reterr, -ENOTSUP, "input of %u dimensions; images have four", s->n);
	if (s->dims[0] != 1)
		return error_set(im->reterr, -ENOTSUP, "a batch of %zu; only one is supported", s->dims[0]);
	return 0;
}

static int window_read(struct import *im, const struct onnx_shape *in, bool ceil, struct window *w)
{
	int r;

	r = window_pair(im, "kernel_shape", w->kernel);
	if (r >= 0)
		r = window_pair(im, "strides", w->stride);
	if (r >= 0)
		r = window_pair(im, "dilations", w->dilation);
	if (r >= 0)
		r = window_auto_pad(im, w, &in->dims[2]);
	return r < 0 ? r : window_out(im, w, &in->dims[2], ceil);
}

static int emit_window(struct import *im, enum net_kind kind, const struct onnx_value *v,
	const struct window *w, size_t channels, struct net_node **ret)
{
	struct onnx_shape out = {.n = 4, .dims = {1, channels, w->out[0], w->out[1]}};
	struct net_node *node;
	int r;

	r = import_node(im, kind, v->net, &out, &node);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < 2; i++) {
		node->kernel[i] = (uint32_t) w->kernel[i];
		node->stride[i] = (uint32_t) w->stride[i];
		node->dilation[i] = (uint32_t) w->dilation[i];
	}
	for (unsigned i = 0; i < 4; i++)
		node->pads[i] = (uint32_t) w->pads[i];
	*ret = node;
	return import_output(im, &out);
}

static int conv_groups(struct import *im, const struct onnx_shape *x, const struct onnx_shape *w,
	int64_t *groups)
{
	int r = attribute_int(im, "group", 1, groups);

	if (r < 0)
		return r;
	if (*groups < 1 || *groups > ONNX_SPATIAL_MAX || w->dims[0] > INT32_MAX ||
		w->dims[0] % (size_t) *groups || x->dims[1] % (size_t) *groups ||
		x->dims[1] / (size_t) *groups != w->dims[1])
		return error_set(im->reterr, -EBADMSG,
			"%zu channels, %lld groups and weights of [%zu][%zu] do not fit", x->dims[1],
			(long long) *groups, w->dims[0], w->dims[1]);
	return 0;
}

static int conv_check(struct import *im, const struct onnx_value *x, const struct onnx_value *w,
	const struct onnx_value *b)
{
	int r = check_image(im, &x->shape);

	if (r < 0)
		return r;
	if (!w || !w->constant || w->shape.n != 4 || !w->constant->elements)
		return error_set(im->reterr, -ENOTSUP, "weights are not a constant of four dimensions");
	if (w->shape.dims[2] > ONNX_SPATIAL_MAX || w->shape.dims[3] > ONNX_SPATIAL_MAX)
		return error_set(im->reterr, -EBADMSG, "kernel too large");
	if (b && (!b->constant || b->constant->elements != w->shape.dims[0]))
		return error_set(im->reterr, -ENOTSUP, "bias is not one constant per output");
	return 0;
}

int op_conv(struct import *im)
{
	const struct onnx_value *x = import_input(im, 0), *w = import_input(im, 1),
				*b = import_input(im, 2);
	struct window window = {.stride = {1, 1}, .dilation = {1, 1}};
	struct net_node *node;
	int64_t groups;
	int r;

	r = conv_check(im, x, w, b);
	if (r < 0)
		return r;
	r = conv_groups(im, &x->shape, &w->shape, &groups);
	if (r < 0)
		return r;
	memcpy(window.kernel, &w->shape.dims[2], sizeof window.kernel);
	r = window_read(im, &x->shape, false, &window);
	if (r < 0)
		return r;
	if (memcmp(window.kernel, &w->shape.dims[2], sizeof window.kernel) != 0)
		return error_set(im->reterr, -EBADMSG, "kernel_shape differs from the weights");
	r = emit_window(im, NET_CONVOLUTION, x, &window, w->shape.dims[0], &node);
	if (r < 0)
		return r;
	node->groups = (uint32_t) groups;
	node->outputs = (uint32_t) w->shape.dims[0];
	r = constant_floats(im, w->constant, &node->weight);
	return r < 0 || !b ? r : constant_floats(im, b->constant, &node->bias);
}

static int op_pool(struct import *im, enum net_kind kind)
{
	const struct onnx_value *v = import_input(im, 0);
	struct window window = {.stride = {1, 1}, .dilation = {1, 1}};
	int64_t ceil, count_padding;
	struct net_node *node;
	int r;

	r = check_image(im, &v->shape);
	if (r >= 0)
		r = attribute_int(im, "ceil_mode", 0, &ceil);
	if (r >= 0)
		r = attribute_int(im, "count_include_pad", 0, &count_padding);
	if (r < 0)
		return r;
	if (ceil && count_padding)
		return error_set(im->reterr, -ENOTSUP, "ceil_mode with count_include_pad");
	if (!attribute_find(im, "kernel_shape"))
		return error_set(im->reterr, -EBADMSG, "no kernel_shape");
	r = window_read(im, &v->shape, ceil, &window);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < 2; i++)
		if (window.pads[i] >= reach(&window, i) || window.pads[2 + i] >= reach(&window, i))
			return error_set(im->reterr, -ENOTSUP, "padding as large as the window");
	r = emit_window(im, kind, v, &window, v->shape.dims[1], &node);
	if (r < 0)
		return r;
	node->count_padding = count_padding;
	return 0;
}

int op_max_pool(struct import *im)
{
	return op_pool(im, NET_MAX_POOL);
}

int op_average_pool(struct import *im)
{
	return op_pool(im, NET_AVERAGE_POOL);
}

static int op_global(struct import *im, enum net_kind kind)
{
	const struct onnx_value *v = import_input(im, 0);
	struct window window = {.stride = {1, 1}, .dilation = {1, 1}, .out = {1, 1}};
	struct net_node *node;
	int r;

	r = check_image(im, &v->shape);
	if (r < 0)
		return r;
	memcpy(window.kernel, &v->shape.dims[2], sizeof window.kernel);
	return emit_window(im, kind, v, &window, v->shape.dims[1], &node);
}

int op_global_average_pool(struct import *im)
{
	return op_global(im, NET_AVERAGE_POOL);
}

int op_global_max_pool(struct import *im)
{
	return op_global(im, NET_MAX_POOL);
}

/* Over height and width only: then it is the global average pool, perhaps without its ones. */
int op_reduce_mean(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	struct window window = {.stride = {1, 1}, .dilation = {1, 1}, .out = {1, 1}};
	struct onnx_shape out;
	struct net_node *node;
	const int64_t *axes;
	uint32_t named = 0, net;
	int64_t keep;
	size_t n;
	int r;

	r = check_image(im, &v->shape);
	if (r >= 0)
		r = attribute_int(im, "keepdims", 1, &keep);
	if (r >= 0)
		r = attribute_ints(im, "axes", &axes, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; r && i < n; i++) {
		uint32_t axis;

		r = axis_of(im, axes[i], 4, &axis);
		if (r < 0)
			return r;
		named |= 1u << axis;
		r = 1;
	}
	if (named != (1u << 2 | 1u << 3))
		return error_set(im->reterr, -ENOTSUP, "only over height and width (axes 2 and 3)");
	memcpy(window.kernel, &v->shape.dims[2], sizeof window.kernel);
	out = (struct onnx_shape){.n = keep ? 4 : 2, .dims = {1, v->shape.dims[1], 1, 1}};
	if (keep)
		return emit_window(im, NET_AVERAGE_POOL, v, &window, out.dims[1], &node);
	r = import_node(im, NET_AVERAGE_POOL, v->net,
		&(struct onnx_shape){.n = 4, .dims = {1, out.dims[1], 1, 1}}, &node);
	if (r < 0)
		return r;
	memcpy(node->kernel, (uint32_t[]){(uint32_t) window.kernel[0], (uint32_t) window.kernel[1]},
		sizeof node->kernel);
	r = import_reshape(im, node->output, &out, &net);
	return r < 0 ? r : import_value(im, net, &out);
}
