/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default: one set of planes of which every prefix is a good model (methods D4.4-3). Scales are
 * the least-squares ones of all planes; those of a prefix follow from them and the planes (D4.2).
 */
#include <errno.h>

#include "convert/quantize/fit.h"
#include "convert/quantize/method.h"

/* Relative squared errors to expect of p = index + 1 planes, for normally distributed weights. */
static const double expected_error[BITS_PLANES_MAX] = {
	.36, .116, .037, .0115, .0034, 1e-3, 2.7e-4, 7e-5};

#define WIDTHS_SERVED 4
#define ROUNDS 25

/*
 * Each width counts by its own expected error. Widths between the served ones and the top are
 * rarely asked for: at full weight they would cost the narrow widths more than they gain
 * themselves.
 */
void nested_lambda(double *lambda, uint32_t planes, bool favour_top)
{
	static const double by_distance[] = {1, .5, .3};

	for (uint32_t p = 1; p <= planes; p++) {
		uint32_t distance = planes - p;
		double importance = p > WIDTHS_SERVED && distance > 0 ? .15 : 1;

		if (favour_top)
			importance = distance < ARRAY_SIZE(by_distance) ? by_distance[distance] : 0;
		lambda[p - 1] = importance / expected_error[p - 1];
	}
}

/* Refining after each new plane, not only after the last, ends in a better place. */
void nested_fit(struct fit *f, const float *weights, uint32_t n, uint32_t planes, bool favour_top)
{
	double lambda[BITS_PLANES_MAX];

	fit_load(f, weights, n);
	fit_alternate(f, MIN_OF(planes, 2u), 20);
	nested_lambda(lambda, planes, favour_top);
	fit_joint(f, lambda, planes <= 2 ? ROUNDS : 0);
	while (fit_state(f)->planes < planes) {
		fit_split(f, 20);
		nested_lambda(lambda, fit_state(f)->planes, favour_top);
		fit_joint(f, lambda, ROUNDS);
	}
}

int bcq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(fit_freep) struct fit *f = NULL;
	int r;

	r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);
	if (r < 0)
		return r;
	r = fit_new(&f, c->group_columns);
	if (r < 0)
		return r;
	for (uint32_t row = first; row < end; row++)
		for (uint32_t g = 0; g < c->groups; g++) {
			uint32_t column = g * c->group_columns;
			size_t at = (size_t) row * c->columns + column;

			nested_fit(f, weights + at, MIN_OF(c->group_columns, c->columns - column),
				c->planes, options->favour_top);
			fit_store(f, c->alpha + ((size_t) row * c->groups + g) * c->planes,
				c->codes + at);
		}
	return 0;
}

int quantize_bcq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	_cleanup_(coded_done) struct coded c = {0};
	int r;

	r = coded_allocate(&c, CODING_SUM, rows, columns, options->group_columns, options->planes,
		false, reterr);
	if (r < 0)
		return r;
	r = bcq_rows(&c, weights, 0, rows, options, reterr);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct coded){0};
	return 0;
}
