/* SPDX-License-Identifier: Apache-2.0 */
/* Folding changes the net, not its results: small nets with drawn weights, before and after. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/net.h"
#include "support/test.h"

static uint32_t state = 1;

static float drawn(void)
{
	state = state * 1664525 + 1013904223;
	return (float) (state >> 8) / (1 << 23) - 1;
}

static float *drawn_array(size_t n, float offset)
{
	float *f = calloc(n, sizeof *f);

	for (size_t i = 0; i < n; i++)
		f[i] = drawn() + offset;
	return f;
}

static struct net_shape image(uint32_t c, uint32_t h, uint32_t w)
{
	return (struct net_shape){.n = 3, .dims = {c, h, w}};
}

static struct net_shape flat(uint32_t n)
{
	return (struct net_shape){.n = 1, .dims = {n}};
}

static struct net *start(struct net_shape input)
{
	struct net *n = net_new("drawn");

	n->input = n->output = (uint32_t) net_add_value(n, "input", &input);
	return n;
}

/* A node after the newest one. */
static struct net_node *add(struct net *n, enum net_kind kind, struct net_shape output)
{
	uint32_t input = n->output;
	int at = net_add_node(n, kind, net_kind_name(kind));
	struct net_node *node = &n->nodes[at];

	n->output = (uint32_t) net_add_value(n, net_kind_name(kind), &output);
	node->inputs[0] = input;
	node->n_inputs = 1;
	node->output = n->output;
	return node;
}

static struct net_node *add_convolution(struct net *n, uint32_t outputs, uint32_t pad)
{
	struct net_shape in = n->values[n->output].shape;
	struct net_node *c = add(n, NET_CONVOLUTION,
		image(outputs, in.dims[1] + 2 * pad - 2, in.dims[2] + 2 * pad - 2));

	c->kernel[0] = c->kernel[1] = 3;
	for (unsigned i = 0; i < 4; i++)
		c->pads[i] = pad;
	c->outputs = outputs;
	c->weight = drawn_array((size_t) outputs * in.dims[0] * 9, 0);
	return c;
}

static struct net_node *add_linear(struct net *n, uint32_t outputs)
{
	uint32_t inputs = (uint32_t) net_elements(&n->values[n->output].shape);
	struct net_node *l = add(n, NET_LINEAR, flat(outputs));

	l->outputs = outputs;
	l->weight = drawn_array((size_t) outputs * inputs, 0);
	return l;
}

static struct net_node *add_channels(struct net *n, enum net_kind kind, uint32_t channels)
{
	struct net_node *c = add(n, kind, n->values[n->output].shape);

	c->outputs = channels;
	c->weight = drawn_array(channels, 0);
	c->bias = drawn_array(channels, 0);
	if (kind == NET_BATCH_NORM) {
		c->mean = drawn_array(channels, 0);
		c->variance = drawn_array(channels, 1.5f);
		c->epsilon = 1e-3f;
	}
	return c;
}

static float *run(const struct net *n, const float *input, size_t *elements)
{
	_cleanup_(reference_freep) struct reference *r = NULL;
	float *out;

	CU_ASSERT_EQUAL_FATAL(reference_new(&r, n), 0);
	reference_run(r, input);
	*elements = net_elements(&n->values[n->output].shape);
	out = calloc(*elements, sizeof *out);
	memcpy(out, reference_value(r, n->output), *elements * sizeof *out);
	return out;
}

static void compare(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CU_ASSERT_TRUE(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(a[i])));
}

/* Folds @n; the result has @nodes nodes and computes the same. */
static void fold_and_compare(struct net *n, uint32_t nodes)
{
	size_t elements, folded_elements;
	_cleanup_free_ float *input = NULL, *before = NULL, *after = NULL;
	struct error e = {0};

	input = drawn_array(net_elements(&n->values[n->input].shape), 0);
	before = run(n, input, &elements);
	CU_ASSERT_EQUAL(fold_net(n, &e), 0);
	CU_ASSERT_EQUAL(n->n_nodes, nodes);
	after = run(n, input, &folded_elements);
	CU_ASSERT_EQUAL_FATAL(elements, folded_elements);
	compare(before, after, elements);
}

static void test_batch_norm_goes_into_convolution(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));
	float beta, gamma;

	(void) add_convolution(n, 4, 1);
	(void) add_channels(n, NET_BATCH_NORM, 4);
	beta = n->nodes[1].bias[2];
	gamma = n->nodes[1].weight[2];
	fold_and_compare(n, 1);
	CU_ASSERT_EQUAL(n->nodes[0].bn_mean[2], beta);
	CU_ASSERT_EQUAL(n->nodes[0].bn_deviation[2], fabsf(gamma));
}

static void test_batch_norm_then_affine_moves_the_statistics(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));
	float mean, deviation;

	(void) add_convolution(n, 4, 1);
	(void) add_channels(n, NET_BATCH_NORM, 4);
	(void) add_channels(n, NET_AFFINE, 4);
	mean = n->nodes[1].bias[1] * n->nodes[2].weight[1] + n->nodes[2].bias[1];
	deviation = fabsf(n->nodes[1].weight[1] * n->nodes[2].weight[1]);
	fold_and_compare(n, 1);
	CU_ASSERT_DOUBLE_EQUAL(n->nodes[0].bn_mean[1], mean, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(n->nodes[0].bn_deviation[1], deviation, 1e-6);
}

static void test_batch_norm_without_weights_before_it_becomes_affine(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));

	(void) add_channels(n, NET_BATCH_NORM, 3);
	(void) add(n, NET_CLIP, image(3, 6, 5));
	(void) add_convolution(n, 4, 1);
	fold_and_compare(n, 3);
	CU_ASSERT_EQUAL(n->nodes[0].kind, NET_AFFINE);
}

static void test_shift_stays_before_padding(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));

	(void) add_channels(n, NET_AFFINE, 3);
	(void) add_convolution(n, 4, 1);
	fold_and_compare(n, 2);
}

static void test_shift_goes_into_convolution_without_padding(void)
{
	_cleanup_(net_freep) struct net *n = start(image(4, 6, 5));
	struct net_node *c;

	(void) add_channels(n, NET_AFFINE, 4);
	c = add_convolution(n, 4, 0);
	c->groups = 2;
	fold_and_compare(n, 1);
}

static void test_scale_goes_into_padded_convolution(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));
	struct net_node *a = add_channels(n, NET_AFFINE, 1);

	a->bias[0] = 0;
	(void) add_convolution(n, 4, 1);
	fold_and_compare(n, 1);
}

static void test_affine_steps_meet_and_pass_a_reshape(void)
{
	_cleanup_(net_freep) struct net *n = start(image(2, 3, 4));

	(void) add_channels(n, NET_AFFINE, 1);
	(void) add_channels(n, NET_AFFINE, 2);
	(void) add(n, NET_RESHAPE, flat(24));
	(void) add_linear(n, 5);
	fold_and_compare(n, 2);
	CU_ASSERT_EQUAL(n->nodes[0].kind, NET_RESHAPE);
}

static void test_padding_goes_into_convolution(void)
{
	_cleanup_(net_freep) struct net *n = start(image(2, 3, 4));
	struct net_node *p = add(n, NET_PAD, image(2, 6, 8));

	memcpy(p->pads, (uint32_t[]){0, 1, 3, 0, 2, 1}, 6 * sizeof *p->pads);
	(void) add_convolution(n, 3, 0);
	fold_and_compare(n, 1);
	CU_ASSERT_EQUAL(memcmp(n->nodes[0].pads, (uint32_t[]){1, 3, 2, 1}, 16), 0);
}

static void test_padding_of_channels_stays(void)
{
	_cleanup_(net_freep) struct net *n = start(image(2, 3, 4));
	struct net_node *p = add(n, NET_PAD, image(4, 3, 4));

	memcpy(p->pads, (uint32_t[]){1, 0, 0, 1, 0, 0}, 6 * sizeof *p->pads);
	(void) add_convolution(n, 3, 1);
	fold_and_compare(n, 2);
}

static void test_transpose_goes_into_columns(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 4, 4));
	struct net_node *t;

	(void) add_convolution(n, 2, 1);
	t = add(n, NET_TRANSPOSE, image(4, 4, 2));
	memcpy(t->perm, (uint32_t[]){1, 2, 0}, 3 * sizeof *t->perm);
	(void) add(n, NET_RESHAPE, flat(32));
	(void) add_linear(n, 3);
	fold_and_compare(n, 3);
}

static void test_transposed_input_is_the_callers(void)
{
	_cleanup_(net_freep) struct net *n = start(image(4, 5, 3));
	struct net_node *t = add(n, NET_TRANSPOSE, image(3, 4, 5));
	struct error e = {0};

	memcpy(t->perm, (uint32_t[]){2, 0, 1}, 3 * sizeof *t->perm);
	(void) add_convolution(n, 2, 1);
	CU_ASSERT_EQUAL(fold_net(n, &e), 0);
	CU_ASSERT_TRUE(n->input_hwc);
	CU_ASSERT_EQUAL(n->n_nodes, 1);
	CU_ASSERT_EQUAL(n->n_values, 2);
	CU_ASSERT_EQUAL(n->values[n->input].shape.dims[0], 3);
}

static void test_value_with_two_uses_is_left_alone(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));
	struct net_node *sum;

	(void) add_convolution(n, 4, 1);
	(void) add_channels(n, NET_BATCH_NORM, 4);
	sum = add(n, NET_ADD, image(4, 6, 5));
	sum->inputs[sum->n_inputs++] = n->nodes[0].output;
	fold_and_compare(n, 3);
	CU_ASSERT_PTR_NULL(n->nodes[0].bn_mean);
}

static void test_dead_nodes_go(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));
	uint32_t output;

	(void) add_convolution(n, 4, 1);
	output = n->output;
	(void) add(n, NET_CLIP, image(4, 6, 5));
	n->output = output;
	fold_and_compare(n, 1);
	CU_ASSERT_EQUAL(n->n_values, 2);
}

static void test_broken_numbers_are_refused(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 5));
	struct error e = {0};

	(void) add_convolution(n, 4, 1);
	(void) add_channels(n, NET_BATCH_NORM, 4);
	n->nodes[1].variance[3] = -1;
	CU_ASSERT_EQUAL(fold_net(n, &e), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "variance of channel 3"));
}

TEST_MAIN("fold", TEST(batch_norm_goes_into_convolution),
	TEST(batch_norm_then_affine_moves_the_statistics),
	TEST(batch_norm_without_weights_before_it_becomes_affine), TEST(shift_stays_before_padding),
	TEST(shift_goes_into_convolution_without_padding), TEST(scale_goes_into_padded_convolution),
	TEST(affine_steps_meet_and_pass_a_reshape), TEST(padding_goes_into_convolution),
	TEST(padding_of_channels_stays), TEST(transpose_goes_into_columns),
	TEST(transposed_input_is_the_callers), TEST(value_with_two_uses_is_left_alone),
	TEST(dead_nodes_go), TEST(broken_numbers_are_refused))
