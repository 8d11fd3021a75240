/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fp32 interpreter: what a network means, before any quantization. One buffer per value, every node
 * a plain loop whose innermost dimension the compiler can vectorise without reordering sums.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/net.h"

/* Outputs of a convolution computed at a time: their inputs stay in the second-level cache. */
#define TILE_PIXELS 256

struct reference {
	const struct net *net;
	float **values;
	float *columns; /* im2col of one tile */
};

static size_t tile_rows(const struct net_shape *out)
{
	size_t rows = TILE_PIXELS / out->dims[2];

	return rows ? MIN_OF(rows, out->dims[1]) : 1;
}

static bool is_depthwise(const struct net_node *n, const struct net_shape *in)
{
	return n->groups == in->dims[0] && n->outputs == n->groups;
}

/* One element for one input: the image is the matrix. */
static bool is_pointwise(const struct net_node *n)
{
	return n->kernel[0] * n->kernel[1] * n->stride[0] * n->stride[1] == 1 &&
		!(n->pads[0] | n->pads[1] | n->pads[2] | n->pads[3]);
}

static size_t columns_needed(const struct net *net, const struct net_node *n)
{
	const struct net_shape *in = &net->values[n->inputs[0]].shape;
	const struct net_shape *out = &net->values[n->output].shape;

	if (n->kind != NET_CONVOLUTION || is_depthwise(n, in) || is_pointwise(n))
		return 0;
	return (size_t) in->dims[0] / n->groups * n->kernel[0] * n->kernel[1] * tile_rows(out) *
		out->dims[2];
}

struct reference *reference_free(struct reference *r)
{
	if (!r)
		return NULL;
	for (uint32_t i = 0; r->values && i < r->net->n_values; i++)
		free(r->values[i]);
	free(r->values);
	free(r->columns);
	free(r);
	return NULL;
}

int reference_new(struct reference **ret, const struct net *n)
{
	_cleanup_(reference_freep) struct reference *r = calloc(1, sizeof *r);
	size_t columns = 1;

	if (!r)
		return -ENOMEM;
	r->net = n;
	r->values = calloc(n->n_values, sizeof *r->values);
	if (!r->values)
		return -ENOMEM;
	for (uint32_t i = 0; i < n->n_values; i++) {
		r->values[i] = calloc(net_elements(&n->values[i].shape), sizeof(float));
		if (!r->values[i])
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < n->n_nodes; i++)
		columns = MAX_OF(columns, columns_needed(n, &n->nodes[i]));
	r->columns = reallocarray(NULL, columns, sizeof(float));
	if (!r->columns)
		return -ENOMEM;
	*ret = take_ptr(r);
	return 0;
}

/* First and one past the last output whose tap @k of dimension @d lies inside the image. */
static void inside(const struct net_node *n, unsigned d, uint32_t k, size_t image, size_t out,
	size_t *begin, size_t *end)
{
	size_t offset = (size_t) k * n->dilation[d], pad = n->pads[d], stride = n->stride[d];

	*begin = offset >= pad ? 0 : (pad - offset + stride - 1) / stride;
	*end = image + pad <= offset ? 0 : (image + pad - offset - 1) / stride + 1;
	*end = MIN_OF(*end, out);
	*begin = MIN_OF(*begin, *end);
}

/* One tap of one output row: the inputs it meets, zeros in the padding. */
static void gather_row(const struct net_node *n, const float *row, uint32_t kx, size_t width,
	size_t out_width, float *to)
{
	size_t begin, end, stride = n->stride[1];
	const float *from;

	inside(n, 1, kx, width, out_width, &begin, &end);
	from = row + (ptrdiff_t) (begin * stride + (size_t) kx * n->dilation[1]) - n->pads[1];
	memset(to, 0, begin * sizeof *to);
	memset(to + end, 0, (out_width - end) * sizeof *to);
	if (stride == 1) {
		memcpy(to + begin, from, (end - begin) * sizeof *to);
		return;
	}
	for (size_t x = begin; x < end; x++)
		to[x] = from[(x - begin) * stride];
}

/* Rows @y.. of the result: for each input of a filter, one row of the matrix. */
static void im2col(const struct net_node *n, const float *in, const struct net_shape *shape,
	size_t channels, const struct net_shape *out, size_t y, size_t rows, float *to)
{
	size_t height = shape->dims[1], width = shape->dims[2], out_width = out->dims[2];

	for (size_t c = 0; c < channels; c++)
		for (uint32_t ky = 0; ky < n->kernel[0]; ky++)
			for (uint32_t kx = 0; kx < n->kernel[1]; kx++)
				for (size_t i = 0; i < rows; i++, to += out_width) {
					size_t at = (y + i) * n->stride[0] +
						(size_t) ky * n->dilation[0];

					if (at < n->pads[0] || at - n->pads[0] >= height)
						memset(to, 0, out_width * sizeof *to);
					else
						gather_row(n,
							in + (c * height + at - n->pads[0]) * width, kx,
							width, out_width, to);
				}
}

/* out[o][p] = bias[o] + sum of weight[o][k] * x[k][p]: four k at a time halve the traffic of out. */
static void multiply(const float *weight, const float *bias, size_t outputs, size_t inputs,
	const float *restrict x, size_t x_step, float *restrict out, size_t out_step, size_t pixels)
{
	for (size_t o = 0; o < outputs; o++, out += out_step, weight += inputs) {
		size_t k = 0;

		for (size_t p = 0; p < pixels; p++)
			out[p] = bias ? bias[o] : 0;
		for (; k + 4 <= inputs; k += 4) {
			const float *a = x + k * x_step, *b = a + x_step, *c = b + x_step,
				    *d = c + x_step;
			float wa = weight[k], wb = weight[k + 1], wc = weight[k + 2],
			      wd = weight[k + 3];

			for (size_t p = 0; p < pixels; p++)
				out[p] += wa * a[p] + wb * b[p] + (wc * c[p] + wd * d[p]);
		}
		for (; k < inputs; k++)
			for (size_t p = 0; p < pixels; p++)
				out[p] += weight[k] * x[k * x_step + p];
	}
}

static void run_group(struct reference *r, const struct net_node *n, uint32_t group, const float *in,
	float *out)
{
	const struct net_shape *is = &r->net->values[n->inputs[0]].shape;
	const struct net_shape *os = &r->net->values[n->output].shape;
	size_t channels = is->dims[0] / n->groups, outputs = n->outputs / n->groups;
	size_t inputs = channels * n->kernel[0] * n->kernel[1];
	size_t plane = (size_t) os->dims[1] * os->dims[2], step = tile_rows(os);
	const float *weight = n->weight + group * outputs * inputs;
	const float *bias = n->bias ? n->bias + group * outputs : NULL;

	for (size_t y = 0; y < os->dims[1]; y += step) {
		size_t rows = MIN_OF(step, os->dims[1] - y), pixels = rows * os->dims[2];
		size_t at = y * os->dims[2];

		if (is_pointwise(n)) {
			multiply(weight, bias, outputs, inputs, in + at, plane, out + at, plane, pixels);
			continue;
		}
		im2col(n, in, is, channels, os, y, rows, r->columns);
		multiply(weight, bias, outputs, inputs, r->columns, pixels, out + at, plane, pixels);
	}
}

/* One filter over one image: each tap adds a scaled, shifted image. */
static void run_plane(const struct net_node *n, const float *weight, float bias, const float *in,
	const struct net_shape *is, float *out, const struct net_shape *os)
{
	size_t stride = n->stride[1];

	for (size_t i = 0; i < (size_t) os->dims[1] * os->dims[2]; i++)
		out[i] = bias;
	for (uint32_t k = 0; k < n->kernel[0] * n->kernel[1]; k++) {
		uint32_t ky = k / n->kernel[1], kx = k % n->kernel[1];
		size_t y, y_end, begin, end;

		inside(n, 0, ky, is->dims[1], os->dims[1], &y, &y_end);
		inside(n, 1, kx, is->dims[2], os->dims[2], &begin, &end);
		for (; y < y_end; y++) {
			size_t row = y * n->stride[0] + (size_t) ky * n->dilation[0] - n->pads[0];
			const float *from = in + row * is->dims[2] +
				(ptrdiff_t) (begin * stride + (size_t) kx * n->dilation[1]) - n->pads[1];
			float *to = out + y * os->dims[2] + begin;

			if (stride == 1)
				for (size_t x = 0; x < end - begin; x++)
					to[x] += weight[k] * from[x];
			else
				for (size_t x = 0; x < end - begin; x++)
					to[x] += weight[k] * from[x * stride];
		}
	}
}

static void run_convolution(struct reference *r, const struct net_node *n, const float *in, float *out)
{
	const struct net_shape *is = &r->net->values[n->inputs[0]].shape;
	const struct net_shape *os = &r->net->values[n->output].shape;
	size_t in_plane = (size_t) is->dims[1] * is->dims[2];
	size_t out_plane = (size_t) os->dims[1] * os->dims[2];
	size_t taps = (size_t) n->kernel[0] * n->kernel[1];

	if (is_depthwise(n, is)) {
		for (uint32_t c = 0; c < n->groups; c++)
			run_plane(n, n->weight + c * taps, n->bias ? n->bias[c] : 0, in + c * in_plane,
				is, out + c * out_plane, os);
		return;
	}
	for (uint32_t g = 0; g < n->groups; g++)
		run_group(r, n, g, in + g * (is->dims[0] / n->groups) * in_plane,
			out + g * (n->outputs / n->groups) * out_plane);
}

/* Sixteen partial sums: an order that vectors can keep. */
static float dot(const float *a, const float *b, size_t n)
{
	float part[16] = {0}, sum = 0;
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
		for (size_t j = 0; j < 16; j++)
			part[j] += a[i + j] * b[i + j];
	for (; i < n; i++)
		part[i % 16] += a[i] * b[i];
	for (size_t j = 0; j < 16; j++)
		sum += part[j];
	return sum;
}

static void run_linear(const struct net_node *n, const float *in, size_t inputs, float *out)
{
	for (uint32_t o = 0; o < n->outputs; o++)
		out[o] = dot(n->weight + o * inputs, in, inputs) + (n->bias ? n->bias[o] : 0);
}

static void run_batch_norm(const struct net_node *n, const float *in, size_t elements, float *out)
{
	size_t plane = elements / n->outputs;

	for (uint32_t c = 0; c < n->outputs; c++) {
		float scale = n->weight[c] / sqrtf(n->variance[c] + n->epsilon);
		float shift = n->bias[c] - n->mean[c] * scale;

		for (size_t i = c * plane; i < (c + 1) * plane; i++)
			out[i] = in[i] * scale + shift;
	}
}

static void run_affine(const struct net_node *n, const float *in, size_t elements, float *out)
{
	size_t plane = elements / n->outputs;

	for (uint32_t c = 0; c < n->outputs; c++)
		for (size_t i = c * plane; i < (c + 1) * plane; i++)
			out[i] = in[i] * n->weight[c] + n->bias[c];
}

static void run_clip(const struct net_node *n, const float *in, size_t elements, float *out)
{
	float low = n->low, high = n->high;
	float step = n->bits ? (high - low) / (float) ((1u << n->bits) - 1) : 0;

	for (size_t i = 0; i < elements; i++) {
		float x = in[i] > low ? in[i] : low;

		out[i] = x < high ? x : high;
		if (step > 0)
			out[i] = rintf((out[i] - low) / step) * step + low;
	}
}

/* The part of a window that lies inside the image, along dimension @d from @at. */
static void window(const struct net_node *n, unsigned d, size_t at, size_t image, uint32_t *begin,
	uint32_t *end)
{
	*begin = 0;
	*end = n->kernel[d];
	while (*begin < *end && at * n->stride[d] + (size_t) *begin * n->dilation[d] < n->pads[d])
		(*begin)++;
	while (*end > *begin &&
		at * n->stride[d] + (size_t) (*end - 1) * n->dilation[d] - n->pads[d] >= image)
		(*end)--;
}

static float pool_window(const struct net_node *n, const float *in, const struct net_shape *is, size_t y,
	size_t x)
{
	bool max = n->kind == NET_MAX_POOL;
	float result = max ? -INFINITY : 0;
	uint32_t y0, y1, x0, x1, count;

	window(n, 0, y, is->dims[1], &y0, &y1);
	window(n, 1, x, is->dims[2], &x0, &x1);
	for (uint32_t i = y0; i < y1; i++) {
		const float *row = in +
			(y * n->stride[0] + (size_t) i * n->dilation[0] - n->pads[0]) * is->dims[2] +
			x * n->stride[1] - n->pads[1];

		for (uint32_t j = x0; j < x1; j++) {
			float v = row[(size_t) j * n->dilation[1]];

			result = !max ? result + v : v > result ? v : result;
		}
	}
	count = n->count_padding ? n->kernel[0] * n->kernel[1] : (y1 - y0) * (x1 - x0);
	return max || !count ? result : result / (float) count;
}

static void run_pool(struct reference *r, const struct net_node *n, const float *in, float *out)
{
	const struct net_shape *is = &r->net->values[n->inputs[0]].shape;
	const struct net_shape *os = &r->net->values[n->output].shape;

	for (size_t c = 0; c < os->dims[0]; c++, in += (size_t) is->dims[1] * is->dims[2])
		for (size_t y = 0; y < os->dims[1]; y++)
			for (size_t x = 0; x < os->dims[2]; x++)
				*out++ = pool_window(n, in, is, y, x);
}

static void dense_strides(const struct net_shape *s, size_t strides[NET_DIMS_MAX])
{
	size_t stride = 1;

	for (uint32_t i = s->n; i-- > 0; stride *= s->dims[i])
		strides[i] = stride;
}

static void copy_strided(float *to, const size_t *to_strides, const float *from,
	const size_t *from_strides, const uint32_t *dims, uint32_t n)
{
	if (n == 0) {
		*to = *from;
		return;
	}
	if (n == 1 && *to_strides == 1 && *from_strides == 1) {
		memcpy(to, from, *dims * sizeof *to);
		return;
	}
	for (uint32_t i = 0; i < *dims; i++)
		copy_strided(to + i * *to_strides, to_strides + 1, from + i * *from_strides,
			from_strides + 1, dims + 1, n - 1);
}

static void run_concat(struct reference *r, const struct net_node *n, float *out)
{
	size_t to[NET_DIMS_MAX] = {0}, from[NET_DIMS_MAX] = {0};

	dense_strides(&r->net->values[n->output].shape, to);
	for (uint32_t i = 0; i < n->n_inputs; i++) {
		const struct net_shape *s = &r->net->values[n->inputs[i]].shape;

		dense_strides(s, from);
		copy_strided(out, to, r->values[n->inputs[i]], from, s->dims, s->n);
		out += s->dims[n->axis] * to[n->axis];
	}
}

static void run_pad(struct reference *r, const struct net_node *n, const float *in, float *out)
{
	const struct net_shape *is = &r->net->values[n->inputs[0]].shape;
	const struct net_shape *os = &r->net->values[n->output].shape;
	size_t to[NET_DIMS_MAX] = {0}, from[NET_DIMS_MAX] = {0};

	dense_strides(os, to);
	dense_strides(is, from);
	memset(out, 0, net_elements(os) * sizeof *out);
	for (uint32_t i = 0; i < is->n; i++)
		out += n->pads[i] * to[i];
	copy_strided(out, to, in, from, is->dims, is->n);
}

static void run_slice(struct reference *r, const struct net_node *n, const float *in, float *out)
{
	const struct net_shape *os = &r->net->values[n->output].shape;
	size_t to[NET_DIMS_MAX] = {0}, from[NET_DIMS_MAX] = {0};

	dense_strides(os, to);
	dense_strides(&r->net->values[n->inputs[0]].shape, from);
	for (uint32_t i = 0; i < os->n; i++) {
		in += n->begin[i] * from[i];
		from[i] *= n->step[i];
	}
	copy_strided(out, to, in, from, os->dims, os->n);
}

static void run_transpose(struct reference *r, const struct net_node *n, const float *in, float *out)
{
	const struct net_shape *os = &r->net->values[n->output].shape;
	size_t to[NET_DIMS_MAX] = {0}, from[NET_DIMS_MAX] = {0}, moved[NET_DIMS_MAX] = {0};

	dense_strides(os, to);
	dense_strides(&r->net->values[n->inputs[0]].shape, from);
	for (uint32_t i = 0; i < os->n; i++)
		moved[i] = from[n->perm[i]];
	copy_strided(out, to, in, moved, os->dims, os->n);
}

/* @n numbers that lie @step apart */
static void softmax(const float *in, size_t n, size_t step, float *out)
{
	float max = -INFINITY, sum = 0;

	for (size_t i = 0; i < n; i++)
		max = in[i * step] > max ? in[i * step] : max;
	for (size_t i = 0; i < n; i++)
		sum += out[i * step] = expf(in[i * step] - max);
	for (size_t i = 0; i < n; i++)
		out[i * step] /= sum;
}

static void run_softmax(const struct net_node *n, const struct net_shape *s, const float *in, float *out)
{
	size_t strides[NET_DIMS_MAX] = {0}, count = s->dims[n->axis], step, elements = net_elements(s);

	dense_strides(s, strides);
	step = strides[n->axis];
	for (size_t outer = 0; outer < elements; outer += count * step)
		for (size_t inner = 0; inner < step; inner++)
			softmax(in + outer + inner, count, step, out + outer + inner);
}

void reference_run_node(struct reference *r, uint32_t node)
{
	const struct net_node *n = &r->net->nodes[node];
	const struct net_shape *shape = &r->net->values[n->output].shape;
	const float *in = n->n_inputs ? r->values[n->inputs[0]] : NULL;
	size_t elements = net_elements(shape);
	float *out = r->values[n->output];

	switch (n->kind) {
	case NET_CONVOLUTION:
		run_convolution(r, n, in, out);
		break;
	case NET_LINEAR:
		run_linear(n, in, net_elements(&r->net->values[n->inputs[0]].shape), out);
		break;
	case NET_BATCH_NORM:
		run_batch_norm(n, in, elements, out);
		break;
	case NET_CLIP:
		run_clip(n, in, elements, out);
		break;
	case NET_ADD:
		for (size_t i = 0; i < elements; i++)
			out[i] = in[i] + r->values[n->inputs[1]][i];
		break;
	case NET_AFFINE:
		run_affine(n, in, elements, out);
		break;
	case NET_MAX_POOL:
	case NET_AVERAGE_POOL:
		run_pool(r, n, in, out);
		break;
	case NET_CONCAT:
		run_concat(r, n, out);
		break;
	case NET_PAD:
		run_pad(r, n, in, out);
		break;
	case NET_SLICE:
		run_slice(r, n, in, out);
		break;
	case NET_RESHAPE:
		memcpy(out, in, elements * sizeof *out);
		break;
	case NET_TRANSPOSE:
		run_transpose(r, n, in, out);
		break;
	case NET_SIGMOID:
		for (size_t i = 0; i < elements; i++)
			out[i] = 1 / (1 + expf(-in[i]));
		break;
	case NET_SOFTMAX:
		run_softmax(n, shape, in, out);
		break;
	case NET_INPUT:
	case _NET_KIND_MAX:
		break;
	}
}

void reference_run(struct reference *r, const float *input)
{
	memcpy(r->values[r->net->input], input,
		net_elements(&r->net->values[r->net->input].shape) * sizeof *input);
	for (uint32_t i = 0; i < r->net->n_nodes; i++)
		reference_run_node(r, i);
}

float *reference_value(struct reference *r, uint32_t value)
{
	return r->values[value];
}
