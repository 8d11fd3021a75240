/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/decode.h"

#include <errno.h>

#include "convert/analyse.h"

/**
 * struct target - where the columns of a matrix lie in the net's weight
 * @order: of a fully connected one, or NULL
 */
struct target {
	struct net_node *node;
	uint32_t *order, taps;
};

static int target_init(struct target *t, struct net *net, const struct export *e, uint32_t matrix)
{
	const struct export_matrix *m = &e->matrices[matrix];

	t->node = &net->nodes[m->net_node];
	t->taps = t->node->kind == NET_CONVOLUTION ? t->node->kernel[0] * t->node->kernel[1] : 1;
	if (t->node->kind != NET_CONVOLUTION &&
		net_elements(&net->values[t->node->inputs[0]].shape) == m->columns) {
		t->order = graph_order(e, t->node->inputs[0]);
		if (!t->order)
			return -ENOMEM;
	}
	if (!t->node->bias)
		t->node->bias = calloc(m->rows, sizeof *t->node->bias);
	return t->node->bias ? 0 : -ENOMEM;
}

/* The engine has [taps][channels], the net [channels][taps]. */
static uint32_t place_of(const struct target *t, uint32_t columns, uint32_t column)
{
	if (t->order)
		return t->order[column];
	return column % (columns / t->taps) * t->taps + column / (columns / t->taps);
}

static void decode_row(const struct target *t, const struct model *model, const struct op *op, uint32_t row)
{
	const struct value *in = &model->network->values[op->inputs[0]];
	const struct value *out = &model->network->values[op->output];
	const struct matrix *m = &model->network->matrices[op->matrix];
	const struct layer *l = &model->layers[op->matrix];
	double scale_out = out->element == ELEMENT_U8 ? (double) out->scale : 1;
	double gain = (double) l->gain[row], real = gain * scale_out / (double) in->scale;
	int64_t sum = 0;

	for (uint32_t c = 0; c < m->columns; c++) {
		int w = layer_weight(m, l, row, c);

		sum += w;
		t->node->weight[(size_t) row * m->columns + place_of(t, m->columns, c)] = (float) (w * real);
	}
	t->node->bias[row] =
		(float) (((double) l->bias[row] + gain * in->zero_point * (double) sum) * scale_out);
}

int decode_weights(struct net *net, const struct export *e, const struct model *m)
{
	for (uint32_t i = 0; i < e->n_matrices; i++) {
		const struct op *op = &m->network->ops[e->matrices[i].op];
		struct target t = {};
		int r = target_init(&t, net, e, i);

		if (r < 0)
			return r;
		for (uint32_t row = 0; row < e->matrices[i].rows; row++)
			decode_row(&t, m, op, row);
		free(t.order);
	}
	return 0;
}
