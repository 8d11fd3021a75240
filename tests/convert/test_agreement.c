/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks of the test data, imported with 8 nested planes and 8-bit activations, agree with the fp32
 * interpreter: the first class of at least 98 % of the items is the same. BITSHED_TEST_FULL=1 takes all
 * items; else it is the first few of them, calibrated on few, and one more may differ.
 */
#include "accuracy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "convert/evaluate.h"
#include "convert/import.h"
#include "engine/lower.h"
#include "support/data.h"

#define AGREEMENT_MIN 98

/**
 * struct subject - one network
 * @calibrate: never of the items that it is measured on
 * @limit: of the items in a short run, 0: all
 * @method, @planes, @least: NULL: nested planes, 8, AGREEMENT_MIN
 */
struct subject {
	const char *net, *calibrate;
	uint32_t samples, limit;
	const char *method;
	uint32_t planes;
	double least;
};

static const struct subject subjects[] = {
	{"cifar10/akamaster_resnet20_static.onnx", "cifar10_train_20000.bin", 64, 200},
	{"cifar10/akamaster_resnet32_static.onnx", "cifar10_train_20000.bin", 64, 200},
	{"mlperf_tiny/ic_resnet8.onnx", "cifar10_train_20000.bin", 64, 200},
	{"mnist/vnncomp_mnist-net_256x2.onnx", "mnist-train-10000-images-idx3-ubyte", 64, 1000},
	{"imagenet/ncnn_squeezenet_v1.1_fp16w.onnx", "imagenet_calib_125.npy", 125, 40},
	{"imagenet/coral_mobilenet_v2_1.0_224_quant.deq.onnx", "imagenet_calib_125.npy", 16, 40},
};

/*
 * One plane says little: without correction of its statistics nothing at all (a tenth of the first classes are the
 * same by chance), by OBQ's greedy order alone two thirds.
 */
static const struct subject narrow[] = {
	{"cifar10/akamaster_resnet20_static.onnx", "cifar10_train_20000.bin", 256, 500, "kmeans", 1, 25},
	{"cifar10/akamaster_resnet20_static.onnx", "cifar10_train_20000.bin", 256, 500, "obq", 1, 72},
};

/**
 * struct measured - what a comparison needs
 */
struct measured {
	struct net *net;
	struct network *network;
	struct model *model;
	struct dataset *data;
	struct samples samples;
	struct outputs fp32, ours;
	struct threads *threads;
};

static void measured_done(struct measured *m)
{
	threads_free(m->threads);
	outputs_done(&m->fp32);
	outputs_done(&m->ours);
	dataset_free(m->data);
	model_unref(m->model);
	network_unref(m->network);
	net_free(m->net);
}

static const struct accuracy_row *find_row(const char *net)
{
	for (size_t i = 0; i < ARRAY_SIZE(accuracy_rows); i++)
		if (strcmp(accuracy_rows[i].net, net) == 0)
			return &accuracy_rows[i];
	return NULL;
}

static struct preprocess row_preprocess(const struct accuracy_row *row)
{
	struct preprocess p = {.scale = row->scale, .std = {1, 1, 1, 1}, .bgr = row->bgr};

	memcpy(p.mean, row->mean, sizeof row->mean);
	memcpy(p.std, row->std, sizeof row->std);
	return p;
}

static int import_subject(struct measured *m, const struct subject *s, const struct accuracy_row *row,
	struct error *e)
{
	char path[] = "/tmp/bitshed-agreement-XXXXXX", onnx[512], calibrate[512];
	struct import i = {.onnx = onnx, .output = path, .calibrate = calibrate, .has_preprocess = true,
		.preprocess = row_preprocess(row), .correct = true,
		.samples = getenv("BITSHED_TEST_FULL") ? 512 : s->samples, .threads = m->threads,
		.options = {.quantizer = s->method ? quantizer_find(s->method) : &quantizer_gptq,
			.planes = s->method ? s->planes : 8, .edge_planes = 8,
			.group_columns = 128, .activation_bits = 8, .seed = 1}};
	_cleanup_close_ int fd = mkstemp(path), model = -1;
	int r = fd < 0 ? -errno : 0;

	(void) snprintf(onnx, sizeof onnx, "%s/models/%s", test_data(), s->net);
	(void) snprintf(calibrate, sizeof calibrate, "%s/%s", test_data(), s->calibrate);
	if (r >= 0)
		r = import_run(&i, e);
	if (r >= 0)
		r = import_net(&m->net, onnx, e);
	model = open(path, O_RDONLY | O_CLOEXEC);
	(void) unlink(path);
	if (r >= 0)
		r = network_open(&m->network, model, e);
	return r < 0 ? r : model_build(&m->model, m->network, i.options.planes, e);
}

static int measure(struct measured *m, const struct subject *s, const struct accuracy_row *row,
	struct error *e)
{
	uint32_t limit = getenv("BITSHED_TEST_FULL") ? 0 : s->limit;
	char data[512], labels[512];
	struct preprocess p = row_preprocess(row);
	int r = threads_new(&m->threads, threads_available());

	(void) snprintf(data, sizeof data, "%s/%s", test_data(), row->data);
	(void) snprintf(labels, sizeof labels, "%s/%s", test_data(), row->labels ?: "");
	if (r >= 0)
		r = import_subject(m, s, row, e);
	if (r >= 0)
		r = dataset_open(&m->data, data, row->labels ? labels : NULL, e);
	if (r >= 0)
		r = samples_init(&m->samples, m->data, &p, m->network->values[m->network->input].shape, e);
	if (r >= 0)
		r = evaluate_outputs(&m->ours, m->model, &m->samples, limit, m->threads, NULL, e);
	return r < 0 ? r : evaluate_reference(&m->fp32, m->net, &m->samples, limit, m->threads, NULL, e);
}

static void check_subject(const struct subject *s)
{
	const struct accuracy_row *row = find_row(s->net);
	_cleanup_(measured_done) struct measured m = {};
	double top1, top5, fp32_top1, fp32_top5, agreement, snr, least = s->method ? s->least : AGREEMENT_MIN;
	struct error e = {};
	int r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(row);
	r = measure(&m, s, row, &e);
	CU_ASSERT_TRUE(r >= 0);
	if (r < 0) {
		printf("%s: %s\n", s->net, error_text(&e, r));
		return;
	}
	(void) evaluate_accuracy(&m.fp32, &m.samples, (int) row->offset, &fp32_top1, &fp32_top5);
	(void) evaluate_accuracy(&m.ours, &m.samples, (int) row->offset, &top1, &top5);
	evaluate_agreement(&m.ours, &m.fp32, &agreement, &snr);
	printf("%-52s %-6s %5u items: agreement %6.2f %%, top-1 %5.2f, fp32 %5.2f, SNR %5.2f dB\n", s->net,
		s->method ?: "", m.ours.count, agreement, top1, fp32_top1, snr);
	(void) fflush(stdout);
	CU_ASSERT_TRUE(agreement + (getenv("BITSHED_TEST_FULL") ? 0 : 100.0 / m.ours.count)
		>= least);
}

static void test_eight_planes_agree_with_fp32(void)
{
	const char *only = getenv("BITSHED_TEST_ONLY");

	(void) test_data();
	printf("\n");
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++)
		if (only ? strstr(subjects[i].net, only) != NULL
			 : !getenv("BITSHED_TEST_SHORT") || !strstr(subjects[i].net, "imagenet"))
			check_subject(&subjects[i]);
}

static void test_one_plane_says_something(void)
{
	(void) test_data();
	printf("\n");
	for (size_t i = 0; i < ARRAY_SIZE(narrow); i++)
		check_subject(&narrow[i]);
}

TEST_MAIN("agreement", TEST(eight_planes_agree_with_fp32), TEST(one_plane_says_something))
