/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Activations of few bits with a learned step, LSQ (methods C9): x = step * round(clip(x / step, 0, most)).
 * The gradient of what lies inside goes straight through; the step's is (rounded - x / step) inside and most
 * above, times 1 / sqrt(elements * most). With the step, most * step is a learned clip: PACT's, with a better
 * gradient.
 */
#include <math.h>

#include "convert/train/op.h"

#define STEP_MIN 1e-6f

/* Adding and taking away 1.5 * 2^23 rounds to even, and vectors can do it. */
static inline float round_small(float x)
{
	const float big = 12582912.0f;

	return (x + big) - big;
}

static int round_init(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	return 0;
}

static float most_of(const struct train_op *op)
{
	return (float) ((1u << op->node->bits) - 1);
}

/* 2 mean|x| / sqrt(most), the authors' start. */
static float first_step(const float *x, size_t n, float most)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double) fabsf(x[i]);
	return fmaxf((float) (2 * sum / (double) n / sqrt((double) most)), STEP_MIN);
}

static int round_forward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const float *in = g->values[op->inputs[0]].data;
	float *out = g->values[op->output].data, most = most_of(op), inverse;
	struct train_round *round = &g->rounds[op->index];
	size_t n = g->batch * g->values[op->output].elements;

	if (round->step == 0)
		round->step = first_step(in, n, most);
	round->step = fmaxf(round->step, STEP_MIN);
	inverse = 1 / round->step;
	for (size_t i = 0; i < n; i++) {
		float v = in[i] * inverse;

		v = v > 0 ? v : 0;
		v = v < most ? v : most;
		out[i] = round_small(v) * round->step;
	}
	return 0;
}

static int round_backward(struct train_graph *g, struct train_op *op, struct error *reterr)
{
	const float *in = g->values[op->inputs[0]].data, *grad = g->values[op->output].grad;
	struct train_round *round = &g->rounds[op->index];
	float most = most_of(op), inverse = 1 / round->step, *to = train_op_gradient(g, op, 0);
	size_t each = g->values[op->output].elements;
	double step = 0;

	for (size_t b = 0; b < g->batch; b++) {
		float sum = 0;

		for (size_t i = b * each; i < (b + 1) * each; i++) {
			float v = in[i] * inverse, d = grad[i];
			float inside = v > 0 && v < most ? 1.0f : 0.0f, above = v >= most ? most : 0.0f;

			sum += d * (inside * (round_small(v) - v) + above);
			to[i] = d * inside;
		}
		step += (double) sum;
	}
	round->step_grad += (float) (step / sqrt((double) each * (double) most));
	return train_op_gradient_done(g, op, 0, reterr);
}

const struct train_op_class train_op_round = {round_init, round_forward, round_backward};
