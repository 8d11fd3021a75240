/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRQ, cluster regularised quantization to ternary weights (methods A1). The network is trained in full
 * precision while a regulariser, apart from the task's gradient and growing with the cube of the time, pulls
 * each weight to the nearest of -a, 0 and a; when they have gathered there, rounding costs nothing.
 *
 * The paper's formula is not public. Reconstruction: half the squared distance as the regulariser, borders
 * midway, a scale for each row, which is the mean of the weights assigned to it and is found again every
 * REFRESH steps; strength so that a distance shrinks to a thousandth over the ramp. After the ramp, which
 * takes RAMP of the run, weights are ternary and stay; normalisation and biases go on.
 */
#include <errno.h>
#include <math.h>

#include "convert/train/ternary.h"

#define RAMP 0.8
#define REFRESH 20
#define ROUNDS 5
#define PULL 27.6

/**
 * struct crq - @scale: [rows] and behind them [rows] borders
 */
struct crq {
	float *scale;
};

static void refresh(struct train_layer *l, int rounds)
{
	struct crq *c = l->own;

	for (uint32_t row = 0; row < l->rows; row++)
		for (int i = 0; i < rounds; i++)
			c->scale[row] = ternary_scale(l->weight + (size_t) row * l->columns, l->columns,
				c->scale[row] / 2);
}

static int crq_init(struct train_layer *l, struct error *reterr)
{
	struct crq *c = l->own = calloc(1, sizeof *c);

	if (!c || !(c->scale = calloc(2 * (size_t) l->rows, sizeof *c->scale)))
		return -ENOMEM;
	for (uint32_t row = 0; row < l->rows; row++) {
		const float *w = l->weight + (size_t) row * l->columns;

		c->scale[row] = ternary_scale(w, l->columns, 0.7f * ternary_scale(w, l->columns, -1));
	}
	refresh(l, ROUNDS);
	return train_store_block(l->store, c->scale, 2 * (size_t) l->rows * sizeof *c->scale);
}

static float target(float w, float scale)
{
	return fabsf(w) > scale / 2 ? copysignf(scale, w) : 0;
}

static int crq_prepare(struct train_layer *l, const struct train_moment *m)
{
	l->store->params[l->param].frozen = m->t >= RAMP;
	return 0;
}

static int crq_stepped(struct train_layer *l, const struct train_moment *m)
{
	double ramp = RAMP * (double) m->steps, at = (double) m->step / ramp;
	float pull = (float) (PULL / ramp * at * at * at);
	const struct crq *c = l->own;

	if ((double) (m->step - 1) >= ramp)
		return 0;
	if (m->step % REFRESH == 0)
		refresh(l, 1);
	if ((double) m->step >= ramp)
		pull = 1;
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		l->weight[i] -= fminf(pull, 1) * (l->weight[i] - target(l->weight[i], c->scale[i / l->columns]));
	return 0;
}

/* Rounded already when the ramp is over. */
static void crq_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		hat[i] = l->weight[i];
}

static int crq_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	struct crq *c = l->own;

	for (uint32_t row = 0; row < l->rows; row++)
		c->scale[l->rows + row] = c->scale[row] / 2;
	return ternary_codes(ret, l, c->scale, c->scale + l->rows, reterr);
}

static void crq_done(struct train_layer *l)
{
	struct crq *c = l->own;

	if (c)
		free(c->scale);
	free(c);
}

const struct train_method train_crq = {
	.name = "crq",
	.help = "ternary weights that a growing regulariser gathers (CRQ)",
	.planes_min = 2,
	.planes_max = 2,
	.planes_default = 2,
	.init = crq_init,
	.prepare = crq_prepare,
	.weights = crq_weights,
	.stepped = crq_stepped,
	.codes = crq_codes,
	.done = crq_done,
};
