/* SPDX-License-Identifier: Apache-2.0 */
/* Traces: what is refused in them, and what the shipped rules make of the solar day in the tree. */
#include "rehearse/simulate.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "support/test.h"

static char path[] = "/tmp/bitshed-trace-XXXXXX";

static const struct accuracy card[] = {{1, 50, 0, 0}, {2, 88, 0, 0}, {3, 90, 0, 0}, {4, 91, 0, 0}};
static const struct simulate_model model = {
	.policy = {.name = "m",
		.bits_max = 4,
		.accuracies = card,
		.n_accuracies = ARRAY_SIZE(card)},
	.joules = {[2 * 8] = 0.5, [4 * 8] = 1},
	.rate = 2,
};

static int run_text(
	struct simulation *ret, const struct rules *rules, const char *text, struct error *e)
{
	struct trace t;
	FILE *f = fopen(path, "we");
	int r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fputs(text, f);
	(void) fclose(f);
	r = trace_open(&t, path, e);
	if (r < 0)
		return r;
	r = simulate_run(ret, rules, &t, &model, e);
	trace_done(&t);
	return r;
}

static void test_file_is_made(void)
{
	int fd = mkstemp(path);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	(void) close(fd);
}

static void test_mistakes(void)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{"", "expected a line of heads"},
		{"second\n", ":1: column 1: expected 'seconds'"},
		{"seconds,battery\n", ":1: column 2: expected an input as in rules"},
		{"seconds,temperature\n", ":1: column 2: expected a zone"},
		{"seconds,on-battery,on-battery\n", ":1: column 3: this input is here twice"},
		{"seconds,on-battery\n0,yes\n", ":2: column 2: expected a value"},
		{"seconds,battery-percent\n0,20 %\n", ":2: column 2: expected a value"},
		{"seconds,battery-percent\n0,nan\n", ":2: column 2: expected a value"},
		{"seconds,warning-level\n0,high\n", ":2: column 2: expected a value"},
		{"seconds,time-of-day\n0,25:00\n", ":2: column 2: expected a value"},
		{"seconds,on-battery\n0,true\n5\n", ":3: column 2: expected as many cells"},
		{"seconds,on-battery\n0,true,1\n", ":2: column 3: expected no more cells"},
		{"seconds,on-battery\n5,true\n4,true\n",
			":3: column 1: expected seconds, not less"},
		{"seconds,on-battery\n-5,true\n", ":2: column 1: expected seconds"},
		{"seconds\n999999999999\n", ":2: column 1: expected seconds"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct simulation s;
		struct error e = {};

		CU_ASSERT_EQUAL(run_text(&s, NULL, rows[i].text, &e), -EINVAL);
		if (!strstr(e.text, rows[i].words))
			printf("row %zu: %s\n", i, e.text);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, rows[i].words));
	}
}

static struct rules *shipped_rules(void)
{
	static const char *const file = BITSHED_SOURCE "/config/policies/default.yaml";
	struct rules *r = NULL;

	CU_ASSERT_EQUAL_FATAL(rules_load(&r, NULL, &file, 1, NULL), 0);
	return r;
}

static void test_sums(void)
{
	_cleanup_(rules_freep) struct rules *rules = shipped_rules();
	struct simulation s;

	/* 60 s at all bits, 2 s later than wanted at 2, and unknown again. */
	CU_ASSERT_EQUAL_FATAL(
		run_text(&s, rules,
			"seconds, on-battery, "
			"battery-percent\r\n0,false,15\r\n\r\n60,true,15\r\n62,,\r\n160,,\r\n",
			NULL),
		0);
	CU_ASSERT_EQUAL(s.n_switches, 2);
	CU_ASSERT_EQUAL(s.n_suppressed[SUPPRESSED_DWELL], 1);
	CU_ASSERT_EQUAL(s.seconds_at[4 * 8], 60 + 95);
	CU_ASSERT_EQUAL(s.seconds_at[2 * 8], 5);
	CU_ASSERT_DOUBLE_EQUAL(s.accuracy, (155 * 91 + 5 * 88) / 160.0, 1e-9);
	CU_ASSERT_EQUAL(s.accuracy_full, 91);
	CU_ASSERT_DOUBLE_EQUAL(s.joules, 155 * 2 * 1 + 5 * 2 * 0.5, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(s.joules_full, 160 * 2 * 1, 1e-9);
	simulation_done(&s);
}

/* 24 hours of sun and clouds by tests/golden/traces/solar.py. */
static void test_solar_day(void)
{
	_cleanup_(rules_freep) struct rules *rules = shipped_rules();
	struct simulation s;
	struct trace t;
	double seconds = 0;
	char *text = NULL;
	size_t size = 0;
	FILE *f;

	CU_ASSERT_EQUAL_FATAL(
		trace_open(&t, BITSHED_SOURCE "/tests/golden/traces/solar-day.csv", NULL), 0);
	CU_ASSERT_EQUAL_FATAL(simulate_run(&s, rules, &t, &model, NULL), 0);
	trace_done(&t);
	for (size_t i = 0; i < ARRAY_SIZE(s.seconds_at); i++)
		seconds += s.seconds_at[i];
	CU_ASSERT_DOUBLE_EQUAL(seconds, 86400, 1e-6);
	CU_ASSERT_TRUE(s.seconds_at[1 * 8] > 4 * 3600 && s.seconds_at[4 * 8] > 6 * 3600);
	CU_ASSERT_TRUE(s.n_switches >= 8 && s.n_switches <= 36);
	CU_ASSERT_TRUE(s.n_suppressed[SUPPRESSED_BUDGET] > 0);
	CU_ASSERT_TRUE(s.accuracy > 60 && s.accuracy < 91);
	/* The heat of 15:00 is a hard limit; the silence of 16:00 takes no bits. */
	for (size_t i = 0; i < s.n_moments; i++) {
		if (s.moments[i].second >= 15.1 * 3600 && s.moments[i].second < 15.5 * 3600)
			CU_ASSERT_EQUAL(s.moments[i].bits, 2);
		if (s.moments[i].second >= 16 * 3600 && s.moments[i].second < 16.15 * 3600)
			CU_ASSERT_EQUAL(s.moments[i].bits, 4);
	}

	f = open_memstream(&text, &size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	simulation_print(&s, f);
	simulation_plot(&s, f);
	simulation_print_json(&s, "solar \"day\"", f);
	(void) fclose(f);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "the hard rule \"nearly-too-hot\" allows 2 bits"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "<svg "));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "</svg>\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "{\"model\":\"solar \\\"day\\\"\",\"switches\":"));
	CU_ASSERT_PTR_NULL(strstr(text, "nan"));
	free(text);
	simulation_done(&s);
}

static void test_file_is_removed(void)
{
	CU_ASSERT_EQUAL(unlink(path), 0);
}

TEST_MAIN("simulate", TEST(file_is_made), TEST(mistakes), TEST(sums), TEST(solar_day),
	TEST(file_is_removed))
