/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/codebook.h"

#include <math.h>

#include "convert/quantize/gptq.h"

#define ROUNDS 20

void codebook_fit(struct codebook *b, struct fit *f, const float *weights, uint32_t n, uint32_t planes,
	float *alpha)
{
	fit_load(f, weights, n);
	fit_alternate(f, planes, ROUNDS);
	for (uint32_t i = 0; i < planes; i++)
		alpha[i] = (float) fabs(fit_state(f)->alpha[planes][i]);
	b->n = 1u << planes;
	for (uint32_t code = 0; code < b->n; code++) {
		double v = 0;
		uint32_t at = code;

		for (uint32_t i = 0; i < planes; i++)
			v += code >> (planes - 1 - i) & 1 ? (double) alpha[i] : -(double) alpha[i];
		for (; at > 0 && b->value[at - 1] > v; at--) {
			b->value[at] = b->value[at - 1];
			b->code[at] = b->code[at - 1];
		}
		b->value[at] = v;
		b->code[at] = (uint8_t) code;
	}
}

uint32_t codebook_nearest(const struct codebook *b, double w)
{
	uint32_t low = 0, high = b->n - 1;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (2 * w < b->value[middle] + b->value[middle + 1])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

int codebook_finish(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct metric *m)
{
	float *alpha[BITS_PLANES_MAX] = {};
	int r;

	alpha[c->planes - 1] = c->alpha + (size_t) first * c->groups * c->planes;
	r = gptq_scales(alpha, c, weights, first, end, m);
	for (uint32_t row = first; r >= 0 && row < end; row++)
		gptq_turn_negative(c, row);
	return r;
}
