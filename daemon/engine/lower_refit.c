/* SPDX-License-Identifier: Apache-2.0 */
/* The least-squares step of lowering (methods D4.1, D4.2). */
#include "engine/lower.h"

#define COLUMNS_MAX (BITS_PLANES_MAX + 1)

/*
 * Solves the symmetric m x = r of @n columns by Gauss elimination. A plane that repeats what others say
 * has a pivot of nothing but rounding: its scale stays as it is.
 */
static void solve(uint32_t n, double m[COLUMNS_MAX][COLUMNS_MAX], const double *r, double *x)
{
	double diagonal[COLUMNS_MAX];

	for (uint32_t i = 0; i < n; i++) {
		diagonal[i] = m[i][i];
		x[i] = r[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		if (m[i][i] < 1e-9 * diagonal[i]) {
			m[i][i] = 0;
			continue;
		}
		for (uint32_t j = i + 1; j < n; j++) {
			double f = m[j][i] / m[i][i];

			for (uint32_t k = i + 1; k < n; k++)
				m[j][k] -= f * m[i][k];
			x[j] -= f * x[i];
		}
	}
	for (uint32_t i = n; i-- > 0;) {
		for (uint32_t k = i + 1; k < n; k++)
			x[i] -= m[i][k] * x[k];
		x[i] = m[i][i] > 0 ? x[i] / m[i][i] : 0;
	}
}

double lower_refit(const double gram[9][9], uint32_t planes, uint32_t kept, const double *alpha,
	bool with_offset, double *ret_alpha, double *ret_offset)
{
	double m[COLUMNS_MAX][COLUMNS_MAX], r[COLUMNS_MAX], x[COLUMNS_MAX];
	uint32_t columns[COLUMNS_MAX], n = 0;
	double error = 0;

	for (; n < kept; n++)
		columns[n] = n;
	if (with_offset)
		columns[n++] = planes;
	for (uint32_t i = 0; i < n; i++) {
		r[i] = 0;
		for (uint32_t j = 0; j < n; j++)
			m[i][j] = gram[columns[i]][columns[j]];
		for (uint32_t j = kept; j < planes; j++)
			r[i] += gram[columns[i]][j] * alpha[j];
	}
	solve(n, m, r, x);
	for (uint32_t i = kept; i < planes; i++)
		for (uint32_t j = kept; j < planes; j++)
			error += alpha[i] * gram[i][j] * alpha[j];
	for (uint32_t i = 0; i < n; i++)
		error -= r[i] * x[i];
	for (uint32_t i = 0; i < kept; i++)
		ret_alpha[i] = alpha[i] + x[i];
	*ret_offset = with_offset ? x[kept] : 0;
	return error;
}
