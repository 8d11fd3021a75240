/* SPDX-License-Identifier: Apache-2.0 */
/* Channels that say nothing go first and are not missed; what is left is as little as was asked for. */
#include "convert/prune.h"

#include <errno.h>
#include <math.h>

#include "convert/drawn_net.h"
#include "support/test.h"

#define SIDE 5
#define CHANNELS 32
#define SILENT 10 /* of them say the same everywhere */

static struct source source = SAMPLES_INIT;

static uint32_t value_of(struct net *n, uint32_t channels)
{
	return (uint32_t) net_add_value(n, "value", &(struct net_shape){.n = 3, .dims = {channels, SIDE, SIDE}});
}

static uint32_t convolution(struct net *n, uint32_t in, uint32_t channels, uint32_t kernel)
{
	return drawn_convolution(n, &source, in, channels, kernel);
}

static uint32_t relu(struct net *n, uint32_t in)
{
	uint32_t out = value_of(n, n->values[in].shape.dims[0]);
	int at = net_add_node(n, NET_CLIP, "relu");
	struct net_node *c = &n->nodes[at];

	c->inputs[0] = in;
	c->n_inputs = 1;
	c->output = out;
	c->low = 0;
	c->high = INFINITY;
	return out;
}

/* Three convolutions; the first SILENT channels of the second say one each. */
static struct net *net_of(void)
{
	struct net *n = net_new("test");
	uint32_t at;

	source = (struct source) SAMPLES_INIT;
	n->input = value_of(n, 3);
	at = relu(n, convolution(n, n->input, 8, 3));
	at = relu(n, convolution(n, at, CHANNELS, 3));
	for (uint32_t i = 0; i < SILENT; i++) {
		memset(n->nodes[2].weight + (size_t) i * 8 * 9, 0, 8 * 9 * sizeof(float));
		n->nodes[2].bias[i] = 1;
	}
	n->output = convolution(n, at, 4, 1);
	return n;
}

/* As if it had been measured: silent channels always say one, the others have mean 0 and deviation 1. */
static struct calibration *calibration_of(const struct net *n)
{
	struct calibration *c = NULL;

	CU_ASSERT_EQUAL_FATAL(calibration_new(&c, n, false), 0);
	for (uint32_t i = 0; i < n->n_values; i++) {
		c->values[i].count = 1;
		for (uint32_t k = 0; k < c->values[i].channels; k++) {
			c->values[i].sum[k] = k < SILENT && c->values[i].channels == CHANNELS;
			c->values[i].square[k] = 1;
		}
	}
	return c;
}

static double difference(const struct net *a, const struct net *b)
{
	_cleanup_(reference_freep) struct reference *x = NULL, *y = NULL;
	float in[3 * SIDE * SIDE];
	double most = 0;

	CU_ASSERT_EQUAL_FATAL(reference_new(&x, a), 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&y, b), 0);
	sample_fill(&source, in, 3 * SIDE * SIDE, 0);
	reference_run(x, in);
	reference_run(y, in);
	for (uint32_t i = 0; i < 4 * SIDE * SIDE; i++)
		most = fmax(most, fabs((double) reference_value(x, a->output)[i] - (double) reference_value(y, b->output)[i]));
	return most;
}

static void test_silent_channels_are_not_missed(void)
{
	_cleanup_(net_freep) struct net *whole = net_of(), *n = net_of();
	_cleanup_(calibration_freep) struct calibration *c = calibration_of(n);
	double each = 8 * 9 + 4, keep = 1 - SILENT * each / net_weights(n);

	CU_ASSERT_EQUAL(prune_net(n, c, keep, NULL), 0);
	CU_ASSERT_EQUAL(n->nodes[2].outputs, CHANNELS - SILENT);
	CU_ASSERT_EQUAL(n->nodes[0].outputs, 8); /* as few as a value keeps */
	for (uint32_t i = 0; i < CHANNELS - SILENT; i++)
		CU_ASSERT_EQUAL(n->nodes[2].kept[i], SILENT + i);
	CU_ASSERT_DOUBLE_EQUAL(net_weights(n), keep * net_weights(whole), 0.5);
	CU_ASSERT_TRUE(difference(whole, n) < 1e-4);
}

static void test_less_is_left_than_asked_for(void)
{
	for (double keep = 0.9; keep > 0.5; keep -= 0.1) {
		_cleanup_(net_freep) struct net *n = net_of();
		_cleanup_(calibration_freep) struct calibration *c = calibration_of(n);
		double all = net_weights(n);

		CU_ASSERT_EQUAL(prune_net(n, c, keep, NULL), 0);
		CU_ASSERT_TRUE(net_weights(n) <= keep * all && net_weights(n) > keep * all - 8 * 9 - 4);
	}
}

static void test_too_little(void)
{
	_cleanup_(net_freep) struct net *n = net_of();
	_cleanup_(calibration_freep) struct calibration *c = calibration_of(n);
	struct error e = {};

	CU_ASSERT_EQUAL(prune_net(n, c, 0.2, &e), -ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(error_text(&e, -ERANGE), "without a plane"));
}

TEST_MAIN("prune", TEST(silent_channels_are_not_missed), TEST(less_is_left_than_asked_for), TEST(too_little))
