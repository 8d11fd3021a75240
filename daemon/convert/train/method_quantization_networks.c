/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quantization Networks (methods B3): a weight becomes alpha times a stair of sigmoids of T (beta w - b), one
 * for each step from one level to the next, and T grows until they are steps. Alpha and beta are learned for
 * each layer; the borders b lie between the clusters of beta w, those next to zero at -0.05 and 0.05, and
 * stay. Every gradient is that of the formula.
 *
 * Levels are the paper's: -1 and 1; -1, 0, 1; 0 and powers of two up to 4; whole numbers up to 15. Our
 * choices: whole numbers up to 7 with four planes, which it does not have; T rises evenly from T_FIRST to
 * T_LAST over the first HARD of the run; then weights are what the steps give, and alpha, biases and
 * normalisation go on.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/ternary.h"

#define BORDER 0.05f
#define T_FIRST 5.0f
#define T_LAST 250.0f
#define HARD 0.85
#define LEVELS_MAX 31
#define ROUNDS 20

/**
 * struct qn - @scale: alpha and beta, trained; @border: kept
 * @n: levels; @level: ascending, whole numbers
 */
struct qn {
	float scale[2], grad[2], sharp, level[LEVELS_MAX], border[LEVELS_MAX - 1];
	uint32_t n;
	bool hard;
};

enum { ALPHA, BETA };

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static void set_levels(struct qn *q, uint32_t planes)
{
	static const float few[] = {-4, -2, -1, 0, 1, 2, 4};
	int most = (1 << (planes - 1)) - 1;

	if (planes == 1) {
		q->level[q->n++] = -1;
		q->level[q->n++] = 1;
		return;
	}
	if (planes == 3) {
		memcpy(q->level, few, sizeof few);
		q->n = ARRAY_SIZE(few);
		return;
	}
	for (int i = -most; i <= most; i++)
		q->level[q->n++] = (float) i;
}

/* Lloyd's rounds on beta w. @centre: [q->n], ascending, in and out */
static void find_clusters(const struct train_layer *l, float *centre)
{
	const struct qn *q = l->own;

	for (int k = 0; k < ROUNDS; k++) {
		double sum[LEVELS_MAX] = {};
		uint32_t count[LEVELS_MAX] = {};

		for (size_t i = 0; i < size_of(l); i++) {
			float x = q->scale[BETA] * l->weight[i];
			uint32_t at = 0;

			while (at + 1 < q->n && x > (centre[at] + centre[at + 1]) / 2)
				at++;
			sum[at] += (double) x;
			count[at]++;
		}
		for (uint32_t j = 0; j < q->n; j++)
			if (count[j])
				centre[j] = (float) (sum[j] / count[j]);
	}
}

static void set_borders(const struct train_layer *l)
{
	struct qn *q = l->own;
	float centre[LEVELS_MAX];

	memcpy(centre, q->level, sizeof centre);
	find_clusters(l, centre);
	for (uint32_t i = 0; i + 1 < q->n; i++) {
		float middle = (centre[i] + centre[i + 1]) / 2;

		if (q->n == 2)
			q->border[i] = 0;
		else if (q->level[i] < 0)
			q->border[i] = q->level[i + 1] == 0 ? -BORDER : fminf(middle, -BORDER);
		else
			q->border[i] = q->level[i] == 0 ? BORDER : fmaxf(middle, BORDER);
	}
}

static int qn_init(struct train_layer *l, struct error *reterr)
{
	struct qn *q = l->own = calloc(1, sizeof *q);
	float most = 0;
	int r;

	if (!q)
		return -ENOMEM;
	set_levels(q, l->planes);
	for (size_t i = 0; i < size_of(l); i++)
		most = fmaxf(most, fabsf(l->weight[i]));
	q->scale[BETA] = most > 0 ? 5 * q->level[q->n - 1] / (4 * most) : 1;
	q->scale[ALPHA] = 1 / q->scale[BETA];
	set_borders(l);
	r = train_store_param(l->store, q->scale, q->grad, 2, false, 0.01f);
	if (r >= 0)
		r = train_store_block(l->store, q->border, sizeof q->border);
	return r < 0 ? r : train_store_block(l->store, &q->hard, sizeof q->hard);
}

static int qn_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct qn *q = l->own;

	q->hard = m->t >= HARD;
	q->sharp = T_FIRST + (T_LAST - T_FIRST) * (float) fmin(m->t / HARD, 1);
	l->store->params[l->param].frozen = q->hard;
	return 0;
}

static float sigmoid(float z)
{
	return 1 / (1 + expf(-fminf(fmaxf(z, -10), 10)));
}

/* How many borders lie below @x. */
static uint32_t place(const struct qn *q, float x)
{
	uint32_t at = 0;

	while (at + 1 < q->n && x > q->border[at])
		at++;
	return at;
}

/* Between the first and the last level. @slope: by beta w */
static float shape(const struct qn *q, float w, float *slope)
{
	float x = q->scale[BETA] * w, y = q->level[0];

	*slope = 0;
	if (q->hard)
		return q->level[place(q, x)];
	for (uint32_t i = 0; i + 1 < q->n; i++) {
		float step = q->level[i + 1] - q->level[i], s = sigmoid(q->sharp * (x - q->border[i]));

		y += step * s;
		*slope += step * q->sharp * s * (1 - s);
	}
	return y;
}

static void qn_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct qn *q = l->own;
	float slope;

	for (size_t i = 0; i < size_of(l); i++)
		hat[i] = q->scale[ALPHA] * shape(q, l->weight[i], &slope);
}

static void qn_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct qn *q = l->own;
	double alpha = 0, beta = 0;

	for (size_t i = 0; i < size_of(l); i++) {
		float slope, y = shape(q, l->weight[i], &slope);

		l->weight_grad[i] += grad[i] * q->scale[ALPHA] * q->scale[BETA] * slope;
		alpha += (double) (grad[i] * y);
		beta += (double) (grad[i] * q->scale[ALPHA] * l->weight[i] * slope);
	}
	q->grad[ALPHA] += (float) alpha;
	q->grad[BETA] += (float) beta;
}

static int three_codes(const struct train_layer *l, struct coded *ret, struct error *reterr)
{
	_cleanup_free_ float *scale = calloc(l->rows, 2 * sizeof *scale);
	const struct qn *q = l->own;

	if (!scale)
		return -ENOMEM;
	for (uint32_t row = 0; row < l->rows; row++) {
		scale[row] = q->scale[ALPHA];
		scale[l->rows + row] = BORDER / q->scale[BETA];
	}
	return ternary_codes(ret, l, scale, scale + l->rows, reterr);
}

/* A table of levels; codes that no weight has are the last one. */
static int qn_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct qn *q = l->own;
	int r;

	if (l->planes == 2)
		return three_codes(l, ret, reterr);
	r = coded_allocate(ret, CODING_LEVEL, l->rows, l->columns, l->columns, l->planes, true, reterr);
	for (uint32_t j = 0; r >= 0 && j < 1u << l->planes; j++)
		ret->level[j] = q->scale[ALPHA] * q->level[MIN_OF(j, q->n - 1)];
	for (size_t i = 0; r >= 0 && i < size_of(l); i++)
		ret->codes[i] = (uint8_t) place(q, q->scale[BETA] * l->weight[i]);
	return r;
}

static void qn_done(struct train_layer *l)
{
	free(l->own);
}

const struct train_method train_quantization_networks = {
	.name = "quantization-networks",
	.help = "few levels by sigmoids that become steps (Quantization Networks)",
	.planes_min = 1,
	.planes_max = 5,
	.planes_default = 2,
	.init = qn_init,
	.prepare = qn_prepare,
	.weights = qn_weights,
	.gradient = qn_gradient,
	.codes = qn_codes,
	.done = qn_done,
};
