/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLQ, multiple level quantization to three free values of a layer, with incremental layer compensation
 * (methods A3.2): in each layer first the two outer clusters are frozen, then the one in the middle, and
 * layers take turns, so that the others make up for each of them.
 *
 * The order of layers is not published. Reconstruction: PARTS turns, largest layers first, as they are the
 * least sensitive; each turn has two steps of equal length; the last LAST of the run is for the norms.
 */
#include <errno.h>

#include "convert/train/cluster.h"

#define PARTS 3
#define LAST 0.85

enum { CENTRE, POSITIVE, NEGATIVE, CLUSTERS };

static int mlq_init(struct train_layer *l, struct error *reterr)
{
	return cluster_init(l, CLUSTERS);
}

static int mlq_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct cluster *c = l->own;
	uint32_t part = l->order * PARTS / l->n_layers;
	double half = LAST / (2 * PARTS - 1);

	if (c->state.stage == 0 && m->t >= 2 * part * half) {
		cluster_means(l, CENTRE, 10);
		cluster_freeze(l, POSITIVE, CLUSTERS);
		c->state.stage = 1;
	}
	if (c->state.stage == 1 && m->t >= (2 * part + 1) * half) {
		cluster_assign(l);
		cluster_freeze(l, CENTRE, CLUSTERS);
		c->state.stage = 2;
	}
	return 0;
}

/* Three values on two planes (methods D3): offset, and the middle one as (+, -). */
static int mlq_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	static const uint8_t code[CLUSTERS] = {[CENTRE] = 2, [POSITIVE] = 3, [NEGATIVE] = 0};
	const struct cluster *c = l->own;
	const float *v = c->state.centre;
	float offset = (v[POSITIVE] + v[NEGATIVE]) / 2;
	float sum = (v[POSITIVE] - v[NEGATIVE]) / 2, difference = v[CENTRE] - offset;
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, 2, false, reterr);

	if (r < 0)
		return r;
	ret->offset = calloc(l->rows, sizeof *ret->offset);
	if (!ret->offset) {
		coded_done(ret);
		return -ENOMEM;
	}
	for (uint32_t row = 0; row < l->rows; row++) {
		ret->offset[row] = offset;
		ret->alpha[2 * row] = (sum + difference) / 2;
		ret->alpha[2 * row + 1] = (sum - difference) / 2;
	}
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		ret->codes[i] = code[c->of[i]];
	return 0;
}

const struct train_method train_mlq = {
	.name = "mlq",
	.help = "three free values of a layer, layers quantized in turn (MLQ with ILC)",
	.planes_min = 2,
	.planes_max = 2,
	.planes_default = 2,
	.init = mlq_init,
	.prepare = mlq_prepare,
	.weights = cluster_weights,
	.codes = mlq_codes,
	.done = cluster_done,
};
