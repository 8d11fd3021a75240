/* SPDX-License-Identifier: Apache-2.0 */
/* No two values that are needed at the same time lie on each other, whatever the graph. */
#include "engine/plan.h"

#include "support/graph.h"
#include "support/test.h"

static void make_plan(struct graph *g, struct plan *ret)
{
	*ret = (struct plan){.model = &g->model};
	CU_ASSERT_EQUAL_FATAL(plan_layout(ret), 0);
}

/* The first step that writes a value and the last one that reads it. */
static void find_life(
	const struct network *n, uint32_t value, uint32_t *ret_first, uint32_t *ret_last)
{
	for (uint32_t i = 0; i < n->n_ops; i++) {
		if (n->ops[i].output == value)
			*ret_first = *ret_last = i;
		for (uint32_t j = 0; j < n->ops[i].n_inputs; j++)
			if (n->ops[i].inputs[j] == value)
				*ret_last = i;
	}
	if (value == n->output)
		*ret_last = n->n_ops;
}

static bool overlap(const struct plan *p, uint32_t a, uint32_t b)
{
	const struct value *v = p->model->network->values;

	return p->value_offset[a] < p->value_offset[b] + value_bytes(&v[b]) &&
	       p->value_offset[b] < p->value_offset[a] + value_bytes(&v[a]);
}

/* The value whose bytes @value shows: a RESHAPE has none of its own. */
static uint32_t find_origin(const struct network *n, uint32_t value)
{
	for (uint32_t i = n->n_ops; i-- > 0;)
		if (n->ops[i].output == value && n->ops[i].kind == OP_RESHAPE)
			value = n->ops[i].inputs[0];
	return value;
}

static bool is_table_of(const struct network *n, uint32_t out, uint32_t in)
{
	for (uint32_t i = 0; i < n->n_ops; i++)
		if (n->ops[i].output == out)
			return n->ops[i].kind == OP_TABLE &&
			       find_origin(n, n->ops[i].inputs[0]) == find_origin(n, in);
	return false;
}

/* Independent of the layout's own bookkeeping: from the graph's ops and the offsets alone. */
static bool may_overlap(const struct network *n, uint32_t a, uint32_t b)
{
	uint32_t a_first = 0, a_last = 0, b_first = 0, b_last = 0;

	find_life(n, a, &a_first, &a_last);
	find_life(n, b, &b_first, &b_last);
	if (a_last < b_first || b_last < a_first)
		return true;
	if (find_origin(n, a) == find_origin(n, b))
		return true;
	return (a_last == b_first && is_table_of(n, b, a)) ||
	       (b_last == a_first && is_table_of(n, a, b));
}

static void check_layout(const struct plan *p)
{
	const struct network *n = p->model->network;
	uint32_t wrong = 0;

	for (uint32_t a = 0; a < n->n_values; a++) {
		wrong += p->value_offset[a] % 64 != 0;
		wrong += p->value_offset[a] + value_bytes(&n->values[a]) > p->arena_bytes;
		for (uint32_t b = 0; b < a; b++)
			wrong += overlap(p, a, b) && !may_overlap(n, a, b);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static uint32_t draw_op(struct graph *g)
{
	uint32_t a = graph_below(g, g->network.n_values);
	uint32_t near = g->network.n_values - 1 - graph_below(g, MIN_OF(g->network.n_values, 3));
	struct shape s = g->values[near].shape;

	switch (graph_below(g, 6)) {
	case 0:
		return graph_concat(g, (uint32_t[]){near}, 1);
	case 1:
		return graph_slice(g, near);
	case 2:
		return graph_table(g, near, 8);
	case 3:
		return graph_reshape(g, near, (struct shape){s.channels, s.height, s.width});
	case 4:
		return shape_elements(s) < 5000 ? graph_pad(g, near) : graph_slice(g, near);
	default:
		return graph_table(g, a, 8);
	}
}

static void test_random_graphs(void)
{
	struct graph *g = malloc(sizeof *g);

	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct plan p;

		graph_init(g, seed);
		(void) graph_input(
			g, 1 + graph_below(g, 20), 1 + graph_below(g, 20), 1 + graph_below(g, 9));
		for (uint32_t i = 0, n = graph_below(g, 60); i < n; i++)
			(void) draw_op(g);
		(void) graph_to_float(g, graph_below(g, g->network.n_values));
		make_plan(g, &p);
		check_layout(&p);
		free(p.value_offset);
		graph_done(g);
	}
	free(g);
}

/* A chain needs its two largest neighbours and no more. */
static void test_a_chain_is_tight(void)
{
	struct graph *g = malloc(sizeof *g);
	struct plan p;
	uint32_t x;

	graph_init(g, 1);
	x = graph_input(g, 8, 8, 16);
	for (uint32_t i = 0; i < 20; i++)
		x = graph_concat(g, &x, 1);
	make_plan(g, &p);
	check_layout(&p);
	CU_ASSERT_EQUAL(p.arena_bytes, 2 * 8 * 8 * 16);
	free(p.value_offset);
	graph_done(g);
	free(g);
}

static void test_reshape_and_table_take_no_room(void)
{
	struct graph *g = malloc(sizeof *g);
	struct plan p;
	uint32_t x, y;

	graph_init(g, 2);
	x = graph_input(g, 8, 8, 16);
	y = graph_reshape(g, x, (struct shape){1, 1, 1024});
	y = graph_table(g, y, 8);
	y = graph_table(g, y, 8);
	make_plan(g, &p);
	CU_ASSERT_EQUAL(p.arena_bytes, 1024);
	CU_ASSERT_EQUAL(p.value_offset[y], p.value_offset[x]);
	free(p.value_offset);
	graph_done(g);
	free(g);
}

/* The input of the table is read again later, through its other shape: it must survive. */
static void test_a_table_spares_what_is_read_later(void)
{
	struct graph *g = malloc(sizeof *g);
	struct plan p;
	uint32_t x, shaped, table;

	graph_init(g, 3);
	x = graph_input(g, 8, 8, 16);
	shaped = graph_reshape(g, x, (struct shape){8, 16, 8});
	table = graph_table(g, x, 8);
	(void) graph_concat(g, (uint32_t[]){shaped}, 1);
	(void) graph_concat(g, &table, 1);
	make_plan(g, &p);
	check_layout(&p);
	CU_ASSERT(p.value_offset[table] != p.value_offset[x]);
	free(p.value_offset);
	graph_done(g);
	free(g);
}

TEST_MAIN("plan_memory", TEST(random_graphs), TEST(a_chain_is_tight),
	TEST(reshape_and_table_take_no_room), TEST(a_table_spares_what_is_read_later))
