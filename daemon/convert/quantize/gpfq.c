/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Greedy path following (methods B4; Lybrand and Saab 2020, Zhang, Zhou and Saab 2022, their code). With X_t the
 * t-th input of the layer over all data, u the output that earlier columns still owe:
 *
 *	u += w_t X_t;  a = <X_t, u> / ||X_t||^2;  q_t = nearest of the alphabet {k D};  u -= q_t X_t
 *
 * Inputs of the fp32 network stand for those of the quantized one, so that all of it is in the second moment:
 * a = w_t + sum over s < t of H_ts (w_s - q_s) / H_tt. The alphabet has 2^planes - 1 steps, D is the best of a
 * few fractions of what reaches the largest weight, by the error of the output.
 *
 * Sparse variants: gpfq-l1 takes half a step off |a| before rounding, gpfq-l0 keeps only |a| of a whole step; the
 * columns after make up for both.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/gptq.h"
#include "convert/quantize/method.h"
#include "convert/quantize/metric.h"

enum threshold {
	THRESHOLD_NONE,
	THRESHOLD_SOFT,
	THRESHOLD_HARD,
};

/**
 * struct path - one row
 * @left: [columns], w - q of columns that are done; @pull: sum of their H w - q for the ones to come
 */
struct path {
	const float *weights;
	const struct metric *m;
	enum threshold threshold;
	int32_t most;
	double *left;
	uint8_t *codes, *best;
};

static int32_t choose(const struct path *p, double a, double step)
{
	double k = fabs(a) / step;

	if (p->threshold == THRESHOLD_SOFT)
		k = fmax(k - 0.5, 0);
	if (p->threshold == THRESHOLD_HARD && k < 1)
		k = 0;
	k = fmin(floor(k + 0.5), p->most);
	return a < 0 ? -(int32_t) k : (int32_t) k;
}

/* Codes of the row at one step. Return: the error of the output, or INFINITY when it passes @limit */
static double follow(struct path *p, double step, double limit)
{
	uint32_t n = p->m->columns;
	double error = 0;

	for (uint32_t t = 0; t < n; t++) {
		const double *h = p->m->h + (size_t) t * n;
		double pull = 0, left;
		int32_t q;

		for (uint32_t s = 0; s < t; s++)
			pull += h[s] * p->left[s];
		q = choose(p, (double) p->weights[t] + pull / h[t], step);
		left = (double) p->weights[t] - step * q;
		p->left[t] = left;
		p->codes[t] = (uint8_t) (q + p->most + 1);
		error += left * (2 * pull + h[t] * left);
		if (error > limit && t > n / 2)
			return INFINITY;
	}
	return error;
}

/* From where the largest weight just fits, downwards. Return: the step */
static double search(struct path *p)
{
	struct span s = {.weights = p->weights, .n = p->m->columns};
	double top = (double) span_largest(&s) / p->most, smallest = INFINITY, best = top;

	for (double f = 1; f > 0.2 && top > 0; f *= 0.85) {
		double error = follow(p, top * f, 4 * smallest);

		if (error >= smallest)
			continue;
		smallest = error;
		best = top * f;
		memcpy(p->best, p->codes, p->m->columns);
	}
	return best;
}

static int run(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	enum threshold threshold, struct error *reterr)
{
	_cleanup_free_ double *left = malloc(c->columns * sizeof *left);
	_cleanup_free_ uint8_t *codes = malloc(2 * (size_t) c->columns);
	struct path p = {.m = m, .threshold = threshold, .most = (1 << (c->planes - 1)) - 1, .left = left,
		.codes = codes};
	int r = weights_finite(weights + (size_t) first * c->columns, end - first, c->columns, reterr);

	if (r < 0)
		return r;
	if (!left || !codes)
		return -ENOMEM;
	for (uint32_t row = first; row < end; row++) {
		struct grid g;

		p.weights = weights + (size_t) row * c->columns;
		p.best = c->codes + (size_t) row * c->columns;
		memset(p.best, p.most + 1, c->columns); /* a row of zeros */
		g = grid_symmetric((float) search(&p), c->planes);
		grid_scales(c, row, 1, &g);
	}
	return 0;
}

int gpfq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	const struct quantize_options *options, struct error *reterr)
{
	return run(c, weights, first, end, m, THRESHOLD_NONE, reterr);
}

int gpfq_l1_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	const struct quantize_options *options, struct error *reterr)
{
	return run(c, weights, first, end, m, THRESHOLD_SOFT, reterr);
}

int gpfq_l0_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end, const struct metric *m,
	const struct quantize_options *options, struct error *reterr)
{
	return run(c, weights, first, end, m, THRESHOLD_HARD, reterr);
}
