/* SPDX-License-Identifier: Apache-2.0 */
/* Equalisation changes weights, not results: small nets with drawn weights, before and after. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/equalise.h"
#include "net_file.h"
#include "support/test.h"

static uint32_t state = 1;

static float drawn(void)
{
	state = state * 1664525 + 1013904223;
	return (float) (state >> 8) / (1 << 23) - 1;
}

/* Rows of very different size. */
static float *drawn_rows(uint32_t rows, size_t columns)
{
	float *f = calloc(rows * columns, sizeof *f);

	for (uint32_t r = 0; r < rows; r++)
		for (size_t t = 0; t < columns; t++)
			f[r * columns + t] = drawn() * expf(3 * sinf((float) r * 2.1f));
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

static struct net_node *add(struct net *n, enum net_kind kind, uint32_t input, struct net_shape output)
{
	int at = net_add_node(n, kind, net_kind_name(kind));
	struct net_node *node = &n->nodes[at];

	n->output = (uint32_t) net_add_value(n, net_kind_name(kind), &output);
	node->inputs[0] = input;
	node->n_inputs = 1;
	node->output = n->output;
	return node;
}

/* 3x3, the image keeps its size. Return: the value behind its clip to @high */
static uint32_t convolution(struct net *n, uint32_t input, uint32_t outputs, uint32_t groups, float high)
{
	struct net_shape in = n->values[input].shape;
	struct net_node *c = add(n, NET_CONVOLUTION, input, image(outputs, in.dims[1], in.dims[2]));

	c->kernel[0] = c->kernel[1] = 3;
	for (unsigned i = 0; i < 4; i++)
		c->pads[i] = 1;
	c->outputs = outputs;
	c->groups = groups;
	c->weight = drawn_rows(outputs, (size_t) in.dims[0] / groups * 9);
	c->bias = drawn_rows(outputs, 1);
	c = add(n, NET_CLIP, n->output, n->values[n->output].shape);
	c->low = 0;
	c->high = high;
	return n->output;
}

static uint32_t linear(struct net *n, uint32_t input, uint32_t outputs)
{
	struct net_node *l = add(n, NET_LINEAR, input, flat(outputs));

	l->outputs = outputs;
	l->weight = drawn_rows(outputs, net_elements(&n->values[input].shape));
	return n->output;
}

static uint32_t join(struct net *n, enum net_kind kind, uint32_t a, uint32_t b, uint32_t channels)
{
	struct net_shape s = n->values[a].shape;
	struct net_node *j = add(n, kind, a, image(channels, s.dims[1], s.dims[2]));

	j->inputs[1] = b;
	j->n_inputs = 2;
	return n->output;
}

static uint32_t pool(struct net *n, enum net_kind kind, uint32_t input)
{
	struct net_shape s = n->values[input].shape;
	struct net_node *p = add(n, kind, input, image(s.dims[0], s.dims[1] / 2, s.dims[2] / 2));

	p->kernel[0] = p->kernel[1] = p->stride[0] = p->stride[1] = 2;
	return n->output;
}

static uint32_t slice(struct net *n, uint32_t input, uint32_t begin, uint32_t channels)
{
	struct net_shape s = n->values[input].shape;
	struct net_node *c = add(n, NET_SLICE, input, image(channels, s.dims[1], s.dims[2]));

	c->begin[0] = begin;
	c->step[0] = c->step[1] = c->step[2] = 1;
	return n->output;
}

static uint32_t flatten(struct net *n, uint32_t input)
{
	return add(n, NET_RESHAPE, input, flat((uint32_t) net_elements(&n->values[input].shape)))->output;
}

static float *run(const struct net *n, const float *input)
{
	_cleanup_(reference_freep) struct reference *r = NULL;
	size_t elements = net_elements(&n->values[n->output].shape);
	float *out = calloc(elements, sizeof *out);

	CU_ASSERT_EQUAL_FATAL(reference_new(&r, n), 0);
	reference_run(r, input);
	memcpy(out, reference_value(r, n->output), elements * sizeof *out);
	return out;
}

/* Statistics with the peaks of one input, and samples that say so. */
static struct calibration *peaks_of(const struct net *n, const float *input)
{
	_cleanup_(reference_freep) struct reference *r = NULL;
	struct calibration *c = NULL;

	CU_ASSERT_EQUAL_FATAL(calibration_new(&c, n, false), 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&r, n), 0);
	reference_run(r, input);
	for (uint32_t v = 0; v < n->n_values; v++) {
		size_t elements = net_elements(&n->values[v].shape), each = elements / c->values[v].channels;

		for (size_t i = 0; i < elements; i++)
			c->values[v].peak[i / each] =
				fmaxf(c->values[v].peak[i / each], fabsf(reference_value(r, v)[i]));
	}
	c->samples = 1;
	return c;
}

/* @scaled: values that are expected to be equalised, with statistics and without. */
static void check(struct net *n, int scaled)
{
	size_t elements = net_elements(&n->values[n->output].shape);
	_cleanup_free_ float *input = drawn_rows(1, net_elements(&n->values[n->input].shape));
	_cleanup_free_ float *before = run(n, input);
	float most = 0;

	for (size_t i = 0; i < elements; i++)
		most = fmaxf(most, fabsf(before[i]));
	CU_ASSERT_TRUE(most > 0);
	for (int data = 0; data < 2; data++) {
		_cleanup_(calibration_freep) struct calibration *c = data ? peaks_of(n, input) : NULL;
		_cleanup_free_ float *after = NULL;

		CU_ASSERT_EQUAL(equalise_net(n, c), scaled);
		after = run(n, input);
		for (size_t i = 0; i < elements; i++)
			CU_ASSERT_TRUE(fabsf(after[i] - before[i]) <= 1e-4f * most);
	}
}

static float spread(const struct net *n, uint32_t node)
{
	const struct net_node *c = &n->nodes[node];
	size_t columns = (size_t) n->values[c->inputs[0]].shape.dims[0] * 9;
	float least = INFINITY, most = 0;

	for (uint32_t r = 0; r < c->outputs; r++) {
		float row = 0;

		for (size_t t = 0; t < columns; t++)
			row = fmaxf(row, fabsf(c->weight[r * columns + t]));
		least = fminf(least, row);
		most = fmaxf(most, row);
	}
	return most / least;
}

static void test_chain_is_equalised(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 8, 8));
	uint32_t v = convolution(n, n->input, 12, 1, INFINITY);
	float before = spread(n, 0);

	v = pool(n, NET_MAX_POOL, v);
	v = convolution(n, v, 12, 12, INFINITY);
	v = pool(n, NET_AVERAGE_POOL, v);
	(void) linear(n, flatten(n, v), 5);
	check(n, 2);
	CU_ASSERT_TRUE(spread(n, 0) < before / 2);
}

static void test_concat_keeps_who_is_who(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 6));
	uint32_t a = convolution(n, n->input, 4, 1, INFINITY), b = convolution(n, a, 6, 1, INFINITY);
	uint32_t c = convolution(n, a, 5, 1, INFINITY), v = join(n, NET_CONCAT, b, c, 11);

	(void) convolution(n, join(n, NET_CONCAT, c, v, 16), 3, 1, INFINITY);
	check(n, 3);
}

static void test_slices_of_channels_stay(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 6));
	uint32_t a = convolution(n, n->input, 4, 1, INFINITY), b = convolution(n, a, 6, 1, INFINITY);

	(void) convolution(n, join(n, NET_CONCAT, slice(n, b, 3, 2), b, 8), 3, 1, INFINITY);
	check(n, 1);
}

static void test_sums_stay(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 6));
	uint32_t a = convolution(n, n->input, 4, 1, INFINITY);
	uint32_t b = convolution(n, convolution(n, a, 6, 1, INFINITY), 4, 1, INFINITY);
	_cleanup_free_ float *first = NULL, *last = NULL;

	(void) convolution(n, join(n, NET_ADD, a, b, 4), 4, 1, INFINITY);
	first = malloc(4 * 27 * sizeof *first);
	last = malloc(4 * 36 * sizeof *last);
	memcpy(first, n->nodes[0].weight, 4 * 27 * sizeof *first);
	memcpy(last, n->nodes[7].weight, 4 * 36 * sizeof *last);
	check(n, 1);
	CU_ASSERT_EQUAL(memcmp(first, n->nodes[0].weight, 4 * 27 * sizeof *first), 0);
	CU_ASSERT_EQUAL(memcmp(last, n->nodes[7].weight, 4 * 36 * sizeof *last), 0);
}

static void test_upper_clips_stay(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 6));

	(void) convolution(n, convolution(n, n->input, 4, 1, 6), 4, 1, INFINITY);
	check(n, 0);
}

static void test_silent_channels(void)
{
	_cleanup_(net_freep) struct net *n = start(image(3, 6, 6));
	uint32_t v = convolution(n, n->input, 4, 1, INFINITY);

	memset(n->nodes[0].weight, 0, 27 * sizeof(float));
	n->nodes[0].bias[0] = 0;
	(void) convolution(n, v, 3, 1, INFINITY);
	check(n, 1);
}

static void test_squeezenet(void)
{
	const char *data = getenv("BITSHED_TEST_DATA");
	_cleanup_(net_freep) struct net *n = NULL;
	struct error e = {0};
	char path[4096];

	if (!data || !data[0])
		return;
	(void) snprintf(path, sizeof path, "%s/models/imagenet/ncnn_squeezenet_v1.1_fp16w.onnx", data);
	CU_ASSERT_EQUAL_FATAL(net_file_read(&n, path, true, &e), 0);
	check(n, 25);
}

TEST_MAIN("equalise", TEST(chain_is_equalised), TEST(concat_keeps_who_is_who),
	TEST(slices_of_channels_stay), TEST(sums_stay),
	TEST(upper_clips_stay), TEST(silent_channels), TEST(squeezenet))
