/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/calibrated_rows.h"

#include <errno.h>

#include "convert/by_rows.h"

#define TASK_ROWS 8

struct work {
	const struct quantizer *q;
	const float *weights;
	const struct quantize_options *options;
	struct coded *c;
};

static int quantize_rows(void *userdata, uint32_t first, uint32_t end, const struct metric *m, struct error *reterr)
{
	const struct work *w = userdata;

	return w->q->rows(w->c, w->weights, first, end, m, w->options, reterr);
}

int calibrated_rows(struct coded *ret, const struct quantizer *q, const float *weights, uint32_t rows,
	uint32_t columns, const struct second_moment *m, const struct quantize_options *options,
	struct threads *threads, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {};
	struct work w = {.q = q, .weights = weights, .options = options, .c = &c};
	struct by_rows b = {.run = quantize_rows, .userdata = &w, .rows = rows, .columns = columns,
		.task_rows = TASK_ROWS};
	uint32_t group_columns = q->grid ? columns : options->group_columns;
	int r = coded_allocate(&c, CODING_SUM, rows, columns, group_columns, options->planes, false, reterr);

	if (r < 0)
		return r;
	if (q->grid) {
		c.offset = calloc((size_t) rows * c.groups, sizeof *c.offset);
		if (!c.offset)
			return -ENOMEM;
	}
	r = by_rows_run(&b, m, threads, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){};
	return 0;
}

int calibrated_importance(float **ret, uint32_t rows, uint32_t columns, const struct second_moment *m)
{
	float *importance = malloc((size_t) rows * columns * sizeof *importance);

	if (!importance)
		return -ENOMEM;
	for (uint32_t r = 0; r < rows; r++) {
		const double *h = m->h + (size_t) (r / (rows / m->groups)) * columns * columns;

		for (uint32_t t = 0; t < columns; t++)
			importance[(size_t) r * columns + t] = (float) h[(size_t) t * columns + t];
	}
	*ret = importance;
	return 0;
}
