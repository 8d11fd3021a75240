/* SPDX-License-Identifier: Apache-2.0 */
/* Real networks through the whole export, layer by layer against the fp32 interpreter. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/fd.h"
#include "convert/correct.h"
#include "convert/evaluate.h"
#include "convert/import.h"
#include "engine/exec.h"
#include "engine/lower.h"
#include "support/data.h"

#define SAMPLES 64

static const struct preprocess imagenet = {.scale = 1 / 255.0f, .mean = {0.485f, 0.456f, 0.406f, 0},
	.std = {0.229f, 0.224f, 0.225f, 1}};

/**
 * struct fixture - one network, exported and open
 */
struct fixture {
	struct net *net;
	struct dataset *data;
	struct samples samples;
	struct calibration *calibration;
	struct export *export;
	struct network *network;
};

static void fixture_done(struct fixture *f)
{
	network_unref(f->network);
	export_free(f->export);
	calibration_free(f->calibration);
	dataset_free(f->data);
	net_free(f->net);
}

static const char *data_path(const char *name)
{
	static char path[2][512];
	static int turn;

	turn = !turn;
	(void) snprintf(path[turn], sizeof path[turn], "%s/%s", test_data(), name);
	return path[turn];
}

static int export_file(struct fixture *f, struct error *e)
{
	char path[] = "/tmp/bitshed-export-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	int r = fd < 0 ? -errno : 0;

	if (r >= 0)
		r = correct_widths(f->export, f->calibration, &f->samples, path, NULL, NULL, e);
	if (r >= 0)
		r = export_write(f->export, path, &(struct export_words){.name = "test", .method = "bcq"}, e);
	if (r >= 0) {
		_cleanup_close_ int model = open(path, O_RDONLY | O_CLOEXEC);

		r = network_open(&f->network, model, e);
	}
	(void) unlink(path);
	return r;
}

static int fixture_init(struct fixture *f, const char *onnx, const char *data,
	const struct preprocess *p, uint32_t planes)
{
	struct export_options o = {.quantizer = quantizer_find("bcq"), .planes = planes,
		.edge_planes = 8, .group_columns = 128, .activation_bits = 8, .seed = 1};
	struct error e = {};
	int r = import_net(&f->net, data_path(onnx), &e);

	if (r >= 0)
		r = dataset_open(&f->data, data_path(data), NULL, &e);
	if (r >= 0)
		r = samples_init(&f->samples, f->data, p,
			graph_shape(&f->net->values[f->net->input].shape), &e);
	if (r >= 0)
		r = export_graph(&f->export, f->net, &o, p, f->samples.shape, &e);
	if (r >= 0)
		r = calibrate_samples(&f->calibration, f->net, &f->samples, SAMPLES, NULL, NULL, &e);
	if (r >= 0)
		r = export_scales(f->export, f->calibration, &e);
	if (r >= 0)
		r = export_weights(f->export, &f->samples, SAMPLES, NULL, NULL, &e);
	if (r >= 0)
		r = export_file(f, &e);
	if (r < 0)
		printf("%s: %s\n", onnx, error_text(&e, r));
	return r;
}

/**
 * struct noise - energies of one value over some samples
 */
struct noise {
	double signal, error;
};

/* An engine value against the net value that it stands for, element by element. */
static void add_noise(struct noise *to, const struct fixture *f, const struct value *v, uint32_t net_value,
	const void *data, const float *reference)
{
	size_t n = shape_elements(v->shape);
	_cleanup_free_ uint32_t *order = graph_order(f->export, net_value);

	for (size_t i = 0; i < n; i++) {
		double want = reference[order[i]];
		double have = v->element == ELEMENT_F32
			? ((const float *) data)[i]
			: ((double) ((const uint8_t *) data)[i] - v->zero_point) * v->scale;

		to->signal += want * want;
		to->error += (have - want) * (have - want);
	}
}

static void measure_sample(struct noise *noise, const struct fixture *f, struct plan *plan,
	struct workspace *w, struct reference *reference, uint32_t sample)
{
	size_t n = samples_elements(&f->samples);
	_cleanup_free_ uint8_t *pixels = malloc(n);
	_cleanup_free_ float *input = malloc(n * sizeof *input);
	struct samples samples = f->samples;

	CU_ASSERT_EQUAL(samples_chw(&samples, sample, pixels, input), 0);
	reference_run(reference, input);
	for (uint32_t i = 0; i < plan->n_steps; i++) {
		uint32_t value = f->network->ops[i].output;
		uint32_t net_value = f->export->value_infos[value].net_value;

		CU_ASSERT_EQUAL(exec_step(plan, w, NULL, INPUT_PIXELS, pixels, i), 0);
		add_noise(&noise[i], f, &f->network->values[value], net_value,
			exec_value(plan, w, value), reference_value(reference, net_value));
	}
}

/* The worst ratio of signal to noise of any layer, in dB. */
static double worst_layer(const struct fixture *f, double bits, uint32_t samples)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_(reference_freep) struct reference *reference = NULL;
	_cleanup_free_ struct noise *noise = calloc(f->network->n_ops, sizeof *noise);
	double worst = INFINITY;

	if (!noise || model_build(&model, f->network, bits, NULL) < 0 ||
		plan_new(&plan, model, cpu_flags(), NULL) < 0 || workspace_reserve(&w, plan, 1) < 0 ||
		reference_new(&reference, f->net) < 0)
		return -INFINITY;
	for (uint32_t i = 0; i < samples; i++)
		measure_sample(noise, f, plan, &w, reference, i);
	for (uint32_t i = 0; i < f->network->n_ops; i++) {
		double snr = 10 * log10(noise[i].signal / fmax(noise[i].error, 1e-30));

		if (getenv("BITSHED_TEST_VERBOSE"))
			printf("\n%3u %-12s %6.2f dB", i, op_kind_name(f->network->ops[i].kind), snr);
		worst = fmin(worst, snr);
	}
	return worst;
}

static void test_layers_follow_fp32(void)
{
	static const struct preprocess none = {.scale = 1, .std = {1, 1, 1, 1}};
	static const struct {
		const char *onnx;
		const struct preprocess *preprocess;
		double floor;
	} nets[] = {
		{"models/cifar10/akamaster_resnet20_static.onnx", &imagenet, 21},
		{"models/mlperf_tiny/ic_resnet8.onnx", &none, 22},
	};

	for (size_t i = 0; i < ARRAY_SIZE(nets); i++) {
		_cleanup_(fixture_done) struct fixture f = {};

		CU_ASSERT_EQUAL_FATAL(fixture_init(&f, nets[i].onnx, "cifar10_train_20000.bin",
			nets[i].preprocess, 8), 0);
		double worst = worst_layer(&f, 8, 32);

		printf("%s: worst layer %.1f dB\n", nets[i].onnx, worst);
		CU_ASSERT(worst > nets[i].floor);
	}
}

static void test_three_exports_are_one_network(void)
{
	static const char *const names[] = {"models/cifar10/akamaster_resnet20_static.onnx",
		"models/cifar10/akamaster_resnet20.onnx", "models/cifar10/akamaster_resnet20_bn_static.onnx"};
	_cleanup_(outputs_done) struct outputs first = {};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(fixture_done) struct fixture f = {};
		_cleanup_(model_unrefp) struct model *model = NULL;
		_cleanup_(outputs_done) struct outputs out = {};
		double same, snr;

		CU_ASSERT_EQUAL_FATAL(fixture_init(&f, names[i], "cifar10_train_20000.bin", &imagenet, 4), 0);
		CU_ASSERT_EQUAL_FATAL(model_build(&model, f.network, 4, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(evaluate_outputs(&out, model, &f.samples, 64, NULL, NULL, NULL), 0);
		if (i == 0) {
			first = out;
			out = (struct outputs){};
			continue;
		}
		evaluate_agreement(&out, &first, &same, &snr);
		printf("%s: %.1f dB from the first export\n", names[i], snr);
		CU_ASSERT(snr > 25);
	}
}

TEST_MAIN("export", TEST(layers_follow_fp32), TEST(three_exports_are_one_network))
