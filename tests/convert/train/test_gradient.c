/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation's gradient against differences of its results. The loss is the sum of the outputs, each
 * with a drawn weight; the gradient of an input, a weight or a bias is compared along drawn directions.
 */
#include "nets.h"

#include "convert/train/graph.h"
#include "convert/train/loss.h"
#include "convert/train/op.h"

#define BATCH 4
#define STEP 2e-4f
#define DIRECTIONS 6

static double run(struct train_graph *g, const float *weights)
{
	struct train_value *out = train_graph_output(g);
	double sum = 0;

	CU_ASSERT_EQUAL_FATAL(train_graph_forward(g, NULL), 0);
	for (size_t i = 0; i < g->batch * out->elements; i++)
		sum += (double) out->data[i] * (double) weights[i];
	return sum;
}

/* The change along @direction, from both sides, against what the gradient says. */
static void check_along(struct train_graph *g, const float *weights, float *at, const float *grad, size_t n,
	const char *what, uint64_t key)
{
	_cleanup_free_ float *direction = drawn_floats(key, n, 1), *was = malloc(n * sizeof *was);
	double above, below, said = 0, size = 0;

	memcpy(was, at, n * sizeof *was);
	for (size_t i = 0; i < n; i++) {
		said += (double) grad[i] * (double) direction[i];
		size += fabs((double) grad[i] * (double) direction[i]);
		at[i] = was[i] + STEP * direction[i];
	}
	above = run(g, weights);
	for (size_t i = 0; i < n; i++)
		at[i] = was[i] - STEP * direction[i];
	below = run(g, weights);
	memcpy(at, was, n * sizeof *was);
	double have = (above - below) / (2 * (double) STEP);
	bool near = fabs(have - said) <= 0.02 * (size / sqrt((double) n + 1) + fabs(said)) + 1e-2;

	if (!near)
		printf("%s: %g by differences, %g by the gradient\n", what, have, said);
	CU_ASSERT(near);
}

/* A first value that is not the input, so that the gradient of the operation's own input is asked for: the
 * pass is a convolution of 1x1. Away from the kinks of clips and the ties of pools by its weights. */
static void check_net(struct net *owned, const char *what)
{
	/* The graph looks at the network until its end: freed after it. */
	_cleanup_(net_freep) struct net *n = owned;
	_cleanup_(train_graph_freep) struct train_graph *g = NULL;
	struct error e = {};
	int r = train_graph_new(&g, n, BATCH, 1, NULL, true, &e);

	if (r < 0)
		printf("%s: %s\n", what, error_text(&e, r));
	CU_ASSERT_EQUAL_FATAL(r, 0);
	struct train_value *out = train_graph_output(g);
	size_t outs = BATCH * out->elements, ins = BATCH * g->values[n->input].elements;
	_cleanup_free_ float *weights = drawn_floats(99, outs, 1), *input = drawn_floats(98, ins, 1);

	g->training = true;
	memcpy(train_graph_input(g), input, ins * sizeof *input);
	(void) run(g, weights);
	memcpy(out->grad, weights, outs * sizeof *weights);
	CU_ASSERT_EQUAL_FATAL(train_graph_backward(g, NULL), 0);
	for (uint64_t d = 0; d < DIRECTIONS; d++) {
		for (uint32_t i = 0; i < g->n_matrices; i++) {
			struct train_matrix *m = &g->matrices[i];

			check_along(g, weights, m->hat, m->grad, (size_t) m->rows * m->columns, what, 10 * d + i);
			if (m->bias)
				check_along(g, weights, m->bias, m->bias_grad, m->rows, what, 500 + 10 * d + i);
		}
		for (uint32_t i = 0; i < g->n_norms; i++)
			check_along(g, weights, g->norms[i].scale_shift, g->norms[i].scale_shift_grad,
				2 * (size_t) g->norms[i].channels, what, 900 + 10 * d + i);
	}
}

/* Input, a convolution of 1x1 and whatever @kind is, from an image of 6x5x4 to one of @c x @h x @w. */
static struct net_node *begin(struct net **ret, enum net_kind kind, uint32_t dims, uint32_t c, uint32_t h,
	uint32_t w)
{
	struct net *n = *ret = net_new("test");
	uint32_t in = net_value_of(n, 3, 4, 6, 5), mid = net_value_of(n, 3, 4, 6, 5);
	uint32_t out = net_value_of(n, dims, c, h, w);

	(void) net_add_node(n, NET_INPUT, "input");
	n->nodes[0].output = n->input = in;
	(void) net_convolution(n, in, mid, 1, 1, 1);
	n->output = out;
	return net_step(n, kind, mid, out);
}

static void windows(struct net_node *p, uint32_t kernel, uint32_t stride, uint32_t pad)
{
	p->kernel[0] = p->kernel[1] = kernel;
	p->stride[0] = p->stride[1] = stride;
	p->pads[0] = p->pads[1] = p->pads[2] = p->pads[3] = pad;
}

static void test_convolution(void)
{
	static const struct {
		uint32_t kernel, stride, groups, outputs, h, w;
	} shapes[] = {{3, 1, 1, 8, 6, 5}, {3, 2, 1, 6, 3, 3}, {3, 1, 4, 4, 6, 5}, {3, 2, 2, 6, 3, 3},
		{1, 1, 1, 16, 6, 5}, {5, 1, 1, 3, 6, 5}};

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct net *n;

		net_node_done(begin(&n, NET_CONVOLUTION, 3, shapes[i].outputs, shapes[i].h, shapes[i].w));
		n->n_nodes--;
		(void) net_convolution(n, 1, 2, shapes[i].kernel, shapes[i].stride, shapes[i].groups);
		check_net(n, "convolution");
	}
}

static void test_dilated_convolution(void)
{
	struct net *n;

	net_node_done(begin(&n, NET_CONVOLUTION, 3, 8, 4, 3));
	n->n_nodes--;
	struct net_node *c = net_convolution(n, 1, 2, 3, 1, 1);
	c->dilation[0] = c->dilation[1] = 2;
	check_net(n, "dilated convolution");
}

static void test_linear(void)
{
	struct net *n;
	struct net_node *node = begin(&n, NET_RESHAPE, 1, 120, 0, 0);
	uint32_t flat = node->output, out = net_value_of(n, 1, 7, 0, 0);

	(void) net_linear(n, flat, out);
	n->output = out;
	check_net(n, "linear");
}

static void norm(struct net_node *b, uint32_t channels)
{
	b->outputs = channels;
	b->epsilon = 1e-5f;
	b->weight = drawn_floats(5, channels, 1);
	b->bias = drawn_floats(6, channels, 1);
	b->mean = drawn_floats(7, channels, 1);
	b->variance = drawn_floats(8, channels, 1);
	for (uint32_t c = 0; c < channels; c++)
		b->variance[c] = 1 + b->variance[c] * b->variance[c];
}

static void test_norm_of_the_batch(void)
{
	struct net *n;

	norm(begin(&n, NET_BATCH_NORM, 3, 4, 6, 5), 4);
	check_net(n, "batch normalisation");
}

static void test_norm_with_relu(void)
{
	struct net *n;
	struct net_node *b = begin(&n, NET_BATCH_NORM, 3, 4, 6, 5);
	uint32_t from = b->output, to = net_value_of(n, 3, 4, 6, 5);

	norm(b, 4);
	net_relu(n, from, to);
	n->output = to;
	check_net(n, "batch normalisation with ReLU");
}

static void test_functions(void)
{
	struct net *n;
	struct net_node *node = begin(&n, NET_CLIP, 3, 4, 6, 5);

	node->low = 0;
	check_net(n, "ReLU");
	node = begin(&n, NET_CLIP, 3, 4, 6, 5);
	node->low = -0.3f;
	node->high = 0.4f;
	check_net(n, "clip");
	(void) begin(&n, NET_SIGMOID, 3, 4, 6, 5);
	check_net(n, "sigmoid");
	node = begin(&n, NET_AFFINE, 3, 4, 6, 5);
	node->outputs = 4;
	node->weight = drawn_floats(3, 4, 1);
	node->bias = drawn_floats(4, 4, 1);
	check_net(n, "affine");
}

/* A value that three nodes read: gradients are added up. */
static void test_add_and_shared_values(void)
{
	struct net *n;
	struct net_node *add = begin(&n, NET_ADD, 3, 4, 6, 5);
	uint32_t sum = add->output, mid = add->inputs[0], conv = net_value_of(n, 3, 4, 6, 5);
	uint32_t out = net_value_of(n, 3, 4, 6, 5);

	add->inputs[add->n_inputs++] = mid;
	(void) net_convolution(n, sum, conv, 3, 1, 1);
	add = net_step(n, NET_ADD, conv, out);
	add->inputs[add->n_inputs++] = mid;
	n->output = out;
	check_net(n, "add");
}

static void test_pools(void)
{
	struct net *n;

	windows(begin(&n, NET_MAX_POOL, 3, 4, 3, 2), 2, 2, 0);
	check_net(n, "max pool");
	windows(begin(&n, NET_AVERAGE_POOL, 3, 4, 3, 3), 3, 2, 1);
	check_net(n, "average pool");
	struct net_node *p = begin(&n, NET_AVERAGE_POOL, 3, 4, 3, 3);
	windows(p, 3, 2, 1);
	p->count_padding = true;
	check_net(n, "average pool with padding");
	p = begin(&n, NET_AVERAGE_POOL, 3, 4, 1, 1);
	p->kernel[0] = 6;
	p->kernel[1] = 5;
	check_net(n, "global pool");
}

static void test_moves(void)
{
	struct net *n;
	struct net_node *m = begin(&n, NET_PAD, 3, 6, 8, 5);

	m->pads[0] = m->pads[3] = m->pads[1] = m->pads[4] = 1;
	check_net(n, "pad");
	m = begin(&n, NET_SLICE, 3, 2, 3, 5);
	m->begin[0] = 1;
	m->begin[1] = 1;
	m->step[0] = 1;
	m->step[1] = 2;
	m->step[2] = 1;
	check_net(n, "slice");
	m = begin(&n, NET_TRANSPOSE, 3, 6, 5, 4);
	m->perm[0] = 1;
	m->perm[1] = 2;
	m->perm[2] = 0;
	check_net(n, "transpose");
	m = begin(&n, NET_CONCAT, 3, 12, 6, 5);
	m->inputs[m->n_inputs++] = m->inputs[0];
	m->inputs[m->n_inputs++] = m->inputs[0];
	check_net(n, "concat");
}

/* The gradient of the loss itself, with everything that it can have. */
static void test_loss(void)
{
	const struct loss l = {.smoothing = 0.1f, .distil = 0.4f, .temperature = 3};
	const int32_t labels[2] = {1, 3};
	_cleanup_free_ float *x = drawn_floats(1, 10, 2), *teacher = drawn_floats(2, 10, 2);
	float grad[10], unused[10];

	loss_gradient(&l, x, teacher, labels, 2, 5, 1, grad, &(struct loss_sum){});
	for (int i = 0; i < 10; i++) {
		struct loss_sum above = {}, below = {};
		float was = x[i];

		x[i] = was + STEP;
		loss_gradient(&l, x, teacher, labels, 2, 5, 1, unused, &above);
		x[i] = was - STEP;
		loss_gradient(&l, x, teacher, labels, 2, 5, 1, unused, &below);
		x[i] = was;
		CU_ASSERT_DOUBLE_EQUAL((above.loss - below.loss) / (4 * (double) STEP), grad[i], 1e-2);
	}
}

TEST_MAIN("gradient", TEST(convolution), TEST(dilated_convolution), TEST(linear), TEST(norm_of_the_batch),
	TEST(norm_with_relu), TEST(functions), TEST(add_and_shared_values), TEST(pools), TEST(moves), TEST(loss))
