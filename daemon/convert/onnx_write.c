/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format of protocol buffers, written by hand: a message is fields of (number << 3 | type), numbers
 * as varints and everything else as length and bytes. Field numbers are those of onnx.proto.
 */
#include "convert/onnx_write.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/replacement.h"

#define OPSET 13
#define IR_VERSION 8

enum { TYPE_FLOAT = 1, TYPE_INT64 = 7 };
enum { ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 };

/**
 * struct message - grows; @failed: once memory was short nothing is added any more
 */
struct message {
	uint8_t *data;
	size_t size, room;
	bool failed;
};

static void message_done(struct message *m)
{
	free(m->data);
}

static void put_raw(struct message *m, const void *data, size_t size)
{
	if (m->size + size > m->room) {
		size_t room = 2 * (m->size + size) + 64;
		uint8_t *grown = m->failed ? NULL : realloc(m->data, room);

		if (!grown) {
			m->failed = true;
			return;
		}
		m->data = grown;
		m->room = room;
	}
	memcpy(m->data + m->size, data, size);
	m->size += size;
}

static void put_varint(struct message *m, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	do {
		bytes[n] = (uint8_t) ((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
		n++;
	} while (v);
	put_raw(m, bytes, n);
}

static void put_int(struct message *m, uint32_t field, int64_t v)
{
	put_varint(m, field << 3);
	put_varint(m, (uint64_t) v);
}

static void put_bytes(struct message *m, uint32_t field, const void *data, size_t size)
{
	put_varint(m, field << 3 | 2);
	put_varint(m, size);
	put_raw(m, data, size);
}

static void put_text(struct message *m, uint32_t field, const char *text)
{
	put_bytes(m, field, text, strlen(text));
}

/* @inner is done with. */
static void put_message(struct message *m, uint32_t field, struct message *inner)
{
	put_bytes(m, field, inner->data, inner->size);
	m->failed |= inner->failed;
	message_done(inner);
}

static void put_tensor(struct message *graph, const char *name, int type, const int64_t *dims,
	uint32_t n_dims, const void *data, size_t bytes)
{
	struct message t = {};

	for (uint32_t d = 0; d < n_dims; d++)
		put_int(&t, 1, dims[d]);
	put_int(&t, 2, type);
	put_text(&t, 8, name);
	put_bytes(&t, 9, data, bytes);
	put_message(graph, 5, &t);
}

static void put_ints(struct message *node, const char *name, const uint32_t *v, uint32_t n)
{
	struct message a = {};

	put_text(&a, 1, name);
	for (uint32_t i = 0; i < n; i++)
		put_int(&a, 8, v[i]);
	put_int(&a, 20, ATTRIBUTE_INTS);
	put_message(node, 5, &a);
}

static void put_attribute(struct message *node, const char *name, int64_t v)
{
	struct message a = {};

	put_text(&a, 1, name);
	put_int(&a, 3, v);
	put_int(&a, 20, ATTRIBUTE_INT);
	put_message(node, 5, &a);
}

/**
 * struct writer - @node: the one that is being written; its constants go into @graph first
 */
struct writer {
	const struct net *net;
	const struct net_node *n;
	uint32_t index;
	struct message graph, node;
};

static void value_name(char ret[16], uint32_t value)
{
	(void) snprintf(ret, 16, "v%u", value);
}

static void add_input(struct writer *w, uint32_t value)
{
	char name[16];

	value_name(name, value);
	put_text(&w->node, 1, name);
}

/* A constant of this node and its use as the next input. */
static void add_constant(struct writer *w, const char *what, int type, const int64_t *dims, uint32_t n_dims,
	const void *data, size_t bytes)
{
	char name[32];

	(void) snprintf(name, sizeof name, "c%u.%s", w->index, what);
	put_tensor(&w->graph, name, type, dims, n_dims, data, bytes);
	put_text(&w->node, 1, name);
}

static void add_ints(struct writer *w, const char *what, const int64_t *v, uint32_t n)
{
	add_constant(w, what, TYPE_INT64, &(int64_t){n}, 1, v, n * sizeof *v);
}

static void add_scalar(struct writer *w, const char *what, float v)
{
	add_constant(w, what, TYPE_FLOAT, NULL, 0, &v, sizeof v);
}

static void put_window(struct writer *w, bool dilation)
{
	put_ints(&w->node, "kernel_shape", w->n->kernel, 2);
	put_ints(&w->node, "strides", w->n->stride, 2);
	put_ints(&w->node, "pads", w->n->pads, 4);
	if (dilation)
		put_ints(&w->node, "dilations", w->n->dilation, 2);
}

static const char *write_convolution(struct writer *w)
{
	const struct net_node *n = w->n;
	int64_t dims[] = {n->outputs, w->net->values[n->inputs[0]].shape.dims[0] / n->groups, n->kernel[0],
		n->kernel[1]};

	add_constant(w, "weight", TYPE_FLOAT, dims, 4, n->weight,
		(size_t) (dims[0] * dims[1] * dims[2] * dims[3]) * sizeof(float));
	if (n->bias)
		add_constant(w, "bias", TYPE_FLOAT, dims, 1, n->bias, n->outputs * sizeof(float));
	put_window(w, true);
	put_attribute(&w->node, "group", n->groups);
	return "Conv";
}

static const char *write_linear(struct writer *w)
{
	const struct net_node *n = w->n;
	const struct net_shape *in = &w->net->values[n->inputs[0]].shape;
	int64_t dims[] = {n->outputs, in->dims[in->n - 1]};

	if (in->n != 1)
		return NULL;
	add_constant(w, "weight", TYPE_FLOAT, dims, 2, n->weight, (size_t) (dims[0] * dims[1]) * sizeof(float));
	if (n->bias)
		add_constant(w, "bias", TYPE_FLOAT, dims, 1, n->bias, n->outputs * sizeof(float));
	put_attribute(&w->node, "transB", 1);
	return "Gemm";
}

static const char *write_clip(struct writer *w)
{
	if (w->n->bits)
		return NULL;
	if (w->n->low == 0 && w->n->high == INFINITY)
		return "Relu";
	add_scalar(w, "low", w->n->low);
	add_scalar(w, "high", w->n->high);
	return "Clip";
}

static const char *write_pool(struct writer *w)
{
	bool mean = w->n->kind == NET_AVERAGE_POOL;

	if (mean && (w->n->dilation[0] != 1 || w->n->dilation[1] != 1))
		return NULL;
	put_window(w, !mean);
	if (mean)
		put_attribute(&w->node, "count_include_pad", w->n->count_padding);
	return mean ? "AveragePool" : "MaxPool";
}

/* Dimensions of a net do not count the batch. */
static const char *write_pad(struct writer *w)
{
	uint32_t n = w->net->values[w->n->inputs[0]].shape.n;
	int64_t pads[2 * (NET_DIMS_MAX + 1)] = {};

	for (uint32_t d = 0; d < n; d++) {
		pads[d + 1] = w->n->pads[d];
		pads[n + 2 + d] = w->n->pads[n + d];
	}
	add_ints(w, "pads", pads, 2 * (n + 1));
	return "Pad";
}

static const char *write_slice(struct writer *w)
{
	const struct net_shape *out = &w->net->values[w->n->output].shape;
	int64_t begin[NET_DIMS_MAX], end[NET_DIMS_MAX], axis[NET_DIMS_MAX], step[NET_DIMS_MAX];

	for (uint32_t d = 0; d < out->n; d++) {
		begin[d] = w->n->begin[d];
		step[d] = w->n->step[d];
		end[d] = begin[d] + (int64_t) (out->dims[d] - 1) * step[d] + 1;
		axis[d] = d + 1;
	}
	add_ints(w, "begin", begin, out->n);
	add_ints(w, "end", end, out->n);
	add_ints(w, "axes", axis, out->n);
	add_ints(w, "steps", step, out->n);
	return "Slice";
}

static const char *write_reshape(struct writer *w)
{
	const struct net_shape *out = &w->net->values[w->n->output].shape;
	int64_t dims[NET_DIMS_MAX + 1] = {1};

	for (uint32_t d = 0; d < out->n; d++)
		dims[d + 1] = out->dims[d];
	add_ints(w, "shape", dims, out->n + 1);
	return "Reshape";
}

static const char *write_transpose(struct writer *w)
{
	uint32_t n = w->net->values[w->n->output].shape.n, perm[NET_DIMS_MAX + 1] = {};

	for (uint32_t d = 0; d < n; d++)
		perm[d + 1] = w->n->perm[d] + 1;
	put_ints(&w->node, "perm", perm, n + 1);
	return "Transpose";
}

/* Return: the operator, or NULL when there is none */
static const char *write_kind(struct writer *w)
{
	switch (w->n->kind) {
	case NET_CONVOLUTION:
		return write_convolution(w);
	case NET_LINEAR:
		return write_linear(w);
	case NET_CLIP:
		return write_clip(w);
	case NET_ADD:
		return "Add";
	case NET_MAX_POOL:
	case NET_AVERAGE_POOL:
		return write_pool(w);
	case NET_CONCAT:
	case NET_SOFTMAX:
		put_attribute(&w->node, "axis", w->n->axis + 1);
		return w->n->kind == NET_CONCAT ? "Concat" : "Softmax";
	case NET_PAD:
		return write_pad(w);
	case NET_SLICE:
		return write_slice(w);
	case NET_RESHAPE:
		return write_reshape(w);
	case NET_TRANSPOSE:
		return write_transpose(w);
	case NET_SIGMOID:
		return "Sigmoid";
	case NET_INPUT:
	case NET_BATCH_NORM:
	case NET_AFFINE:
	case _NET_KIND_MAX:
		break;
	}
	return NULL;
}

static int write_node(struct writer *w, struct error *reterr)
{
	const char *op;
	char name[16];

	w->node = (struct message){};
	for (uint32_t k = 0; k < w->n->n_inputs; k++)
		add_input(w, w->n->inputs[k]);
	op = write_kind(w);
	if (!op) {
		message_done(&w->node);
		return error_set(reterr, -ENOTSUP, "%s: this %s has no place in an ONNX file", w->n->name,
			net_kind_name(w->n->kind));
	}
	value_name(name, w->n->output);
	put_text(&w->node, 2, name);
	put_text(&w->node, 4, op);
	put_message(&w->graph, 1, &w->node);
	return 0;
}

/* @field: 11 of inputs, 12 of outputs */
static void put_value(struct message *graph, uint32_t field, const struct net *n, uint32_t value)
{
	const struct net_shape *s = &n->values[value].shape;
	struct message info = {}, type = {}, tensor = {}, shape = {};
	char name[16];

	for (uint32_t d = 0; d <= s->n; d++) {
		struct message dim = {};

		put_int(&dim, 1, d ? s->dims[d - 1] : 1);
		put_message(&shape, 1, &dim);
	}
	put_int(&tensor, 1, TYPE_FLOAT);
	put_message(&tensor, 2, &shape);
	put_message(&type, 1, &tensor);
	value_name(name, value);
	put_text(&info, 1, name);
	put_message(&info, 2, &type);
	put_message(graph, field, &info);
}

static int write_file(const struct message *m, const char *path, struct error *reterr)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	int r = replacement_begin(&file, AT_FDCWD, path, 0666);

	if (r >= 0)
		r = fd_write_all(file.fd, m->data, m->size);
	if (r >= 0)
		r = replacement_finish(&file);
	return r < 0 ? error_prefix(reterr, r, "%s", path) : 0;
}

int onnx_write(const struct net *n, const char *path, struct error *reterr)
{
	_cleanup_(message_done) struct message model = {};
	struct writer w = {.net = n};
	struct message opset = {};
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n->n_nodes; i++) {
		w.n = &n->nodes[i];
		w.index = i;
		if (w.n->kind != NET_INPUT)
			r = write_node(&w, reterr);
	}
	if (r < 0) {
		message_done(&w.graph);
		return r;
	}
	put_text(&w.graph, 2, n->name);
	put_value(&w.graph, 11, n, n->input);
	put_value(&w.graph, 12, n, n->output);
	put_int(&model, 1, IR_VERSION);
	put_text(&model, 2, "bitshed");
	put_message(&model, 7, &w.graph);
	put_int(&opset, 2, OPSET);
	put_message(&model, 8, &opset);
	return model.failed ? -ENOMEM : write_file(&model, path, reterr);
}
