/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLQ, single level quantization (methods A3.1, after the published code): 2^(b-1) + 1 clusters of a layer,
 * frozen in groups from the zero and the outermost ones inwards; what is left is trained on. The last group
 * leaves biases and normalisation to adapt.
 *
 * Our choices: the schedule of the published five-bit run, in parts of the run; fewer bits freeze two
 * clusters at a time. Clusters are found on rows of unit length. The weights of the last steps are few, so
 * that the last LAST of the run is for the norms.
 */
#include "convert/train/cluster.h"

#define LAST 0.85
#define STAGES_MAX 8

/* Clusters that are frozen after each stage. Return: how many stages */
static uint32_t stages_of(uint32_t planes, uint32_t *end)
{
	static const uint32_t five[] = {5, 9, 13, 15, 17};
	uint32_t clusters = (1u << (planes - 1)) + 1, n = 0;

	if (planes == 5) {
		for (; n < ARRAY_SIZE(five); n++)
			end[n] = five[n];
		return n;
	}
	for (uint32_t at = 3; at <= clusters; at += 2)
		end[n++] = at;
	return n;
}

static void run_stage(struct train_layer *l, uint32_t stage, const uint32_t *end)
{
	struct cluster *c = l->own;

	cluster_means(l, stage ? end[stage - 1] : 1, 10);
	cluster_freeze(l, 0, end[stage]);
	c->state.stage = stage + 1;
}

static int slq_init(struct train_layer *l, struct error *reterr)
{
	return cluster_init(l, (1u << (l->planes - 1)) + 1);
}

static int slq_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct cluster *c = l->own;
	uint32_t end[STAGES_MAX], n = stages_of(l->planes, end);

	if (c->state.stage < n && m->t >= LAST * c->state.stage / (n - 1))
		run_stage(l, c->state.stage, end);
	return 0;
}

const struct train_method train_slq = {
	.name = "slq",
	.help = "clusters frozen group by group, free levels (SLQ)",
	.planes_min = 3,
	.planes_max = 5,
	.planes_default = 5,
	.init = slq_init,
	.prepare = slq_prepare,
	.weights = cluster_weights,
	.codes = cluster_codes,
	.done = cluster_done,
};
