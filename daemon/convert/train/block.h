/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks whose matrices are rounded together. */
#pragma once

#include "convert/export.h"
#include "convert/train/graph.h"

/**
 * struct block - the part of a net between two places that a single value passes
 * @first, @last: nodes; @input, @output: the values before and behind them
 */
struct block {
	uint32_t first, last, input, output;
};

/**
 * block_find() - the smallest block that holds nodes @begin to @end
 *
 * Return: whether there is one, and all of its nodes come before node @limit.
 */
bool block_find(struct block *ret, const struct net *net, uint32_t begin, uint32_t end, uint32_t limit);

/**
 * struct block_samples - what goes in and should come out
 * @in, @out: [n][elements of the value], NHWC
 */
struct block_samples {
	float *in, *out;
	uint32_t n;
};

/**
 * block_round() - choose the codes of matrices @first to @last of @e again for what the block gives out
 * @g: of e->net, with gradients; whole batches of @samples are looked at
 *
 * Return: 1; 0: the codes stay, because they are better or the coding is not by sums; or an errno.
 */
int block_round(struct export *e, uint32_t first, uint32_t last, const struct block *b, struct train_graph *g,
	const struct block_samples *samples, struct error *reterr);

/** block_order() - column of the engine to column of the net. Return: [columns], owned by the caller, or NULL */
uint32_t *block_order(const struct export *e, uint32_t matrix);
