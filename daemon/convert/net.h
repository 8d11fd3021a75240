/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network in fp32, as imported: the converter's own graph. Values have batch one; images are CHW in
 * memory (ONNX's NCHW without N). Everything that can be computed at import has been (onnx_read.c,
 * fold.c): shapes are static, weights are constants.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum net_kind {
	NET_INPUT,
	NET_CONVOLUTION,  /* weight [O][I/groups][kh][kw], bias [O] or NULL */
	NET_LINEAR,	  /* over the last dimension of a flat value: weight [O][I], bias [O] or NULL */
	NET_BATCH_NORM,	  /* scale, shift, mean, variance [C], epsilon; gone after fold_batch_norm() */
	NET_CLIP,	  /* min(max(x, low), high), rounded when it has bits; ReLU: 0, infinity */
	NET_ADD,	  /* two values of the same shape */
	NET_AFFINE,	  /* x * scale[c] + shift[c], c the first dimension (channel), or [1] */
	NET_MAX_POOL,
	NET_AVERAGE_POOL, /* global pooling too: kernel = image */
	NET_CONCAT,	  /* along axis */
	NET_PAD,	  /* constant zero; pads per dimension */
	NET_SLICE,	  /* begin, end, step per dimension, step > 0 */
	NET_RESHAPE,	  /* the same elements in CHW order under another shape; flatten, squeeze */
	NET_TRANSPOSE,	  /* perm over the dimensions without batch */
	NET_SIGMOID,
	NET_SOFTMAX,	  /* over axis */
	_NET_KIND_MAX,
};

#define NET_DIMS_MAX 5
#define NET_INPUTS_MAX 16

struct net_shape {
	uint32_t n, dims[NET_DIMS_MAX]; /* without batch; all >= 1 */
};

struct net_value {
	char *name; /* of the ONNX file, for messages */
	struct net_shape shape;
};

/**
 * struct net_node - one operation; arrays are owned by the net, row-major
 */
struct net_node {
	enum net_kind kind;
	char *name;
	uint32_t inputs[NET_INPUTS_MAX], n_inputs, output;
	uint32_t kernel[2], stride[2], dilation[2], groups;
	uint32_t pads[2 * NET_DIMS_MAX]; /* begins, then ends: [2] spatial for convolution and pools (top,
					  * left, bottom, right), per dimension for NET_PAD */
	bool count_padding;
	uint32_t axis, perm[NET_DIMS_MAX];
	uint32_t begin[NET_DIMS_MAX], step[NET_DIMS_MAX];
	float low, high, epsilon;
	uint32_t bits; /* NET_CLIP: only 2^bits values from low to high come out; 0: any */
	float *weight, *bias;			 /* NET_BATCH_NORM, NET_AFFINE: scale, shift */
	float *mean, *variance;
	/* Statistics of the folded batch normalisation, [O]: what the output of this node before its clip
	 * looks like: mean beta, deviation |gamma| (methods C6). NULL when there was none. */
	float *bn_mean, *bn_deviation;
	uint32_t outputs; /* O */
	uint32_t *kept;	  /* [O], which row each was before channels went (prune.h); NULL: all are there */
};

/**
 * struct net - nodes in an order in which each comes after its inputs
 */
struct net {
	char *name;
	struct net_value *values;
	uint32_t n_values;
	struct net_node *nodes;
	uint32_t n_nodes;
	uint32_t input, output;
	bool input_hwc; /* the ONNX input was NHWC and its transpose has been folded away */
	char source_hash[65];
};

struct net *net_free(struct net *n);
DEFINE_CLEANUP(struct net *, net_free)

/**
 * net_new() - an empty net; net_add_value() and net_add_node() grow it
 *
 * Both return the new index, or -ENOMEM. A node starts zeroed, with groups, strides and dilations 1 and
 * clip bounds open. Pointers into values and nodes are stale after the next addition.
 */
struct net *net_new(const char *name);
int net_add_value(struct net *n, const char *name, const struct net_shape *shape);
int net_add_node(struct net *n, enum net_kind kind, const char *name);

/** net_node_done() - free what a node owns and zero it */
void net_node_done(struct net_node *node);

/** net_kind_name() - for messages: "convolution" */
const char *net_kind_name(enum net_kind kind);

/** net_elements() - product of the dimensions */
size_t net_elements(const struct net_shape *s);

/** net_weights() - of all convolutions and linear nodes */
double net_weights(const struct net *net);

/**
 * onnx_read() - import an ONNX file, opset 7 to 17
 * @data: the file's bytes; may be hostile
 *
 * Folds constants and shape arithmetic; unknown dimensions: the batch is 1, others are errors unless
 * @input_shape ([C,H,W], n = 0: none) says them. BN is kept as NET_BATCH_NORM.
 * Return: 0; -EBADMSG for broken files, -ENOTSUP for what is not supported, with op and node name;
 * -ENOMEM.
 */
int onnx_read(struct net **ret, const uint8_t *data, size_t size, const struct net_shape *input_shape,
	struct error *reterr);

/** fold_net() - batch normalisation and affine steps into weights, dropped dead nodes; in place */
int fold_net(struct net *n, struct error *reterr);

/**
 * struct reference - the fp32 interpreter (reference.c): each value's fp32 data for one input
 *
 * reference_run() computes all values; reference_value() is valid until the next run. One struct per
 * thread; the net may be shared.
 */
struct reference;
int reference_new(struct reference **ret, const struct net *n);
struct reference *reference_free(struct reference *r);
DEFINE_CLEANUP(struct reference *, reference_free)
void reference_run(struct reference *r, const float *input);
/** reference_run_node() - one node from the values as they are; for layer-by-layer calibration */
void reference_run_node(struct reference *r, uint32_t node);
float *reference_value(struct reference *r, uint32_t value);
