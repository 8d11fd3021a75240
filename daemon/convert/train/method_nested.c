/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested planes, trained: every prefix of the planes of one file is a good network.
 *
 * The codes are those of the joint nested fit (methods D4.4-3): of all codes of K bits, the one whose
 * prefixes are, weighted over the widths, nearest to the latent weight. For given scales the best codes
 * form intervals of the weights, so a row has at most 2^K - 1 borders. Each step encodes once with the
 * scales that it finds and refits the scales of every width to the codes: one round of the alternating fit
 * for each step of the optimiser. Gradients go straight through (C1.1, C1.3; the alternating fit inside
 * of training is that of C2's LQ-Nets).
 *
 * Our choices: scales per row, not per group; weights of the widths as in the export's fit.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/quantize/method.h"
#include "convert/train/method.h"

#define RIDGE 1e-6

/**
 * struct nested - of one layer
 * @alpha: [rows][planes + 1][planes], row p: the scales at p planes
 * @codes: [rows][columns]
 */
struct nested {
	double lambda[BITS_PLANES_MAX];
	float *alpha;
	uint8_t *codes;
};

/**
 * struct borders - the codes that win, in ascending order of the weights, and where they end
 */
struct borders {
	uint32_t n;
	uint8_t code[FIT_CODES_MAX];
	float end[FIT_CODES_MAX];
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

/**
 * struct line - the cost of a code is w^2 - 2 w * slope + constant
 */
struct line {
	double slope, constant;
	uint8_t code;
};

static int by_slope(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->slope != y->slope)
		return x->slope < y->slope ? -1 : 1;
	return x->constant < y->constant ? -1 : x->constant > y->constant;
}

/* Where @b begins to be the cheaper of two. */
static double crossing(const struct line *a, const struct line *b)
{
	return (b->constant - a->constant) / (2 * (b->slope - a->slope));
}

/* Lower envelope of the lines. */
static void find_borders(struct borders *b, struct line *lines, uint32_t n)
{
	struct line hull[FIT_CODES_MAX];
	uint32_t top = 0;

	qsort(lines, n, sizeof *lines, by_slope);
	for (uint32_t i = 0; i < n; i++) {
		if (top && lines[i].slope - hull[top - 1].slope < 1e-12)
			continue;
		while (top > 1 && crossing(&hull[top - 1], &lines[i]) <= crossing(&hull[top - 2], &hull[top - 1]))
			top--;
		hull[top++] = lines[i];
	}
	b->n = top;
	for (uint32_t i = 0; i < top; i++) {
		b->code[i] = hull[i].code;
		b->end[i] = i + 1 < top ? (float) crossing(&hull[i], &hull[i + 1]) : INFINITY;
	}
}

static void row_borders(struct borders *b, const struct nested *n, const float *alpha, uint32_t planes)
{
	struct line lines[FIT_CODES_MAX];

	for (uint32_t c = 0; c < 1u << planes; c++) {
		lines[c] = (struct line){.code = (uint8_t) c};
		for (uint32_t p = 1; p <= planes; p++) {
			double v = prefix_value(alpha, planes, p, c);

			lines[c].slope += n->lambda[p - 1] * v;
			lines[c].constant += n->lambda[p - 1] * v * v;
		}
	}
	find_borders(b, lines, 1u << planes);
}

static void encode_row(const struct borders *b, const float *w, uint32_t n, uint8_t *codes)
{
	for (uint32_t t = 0; t < n; t++) {
		uint32_t at = 0;

		for (uint32_t i = 0; i + 1 < b->n; i++)
			at += w[t] > b->end[i];
		codes[t] = b->code[at];
	}
}

/* Scales of every prefix, by least squares (D4.2); a prefix whose codes are all alike keeps its own. */
static void fit_row(float *alpha, const float *w, const uint8_t *codes, uint32_t n, uint32_t planes)
{
	double solved[BITS_PLANES_MAX];
	_cleanup_free_ uint8_t *prefix = malloc(n);

	for (uint32_t p = 1; prefix && p <= planes; p++) {
		bool sound = true;

		for (uint32_t t = 0; t < n; t++)
			prefix[t] = codes[t] >> (planes - p);
		(void) fit_scales(solved, w, prefix, n, p);
		for (uint32_t i = 0; i < p; i++)
			sound = sound && isfinite(solved[i]);
		for (uint32_t i = 0; sound && i < p; i++)
			alpha[p * planes + i] = (float) solved[i];
	}
}

static int nested_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct nested *n = l->own;

	for (uint32_t r = 0; r < l->rows; r++) {
		const float *w = l->weight + (size_t) r * l->columns;
		uint8_t *codes = n->codes + (size_t) r * l->columns;
		struct borders b;

		row_borders(&b, n, row_alpha(l, r), l->planes);
		encode_row(&b, w, l->columns, codes);
		fit_row(row_alpha(l, r), w, codes, l->columns, l->planes);
	}
	return 0;
}

static int start_row(struct train_layer *l, struct fit *f, uint32_t row)
{
	float *alpha = row_alpha(l, row);

	nested_fit(f, l->weight + (size_t) row * l->columns, l->columns, l->planes, false);
	for (uint32_t p = 1; p <= l->planes; p++)
		for (uint32_t i = 0; i < p; i++)
			alpha[p * l->planes + i] = (float) fit_state(f)->alpha[p][i];
	return 0;
}

static int nested_init(struct train_layer *l, struct error *reterr)
{
	_cleanup_(fit_freep) struct fit *f = NULL;
	struct nested *n = l->own = calloc(1, sizeof *n);
	size_t scales = (size_t) l->rows * (l->planes + 1) * l->planes;
	int r = n ? fit_new(&f, l->columns) : -ENOMEM;

	if (r < 0)
		return r;
	n->alpha = calloc(scales, sizeof *n->alpha);
	n->codes = calloc(l->rows, l->columns);
	if (!n->alpha || !n->codes)
		return -ENOMEM;
	nested_lambda(n->lambda, l->planes, false);
	for (uint32_t row = 0; row < l->rows; row++)
		(void) start_row(l, f, row);
	r = train_store_block(l->store, n->alpha, scales * sizeof *n->alpha);
	return r < 0 ? r : train_store_block(l->store, n->codes, (size_t) l->rows * l->columns);
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
