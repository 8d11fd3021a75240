/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TWN, ternary weight networks (methods B15): zero below 0.7 of a row's mean magnitude, the mean of the
 * others above; the gradient goes straight through. Ours: a scale for each row.
 */
#include <errno.h>
#include <math.h>

#include "convert/train/ternary.h"

#define THRESHOLD 0.7f

static void row_scale(const struct train_layer *l, uint32_t row, float *scale, float *threshold)
{
	const float *w = l->weight + (size_t) row * l->columns;

	*threshold = THRESHOLD * ternary_scale(w, l->columns, -1);
	*scale = ternary_scale(w, l->columns, *threshold);
}

static void twn_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	for (uint32_t row = 0; row < l->rows; row++) {
		float scale, threshold;

		row_scale(l, row, &scale, &threshold);
		for (size_t i = (size_t) row * l->columns; i < (size_t) (row + 1) * l->columns; i++)
			hat[i] = fabsf(l->weight[i]) > threshold ? copysignf(scale, l->weight[i]) : 0;
	}
}

static int twn_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	_cleanup_free_ float *scale = calloc(l->rows, 2 * sizeof *scale);

	if (!scale)
		return -ENOMEM;
	for (uint32_t row = 0; row < l->rows; row++)
		row_scale(l, row, &scale[row], &scale[l->rows + row]);
	return ternary_codes(ret, l, scale, scale + l->rows, reterr);
}

const struct train_method train_twn = {
	.name = "twn",
	.help = "ternary weights above a threshold",
	.planes_min = 2,
	.planes_max = 2,
	.planes_default = 2,
	.weights = twn_weights,
	.codes = twn_codes,
};
