/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superposed powers of two (methods B8, AUSN; known from its abstract, so the search is ours): a weight is
 *
 *	w = sum over j < J of +-2^(e_j),  each term with a sign and a field of b_e bits for its exponent
 *
 * with J (1 + b_e) <= planes. Terms after the first begin s powers lower each. J, b_e and s are those that err
 * least, for a top power such that the largest weight is just representable or one below. Codes that J terms
 * do not use repeat the largest level.
 */
#include <math.h>
#include <stdlib.h>

#include "convert/quantize/method.h"

struct format {
	uint32_t terms, field, shift;
};

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *) a, y = *(const float *) b;

	return (x > y) - (x < y);
}

/* All sums for top power 0, ascending. */
static void make_levels(float *levels, const struct format *f, uint32_t planes)
{
	uint32_t bits = 1 + f->field, used = f->terms * bits, n = 1u << used;

	for (uint32_t code = 0; code < n; code++) {
		levels[code] = 0;
		for (uint32_t j = 0; j < f->terms; j++) {
			uint32_t term = code >> (j * bits) & ((1u << bits) - 1);
			int exponent = -(int) (term >> 1) - (int) (j * f->shift);

			levels[code] += term & 1 ? -ldexpf(1, exponent) : ldexpf(1, exponent);
		}
	}
	qsort(levels, n, sizeof *levels, compare_floats);
	for (uint32_t i = n; i < 1u << planes; i++)
		levels[i] = levels[n - 1];
}

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	float candidate[1 << BITS_PLANES_MAX], largest = span_largest(s);
	uint32_t n = 1u << planes;
	double smallest = INFINITY;

	for (uint32_t i = 0; i < n; i++)
		levels[i] = 0;
	for (struct format f = {.terms = 1}; largest > 0 && f.terms <= planes; f.terms++)
		for (f.field = 0; f.terms * (1 + f.field) <= planes && f.field <= 3; f.field++)
			for (f.shift = f.terms > 1; f.shift <= (f.terms > 1 ? 4u : 0); f.shift++) {
				float top;

				make_levels(candidate, &f, planes);
				top = exp2f(ceilf(log2f(largest / candidate[n - 1])));
				for (int down = 0; down < 3; down++, top /= 2) {
					double error = levels_error(candidate, n, top, s);

					if (error >= smallest)
						continue;
					smallest = error;
					for (uint32_t i = 0; i < n; i++)
						levels[i] = top * candidate[i];
				}
			}
	return 0;
}

int quantize_ausn(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
