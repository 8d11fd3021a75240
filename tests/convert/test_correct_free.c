/* SPDX-License-Identifier: Apache-2.0 */
/* Corrections without data: a coarse matrix keeps mean and deviation of its outputs, at every width. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "convert/correct.h"
#include "convert/decode.h"
#include "convert/samples.h"
#include "engine/lower.h"
#include "support/test.h"

#define CHANNELS 8
#define SIDE 6
#define ROWS 12
#define TAPS 9
#define PLANES 3
#define PICTURES 200
#define LOW 0.0f
#define HIGH 2.0f

static struct net *one_convolution(void)
{
	struct net *n = net_new("test");
	struct net_shape in = {.n = 3, .dims = {CHANNELS, SIDE, SIDE}}, out = {.n = 3, .dims = {ROWS, SIDE - 2, SIDE - 2}};
	struct source s = SAMPLES_INIT;
	int at = net_add_node(n, NET_CONVOLUTION, "convolution");
	struct net_node *c = &n->nodes[at];

	n->input = (uint32_t) net_add_value(n, "in", &in);
	n->output = (uint32_t) net_add_value(n, "out", &out);
	c->inputs[0] = n->input;
	c->n_inputs = 1;
	c->output = n->output;
	c->kernel[0] = c->kernel[1] = 3;
	c->outputs = ROWS;
	c->weight = malloc(ROWS * CHANNELS * TAPS * sizeof(float));
	c->bias = calloc(ROWS, sizeof(float));
	sample_fill(&s, c->weight, ROWS * CHANNELS * TAPS, 1);
	return n;
}

/* Mean and deviation of each row's outputs over drawn pictures. */
static void look(const struct net *n, double *mean, double *deviation)
{
	_cleanup_(reference_freep) struct reference *r = NULL;
	double sum[ROWS] = {0}, square[ROWS] = {0}, pixels = (SIDE - 2) * (SIDE - 2);
	struct source s = SAMPLES_INIT;
	float in[CHANNELS * SIDE * SIDE];

	CU_ASSERT_EQUAL_FATAL(reference_new(&r, n), 0);
	for (int k = 0; k < PICTURES; k++) {
		const float *out;

		for (int i = 0; i < CHANNELS * SIDE * SIDE; i++)
			in[i] = LOW + (HIGH - LOW) * (float) sample_uniform(&s);
		reference_run(r, in);
		out = reference_value(r, n->output);
		for (int i = 0; i < ROWS * (int) pixels; i++) {
			sum[i / (int) pixels] += (double) out[i];
			square[i / (int) pixels] += (double) out[i] * (double) out[i];
		}
	}
	for (int i = 0; i < ROWS; i++) {
		mean[i] = sum[i] / PICTURES / pixels;
		deviation[i] = sqrt(square[i] / PICTURES / pixels - mean[i] * mean[i]);
	}
}

/* How far mean and deviation are from fp32's, in its deviations, worst row. */
static void measure(struct export *e, const char *path, uint32_t planes, double *ret_mean, double *ret_deviation)
{
	_cleanup_(net_freep) struct net *fp32 = one_convolution(), *decoded = one_convolution();
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *m = NULL;
	double mean[2][ROWS], deviation[2][ROWS];

	CU_ASSERT_EQUAL_FATAL(export_network(&n, e, path, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&m, n, planes, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(decode_weights(decoded, e, m), 0);
	look(fp32, mean[0], deviation[0]);
	look(decoded, mean[1], deviation[1]);
	*ret_mean = *ret_deviation = 0;
	for (int i = 0; i < ROWS; i++) {
		*ret_mean = fmax(*ret_mean, fabs(mean[1][i] - mean[0][i]) / deviation[0][i]);
		*ret_deviation = fmax(*ret_deviation, fabs(deviation[1][i] / deviation[0][i] - 1));
	}
}

static void test_mean_and_deviation_stay(void)
{
	struct export_options o = {.quantizer = quantizer_find("bcq"), .planes = PLANES, .group_columns = 128,
		.activation_bits = 8, .seed = 1};
	_cleanup_(net_freep) struct net *net = one_convolution();
	_cleanup_(calibration_freep) struct calibration *c = NULL;
	_cleanup_(export_freep) struct export *e = NULL;
	double mean[PLANES], deviation[PLANES], after_mean, after_deviation;
	char path[] = "/tmp/bitshed-correct-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(export_graph(&e, net, &o, NULL, (struct shape){}, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(calibrate_batch_norm(&c, net, LOW, HIGH, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(export_scales(e, c, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(export_weights(e, NULL, 0, NULL, NULL, NULL), 0);
	for (uint32_t p = 1; p <= PLANES; p++)
		measure(e, path, p, &mean[p - 1], &deviation[p - 1]);
	CU_ASSERT_EQUAL_FATAL(correct_without_data(e, c, path, NULL), 0);
	for (uint32_t p = 1; p <= PLANES; p++) {
		measure(e, path, p, &after_mean, &after_deviation);
		printf("\n    %u planes: mean off by %.3f, then %.3f deviations; deviation by %.3f, then %.3f", p,
			mean[p - 1], after_mean, deviation[p - 1], after_deviation);
		CU_ASSERT_TRUE(after_mean < 0.1 * mean[p - 1] + 0.03);
		CU_ASSERT_TRUE(after_deviation < 0.05);
	}
	CU_ASSERT_TRUE(mean[0] > 0.3 && deviation[0] > 0.1);
	(void) unlink(path);
}

TEST_MAIN("correct_free", TEST(mean_and_deviation_stay))
