/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fp32 interpreter against the outputs of other software on real inputs (golden files), as imported
 * and after folding, and its convolution against the plain definition.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "net_file.h"
#include "support/data.h"

struct golden {
	const char *folder, *net, *in, *out;
	uint32_t cases;
};

/* clang-format off */
static const struct golden goldens[] = {
	{"KWS-DNN_S", "misc/KWS-DNN_S", "in_Mfcc_0.raw", "out_labels_softmax_0.raw", 4},
	{"coral_mobilenet_v1_0.25_128_quant.deq", "imagenet/coral_mobilenet_v1_0.25_128_quant.deq", "in_input.raw", "out_softmax_169.raw", 1},
	{"coral_mobilenet_v1_0.5_160_quant.deq", "imagenet/coral_mobilenet_v1_0.5_160_quant.deq", "in_input.raw", "out_softmax_169.raw", 1},
	{"coral_mobilenet_v2_1.0_224_quant.deq", "imagenet/coral_mobilenet_v2_1.0_224_quant.deq", "in_input.raw", "out_softmax_278.raw", 1},
	{"espcn_x3_super_resolution", "misc/espcn_x3_super_resolution", "in_input.raw", "out_output.raw", 2},
	{"ncnn_squeezenet_v1.1_fp16w", "imagenet/ncnn_squeezenet_v1.1_fp16w", "in_data.raw", "out_prob.raw", 1},
	{"vnncomp_collins_rul_cnn_NN_rul_full_window_20", "misc/vnncomp_collins_rul_cnn_NN_rul_full_window_20", "in_imageinput.raw", "out_fc_2_Flatten.raw", 1},
	{"vww_96", "mlperf_tiny/vww_96", "in_input_1.raw", "out_dense_softmax.raw", 1},
};
/* clang-format on */

static float compare_case(const struct net *net, const struct file_map *in, const struct file_map *out)
{
	_cleanup_(reference_freep) struct reference *r = NULL;
	size_t n_in = net_elements(&net->values[net->input].shape);
	size_t n_out = net_elements(&net->values[net->output].shape), batch = in->size / 4 / n_in;
	float worst = 0;

	CU_ASSERT_EQUAL_FATAL(reference_new(&r, net), 0);
	CU_ASSERT_EQUAL_FATAL(in->size, batch * n_in * 4);
	CU_ASSERT_EQUAL_FATAL(out->size, batch * n_out * 4);
	for (size_t b = 0; b < batch; b++) {
		const float *want = (const float *) out->data + b * n_out, *got;

		reference_run(r, (const float *) in->data + b * n_in);
		got = reference_value(r, net->output);
		for (size_t i = 0; i < n_out; i++)
			worst = isfinite(got[i]) ?
				fmaxf(worst, fabsf(got[i] - want[i]) / (1 + fabsf(want[i]))) : INFINITY;
	}
	return worst;
}

static void run_golden(const struct golden *g, bool fold)
{
	_cleanup_(net_freep) struct net *net = NULL;
	struct error e = {0};
	char path[512];

	(void) snprintf(path, sizeof path, "%s/models/%s.onnx", test_data(), g->net);
	CU_ASSERT_EQUAL_FATAL(net_file_read(&net, path, fold, &e), 0);
	for (uint32_t i = 0; i < g->cases; i++) {
		struct file_map in, out;
		float worst;

		(void) snprintf(path, sizeof path, "%s/golden/%s/case%u/%s", test_data(), g->folder, i,
			g->in);
		CU_ASSERT_EQUAL_FATAL(file_map(&in, path, NULL), 0);
		(void) snprintf(path, sizeof path, "%s/golden/%s/case%u/%s", test_data(), g->folder, i,
			g->out);
		CU_ASSERT_EQUAL_FATAL(file_map(&out, path, NULL), 0);
		worst = compare_case(net, &in, &out);
		file_unmap(&in);
		file_unmap(&out);
		printf("%-50s case %u %s: worst difference %.2g\n", g->folder, i,
			fold ? "folded" : "as is", (double) worst);
		CU_ASSERT_TRUE(worst < 1e-4f);
	}
}

static void test_golden_outputs(void)
{
	printf("\n");
	for (size_t i = 0; i < ARRAY_SIZE(goldens); i++) {
		run_golden(&goldens[i], false);
		run_golden(&goldens[i], true);
	}
}

static void refused(const char *net, const char *words)
{
	_cleanup_(net_freep) struct net *n = NULL;
	struct error e = {0};
	char path[512];

	(void) snprintf(path, sizeof path, "%s/models/%s.onnx", test_data(), net);
	CU_ASSERT_EQUAL(net_file_read(&n, path, true, &e), -ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, words));
	printf("\n%s: %s", net, e.text);
}

static void test_unsupported_networks_say_why(void)
{
	refused("mnist/coral_keras_lstm_mnist.deq", "LSTM");
	refused("audio/dtln_model_1", "more than one input");
	refused("audio/silero_vad_openvino_16k", "more than one input");
	refused("faces/yunet_n_320_320", "Resize");
}

struct window {
	uint32_t channels, height, width, outputs, kernel, stride, dilation, groups, pad[4];
};

static float plain(const struct window *w, const struct net_node *n, const float *in, uint32_t o,
	size_t y, size_t x)
{
	uint32_t per = w->channels / w->groups, first = o / (w->outputs / w->groups) * per;
	double sum = n->bias[o];

	for (uint32_t c = 0; c < per; c++)
		for (uint32_t i = 0; i < w->kernel; i++)
			for (uint32_t j = 0; j < w->kernel; j++) {
				long row = (long) (y * w->stride + i * w->dilation) - w->pad[0];
				long column = (long) (x * w->stride + j * w->dilation) - w->pad[1];

				if (row >= 0 && row < w->height && column >= 0 && column < w->width)
					sum += (double) n->weight[((o * per + c) * w->kernel + i) *
							w->kernel + j] *
						(double) in[((first + c) * w->height + (size_t) row) *
								w->width + (size_t) column];
			}
	return (float) sum;
}

static uint32_t out_size(const struct window *w, uint32_t size, uint32_t pads)
{
	return (size + pads - ((w->kernel - 1) * w->dilation + 1)) / w->stride + 1;
}

static struct net *window_net(const struct window *w)
{
	struct net_shape in = {3, {w->channels, w->height, w->width}};
	struct net_shape out = {3, {w->outputs, out_size(w, w->height, w->pad[0] + w->pad[2]),
					 out_size(w, w->width, w->pad[1] + w->pad[3])}};
	size_t weights = (size_t) w->outputs * w->channels / w->groups * w->kernel * w->kernel;
	struct net *net = net_new("window");
	struct net_node *n;
	int node = net_add_node(net, NET_CONVOLUTION, "convolution");

	n = &net->nodes[node];
	n->inputs[0] = net->input = (uint32_t) net_add_value(net, "in", &in);
	n->output = net->output = (uint32_t) net_add_value(net, "out", &out);
	n->n_inputs = 1;
	n->kernel[0] = n->kernel[1] = w->kernel;
	n->stride[0] = n->stride[1] = w->stride;
	n->dilation[0] = n->dilation[1] = w->dilation;
	n->groups = w->groups;
	n->outputs = w->outputs;
	memcpy(n->pads, w->pad, sizeof w->pad);
	n->weight = calloc(weights, sizeof(float));
	n->bias = calloc(w->outputs, sizeof(float));
	for (size_t i = 0; i < weights; i++)
		n->weight[i] = sinf((float) i);
	for (size_t i = 0; i < w->outputs; i++)
		n->bias[i] = cosf((float) i);
	return net;
}

static void check_window(const struct window *w)
{
	_cleanup_(net_freep) struct net *net = window_net(w);
	_cleanup_(reference_freep) struct reference *r = NULL;
	const struct net_shape *out = &net->values[net->output].shape;
	size_t n = (size_t) w->channels * w->height * w->width;
	_cleanup_free_ float *in = calloc(n, sizeof *in);
	const float *got;

	for (size_t i = 0; i < n; i++)
		in[i] = sinf(0.7f * (float) i);
	CU_ASSERT_EQUAL_FATAL(reference_new(&r, net), 0);
	reference_run(r, in);
	got = reference_value(r, net->output);
	for (uint32_t o = 0; o < out->dims[0]; o++)
		for (size_t y = 0; y < out->dims[1]; y++)
			for (size_t x = 0; x < out->dims[2]; x++) {
				float want = plain(w, &net->nodes[0], in, o, y, x);

				CU_ASSERT_TRUE(fabsf(*got++ - want) < 1e-4f);
			}
}

static void test_convolution_is_its_definition(void)
{
	static const struct window windows[] = {
		{3, 9, 7, 5, 3, 1, 1, 1, {1, 1, 1, 1}},
		{4, 9, 7, 6, 3, 2, 1, 2, {1, 0, 2, 1}},
		{4, 12, 11, 4, 3, 1, 3, 4, {3, 3, 3, 3}},
		{4, 12, 11, 4, 3, 2, 2, 4, {0, 5, 1, 0}},
		{6, 40, 50, 3, 5, 3, 2, 3, {7, 9, 0, 1}},
		{9, 5, 5, 7, 1, 1, 1, 1, {0, 0, 0, 0}},
		{2, 1, 1, 3, 3, 1, 1, 1, {1, 1, 1, 1}},
		{2, 3, 3, 3, 1, 1, 1, 1, {4, 4, 4, 4}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(windows); i++)
		check_window(&windows[i]);
}

TEST_MAIN("reference", TEST(convolution_is_its_definition), TEST(golden_outputs),
	TEST(unsupported_networks_say_why))
