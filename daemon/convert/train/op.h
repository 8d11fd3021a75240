/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a training graph: one class for each kind of node, in op_*.c. */
#pragma once

#include "convert/train/graph.h"

/**
 * struct train_op_class - @init makes the calls; @backward may be called only after @forward
 */
struct train_op_class {
	int (*init)(struct train_graph *g, struct train_op *op, struct error *reterr);
	int (*forward)(struct train_graph *g, struct train_op *op, struct error *reterr);
	int (*backward)(struct train_graph *g, struct train_op *op, struct error *reterr);
};

/**
 * struct train_op - one node at work
 * @direct: the first to know the gradient of an input writes it, the others add theirs
 * @wanted: whether anybody asks for the gradient of an input
 * @rectify: normalisation with the ReLU behind it
 * @index: of the matrix, the norm or the rounding clip
 * @map: of a move: [n_inputs][elements of the output], which element of the input, -1: none
 * @add: for inputs that are not direct
 * @working: one set of bias or normalisation, where the calls expect it
 */
struct train_op {
	const struct train_op_class *class;
	const struct net_node *node;
	uint32_t inputs[NET_INPUTS_MAX], n_inputs, output, index;
	bool direct[NET_INPUTS_MAX], wanted[NET_INPUTS_MAX], rectify;
	struct dnn_call forward, infer, backward, backward_weights;
	struct dnn_call weights_in, weights_back, weights_out;
	struct dnn_call add[NET_INPUTS_MAX];
	int32_t *map;
	float *working, *working_grad, *mean, *variance;
};

extern const struct train_op_class train_op_convolution, train_op_linear, train_op_norm, train_op_clip,
	train_op_add, train_op_affine, train_op_sigmoid, train_op_round, train_op_pool, train_op_move;

/** train_op_gradient() - where the gradient of input @k is to be written */
float *train_op_gradient(struct train_graph *g, struct train_op *op, uint32_t k);

/** train_op_gradient_done() - it has been written */
int train_op_gradient_done(struct train_graph *g, struct train_op *op, uint32_t k, struct error *reterr);

/** train_layout() - NHWC of an image, [N][C] of anything else */
int train_layout(dnnl_memory_desc_t *ret, const struct train_graph *g, const struct train_value *v,
	struct error *reterr);
