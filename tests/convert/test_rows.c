/* SPDX-License-Identifier: Apache-2.0 */
/* Every method that knows its inputs: what the layer gives out errs less than by the best codes without. */
#include <errno.h>
#include <string.h>

#include "convert/moments.h"
#include "convert/quantize/gptq.h"
#include "support/test.h"

#define ROWS 16
#define COLUMNS 192

static float weights[2][ROWS * COLUMNS];
static double moment[COLUMNS * COLUMNS];
static struct metric *metric;

static void test_draw(void)
{
	struct source samples = SAMPLES_INIT;
	static double x[COLUMNS];

	for (int kind = 0; kind < 2; kind++)
		sample_fill(&samples, weights[kind], ROWS * COLUMNS, kind);
	moments_draw(&samples, moment, x, COLUMNS, 600);
	CU_ASSERT_EQUAL_FATAL(metric_new(&metric, moment, COLUMNS, NULL, NULL), 0);
}

static void allocate(struct coded *c, const struct quantizer *q, uint32_t planes)
{
	CU_ASSERT_EQUAL_FATAL(
		coded_allocate(c, CODING_SUM, ROWS, COLUMNS, q->grid ? COLUMNS : 128, planes, false, NULL), 0);
	if (q->grid)
		c->offset = calloc(ROWS, sizeof *c->offset);
}

static double output_error(const struct coded *c, const float *w)
{
	static const float zero[COLUMNS];
	float decoded[COLUMNS];
	double error = 0, square = 0;

	for (uint32_t row = 0; row < ROWS; row++) {
		for (uint32_t t = 0; t < COLUMNS; t++)
			decoded[t] = coded_value(c, row, t);
		error += metric_error(metric, w + row * COLUMNS, decoded);
		square += metric_error(metric, w + row * COLUMNS, zero);
	}
	return error / square;
}

static double plain_error(const char *name, const float *w, uint32_t planes)
{
	struct quantize_options o = {.planes = planes, .group_columns = 128};
	_cleanup_(coded_done) struct coded c = {0};

	CU_ASSERT_EQUAL_FATAL(quantizer_find(name)->run(&c, w, ROWS, COLUMNS, &o, NULL), 0);
	return output_error(&c, w);
}

/* Grids against the best clipped grid, codes against the alternating fit; thresholds buy zeros with error. */
static void check_method(const struct quantizer *q, int kind, uint32_t planes)
{
	struct quantize_options o = {.planes = planes, .group_columns = 128};
	_cleanup_(coded_done) struct coded c = {0};
	double have, without = plain_error(q->grid ? "linear-clipped" : "alq", weights[kind], planes);
	bool sparse = strstr(q->name, "-l") != NULL;

	allocate(&c, q, planes);
	CU_ASSERT_EQUAL_FATAL(q->rows(&c, weights[kind], 0, ROWS, metric, &o, NULL), 0);
	have = output_error(&c, weights[kind]);
	if (!(have < (sparse ? 2 : 0.9) * without)) {
		printf("\n    %s, %u planes, %d: %.6f, without inputs %.6f", q->name, planes, kind, have, without);
		CU_FAIL("inputs do not help");
	}
}

static void test_inputs_help(void)
{
	for (uint32_t m = 0; m < n_quantizers; m++)
		for (uint32_t planes = 2; quantizers[m].rows && planes <= 4; planes++)
			for (int kind = 0; kind < 2; kind++)
				check_method(&quantizers[m], kind, planes);
}

static uint32_t zeros(const char *name, uint32_t planes)
{
	const struct quantizer *q = quantizer_find(name);
	struct quantize_options o = {.planes = planes};
	_cleanup_(coded_done) struct coded c = {0};
	uint32_t n = 0;

	allocate(&c, q, planes);
	CU_ASSERT_EQUAL_FATAL(q->rows(&c, weights[0], 0, ROWS, metric, &o, NULL), 0);
	for (uint32_t i = 0; i < ROWS * COLUMNS; i++)
		n += fabsf(coded_value(&c, i / COLUMNS, i % COLUMNS)) < 1e-6f;
	return n;
}

static void test_thresholds_make_zeros(void)
{
	uint32_t plain = zeros("gpfq", 4), soft = zeros("gpfq-l1", 4), hard = zeros("gpfq-l0", 4);

	CU_ASSERT_TRUE(soft * 2 > plain * 3);
	CU_ASSERT_TRUE(hard * 2 > plain * 3);
}

static void test_rows_are_independent(void)
{
	struct quantize_options o = {.planes = 3, .group_columns = 128};

	for (uint32_t m = 0; m < n_quantizers; m++) {
		_cleanup_(coded_done) struct coded whole = {0}, parts = {0};

		if (!quantizers[m].rows)
			continue;
		allocate(&whole, &quantizers[m], 3);
		allocate(&parts, &quantizers[m], 3);
		CU_ASSERT_EQUAL(quantizers[m].rows(&whole, weights[0], 0, ROWS, metric, &o, NULL), 0);
		CU_ASSERT_EQUAL(quantizers[m].rows(&parts, weights[0], 7, ROWS, metric, &o, NULL), 0);
		CU_ASSERT_EQUAL(quantizers[m].rows(&parts, weights[0], 0, 7, metric, &o, NULL), 0);
		CU_ASSERT_EQUAL(memcmp(whole.codes, parts.codes, ROWS * COLUMNS), 0);
		CU_ASSERT_EQUAL(memcmp(whole.alpha, parts.alpha, sizeof(float) * ROWS * whole.groups * 3), 0);
	}
}

/* Zeros, one weight, inputs never seen, all widths: finite answers; what is not finite is refused. */
static void test_odd_rows(void)
{
	static float w[3 * 9] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -2, 3, 4, -5, 6, 7, 8, 9, 1e30f};
	double h[81] = {0};

	for (uint32_t m = 0; m < n_quantizers; m++)
		for (uint32_t planes = quantizers[m].planes_min; quantizers[m].rows && planes <= 8; planes++) {
			struct quantize_options o = {.planes = planes, .group_columns = 64};
			_cleanup_(metric_freep) struct metric *own = NULL;
			_cleanup_(coded_done) struct coded c = {0};
			struct error e = {0};

			h[0] = h[10] = planes % 2;
			CU_ASSERT_EQUAL_FATAL(metric_new(&own, h, 9, NULL, NULL), 0);
			CU_ASSERT_EQUAL_FATAL(coded_allocate(&c, CODING_SUM, 3, 9, 9, planes, false, NULL), 0);
			c.offset = calloc(3, sizeof *c.offset);
			w[20] = 0;
			CU_ASSERT_EQUAL(quantizers[m].rows(&c, w, 0, 3, own, &o, &e), 0);
			for (uint32_t i = 0; i < 27; i++)
				CU_ASSERT_TRUE(isfinite(coded_value(&c, i / 9, i % 9)));
			CU_ASSERT_EQUAL(coded_value(&c, 0, 4), 0);
			w[20] = NAN;
			CU_ASSERT_EQUAL(quantizers[m].rows(&c, w, 0, 3, own, &o, &e), -EINVAL);
		}
	metric_free(metric);
}

TEST_MAIN("rows", TEST(draw), TEST(inputs_help), TEST(thresholds_make_zeros), TEST(rows_are_independent),
	TEST(odd_rows))
