/* SPDX-License-Identifier: Apache-2.0 */
/* What a matrix is said to have read, times the matrix, is what it gave somewhere. */
#include "nets.h"

#include "convert/train/graph.h"
#include "convert/train/inputs.h"

#define BATCH 3
#define VECTORS 40

/* A ReLU behind the matrix may have worked in place. */
static bool given_somewhere(const struct train_value *value, const struct train_matrix *m, const float *x)
{
	size_t all = BATCH * value->elements / m->rows;

	for (size_t at = 0; at < all; at++) {
		bool same = true;

		for (uint32_t row = 0; same && row < m->rows; row++) {
			float sum = m->bias[row], value_of_row = value->data[at * m->rows + row];

			for (uint32_t t = 0; t < m->columns; t++)
				sum += m->hat[row * m->columns + t] * x[t];
			same = fabsf(sum - value_of_row) < 1e-4f || (sum < 0 && value_of_row == 0);
		}
		if (same)
			return true;
	}
	return false;
}

static void test_inputs_make_the_outputs(void)
{
	_cleanup_(net_freep) struct net *net = net_small();
	_cleanup_(train_graph_freep) struct train_graph *g = NULL;
	_cleanup_free_ float *input = drawn_floats(5, BATCH * 8 * 8 * 3, 1);

	CU_ASSERT_EQUAL_FATAL(train_graph_new(&g, net, BATCH, 1, NULL, true, NULL), 0);
	memcpy(train_graph_input(g), input, BATCH * 8 * 8 * 3 * sizeof *input);
	g->training = true;
	CU_ASSERT_EQUAL_FATAL(train_graph_forward(g, NULL), 0);
	CU_ASSERT_EQUAL(g->n_matrices, 4);
	for (uint32_t i = 0; i < g->n_matrices; i++) {
		const struct train_matrix *m = &g->matrices[i];
		_cleanup_free_ float *x = calloc((size_t) VECTORS * m->columns, sizeof *x);
		uint32_t found = 0;

		train_inputs(g, i, VECTORS, 7, x);
		for (uint32_t k = 0; k < VECTORS; k++)
			found += given_somewhere(&g->values[net->nodes[m->node].output], m, x + k * m->columns);
		CU_ASSERT_EQUAL(found, VECTORS);
	}
}

TEST_MAIN("inputs", TEST(inputs_make_the_outputs))
