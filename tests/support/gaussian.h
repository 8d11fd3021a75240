/* SPDX-License-Identifier: Apache-2.0 */
/* Networks as an export of Gaussian weights would have made them, and what fewer planes lose of their outputs. */
#pragma once

#include "support/graph.h"

#define GAUSSIAN_PLANES 4

/**
 * gaussian_memfd() - the file of a plain graph of GAUSSIAN_PLANES planes
 *
 * Groups of 128 Gaussian weights with their alternating fits; there are few different ones, which come again. The graph
 * is done with after that. Stops the program when memory is short. Return: a memfd, owned by the caller.
 */
int gaussian_memfd(struct graph *g);

/**
 * gaussian_output_error() - of matrix products with inputs as after a ReLU
 * @full: at all planes; @narrow: of the same network, or of a re-encoding
 *
 * Return: power of what is different over the power of the outputs, over some rows of all matrices.
 */
double gaussian_output_error(const struct model *full, const struct model *narrow);
