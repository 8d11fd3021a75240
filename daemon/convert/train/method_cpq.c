/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPQ, cluster-promoting quantization (methods B5), of weights: a weight is the most probable point of a grid
 * with a learned step, under logistic noise; the gradient goes through the probabilities, as if the mean of
 * the points had been taken. It is small near a point and large between two, so that weights gather at
 * points without any penalty.
 *
 * Our choices: the noise is a fixed part of the step, the step's gradient is scaled as in LSQ. DropBits and
 * learned widths are left out: the model file keeps the planes of a matrix equal for all of its rows.
 */
#include <errno.h>
#include <math.h>

#include "convert/train/method.h"

#define NOISE 0.3f
#define NEAR 3 /* points beyond have no probability worth counting */

/**
 * struct cpq - @step: of the layer's grid, trained
 */
struct cpq {
	float step, grad;
};

static int cpq_init(struct train_layer *l, struct error *reterr)
{
	struct cpq *c = l->own = calloc(1, sizeof *c);
	size_t n = (size_t) l->rows * l->columns;
	double sum = 0;
	int r;

	if (!c)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		sum += (double) fabsf(l->weight[i]);
	c->step = (float) (2 * sum / (double) n / sqrt((double) (1u << (l->planes - 1))));
	r = train_store_param(l->store, &c->step, &c->grad, 1, false, 0.1f);
	return r < 0 ? r : 0;
}

static int lowest(const struct train_layer *l)
{
	return -(1 << (l->planes - 1));
}

static int point(const struct train_layer *l, float u)
{
	float q = fminf(fmaxf(rintf(u), (float) lowest(l)), (float) (-lowest(l) - 1));

	return (int) q;
}

static void cpq_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	struct cpq *c = l->own;

	c->step = fmaxf(c->step, 1e-8f);
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		hat[i] = (float) point(l, l->weight[i] / c->step) * c->step;
}

/* How fast the mean point moves with the weight, both in steps. */
static float slope(const struct train_layer *l, float u)
{
	int at = point(l, u), first = at - NEAR, last = at + NEAR;
	float all = 0, mean = 0, d_all = 0, d_mean = 0;

	first = first < lowest(l) ? lowest(l) : first;
	last = last > -lowest(l) - 1 ? -lowest(l) - 1 : last;
	for (int j = first; j <= last; j++) {
		float a = 1 / (1 + expf(-((float) j + 0.5f - u) / NOISE));
		float b = 1 / (1 + expf(-((float) j - 0.5f - u) / NOISE));
		float p = a - b, d = (b * (1 - b) - a * (1 - a)) / NOISE;

		all += p;
		mean += p * (float) j;
		d_all += d;
		d_mean += d * (float) j;
	}
	return all > 1e-6f ? (d_mean - mean / all * d_all) / all : 0;
}

static void cpq_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	size_t n = (size_t) l->rows * l->columns;
	struct cpq *c = l->own;
	double step = 0;

	for (size_t i = 0; i < n; i++) {
		float u = l->weight[i] / c->step, s = slope(l, u);

		l->weight_grad[i] += grad[i] * s;
		step += (double) (grad[i] * ((float) point(l, u) - u * s));
	}
	c->grad += (float) (step / sqrt((double) n * (1u << (l->planes - 1))));
}

/* q - 2^(planes - 1) on planes: halves of powers of two, and an offset of half a step. */
static int cpq_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct cpq *c = l->own;
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, l->planes, false, reterr);

	if (r < 0)
		return r;
	ret->offset = calloc(l->rows, sizeof *ret->offset);
	if (!ret->offset) {
		coded_done(ret);
		return -ENOMEM;
	}
	for (uint32_t row = 0; row < l->rows; row++) {
		ret->offset[row] = -c->step / 2;
		for (uint32_t p = 0; p < l->planes; p++)
			ret->alpha[(size_t) row * l->planes + p] =
				c->step * (float) (1u << (l->planes - 1 - p)) / 2;
	}
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		ret->codes[i] = (uint8_t) (point(l, l->weight[i] / c->step) - lowest(l));
	return 0;
}

static void cpq_done(struct train_layer *l)
{
	free(l->own);
}

const struct train_method train_cpq = {
	.name = "cpq",
	.help = "uniform steps, weights gather by the gradient alone (CPQ)",
	.planes_min = 2,
	.planes_max = 8,
	.planes_default = 3,
	.init = cpq_init,
	.weights = cpq_weights,
	.gradient = cpq_gradient,
	.codes = cpq_codes,
	.done = cpq_done,
};
