/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real networks through the daemon, wholly on the OpenCL device: at every width each answer has the bits of
 * the processor's. A few pictures; BITSHED_TEST_FULL=1 takes 2,000, or all 325 of the large networks.
 * BITSHED_TEST_ONLY: those with this in their name.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "accuracy.h"
#include "base/clock.h"
#include "base/fd.h"
#include "bitshed/bitshed.h"
#include "convert/evaluate.h"
#include "convert/import.h"
#include "device.h"
#include "support/bus.h"
#include "support/data.h"

static const double widths[] = {8, 4, 3, 2.5, 2, 1};

/** struct subject - @limit: pictures of a full run */
static const struct subject {
	const char *net, *calibrate;
	uint32_t limit;
} subjects[] = {
	{"cifar10/akamaster_resnet20_static.onnx", "cifar10_train_20000.bin", 2000},
	{"cifar10/akamaster_resnet32_static.onnx", "cifar10_train_20000.bin", 2000},
	{"mlperf_tiny/ic_resnet8.onnx", "cifar10_train_20000.bin", 2000},
	{"mnist/vnncomp_mnist-net_256x2.onnx", "mnist-train-10000-images-idx3-ubyte", 2000},
	{"imagenet/ncnn_squeezenet_v1.1_fp16w.onnx", "imagenet_calib_125.npy", 325},
	{"imagenet/coral_mobilenet_v2_1.0_224_quant.deq.onnx", "imagenet_calib_125.npy", 325},
};

/** struct fixture - one network of the daemon */
struct fixture {
	struct network *network;
	struct dataset *data;
	struct samples samples;
	struct bitshed_session *session;
	uint32_t count;
};

static sd_bus *sd;
static struct bitshed *bus;
static pid_t daemon_pid;

static void start(void)
{
	struct bitshed_daemon *daemon;
	struct bitshed_error e = {};

	if (bus)
		return;
	(void) test_data();
	daemon_pid = device_daemon(
		"opencl:\n  check-every: never\n  run-timeout: 1 min\n  build-timeout: 10 min\n");
	sd = test_bus_open();
	CU_ASSERT_TRUE_FATAL(bitshed_open(&bus, test_bus_address(), &e) >= 0);
	/* the bus does not wait for those that connect and say nothing, and an import takes long */
	CU_ASSERT_TRUE_FATAL(bitshed_get_daemon(bus, &daemon, &e) >= 0);
	bitshed_daemon_free(daemon);
}

static const struct accuracy_row *find_row(const char *net)
{
	for (size_t i = 0; i < ARRAY_SIZE(accuracy_rows); i++)
		if (strcmp(accuracy_rows[i].net, net) == 0)
			return &accuracy_rows[i];
	return NULL;
}

static struct preprocess preprocess_of(const struct accuracy_row *row)
{
	struct preprocess p = {.scale = row->scale, .std = {1, 1, 1, 1}, .bgr = row->bgr};

	memcpy(p.mean, row->mean, sizeof row->mean);
	memcpy(p.std, row->std, sizeof row->std);
	return p;
}

static int make_file(
	const struct subject *s, const struct accuracy_row *row, const char *path, struct error *e)
{
	char onnx[512], calibrate[512];
	struct import i = {.onnx = onnx,
		.output = path,
		.calibrate = calibrate,
		.has_preprocess = true,
		.preprocess = preprocess_of(row),
		.samples = 8,
		.options = {.quantizer = quantizer_find("bcq"),
			.planes = 8,
			.edge_planes = 8,
			.group_columns = 128,
			.activation_bits = 8,
			.seed = 1}};

	(void) snprintf(onnx, sizeof onnx, "%s/models/%s", test_data(), s->net);
	(void) snprintf(calibrate, sizeof calibrate, "%s/%s", test_data(), s->calibrate);
	return import_run(&i, e);
}

static void open_data(struct fixture *f, const struct accuracy_row *row)
{
	char data[512], labels[512];
	struct preprocess p = preprocess_of(row);
	struct error e = {};
	int r;

	(void) snprintf(data, sizeof data, "%s/%s", test_data(), row->data);
	(void) snprintf(labels, sizeof labels, "%s/%s", test_data(), row->labels ?: "");
	r = dataset_open(&f->data, data, row->labels ? labels : NULL, &e);
	if (r >= 0)
		r = samples_init(
			&f->samples, f->data, &p, f->network->values[f->network->input].shape, &e);
	if (r < 0)
		printf("%s\n", e.text);
	CU_ASSERT_TRUE_FATAL(r >= 0);
}

static void open_fixture(struct fixture *f, const struct subject *s)
{
	const struct accuracy_row *row = find_row(s->net);
	char path[] = "/tmp/bitshed-device-net-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path), model = -1;
	struct bitshed_error be = {};
	struct error e = {};
	int r;

	CU_ASSERT_FATAL(fd >= 0 && row);
	r = make_file(s, row, path, &e);
	model = open(path, O_RDONLY | O_CLOEXEC);
	if (r >= 0)
		r = network_open(&f->network, model, &e);
	if (r < 0)
		printf("%s\n", e.text);
	CU_ASSERT_TRUE_FATAL(r >= 0);
	CU_ASSERT_TRUE_FATAL(bitshed_load(bus, "net", path, 8, &be) >= 0);
	CU_ASSERT_TRUE_FATAL(bitshed_wait_ready(bus, "net", -1, &be) >= 0);
	CU_ASSERT_TRUE_FATAL(bitshed_session_open(&f->session, bus, "net", 1, &be) >= 0);
	(void) unlink(path);
	open_data(f, row);
	f->count = MIN_OF(getenv("BITSHED_TEST_FULL") ? s->limit : MIN_OF(s->limit, 12),
		dataset_count(f->data));
}

static void close_fixture(struct fixture *f)
{
	struct bitshed_error e = {};

	(void) bitshed_session_close(f->session);
	CU_ASSERT_TRUE(bitshed_unload(bus, "net", &e) >= 0);
	dataset_free(f->data);
	network_unref(f->network);
}

/* Waits for the plan to be on the device. Return: nanoseconds of computing */
static uint64_t ask(struct fixture *f, enum bitshed_choice device, float *out)
{
	struct bitshed_options o = {.input = BITSHED_INPUT_FLOATS, .device = device};
	struct bitshed_result result;
	struct bitshed_error e = {};
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < 12000; i++) {
		r = bitshed_session_infer(f->session, 0, &o, &result, &e);
		if (r == -EAGAIN)
			(void) usleep(10000);
	}
	if (r < 0)
		printf("%s\n", e.text);
	CU_ASSERT_TRUE_FATAL(r >= 0);
	CU_ASSERT_STRING_EQUAL(result.device, device == BITSHED_CHOICE_CPU ? "cpu" : "opencl");
	memcpy(out, bitshed_session_output(f->session, 0),
		bitshed_session_output_count(f->session) * sizeof *out);
	return result.run_nsec;
}

/* As the daemon takes it: channels last. */
static void put_input(struct fixture *f, uint32_t item)
{
	const struct shape s = f->network->values[f->network->input].shape;
	size_t n = (size_t) s.height * s.width, all = n * s.channels;
	_cleanup_free_ uint8_t *pixels = malloc(all);
	_cleanup_free_ float *chw = malloc(all * sizeof *chw);
	float *to = bitshed_session_input(f->session, 0);

	CU_ASSERT_TRUE_FATAL(samples_chw(&f->samples, item, pixels, chw) >= 0);
	for (size_t i = 0; i < n; i++)
		for (uint32_t c = 0; c < s.channels; c++)
			to[i * s.channels + c] = chw[c * n + i];
}

static void check_width(struct fixture *f, const char *net, double bits)
{
	size_t n = bitshed_session_output_count(f->session);
	_cleanup_free_ float *cpu = malloc(n * sizeof *cpu), *device = malloc(n * sizeof *device);
	uint64_t cpu_nsec = 0, device_nsec = 0;
	struct bitshed_error e = {};
	uint32_t wrong = 0;

	CU_ASSERT_TRUE_FATAL(bitshed_set_bits(bus, "net", bits, &e) >= 0);
	for (uint32_t i = 0; i < f->count; i++) {
		put_input(f, i);
		device_nsec += ask(f, BITSHED_CHOICE_REQUIRE, device);
		cpu_nsec += ask(f, BITSHED_CHOICE_CPU, cpu);
		wrong += memcmp(cpu, device, n * sizeof *cpu) != 0;
	}
	printf("%-52s %4g bits: %u items, %u differ; device %.2f ms, processor %.2f ms\n", net,
		bits, f->count, wrong, (double) device_nsec / f->count / 1e6,
		(double) cpu_nsec / f->count / 1e6);
	(void) fflush(stdout);
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_every_network_at_every_width(void)
{
	const char *only = getenv("BITSHED_TEST_ONLY");

	start();
	printf("\n");
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
		struct fixture f = {};

		if (only ? !strstr(subjects[i].net, only)
			 : getenv("BITSHED_TEST_SHORT") && strstr(subjects[i].net, "imagenet"))
			continue;
		open_fixture(&f, &subjects[i]);
		for (size_t w = 0; w < ARRAY_SIZE(widths); w++)
			check_width(&f, subjects[i].net, widths[w]);
		close_fixture(&f);
	}
	CU_ASSERT_EQUAL(device_number(sd, "Retried"), 0);
	(void) bitshed_close(bus);
	sd = sd_bus_flush_close_unref(sd);
	CU_ASSERT_EQUAL(test_daemon_stop(daemon_pid), 0);
}

TEST_MAIN("device_network", TEST(every_network_at_every_width))
