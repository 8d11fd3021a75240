/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over an ONNX graph: names to values, one node after the other through the table of operators
 * (onnx_ops.c). Node and value names come from the file: they go into messages only cleaned and cut.
 */
#include <ctype.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/onnx_import.h"
#include "base/sha256.h"

struct words {
	char text[48];
};

static struct words clean(const char *s)
{
	struct words w = {0};

	for (size_t i = 0; s && s[i] && i < sizeof w.text - 1; i++)
		w.text[i] = isprint((unsigned char) s[i]) ? s[i] : '?';
	return w;
}

uint32_t net_lead(const struct onnx_shape *s)
{
	return s->n > 1 && s->dims[0] == 1;
}

int net_shape_of(struct import *im, const struct onnx_shape *s, struct net_shape *ret)
{
	uint32_t lead = net_lead(s);
	size_t elements = 1;

	if (s->n - lead > NET_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "a value of %u dimensions", s->n);
	*ret = (struct net_shape){.n = 1, .dims = {1}};
	ret->n = s->n ? s->n - lead : 1;
	for (uint32_t i = lead; i < s->n; i++) {
		if (!bytes_mul(&elements, elements, s->dims[i]) || elements > ONNX_VALUE_ELEMENTS_MAX)
			return error_set(im->reterr, -ENOTSUP, "a value of too many elements");
		if (!s->dims[i])
			return error_set(im->reterr, -EBADMSG, "a value without elements");
		ret->dims[i - lead] = (uint32_t) s->dims[i];
	}
	im->value_elements += elements;
	if (im->value_elements > ONNX_VALUE_ELEMENTS_MAX)
		return error_set(im->reterr, -ENOTSUP, "more than %u million elements in all values",
			(unsigned) (ONNX_VALUE_ELEMENTS_MAX >> 20));
	return 0;
}

static struct onnx_value *find(struct import *im, const char *name)
{
	ENTRY *entry;

	if (!hsearch_r((ENTRY){.key = (char *) name}, FIND, &entry, im->names))
		return NULL;
	return entry->data;
}

struct onnx_value *import_input(struct import *im, size_t i)
{
	if (i >= im->node->n_input || !im->node->input[i][0])
		return NULL;
	return find(im, im->node->input[i]);
}

int import_define(struct import *im, const char *name, struct onnx_value **ret)
{
	struct onnx_value *v = NULL;
	ENTRY *entry;

	if (!name || !name[0])
		return error_set(im->reterr, -EBADMSG, "a value without a name");
	if (find(im, name))
		return error_set(im->reterr, -EBADMSG, "value %s is defined twice", clean(name).text);
	if (im->n_values == im->n_values_max)
		return error_set(im->reterr, -EBADMSG, "too many values");
	v = &im->values[im->n_values];
	if (!hsearch_r((ENTRY){.key = (char *) name, .data = v}, ENTER, &entry, im->names))
		return -ENOMEM;
	im->n_values++;
	*ret = v;
	return 0;
}

static const char *output_name(struct import *im)
{
	return im->node->n_output ? im->node->output[0] : "";
}

int import_constant(struct import *im, struct constant *c)
{
	struct onnx_value *v = NULL;
	int r;

	r = import_define(im, output_name(im), &v);
	if (r < 0) {
		constant_free(c);
		return r;
	}
	*v = (struct onnx_value){.constant = c, .shape = c->shape};
	return 0;
}

int import_value(struct import *im, uint32_t net, const struct onnx_shape *shape)
{
	struct onnx_value *v = NULL;
	int r;

	r = import_define(im, output_name(im), &v);
	if (r < 0)
		return r;
	*v = (struct onnx_value){.shape = *shape, .net = net};
	return 0;
}

int import_node(struct import *im, enum net_kind kind, uint32_t input,
	const struct onnx_shape *shape, struct net_node **ret)
{
	const char *name = im->node->name && im->node->name[0] ? im->node->name : output_name(im);
	struct net_shape net_shape;
	int value, node, r;

	r = net_shape_of(im, shape, &net_shape);
	if (r < 0)
		return r;
	value = net_add_value(im->net, clean(output_name(im)).text, &net_shape);
	if (value < 0)
		return value;
	node = net_add_node(im->net, kind, clean(name).text);
	if (node < 0)
		return node;
	*ret = &im->net->nodes[node];
	(*ret)->inputs[0] = input;
	(*ret)->n_inputs = 1;
	(*ret)->output = (uint32_t) value;
	return 0;
}

int import_output(struct import *im, const struct onnx_shape *shape)
{
	return import_value(im, im->net->nodes[im->net->n_nodes - 1].output, shape);
}

int import_reshape(struct import *im, uint32_t net, const struct onnx_shape *shape, uint32_t *ret)
{
	const struct net_shape *old = &im->net->values[net].shape;
	struct net_shape new;
	struct net_node *node;
	int r;

	r = net_shape_of(im, shape, &new);
	if (r < 0)
		return r;
	if (old->n == new.n && memcmp(old->dims, new.dims, new.n * sizeof *new.dims) == 0) {
		*ret = net;
		return 0;
	}
	r = import_node(im, NET_RESHAPE, net, shape, &node);
	if (r < 0)
		return r;
	*ret = node->output;
	return 0;
}

static int initializers(struct import *im)
{
	for (size_t i = 0; i < im->graph->n_initializer; i++) {
		const Onnx__TensorProto *t = im->graph->initializer[i];
		struct onnx_value *v;
		struct constant *c;
		int r;

		r = constant_from_tensor(im, t, &c);
		if (r < 0)
			return error_prefix(im->reterr, r, "initializer %s", clean(t->name).text);
		r = import_define(im, t->name, &v);
		if (r < 0) {
			constant_free(c);
			return r;
		}
		*v = (struct onnx_value){.constant = c, .shape = c->shape};
	}
	return 0;
}

/* Which of the dimensions that the caller knows (C, H, W) stands at @i: images may be NHWC. */
static uint32_t known_dim(const struct net_shape *known, const Onnx__TensorShapeProto *s, uint32_t i)
{
	bool hwc = false;

	if (known->n == 3) {
		const Onnx__TensorShapeProto__Dimension *first = s->dim[1], *last = s->dim[3];

		hwc = last->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
			last->dim_value == known->dims[0] &&
			(first->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ||
				first->dim_value != known->dims[0]);
	}
	return known->dims[hwc ? i % 3 : i - 1];
}

static int input_dim(struct import *im, const Onnx__TensorShapeProto *s, uint32_t i,
	const struct net_shape *known, size_t *ret)
{
	const Onnx__TensorShapeProto__Dimension *d = s->dim[i];
	bool fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
	bool said = known && known->n && known->n + 1 == s->n_dim && i > 0;

	/* Some exporters write an unknown batch as 0 or -1. */
	if (i == 0 && (!fixed || d->dim_value <= 0)) {
		*ret = 1;
		return 0;
	}
	if (fixed && (d->dim_value < 1 || d->dim_value > INT32_MAX))
		return error_set(im->reterr, -EBADMSG, "input dimension %u is %lld", i,
			(long long) d->dim_value);
	if (fixed && said && (size_t) d->dim_value != known_dim(known, s, i))
		return error_set(im->reterr, -EINVAL, "input dimension %u is %lld, not %u", i,
			(long long) d->dim_value, known_dim(known, s, i));
	if (!fixed && !said)
		return error_set(im->reterr, -ENOTSUP,
			"input dimension %u is unknown: give the input's shape", i);
	*ret = fixed ? (size_t) d->dim_value : known_dim(known, s, i);
	return 0;
}

static int input_shape(struct import *im, const Onnx__ValueInfoProto *info,
	const struct net_shape *known, struct onnx_shape *ret)
{
	const Onnx__TypeProto__Tensor *t;

	if (!info->type || info->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
		!info->type->tensor_type || !info->type->tensor_type->shape)
		return error_set(im->reterr, -ENOTSUP, "the input is not a tensor with a shape");
	t = info->type->tensor_type;
	if (t->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT &&
		t->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 &&
		t->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE)
		return error_set(im->reterr, -ENOTSUP, "the input's elements are of type %d, not float",
			(int) t->elem_type);
	if (t->shape->n_dim > ONNX_DIMS_MAX)
		return error_set(im->reterr, -ENOTSUP, "the input has %zu dimensions", t->shape->n_dim);
	ret->n = (uint32_t) t->shape->n_dim;
	for (uint32_t i = 0; i < ret->n; i++) {
		int r = input_dim(im, t->shape, i, known, &ret->dims[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int define_input(struct import *im, const struct net_shape *known)
{
	const Onnx__ValueInfoProto *input = NULL;
	struct net_shape net_shape;
	struct onnx_shape shape;
	struct onnx_value *v = NULL;
	int r, value;

	for (size_t i = 0; i < im->graph->n_input; i++) {
		const Onnx__ValueInfoProto *info = im->graph->input[i];

		if (!info->name || (find(im, info->name) && find(im, info->name)->constant))
			continue;
		if (input)
			return error_set(im->reterr, -ENOTSUP, "more than one input: %s, %s",
				clean(input->name).text, clean(info->name).text);
		input = info;
	}
	if (!input)
		return error_set(im->reterr, -EBADMSG, "no input");
	r = input_shape(im, input, known, &shape);
	if (r >= 0)
		r = net_shape_of(im, &shape, &net_shape);
	if (r >= 0)
		r = import_define(im, input->name, &v);
	if (r < 0)
		return r;
	value = net_add_value(im->net, clean(input->name).text, &net_shape);
	if (value < 0)
		return value;
	*v = (struct onnx_value){.shape = shape, .net = (uint32_t) value};
	im->net->input = (uint32_t) value;
	return 0;
}

/* Return: 1 when all inputs are constants, 0 when some is a value of the net */
static int check_inputs(struct import *im)
{
	int all = 1;

	for (size_t i = 0; i < im->node->n_input; i++) {
		const struct onnx_value *v = import_input(im, i);

		if (!v && im->node->input[i][0])
			return error_set(im->reterr, -EBADMSG, "input %s does not exist here",
				clean(im->node->input[i]).text);
		if (v && !v->constant)
			all = 0;
	}
	return all;
}

static int read_node(struct import *im)
{
	const struct onnx_op *op;
	const char *domain = im->node->domain;
	int constant;

	if (!im->node->op_type)
		return error_set(im->reterr, -EBADMSG, "no operator");
	op = onnx_op_find(im->node->op_type);
	if (!op || (domain && domain[0] && strcmp(domain, "ai.onnx") != 0))
		return error_set(im->reterr, -ENOTSUP, "operator is not supported");
	constant = check_inputs(im);
	if (constant < 0)
		return constant;
	if (constant && op->constant)
		return op->constant(im);
	if (constant || !op->value)
		return error_set(im->reterr, -ENOTSUP, "not supported on %s",
			constant ? "constants alone" : "values that are computed at run time");
	if (!op->any_order && (!import_input(im, 0) || import_input(im, 0)->constant))
		return error_set(im->reterr, -ENOTSUP, "first input is missing or a constant");
	return op->value(im);
}

static int read_nodes(struct import *im)
{
	for (size_t i = 0; i < im->graph->n_node; i++) {
		const Onnx__NodeProto *node = im->graph->node[i];
		int r;

		im->node = node;
		r = read_node(im);
		if (r < 0)
			return error_prefix(im->reterr, r, "%s %s", clean(node->op_type).text,
				clean(node->name && node->name[0] ? node->name : output_name(im)).text);
	}
	return 0;
}

static int find_output(struct import *im)
{
	struct onnx_value *v = NULL;

	if (im->graph->n_output != 1)
		return error_set(im->reterr, -ENOTSUP, "%zu outputs; one is supported",
			im->graph->n_output);
	v = im->graph->output[0]->name ? find(im, im->graph->output[0]->name) : NULL;
	if (!v)
		return error_set(im->reterr, -EBADMSG, "the output is computed by no node");
	if (v->constant)
		return error_set(im->reterr, -ENOTSUP, "the output does not depend on the input");
	im->net->output = v->net;
	return 0;
}

static int find_opset(struct import *im, const Onnx__ModelProto *model)
{
	for (size_t i = 0; i < model->n_opset_import; i++) {
		const Onnx__OperatorSetIdProto *o = model->opset_import[i];

		if (!o->domain || !o->domain[0] || strcmp(o->domain, "ai.onnx") == 0)
			im->opset = o->version;
	}
	if (!model->graph)
		return error_set(im->reterr, -EBADMSG, "not an ONNX file: no graph");
	if (im->opset < ONNX_OPSET_MIN || im->opset > ONNX_OPSET_MAX)
		return error_set(im->reterr, -ENOTSUP, "opset %lld; %d to %d are supported",
			(long long) im->opset, ONNX_OPSET_MIN, ONNX_OPSET_MAX);
	if (model->graph->n_sparse_initializer)
		return error_set(im->reterr, -ENOTSUP, "sparse initializers are not supported");
	return 0;
}

static int import_run(struct import *im, const struct net_shape *known)
{
	int r;

	r = initializers(im);
	if (r >= 0)
		r = define_input(im, known);
	if (r >= 0)
		r = read_nodes(im);
	return r < 0 ? r : find_output(im);
}

static int import_graph(struct import *im, const struct net_shape *known)
{
	struct hsearch_data names = {0};
	int r;

	/* One input, what is in the file, and the first output of each node. */
	im->n_values_max = 1 + im->graph->n_initializer + im->graph->n_node;
	im->values = calloc(im->n_values_max, sizeof *im->values);
	if (!im->values || !hcreate_r(im->n_values_max * 2, &names)) {
		free(im->values);
		return -ENOMEM;
	}
	im->names = &names;
	r = import_run(im, known);
	for (size_t i = 0; i < im->n_values; i++)
		constant_free(im->values[i].constant);
	free(im->values);
	hdestroy_r(&names);
	return r;
}

int onnx_read(struct net **ret, const uint8_t *data, size_t size, const struct net_shape *input_shape,
	struct error *reterr)
{
	_cleanup_(onnx_file_done) struct onnx_file file = {0};
	_cleanup_(net_freep) struct net *net = NULL;
	struct import im = {.reterr = reterr};
	int r;

	r = onnx_file_parse(&file, data, size, reterr);
	if (r < 0)
		return r;
	r = find_opset(&im, file.model);
	if (r < 0)
		return r;
	im.graph = file.model->graph;
	net = im.net = net_new(clean(file.model->graph->name).text);
	if (!net)
		return -ENOMEM;
	r = import_graph(&im, input_shape);
	if (r < 0)
		return r;
	sha256_hex(data, size, net->source_hash);
	*ret = take_ptr(net);
	return 0;
}
