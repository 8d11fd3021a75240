/* SPDX-License-Identifier: Apache-2.0 */
/* Plain int8 with and without error compensation, in the metric of inputs that depend on each other. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "convert/calibrated.h"
#include "convert/integer.h"
#include "convert/quantize/gptq.h"
#include "support/test.h"

#define ROWS 12
#define COLUMNS 96

static float weights[ROWS * COLUMNS];
static double moment[COLUMNS * COLUMNS];

/* Neighbouring columns see nearly the same: what a smooth picture gives. */
static void draw(void)
{
	uint32_t state = 1;

	for (int i = 0; i < ROWS * COLUMNS; i++) {
		state = state * 1664525 + 1013904223;
		weights[i] = (float) (state >> 8) / (1 << 23) - 1;
	}
	for (int i = 0; i < COLUMNS; i++)
		for (int j = 0; j < COLUMNS; j++)
			moment[i * COLUMNS + j] = pow(0.9, abs(i - j));
}

static double output_error(const struct metric *m, const struct coded *c, const float *row_scale)
{
	double sum = 0;

	for (uint32_t row = 0; row < ROWS; row++) {
		float values[COLUMNS];

		for (uint32_t t = 0; t < COLUMNS; t++)
			values[t] = row_scale[row] * coded_value(c, row, t);
		sum += metric_error(m, weights + row * COLUMNS, values);
	}
	return sum;
}

static void test_compensated_grid_keeps_the_output_better(void)
{
	_cleanup_(metric_freep) struct metric *m = NULL;
	_cleanup_(coded_done) struct coded plain = {}, compensated = {};
	struct second_moment inputs = {.groups = 1, .h = moment};
	float scale[ROWS], same[ROWS];

	draw();
	CU_ASSERT_EQUAL_FATAL(metric_new(&m, moment, COLUMNS, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(integer_grid(&plain, scale, weights, ROWS, COLUMNS), 0);
	CU_ASSERT_EQUAL_FATAL(calibrated_grid(&compensated, same, weights, ROWS, COLUMNS, &inputs, NULL, NULL), 0);
	for (int row = 0; row < ROWS; row++)
		CU_ASSERT_EQUAL(scale[row], same[row]);
	CU_ASSERT_TRUE(output_error(m, &compensated, same) < 0.5 * output_error(m, &plain, scale));
	for (int i = 0; i < ROWS * COLUMNS; i++)
		CU_ASSERT_TRUE_FATAL(compensated.codes[i] >= 1);
}

static void test_every_group_has_its_own_metric(void)
{
	_cleanup_(coded_done) struct coded c = {}, half = {};
	static double moments[2 * COLUMNS * COLUMNS];
	struct second_moment inputs = {.groups = 2, .h = moments}, second = {.groups = 1, .h = moment};
	float scale[ROWS], half_scale[ROWS / 2];

	draw();
	for (int i = 0; i < COLUMNS * COLUMNS; i++) {
		moments[i] = i / COLUMNS == i % COLUMNS;
		moments[COLUMNS * COLUMNS + i] = moment[i];
	}
	CU_ASSERT_EQUAL_FATAL(calibrated_grid(&c, scale, weights, ROWS, COLUMNS, &inputs, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(calibrated_grid(&half, half_scale, weights + ROWS / 2 * COLUMNS, ROWS / 2, COLUMNS,
		&second, NULL, NULL), 0);
	for (int i = 0; i < ROWS / 2 * COLUMNS; i++)
		CU_ASSERT_EQUAL_FATAL(c.codes[ROWS / 2 * COLUMNS + i], half.codes[i]);
}

static void test_broken_moments_are_refused(void)
{
	_cleanup_(coded_done) struct coded c = {};
	struct second_moment inputs = {.groups = 1, .h = moment};
	float scale[ROWS];

	draw();
	moment[5] = NAN;
	CU_ASSERT_EQUAL(calibrated_grid(&c, scale, weights, ROWS, COLUMNS, &inputs, NULL, NULL), -EINVAL);
	CU_ASSERT_PTR_NULL(c.codes);
}

TEST_MAIN("calibrated_grid", TEST(compensated_grid_keeps_the_output_better),
	TEST(every_group_has_its_own_metric), TEST(broken_moments_are_refused))
