/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "convert/train/graph.h"

/**
 * train_inputs() - what matrix @matrix has just read at @n places of the batch
 * @key: says which
 * @x: [n][columns], in the net's order of columns
 *
 * Each group of a convolution has its turn.
 */
void train_inputs(const struct train_graph *g, uint32_t matrix, uint32_t n, uint64_t key, float *x);
