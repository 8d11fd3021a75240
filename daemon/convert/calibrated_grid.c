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

#define TASK_ROWS 16
#define WEIGHT_MAX 127
#define ZERO_CODE 128

struct work {
	const float *weights, *row_scale;
	struct coded *c;
};

/* @now: [columns], scratch: the weights as the errors so far have moved them */
static void round_row(const struct work *w, uint32_t row, const struct metric *m, double *now)
{
	uint32_t n = w->c->columns;
	const float *weights = w->weights + (size_t) row * n;
	uint8_t *codes = w->c->codes + (size_t) row * n;
	double scale = (double) w->row_scale[row] / WEIGHT_MAX;

	for (uint32_t t = 0; t < n; t++)
		now[t] = weights[t];
	for (uint32_t t = 0; t < n; t++) {
		const double *u = m->u + (size_t) t * n;
		double q = fmin(fmax(rint(now[t] / scale), -WEIGHT_MAX), WEIGHT_MAX);
		double error = (now[t] - q * scale) / u[t];

		codes[t] = (uint8_t) ((int) q + ZERO_CODE);
		for (uint32_t j = t + 1; j < n; j++)
			now[j] -= error * u[j];
	}
}

static int round_rows(void *userdata, uint32_t first, uint32_t end, const struct metric *m, struct error *reterr)
{
	const struct work *w = userdata;
	_cleanup_free_ double *now = malloc(w->c->columns * sizeof *now);

	if (!now)
		return -ENOMEM;
	for (uint32_t row = first; row < end; row++)
		round_row(w, row, m, now);
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
