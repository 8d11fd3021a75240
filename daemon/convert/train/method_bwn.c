/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BWN, binary weight networks, and XNOR-Net (methods B14): sign times the mean magnitude of a row.
 *
 * XNOR-Net is this method with --activation-bits 1. What stands behind a ReLU becomes 0 or a step that is
 * learned: a sign about half a step, with half a step as its scale, and a constant, which normalisation takes
 * up; the gradient passes within that scale of the sign's border, as the paper's does. The kernels count
 * bits of both sides.
 *
 * Our choices: the gradient of weights goes straight through, and latent ones are kept where a sign can still
 * change (the paper's factor 1 / n + scale is one for a whole row, whose length normalisation takes up); a
 * scale for the tensor, not one for each place of the picture.
 */
#include "convert/train/binary.h"

#include <errno.h>
#include <math.h>

#define REACH 2.5f

static float row_scale(const struct train_layer *l, uint32_t row)
{
	const float *w = l->weight + (size_t) row * l->columns;
	double sum = 0;

	for (uint32_t t = 0; t < l->columns; t++)
		sum += (double) fabsf(w[t]);
	return (float) (sum / l->columns);
}

void binary_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	for (uint32_t row = 0; row < l->rows; row++) {
		float scale = row_scale(l, row);

		for (size_t i = (size_t) row * l->columns; i < (size_t) (row + 1) * l->columns; i++)
			hat[i] = l->weight[i] >= 0 ? scale : -scale;
	}
}

int binary_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, 1, false, reterr);

	if (r < 0)
		return r;
	for (uint32_t row = 0; row < l->rows; row++)
		ret->alpha[row] = row_scale(l, row);
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		ret->codes[i] = l->weight[i] >= 0;
	return 0;
}

int binary_clip(struct train_layer *l, const struct train_moment *m)
{
	for (uint32_t row = 0; row < l->rows; row++) {
		float most = REACH * row_scale(l, row);

		for (size_t i = (size_t) row * l->columns; i < (size_t) (row + 1) * l->columns; i++)
			l->weight[i] = fminf(fmaxf(l->weight[i], -most), most);
	}
	return 0;
}

const struct train_method train_bwn = {
	.name = "bwn",
	.help = "one plane, straight-through (BWN; XNOR-Net with --activation-bits 1)",
	.planes_min = 1,
	.planes_max = 1,
	.planes_default = 1,
	.weights = binary_weights,
	.stepped = binary_clip,
	.codes = binary_codes,
};
