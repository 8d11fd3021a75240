/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/real_network.h"
#include "convert/import.h"
#include "engine/lower.h"
#include "support/bus.h"
#include "support/data.h"

static const char *data_path(const char *name)
{
	static char path[512];

	(void) snprintf(path, sizeof path, "%s/%s", test_data(), name);
	return path;
}

static uint32_t pictures(void)
{
	if (getenv("BITSHED_TEST_FULL"))
		return 5000;
	return getenv("BITSHED_TEST_SHORT") ? 50 : 300;
}

static int make_file(const char *path, struct error *e)
{
	char onnx[512], calibrate[512];
	struct import i = {.onnx = onnx, .output = path, .calibrate = calibrate, .has_preprocess = true,
		.samples = getenv("BITSHED_TEST_FULL") ? 512 : 16, .correct = getenv("BITSHED_TEST_FULL"),
		.preprocess = {.scale = 1 / 255.0f, .mean = {0.485f, 0.456f, 0.406f},
			.std = {0.229f, 0.224f, 0.225f, 1}},
		.options = {.quantizer = quantizer_find("bcq"), .planes = 8, .edge_planes = 8,
			.group_columns = 128, .activation_bits = 8, .seed = 1}};

	(void) snprintf(onnx, sizeof onnx, "%s", data_path("models/cifar10/akamaster_resnet20_static.onnx"));
	(void) snprintf(calibrate, sizeof calibrate, "%s", data_path("cifar10_train_20000.bin"));
	return import_run(&i, e);
}

static int import_file(struct real_network *f, struct error *e)
{
	_cleanup_close_ int fd = mkstemp(strcpy(f->imported, "/tmp/bitshed-real-XXXXXX"));

	f->path = f->imported;
	return fd < 0 ? -errno : make_file(f->imported, e);
}

static int open_file(struct real_network *f, struct error *e)
{
	_cleanup_close_ int model = open(f->path, O_RDONLY | O_CLOEXEC);
	struct preprocess p = {.scale = 1};
	int r;

	if (model < 0)
		return error_set(e, -errno, "%s: %m", f->path);
	r = network_open(&f->network, model, e);
	if (r >= 0)
		r = dataset_open(&f->data, data_path("cifar10_test_5000.bin"), NULL, e);
	return r < 0 ? r : samples_init(&f->samples, f->data, &p,
		f->network->values[f->network->input].shape, e);
}

void real_network_must(int r, const struct bitshed_error *e)
{
	if (r < 0)
		printf("%s: %s\n", e->name, e->text);
	CU_ASSERT_TRUE_FATAL(r >= 0);
}

void real_network_init(struct real_network *f, const char *path)
{
	struct bitshed_error e = {};
	struct error error = {};
	int r;

	f->path = path;
	f->count = pictures();
	r = path ? 0 : import_file(f, &error);
	if (r >= 0)
		r = open_file(f, &error);
	if (r < 0)
		printf("%s\n", error.text);
	CU_ASSERT_TRUE_FATAL(r >= 0);
	f->daemon = test_daemon_start(NULL);
	real_network_must(bitshed_open(&f->bus, test_bus_address(), &e), &e);
	real_network_must(bitshed_load(f->bus, "net", f->path, f->network->planes_max, &e), &e);
	real_network_must(bitshed_wait_ready(f->bus, "net", -1, &e), &e);
}

void real_network_done(struct real_network *f)
{
	(void) bitshed_close(f->bus);
	(void) test_daemon_stop(f->daemon);
	dataset_free(f->data);
	network_unref(f->network);
	if (f->imported[0])
		(void) unlink(f->imported);
}

int real_network_session(struct bitshed **bus, struct bitshed_session **session)
{
	int r = bitshed_open(bus, test_bus_address(), NULL);

	return r < 0 ? r : bitshed_session_open(session, *bus, "net", 1, NULL);
}
