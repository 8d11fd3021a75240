/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of decisions in a row, over drawn traces and rules: no switch is faster than the
 * dwell, no more than the budget in any hour, hard limits are never exceeded, and inputs that
 * stay the same lead to an end.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "service/policy.h"
#include "support/test.h"

#define TRACES 10000
#define STEPS 60

static uint64_t state = 1;

static uint32_t below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) (state >> 33) % n;
}

static struct rules *read_rules(const char *text)
{
	struct rules *r;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(rules_new(&r), 0);
	CU_ASSERT_EQUAL_FATAL(rules_read_text(r, "t.yaml", text, strlen(text), &e), 0);
	CU_ASSERT_EQUAL_FATAL(rules_take_numbers(r, NULL), 0);
	return r;
}

static int append(char *text, size_t size, const char *name, bool hard)
{
	static const char *const conditions[] = {"on-battery: true", "battery-percent: below %u %%",
		"battery-percent: above %u %%", "not: {battery-percent: below %u %%}",
		"temperature: above %u C", "temperature of cpu: below %u C",
		"system-profile: power-saver", "warning-level: [low, critical]"};
	static const char *const actions[] = {"bits: at most %u", "bits: at least %u", "bits: %u",
		"bits: at most %u, threads: 1", "accuracy-loss: at most %u %%",
		"refuse: true, rate: %u /s"};
	char when[64], then[64];
	size_t used = strlen(text);

/* The formats are those above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wformat-truncation"
#endif
	(void) snprintf(when, sizeof when, conditions[below(ARRAY_SIZE(conditions))], below(100));
	(void) snprintf(then, sizeof then, actions[hard ? 0 : below(ARRAY_SIZE(actions))], 1 + below(4));
#pragma GCC diagnostic pop
	return snprintf(text + used, size - used,
		"  - {name: %s, when: {%s}, then: {%s}, unknown: %s, hard: %s}\n", name, when, then,
		below(4) ? "false" : "true", hard ? "true" : "false");
}

/* Drawn until the checker takes them: that is what the daemon would run. */
static struct rules *draw_rules(uint32_t *ret_dwell, uint32_t *ret_budget)
{
	for (;;) {
		_cleanup_(rules_freep) struct rules *r = NULL;
		char text[4096], name[16];

		*ret_dwell = 10 + below(60);
		*ret_budget = 1 + below(60);
		(void) snprintf(text, sizeof text,
			"version: 1\ndwell: %u s\nswitches-per-hour: %u\nrules:\n", *ret_dwell,
			*ret_budget);
		for (uint32_t i = 0, n = 1 + below(5); i < n; i++) {
			(void) snprintf(name, sizeof name, "r%u", i);
			(void) append(text, sizeof text, name, below(4) == 0);
		}
		r = read_rules(text);
		if (rules_check(r, NULL) == 0)
			return take_ptr(r);
	}
}

static struct reading draw_reading(double max)
{
	return (struct reading){below((uint32_t) max * 4) / 4.0, below(8) > 0};
}

static void draw_inputs(struct policy_inputs *in)
{
	in->plain[SENSE_ON_BATTERY] = draw_reading(2);
	in->plain[SENSE_ON_BATTERY].value = floor(in->plain[SENSE_ON_BATTERY].value);
	in->plain[SENSE_BATTERY_PERCENT] = draw_reading(100);
	in->plain[SENSE_SYSTEM_PROFILE] = draw_reading(3);
	in->plain[SENSE_WARNING_LEVEL] = draw_reading(5);
	in->n_zones = 1;
	(void) strcpy(in->zones[0].type, "cpu");
	in->zones[0].temperature = draw_reading(100);
}

/*
 * The tightest hard cap among the rules that the state says hold; worked out beside the
 * resolver.
 */
static double hard_cap(const struct rules *r, uint64_t active)
{
	double cap = 8;

	for (uint32_t i = 0; i < r->n_rules; i++)
		if (r->rules[i].hard && active >> i & 1)
			cap = fmin(cap, r->rules[i].actions[0].bits_max);
	return cap;
}

struct seen {
	uint64_t at[STEPS];
	uint32_t n;
};

/* @forced: down to a hard limit, which waits for nothing. */
static void check_switch(
	struct seen *seen, uint64_t now, bool forced, uint32_t dwell, uint32_t budget)
{
	uint32_t in_hour = 0;

	for (uint32_t i = 0; i < seen->n; i++)
		in_hour += now - seen->at[i] < 3600 * NSEC_PER_SEC;
	if (!forced) {
		CU_ASSERT_TRUE(seen->n == 0 || now - seen->at[seen->n - 1] >= dwell * NSEC_PER_SEC);
		CU_ASSERT_TRUE(in_hour < budget);
	}
	seen->at[seen->n++] = now;
}

static const struct accuracy card[] = {{1, 50, 0, 0}, {2, 88, 0, 0}, {3, 90, 0, 0}, {4, 91, 0, 0}};

static void run_trace(void)
{
	uint32_t dwell, budget;
	_cleanup_(rules_freep) struct rules *r = draw_rules(&dwell, &budget);
	struct policy_model m = {
		.name = "m", .bits_max = 4, .accuracies = card, .n_accuracies = ARRAY_SIZE(card)};
	struct policy_inputs in = {.now_nsec = NSEC_PER_SEC};
	struct policy_state s = {};
	struct seen seen = {};

	for (int i = 0; i < STEPS; i++) {
		struct budget before = s.budget;
		bool first = !s.decided;
		double cap;

		in.now_nsec += below(20) * NSEC_PER_SEC + (below(30) == 0) * 2000 * NSEC_PER_SEC;
		draw_inputs(&in);
		policy_resolve(r, &in, &m, &s, &s);
		cap = hard_cap(r, s.active);
		CU_ASSERT_TRUE(s.budget.bits <= cap && s.budget.bits >= 1);
		if (!first && s.budget.bits != before.bits)
			check_switch(&seen, in.now_nsec, before.bits > cap, dwell, budget);
	}
	/* Constant from here on: each wake-up leads on, and there is an end. */
	for (int i = 0; i < 200 && s.wake_nsec > 0; i++) {
		in.now_nsec = s.wake_nsec;
		policy_resolve(r, &in, &m, &s, &s);
	}
	CU_ASSERT_EQUAL(s.wake_nsec, 0);
	CU_ASSERT_EQUAL(s.budget.bits, s.wanted.bits);
	CU_ASSERT_EQUAL(s.budget.refuse, s.wanted.refuse);
	for (int i = 0; i < 3; i++) {
		struct policy_state after;

		in.now_nsec += NSEC_PER_SEC;
		policy_resolve(r, &in, &m, &s, &after);
		CU_ASSERT_EQUAL(after.active, s.active);
		CU_ASSERT_EQUAL(after.n_switches, s.n_switches);
		s = after;
	}
}

static void test_drawn_traces(void)
{
	for (int i = 0; i < TRACES; i++)
		run_trace();
}

/* 1,000 signals in 10 s around a threshold, far beyond its band. */
static void test_sawtooth(void)
{
	_cleanup_(rules_freep) struct rules *r = read_rules(
		"version: 1\ndwell: 2 s\nswitches-per-hour: 3\nrules:\n"
		"  - {name: low, when: {battery-percent: below 50 %}, then: {bits: at most 2}}\n");
	struct policy_model m = {.name = "m", .bits_max = 4};
	struct policy_inputs in = {};
	struct policy_state s = {};
	uint64_t suppressed = 0;

	for (int i = 0; i < 1000; i++) {
		in.now_nsec = NSEC_PER_SEC + (uint64_t) i * 10 * NSEC_PER_MSEC;
		in.plain[SENSE_BATTERY_PERCENT] = (struct reading){40 + i % 20, true};
		policy_resolve(r, &in, &m, &s, &s);
	}
	for (int i = 0; i < _SUPPRESSED_MAX; i++)
		suppressed += s.n_suppressed[i];
	/* By dwell five, by the budget three, of which the last one is for less. */
	CU_ASSERT_TRUE(s.n_switches >= 2 && s.n_switches <= 3);
	CU_ASSERT_TRUE(
		s.n_suppressed[SUPPRESSED_DWELL] > 0 && s.n_suppressed[SUPPRESSED_BUDGET] > 0);
	CU_ASSERT_TRUE(suppressed >= 40 && suppressed <= 100);
}

TEST_MAIN("policy_traces", TEST(drawn_traces), TEST(sawtooth))
