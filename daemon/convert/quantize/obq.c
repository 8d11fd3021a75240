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
 * they are when it begins: F of a group is the same for all rows then, U^T U of its rows of U, and a row takes
 * columns^2 * group steps rather than columns^3. A row of one group is the method of the paper exactly.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/codebook.h"
#include "convert/quantize/gptq.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"

/**
 * struct work - @start: [group][columns - begin], F as the group begins; @f: the same for the present row
 * @now: [columns]; @group: [group_columns], for the fit
 */
struct work {
	struct coded *c;
	const struct metric *m;
	double *start, *f, *now;
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
	free(w->group);
	free(w->open);
	fit_free(w->fit);
}

static int work_init(struct work *w, uint32_t rows)
{
	size_t columns = w->c->columns, n = MIN_OF(w->c->group_columns, columns);

	w->start = malloc(n * columns * sizeof *w->start);
	w->f = malloc(n * columns * sizeof *w->f);
	w->now = malloc(rows * columns * sizeof *w->now);
	w->group = malloc(n * sizeof *w->group);
	w->open = malloc(n * sizeof *w->open);
	if (!w->start || !w->f || !w->now || !w->group || !w->open)
		return -ENOMEM;
	return fit_new(&w->fit, (uint32_t) n);
}

/* Rows @begin .. @begin + @n - 1 of U^T U, of the columns from @begin on. */
static void make_start(struct work *w, uint32_t begin, uint32_t n)
{
	size_t columns = w->m->columns, left = columns - begin;

	memset(w->start, 0, n * left * sizeof *w->start);
	for (size_t k = 0; k < n; k++) {
		const double *u = w->m->u + (begin + k) * columns + begin;

		for (size_t i = k; i < n; i++)
			for (size_t j = k; j < left; j++)
				w->start[i * left + j] += u[i] * u[j];
	}
}

/* The open weight of the group to close next. */
static uint32_t cheapest(const struct work *w, const double *now, uint32_t n, size_t left, double half)
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
		if (!outlier && e * e / w->f[i * left + i] < smallest) {
			smallest = e * e / w->f[i * left + i];
			best = i;
		}
	}
	return best;
}

/* @now: the row from the group's begin on. */
static void close_weight(struct work *w, double *now, uint8_t *codes, uint32_t j, uint32_t n, size_t left)
{
	uint32_t at = codebook_nearest(&w->book, now[j]);
	double *f = w->f + j * left, pivot = f[j], e = now[j] - w->book.value[at];

	codes[j] = w->book.code[at];
	w->open[j] = false;
	for (size_t k = 0; k < left; k++)
		if (k >= n || w->open[k])
			now[k] -= f[k] * e / pivot;
	now[j] = w->book.value[at];
	for (uint32_t i = 0; i < n; i++) {
		double factor = w->f[i * left + j] / pivot;

		for (size_t k = 0; w->open[i] && k < left; k++)
			w->f[i * left + k] -= factor * f[k];
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
	size_t left = c->columns - begin;
	double half;

	for (uint32_t i = 0; i < n; i++) {
		w->group[i] = (float) now[begin + i];
		w->open[i] = true;
	}
	codebook_fit(&w->book, w->fit, w->group, n, c->planes,
		c->alpha + ((size_t) row * c->groups + begin / c->group_columns) * c->planes);
	memcpy(w->f, w->start, n * left * sizeof *w->f);
	half = half_gap(&w->book);
	for (uint32_t i = 0; i < n; i++)
		close_weight(w, now + begin, codes, cheapest(w, now + begin, n, left, half), n, left);
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
	for (uint32_t begin = 0; begin < c->columns; begin += c->group_columns) {
		uint32_t n = MIN_OF(c->group_columns, c->columns - begin);

		make_start(&w, begin, n);
		for (uint32_t row = first; row < end; row++)
			run_group(&w, row, w.now + (row - first) * columns, begin, n);
	}
	return codebook_finish(c, weights, first, end, m);
}
