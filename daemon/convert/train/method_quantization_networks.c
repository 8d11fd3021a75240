/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quantization Networks (methods B3), ternary: a weight becomes alpha times a sum of two sigmoids of
 * T (beta w - b), less one, and T grows until they are steps. Alpha and beta are learned for each layer,
 * the borders b stay at -0.05 and 0.05. Every gradient is that of the formula.
 *
 * Our choices: T rises evenly from T_FIRST to T_LAST over the first HARD of the run; then weights are what
 * the steps give, and alpha, biases and normalisation go on.
 */
#include <errno.h>
#include <math.h>

#include "convert/train/ternary.h"

#define BORDER 0.05f
#define T_FIRST 5.0f
#define T_LAST 250.0f
#define HARD 0.85

/**
 * struct qn - @scale: alpha and beta, trained
 */
struct qn {
	float scale[2], grad[2], sharp;
	bool hard;
};

enum { ALPHA, BETA };

static int qn_init(struct train_layer *l, struct error *reterr)
{
	struct qn *q = l->own = calloc(1, sizeof *q);
	float most = 0;
	int r;

	if (!q)
		return -ENOMEM;
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		most = fmaxf(most, fabsf(l->weight[i]));
	q->scale[BETA] = most > 0 ? 5 / (4 * most) : 1;
	q->scale[ALPHA] = 1 / q->scale[BETA];
	r = train_store_param(l->store, q->scale, q->grad, 2, false, 0.01f);
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

/* Between -1 and 1. @slope: by beta w */
static float shape(const struct qn *q, float w, float *slope)
{
	float x = q->scale[BETA] * w, a, b;

	*slope = 0;
	if (q->hard)
		return (float) ((x > -BORDER) + (x > BORDER) - 1);
	a = sigmoid(q->sharp * (x + BORDER));
	b = sigmoid(q->sharp * (x - BORDER));
	*slope = q->sharp * (a * (1 - a) + b * (1 - b));
	return a + b - 1;
}

static void qn_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct qn *q = l->own;
	float slope;

	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		hat[i] = q->scale[ALPHA] * shape(q, l->weight[i], &slope);
}

static void qn_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct qn *q = l->own;
	double alpha = 0, beta = 0;

	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++) {
		float slope, y = shape(q, l->weight[i], &slope);

		l->weight_grad[i] += grad[i] * q->scale[ALPHA] * q->scale[BETA] * slope;
		alpha += (double) (grad[i] * y);
		beta += (double) (grad[i] * q->scale[ALPHA] * l->weight[i] * slope);
	}
	q->grad[ALPHA] += (float) alpha;
	q->grad[BETA] += (float) beta;
}

static int qn_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
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

static void qn_done(struct train_layer *l)
{
	free(l->own);
}

const struct train_method train_quantization_networks = {
	.name = "quantization-networks",
	.help = "ternary weights by sigmoids that become steps (Quantization Networks)",
	.planes_min = 2,
	.planes_max = 2,
	.planes_default = 2,
	.init = qn_init,
	.prepare = qn_prepare,
	.weights = qn_weights,
	.gradient = qn_gradient,
	.codes = qn_codes,
	.done = qn_done,
};
