/* SPDX-License-Identifier: Apache-2.0 */
/* Operators whose inputs are all known at import: mostly the shape arithmetic that exporters leave behind. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/onnx_import.h"

static const struct constant *input_constant(struct import *im, size_t i)
{
	const struct onnx_value *v = import_input(im, i);

	return v ? v->constant : NULL;
}

static int missing_input(struct import *im, size_t i)
{
	return error_set(im->reterr, -EBADMSG, "input %zu is missing", i);
}

static int generated_check(struct import *im, const struct onnx_shape *s)
{
	size_t elements;
	int r = dims_elements(im, s, &elements);

	if (r < 0)
		return r;
	if (elements > ONNX_GENERATED_ELEMENTS_MAX)
		return error_set(im->reterr, -ENOTSUP, "makes %zu elements", elements);
	return 0;
}

static int fold_list(struct import *im, const int64_t *values, size_t n)
{
	struct onnx_shape shape = {.n = 1, .dims = {n}};
	struct constant *c;
	int r;

	r = constant_new(im, &shape, false, &c);
	if (r < 0)
		return r;
	if (n)
		memcpy(c->i, values, n * sizeof *values);
	return import_constant(im, c);
}

static int fold_floats(struct import *im, const float *values, size_t n, uint32_t rank)
{
	struct onnx_shape shape = {.n = rank, .dims = {n}};
	struct constant *c;
	int r;

	r = constant_new(im, &shape, true, &c);
	if (r < 0)
		return r;
	if (n)
		memcpy(c->f, values, n * sizeof *values);
	return import_constant(im, c);
}

static int fold_scalar(struct import *im, int64_t value)
{
	struct onnx_shape shape = {0};
	struct constant *c;
	int r;

	r = constant_new(im, &shape, false, &c);
	if (r < 0)
		return r;
	c->i[0] = value;
	return import_constant(im, c);
}

int fold_constant(struct import *im)
{
	const Onnx__AttributeProto *a;
	struct constant *c;
	int r;

	if ((a = attribute_find(im, "value")) && a->t) {
		r = constant_from_tensor(im, a->t, &c);
		return r < 0 ? r : import_constant(im, c);
	}
	if ((a = attribute_find(im, "value_int")) && a->has_i)
		return fold_scalar(im, a->i);
	if ((a = attribute_find(im, "value_float")) && a->has_f)
		return fold_floats(im, &a->f, 1, 0);
	if ((a = attribute_find(im, "value_ints")))
		return fold_list(im, a->ints, a->n_ints);
	if ((a = attribute_find(im, "value_floats")))
		return fold_floats(im, a->floats, a->n_floats, 1);
	return error_set(im->reterr, -ENOTSUP, "no value, or of a kind that is not supported");
}

/* Shape from opset 15 on may ask for a part. */
static int shape_part(struct import *im, const char *name, int64_t otherwise, uint32_t n, size_t *ret)
{
	int64_t at;
	int r = attribute_int(im, name, otherwise, &at);

	if (r < 0)
		return r;
	if (at < 0)
		at += n;
	*ret = at < 0 ? 0 : at > n ? n : (size_t) at;
	return 0;
}

int fold_shape(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	int64_t dims[ONNX_DIMS_MAX];
	size_t begin, end;
	int r;

	if (!v)
		return missing_input(im, 0);
	r = shape_part(im, "start", 0, v->shape.n, &begin);
	if (r < 0)
		return r;
	r = shape_part(im, "end", v->shape.n, v->shape.n, &end);
	if (r < 0)
		return r;
	for (size_t i = begin; i < end; i++)
		dims[i - begin] = (int64_t) v->shape.dims[i];
	return fold_list(im, dims, end > begin ? end - begin : 0);
}

int fold_size(struct import *im)
{
	const struct onnx_value *v = import_input(im, 0);
	size_t elements;
	int r;

	if (!v)
		return missing_input(im, 0);
	r = dims_elements(im, &v->shape, &elements);
	return r < 0 ? r : fold_scalar(im, (int64_t) elements);
}

/* The same elements under another shape. */
static int fold_copy(struct import *im, const struct constant *in, const struct onnx_shape *shape)
{
	struct constant *c;
	int r;

	r = constant_new(im, shape, in->is_float, &c);
	if (r < 0)
		return r;
	memcpy(c->data, in->data, in->elements * (in->is_float ? sizeof *in->f : sizeof *in->i));
	return import_constant(im, c);
}

typedef int (*shape_fn)(struct import *im, const struct onnx_shape *in, struct onnx_shape *out);

static int fold_view(struct import *im, shape_fn fn)
{
	const struct constant *in = input_constant(im, 0);
	struct onnx_shape shape;
	int r;

	if (!in)
		return missing_input(im, 0);
	r = fn(im, &in->shape, &shape);
	return r < 0 ? r : fold_copy(im, in, &shape);
}

static int shape_same(struct import *im, const struct onnx_shape *in, struct onnx_shape *out)
{
	*out = *in;
	return 0;
}

int fold_identity(struct import *im)
{
	return fold_view(im, shape_same);
}

int fold_reshape(struct import *im)
{
	return fold_view(im, shape_reshape);
}

int fold_squeeze(struct import *im)
{
	return fold_view(im, shape_squeeze);
}

int fold_unsqueeze(struct import *im)
{
	return fold_view(im, shape_unsqueeze);
}

int fold_flatten(struct import *im)
{
	return fold_view(im, shape_flatten);
}

/* Float to integer without undefined results. */
static int64_t to_int(float f)
{
	if (!(f >= -0x1p63f))
		return INT64_MIN;
	return f >= 0x1p63f ? INT64_MAX : (int64_t) f;
}

int fold_cast(struct import *im)
{
	const struct constant *in = input_constant(im, 0);
	struct constant *c;
	bool to_float;
	int64_t to;
	int r;

	if (!in)
		return missing_input(im, 0);
	r = attribute_int(im, "to", 0, &to);
	if (r < 0)
		return r;
	to_float = to == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT ||
		to == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
	if (!to_float && to != ONNX__TENSOR_PROTO__DATA_TYPE__INT64 &&
		to != ONNX__TENSOR_PROTO__DATA_TYPE__INT32 && to != ONNX__TENSOR_PROTO__DATA_TYPE__BOOL)
		return error_set(im->reterr, -ENOTSUP, "to type %lld", (long long) to);
	r = constant_new(im, &in->shape, to_float, &c);
	if (r < 0)
		return r;
	for (size_t i = 0; i < in->elements; i++) {
		if (to_float)
			c->f[i] = in->is_float ? in->f[i] : (float) in->i[i];
		else if (to == ONNX__TENSOR_PROTO__DATA_TYPE__BOOL)
			c->i[i] = in->is_float ? in->f[i] != 0 : in->i[i] != 0;
		else
			c->i[i] = in->is_float ? to_int(in->f[i]) : in->i[i];
	}
	return import_constant(im, c);
}

int fold_constant_of_shape(struct import *im)
{
	const Onnx__AttributeProto *a = attribute_find(im, "value");
	_cleanup_(constant_freep) struct constant *value = NULL;
	struct onnx_shape shape = {0};
	struct constant *c;
	const int64_t *dims;
	size_t n;
	int r;

	r = input_ints(im, 0, &dims, &n);
	if (r <= 0)
		return r ?: missing_input(im, 0);
	if (n > ONNX_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "%zu dimensions", n);
	for (; shape.n < n; shape.n++) {
		if (dims[shape.n] < 0)
			return error_set(im->reterr, -EBADMSG, "a negative dimension");
		shape.dims[shape.n] = (size_t) dims[shape.n];
	}
	r = generated_check(im, &shape);
	if (r >= 0 && a && a->t)
		r = constant_from_tensor(im, a->t, &value);
	if (r < 0)
		return r;
	if (value && value->elements != 1)
		return error_set(im->reterr, -EBADMSG, "value of %zu elements", value->elements);
	r = constant_new(im, &shape, value ? value->is_float : true, &c);
	if (r < 0)
		return r;
	for (size_t i = 0; value && i < c->elements; i++)
		if (c->is_float)
			c->f[i] = value->f[0];
		else
			c->i[i] = value->i[0];
	return import_constant(im, c);
}

int fold_range(struct import *im)
{
	const struct constant *in[3];
	struct onnx_shape shape = {.n = 1};
	struct constant *c;
	double v[3], count;
	int r;

	for (size_t i = 0; i < 3; i++) {
		in[i] = input_constant(im, i);
		if (!in[i] || in[i]->elements != 1 || in[i]->is_float != in[0]->is_float)
			return error_set(im->reterr, -EBADMSG, "input %zu is not a scalar", i);
		v[i] = in[i]->is_float ? in[i]->f[0] : (double) in[i]->i[0];
	}
	count = ceil((v[1] - v[0]) / v[2]);
	if (!(count <= ONNX_GENERATED_ELEMENTS_MAX))
		return error_set(im->reterr, -ENOTSUP, "too many elements");
	shape.dims[0] = count > 0 ? (size_t) count : 0;
	r = constant_new(im, &shape, in[0]->is_float, &c);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->elements; i++)
		if (c->is_float)
			c->f[i] = (float) (v[0] + (double) i * v[2]);
		else
			c->i[i] = (int64_t) ((uint64_t) in[0]->i[0] + i * (uint64_t) in[2]->i[0]);
	return import_constant(im, c);
}

/* Copies elements of 4 or 8 bytes, dimension by dimension, from @from with strides to dense @to. */
static void copy_strided(struct constant *to, size_t *at, const struct constant *from, ptrdiff_t offset,
	const ptrdiff_t *strides, uint32_t dim)
{
	if (dim == to->shape.n) {
		if (to->is_float)
			to->f[(*at)++] = from->f[offset];
		else
			to->i[(*at)++] = from->i[offset];
		return;
	}
	for (size_t i = 0; i < to->shape.dims[dim]; i++)
		copy_strided(to, at, from, offset + (ptrdiff_t) i * strides[dim], strides, dim + 1);
}

static int fold_strided(struct import *im, const struct constant *in, const struct onnx_shape *shape,
	ptrdiff_t offset, const ptrdiff_t strides[ONNX_DIMS_MAX])
{
	struct constant *c;
	size_t at = 0;
	int r;

	r = constant_new(im, shape, in->is_float, &c);
	if (r < 0)
		return r;
	if (c->elements)
		copy_strided(c, &at, in, offset, strides, 0);
	return import_constant(im, c);
}

int fold_transpose(struct import *im)
{
	const struct constant *in = input_constant(im, 0);
	ptrdiff_t strides[ONNX_DIMS_MAX], moved[ONNX_DIMS_MAX];
	uint32_t perm[ONNX_DIMS_MAX];
	struct onnx_shape shape;
	int r;

	if (!in)
		return missing_input(im, 0);
	r = shape_transpose(im, &in->shape, &shape, perm);
	if (r < 0)
		return r;
	if (in->elements)
		shape_strides(&in->shape, strides);
	for (uint32_t i = 0; in->elements && i < shape.n; i++)
		moved[i] = strides[perm[i]];
	return fold_strided(im, in, &shape, 0, moved);
}

int fold_slice(struct import *im)
{
	const struct constant *in = input_constant(im, 0);
	ptrdiff_t strides[ONNX_DIMS_MAX] = {0}, offset = 0;
	struct onnx_shape shape;
	struct slice slice;
	int r;

	if (!in)
		return missing_input(im, 0);
	r = shape_slice(im, &in->shape, &shape, &slice);
	if (r < 0)
		return r;
	if (in->elements)
		shape_strides(&in->shape, strides);
	for (uint32_t i = 0; in->elements && i < shape.n; i++) {
		offset += slice.begin[i] * strides[i];
		strides[i] *= slice.step[i];
	}
	return fold_strided(im, in, &shape, offset, strides);
}

/* Elements that follow each other in one step along @axis. */
static size_t run_of(const struct onnx_shape *s, uint32_t axis)
{
	size_t run = 1;

	for (uint32_t i = axis; i < s->n; i++)
		run *= s->dims[i];
	return run;
}

int fold_concat(struct import *im)
{
	const struct constant *first = input_constant(im, 0);
	_cleanup_(constant_freep) struct constant *c = NULL;
	struct onnx_shape shape;
	size_t run, begin = 0, size;
	uint32_t axis;
	int r;

	r = shape_concat(im, &shape, &axis);
	if (r < 0)
		return r;
	r = constant_new(im, &shape, first->is_float, &c);
	if (r < 0)
		return r;
	size = c->is_float ? sizeof *c->f : sizeof *c->i;
	run = c->elements ? run_of(&shape, axis) : 0;
	for (size_t i = 0; i < im->node->n_input; i++) {
		const struct constant *in = input_constant(im, i);
		size_t part = in->elements ? run_of(&in->shape, axis) : 0;

		if (in->is_float != c->is_float)
			return error_set(im->reterr, -EBADMSG, "inputs of different types");
		for (size_t row = 0; part && row < in->elements / part; row++)
			memcpy((uint8_t *) c->data + (row * run + begin) * size,
				(const uint8_t *) in->data + row * part * size, part * size);
		begin += part;
	}
	return import_constant(im, take_ptr(c));
}

static int gather_shape(struct import *im, const struct constant *in, const struct constant *at,
	uint32_t axis, struct onnx_shape *out)
{
	if (in->shape.n - 1 + at->shape.n > ONNX_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "too many dimensions");
	out->n = 0;
	for (uint32_t i = 0; i < axis; i++)
		out->dims[out->n++] = in->shape.dims[i];
	for (uint32_t i = 0; i < at->shape.n; i++)
		out->dims[out->n++] = at->shape.dims[i];
	for (uint32_t i = axis + 1; i < in->shape.n; i++)
		out->dims[out->n++] = in->shape.dims[i];
	return generated_check(im, out);
}

static int gather_rows(struct import *im, const struct constant *in, const struct constant *at,
	uint32_t axis, struct constant *c)
{
	size_t dim = in->shape.dims[axis], step = run_of(&in->shape, axis + 1), to = 0;
	size_t size = c->is_float ? sizeof *c->f : sizeof *c->i;

	for (size_t i = 0; i < at->elements; i++)
		if (at->i[i] < -(int64_t) dim || at->i[i] >= (int64_t) dim)
			return error_set(im->reterr, -EBADMSG, "index out of range");
	if (!c->elements)
		return 0;
	for (size_t outer = 0; outer < in->elements / (dim * step); outer++)
		for (size_t i = 0; i < at->elements; i++, to += step) {
			size_t index = (size_t) (at->i[i] < 0 ? at->i[i] + (int64_t) dim : at->i[i]);

			memcpy((uint8_t *) c->data + to * size,
				(const uint8_t *) in->data + (outer * dim + index) * step * size,
				step * size);
		}
	return 0;
}

int fold_gather(struct import *im)
{
	const struct constant *in = input_constant(im, 0), *at = input_constant(im, 1);
	_cleanup_(constant_freep) struct constant *c = NULL;
	struct onnx_shape shape;
	int64_t wanted;
	uint32_t axis;
	int r;

	if (!in || !at || at->is_float)
		return error_set(im->reterr, -EBADMSG, "no data or no indices");
	r = attribute_int(im, "axis", 0, &wanted);
	if (r < 0)
		return r;
	r = axis_of(im, wanted, in->shape.n, &axis);
	if (r < 0)
		return r;
	r = gather_shape(im, in, at, axis, &shape);
	if (r < 0)
		return r;
	r = constant_new(im, &shape, in->is_float, &c);
	if (r < 0)
		return r;
	r = gather_rows(im, in, at, axis, c);
	return r < 0 ? r : import_constant(im, take_ptr(c));
}

/* Shapes aligned at their ends; a dimension of one is repeated by a stride of zero. */
static int broadcast(struct import *im, const struct constant *a, const struct constant *b,
	struct onnx_shape *out, ptrdiff_t strides[2][ONNX_DIMS_MAX])
{
	const struct constant *in[2] = {a, b};

	out->n = MAX_OF(a->shape.n, b->shape.n);
	for (uint32_t i = 0; i < out->n; i++)
		out->dims[i] = 1;
	for (unsigned k = 0; k < 2; k++) {
		uint32_t skip = out->n - in[k]->shape.n;
		ptrdiff_t dense[ONNX_DIMS_MAX];

		memset(strides[k], 0, sizeof strides[k]);
		if (!in[k]->elements)
			return error_set(im->reterr, -ENOTSUP, "arithmetic on nothing");
		shape_strides(&in[k]->shape, dense);
		for (uint32_t i = 0; i < in[k]->shape.n; i++) {
			size_t dim = in[k]->shape.dims[i];

			if (dim == 1)
				continue;
			if (out->dims[i + skip] != 1 && out->dims[i + skip] != dim)
				return error_set(im->reterr, -EBADMSG, "shapes that do not fit");
			out->dims[i + skip] = dim;
			strides[k][i + skip] = dense[i];
		}
	}
	return generated_check(im, out);
}

static float float_result(char op, float a, float b)
{
	switch (op) {
	case 'A':
		return a + b;
	case 'S':
		return a - b;
	case 'M':
		return a * b;
	default:
		return a / b;
	}
}

/* Wraps as the file's own two's complement would; division by zero is caught before. */
static int64_t int_result(char op, int64_t a, int64_t b)
{
	switch (op) {
	case 'A':
		return (int64_t) ((uint64_t) a + (uint64_t) b);
	case 'S':
		return (int64_t) ((uint64_t) a - (uint64_t) b);
	case 'M':
		return (int64_t) ((uint64_t) a * (uint64_t) b);
	default:
		return b == -1 ? (int64_t) -(uint64_t) a : a / b;
	}
}

static int arithmetic(struct import *im, const struct constant *a, const struct constant *b,
	ptrdiff_t strides[2][ONNX_DIMS_MAX], struct constant *c)
{
	char op = im->node->op_type[0];

	for (size_t i = 0; i < c->elements; i++) {
		size_t rest = i;
		ptrdiff_t at[2] = {0, 0};

		for (uint32_t d = c->shape.n; d-- > 0; rest /= c->shape.dims[d])
			for (unsigned k = 0; k < 2; k++)
				at[k] += (ptrdiff_t) (rest % c->shape.dims[d]) * strides[k][d];
		if (c->is_float)
			c->f[i] = float_result(op, a->f[at[0]], b->f[at[1]]);
		else if (op == 'D' && b->i[at[1]] == 0)
			return error_set(im->reterr, -EBADMSG, "division by zero");
		else
			c->i[i] = int_result(op, a->i[at[0]], b->i[at[1]]);
	}
	return 0;
}

/* Add, Sub, Mul, Div: told apart by their first letter. */
int fold_arithmetic(struct import *im)
{
	const struct constant *a = input_constant(im, 0), *b = input_constant(im, 1);
	_cleanup_(constant_freep) struct constant *c = NULL;
	ptrdiff_t strides[2][ONNX_DIMS_MAX];
	struct onnx_shape shape;
	int r;

	if (!a || !b || a->is_float != b->is_float)
		return error_set(im->reterr, -EBADMSG, "needs two inputs of one type");
	r = broadcast(im, a, b, &shape, strides);
	if (r < 0)
		return r;
	r = constant_new(im, &shape, a->is_float, &c);
	if (r < 0)
		return r;
	r = arithmetic(im, a, b, strides, c);
	return r < 0 ? r : import_constant(im, take_ptr(c));
}
