/* SPDX-License-Identifier: Apache-2.0 */
/* Mean relative errors of many groups against the numbers of the literature's schemes, computed
 * elsewhere. */
#include "convert/quantize/fit.h"

#include <string.h>

#include "convert/samples.h"
#include "support/test.h"

#define N 128
#define GROUPS 400

typedef void recipe(struct fit *f);

/* Mean over groups of the relative error at p = index planes. */
static void measure(double *mean, recipe *fit_it, uint32_t n, int laplace)
{
	_cleanup_(fit_freep) struct fit *f = NULL;
	struct source samples = SAMPLES_INIT;
	float w[2048];

	memset(mean, 0, (BITS_PLANES_MAX + 1) * sizeof *mean);
	CU_ASSERT_EQUAL_FATAL(fit_new(&f, n), 0);
	for (int g = 0; g < GROUPS; g++) {
		sample_fill(&samples, w, n, laplace);
		fit_load(f, w, n);
		fit_it(f);
		for (uint32_t p = 1; p <= fit_state(f)->planes; p++)
			mean[p] += fit_state(f)->error[p] / fit_state(f)->error[0] / GROUPS;
	}
}

/* A little better is fine, much better means that something else was measured. */
static void check_near(const char *what, double got, double expected)
{
	if (!(got <= 1.03 * expected && got >= 0.94 * expected)) {
		printf("\n    %s: %.5f, expected %.5f\n", what, got, expected);
		CU_FAIL("error out of range");
	}
}

static void split_to_4(struct fit *f)
{
	while (fit_state(f)->planes < 4)
		fit_split(f, 1);
}

static void alternate_2(struct fit *f)
{
	fit_alternate(f, 2, 20);
}
static void alternate_3(struct fit *f)
{
	fit_alternate(f, 3, 20);
}
static void alternate_4(struct fit *f)
{
	fit_alternate(f, 4, 20);
}
static void alternate_5(struct fit *f)
{
	fit_alternate(f, 5, 20);
}

static void nested_from_2(struct fit *f)
{
	alternate_2(f);
	split_to_4(f);
}

static void nested_alternating_from_2(struct fit *f)
{
	alternate_2(f);
	while (fit_state(f)->planes < 4)
		fit_split(f, 20);
}

static void joint_from_2(struct fit *f)
{
	static const double lambda[4] = {1 / .36, 1 / .116, 1 / .037, 1 / .0115};

	nested_alternating_from_2(f);
	fit_joint(f, lambda, 25);
}

static void joint_favouring_4(struct fit *f)
{
	static const double lambda[4] = {0, .3 / .116, .5 / .037, 1 / .0115};

	nested_alternating_from_2(f);
	fit_joint(f, lambda, 25);
}

static void test_greedy_with_refit(void)
{
	static const double expected[] = {.3614, .1220, .0487, .0229};
	double mean[BITS_PLANES_MAX + 1];

	measure(mean, split_to_4, N, 0);
	for (int p = 1; p <= 4; p++)
		check_near("greedy, Gauss", mean[p], expected[p - 1]);
}

static void test_alternating(void)
{
	static recipe *const recipes[] = {alternate_2, alternate_3, alternate_4, alternate_5};
	static const double gauss[] = {.1132, .0340, .0093, .0024},
			    laplace[] = {.1682, .0535, .0147};
	double mean[BITS_PLANES_MAX + 1];

	for (int i = 0; i < 4; i++) {
		measure(mean, recipes[i], N, 0);
		check_near("alternating, Gauss", mean[i + 2], gauss[i]);
		if (i < 3) {
			measure(mean, recipes[i], N, 1);
			check_near("alternating, Laplace", mean[i + 2], laplace[i]);
		}
	}
}

static void test_nested(void)
{
	static const double plain[] = {.1134, .0392, .0170},
			    plain_laplace[] = {.1683, .0721, .0396};
	static const double alternating[] = {.3605, .1132, .0382, .0151};
	double mean[BITS_PLANES_MAX + 1];

	measure(mean, nested_from_2, N, 0);
	for (int p = 2; p <= 4; p++)
		check_near("nested, Gauss", mean[p], plain[p - 2]);
	measure(mean, nested_from_2, N, 1);
	for (int p = 2; p <= 4; p++)
		CU_ASSERT_TRUE(
			mean[p] <= plain_laplace[p - 2]); /* which had the greedy start alone */
	measure(mean, nested_alternating_from_2, N, 0);
	for (int p = 1; p <= 4; p++)
		check_near("nested and alternating, Gauss", mean[p], alternating[p - 1]);
}

static void test_joint(void)
{
	static const double gauss[] = {.3606, .1161, .0354, .0119},
			    laplace[] = {.4964, .1745, .0620, .0226};
	static const double favoured[] = {.3628, .1207, .0350, .0110},
			    large[] = {.3632, .1241, .0372, .0125};
	double mean[BITS_PLANES_MAX + 1];

	measure(mean, joint_from_2, N, 0);
	for (int p = 1; p <= 4; p++)
		check_near("joint, Gauss", mean[p], gauss[p - 1]);
	measure(mean, joint_from_2, N, 1);
	for (int p = 1; p <= 4; p++)
		check_near("joint, Laplace", mean[p], laplace[p - 1]);
	measure(mean, joint_favouring_4, N, 0);
	for (int p = 1; p <= 4; p++)
		check_near("joint, favouring 4 planes", mean[p], favoured[p - 1]);
	measure(mean, joint_from_2, 2048, 0);
	for (int p = 1; p <= 4; p++)
		check_near("joint, 2048 weights", mean[p], large[p - 1]);
}

static void test_one_plane_is_sign_and_mean(void)
{
	static const float w[] = {3, -1, 0, -4, -0.0f};
	_cleanup_(fit_freep) struct fit *f = NULL;
	uint8_t codes[5];
	float alpha;

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, 5), 0);
	fit_load(f, w, 5);
	fit_store(f, &alpha, codes);
	CU_ASSERT_DOUBLE_EQUAL(alpha, 8.0 / 5, 1e-6);
	CU_ASSERT_EQUAL(memcmp(codes, (uint8_t[]){1, 0, 1, 0, 1}, 5), 0);
}

static void test_error_never_rises(void)
{
	static const double lambda[6] = {0, 0, 0, 0, 0, 1};
	_cleanup_(fit_freep) struct fit *f = NULL;
	struct source samples = SAMPLES_INIT;
	float w[N];

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, N), 0);
	sample_fill(&samples, w, N, 1);
	fit_load(f, w, N);
	while (fit_state(f)->planes < 6)
		fit_split(f, 1);
	for (int i = 0; i < 30; i++) {
		double before = fit_state(f)->error[6];

		fit_joint(f, lambda, 1);
		CU_ASSERT_TRUE(fit_state(f)->error[6] <= before * (1 + 1e-12));
	}
}

/* The errors that the solver reports against those of the stored codes and scales, weight by
 * weight. */
static void check_stored(const float *w, uint32_t n, uint32_t planes)
{
	_cleanup_(fit_freep) struct fit *f = NULL;
	float alpha[BITS_PLANES_MAX];
	uint8_t codes[N];
	double error = 0;

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, n), 0);
	fit_load(f, w, n);
	fit_alternate(f, planes, 20);
	fit_store(f, alpha, codes);
	for (uint32_t i = 0; i < n; i++) {
		double v = 0;

		for (uint32_t p = 0; p < planes; p++)
			v += codes[i] >> (planes - 1 - p) & 1 ? alpha[p] : -alpha[p];
		error += (w[i] - v) * (w[i] - v);
	}
	for (uint32_t p = 0; p < planes; p++)
		CU_ASSERT_TRUE(alpha[p] >= 0 && isfinite(alpha[p]));
	CU_ASSERT_DOUBLE_EQUAL(
		error, fit_state(f)->error[planes], 1e-6 * (1 + fit_state(f)->error[0]));
}

static void test_odd_groups(void)
{
	static const float zeros[9] = {0}, equal[9] = {2, 2, 2, 2, 2, 2, 2, 2, 2},
			   two[9] = {1, 5, 1, 5, 1};
	struct source samples = SAMPLES_INIT;
	float w[N];

	for (uint32_t planes = 1; planes <= 8; planes++) {
		check_stored(zeros, 9, planes);
		check_stored(equal, 9, planes);
		check_stored(two, 9, planes);
		check_stored(two, 1, planes);
		sample_fill(&samples, w, N, 0);
		check_stored(w, N, planes);
	}
}

TEST_MAIN("fit", TEST(greedy_with_refit), TEST(alternating), TEST(nested), TEST(joint),
	TEST(one_plane_is_sign_and_mean), TEST(error_never_rises), TEST(odd_groups))
