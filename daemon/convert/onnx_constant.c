/* SPDX-License-Identifier: Apache-2.0 */
/* Constants: from the tensors of a file, within a budget for the whole file. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/onnx_import.h"

struct constant *constant_free(struct constant *c)
{
	if (c)
		free(c->data);
	free(c);
	return NULL;
}

int dims_elements(struct import *im, const struct onnx_shape *s, size_t *ret)
{
	size_t elements = 1;

	for (uint32_t i = 0; i < s->n; i++)
		if (!bytes_mul(&elements, elements, s->dims[i]))
			return error_set(im->reterr, -EBADMSG, "shape too large");
	*ret = elements;
	return 0;
}

int constant_new(struct import *im, const struct onnx_shape *s, bool is_float, struct constant **ret)
{
	_cleanup_(constant_freep) struct constant *c = NULL;
	size_t elements = 0, bytes;
	int r;

	r = dims_elements(im, s, &elements);
	if (r < 0)
		return r;
	if (!bytes_mul(&bytes, elements, is_float ? sizeof(float) : sizeof(int64_t)) ||
		bytes > ONNX_CONSTANT_BYTES_MAX - im->constant_bytes)
		return error_set(im->reterr, -ENOTSUP, "constants of more than %u GiB",
			(unsigned) (ONNX_CONSTANT_BYTES_MAX >> 30));
	c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->data = calloc(bytes ?: 1, 1);
	if (!c->data)
		return error_set(im->reterr, -ENOMEM, "no memory for a constant of %zu bytes", bytes);
	im->constant_bytes += bytes;
	c->shape = *s;
	c->elements = elements;
	c->is_float = is_float;
	*ret = take_ptr(c);
	return 0;
}

static float from_half(uint16_t h)
{
	uint32_t sign = (uint32_t) (h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
	uint32_t bits;

	if (exponent == 31)
		bits = sign | 0x7f800000 | mantissa << 13;
	else if (exponent)
		bits = sign | (exponent + 112) << 23 | mantissa << 13;
	else {
		float tiny = (float) mantissa * 0x1p-24f;

		return sign ? -tiny : tiny;
	}
	return bytes_f32(&bits);
}

static float from_bfloat(uint16_t h)
{
	uint32_t bits = (uint32_t) h << 16;

	return bytes_f32(&bits);
}

/* Bytes of an element in raw_data; 0: a type that no supported network has. */
static unsigned type_bytes(int32_t type)
{
	switch (type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__BOOL:
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT8:
		return 1;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT16:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT16:
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16:
	case ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16:
		return 2;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
		return 4;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT64:
	case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
		return 8;
	default:
		return 0;
	}
}

static bool type_is_float(int32_t type)
{
	return type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT ||
		type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE ||
		type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 ||
		type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
}

static float raw_float(int32_t type, const uint8_t *p)
{
	if (type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE) {
		double v;

		memcpy(&v, p, sizeof v);
		return (float) v;
	}
	if (type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16)
		return from_half(bytes_u16(p));
	if (type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16)
		return from_bfloat(bytes_u16(p));
	return bytes_f32(p);
}

static int64_t raw_int(int32_t type, const uint8_t *p)
{
	switch (type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
		return (int8_t) *p;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT16:
		return (int16_t) bytes_u16(p);
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT16:
		return bytes_u16(p);
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
		return (int32_t) bytes_u32(p);
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
		return bytes_u32(p);
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT64:
		return (int64_t) bytes_u64(p);
	default:
		return *p;
	}
}

static int fill_raw(struct import *im, const Onnx__TensorProto *t, struct constant *c)
{
	unsigned bytes = type_bytes(t->data_type);

	if (t->raw_data.len / bytes != c->elements || t->raw_data.len % bytes)
		return error_set(im->reterr, -EBADMSG, "%zu bytes of data for %zu elements",
			t->raw_data.len, c->elements);
	for (size_t i = 0; i < c->elements; i++) {
		const uint8_t *p = t->raw_data.data + i * bytes;

		if (c->is_float)
			c->f[i] = raw_float(t->data_type, p);
		else
			c->i[i] = raw_int(t->data_type, p);
	}
	return 0;
}

static size_t typed_count(const Onnx__TensorProto *t)
{
	switch (t->data_type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
		return t->n_float_data;
	case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
		return t->n_double_data;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
		return t->n_int64_data;
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT64:
		return t->n_uint64_data;
	default:
		return t->n_int32_data;
	}
}

static void fill_element(const Onnx__TensorProto *t, struct constant *c, size_t i)
{
	switch (t->data_type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
		c->f[i] = t->float_data[i];
		break;
	case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
		c->f[i] = (float) t->double_data[i];
		break;
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16:
		c->f[i] = from_half((uint16_t) t->int32_data[i]);
		break;
	case ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16:
		c->f[i] = from_bfloat((uint16_t) t->int32_data[i]);
		break;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
		c->i[i] = t->int64_data[i];
		break;
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT64:
		c->i[i] = (int64_t) t->uint64_data[i];
		break;
	default:
		c->i[i] = t->int32_data[i];
	}
}

static int tensor_shape(struct import *im, const Onnx__TensorProto *t, struct onnx_shape *s)
{
	if (t->n_dims > ONNX_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "a tensor of %zu dimensions", t->n_dims);
	s->n = (uint32_t) t->n_dims;
	for (uint32_t i = 0; i < s->n; i++) {
		if (t->dims[i] < 0)
			return error_set(im->reterr, -EBADMSG, "a negative dimension");
		s->dims[i] = (size_t) t->dims[i];
	}
	return 0;
}

int constant_from_tensor(struct import *im, const Onnx__TensorProto *t, struct constant **ret)
{
	_cleanup_(constant_freep) struct constant *c = NULL;
	struct onnx_shape shape;
	size_t elements = 0, there;
	int r;

	if (t->n_external_data || t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
		return error_set(im->reterr, -ENOTSUP, "data in another file");
	if (!t->has_data_type || !type_bytes(t->data_type) || t->segment)
		return error_set(im->reterr, -ENOTSUP, "a tensor of type %d", (int) t->data_type);
	r = tensor_shape(im, t, &shape);
	if (r < 0)
		return r;
	r = dims_elements(im, &shape, &elements);
	if (r < 0)
		return r;
	/* Before the allocation: what a file claims must be in it. */
	there = t->has_raw_data ? t->raw_data.len / type_bytes(t->data_type) : typed_count(t);
	if (there != elements)
		return error_set(im->reterr, -EBADMSG, "%zu elements of data for a shape of %zu", there,
			elements);
	r = constant_new(im, &shape, type_is_float(t->data_type), &c);
	if (r < 0)
		return r;
	if (t->has_raw_data) {
		r = fill_raw(im, t, c);
		if (r < 0)
			return r;
	} else {
		for (size_t i = 0; i < elements; i++)
			fill_element(t, c, i);
	}
	*ret = take_ptr(c);
	return 0;
}

int constant_floats(struct import *im, const struct constant *c, float **ret)
{
	float *f;
	uint64_t bytes = (uint64_t) c->elements * sizeof *f;

	if (bytes > ONNX_CONSTANT_BYTES_MAX - im->constant_bytes)
		return error_set(im->reterr, -ENOTSUP, "constants of more than %u GiB",
			(unsigned) (ONNX_CONSTANT_BYTES_MAX >> 30));
	f = malloc(bytes ?: 1);
	if (!f)
		return -ENOMEM;
	im->constant_bytes += bytes;
	for (size_t i = 0; i < c->elements; i++)
		f[i] = c->is_float ? c->f[i] : (float) c->i[i];
	*ret = f;
	return 0;
}
