/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every classification network of the test data, imported, folded and run by the fp32 interpreter. The
 * first images are compared with counts of our own full run; BITSHED_TEST_FULL=1 runs all of them and
 * compares with what other software measured, within 0.1 point.
 */
#include "accuracy.h"
#include "net_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "convert/dataset.h"
#include "support/data.h"

struct subject {
	struct net *net;
	struct reference *reference;
	struct dataset *data;
	uint8_t *pixels;
	float *input;
	struct preprocess preprocess;
};

static bool read_net(const char *path, struct net **ret)
{
	struct error e = {0};
	int r = net_file_read(ret, path, true, &e);

	if (r < 0)
		printf("%s: %s\n", path, error_text(&e, r));
	return r >= 0;
}

static bool open_data(const char *folder, const struct accuracy_row *row, struct subject *s)
{
	char path[512], labels[512];
	struct error e = {0};

	(void) snprintf(path, sizeof path, "%s/%s", folder, row->data);
	(void) snprintf(labels, sizeof labels, "%s/%s", folder, row->labels ?: "");
	if (dataset_open(&s->data, path, row->labels ? labels : NULL, &e) < 0) {
		printf("%s: %s\n", path, e.text);
		return false;
	}
	return !row->size || dataset_resize(s->data, row->size, row->size) >= 0;
}

static bool subject_init(struct subject *s, const char *folder, const struct accuracy_row *row)
{
	char path[512];
	uint32_t h, w, c;

	(void) snprintf(path, sizeof path, "%s/models/%s", folder, row->net);
	if (!read_net(path, &s->net) || !open_data(folder, row, s) ||
		reference_new(&s->reference, s->net) < 0)
		return false;
	dataset_shape(s->data, &h, &w, &c);
	if ((size_t) h * w * c != net_elements(&s->net->values[s->net->input].shape)) {
		printf("%s: %ux%ux%u pixels do not fit\n", row->net, h, w, c);
		return false;
	}
	s->pixels = malloc((size_t) h * w * c);
	s->input = calloc((size_t) h * w * c, sizeof *s->input);
	s->preprocess.scale = row->scale;
	s->preprocess.bgr = row->bgr;
	memcpy(s->preprocess.mean, row->mean, sizeof row->mean);
	memcpy(s->preprocess.std, row->std, sizeof row->std);
	return s->pixels && s->input;
}

static void subject_done(struct subject *s)
{
	free(s->pixels);
	free(s->input);
	reference_free(s->reference);
	dataset_free(s->data);
	net_free(s->net);
}

static bool is_right(struct subject *s, const struct accuracy_row *row, uint32_t i)
{
	size_t classes = net_elements(&s->net->values[s->net->output].shape), best = 0;
	uint32_t h, w, c;
	const float *out;

	dataset_shape(s->data, &h, &w, &c);
	if (dataset_is_pixels(s->data)) {
		if (dataset_pixels(s->data, i, s->pixels) < 0)
			return false;
		preprocess_chw(&s->preprocess, s->pixels, h, w, c, s->input);
	} else if (dataset_floats(s->data, i, s->input) < 0)
		return false;
	reference_run(s->reference, s->input);
	out = reference_value(s->reference, s->net->output);
	for (size_t k = 1; k < classes; k++)
		if (out[k] > out[best])
			best = k;
	return (int) best - (int) row->offset == dataset_label(s->data, i);
}

static double seconds(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void run_row(const char *folder, const struct accuracy_row *row, bool full)
{
	struct subject s = {0};
	uint32_t n, right = 0, subset_right = 0;
	bool ok = subject_init(&s, folder, row);
	double start = seconds();

	CU_ASSERT_TRUE(ok);
	if (!ok) {
		subject_done(&s);
		return;
	}
	n = full ? dataset_count(s.data) : row->subset;
	for (uint32_t i = 0; i < n; i++) {
		right += is_right(&s, row, i);
		if (i + 1 == row->subset)
			subset_right = right;
	}
	printf("%-55s %5u items %6.2f %% (catalogue %5.2f), first %u: %u, %6.2f ms each\n", row->net, n,
		100.0 * right / n, (double) row->top1, row->subset, subset_right,
		1e3 * (seconds() - start) / n);
	(void) fflush(stdout);
	CU_ASSERT_EQUAL(subset_right, row->subset_right);
	if (full)
		CU_ASSERT_TRUE(fabs(100.0 * right / n - (double) row->top1) <= 0.1001);
	subject_done(&s);
}

static void test_networks_are_as_right_as_the_catalogue_says(void)
{
	const char *folder = test_data(), *only = getenv("BITSHED_TEST_ONLY");
	bool full = getenv("BITSHED_TEST_FULL");

	printf("\n");
	for (size_t i = 0; i < ARRAY_SIZE(accuracy_rows); i++)
		if (!only || strstr(accuracy_rows[i].net, only))
			run_row(folder, &accuracy_rows[i], full);
}

TEST_MAIN("accuracy", TEST(networks_are_as_right_as_the_catalogue_says))
