/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/quantizer.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/esb.h"
#include "convert/samples.h"
#include "support/test.h"

#define ROWS 64
#define COLUMNS 320 /* two groups of 128 and one of 64 */
#define SIZE (ROWS * COLUMNS)

static float weights[2][SIZE];
static const char *const kinds[2] = {"Gauss", "Laplace"};
static uint32_t n_plain; /* methods that need no inputs: the first of the list */

static void test_draw(void)
{
	while (n_plain < n_quantizers && quantizers[n_plain].run)
		n_plain++;
	for (uint32_t m = n_plain; m < n_quantizers; m++)
		CU_ASSERT_TRUE(!quantizers[m].run && quantizers[m].rows);
	CU_ASSERT_TRUE_FATAL(n_plain > 8);
	struct source samples = SAMPLES_INIT;

	for (int kind = 0; kind < 2; kind++)
		sample_fill(&samples, weights[kind], SIZE, kind);
}

static double relative_error(const struct coded *c, const float *w)
{
	double error = 0, square = 0;

	for (uint32_t row = 0; row < c->rows; row++)
		for (uint32_t column = 0; column < c->columns; column++) {
			double x = w[(size_t) row * c->columns + column],
			       e = x - coded_value(c, row, column);

			error += e * e;
			square += x * x;
		}
	return error / square;
}

static double error_of(const char *name, const float *w, uint32_t planes, bool per_tensor)
{
	struct quantize_options options = {
		.planes = planes, .group_columns = 128, .per_tensor = per_tensor};
	_cleanup_(coded_done) struct coded c = {0};

	CU_ASSERT_EQUAL_FATAL(quantizer_find(name)->run(&c, w, ROWS, COLUMNS, &options, NULL), 0);
	return relative_error(&c, w);
}

static void check_near(const char *what, double got, double expected, double tolerance)
{
	if (!(fabs(got - expected) <= tolerance * expected)) {
		printf("\n    %s: %.6f, expected %.6f\n", what, got, expected);
		CU_FAIL("error out of range");
	}
}

static void check_not_worse(const char *what, double got, double baseline)
{
	if (!(got <= baseline * (1 + 1e-6))) {
		printf("\n    %s: %.6f, baseline %.6f\n", what, got, baseline);
		CU_FAIL("worse than the baseline");
	}
}

/* Over what the codes from @lowest can mean in the place of one weight. */
static double nearest_distance(
	struct coded *c, uint32_t row, uint32_t column, float w, uint32_t lowest)
{
	uint8_t *code = &c->codes[(size_t) row * c->columns + column], was = *code;
	double smallest = INFINITY;

	for (uint32_t i = lowest; i < 1u << c->planes; i++) {
		*code = (uint8_t) i;
		smallest = fmin(smallest, fabs((double) w - coded_value(c, row, column)));
	}
	*code = was;
	return smallest;
}

/* Others have their reasons: all prefixes, an entropy, pruned weights, scales refitted at the end. */
static bool codes_to_nearest(const char *name)
{
	static const char *const others[] = {"bcq", "ecsq", "deep-compression", "alq", "dithered"};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strcmp(name, others[i]) == 0)
			return false;
	return true;
}

static void check_method(const struct quantizer *q, uint32_t planes, int kind, bool per_tensor)
{
	struct quantize_options options = {
		.planes = planes, .group_columns = 128, .per_tensor = per_tensor};
	_cleanup_(coded_done) struct coded c = {0};
	const float *w = weights[kind];
	/* An odd number of levels leaves the lowest code out. */
	uint32_t lowest =
		strncmp(q->name, "linear", 6) == 0 && strcmp(q->name, "linear-asymmetric") != 0;

	CU_ASSERT_EQUAL_FATAL(q->run(&c, w, ROWS, COLUMNS, &options, NULL), 0);
	CU_ASSERT_EQUAL(c.planes, planes);
	CU_ASSERT_TRUE((c.coding == CODING_SUM) == (c.alpha != NULL));
	CU_ASSERT_TRUE((c.coding == CODING_LEVEL) == (c.level != NULL));
	for (uint32_t i = 0; c.level && i + 1 < (c.shared_levels ? 1u : ROWS) << planes; i++)
		CU_ASSERT_TRUE((i + 1) % (1u << planes) == 0 || c.level[i] <= c.level[i + 1]);
	if (!codes_to_nearest(q->name))
		return;
	for (uint32_t i = 0; i < SIZE; i += 11) {
		uint32_t row = i / COLUMNS, column = i % COLUMNS;
		double distance = fabs((double) w[i] - coded_value(&c, row, column));

		CU_ASSERT_TRUE(distance <= nearest_distance(&c, row, column, w[i], lowest) + 1e-5);
	}
}

static void test_every_method_codes_to_its_nearest_value(void)
{
	for (uint32_t m = 0; m < n_plain; m++)
		for (uint32_t planes = quantizers[m].planes_min; planes <= quantizers[m].planes_max;
			planes++)
			for (int kind = 0; kind < 2; kind++) {
				check_method(&quantizers[m], planes, kind, false);
				check_method(&quantizers[m], planes, kind, true);
			}
}

static void test_more_planes_err_less(void)
{
	for (uint32_t m = 0; m < n_plain; m++) {
		double last = 1.0001;

		/* Powers of two stop helping at some plane; a step that is one may jump to the
		 * next. */
		for (uint32_t planes = quantizers[m].planes_min; planes <= quantizers[m].planes_max;
			planes++) {
			double error = error_of(quantizers[m].name, weights[0], planes, false);

			check_not_worse(quantizers[m].name, error,
				strcmp(quantizers[m].name, "linear-pot") == 0 ? 1 : last * 1.02);
			last = error;
		}
	}
}

static void test_methods_beat_their_baselines(void)
{
	for (int kind = 0; kind < 2; kind++)
		for (uint32_t planes = 2; planes <= 8; planes++)
			for (int per_tensor = 0; per_tensor < 2; per_tensor++) {
				const float *w = weights[kind];
				double linear = error_of("linear", w, planes, per_tensor);
				double clipped = error_of("linear-clipped", w, planes, per_tensor);

				check_not_worse("linear-clipped", clipped, linear);
				check_not_worse("linear", linear,
					error_of("linear-pot", w, planes, per_tensor) * 4);
				check_not_worse("kmeans", error_of("kmeans", w, planes, per_tensor),
					clipped);
				check_not_worse("asymmetric",
					error_of("linear-asymmetric", w, planes, per_tensor),
					linear * 1.05);
			}
}

/* Entropy of the codes of a whole matrix, bits. */
static double entropy_of(const struct coded *c)
{
	uint32_t count[256] = {0};
	double bits = 0;

	for (uint32_t i = 0; i < SIZE; i++)
		count[c->codes[i]]++;
	for (int i = 0; i < 256; i++)
		if (count[i] > 0)
			bits -= count[i] / (double) SIZE * log2(count[i] / (double) SIZE);
	return bits;
}

/* A bit less than its planes when packed, and better than as many levels of one length. */
static void test_ecsq_saves_a_bit(void)
{
	for (int kind = 0; kind < 2; kind++)
		for (uint32_t planes = 3; planes <= 5; planes++) {
			struct quantize_options o = {.planes = planes, .per_tensor = true};
			_cleanup_(coded_done) struct coded c = {0};

			CU_ASSERT_EQUAL_FATAL(quantizer_find("ecsq")->run(
				&c, weights[kind], ROWS, COLUMNS, &o, NULL), 0);
			CU_ASSERT_TRUE(entropy_of(&c) <= planes - 1 + 0.02);
			check_not_worse("ecsq", relative_error(&c, weights[kind]),
				error_of("kmeans", weights[kind], planes - 1, true));
		}
}

static void test_new_methods_beat_their_baselines(void)
{
	for (int kind = 0; kind < 2; kind++)
		for (uint32_t planes = 2; planes <= 6; planes++) {
			const float *w = weights[kind];
			double kmeans = error_of("kmeans", w, planes, true);

			check_not_worse("soft-vq", error_of("soft-vq", w, planes, true), 1.7 * kmeans);
			check_not_worse("hessian-kmeans", error_of("hessian-kmeans", w, planes, true), kmeans);
			if (planes > 2) /* two have no zero here */
				check_not_worse("ausn", error_of("ausn", w, planes, true),
					error_of("log", w, planes, true));
			check_not_worse("esb", error_of("esb", w, planes, true), error_of("log", w, planes, true));
			check_not_worse("alq", error_of("alq", w, planes, false),
				1.02 * error_of("bcq", w, planes, false));
			check_not_worse("dithered", error_of("dithered", w, planes, true),
				error_of("linear-clipped", w, planes, true) * 1.15);
			check_not_worse("inq", error_of("inq", w, planes, true), 1);
		}
	/* Half a deviation: what Gaussian weights lose with it. */
	check_near("deep-compression", error_of("deep-compression", weights[0], 8, true), .0309, .05);
}

static float importances[SIZE];

/* Weights that count more err less. */
static void test_importance(void)
{
	for (uint32_t i = 0; i < SIZE; i++)
		importances[i] = i % COLUMNS < 32 ? 100 : 0.01f;
	for (uint32_t m = 0; m < n_plain; m++) {
		struct quantize_options o = {.planes = 3, .group_columns = 128, .importance = importances};
		_cleanup_(coded_done) struct coded with = {0}, without = {0};
		double error[2] = {0};

		if (!quantizers[m].weighs)
			continue;
		CU_ASSERT_EQUAL(quantizers[m].run(&with, weights[0], ROWS, COLUMNS, &o, NULL), 0);
		o.importance = NULL;
		CU_ASSERT_EQUAL(quantizers[m].run(&without, weights[0], ROWS, COLUMNS, &o, NULL), 0);
		for (uint32_t i = 0; i < SIZE; i++) {
			double a = weights[0][i] - coded_value(&with, i / COLUMNS, i % COLUMNS);
			double b = weights[0][i] - coded_value(&without, i / COLUMNS, i % COLUMNS);

			error[0] += importances[i] * a * a;
			error[1] += importances[i] * b * b;
		}
		check_not_worse(quantizers[m].name, error[0], error[1] * 0.9);
	}
}

/* Optimal scalar quantizers of infinite samples; one table for the whole matrix comes close. */
static void test_analytic_numbers(void)
{
	static const double tread[] = {.19017, .04686, .01289},
			    tread_laplace[] = {.26424, .08308, .02739};
	static const double lloyd[] = {.36338, .11748, .03455, .00950},
			    lloyd_laplace[] = {.5, .17619, .05447, .01537};

	for (uint32_t planes = 2; planes <= 4; planes++) {
		check_near("clipped, Gauss", error_of("linear-clipped", weights[0], planes, true),
			tread[planes - 2], .04);
		check_near("clipped, Laplace", error_of("linear-clipped", weights[1], planes, true),
			tread_laplace[planes - 2], .06);
	}
	for (uint32_t planes = 1; planes <= 4; planes++) {
		check_near("kmeans, Gauss", error_of("kmeans", weights[0], planes, true),
			lloyd[planes - 1], .03);
		check_near("kmeans, Laplace", error_of("kmeans", weights[1], planes, true),
			lloyd_laplace[planes - 1], .06);
	}
	/*
	 * Nine powers of two with the best top level reach .03987; the top is a power of two here.
	 */
	check_not_worse("log, Gauss", error_of("log", weights[0], 4, true), .045);
	check_not_worse("apot, Gauss", error_of("apot", weights[0], 4, true), .0135);
}

#define TAIL 6.0
#define POINTS 600

/* Mean square error of a standard normal variable on levels times @k. */
static double normal_error(const float *levels, uint32_t planes, double k)
{
	double sum = 0, mass = 0;

	for (int i = 0; i < POINTS; i++) {
		double x = TAIL * (i + 0.5) / POINTS, p = exp(-x * x / 2), smallest = INFINITY;

		/* Not by fmin(): gcc 12 for arm64 crashes on it here. */
		for (uint32_t j = 0; j < 1u << planes; j++)
			if (fabs(x - k * (double) levels[j]) < smallest)
				smallest = fabs(x - k * (double) levels[j]);
		sum += p * smallest * smallest;
		mass += p;
	}
	return sum / mass;
}

/* methods B2: the published errors of four formats, and no unit that is noticeably better. */
static void test_units_of_esb(void)
{
	static const struct {
		uint32_t planes, fraction;
		double error;
	} known[] = {{3, 0, .0476}, {4, 1, .0127}, {5, 2, .0033}, {6, 3, .00083}, {1, 0, .36338}, {2, 0, .11885}};
	float levels[1 << BITS_PLANES_MAX];

	for (uint32_t planes = 1; planes <= 6; planes++)
		for (uint32_t fraction = 0; fraction < planes && fraction < 4; fraction++) {
			double unit, error;

			if (!esb_levels(levels, planes, fraction))
				continue;
			unit = esb_unit(planes, fraction);
			error = normal_error(levels, planes, unit);
			for (double f = 0.7; f < 1.45; f += 0.05)
				check_not_worse("unit of esb", error,
					1.02 * normal_error(levels, planes, unit * f));
			for (size_t i = 0; i < ARRAY_SIZE(known); i++)
				if (known[i].planes == planes && known[i].fraction == fraction)
					check_near("error of esb", error, known[i].error, .02);
		}
	CU_ASSERT_TRUE(esb_levels(levels, 4, 1));
	CU_ASSERT_TRUE(levels[7] == 0 && levels[9] == .5f && levels[12] == 2 && levels[15] == 6);
}

static void test_linear_is_exact_on_its_grid(void)
{
	struct quantize_options options = {.planes = 4};
	_cleanup_(coded_done) struct coded c = {0};
	float w[16], s = 0.25f;

	for (int i = 0; i < 15; i++)
		w[i] = s * (float) (i - 7);
	w[15] = 0;
	CU_ASSERT_EQUAL_FATAL(quantizer_find("linear")->run(&c, w, 1, 16, &options, NULL), 0);
	for (uint32_t i = 0; i < 16; i++)
		CU_ASSERT_EQUAL(coded_value(&c, 0, i), w[i]);
	coded_done(&c);
	for (int i = 0; i < 16; i++)
		w[i] = s * (float) (i - 3);
	CU_ASSERT_EQUAL_FATAL(
		quantizer_find("linear-asymmetric")->run(&c, w, 1, 16, &options, NULL), 0);
	for (uint32_t i = 0; i < 16; i++)
		CU_ASSERT_EQUAL(coded_value(&c, 0, i), w[i]);
}

/* A group as the engine has it: packed planes and the scales of all of them. */
struct packed {
	uint64_t plane[BITS_PLANES_MAX][2];
	const float *alpha;
	uint32_t n, planes;
};

static struct packed pack_group(const struct coded *c, uint32_t row, uint32_t group)
{
	uint32_t first = group * c->group_columns;
	struct packed p = {.n = MIN_OF(c->group_columns, c->columns - first),
		.planes = c->planes,
		.alpha = c->alpha + ((size_t) row * c->groups + group) * c->planes};

	for (uint32_t t = 0; t < p.n; t++)
		for (uint32_t i = 0; i < c->planes; i++)
			if (c->codes[(size_t) row * c->columns + first + t] >> (c->planes - 1 - i) &
				1)
				bits_set(p.plane[i], t);
	return p;
}

static double gram(const struct packed *p, uint32_t i, uint32_t j)
{
	int differ = __builtin_popcountll(p->plane[i][0] ^ p->plane[j][0]) +
		     __builtin_popcountll(p->plane[i][1] ^ p->plane[j][1]);

	return (int) p->n - 2 * differ;
}

/* Scales of the first @keep planes from popcounts and the scales of all. Return: squared error
 * added. */
static double refit(const struct packed *p, uint32_t keep, double *alpha)
{
	double m[BITS_PLANES_MAX][BITS_PLANES_MAX + 1], error = 0;

	for (uint32_t i = 0; i < keep; i++) {
		m[i][keep] = 0;
		for (uint32_t j = 0; j < keep; j++)
			m[i][j] = gram(p, i, j);
		for (uint32_t j = 0; j < p->planes; j++)
			m[i][keep] += gram(p, i, j) * p->alpha[j];
	}
	for (uint32_t i = 0; i < keep;
		i++) /* no pivots: Gram matrices of different planes are definite */
		for (uint32_t r = 0; r < keep; r++) {
			double factor = r == i ? 0 : m[r][i] / m[i][i];

			for (uint32_t j = i; factor != 0 && j <= keep; j++)
				m[r][j] -= factor * m[i][j];
		}
	for (uint32_t i = 0; i < keep; i++)
		alpha[i] = m[i][keep] / m[i][i];
	for (uint32_t i = 0; i < p->planes; i++)
		for (uint32_t j = 0; j < p->planes; j++) {
			double di = p->alpha[i] - (i < keep ? alpha[i] : 0);
			double dj = p->alpha[j] - (j < keep ? alpha[j] : 0);

			error += di * dj * gram(p, i, j);
		}
	return error;
}

/* Mean over full groups of the relative error of each prefix with refitted scales. */
static void measure_prefixes(double *mean, int kind, uint32_t planes, bool favour_top)
{
	struct quantize_options options = {
		.planes = planes, .group_columns = 128, .favour_top = favour_top};
	_cleanup_(coded_done) struct coded c = {0};

	memset(mean, 0, (BITS_PLANES_MAX + 1) * sizeof *mean);
	CU_ASSERT_EQUAL_FATAL(
		quantizer_find("bcq")->run(&c, weights[kind], ROWS, COLUMNS, &options, NULL), 0);
	for (uint32_t row = 0; row < ROWS; row++)
		for (uint32_t group = 0; group < 2; group++) {
			struct packed p = pack_group(&c, row, group);
			double top = 0, square = 0, alpha[BITS_PLANES_MAX];

			for (uint32_t t = group * 128; t < group * 128 + 128; t++) {
				double w = weights[kind][row * COLUMNS + t],
				       e = w - coded_value(&c, row, t);

				square += w * w;
				top += e * e;
			}
			for (uint32_t keep = 1; keep <= planes; keep++)
				mean[keep] += (top + refit(&p, keep, alpha)) / square / (2 * ROWS);
		}
}

static void print_prefixes(const char *what, const double *mean, uint32_t planes)
{
	printf("\n    %-18s", what);
	for (uint32_t p = 1; p <= planes; p++)
		printf(" %.3g", mean[p]);
}

static void test_prefixes_of_bcq_are_good_models(void)
{
	static const double expected[2][4] = {
		{.3606, .1161, .0354, .0119}, {.4964, .1745, .0620, .0226}};
	double mean[BITS_PLANES_MAX + 1], favoured[BITS_PLANES_MAX + 1];

	for (int kind = 0; kind < 2; kind++) {
		measure_prefixes(mean, kind, 4, false);
		print_prefixes(kinds[kind], mean, 4);
		for (int p = 1; p <= 4; p++)
			check_not_worse(kinds[kind], mean[p], 1.03 * expected[kind][p - 1]);
	}
	measure_prefixes(mean, 0, 4, false);
	measure_prefixes(favoured, 0, 4, true);
	CU_ASSERT_TRUE(favoured[4] < mean[4] && favoured[1] > mean[1]);
	check_not_worse("favouring 4 planes", favoured[4], 1.02 * .0110);
}

static void test_eight_planes(void)
{
	static const double most[2][9] = {{0, .37, .123, .0368, .0122, .005, .0016, .00045, 1e-4},
		{0, .505, .19, .0605, .022, .0085, .0027, .00072, 1.6e-4}};
	double mean[BITS_PLANES_MAX + 1];

	for (int kind = 0; kind < 2; kind++) {
		measure_prefixes(mean, kind, 8, false);
		print_prefixes(kinds[kind], mean, 8);
		for (int p = 1; p <= 8; p++)
			check_not_worse(kinds[kind], mean[p], most[kind][p]);
	}
}

static void test_identities(void)
{
	struct quantize_options options = {.planes = 4, .group_columns = 128};
	_cleanup_(coded_done) struct coded c = {0};

	CU_ASSERT_EQUAL_FATAL(
		quantizer_find("bcq")->run(&c, weights[0], ROWS, COLUMNS, &options, NULL), 0);
	for (uint32_t row = 0; row < ROWS; row++) {
		struct packed p = pack_group(&c, row, 0);
		double square = 0, product = 0, alpha[BITS_PLANES_MAX];

		for (uint32_t t = 0; t < 128; t++)
			square += (double) coded_value(&c, row, t) * coded_value(&c, row, t);
		for (uint32_t i = 0; i < 4; i++)
			for (uint32_t j = 0; j < 4; j++)
				product += p.alpha[i] * p.alpha[j] * gram(&p, i, j);
		CU_ASSERT_DOUBLE_EQUAL(product, square, 1e-4);
		/* Least squares: the residual of the weights is orthogonal to every plane, so a
		 * refit of the stored values is a refit of the weights. */
		for (uint32_t i = 0; i < 4; i++) {
			double residual = 0;

			for (uint32_t t = 0; t < 128; t++)
				residual +=
					(weights[0][row * COLUMNS + t] - coded_value(&c, row, t)) *
					(bits_get(p.plane[i], t) ? 1 : -1);
			CU_ASSERT_DOUBLE_EQUAL(residual, 0, 1e-4);
		}
		CU_ASSERT_DOUBLE_EQUAL(refit(&p, 4, alpha), 0, 1e-6);
	}
}

static void test_rows_are_independent(void)
{
	struct quantize_options options = {.planes = 3, .group_columns = 128};
	_cleanup_(coded_done) struct coded whole = {0}, parts = {0};

	CU_ASSERT_EQUAL_FATAL(
		quantizer_find("bcq")->run(&whole, weights[0], ROWS, COLUMNS, &options, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		coded_allocate(&parts, CODING_SUM, ROWS, COLUMNS, 128, 3, false, NULL), 0);
	CU_ASSERT_EQUAL(bcq_rows(&parts, weights[0], 20, ROWS, &options, NULL), 0);
	CU_ASSERT_EQUAL(bcq_rows(&parts, weights[0], 0, 20, &options, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(whole.codes, parts.codes, SIZE), 0);
	CU_ASSERT_EQUAL(
		memcmp(whole.alpha, parts.alpha, sizeof(float) * ROWS * whole.groups * 3), 0);
}

static void check_refused(const struct quantizer *q, const float *w, uint32_t planes,
	uint32_t group, const char *words)
{
	struct quantize_options options = {.planes = planes, .group_columns = group};
	struct coded c = {0};
	struct error e = {0};

	CU_ASSERT_EQUAL(q->run(&c, w, 2, 200, &options, &e), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, words));
	CU_ASSERT_PTR_NULL(c.codes);
}

static void test_refusals(void)
{
	static float w[400];

	for (uint32_t m = 0; m < n_plain; m++) {
		w[250] = NAN;
		check_refused(&quantizers[m], w, 4, 128, "weight [1][50] is not finite");
		w[250] = 0;
		check_refused(&quantizers[m], w, quantizers[m].planes_max + 1, 128, "to 8, not 9");
		check_refused(
			&quantizers[m], w, quantizers[m].planes_min - 1, 128, "planes must be");
	}
	check_refused(quantizer_find("bcq"), w, 4, 100, "multiple of 64");
	check_refused(quantizer_find("bcq"), w, 4, 0, "multiple of 64");
	CU_ASSERT_PTR_NULL(quantizer_find("none"));
	CU_ASSERT_STRING_EQUAL(quantizers[0].name, "bcq");
}

static void test_odd_matrices(void)
{
	static const float values[] = {0, 1, -1, 1e-40f, 1e30f, -1e30f};

	for (uint32_t m = 0; m < n_plain; m++)
		for (size_t v = 0; v < ARRAY_SIZE(values); v++)
			for (uint32_t planes = 2; planes <= 8; planes += 3)
				for (uint32_t columns = 1; columns <= 9; columns += 4) {
					struct quantize_options o = {
						.planes = planes, .group_columns = 128};
					_cleanup_(coded_done) struct coded c = {0};
					float w[18];

					for (uint32_t i = 0; i < 18; i++)
						w[i] = values[v];
					CU_ASSERT_EQUAL_FATAL(
						quantizers[m].run(&c, w, 2, columns, &o, NULL), 0);
					CU_ASSERT_TRUE(isfinite(coded_value(&c, 1, columns - 1)));
					CU_ASSERT_TRUE(
						fabs(coded_value(&c, 1, 0) - (double) values[v]) <=
						0.5 * fabs((double) values[v]) + 1e-38);
				}
}

/* Weights of one sign but for what is pruned: there is nothing to share out on the other side. */
static void test_levels_ascend(void)
{
	struct source samples = SAMPLES_INIT;
	float w[4 * 40];

	sample_fill(&samples, w, ARRAY_SIZE(w), 1);
	for (size_t i = 0; i < ARRAY_SIZE(w); i++)
		w[i] = i % 5 ? fabsf(w[i]) : -0.01f * fabsf(w[i]);
	for (uint32_t m = 0; m < n_plain; m++)
		for (uint32_t planes = quantizers[m].planes_min; planes <= quantizers[m].planes_max; planes++) {
			struct quantize_options options = {.planes = planes, .group_columns = 64};
			_cleanup_(coded_done) struct coded c = {0};

			CU_ASSERT_EQUAL_FATAL(quantizers[m].run(&c, w, 4, 40, &options, NULL), 0);
			for (uint32_t i = 1; c.level && i < 4u << planes; i++)
				CU_ASSERT_TRUE(i % (1u << planes) == 0 || c.level[i] >= c.level[i - 1]);
		}
}

TEST_MAIN("quantize", TEST(draw), TEST(every_method_codes_to_its_nearest_value),
	TEST(more_planes_err_less), TEST(methods_beat_their_baselines), TEST(new_methods_beat_their_baselines), TEST(ecsq_saves_a_bit),
	TEST(importance), TEST(analytic_numbers), TEST(units_of_esb),
	TEST(linear_is_exact_on_its_grid), TEST(prefixes_of_bcq_are_good_models),
	TEST(eight_planes), TEST(identities), TEST(rows_are_independent), TEST(refusals),
	TEST(odd_matrices), TEST(levels_ascend))
