/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/gptq.h"

#include <errno.h>
#include <string.h>

#include "convert/moments.h"
#include "support/test.h"

#define ROWS 24
#define COLUMNS 192
#define SAMPLES 600

static float weights[ROWS * COLUMNS];
static double moment[COLUMNS * COLUMNS];

static void test_draw(void)
{
	struct source samples = SAMPLES_INIT;
	static double x[COLUMNS];

	sample_fill(&samples, weights, ROWS * COLUMNS, 0);
	moments_draw(&samples, moment, x, COLUMNS, SAMPLES);
}

static void decode(float *out, const struct coded *c, const float *alpha, uint32_t planes)
{
	for (uint32_t i = 0; i < ROWS * COLUMNS; i++) {
		uint32_t group = i / COLUMNS * c->groups + i % COLUMNS / c->group_columns;

		out[i] = 0;
		for (uint32_t p = 0; p < planes; p++)
			out[i] += c->codes[i] >> (c->planes - 1 - p) & 1
					  ? alpha[group * planes + p]
					  : -alpha[group * planes + p];
	}
}

/* Error of the layer's output relative to the output, all rows. */
static double output_error(
	const struct metric *m, const struct coded *c, const float *alpha, uint32_t planes)
{
	static float values[ROWS * COLUMNS], zero[COLUMNS];
	double error = 0, square = 0;

	decode(values, c, alpha, planes);
	for (uint32_t row = 0; row < ROWS; row++) {
		error += metric_error(m, weights + row * COLUMNS, values + row * COLUMNS);
		square += metric_error(m, weights + row * COLUMNS, zero);
	}
	return error / square;
}

static void test_output_errs_less_than_without_compensation(void)
{
	_cleanup_(metric_freep) struct metric *m = NULL;

	CU_ASSERT_EQUAL_FATAL(metric_new(&m, moment, COLUMNS, NULL, NULL), 0);
	for (uint32_t planes = 1; planes <= 4; planes++) {
		struct quantize_options options = {.planes = planes, .group_columns = 128};
		_cleanup_(coded_done) struct coded plain = {0}, gptq = {0};
		double before, after;

		CU_ASSERT_EQUAL_FATAL(
			quantizer_find("bcq")->run(&plain, weights, ROWS, COLUMNS, &options, NULL),
			0);
		CU_ASSERT_EQUAL_FATAL(
			quantize_gptq(&gptq, weights, ROWS, COLUMNS, moment, &options, NULL), 0);
		before = output_error(m, &plain, plain.alpha, planes);
		after = output_error(m, &gptq, gptq.alpha, planes);
		printf("\n    %u planes: %.5f without, %.5f with", planes, before, after);
		CU_ASSERT_TRUE(after < 0.4 * before);
	}
	printf("\n  ");
}

static void test_every_prefix_is_a_good_model(void)
{
	struct quantize_options options = {.planes = 4, .group_columns = 128};
	_cleanup_(metric_freep) struct metric *m = NULL;
	_cleanup_(coded_done) struct coded nested = {0}, plain = {0};
	static float alpha[ROWS * 2 * 4], plain_alpha[ROWS * 2 * 4];

	CU_ASSERT_EQUAL_FATAL(metric_new(&m, moment, COLUMNS, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		quantize_gptq(&nested, weights, ROWS, COLUMNS, moment, &options, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		quantizer_find("bcq")->run(&plain, weights, ROWS, COLUMNS, &options, NULL), 0);
	for (uint32_t planes = 2; planes <= 4; planes++) {
		float *at[4] = {}, *plain_at[4] = {};

		at[planes - 1] = alpha;
		plain_at[planes - 1] = plain_alpha;
		CU_ASSERT_EQUAL(gptq_scales(at, &nested, weights, 0, ROWS, m), 0);
		CU_ASSERT_EQUAL(gptq_scales(plain_at, &plain, weights, 0, ROWS, m), 0);
		double with = output_error(m, &nested, alpha, planes);
		double without = output_error(m, &plain, plain_alpha, planes);

		printf("\n    %u of 4 planes: %.5f, plain codes with the same scales %.5f", planes,
			with, without);
		CU_ASSERT_TRUE(with < 0.6 * without);
	}
	printf("\n  ");
	for (int i = 0; i < ROWS * 2 * 4; i++) /* the last refit is the one that is stored */
		CU_ASSERT_DOUBLE_EQUAL(alpha[i], nested.alpha[i], 1e-5);
}

static void test_scales_are_optimal(void)
{
	struct quantize_options options = {.planes = 2, .group_columns = 64};
	_cleanup_(metric_freep) struct metric *m = NULL;
	_cleanup_(coded_done) struct coded c = {0};

	CU_ASSERT_EQUAL_FATAL(metric_new(&m, moment, COLUMNS, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(quantize_gptq(&c, weights, ROWS, COLUMNS, moment, &options, NULL), 0);
	double best = output_error(m, &c, c.alpha, 2);
	for (uint32_t i = 0; i < 6; i++)
		for (int sign = -1; sign <= 1; sign += 2) {
			c.alpha[i] *= 1 + 0.02f * (float) sign;
			CU_ASSERT_TRUE(output_error(m, &c, c.alpha, 2) > best);
			c.alpha[i] /= 1 + 0.02f * (float) sign;
		}
}

static void test_rows_are_independent(void)
{
	struct quantize_options options = {.planes = 3, .group_columns = 64};
	_cleanup_(metric_freep) struct metric *m = NULL;
	_cleanup_(coded_done) struct coded whole = {0}, parts = {0};

	CU_ASSERT_EQUAL_FATAL(metric_new(&m, moment, COLUMNS, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		quantize_gptq(&whole, weights, ROWS, COLUMNS, moment, &options, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		coded_allocate(&parts, CODING_SUM, ROWS, COLUMNS, 64, 3, false, NULL), 0);
	CU_ASSERT_EQUAL(gptq_rows(&parts, weights, 10, ROWS, m, &options, NULL), 0);
	CU_ASSERT_EQUAL(gptq_rows(&parts, weights, 0, 10, m, &options, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(whole.codes, parts.codes, ROWS * COLUMNS), 0);
	CU_ASSERT_EQUAL(memcmp(whole.alpha, parts.alpha, sizeof(float) * ROWS * 3 * 3), 0);
}

/* No inputs seen, inputs always zero, rows of zeros: an answer that decodes to finite weights. */
static void test_odd_inputs(void)
{
	static const float zeros[2 * 9] = {0},
				     some[2 * 9] = {1, -2, 3, 4, -5, 6, 7, 8, 9, -1, 2, 3};
	struct quantize_options options = {.planes = 4, .group_columns = 128};
	struct error e = {0};
	double h[81] = {0};

	for (int dead = 9; dead >= 0; dead -= 3) {
		_cleanup_(coded_done) struct coded a = {0}, b = {0};

		for (int i = dead; i < 9; i++)
			h[i * 10] = 2;
		CU_ASSERT_EQUAL_FATAL(quantize_gptq(&a, zeros, 2, 9, h, &options, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(quantize_gptq(&b, some, 2, 9, h, &options, NULL), 0);
		for (uint32_t i = 0; i < 9; i++)
			CU_ASSERT_TRUE(
				coded_value(&a, 1, i) == 0 && isfinite(coded_value(&b, 0, i)));
	}
	struct coded c = {0};
	h[1] = h[9] = 1000; /* no second moment has this */
	CU_ASSERT_EQUAL(quantize_gptq(&c, some, 2, 9, h, &options, &e), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not positive"));
	h[5] = NAN;
	CU_ASSERT_EQUAL(quantize_gptq(&c, some, 2, 9, h, &options, &e), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not finite"));
}

TEST_MAIN("gptq", TEST(draw), TEST(output_errs_less_than_without_compensation),
	TEST(every_prefix_is_a_good_model), TEST(scales_are_optimal), TEST(rows_are_independent),
	TEST(odd_inputs))
