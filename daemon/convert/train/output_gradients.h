/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "convert/sample.h"
#include "convert/net.h"

/**
 * output_gradients() - how the weights of convolutions move the network's output (methods B1)
 * @ret: [n_nodes]; of nodes that transform_serves(), the covariance of rows, [outputs][outputs]; the caller frees
 *	each, on failure too
 *
 * For each of a few samples the output is weighed with drawn normal numbers; the gradient of that sum is one drawing
 * of what the covariance is of. It is summed up over samples and columns: only its proportions matter.
 * Return: 0; -ENOTSUP naming a node that has no gradient; -ENOMEM; an error of reading.
 */
int output_gradients(double **ret, const struct net *net, struct samples *samples, struct error *reterr);
