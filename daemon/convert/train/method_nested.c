/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested planes, trained: every prefix of the planes of one file is a good network.
 *
 * Widths are trained one after the other, the narrowest first (trainer.c). Each starts from the latent weights of the
 * network as it came, not from those that the width before has left: with the planes that it finds given it is then
 * as near to the full-precision network as they allow. The scales of a width are its own, so its base, what the given
 * planes are worth, is fitted again; the new plane says on which side of its base a weight lies. Each step encodes
 * once with the scales that it finds and refits them to the codes: one round of the alternating fit for each step of
 * the optimiser. Gradients go straight through (C1.1, C1.3; the alternating fit inside of training is that of C2's
 * LQ-Nets).
 *
 * Our choices: scales per row, not per group; the order of the widths.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/train/method.h"

#define ROUNDS_FIRST 10 /* of the alternating fit */

/**
 * struct nested - of one layer
 * @origin: [rows][columns], the latent weights as they came
 * @width: the one under way, 0: none yet
 * @alpha: [rows][planes + 1][planes], row p: the scales at p planes
 * @codes: [rows][columns]
 */
struct nested {
	float *origin, *alpha;
	uint8_t *codes;
	uint32_t width;
};

static float *row_alpha(const struct train_layer *l, uint32_t row)
{
	const struct nested *n = l->own;

	return n->alpha + (size_t) row * (l->planes + 1) * l->planes;
}

/* What the first @p planes of @code decode to. */
static double prefix_value(const float *alpha, uint32_t planes, uint32_t p, uint32_t code)
{
	const float *a = alpha + p * planes;
	double sum = 0;

	for (uint32_t i = 0; i < p; i++)
		sum += (double) (code >> (planes - 1 - i) & 1 ? a[i] : -a[i]);
	return sum;
}

/* The codes' first @planes planes, right-aligned. */
static void prefixes(const struct train_layer *l, uint32_t row, uint32_t planes, uint8_t *ret)
{
	const uint8_t *codes = ((const struct nested *) l->own)->codes + (size_t) row * l->columns;

	for (uint32_t t = 0; t < l->columns; t++)
		ret[t] = codes[t] >> (l->planes - planes);
}

/* Scales of the first @planes of width @width by least squares (D4.2); where codes are all alike they stay. */
static void fit_row(struct train_layer *l, uint32_t row, uint32_t width, uint32_t planes, const uint8_t *prefix)
{
	float *alpha = row_alpha(l, row) + width * l->planes;
	double solved[BITS_PLANES_MAX];
	bool sound = true;

	(void) fit_scales(solved, l->weight + (size_t) row * l->columns, prefix, l->columns, planes);
	for (uint32_t i = 0; i < planes; i++)
		sound = sound && isfinite(solved[i]);
	for (uint32_t i = 0; sound && i < planes; i++)
		alpha[i] = (float) solved[i];
}

/* What the planes before the last are worth, by prefix. */
static void find_bases(const struct train_layer *l, uint32_t row, uint32_t width, float *base)
{
	for (uint32_t c = 0; c < 1u << (width - 1); c++) {
		const float *alpha = row_alpha(l, row) + width * l->planes;
		float sum = 0;

		for (uint32_t i = 0; i + 1 < width; i++)
			sum += c >> (width - 2 - i) & 1 ? alpha[i] : -alpha[i];
		base[c] = sum;
	}
}

/* The plane that @width adds; behind it there is nothing yet. */
static void encode_row(struct train_layer *l, uint32_t row, uint32_t width, uint8_t *prefix)
{
	struct nested *n = l->own;
	uint8_t *codes = n->codes + (size_t) row * l->columns;
	const float *w = l->weight + (size_t) row * l->columns;
	bool up = row_alpha(l, row)[width * l->planes + width - 1] >= 0;
	float base[FIT_CODES_MAX];

	find_bases(l, row, width, base);
	for (uint32_t t = 0; t < l->columns; t++) {
		uint8_t before = codes[t] >> (l->planes - width + 1);

		prefix[t] = (uint8_t) (before << 1 | ((w[t] >= base[before]) == up));
		codes[t] = (uint8_t) (prefix[t] << (l->planes - width));
	}
}

/* The given planes fitted to the latent weights, and the new one's scale the mean distance from them. */
static void start_row(struct train_layer *l, uint32_t row, uint32_t width, uint8_t *prefix)
{
	const float *w = l->weight + (size_t) row * l->columns;
	float *alpha = row_alpha(l, row) + width * l->planes, base[FIT_CODES_MAX];
	double sum = 0;

	prefixes(l, row, width - 1, prefix);
	memcpy(alpha, alpha - l->planes, (width - 1) * sizeof *alpha);
	if (width > 1)
		fit_row(l, row, width, width - 1, prefix);
	find_bases(l, row, width, base);
	for (uint32_t t = 0; t < l->columns; t++)
		sum += (double) fabsf(w[t] - base[prefix[t]]);
	alpha[width - 1] = (float) (sum / l->columns) + 1e-12f;
}

/* Back to the latent weights as they came, and no momentum from the width before. */
static void start_width(struct train_layer *l, uint32_t width, uint8_t *prefix)
{
	struct train_param *p = &l->store->params[l->param];
	struct nested *n = l->own;

	memcpy(l->weight, n->origin, p->n * sizeof *l->weight);
	memset(p->first, 0, 3 * p->n * sizeof *p->first);
	for (uint32_t row = 0; row < l->rows; row++)
		start_row(l, row, width, prefix);
	n->width = width;
}

static void fit_width(struct train_layer *l, uint32_t width, int rounds, uint8_t *prefix)
{
	for (uint32_t row = 0; row < l->rows; row++)
		for (int i = 0; i < rounds; i++) {
			encode_row(l, row, width, prefix);
			fit_row(l, row, width, width, prefix);
		}
}

/* A short run may have no step for a narrow width: it is what the fit makes of it. */
static int nested_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct nested *n = l->own;
	_cleanup_free_ uint8_t *prefix = malloc(l->columns);

	if (!prefix)
		return -ENOMEM;
	while (n->width < m->settled + 1) {
		start_width(l, n->width + 1, prefix);
		fit_width(l, n->width, ROUNDS_FIRST, prefix);
	}
	fit_width(l, n->width, 1, prefix);
	return 0;
}

static int nested_init(struct train_layer *l, struct error *reterr)
{
	struct nested *n = l->own = calloc(1, sizeof *n);
	size_t size = (size_t) l->rows * l->columns, scales = (size_t) l->rows * (l->planes + 1) * l->planes;
	int r;

	if (!n)
		return -ENOMEM;
	n->origin = malloc(size * sizeof *n->origin);
	n->alpha = calloc(scales, sizeof *n->alpha);
	n->codes = calloc(size, 1);
	if (!n->origin || !n->alpha || !n->codes)
		return -ENOMEM;
	memcpy(n->origin, l->weight, size * sizeof *n->origin);
	r = train_store_block(l->store, n->alpha, scales * sizeof *n->alpha);
	if (r >= 0)
		r = train_store_block(l->store, n->codes, size);
	return r < 0 ? r : train_store_block(l->store, &n->width, sizeof n->width);
}

static void nested_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct nested *n = l->own;

	for (uint32_t r = 0; r < l->rows; r++) {
		float value[FIT_CODES_MAX];

		for (uint32_t c = 0; c < 1u << l->planes; c++)
			value[c] = (float) prefix_value(row_alpha(l, r), l->planes, planes, c);
		for (size_t t = (size_t) r * l->columns; t < (size_t) (r + 1) * l->columns; t++)
			hat[t] = value[n->codes[t]];
	}
}

static int nested_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct nested *n = l->own;
	_cleanup_(coded_done) struct coded c = {};
	int r = coded_allocate(&c, CODING_SUM, l->rows, l->columns, l->columns, l->planes, false, reterr);

	if (r < 0)
		return r;
	memcpy(c.codes, n->codes, (size_t) l->rows * l->columns);
	c.alpha_widths = l->planes - 1;
	if (c.alpha_widths)
		c.alpha_at = calloc((size_t) l->rows * l->planes * (l->planes - 1) / 2, sizeof *c.alpha_at);
	if (c.alpha_widths && !c.alpha_at)
		return -ENOMEM;
	for (uint32_t row = 0; row < l->rows; row++)
		for (uint32_t p = 1; p <= l->planes; p++) {
			const float *from = row_alpha(l, row) + p * l->planes;
			float *to = p == l->planes ? c.alpha + (size_t) row * p
				: c.alpha_at + (size_t) l->rows * (p * (p - 1) / 2) + (size_t) row * p;

			memcpy(to, from, p * sizeof *to);
		}
	*ret = c;
	c = (struct coded){};
	return 0;
}

static void nested_done(struct train_layer *l)
{
	struct nested *n = l->own;

	if (!n)
		return;
	free(n->origin);
	free(n->alpha);
	free(n->codes);
	free(n);
}

const struct train_method train_nested = {
	.name = "nested",
	.help = "binary codes whose every prefix is trained: one file for all widths (recommended)",
	.planes_min = 1,
	.planes_max = BITS_PLANES_MAX,
	.planes_default = 4,
	.nested = true,
	.init = nested_init,
	.prepare = nested_prepare,
	.weights = nested_weights,
	.codes = nested_codes,
	.done = nested_done,
};
