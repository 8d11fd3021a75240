/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of the results of operators that move elements: one computation for constants and values. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/onnx_import.h"

void shape_strides(const struct onnx_shape *s, ptrdiff_t strides[ONNX_DIMS_MAX])
{
	ptrdiff_t stride = 1;

	for (uint32_t i = s->n; i-- > 0;) {
		strides[i] = stride;
		stride *= (ptrdiff_t) s->dims[i];
	}
}

/* The one dimension that the file left to us. */
static int infer_dim(struct import *im, size_t elements, struct onnx_shape *out, int hole)
{
	size_t known;
	int r;

	if (hole >= 0)
		out->dims[hole] = 1;
	r = dims_elements(im, out, &known);
	if (r < 0)
		return r;
	if (hole >= 0 && known && elements % known == 0) {
		out->dims[hole] = elements / known;
		return 0;
	}
	if (hole < 0 && known == elements)
		return 0;
	return error_set(im->reterr, -EBADMSG, "%zu elements do not fit the new shape", elements);
}

int shape_reshape(struct import *im, const struct onnx_shape *in, struct onnx_shape *out)
{
	const int64_t *dims;
	size_t n, elements;
	int64_t allow_zero;
	int hole = -1, r;

	r = input_ints(im, 1, &dims, &n);
	if (r <= 0)
		return r ?: error_set(im->reterr, -EBADMSG, "no shape");
	r = attribute_int(im, "allowzero", 0, &allow_zero);
	if (r < 0)
		return r;
	if (n > ONNX_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "%zu dimensions", n);
	out->n = (uint32_t) n;
	for (uint32_t i = 0; i < n; i++) {
		if (dims[i] < -1 || (dims[i] == -1 && hole >= 0) ||
			(dims[i] == 0 && !allow_zero && i >= in->n))
			return error_set(im->reterr, -EBADMSG, "bad new shape");
		if (dims[i] == -1)
			hole = (int) i;
		out->dims[i] = dims[i] == 0 && !allow_zero ? in->dims[i] : (size_t) dims[i];
	}
	r = dims_elements(im, in, &elements);
	return r < 0 ? r : infer_dim(im, elements, out, hole);
}

/* Bit i: dimension i is named in axes. */
static int axes_of(struct import *im, const int64_t *axes, size_t n, uint32_t rank, uint32_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t axis;
		int r = axis_of(im, axes[i], rank, &axis);

		if (r < 0)
			return r;
		if (*ret & 1u << axis)
			return error_set(im->reterr, -EBADMSG, "axis %u named twice", axis);
		*ret |= 1u << axis;
	}
	return 0;
}

int shape_squeeze(struct import *im, const struct onnx_shape *in, struct onnx_shape *out)
{
	const int64_t *axes;
	uint32_t named = 0;
	size_t n;
	int r;

	r = ints_of(im, "axes", 1, 13, &axes, &n);
	if (r > 0)
		r = axes_of(im, axes, n, in->n, &named);
	else if (r == 0)
		for (uint32_t i = 0; i < in->n; i++)
			named |= in->dims[i] == 1 ? 1u << i : 0;
	if (r < 0)
		return r;
	out->n = 0;
	for (uint32_t i = 0; i < in->n; i++) {
		if (!(named & 1u << i))
			out->dims[out->n++] = in->dims[i];
		else if (in->dims[i] != 1)
			return error_set(im->reterr, -EBADMSG, "axis %u of length %zu", i, in->dims[i]);
	}
	return 0;
}

int shape_unsqueeze(struct import *im, const struct onnx_shape *in, struct onnx_shape *out)
{
	const int64_t *axes;
	uint32_t named, from = 0;
	size_t n;
	int r;

	r = ints_of(im, "axes", 1, 13, &axes, &n);
	if (r <= 0)
		return r ?: error_set(im->reterr, -EBADMSG, "no axes");
	if (n > ONNX_DIMS_MAX || in->n + n > ONNX_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "%zu dimensions", in->n + n);
	out->n = in->n + (uint32_t) n;
	r = axes_of(im, axes, n, out->n, &named);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < out->n; i++)
		out->dims[i] = named & 1u << i ? 1 : in->dims[from++];
	return 0;
}

int shape_flatten(struct import *im, const struct onnx_shape *in, struct onnx_shape *out)
{
	int64_t axis;
	int r;

	r = attribute_int(im, "axis", 1, &axis);
	if (r < 0)
		return r;
	if (axis < -(int64_t) in->n || axis > (int64_t) in->n)
		return error_set(im->reterr, -EBADMSG, "axis %lld of %u dimensions", (long long) axis,
			in->n);
	if (axis < 0)
		axis += in->n;
	*out = (struct onnx_shape){.n = 2, .dims = {1, 1}};
	for (uint32_t i = 0; i < in->n; i++)
		if (!bytes_mul(&out->dims[i >= axis], out->dims[i >= axis], in->dims[i]))
			return error_set(im->reterr, -EBADMSG, "shape too large");
	return 0;
}

int shape_transpose(struct import *im, const struct onnx_shape *in, struct onnx_shape *out,
	uint32_t perm[ONNX_DIMS_MAX])
{
	const int64_t *wanted;
	uint32_t seen = 0;
	size_t n;
	int r;

	r = attribute_ints(im, "perm", &wanted, &n);
	if (r < 0)
		return r;
	if (r && n != in->n)
		return error_set(im->reterr, -EBADMSG, "perm of %zu for %u dimensions", n, in->n);
	out->n = in->n;
	for (uint32_t i = 0; i < in->n; i++) {
		int64_t from = r ? wanted[i] : (int64_t) (in->n - 1 - i);

		if (from < 0 || from >= in->n || seen & 1u << from)
			return error_set(im->reterr, -EBADMSG, "perm is not a permutation");
		seen |= 1u << from;
		perm[i] = (uint32_t) from;
		out->dims[i] = in->dims[from];
	}
	return 0;
}

static bool fits_beside(const struct onnx_shape *a, const struct onnx_shape *b, uint32_t axis)
{
	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (i != axis && a->dims[i] != b->dims[i])
			return false;
	return true;
}

int shape_concat(struct import *im, struct onnx_shape *out, uint32_t *axis)
{
	int64_t wanted;
	int r;

	if (!im->node->n_input || !import_input(im, 0))
		return error_set(im->reterr, -EBADMSG, "no input");
	*out = import_input(im, 0)->shape;
	r = attribute_int(im, "axis", 1, &wanted);
	if (r < 0)
		return r;
	r = axis_of(im, wanted, out->n, axis);
	if (r < 0)
		return r;
	for (size_t i = 1; i < im->node->n_input; i++) {
		const struct onnx_value *v = import_input(im, i);

		if (!v || !fits_beside(out, &v->shape, *axis) ||
			!bytes_add(&out->dims[*axis], out->dims[*axis], v->shape.dims[*axis]))
			return error_set(im->reterr, -EBADMSG, "shape of input %zu does not fit", i);
	}
	return 0;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
	return x < low ? low : x > high ? high : x;
}

/* One axis: where it starts, and how many there are. Python's rules. */
static size_t slice_axis(int64_t dim, int64_t begin, int64_t end, int64_t *step, int64_t *ret_begin)
{
	*step = clamp(*step, -dim - 1, dim + 1);
	if (begin < 0)
		begin += dim;
	if (end < 0)
		end += dim;
	if (*step > 0) {
		begin = clamp(begin, 0, dim);
		end = clamp(end, 0, dim);
	} else {
		begin = clamp(begin, 0, dim - 1);
		end = clamp(end, -1, dim - 1);
	}
	*ret_begin = begin;
	if (*step > 0)
		return end > begin ? (size_t) ((end - begin - 1) / *step + 1) : 0;
	return begin > end && begin < dim ? (size_t) ((begin - end - 1) / -*step + 1) : 0;
}

struct slice_lists {
	const int64_t *begins, *ends, *axes, *steps;
	size_t n;
};

static int slice_lists(struct import *im, struct slice_lists *l)
{
	size_t n_ends = 0, n_axes, n_steps;
	int r, have_axes, have_steps;

	r = ints_of(im, "starts", 1, 10, &l->begins, &l->n);
	if (r > 0)
		r = ints_of(im, "ends", 2, 10, &l->ends, &n_ends);
	if (r <= 0)
		return r ?: error_set(im->reterr, -EBADMSG, "no starts or ends");
	have_axes = ints_of(im, "axes", 3, 10, &l->axes, &n_axes);
	if (have_axes < 0)
		return have_axes;
	have_steps = im->opset < 10 ? 0 : input_ints(im, 4, &l->steps, &n_steps);
	if (have_steps < 0)
		return have_steps;
	if (n_ends != l->n || (have_axes && n_axes != l->n) || (have_steps && n_steps != l->n) ||
		l->n > ONNX_DIMS_MAX)
		return error_set(im->reterr, -EBADMSG, "starts, ends, axes and steps differ in length");
	if (!have_axes)
		l->axes = NULL;
	if (!have_steps)
		l->steps = NULL;
	return 0;
}

int shape_slice(struct import *im, const struct onnx_shape *in, struct onnx_shape *out,
	struct slice *slice)
{
	struct slice_lists l;
	uint32_t seen = 0;
	int r;

	r = slice_lists(im, &l);
	if (r < 0)
		return r;
	*out = *in;
	for (uint32_t i = 0; i < in->n; i++) {
		slice->begin[i] = 0;
		slice->step[i] = 1;
	}
	for (size_t i = 0; i < l.n; i++) {
		uint32_t axis;

		r = axis_of(im, l.axes ? l.axes[i] : (int64_t) i, in->n, &axis);
		if (r < 0)
			return r;
		slice->step[axis] = l.steps ? l.steps[i] : 1;
		if (slice->step[axis] == 0 || seen & 1u << axis || in->dims[axis] > INT64_MAX / 4)
			return error_set(im->reterr, -EBADMSG, "bad slice of axis %u", axis);
		seen |= 1u << axis;
		out->dims[axis] = slice_axis((int64_t) in->dims[axis], l.begins[i], l.ends[i],
			&slice->step[axis], &slice->begin[axis]);
	}
	return 0;
}
