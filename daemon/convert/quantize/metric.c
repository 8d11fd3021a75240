/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPTQ needs the upper factor U of the inverse, H^-1 = U^T U. With H = R R^T, R upper, that is
 * R^-1, and R comes from a Cholesky that starts at the last column: no inverse of H is ever formed.
 */
#include "convert/quantize/metric.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/rank_update.h"

#define DAMPING 0.01
#define TASK_ROWS 16

static int check_moment(const double *h, uint32_t n, struct error *reterr)
{
	for (size_t i = 0; i < (size_t) n * n; i++)
		if (!isfinite(h[i]))
			return error_set(
				reterr, -EINVAL, "the second moment of the inputs is not finite");
	for (size_t i = 0; i < n; i++)
		if (h[i * n + i] < 0)
			return error_set(
				reterr, -EINVAL, "the second moment of input %zu is negative", i);
	return 0;
}

/**
 * struct factoring - @r: H at first, R in the end; only what is on or right of the diagonal means anything
 * @u: R^-1; @panel: columns @begin .. @end - 1 of R that are known, [RANK_MAX][n], transposed
 */
struct factoring {
	double *r, *u, *panel;
	size_t n, begin, end;
};

/* Row @i in the columns of the panel, from those of the rows between it and the panel's end. */
static void solve_panel(const struct factoring *f, size_t i)
{
	double *row = f->r + i * f->n;

	for (size_t j = f->end; j-- > MAX_OF(f->begin, i + 1);) {
		const double *other = f->r + j * f->n;

		for (size_t l = j + 1; l < f->end; l++)
			row[j] -= row[l] * other[l];
		row[j] /= other[j];
	}
}

static int factor_diagonal(const struct factoring *f, struct error *reterr)
{
	for (size_t j = f->end; j-- > f->begin;) {
		double *row = f->r + j * f->n, pivot;

		solve_panel(f, j);
		pivot = row[j];
		for (size_t l = j + 1; l < f->end; l++)
			pivot -= row[l] * row[l];
		if (!(pivot > 0))
			return error_set(
				reterr, -EINVAL, "the second moment of the inputs is not positive");
		row[j] = sqrt(pivot);
	}
	return 0;
}

static void solve_rows(void *userdata, uint32_t task, uint32_t thread)
{
	const struct factoring *f = userdata;
	size_t first = (size_t) task * TASK_ROWS;

	for (size_t i = first; i < MIN_OF(first + TASK_ROWS, f->begin); i++) {
		solve_panel(f, i);
		for (size_t j = f->begin; j < f->end; j++)
			f->panel[(j - f->begin) * f->n + i] = f->r[i * f->n + j];
	}
}

/* What the panel leaves of the columns before it. */
static void update_rows(void *userdata, uint32_t task, uint32_t thread)
{
	const struct factoring *f = userdata;
	size_t first = (size_t) task * TASK_ROWS, rows = MIN_OF((size_t) TASK_ROWS, f->begin - first);
	double *to[TASK_ROWS], factor[RANK_MAX * TASK_ROWS];
	struct rank_update u = {.to = to, .n_to = (uint32_t) rows, .rank = (uint32_t) (f->end - f->begin),
		.factor = factor, .from = f->panel, .stride = f->n, .first = first, .end = f->begin};

	for (size_t i = 0; i < rows; i++)
		to[i] = f->r + (first + i) * f->n;
	for (size_t k = 0; k < u.rank; k++)
		for (size_t i = 0; i < rows; i++)
			factor[k * rows + i] = -f->panel[k * f->n + first + i];
	rank_update(&u);
}

/* H = R R^T, from the last columns to the first. */
static int factor_upper(struct factoring *f, struct threads *threads, struct error *reterr)
{
	int r = 0;

	for (f->end = f->n; r >= 0 && f->end > 0; f->end = f->begin) {
		f->begin = f->end - MIN_OF((size_t) RANK_MAX, f->end);
		r = factor_diagonal(f, reterr);
		if (r < 0 || f->begin == 0)
			continue;
		threads_run(threads, solve_rows, f, (uint32_t) ((f->begin - 1) / TASK_ROWS + 1));
		threads_run(threads, update_rows, f, (uint32_t) ((f->begin - 1) / TASK_ROWS + 1));
	}
	return r;
}

/* Row i of R^-1 solves x R = e_i: forward, rows of one task together. */
static void invert_rows(void *userdata, uint32_t task, uint32_t thread)
{
	const struct factoring *f = userdata;
	size_t n = f->n, first = (size_t) task * TASK_ROWS, rows = MIN_OF((size_t) TASK_ROWS, n - first);
	double *to[TASK_ROWS], factor[RANK_MAX * TASK_ROWS];
	struct rank_update u = {.to = to, .n_to = (uint32_t) rows, .factor = factor, .stride = n, .end = n};

	for (size_t i = 0; i < rows; i++) {
		to[i] = f->u + (first + i) * n;
		to[i][first + i] = 1;
	}
	for (size_t begin = first; begin < n; begin = u.first) {
		u.first = MIN_OF(begin + RANK_MAX, n);
		u.from = f->r + begin * n;
		u.rank = (uint32_t) (u.first - begin);
		for (size_t i = 0; i < rows; i++)
			for (size_t k = begin; k < u.first; k++) {
				const double *row = f->r + k * n;
				double x = to[i][k] /= row[k];

				factor[(k - begin) * rows + i] = -x;
				for (size_t j = k + 1; j < u.first; j++)
					to[i][j] -= x * row[j];
			}
		rank_update(&u);
	}
}

int metric_new(struct metric **ret, const double *second_moment, uint32_t columns, struct threads *threads,
	struct error *reterr)
{
	_cleanup_(metric_freep) struct metric *m = calloc(1, sizeof *m);
	size_t n = columns, bytes = n * n * sizeof(double);
	_cleanup_free_ double *r = malloc(bytes), *panel = malloc(RANK_MAX * n * sizeof *panel);
	struct factoring f = {.r = r, .panel = panel, .n = n};
	double damping = 0;
	int error;

	if (!m || !r || !panel)
		return -ENOMEM;
	error = check_moment(second_moment, columns, reterr);
	if (error < 0)
		return error;
	m->columns = columns;
	m->h = malloc(bytes);
	m->u = calloc(n * n, sizeof *m->u);
	if (!m->h || !m->u)
		return -ENOMEM;
	memcpy(m->h, second_moment, bytes);
	for (size_t i = 0; i < n; i++)
		damping += DAMPING * m->h[i * n + i] / (double) n;
	for (size_t i = 0; i < n; i++)
		m->h[i * n + i] += damping > 0 ? damping : 1;
	memcpy(r, m->h, bytes);
	error = factor_upper(&f, threads, reterr);
	if (error < 0)
		return error;
	f.u = m->u;
	threads_run(threads, invert_rows, &f, (columns - 1) / TASK_ROWS + 1);
	*ret = take_ptr(m);
	return 0;
}

struct metric *metric_free(struct metric *m)
{
	if (!m)
		return NULL;
	free(m->h);
	free(m->u);
	free(m);
	return NULL;
}

double metric_error(const struct metric *m, const float *a, const float *b)
{
	double sum = 0;

	for (size_t i = 0; i < m->columns; i++) {
		double product = 0;

		for (size_t j = 0; j < m->columns; j++)
			product += m->h[i * m->columns + j] * ((double) a[j] - b[j]);
		sum += product * ((double) a[i] - b[i]);
	}
	return sum;
}
