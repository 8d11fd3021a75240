/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Corrections without data (methods C6.3). Batch normalisation says mean and deviation of the channels that a
 * matrix reads, after their clips. As if they were independent, each row's output then has the mean w E[x] and the
 * variance w^2 Var[x]: with the weights as the engine decodes them, and as they were. Gain and bias of the row make
 * up for the difference. The literature corrects the mean only; few planes shrink a row, too, which costs more:
 * ResNet-20 at 2 planes has 40 % right with the mean alone, 73 % with both.
 */
#include <errno.h>
#include <math.h>

#include "convert/analyse.h"
#include "convert/correct.h"
#include "engine/lower.h"

/**
 * struct reader - how matrix columns find what they read
 * @order: of a fully connected matrix, or NULL
 */
struct reader {
	const struct export *e;
	const struct calibration *calibration;
	const struct export_matrix *m;
	const struct net_node *node;
	uint32_t *order;
};

static void input_moments(const struct reader *r, uint32_t row, uint32_t column, double *mean, double *deviation)
{
	const struct net_shape *s = &r->e->net->values[r->node->inputs[0]].shape;
	uint32_t channel = r->order ? r->order[column] : column;

	if (r->node->kind == NET_CONVOLUTION) {
		uint32_t channels = s->dims[0] / r->node->groups;

		channel = row / (r->m->rows / r->node->groups) * channels + column % channels;
	}
	calibration_channel(r->calibration, r->node->inputs[0], channel, mean, deviation);
}

static int reader_init(struct reader *r, const struct export *e, const struct calibration *c, uint32_t matrix)
{
	*r = (struct reader){.e = e, .calibration = c, .m = &e->matrices[matrix],
		.node = &e->net->nodes[e->matrices[matrix].net_node]};
	if (r->node->kind == NET_CONVOLUTION ||
		net_elements(&e->net->values[r->node->inputs[0]].shape) != r->m->columns)
		return 0;
	r->order = graph_order(e, r->node->inputs[0]);
	return r->order ? 0 : -ENOMEM;
}

/* What the row's gain and bias must become for the output to keep mean and deviation. */
static void correct_row(const struct reader *r, const struct model *model, uint32_t row, uint32_t planes)
{
	const struct op *op = &model->network->ops[r->m->op];
	const struct value *in = &model->network->values[op->inputs[0]];
	const struct value *out = &model->network->values[op->output];
	const struct matrix *m = &model->network->matrices[op->matrix];
	const struct layer *l = &model->layers[op->matrix];
	double scale_out = out->element == ELEMENT_U8 ? (double) out->scale : 1;
	double real = (double) l->gain[row] * scale_out / (double) in->scale, mean[2] = {0}, square[2] = {0}, g;
	size_t at = (size_t) (planes - 1) * r->m->rows + row;

	for (uint32_t t = 0; t < m->columns; t++) {
		double w[2] = {(double) r->m->weight[(size_t) row * m->columns + t], layer_weight(m, l, row, t) * real};
		double x, deviation;

		input_moments(r, row, t, &x, &deviation);
		for (int i = 0; i < 2; i++) {
			mean[i] += w[i] * x;
			square[i] += w[i] * w[i] * deviation * deviation;
		}
	}
	g = square[1] > 0 && square[0] > 0 ? sqrt(square[0] / square[1]) : 1;
	r->m->gain_at[at] *= (float) g;
	r->m->bias_at[at] += (float) (mean[0] - g * mean[1]);
}

/* Every matrix at the planes that it has in @model; @seen: [n_matrices], at how many it was corrected last. */
static int correct_model(struct export *e, const struct calibration *c, const struct model *model, uint32_t *seen)
{
	for (uint32_t i = 0; i < e->n_matrices; i++) {
		struct export_matrix *m = &e->matrices[i];
		uint32_t planes = model->layers[model->network->ops[m->op].matrix].planes;
		struct reader reader;
		int r = planes == seen[i] ? 0 : reader_init(&reader, e, c, i);

		if (r < 0)
			return r;
		if (planes == seen[i])
			continue;
		for (uint32_t row = 0; row < m->rows; row++)
			correct_row(&reader, model, row, planes);
		seen[i] = planes;
		free(reader.order);
	}
	return 0;
}

int correct_without_data(struct export *e, const struct calibration *c, const char *path, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_free_ uint32_t *seen = calloc((size_t) e->n_matrices + 1, sizeof *seen);
	int r = seen ? export_network(&n, e, path, reterr) : -ENOMEM;

	for (uint32_t p = 1; r >= 0 && p <= n->planes_max; p++) {
		_cleanup_(model_unrefp) struct model *m = NULL;

		r = model_build(&m, n, p, reterr);
		if (r >= 0)
			r = correct_model(e, c, m, seen);
	}
	return r;
}
