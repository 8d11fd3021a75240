/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cost.h"

#include <errno.h>

#include "engine/lower.h"

static void add_matrix(struct cost *c, const struct network *n, const struct op *op, uint32_t planes)
{
	const struct matrix *m = &n->matrices[op->matrix];
	const struct shape *out = &n->values[op->output].shape;
	double places = (double) out->height * out->width;
	uint32_t activation_bits = op->kind == OP_CONVOLUTION ? op->activation_bits : 8;

	c->bit_macs += places * m->rows * m->columns * planes * activation_bits;
	c->bytes += (double) m->rows * m->columns * planes / 8;
}

int network_cost(struct cost *ret, const struct network *n, double bits)
{
	_cleanup_free_ uint32_t *planes = malloc(n->n_matrices * sizeof *planes + 1);
	struct cost c = {};
	int r;

	if (!planes)
		return -ENOMEM;
	r = lower_allocate(planes, n, bits);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n->n_ops; i++) {
		const struct op *op = &n->ops[i];

		if (op->kind == OP_CONVOLUTION || op->kind == OP_DEPTHWISE)
			add_matrix(&c, n, op, planes[op->matrix]);
	}
	for (uint32_t i = 0; i < n->n_values; i++)
		c.bytes += 2 * (double) value_bytes(&n->values[i]);
	*ret = c;
	return 0;
}

double cost_joules(const struct cost *c)
{
	return c->bit_macs * COST_JOULES_PER_BIT_MAC + c->bytes * COST_JOULES_PER_BYTE;
}
