/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a folded net to one that can be trained, and back.
 *
 * An imported net has its batch normalisation in its weights, because the export wants it so and because
 * many files have it so. To train it, each convolution but an output gets one again, that changes nothing:
 * rows of unit length, so that steps mean the same in every layer of every net, and what the length was in
 * the scale behind them. Its statistics are measured (adopt_statistics() in trainer.c).
 */
#pragma once

#include "convert/train/graph.h"

/** prepare_net() - a copy of @folded with batch normalisation. Return: 0 or -ENOMEM */
int prepare_net(struct net **ret, const struct net *folded);

/** prepare_weights() - how many weights matrix node @n has */
size_t prepare_weights(const struct net *net, const struct net_node *n);

/**
 * prepare_fixed() - matrices that keep eight bits, as the export has it: small edges, depthwise ones
 * @edge_planes: 0: none
 * @fixed: [n_nodes]
 */
void prepare_fixed(const struct net *net, uint32_t edge_planes, bool *fixed);

/**
 * prepare_rounding() - a copy in which the inputs of matrices are rounded to 2^@bits values
 *
 * Where they cannot be negative, and the matrix is not fixed. The values are found in training.
 */
int prepare_rounding(struct net **ret, const struct net *folded, uint32_t bits, uint32_t edge_planes);

/** prepare_random() - all weights drawn anew, of the size that keeps the signal's; biases zero */
void prepare_random(struct net *net, uint64_t seed);

/**
 * prepare_fold() - what @g computes at @set with its running statistics, without normalisation
 * @folded: as it was given to prepare_net(); the same nodes with other weights come out
 */
int prepare_fold(struct net **ret, const struct net *folded, const struct train_graph *g, uint32_t set);

/**
 * prepare_gain() - what the normalisation behind matrix @matrix does to its rows at @set
 * @gain, @bias: [rows]
 */
void prepare_gain(const struct train_graph *g, uint32_t matrix, uint32_t set, float *gain, float *bias);
