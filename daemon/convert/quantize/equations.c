/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/refine.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/quantize/rank_update.h"

static int init_row(struct equations *e, const struct coded *c, uint32_t planes)
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

int equations_new_rows(struct equations **ret, const struct coded *c, uint32_t planes)
{
	_cleanup_(equations_free_rows) struct equations *e = calloc(ROWS_TOGETHER, sizeof *e);
	int r = e ? 0 : -ENOMEM;

	for (uint32_t i = 0; r >= 0 && i < MIN_OF(c->rows, (uint32_t) ROWS_TOGETHER); i++)
		r = init_row(&e[i], c, planes);
	if (r >= 0)
		*ret = take_ptr(e);
	return r;
}

void equations_free_rows(struct equations **p)
{
	struct equations *e = *p;

	for (uint32_t i = 0; e && i < ROWS_TOGETHER; i++) {
		free(e[i].product);
		free(e[i].gram);
		free(e[i].right);
		free(e[i].factor);
		free(e[i].x);
	}
	free(e);
}

static double plane_sign(const struct coded *c, uint8_t code, uint32_t plane)
{
	return code >> (c->planes - 1 - plane) & 1 ? 1 : -1;
}

/* The columns @begin .. @begin + @n - 1 of all rows, which lie in one group. */
static void add_block(struct equations *e, uint32_t rows, const struct coded *c, const uint8_t *codes,
	const struct metric *m, uint32_t begin, uint32_t n, double *factor, double **to)
{
	uint32_t planes = e->planes, n_to = rows * planes;
	struct rank_update u = {.to = to, .n_to = n_to, .rank = n, .factor = factor,
		.from = m->h + (size_t) begin * c->columns, .stride = c->columns, .end = c->columns};

	for (uint32_t row = 0; row < rows; row++)
		for (uint32_t i = 0; i < planes; i++) {
			size_t v = (size_t) (begin / c->group_columns) * planes + i;

			to[row * planes + i] = e[row].product + v * c->columns;
			for (uint32_t k = 0; k < n; k++)
				factor[k * n_to + row * planes + i] =
					plane_sign(c, codes[(size_t) row * c->columns + begin + k], i);
		}
	rank_update(&u);
}

static void make_products(struct equations *e, uint32_t rows, const struct coded *c, const uint8_t *codes,
	const struct metric *m)
{
	double factor[RANK_MAX * ROWS_TOGETHER * BITS_PLANES_MAX], *to[ROWS_TOGETHER * BITS_PLANES_MAX];

	for (uint32_t row = 0; row < rows; row++)
		memset(e[row].product, 0,
			(size_t) e[row].groups * e[row].planes * c->columns * sizeof *e[row].product);
	for (uint32_t begin = 0, n; begin < c->columns; begin += n) {
		uint32_t end = (begin / c->group_columns + 1) * c->group_columns;

		n = MIN_OF(MIN_OF(end, c->columns) - begin, (uint32_t) RANK_MAX);
		add_block(e, rows, c, codes, m, begin, n, factor, to);
	}
}

/* Row @v of the lower triangle, in which all columns of the group of @v lie. */
static void make_gram_row(struct equations *e, const struct coded *c, const uint8_t *codes, size_t v)
{
	const double *from = e->product + v * c->columns;
	double *to = e->gram + v * e->groups * e->planes;

	for (size_t group = 0; group <= v / e->planes; group++, to += e->planes) {
		uint32_t begin = (uint32_t) group * c->group_columns, end = MIN_OF(begin + c->group_columns, c->columns);
		double sum[BITS_PLANES_MAX] = {0};

		for (uint32_t t = begin; t < end; t++)
			for (uint32_t i = 0; i < e->planes; i++)
				sum[i] += plane_sign(c, codes[t], i) * from[t];
		memcpy(to, sum, e->planes * sizeof *to);
	}
}

static void make_gram(struct equations *e, const struct coded *c, const uint8_t *codes, const float *weights)
{
	for (size_t v = 0; v < (size_t) e->groups * e->planes; v++) {
		const double *from = e->product + v * c->columns;

		e->right[v] = 0;
		for (uint32_t t = 0; t < c->columns; t++)
			e->right[v] += from[t] * weights[t];
		make_gram_row(e, c, codes, v);
	}
}

void equations_make(struct equations *e, uint32_t rows, const struct coded *c, const uint8_t *codes,
	const float *weights, const struct metric *m)
{
	make_products(e, rows, c, codes, m);
	for (uint32_t row = 0; row < rows; row++)
		make_gram(&e[row], c, codes + (size_t) row * c->columns, weights + (size_t) row * c->columns);
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

		for (size_t j = 0; j <= i; j++)
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
