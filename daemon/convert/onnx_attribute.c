/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and constant inputs of the node being imported. A wrong type is an error, not a default. */
#include <errno.h>
#include <string.h>

#include "convert/onnx_import.h"

const Onnx__AttributeProto *attribute_find(struct import *im, const char *name)
{
	for (size_t i = 0; i < im->node->n_attribute; i++) {
		const Onnx__AttributeProto *a = im->node->attribute[i];

		if (a->name && strcmp(a->name, name) == 0)
			return a;
	}
	return NULL;
}

int attribute_int(struct import *im, const char *name, int64_t otherwise, int64_t *ret)
{
	const Onnx__AttributeProto *a = attribute_find(im, name);

	if (a && !a->has_i)
		return error_set(im->reterr, -EBADMSG, "attribute %s is not an integer", name);
	*ret = a ? a->i : otherwise;
	return 0;
}

int attribute_float(struct import *im, const char *name, float otherwise, float *ret)
{
	const Onnx__AttributeProto *a = attribute_find(im, name);

	if (a && !a->has_f)
		return error_set(im->reterr, -EBADMSG, "attribute %s is not a number", name);
	*ret = a ? a->f : otherwise;
	return 0;
}

int attribute_ints(struct import *im, const char *name, const int64_t **ret, size_t *n)
{
	const Onnx__AttributeProto *a = attribute_find(im, name);

	if (!a)
		return 0;
	if (a->has_f || a->has_i || a->has_s || a->t)
		return error_set(im->reterr, -EBADMSG, "attribute %s is not a list of integers", name);
	*ret = a->ints;
	*n = a->n_ints;
	return 1;
}

bool attribute_is_string(struct import *im, const char *name, const char *value)
{
	const Onnx__AttributeProto *a = attribute_find(im, name);

	return a && a->has_s && a->s.len == strlen(value) && memcmp(a->s.data, value, a->s.len) == 0;
}

int input_ints(struct import *im, size_t i, const int64_t **ret, size_t *n)
{
	const struct onnx_value *v = import_input(im, i);

	if (!v)
		return 0;
	if (!v->constant)
		return error_set(im->reterr, -ENOTSUP, "input %zu is computed at run time", i);
	if (v->constant->is_float || v->constant->shape.n > 1)
		return error_set(im->reterr, -EBADMSG, "input %zu is not a list of integers", i);
	*ret = v->constant->i;
	*n = v->constant->elements;
	return 1;
}

int ints_of(struct import *im, const char *name, size_t i, int64_t opset, const int64_t **ret,
	size_t *n)
{
	if (im->opset < opset)
		return attribute_ints(im, name, ret, n);
	return input_ints(im, i, ret, n);
}

int axis_of(struct import *im, int64_t axis, uint32_t n, uint32_t *ret)
{
	if (axis < -(int64_t) n || axis >= (int64_t) n)
		return error_set(im->reterr, -EBADMSG, "axis %lld of %u dimensions", (long long) axis, n);
	*ret = (uint32_t) (axis < 0 ? axis + n : axis);
	return 0;
}
