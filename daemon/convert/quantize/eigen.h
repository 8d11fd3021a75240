/* SPDX-License-Identifier: Apache-2.0 */
/* Symmetric matrices, and the factors that transforms are made of. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * eigen_symmetric() - a = v^T diag(values) v
 * @a: [n][n], symmetric; void afterwards
 * @values: [n], falling; @v: [n][n], row i is the eigenvector of values[i], of length 1
 *
 * Cyclic Jacobi: about 6 n^3 steps a sweep, less than 12 sweeps.
 */
void eigen_symmetric(double *a, double *values, double *v, uint32_t n);

/** eigen_cholesky() - a = l l^T in place, l lower with zeros above. Return: false when @a is not positive */
bool eigen_cholesky(double *a, uint32_t n);
