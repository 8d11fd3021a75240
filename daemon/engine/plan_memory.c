/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "engine/plan.h"

#define VALUE_ALIGN 64

/* A block is memory with a lifetime, in steps, both ends included. One or more values lie in it. */
struct block {
	size_t bytes, offset;
	uint32_t first, last, index;
};

struct layout {
	const struct network *network;
	struct block *blocks;  /* by index, later by size */
	struct block **placed; /* by offset */
	uint32_t n_blocks, n_placed;
	uint32_t *block_of; /* [n_values] */
	uint32_t *last_use; /* [n_values] */
};

static struct layout *layout_done(struct layout *l)
{
	free(l->blocks);
	free(l->placed);
	free(l->block_of);
	free(l->last_use);
	return NULL;
}

static int layout_init(struct layout *l, const struct network *n)
{
	*l = (struct layout){
		.network = n,
		.blocks = calloc(n->n_values + 1, sizeof *l->blocks),
		.placed = calloc(n->n_values + 1, sizeof(struct block *)),
		.block_of = calloc(n->n_values + 1, sizeof *l->block_of),
		.last_use = calloc(n->n_values + 1, sizeof *l->last_use),
	};
	return l->blocks && l->placed && l->block_of && l->last_use ? 0 : -ENOMEM;
}

/* The output of the network is read after the last step. */
static void find_last_uses(struct layout *l)
{
	const struct network *n = l->network;

	for (uint32_t i = 0; i < n->n_ops; i++) {
		const struct op *op = &n->ops[i];

		l->last_use[op->output] = MAX_OF(l->last_use[op->output], i);
		for (uint32_t j = 0; j < op->n_inputs; j++)
			l->last_use[op->inputs[j]] = i;
	}
	l->last_use[n->output] = n->n_ops;
}

/* May the output of step @i lie where its input lies? */
static bool shares_input(const struct layout *l, uint32_t i)
{
	const struct op *op = &l->network->ops[i];

	if (op->kind == OP_RESHAPE)
		return true;
	return op->kind == OP_TABLE && l->blocks[l->block_of[op->inputs[0]]].last <= i;
}

static int make_block(struct layout *l, uint32_t step, uint32_t value)
{
	size_t bytes = value_bytes(&l->network->values[value]);

	if (!bytes_add(&bytes, bytes, VALUE_ALIGN - 1))
		return -ENOMEM;
	l->blocks[l->n_blocks] = (struct block){
		.bytes = bytes & ~(size_t) (VALUE_ALIGN - 1),
		.first = step,
		.last = l->last_use[value],
		.index = l->n_blocks,
	};
	l->block_of[value] = l->n_blocks++;
	return 0;
}

static int make_blocks(struct layout *l)
{
	for (uint32_t i = 0; i < l->network->n_ops; i++) {
		const struct op *op = &l->network->ops[i];
		struct block *shared;
		int r;

		if (!shares_input(l, i)) {
			r = make_block(l, i, op->output);
			if (r < 0)
				return r;
			continue;
		}
		l->block_of[op->output] = l->block_of[op->inputs[0]];
		shared = &l->blocks[l->block_of[op->output]];
		shared->last = MAX_OF(shared->last, l->last_use[op->output]);
	}
	return 0;
}

static int compare_sizes(const void *a, const void *b)
{
	const struct block *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static bool live_together(const struct block *a, const struct block *b)
{
	return a->first <= b->last && b->first <= a->last;
}

/* The smallest gap that fits between the blocks that live with @b, else the place behind them all.
 */
static size_t find_gap(const struct layout *l, const struct block *b)
{
	size_t end = 0, best = SIZE_MAX, best_size = SIZE_MAX;

	for (uint32_t i = 0; i < l->n_placed; i++) {
		const struct block *p = l->placed[i];

		if (!live_together(p, b))
			continue;
		if (p->offset > end && p->offset - end >= b->bytes && p->offset - end < best_size) {
			best = end;
			best_size = p->offset - end;
		}
		end = MAX_OF(end, p->offset + p->bytes);
	}
	return best < SIZE_MAX ? best : end;
}

static int place(struct layout *l, struct block *b, size_t *arena_bytes)
{
	size_t end;
	uint32_t i = l->n_placed;

	b->offset = find_gap(l, b);
	if (!bytes_add(&end, b->offset, b->bytes))
		return -ENOMEM;
	*arena_bytes = MAX_OF(*arena_bytes, end);
	for (; i > 0 && l->placed[i - 1]->offset > b->offset; i--)
		l->placed[i] = l->placed[i - 1];
	l->placed[i] = b;
	l->n_placed++;
	return 0;
}

static int place_all(struct layout *l, struct plan *plan)
{
	_cleanup_free_ size_t *offset_of = calloc(l->n_blocks + 1, sizeof *offset_of);
	int r;

	if (!offset_of)
		return -ENOMEM;
	qsort(l->blocks, l->n_blocks, sizeof *l->blocks, compare_sizes);
	for (uint32_t i = 0; i < l->n_blocks; i++) {
		r = place(l, &l->blocks[i], &plan->arena_bytes);
		if (r < 0)
			return r;
		offset_of[l->blocks[i].index] = l->blocks[i].offset;
	}
	for (uint32_t i = 0; i < l->network->n_values; i++)
		plan->value_offset[i] = offset_of[l->block_of[i]];
	return 0;
}

int plan_layout(struct plan *plan)
{
	const struct network *n = plan->model->network;
	_cleanup_(layout_done) struct layout l = {};
	int r;

	plan->arena_bytes = 0;
	plan->value_offset = calloc(n->n_values + 1, sizeof *plan->value_offset);
	if (!plan->value_offset)
		return -ENOMEM;
	r = layout_init(&l, n);
	if (r < 0)
		return r;
	find_last_uses(&l);
	r = make_blocks(&l);
	if (r < 0)
		return r;
	return place_all(&l, plan);
}
