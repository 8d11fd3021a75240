/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/refine.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"

int equations_init(struct equations *e, const struct coded *c, uint32_t planes)
{
	size_t n = (size_t) c->groups * planes, size;

	if (n > UINT16_MAX || !bytes_mul(&size, n, c->columns))
		return -ENOMEM;
	e->groups = c->groups;
	e->planes = planes;
	e->product = calloc(size, sizeof *e->product);
	e->gram = calloc(n * n, sizeof *e->gram);
	e->right = calloc(n, sizeof *e->right);
	e->factor = calloc(n * n, sizeof *e->factor);
	e->x = calloc(n, sizeof *e->x);
	return e->product && e->gram && e->right && e->factor && e->x ? 0 : -ENOMEM;
}

void equations_done(struct equations *e)
{
	free(e->product);
	free(e->gram);
	free(e->right);
	free(e->factor);
	free(e->x);
}

static double plane_sign(const struct coded *c, uint8_t code, uint32_t plane)
{
	return code >> (c->planes - 1 - plane) & 1 ? 1 : -1;
}

static void make_product(
	struct equations *e, const struct coded *c, const uint8_t *codes, const struct metric *m)
{
	size_t columns = c->columns;

	memset(e->product, 0, e->groups * e->planes * columns * sizeof *e->product);
	for (uint32_t t = 0; t < columns; t++)
		for (uint32_t i = 0; i < e->planes; i++) {
			double *to = e->product + (t / c->group_columns * e->planes + i) * columns;
			double sign = plane_sign(c, codes[t], i);

			for (uint32_t j = 0; j < columns; j++)
				to[j] += sign * m->h[t * columns + j];
		}
}

void equations_make(struct equations *e, const struct coded *c, const uint8_t *codes,
	const float *weights, const struct metric *m)
{
	size_t n = e->groups * e->planes;

	make_product(e, c, codes, m);
	memset(e->gram, 0, n * n * sizeof *e->gram);
	for (size_t v = 0; v < n; v++) {
		const double *from = e->product + v * c->columns;

		e->right[v] = 0;
		for (uint32_t t = 0; t < c->columns; t++) {
			double *to = e->gram + v * n + t / c->group_columns * e->planes;

			e->right[v] += from[t] * weights[t];
			for (uint32_t i = 0; i < e->planes; i++)
				to[i] += plane_sign(c, codes[t], i) * from[t];
		}
	}
}

/* Cholesky in place; a column that depends on earlier ones gets no pivot and the answer 0. */
static void factor_gram(double *l, double *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double whole = l[i * n + i];

		for (size_t j = 0; j <= i; j++) {
			double rest = l[i * n + j];

			for (size_t k = 0; k < j; k++)
				rest -= l[i * n + k] * l[j * n + k];
			if (j < i)
				l[i * n + j] = l[j * n + j] > 0 ? rest / l[j * n + j] : 0;
			else
				l[i * n + i] = rest > 1e-9 * whole ? sqrt(rest) : 0;
		}
		for (size_t k = 0; k < i; k++)
			x[i] -= l[i * n + k] * x[k];
		x[i] = l[i * n + i] > 0 ? x[i] / l[i * n + i] : 0;
	}
}

void equations_solve(struct equations *e, uint32_t planes)
{
	size_t all = e->groups * e->planes, n = e->groups * planes;
	double *l = e->factor;

	for (size_t i = 0; i < n; i++) {
		size_t from = i / planes * e->planes + i % planes;

		for (size_t j = 0; j < n; j++)
			l[i * n + j] = e->gram[from * all + j / planes * e->planes + j % planes];
		e->x[i] = e->right[from];
	}
	factor_gram(l, e->x, n);
	for (size_t i = n; i-- > 0;) {
		for (size_t k = i + 1; k < n; k++)
			e->x[i] -= l[k * n + i] * e->x[k];
		e->x[i] = l[i * n + i] > 0 ? e->x[i] / l[i * n + i] : 0;
	}
}
