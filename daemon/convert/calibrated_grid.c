/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain int8 with error compensation (methods C3 on the grid of integer.h): what a column loses to rounding
 * is passed on to the columns after it, in the proportions that keep the layer's output.
 */
#include <errno.h>
#include <math.h>

#include "convert/by_rows.h"
#include "convert/calibrated.h"
#include "convert/integer.h"
#include "convert/quantize/rank_update.h"

#define TASK_ROWS 16
#define WEIGHT_MAX 127
#define ZERO_CODE 128

struct work {
	const float *weights, *row_scale;
	struct coded *c;
};

/**
 * struct rows - of one task
 * @now: [rows][columns], the weights as the errors so far have moved them; @to: [rows], the same
 * @factor: [RANK_MAX][rows], errors for the columns after a block
 */
struct rows {
	double *now, *factor, *to[TASK_ROWS];
	uint32_t first, n;
};

/* Columns @begin .. @end - 1 of one row; @factor: of the row */
static void round_block(const struct work *w, const struct rows *rows, uint32_t i, uint32_t begin, uint32_t end,
	const struct metric *m, double *factor)
{
	uint8_t *codes = w->c->codes + (size_t) (rows->first + i) * w->c->columns;
	double scale = (double) w->row_scale[rows->first + i] / WEIGHT_MAX, *now = rows->to[i];

	for (uint32_t t = begin; t < end; t++) {
		const double *u = m->u + (size_t) t * w->c->columns;
		double q = fmin(fmax(rint(now[t] / scale), -WEIGHT_MAX), WEIGHT_MAX);
		double error = (now[t] - q * scale) / u[t];

		codes[t] = (uint8_t) ((int) q + ZERO_CODE);
		factor[(size_t) (t - begin) * rows->n] = -error;
		for (uint32_t j = t + 1; j < end; j++)
			now[j] -= error * u[j];
	}
}

static void round_together(const struct work *w, struct rows *rows, const struct metric *m)
{
	uint32_t n = w->c->columns;
	struct rank_update u = {.to = rows->to, .n_to = rows->n, .factor = rows->factor, .stride = n, .end = n};

	for (uint32_t i = 0; i < rows->n; i++) {
		rows->to[i] = rows->now + (size_t) i * n;
		for (uint32_t t = 0; t < n; t++)
			rows->to[i][t] = (double) w->weights[(size_t) (rows->first + i) * n + t];
	}
	for (uint32_t begin = 0; begin < n; begin += RANK_MAX) {
		u.first = MIN_OF(begin + RANK_MAX, n);
		u.rank = (uint32_t) u.first - begin;
		u.from = m->u + (size_t) begin * n;
		for (uint32_t i = 0; i < rows->n; i++)
			round_block(w, rows, i, begin, (uint32_t) u.first, m, rows->factor + i);
		rank_update(&u);
	}
}

static int round_rows(void *userdata, uint32_t first, uint32_t end, const struct metric *m, struct error *reterr)
{
	const struct work *w = userdata;
	_cleanup_free_ double *now = malloc((size_t) TASK_ROWS * w->c->columns * sizeof *now);
	_cleanup_free_ double *factor = malloc((size_t) TASK_ROWS * RANK_MAX * sizeof *factor);
	struct rows rows = {.now = now, .factor = factor, .first = first};

	if (!now || !factor)
		return -ENOMEM;
	for (; rows.first < end; rows.first += rows.n) {
		rows.n = MIN_OF(end - rows.first, (uint32_t) TASK_ROWS);
		round_together(w, &rows, m);
	}
	return 0;
}

int calibrated_grid(struct coded *ret, float *row_scale, const float *weights, uint32_t rows,
	uint32_t columns, const struct second_moment *m, struct threads *threads, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {};
	struct work w = {.weights = weights, .row_scale = row_scale, .c = &c};
	struct by_rows b = {.run = round_rows, .userdata = &w, .rows = rows, .columns = columns,
		.task_rows = TASK_ROWS};
	int r = integer_grid(&c, row_scale, weights, rows, columns);

	if (r >= 0)
		r = by_rows_run(&b, m, threads, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){};
	return 0;
}
