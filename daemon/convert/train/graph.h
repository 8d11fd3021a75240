/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A net that runs on a batch, forward and backward. Images are NHWC in memory, vectors [N][C]; whatever
 * a net does to the order of elements is done by maps (op_move.c).
 *
 *	matrices	what they multiply with (@hat) is written by others: trainer and method
 *	norms		batch normalisation; one set of numbers per width, because the same codes at another
 *			width make another distribution (methods C1.1)
 *
 * Nothing is allocated while it runs. One thread at a time; the library has threads of its own.
 */
#pragma once

#include "convert/net.h"
#include "convert/train/dnn.h"

/**
 * struct train_value - a net value for the whole batch
 * @data, @grad: [batch][elements]; two values may share memory where that is safe
 */
struct train_value {
	struct net_shape shape;
	size_t elements;
	float *data, *grad;
	bool owns_data, owns_grad;
};

/**
 * struct train_matrix - the weights of a convolution or of a linear node
 * @node: of the net
 * @hat, @grad: [rows][columns] in the net's order: what is multiplied with, and the gradient of the loss
 * @bias, @bias_grad: [sets][rows]; NULL where batch normalisation follows
 * @sets: 1, or one for each width
 */
struct train_matrix {
	uint32_t node, rows, columns, sets;
	float *hat, *grad, *bias, *bias_grad;
};

/**
 * struct train_norm - one batch normalisation
 * @scale_shift, @scale_shift_grad: [sets][2][channels]
 * @mean, @variance: [sets][channels], running
 * @matrix: index of the matrix in front, UINT32_MAX: none
 */
struct train_norm {
	uint32_t node, channels, sets, matrix;
	float epsilon;
	float *scale_shift, *scale_shift_grad, *mean, *variance;
};

/**
 * struct train_round - a clip that rounds, with a step that is learned
 * @step: from one value to the next; 0: not known yet, the first batch says
 */
struct train_round {
	uint32_t node;
	float step, step_grad;
};

struct train_op;

/**
 * struct train_graph
 * @set: which of the sets is used, the width less one
 * @training: batch statistics, else the running ones
 * @adopt: norms note the batch's statistics and compute scale * x + shift without them
 * @momentum: how much of the batch's statistics goes into the running ones
 * @scratch: as large as the largest value
 */
struct train_graph {
	struct dnn dnn;
	const struct net *net;
	uint32_t batch, set;
	bool training, gradients, adopt;
	float momentum;
	struct train_value *values;
	struct train_op *ops;
	uint32_t n_ops;
	struct train_matrix *matrices;
	uint32_t n_matrices;
	struct train_norm *norms;
	uint32_t n_norms;
	struct train_round *rounds;
	uint32_t n_rounds;
	uint32_t output;
	float *scratch;
};

/**
 * train_graph_new() - @net on @batch samples
 * @net: must outlive the graph; a softmax at its end is left out
 * @sets: of what is kept per width
 * @single: [n_nodes], matrices (and the norm behind them) that are the same at every width; NULL: none
 * @gradients: false: forward only
 *
 * Weights, normalisation and biases start as the net has them, in every set.
 * Return: 0; -ENOTSUP naming the node; -ENOMEM.
 */
int train_graph_new(struct train_graph **ret, const struct net *net, uint32_t batch, uint32_t sets,
	const bool *single, bool gradients, struct error *reterr);
struct train_graph *train_graph_free(struct train_graph *g);
DEFINE_CLEANUP(struct train_graph *, train_graph_free)

/** train_graph_input() - [batch][elements] of the input, NHWC, to be filled in */
float *train_graph_input(struct train_graph *g);

/** train_graph_forward() - Return: 0 or an errno with words */
int train_graph_forward(struct train_graph *g, struct error *reterr);

/** train_graph_reach() - forward until node @node of the net would run: what it reads is there */
int train_graph_reach(struct train_graph *g, uint32_t node, struct error *reterr);

/** train_graph_pass() - forward until node @node of the net has run: what it gives is there */
int train_graph_pass(struct train_graph *g, uint32_t node, struct error *reterr);

/** train_graph_part() - forward through nodes @first to @last; what they read is there already */
int train_graph_part(struct train_graph *g, uint32_t first, uint32_t last, struct error *reterr);

/** train_graph_part_backward() - back from the gradient of node @last's output to the matrices from node @first on */
int train_graph_part_backward(struct train_graph *g, uint32_t first, uint32_t last, struct error *reterr);

/**
 * train_norm_adopt() - after batches with @adopt: the statistics are used from now on, in every set, and the
 * graph computes what it did without them
 */
void train_norm_adopt(const struct train_norm *n);

/**
 * train_graph_backward() - from the gradient at the output to those of everything
 *
 * Gradients of matrices are written, those of biases and normalisation are added to.
 */
int train_graph_backward(struct train_graph *g, struct error *reterr);

static inline struct train_value *train_graph_output(struct train_graph *g)
{
	return &g->values[g->output];
}
