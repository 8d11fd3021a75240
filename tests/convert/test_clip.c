/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of known distributions, as a histogram has them. */
#include "convert/clip.h"

#include <string.h>

#include "convert/samples.h"
#include "support/test.h"

#define N 400000
#define LIMIT 16

static uint64_t bins[CALIBRATE_BINS];
static struct value_statistics values = {.limit = LIMIT, .bins = bins};

/* @positive: what is below 0 becomes 0, as after ReLU. */
static void fill(int laplace, bool positive)
{
	struct source s = SAMPLES_INIT;

	memset(bins, 0, sizeof bins);
	values.low = values.high = 0;
	for (int i = 0; i < N; i++) {
		float x = laplace ? sample_laplace(&s) : sample_gauss(&s);

		x = positive && x < 0 ? 0 : x;
		x = fminf(fmaxf(x, -LIMIT), LIMIT - 0.01f);
		bins[(int) ((x + LIMIT) / (2 * LIMIT) * CALIBRATE_BINS)]++;
		values.low = fminf(values.low, x);
		values.high = fmaxf(values.high, x);
	}
}

static void check(const char *name, uint32_t bits, double low, double high, double tolerance)
{
	float have_low = values.low, have_high = values.high;

	clips[clip_find(name)].choose(&values, bits, &have_low, &have_high);
	if (!(fabs(have_low - low) <= tolerance && fabs(have_high - high) <= tolerance)) {
		printf("\n    %s, %u bits: %.3f to %.3f, expected %.3f to %.3f\n", name, bits, have_low, have_high, low,
			high);
		CU_FAIL("another range");
	}
}

static void test_percentiles(void)
{
	fill(0, false);
	check("percentile", 4, -2.576, 2.576, .03); /* 0.5 % on each side */
	check("percentile", 6, -3.09, 3.09, .05);
	check("percentile", 8, -3.72, 3.72, .12);
	fill(0, true);
	check("percentile", 4, 0, 2.576, .03);
}

/* methods C8: the constants times what was drawn; mean magnitude of Laplace is 1. */
static void test_aciq(void)
{
	fill(0, false);
	check("aciq", 4, -2.55, 2.55, .03);
	check("aciq", 8, -3.92, 3.92, .04);
	fill(0, true);
	check("aciq", 4, 0, 2.93, .04);
	fill(1, false);
	check("aciq", 4, -5.03, 5.03, .06);
	fill(1, true);
	check("aciq", 4, 0, 6.2, .08);
}

/* The outer levels of the best mid-rise grids (methods E1), 7.5 and 3.5 steps out. */
static void test_mse(void)
{
	fill(0, false);
	check("mse", 4, -2.514, 2.514, .1);
	check("mse", 3, -2.051, 2.051, .1);
	fill(1, false);
	check("mse", 4, -3.69 * sqrt(2), 3.69 * sqrt(2), .5);
}

/* Outliers that are worth nothing are cut off, the body stays. */
static void test_kl(void)
{
	float low, high;

	fill(0, true);
	bins[CALIBRATE_BINS - 2] += 3;
	low = 0;
	high = values.high = LIMIT - 0.01f;
	clips[CLIP_KL].choose(&values, 8, &low, &high);
	if (!(low == 0 && high > 2.3f && high < 8)) {
		printf("\n    kl: %.3f to %.3f\n", low, high);
		CU_FAIL("another range");
	}
}

static void test_empty_and_names(void)
{
	memset(bins, 0, sizeof bins);
	for (int c = 0; c < _CLIP_MAX; c++) {
		float low = -1, high = 2;

		CU_ASSERT_EQUAL((int) clip_find(clips[c].name), c);
		for (uint32_t bits = 1; clips[c].choose && bits <= 8; bits++) {
			clips[c].choose(&values, bits, &low, &high);
			CU_ASSERT_TRUE(low >= -1 && low <= 0 && high >= 0 && high <= 2);
		}
	}
	CU_ASSERT_EQUAL(clip_find("none"), _CLIP_MAX);
}

TEST_MAIN("clip", TEST(percentiles), TEST(aciq), TEST(mse), TEST(kl), TEST(empty_and_names))
