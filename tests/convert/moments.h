/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn inputs as a layer after ReLU sees them: not negative, neighbours alike. */
#pragma once

#include "convert/samples.h"

/** moments_draw() - @moment: [columns][columns], E[x x^T] over @n inputs; @x: [columns], scratch */
static inline void moments_draw(struct source *s, double *moment, double *x, int columns, int n)
{
	for (int k = 0; k < n; k++) {
		double state = 0, common = sample_gauss(s);

		for (int i = 0; i < columns; i++) {
			state = 0.8 * state + 0.6 * sample_gauss(s);
			x[i] = fmax(0, state + 0.5 * common);
		}
		for (int i = 0; i < columns; i++)
			for (int j = 0; j < columns; j++)
				moment[i * columns + j] += x[i] * x[j] / n;
	}
}
