/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Optimal brain quantization (methods C3; Frantar et al. 2022, their code) with binary codebooks. Of the weights
 * of a group that are still open, the one whose rounding costs the layer's output least is closed first, and all
 * that are open, of later groups too, make up for it:
 *
 *	j = argmin of (q(w_j) - w_j)^2 / F_jj;  w -= F_j (w_j - q_j) / F_jj;  F -= F_j F_j^T / F_jj
 *
 * F the inverse of H over the open weights. A weight that has been pushed beyond half a step of the codebook is
 * taken first. The greedy order ends at the group's border, as the scales of a group are fitted to the weights as
 * they are when it begins: F of a group is the same for all rows then, U^T U of its part of U. Columns after the
 * group need not follow each step: they end where the sum of its errors e puts them,
 *
 *	w -= y U,  y U = e in the columns of the group
 *
 * so a row takes columns * group^2 + columns^2 steps rather than columns^3. A row of one group is the method of the
 * paper exactly. What is ours: at one plane, codes move once more where that makes the error smaller (refine.h).
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/codebook.h"
#include "convert/quantize/gptq.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"
#include "convert/quantize/rank_update.h"
#include "convert/quantize/refine.h"

/**
 * struct work - @start: [group][group], F as the group begins; @f: the same for the present row
 * @now: [rows][columns]; @to: [rows], the same; @error: [group][rows]
 * @group: [group_columns], for the fit
 */
struct work {
	struct coded *c;
	const struct metric *m;
	double *start, *f, *now, **to, *error;
	uint32_t rows;
	float *group;
	bool *open;
	struct fit *fit;
	struct codebook book;
};

static void work_done(struct work *w)
{
	free(w->start);
	free(w->f);
	free(w->now);
	free(w->to);
	free(w->error);
	free(w->group);
	free(w->open);
	fit_free(w->fit);
}

static int work_init(struct work *w, uint32_t rows)
{
	size_t columns = w->c->columns, n = MIN_OF(w->c->group_columns, columns);

	w->rows = rows;
	w->start = malloc(n * n * sizeof *w->start);
	w->f = malloc(n * n * sizeof *w->f);
	w->now = malloc(rows * columns * sizeof *w->now);
	w->to = malloc(rows * sizeof *w->to);
	w->error = malloc(n * rows * sizeof *w->error);
	w->group = malloc(n * sizeof *w->group);
	w->open = malloc(n * sizeof *w->open);
	if (!w->start || !w->f || !w->now || !w->to || !w->error || !w->group || !w->open)
		return -ENOMEM;
	return fit_new(&w->fit, (uint32_t) n);
}

/* U^T U in columns @begin .. @begin + @n - 1. */
static void make_start(struct work *w, uint32_t begin, uint32_t n)
{
	memset(w->start, 0, (size_t) n * n * sizeof *w->start);
	for (size_t k = 0; k < n; k++) {
		const double *u = w->m->u + (begin + k) * w->m->columns + begin;

		for (size_t i = k; i < n; i++)
			for (size_t j = k; j < n; j++)
				w->start[i * n + j] += u[i] * u[j];
	}
}

/* The open weight of the group to close next. */
static uint32_t cheapest(const struct work *w, const double *now, size_t n, double half)
{
	double smallest = INFINITY, largest = half;
	uint32_t best = 0;
	bool outlier = false;

	for (uint32_t i = 0; i < n; i++) {
		double e;

		if (!w->open[i])
			continue;
		e = now[i] - w->book.value[codebook_nearest(&w->book, now[i])];
		if (fabs(e) > largest) {
			largest = fabs(e);
			best = i;
			outlier = true;
		}
		if (!outlier && e * e / w->f[i * n + i] < smallest) {
			smallest = e * e / w->f[i * n + i];
			best = i;
		}
	}
	return best;
}

/* @now: the row from the group's begin on. */
static void close_weight(struct work *w, double *now, uint8_t *codes, uint32_t j, size_t n)
{
	uint32_t at = codebook_nearest(&w->book, now[j]);
	double *f = w->f + j * n, pivot = f[j], e = now[j] - w->book.value[at];

	codes[j] = w->book.code[at];
	w->open[j] = false;
	for (size_t k = 0; k < n; k++)
		if (w->open[k])
			now[k] -= f[k] * e / pivot;
	now[j] = w->book.value[at];
	for (uint32_t i = 0; i < n; i++) {
		double factor = w->f[i * n + j] / pivot;

		for (size_t k = 0; w->open[i] && k < n; k++)
			w->f[i * n + k] -= factor * f[k];
	}
}

/* Half of the widest gap: what is further from any level has been pushed out of the codebook. */
static double half_gap(const struct codebook *b)
{
	double gap = 0;

	for (uint32_t i = 1; i < b->n; i++)
		gap = fmax(gap, b->value[i] - b->value[i - 1]);
	return b->n > 2 ? gap / 2 : INFINITY;
}

static void run_group(struct work *w, uint32_t row, double *now, uint32_t begin, uint32_t n)
{
	struct coded *c = w->c;
	uint8_t *codes = c->codes + (size_t) row * c->columns + begin;
	double half;

	for (uint32_t i = 0; i < n; i++) {
		w->group[i] = (float) now[begin + i];
		w->open[i] = true;
	}
	codebook_fit(&w->book, w->fit, w->group, n, c->planes,
		c->alpha + ((size_t) row * c->groups + begin / c->group_columns) * c->planes);
	memcpy(w->f, w->start, (size_t) n * n * sizeof *w->f);
	half = half_gap(&w->book);
	for (uint32_t i = 0; i < n; i++)
		close_weight(w, now + begin, codes, cheapest(w, now + begin, n, half), n);
}

/* y of one row: forward, with the transpose of the group's part of U; negative, as it will be added. */
static void solve_errors(struct work *w, uint32_t row, uint32_t begin, uint32_t n)
{
	const double *now = w->to[row] + begin;
	double *y = w->error + row;

	for (uint32_t i = 0; i < n; i++) {
		const double *u = w->m->u + (size_t) (begin + i) * w->m->columns + begin;
		double x = y[(size_t) i * w->rows] = (now[i] - (double) w->group[i] + y[(size_t) i * w->rows]) / u[i];

		for (uint32_t k = i + 1; k < n; k++)
			y[(size_t) k * w->rows] -= x * u[k];
	}
}

/* All rows: one group, then the columns after it. */
static void run_group_of_rows(struct work *w, uint32_t first, uint32_t begin, uint32_t n)
{
	struct rank_update u = {.to = w->to, .n_to = w->rows, .stride = w->m->columns, .first = begin + n,
		.end = w->m->columns};

	memset(w->error, 0, (size_t) n * w->rows * sizeof *w->error);
	for (uint32_t row = 0; row < w->rows; row++) {
		run_group(w, first + row, w->to[row], begin, n);
		solve_errors(w, row, begin, n);
	}
	for (uint32_t at = 0; at < n; at += RANK_MAX) {
		u.rank = MIN_OF(n - at, (uint32_t) RANK_MAX);
		u.from = w->m->u + (size_t) (begin + at) * w->m->columns;
		u.factor = w->error + (size_t) at * w->rows;
		rank_update(&u);
	}
}

/*
 * One code at a time, with all scales of a row fitted together between rounds, as far as the error falls. With
 * one plane no weight is ever pushed out of the codebook, so the greedy order leaves much: four points of ResNet-20.
 * With more planes what falls is the error on the calibration samples alone: where these are few, the network agrees
 * less with fp32 afterwards.
 */
static int refine_codes(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m)
{
	_cleanup_(refine_done) struct refine refine = {0};
	uint32_t together = MIN_OF(end - first, (uint32_t) ROWS_TOGETHER);
	int r = refine_init(&refine, c, together);

	for (uint32_t row = first; r >= 0 && row < end; row += together) {
		size_t at = (size_t) row * c->columns;

		refine_rows(&refine, MIN_OF(end - row, together), c, c->codes + at, weights + at, m);
	}
	return r;
}

int obq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(work_done) struct work w = {.c = c, .m = m};
	size_t columns = c->columns;
	int r = weights_finite(weights + first * columns, end - first, c->columns, reterr);

	if (r >= 0)
		r = work_init(&w, end - first);
	if (r < 0)
		return r;
	for (size_t i = 0; i < (end - first) * columns; i++)
		w.now[i] = (double) weights[first * columns + i];
	for (uint32_t i = 0; i < w.rows; i++)
		w.to[i] = w.now + i * columns;
	for (uint32_t begin = 0; begin < c->columns; begin += c->group_columns) {
		uint32_t n = MIN_OF(c->group_columns, c->columns - begin);

		make_start(&w, begin, n);
		run_group_of_rows(&w, first, begin, n);
	}
	if (c->planes == 1)
		r = refine_codes(c, weights, first, end, m);
	return r < 0 ? r : codebook_finish(c, weights, first, end, m);
}
