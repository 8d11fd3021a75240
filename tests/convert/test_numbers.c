/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The errors that schemes are known to make: analytic ones of scalar quantizers on a density, and means over many
 * random groups. Where the library has the scheme, the library is asked; the rest is what it is compared with.
 */
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/quantize/method.h"
#include "convert/samples.h"
#include "engine/lower.h"
#include "support/test.h"

enum density {
	GAUSS,
	LAPLACE,
};

/* Of unit variance. */
static double density_at(enum density d, double x)
{
	return d == GAUSS ? exp(-x * x / 2) / sqrt(2 * M_PI) : exp(-fabs(x) * M_SQRT2) / M_SQRT2;
}

#define TAIL 14.0
#define POINTS 5600

static double error_on(enum density d, const float *levels, uint32_t n, double scale)
{
	double sum = 0;

	for (int i = 0; i < POINTS; i++) {
		double x = TAIL * ((i + 0.5) / POINTS * 2 - 1);
		double e = x - scale * (double) levels[levels_nearest(levels, n, (float) (x / scale))];

		sum += density_at(d, x) * e * e;
	}
	return sum * 2 * TAIL / POINTS;
}

/* The smallest over scales; @ret_scale may be NULL. */
static double best_error(enum density d, const float *levels, uint32_t n, double *ret_scale)
{
	double largest = fmax((double) levels[n - 1], -(double) levels[0]), best = 0, at = 1;

	for (int i = 0; i < 60; i++) {
		double scale = pow(1.05, i) * 0.5 / largest, error = error_on(d, levels, n, scale);

		if (i == 0 || error < best) {
			best = error;
			at = scale;
		}
	}
	for (double f = 1.05; f > 1.0005; f = 1 + (f - 1) / 2)
		for (int side = -1; side <= 1; side += 2) {
			double scale = at * pow(f, side), error = error_on(d, levels, n, scale);

			if (error < best) {
				best = error;
				at = scale;
			}
		}
	if (ret_scale)
		*ret_scale = at;
	return best;
}

static void near(const char *what, double got, double expected, double tolerance)
{
	if (!(fabs(got / expected - 1) <= tolerance)) {
		printf("\n    %s: %.5f, expected %.5f\n", what, got, expected);
		CU_FAIL("out of tolerance");
	}
}

/* E1: @n levels, @first + i. */
static void check_uniform(const char *what, uint32_t n, double first, const double expected[2])
{
	float levels[32];

	for (uint32_t i = 0; i < n; i++)
		levels[i] = (float) (first + i);
	for (int d = GAUSS; d <= LAPLACE; d++)
		near(what, best_error(d, levels, n, NULL), expected[d], .004);
}

static void test_uniform_quantizers(void)
{
	static const double rise[5][2] = {
		{.36338, .5}, {.11885, .19630}, {.03744, .07174}, {.01154, .02535}, {.00350, .00871}};
	static const double tread[4][2] = {{.19017, .26424}, {.04686, .08308}, {.01289, .02739}, {.00369, .00908}};
	static const double twos[4][2] = {{.14943, .20699}, {.04064, .07199}, {.01186, .02526}, {.00353, .00869}};
	static const double steps[] = {.9957, .5860, .3352, .1881};
	float levels[32];

	for (uint32_t b = 1; b <= 5; b++)
		check_uniform("mid-rise", 1u << b, -0.5 * ((1 << b) - 1), rise[b - 1]);
	for (uint32_t b = 2; b <= 5; b++) {
		double step;

		check_uniform("mid-tread", (1u << b) - 1, -((1 << (b - 1)) - 1), tread[b - 2]);
		check_uniform("two's complement", 1u << b, -(1 << (b - 1)), twos[b - 2]);
		for (int i = 0; i < 1 << b; i++)
			levels[i] = (float) (i - 0.5 * ((1 << b) - 1));
		(void) best_error(GAUSS, levels, 1u << b, &step);
		near("step of mid-rise", step, steps[b - 2], .01);
	}
}

static void test_powers_of_two(void)
{
	static const double nine[] = {.03987, .04750}, seventeen[] = {.03773, .03822}, seven[] = {.04756, .07068};
	static const float few[] = {-4, -2, -1, 0, 1, 2, 4};

	for (int d = GAUSS; d <= LAPLACE; d++) {
		float levels[17] = {0};

		for (int n = 4; n <= 8; n += 4) {
			for (int i = 0; i < n; i++) {
				levels[i] = -ldexpf(1, -i);
				levels[2 * n - i] = ldexpf(1, -i);
			}
			levels[n] = 0;
			near("powers of two", best_error(d, levels, (uint32_t) (2 * n + 1), NULL),
				n == 4 ? nine[d] : seventeen[d], .005);
		}
		near("0, 1, 2, 4", best_error(d, few, 7, NULL), seven[d], .005);
	}
}

/* Threshold @delta times the mean magnitude; the scale is the mean of what is above. */
static double ternary_error(enum density d, double delta)
{
	double mean = 0, above = 0, mass = 0, square = 0;

	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < POINTS; i++) {
			double x = TAIL * (i + 0.5) / POINTS, p = 2 * density_at(d, x) * TAIL / POINTS;

			if (pass == 0)
				mean += p * x;
			square += pass * p * x * x;
			if (pass == 1 && x > delta * mean) {
				above += p * x;
				mass += p;
			}
		}
	return square - above * above / mass;
}

static void test_ternary_thresholds(void)
{
	near("TWN .7", ternary_error(GAUSS, .7), .19164, .004);
	near("TWN .7", ternary_error(LAPLACE, .7), .28248, .004);
	near("TWN .75", ternary_error(GAUSS, .75), .19027, .004);
	near("TWN .75", ternary_error(LAPLACE, .75), .27672, .004);
	near("best threshold", ternary_error(GAUSS, .767), .19017, .004);
	near("best threshold", ternary_error(LAPLACE, 1), .26424, .004);
}

/* k-means of very many evenly spread quantiles is Lloyd-Max. */
static void test_lloyd_max(void)
{
	static const double expected[2][4] = {
		{.11748, .03455, .00950, .00251}, {.17619, .05447, .01537, .00410}};
	static float w[60000];
	struct source s = SAMPLES_INIT;

	for (int d = GAUSS; d <= LAPLACE; d++) {
		sample_fill(&s, w, ARRAY_SIZE(w), d);
		for (uint32_t planes = 2; planes <= 5; planes++) {
			struct quantize_options o = {.planes = planes, .per_tensor = true};
			_cleanup_(coded_done) struct coded c = {0};
			double error = 0, square = 0;

			CU_ASSERT_EQUAL_FATAL(quantizer_find("kmeans")->run(&c, w, 1, ARRAY_SIZE(w), &o, NULL), 0);
			for (uint32_t i = 0; i < ARRAY_SIZE(w); i++) {
				double e = (double) w[i] - (double) coded_value(&c, 0, i);

				error += e * e;
				square += (double) w[i] * (double) w[i];
			}
			near("Lloyd-Max", error / square, expected[d][planes - 2], .04);
		}
	}
}

#define N_MAX 2048

typedef void recipe(struct fit *f, uint32_t planes);

/* E2, E4: mean over groups of the relative error at @planes planes. */
static double mean_error(recipe *make, uint32_t planes, uint32_t n, enum density d)
{
	_cleanup_(fit_freep) struct fit *f = NULL;
	struct source samples = SAMPLES_INIT;
	uint32_t groups = n > 1000 ? 40 : n < 20 ? 4000 : 400;
	float w[N_MAX];
	double sum = 0;

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, n), 0);
	for (uint32_t g = 0; g < groups; g++) {
		sample_fill(&samples, w, n, d);
		fit_load(f, w, n);
		make(f, planes);
		sum += fit_state(f)->error[planes] / fit_state(f)->error[0] / groups;
	}
	return sum;
}

static void greedy(struct fit *f, uint32_t planes)
{
	while (fit_state(f)->planes < planes)
		fit_split(f, 1);
}

static void alternate(struct fit *f, uint32_t planes)
{
	double lambda[BITS_PLANES_MAX] = {0};

	lambda[planes - 1] = 1;
	fit_joint(f, lambda, 20);
}

static void from_greedy(struct fit *f, uint32_t planes)
{
	greedy(f, planes);
	if (planes > 1)
		alternate(f, planes);
}

static void from_uniform(struct fit *f, uint32_t planes)
{
	struct fit_state best, *s = fit_state(f);
	double largest = 0, lambda[BITS_PLANES_MAX] = {0};

	if (planes == 1)
		return;
	lambda[planes - 1] = 1;
	largest = 2.6 * sqrt(s->error[0] / 128); /* of as many normal weights, about */
	best.error[planes] = INFINITY;
	for (int percent = 30; percent <= 120; percent++) {
		s->planes = planes;
		for (uint32_t i = 0; i < planes; i++)
			s->alpha[planes][i] = ldexp(0.02 * percent * largest, (int) (planes - 2 - i)) / (1 << planes);
		fit_joint(f, lambda, 1);
		if (s->error[planes] < best.error[planes])
			best = *s;
	}
	*s = best;
	alternate(f, planes);
}

static void best_of_both(struct fit *f, uint32_t planes)
{
	fit_alternate(f, planes, 20);
}

static void check_fit(const char *what, recipe *make, uint32_t n, enum density d, const double *expected,
	uint32_t planes)
{
	for (uint32_t p = 1; p <= planes; p++)
		if (expected[p - 1] > 0)
			near(what, mean_error(make, p, n, d), expected[p - 1], d == LAPLACE ? .06 : n == 128 ? .035 : .05);
}

static void test_fits_of_groups(void)
{
	static const double greedy_ls[] = {.3614, .1220, .0487, .0229},
			    alternating[] = {.3614, .1134, .0351, .0108, .0034},
			    alternating_laplace[] = {.4962, .1683, .0551, .0154},
			    uniform[] = {.3614, .1133, .0341, .0095, .0024},
			    both[] = {.3614, .1132, .0340, .0093, .0024},
			    both_laplace[] = {.4962, .1682, .0535, .0147},
			    large[] = {.3616, .1165, .0369, .0116}, small_greedy[] = {.324, .0859, .0243, .0041},
			    small_alternating[] = {.324, .0741, .0147, .0023},
			    small_both[] = {.324, .0702, .0123, .0018};

	check_fit("greedy", greedy, 128, GAUSS, greedy_ls, 4);
	check_fit("alternating", from_greedy, 128, GAUSS, alternating, 5);
	check_fit("alternating, Laplace", from_greedy, 128, LAPLACE, alternating_laplace, 4);
	check_fit("from uniform", from_uniform, 128, GAUSS, uniform, 5);
	check_fit("better of both", best_of_both, 128, GAUSS, both, 5);
	check_fit("better of both, Laplace", best_of_both, 128, LAPLACE, both_laplace, 4);
	check_fit("2048, alternating", from_greedy, 2048, GAUSS, large, 4);
	check_fit("9, greedy", greedy, 9, GAUSS, small_greedy, 3);
	check_fit("9, alternating", from_greedy, 9, GAUSS, small_alternating, 3);
	check_fit("9, better of both", best_of_both, 9, GAUSS, small_both, 2);
}

/* Greedy without a refit is not in the library: nobody wants it. */
static void test_greedy_without_refit(void)
{
	static const double expected[] = {.3614, .1284, .0572, .0317};
	double error[4] = {0};
	struct source s = SAMPLES_INIT;

	for (int g = 0; g < 400; g++) {
		float w[128];
		double square = 0, left[128];

		sample_fill(&s, w, 128, GAUSS);
		for (int t = 0; t < 128; t++) {
			left[t] = (double) w[t];
			square += left[t] * left[t];
		}
		for (int p = 0; p < 4; p++) {
			double mean = 0, rest = 0;

			for (int t = 0; t < 128; t++)
				mean += fabs(left[t]) / 128;
			for (int t = 0; t < 128; t++) {
				left[t] -= left[t] < 0 ? -mean : mean;
				rest += left[t] * left[t];
			}
			error[p] += rest / square / 400;
		}
	}
	for (int p = 0; p < 4; p++)
		near("greedy, no refit", error[p], expected[p], .02);
}

static void nested_from(struct fit *f, uint32_t first, uint32_t planes, uint32_t rounds)
{
	from_greedy(f, MIN_OF(first, planes));
	while (fit_state(f)->planes < planes)
		fit_split(f, rounds);
}

static void nested_2(struct fit *f, uint32_t planes)
{
	nested_from(f, 2, planes, 1);
}

static void nested_3(struct fit *f, uint32_t planes)
{
	nested_from(f, 3, planes, 1);
}

static void nested_3_alternating(struct fit *f, uint32_t planes)
{
	nested_from(f, 3, planes, 20);
}

static void test_nested_exports(void)
{
	static const double two[] = {0, .1134, .0392, .0170}, two_laplace[] = {0, .1683, .0721, .0396},
			    two_large[] = {0, .1165, .0405, .0178}, three[] = {0, 0, .0351, .0133},
			    three_laplace[] = {0, 0, .0551, .0241}, three_alternating[] = {0, 0, .0350, .0127};

	check_fit("nested from 2", nested_2, 128, GAUSS, two, 4);
	check_fit("nested from 2, Laplace", nested_2, 128, LAPLACE, two_laplace, 4);
	check_fit("nested from 2, 2048", nested_2, 2048, GAUSS, two_large, 4);
	check_fit("nested from 3", nested_3, 128, GAUSS, three, 4);
	check_fit("nested from 3, Laplace", nested_3, 128, LAPLACE, three_laplace, 4);
	check_fit("nested from 3, alternating", nested_3_alternating, 128, GAUSS, three_alternating, 4);
}

/* E4, last rows: all widths at once from three alternating planes. */
static void test_joint_from_three(void)
{
	static const double lambda[4] = {1 / .36, 1 / .116, 1 / .037, 1 / .0115},
			    expected[] = {.3605, .1174, .0346, .0115};
	_cleanup_(fit_freep) struct fit *f = NULL;
	struct source samples = SAMPLES_INIT;
	double sum[5] = {0};
	float w[128];

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, 128), 0);
	for (int g = 0; g < 400; g++) {
		sample_fill(&samples, w, 128, GAUSS);
		fit_load(f, w, 128);
		nested_3_alternating(f, 4);
		fit_joint(f, lambda, 25);
		for (int p = 1; p <= 4; p++)
			sum[p] += fit_state(f)->error[p] / fit_state(f)->error[0] / 400;
	}
	for (int p = 1; p <= 4; p++)
		near("joint from 3", sum[p], expected[p - 1], .035);
}

/**
 * struct lowered - E3: errors of one group of four planes with fewer
 * @planes: how many; by rising scale, as fits may leave them
 */
struct lowered {
	double alpha[4], gram[9][9];
	uint8_t codes[128];
};

static void make_gram(struct lowered *l)
{
	for (int i = 0; i <= 4; i++)
		for (int j = 0; j <= 4; j++) {
			l->gram[i][j] = 0;
			for (int t = 0; t < 128; t++) {
				int a = i == 4 || l->codes[t] >> (3 - i) & 1 ? 1 : -1;
				int b = j == 4 || l->codes[t] >> (3 - j) & 1 ? 1 : -1;

				l->gram[i][j] += a * b;
			}
		}
}

static double lowered_error(const struct lowered *l, const float *w, const double *alpha, int kept, double offset)
{
	double sum = 0;

	for (int t = 0; t < 128; t++) {
		double v = offset;

		for (int i = 0; i < kept; i++)
			v += l->codes[t] >> (3 - i) & 1 ? alpha[i] : -alpha[i];
		sum += ((double) w[t] - v) * ((double) w[t] - v);
	}
	return sum;
}

/* Planes by falling scale. */
static void from_fit(struct lowered *l, struct fit *f)
{
	float alpha[BITS_PLANES_MAX];
	uint8_t codes[128];
	int place[4];

	fit_store(f, alpha, codes);
	for (int i = 0, at; i < 4; i++) {
		for (at = i; at > 0 && alpha[place[at - 1]] < alpha[i]; at--)
			place[at] = place[at - 1];
		place[at] = i;
	}
	for (int i = 0; i < 4; i++)
		l->alpha[i] = (double) alpha[place[i]];
	for (int t = 0; t < 128; t++) {
		l->codes[t] = 0;
		for (int i = 0; i < 4; i++)
			l->codes[t] |= (uint8_t) ((codes[t] >> (3 - place[i]) & 1) << (3 - i));
	}
	make_gram(l);
}

/* The mid-rise grid with the step that errs least. */
static void from_integers(struct lowered *l, const float *w)
{
	double smallest = INFINITY;
	struct lowered try;

	for (double step = 0.15; step < 0.8; step *= 1.01) {
		double error;

		for (int t = 0; t < 128; t++)
			try.codes[t] = (uint8_t) fmin(fmax(floor((double) w[t] / step) + 8, 0), 15);
		for (int i = 0; i < 4; i++)
			try.alpha[i] = step * 4 / (1 << i);
		error = lowered_error(&try, w, try.alpha, 4, 0);
		if (error < smallest) {
			smallest = error;
			*l = try;
		}
	}
	make_gram(l);
}

static void add_errors(double sum[3][4], const struct lowered *l, const float *w)
{
	double square = 0;

	for (int t = 0; t < 128; t++)
		square += (double) w[t] * (double) w[t];
	for (uint32_t kept = 1; kept < 4; kept++) {
		double alpha[4], offset = 0;

		sum[0][kept] += lowered_error(l, w, l->alpha, (int) kept, 0) / square / 400;
		(void) lower_refit(l->gram, 4, kept, l->alpha, false, alpha, &offset);
		sum[1][kept] += lowered_error(l, w, alpha, (int) kept, 0) / square / 400;
		(void) lower_refit(l->gram, 4, kept, l->alpha, true, alpha, &offset);
		sum[2][kept] += lowered_error(l, w, alpha, (int) kept, offset) / square / 400;
	}
}

static void check_lowered(const char *what, double sum[3][4], const double expected[3][3], double tolerance)
{
	for (int row = 0; row < 3; row++)
		for (int kept = 1; kept < 4; kept++)
			if (expected[row][kept - 1] > 0)
				near(what, sum[row][kept], expected[row][kept - 1], tolerance);
}

static void test_lowering(void)
{
	static const double alternating[2][3][3] = {
		{{.5306, .1581, .0467}, {.4089, .1472, .0453}, {.4057, .1461, .0450}},
		{{1.48, .410, .169}, {.7275, .3522, .1401}}};
	static const double integers[2][3][3] = {
		{{.6683, .1533, .0392}, {.3614, .1365, .0379}}, {{1.806, .352, .0788}, {.4968, .2147, .0682}}};
	_cleanup_(fit_freep) struct fit *f = NULL;

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, 128), 0);
	for (int d = GAUSS; d <= LAPLACE; d++) {
		struct source samples = SAMPLES_INIT;
		double sum[2][3][4] = {0};

		for (int g = 0; g < 400; g++) {
			struct lowered l;
			float w[128];

			sample_fill(&samples, w, 128, d);
			for (int t = 0; t < 128 && d == LAPLACE; t++)
				w[t] /= (float) M_SQRT2; /* to unit variance, as the steps expect */
			fit_load(f, w, 128);
			from_greedy(f, 4);
			from_fit(&l, f);
			add_errors(sum[0], &l, w);
			from_integers(&l, w);
			add_errors(sum[1], &l, w);
		}
		check_lowered("lowered codes", sum[0], alternating[d], d ? .08 : .04);
		check_lowered("lowered integers", sum[1], integers[d], d ? .08 : .04);
	}
}

/* E5: any table is a sum over products of planes. */
static void test_tables_are_sums_of_products(void)
{
	struct source s = SAMPLES_INIT;

	for (uint32_t size = 2; size <= 256; size *= 2) {
		double level[256], term[256];

		for (uint32_t i = 0; i < size; i++)
			term[i] = level[i] = (double) sample_gauss(&s);
		fit_transform(term, size);
		for (uint32_t code = 0; code < size; code++) {
			double v = 0;

			for (uint32_t set = 0; set < size; set++) {
				int negative = __builtin_popcount(set & ~code) & 1;

				v += (negative ? -term[set] : term[set]) / size;
			}
			CU_ASSERT_DOUBLE_EQUAL(v, level[code], 1e-12);
		}
	}
}

TEST_MAIN("numbers", TEST(uniform_quantizers), TEST(powers_of_two), TEST(ternary_thresholds), TEST(lloyd_max),
	TEST(fits_of_groups), TEST(greedy_without_refit), TEST(nested_exports), TEST(joint_from_three), TEST(lowering),
	TEST(tables_are_sums_of_products))
