/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elastic significant bits (methods B2; Gong et al., with the constants of their code checked): a small float
 * format of b planes, f bits of fraction and e = b - f - 1 bits of exponent, which fades to a uniform grid
 * below 1. The distribution difference aligner gives its unit: k times the deviation of the weights, k where
 * a standard normal variable x is nearest to k Q(x / k). Which f is left to the weights: the one that errs
 * least. Formats with less than two bits of exponent are uniform mid-rise grids.
 */
#include "convert/quantize/esb.h"

#include <math.h>

#include "convert/quantize/method.h"

#define EXPONENT_MAX 4
#define FRACTIONS 6

/* Magnitudes 0 .. c, ascending. Return: whether there are two bits of exponent */
static bool make_magnitudes(float *magnitudes, uint32_t planes, uint32_t fraction)
{
	uint32_t half = 1u << (planes - 1), bits = planes > fraction ? planes - fraction - 1 : 0, n = 0;
	int top;

	if (bits < 2)
		return false;
	top = (int) floor(exp2(MIN_OF(bits, EXPONENT_MAX)) - 1.5);
	for (; n < 2u << fraction && n < half; n++)
		magnitudes[n] = ldexpf((float) n, -(int) fraction);
	for (int e = 1; e <= top; e++)
		for (uint32_t i = 0; i < 1u << fraction && n < half; i++, n++)
			magnitudes[n] = ldexpf(ldexpf(1, (int) fraction) + (float) i, e - (int) fraction);
	for (; n < half; n++)
		magnitudes[n] = magnitudes[n - 1];
	return true;
}

bool esb_levels(float *levels, uint32_t planes, uint32_t fraction)
{
	float magnitudes[1 << (BITS_PLANES_MAX - 1)];
	uint32_t n = 1u << planes;

	if (make_magnitudes(magnitudes, planes, fraction)) {
		levels_mirror(levels, magnitudes, planes, 1);
		return true;
	}
	for (uint32_t i = 0; i < n; i++)
		levels[i] = (float) i - (float) (n - 1) / 2;
	return fraction == 0; /* all fractions come to this one grid */
}

double esb_unit(uint32_t planes, uint32_t fraction)
{
	/* By the search that the test repeats; formats of many exponents have a minimum at each power of two. */
	static const double unit[BITS_PLANES_MAX][FRACTIONS] = {
		{1.5958},
		{.9957},
		{.5181},
		{.0666, .4871},
		{.00026, .0391, .4828},
		{.00026, .00015, .0389, .4997},
		{.00026, .00015, .00015, .0397, .5247},
		{.00026, .00015, .00015, .00016, .0393, .5527},
	};

	return unit[planes - 1][fraction];
}

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	float candidate[1 << BITS_PLANES_MAX], deviation = span_deviation(s);
	double smallest = INFINITY;
	uint32_t n = 1u << planes;

	for (uint32_t i = 0; i < n; i++)
		levels[i] = 0;
	for (uint32_t fraction = 0; fraction < MIN_OF(planes, FRACTIONS) && deviation > 0; fraction++) {
		double unit, error;

		if (!esb_levels(candidate, planes, fraction))
			continue;
		unit = esb_unit(planes, fraction) * (double) deviation;
		error = levels_error(candidate, n, (float) unit, s);
		if (error >= smallest)
			continue;
		smallest = error;
		for (uint32_t i = 0; i < n; i++)
			levels[i] = (float) (unit * (double) candidate[i]);
	}
	return 0;
}

int quantize_esb(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
