/* SPDX-License-Identifier: Apache-2.0 */
/* The least-squares step of lowering (methods D4.1, D4.2). */
#include "engine/lower.h"
#include "engine/lower_matrix.h"

#define COLUMNS_MAX LOWER_COLUMNS_MAX

void lower_solve(uint32_t n, double m[COLUMNS_MAX][COLUMNS_MAX], const double *r, double *x)
{
	double inverse[COLUMNS_MAX], diagonal[COLUMNS_MAX];

	for (uint32_t i = 0; i < n; i++) {
		diagonal[i] = m[i][i];
		x[i] = r[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		inverse[i] = m[i][i] > 1e-9 * diagonal[i] ? 1 / m[i][i] : 0;
		for (uint32_t j = i + 1; j < n; j++) {
			double f = m[i][j] * inverse[i];

			for (uint32_t k = j; k < n; k++)
				m[j][k] -= f * m[i][k];
			x[j] -= f * x[i];
		}
	}
	for (uint32_t i = n; i-- > 0;) {
		for (uint32_t k = i + 1; k < n; k++)
			x[i] -= m[i][k] * x[k];
		x[i] *= inverse[i];
	}
}

/* What is lost by the kept columns, before they move: D4.1's right-hand side and its solution. */
struct step {
	double r[COLUMNS_MAX], x[COLUMNS_MAX];
	uint32_t n;
};

static void find_step(struct step *s, const double gram[9][9], uint32_t planes, uint32_t kept,
	const double *alpha, bool with_offset)
{
	double m[COLUMNS_MAX][COLUMNS_MAX];

	s->n = kept + with_offset;
	for (uint32_t i = 0; i < s->n; i++) {
		const double *row = gram[i < kept ? i : planes];

		s->r[i] = 0;
		for (uint32_t j = kept; j < planes; j++)
			s->r[i] += row[j] * alpha[j];
		for (uint32_t j = i; j < kept; j++)
			m[i][j] = row[j];
		m[i][kept] = row[planes];
	}
	lower_solve(s->n, m, s->r, s->x);
}

void lower_refit_scales(const double gram[9][9], uint32_t planes, uint32_t kept, const double *alpha,
	bool with_offset, double *ret_alpha, double *ret_offset)
{
	struct step s;

	find_step(&s, gram, planes, kept, alpha, with_offset);
	for (uint32_t i = 0; i < kept; i++)
		ret_alpha[i] = alpha[i] + s.x[i];
	*ret_offset = with_offset ? s.x[kept] : 0;
}

double lower_refit(const double gram[9][9], uint32_t planes, uint32_t kept, const double *alpha,
	bool with_offset, double *ret_alpha, double *ret_offset)
{
	double error = 0;
	struct step s;

	find_step(&s, gram, planes, kept, alpha, with_offset);
	for (uint32_t i = kept; i < planes; i++)
		for (uint32_t j = kept; j < planes; j++)
			error += alpha[i] * gram[i][j] * alpha[j];
	for (uint32_t i = 0; i < s.n; i++)
		error -= s.r[i] * s.x[i];
	lower_refit_scales(gram, planes, kept, alpha, with_offset, ret_alpha, ret_offset);
	return error;
}
