/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the importer: values under their ONNX names and full shapes (with the batch), and the table of
 * operators.
 *
 * An ONNX value becomes either a constant, known at import, or a value of the net. The net's shape is
 * the full one without its first dimension when that is 1; a first dimension of more than one stays, so
 * an operator that needs a batch of its own finds it and refuses. Elements have the same order in both.
 *
 * Every function returns 0 or a negative errno and has put the words into import.reterr; onnx_read()
 * prefixes operator and node.
 */
#pragma once

#include "base/list.h"
#include "convert/net.h"
#include "onnx.pb-c.h"

#define ONNX_DIMS_MAX 8
#define ONNX_OPSET_MIN 7
#define ONNX_OPSET_MAX 17

/* All constants of a file together, and all values of its net (elements). */
#define ONNX_CONSTANT_BYTES_MAX (UINT64_C(4) << 30)
#define ONNX_VALUE_ELEMENTS_MAX (UINT64_C(1) << 30)
/* What a few bytes of a file can make out of nothing (ConstantOfShape, Range, broadcasts). */
#define ONNX_GENERATED_ELEMENTS_MAX (UINT64_C(1) << 20)
/* Strides, pads, kernels, dilations: far above sense, far below overflow. */
#define ONNX_SPATIAL_MAX (1 << 20)

struct onnx_shape {
	uint32_t n;
	size_t dims[ONNX_DIMS_MAX];
};

/** struct constant - float types become float, integers and booleans int64 */
struct constant {
	struct onnx_shape shape;
	size_t elements;
	bool is_float;
	union {
		void *data;
		float *f;
		int64_t *i;
	};
};

struct constant *constant_free(struct constant *c);
DEFINE_CLEANUP(struct constant *, constant_free)

struct onnx_value {
	struct constant *constant; /* owned; NULL: a value of the net */
	struct onnx_shape shape;
	uint32_t net;
};

struct import {
	struct net *net;
	const Onnx__GraphProto *graph;
	const Onnx__NodeProto *node; /* the one being imported */
	int64_t opset;
	struct onnx_value *values;
	size_t n_values, n_values_max;
	struct hsearch_data *names;
	uint64_t constant_bytes, value_elements; /* spent */
	struct error *reterr;
};

/**
 * struct onnx_file - a parsed file and all its memory (onnx_parse.c)
 *
 * Zero it before; onnx_file_done() frees everything, also after onnx_file_parse() has failed.
 */
struct onnx_file {
	Onnx__ModelProto *model;
	struct list blocks;
	uint64_t bytes_left;
};

int onnx_file_parse(struct onnx_file *f, const uint8_t *data, size_t size, struct error *reterr);
void onnx_file_done(struct onnx_file *f);

/* onnx_read.c: values by name */
/** import_input() - Return: the current node's input @i, NULL when it was left out */
struct onnx_value *import_input(struct import *im, size_t i);
int import_define(struct import *im, const char *name, struct onnx_value **ret);
/** import_constant() - the current node's first output is @c; takes it in any case */
int import_constant(struct import *im, struct constant *c);
/** import_value() - the current node's first output is a value that exists already */
int import_value(struct import *im, uint32_t net, const struct onnx_shape *shape);
/**
 * import_node() - a new node of the net, with one input and a new value for its output
 *
 * The node is valid until the next addition. Its output is not bound to a name yet.
 */
int import_node(struct import *im, enum net_kind kind, uint32_t input,
	const struct onnx_shape *shape, struct net_node **ret);
/** import_output() - bind the current node's first output to the output of the newest net node */
int import_output(struct import *im, const struct onnx_shape *shape);
/** import_reshape() - @net under another shape: a NET_RESHAPE when the net can tell them apart */
int import_reshape(struct import *im, uint32_t net, const struct onnx_shape *shape, uint32_t *ret);
/** net_shape_of() - without a leading 1. Return: -ENOTSUP for more than NET_DIMS_MAX dimensions */
int net_shape_of(struct import *im, const struct onnx_shape *s, struct net_shape *ret);
/** net_lead() - dimensions that the net's shape leaves out: 0 or 1 */
uint32_t net_lead(const struct onnx_shape *s);

/* onnx_attribute.c: attributes of the current node */
const Onnx__AttributeProto *attribute_find(struct import *im, const char *name);
int attribute_int(struct import *im, const char *name, int64_t otherwise, int64_t *ret);
int attribute_float(struct import *im, const char *name, float otherwise, float *ret);
/** attribute_ints() - Return: 1 when there, 0 when not (@ret is left alone) */
int attribute_ints(struct import *im, const char *name, const int64_t **ret, size_t *n);
bool attribute_is_string(struct import *im, const char *name, const char *value);
/** input_ints() - input @i, a constant of integers. Return: 1, or 0 when left out */
int input_ints(struct import *im, size_t i, const int64_t **ret, size_t *n);
/** ints_of() - what was an attribute until @opset, and is input @i from then on */
int ints_of(struct import *im, const char *name, size_t i, int64_t opset, const int64_t **ret,
	size_t *n);
int axis_of(struct import *im, int64_t axis, uint32_t n, uint32_t *ret);

/* onnx_constant.c */
int dims_elements(struct import *im, const struct onnx_shape *s, size_t *ret);
int constant_new(struct import *im, const struct onnx_shape *s, bool is_float, struct constant **ret);
int constant_from_tensor(struct import *im, const Onnx__TensorProto *t, struct constant **ret);
/** constant_floats() - a copy for a node of the net, integers converted */
int constant_floats(struct import *im, const struct constant *c, float **ret);

/* Shapes of results, shared by constants and values: onnx_shape.c */
int shape_reshape(struct import *im, const struct onnx_shape *in, struct onnx_shape *out);
int shape_squeeze(struct import *im, const struct onnx_shape *in, struct onnx_shape *out);
int shape_unsqueeze(struct import *im, const struct onnx_shape *in, struct onnx_shape *out);
int shape_flatten(struct import *im, const struct onnx_shape *in, struct onnx_shape *out);
int shape_transpose(struct import *im, const struct onnx_shape *in, struct onnx_shape *out,
	uint32_t perm[ONNX_DIMS_MAX]);
/** shape_concat() - of all inputs of the current node */
int shape_concat(struct import *im, struct onnx_shape *out, uint32_t *axis);
struct slice {
	int64_t begin[ONNX_DIMS_MAX], step[ONNX_DIMS_MAX];
};
int shape_slice(struct import *im, const struct onnx_shape *in, struct onnx_shape *out,
	struct slice *slice);
void shape_strides(const struct onnx_shape *s, ptrdiff_t strides[ONNX_DIMS_MAX]);

/**
 * struct onnx_op - one row of the operators
 * @constant: called when all inputs are constants; NULL: not supported then
 * @value: called when some input is a value of the net; NULL: not supported then
 * @any_order: @value takes a constant as first input; for others it is a value, always there
 */
struct onnx_op {
	const char *name;
	int (*constant)(struct import *im);
	int (*value)(struct import *im);
	bool any_order;
};

const struct onnx_op *onnx_op_find(const char *name);

/* onnx_fold.c: operators on constants */
int fold_constant(struct import *im);
int fold_shape(struct import *im);
int fold_size(struct import *im);
int fold_identity(struct import *im);
int fold_cast(struct import *im);
int fold_constant_of_shape(struct import *im);
int fold_range(struct import *im);
int fold_gather(struct import *im);
int fold_reshape(struct import *im);
int fold_squeeze(struct import *im);
int fold_unsqueeze(struct import *im);
int fold_flatten(struct import *im);
int fold_transpose(struct import *im);
int fold_concat(struct import *im);
int fold_slice(struct import *im);
int fold_arithmetic(struct import *im);

/* onnx_ops_shape.c: operators that move elements */
int op_shape(struct import *im);
int op_identity(struct import *im);
int op_dropout(struct import *im);
int fold_dropout(struct import *im);
int op_cast(struct import *im);
int op_reshape(struct import *im);
int op_squeeze(struct import *im);
int op_unsqueeze(struct import *im);
int op_flatten(struct import *im);
int op_transpose(struct import *im);
int op_concat(struct import *im);
int op_slice(struct import *im);
int op_pad(struct import *im);

/* onnx_ops_image.c: operators with windows */
int op_conv(struct import *im);
int op_max_pool(struct import *im);
int op_average_pool(struct import *im);
int op_global_average_pool(struct import *im);
int op_global_max_pool(struct import *im);
int op_reduce_mean(struct import *im);
