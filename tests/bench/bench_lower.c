/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Milliseconds of a change of width: one matrix of 11 million weights in groups of 128, in memory, so
 * that reading of planes is not in it.
 *
 *	bench_lower [rounds]
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/fd.h"
#include "convert/model_write.h"
#include "engine/lower.h"
#include "support/network.h"

#define ROWS 2400
#define COLUMNS 4608
#define GROUPS (COLUMNS / 128)
#define PLANES 4

/* The input is a vector of COLUMNS channels, zero point as after a ReLU unless @zero. */
static struct network *make_network(enum coding coding, bool offset, uint8_t zero)
{
	static struct value values[2];
	static struct op ops[2];
	static struct matrix matrix;
	_cleanup_close_ int fd = memfd_create("bench", MFD_CLOEXEC);
	uint64_t *planes[PLANES], *const *all = planes, state = 1;
	struct network n = {.fd = -1, .values = values, .n_values = 2, .ops = ops, .n_ops = 2,
		.matrices = &matrix, .n_matrices = 1, .input = 0, .output = 1};
	struct network *ret = NULL;
	struct error e = {0};
	size_t floats = (size_t) ROWS * GROUPS * PLANES;
	float *scales = malloc(floats * sizeof *scales);
	float *bias = calloc(ROWS * GROUPS, sizeof *bias);

	values[0] = (struct value) {ELEMENT_U8, {1, 1, COLUMNS}, 1, zero};
	values[1] = (struct value) {ELEMENT_F32, {1, 1, ROWS}, 1, 0};
	ops[0] = (struct op) {.kind = OP_INPUT};
	ops[1] = (struct op) {.kind = OP_CONVOLUTION, .n_inputs = 1, .output = 1, .kernel_h = 1,
		.kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .groups = 1,
		.activation_bits = 8, .clamp_high = 255};
	for (size_t i = 0; i < floats; i++)
		scales[i] = coding == CODING_LEVEL ? (float) (i % (1 << PLANES))
						   : 1.0f / (float) (1 << i % PLANES);
	matrix = (struct matrix) {.rows = ROWS, .columns = COLUMNS, .row_bits = COLUMNS,
		.group_columns = 128, .groups = GROUPS, .planes = PLANES, .coding = coding,
		.alpha = coding == CODING_SUM ? scales : NULL, .offset = offset ? bias : NULL,
		.level = coding == CODING_LEVEL ? scales : NULL, .bias = bias};
	for (int p = 0; p < PLANES; p++) {
		planes[p] = malloc((size_t) ROWS * COLUMNS / 8);
		for (size_t i = 0; i < (size_t) ROWS * COLUMNS / 64; i++)
			planes[p][i] = test_random(&state);
	}
	if (model_write_fd(fd, &n, &all, &e) < 0 || network_open(&ret, fd, &e) < 0)
		(void) fprintf(stderr, "bench_lower: %s\n", e.text);
	for (int p = 0; p < PLANES; p++)
		free(planes[p]);
	free(scales);
	free(bias);
	return ret;
}

static void measure(const char *name, struct network *n, double bits, int rounds)
{
	_cleanup_(model_unrefp) struct model *full = NULL;
	double best = INFINITY, sum = 0;

	if (model_build(&full, n, PLANES, NULL) < 0)
		return;
	for (int i = 0; i < rounds; i++) {
		_cleanup_(model_unrefp) struct model *m = NULL;
		uint64_t begin = clock_now_nsec();
		double ms;

		if (model_build(&m, n, bits, NULL) < 0)
			return;
		ms = (double) (clock_now_nsec() - begin) / 1e6;
		best = fmin(best, ms);
		sum += ms;
	}
	printf("%-28s 4 -> %g bits  best %6.2f ms  mean %6.2f ms\n", name, bits, best, sum / rounds);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum coding coding;
		bool offset;
		uint8_t zero;
	} cases[] = {
		{"sum", CODING_SUM, false, 0},
		{"sum, zero point", CODING_SUM, false, 3},
		{"sum, offset", CODING_SUM, true, 0},
		{"level", CODING_LEVEL, false, 0},
	};
	int rounds = argc > 1 ? atoi(argv[1]) : 3;

	printf("%d weights, groups of 128\n", ROWS * COLUMNS);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(network_unrefp) struct network *n = NULL;

		n = make_network(cases[i].coding, cases[i].offset, cases[i].zero);
		if (!n)
			return 1;
		for (double bits = PLANES; bits >= 1; bits--)
			measure(cases[i].name, n, bits, rounds);
	}
	return 0;
}
