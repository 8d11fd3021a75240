/* SPDX-License-Identifier: Apache-2.0 */
/* Single decisions, by tables: who beats whom, what unknown means, what has to wait. */
#include "service/policy.h"

#include <string.h>

#include "base/clock.h"
#include "service/policy_explain.h"
#include "support/test.h"

struct row {
	double bits_max, by_hand;
	enum profile profile;
	double cap, bits;
	enum policy_rule rule;
};

/* clang-format off */
static const struct row rows[] = {
	/* max  hand  profile               cap   bits  rule */
	{  8,   0,    PROFILE_PERFORMANCE,  0,    8,    RULE_FULL },
	{  8,   0,    PROFILE_BALANCED,     4,    4,    RULE_PROFILE },
	{  4,   0,    PROFILE_BALANCED,     4,    4,    RULE_FULL },	/* a cap that takes nothing decides nothing */
	{  3,   0,    PROFILE_BALANCED,     4,    3,    RULE_FULL },
	{  8,   0,    PROFILE_POWER_SAVER,  2.5,  2.5,  RULE_PROFILE },
	{  8,   6,    PROFILE_POWER_SAVER,  2,    6,    RULE_HAND },	/* a hand beats a profile */
	{  8,   2,    PROFILE_PERFORMANCE,  0,    2,    RULE_HAND },
	{  4,   9,    PROFILE_PERFORMANCE,  0,    4,    RULE_HAND },
	{  4,   0.25, PROFILE_PERFORMANCE,  0,    1,    RULE_HAND },
	{  8,   0,    PROFILE_BALANCED,     0.5,  1,    RULE_PROFILE },
};
/* clang-format on */

static void test_without_rules(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct policy_model m = {
			.name = "m",
			.bits_max = rows[i].bits_max,
			.bits_by_hand = rows[i].by_hand,
			.profile = rows[i].profile,
			.profile_bits = rows[i].cap,
		};
		struct policy_inputs in = {.now_nsec = 1};
		struct policy_state s = {};

		policy_resolve(NULL, &in, &m, &s, &s);
		CU_ASSERT_EQUAL(s.budget.bits, rows[i].bits);
		CU_ASSERT_EQUAL(s.budget.rule, rows[i].rule);
		CU_ASSERT_STRING_EQUAL(s.budget.rule_name, policy_rule_name(rows[i].rule));
		CU_ASSERT_TRUE(s.budget.text[0] != '\0');
	}
}

static const char some_rules[] =
	"version: 1\n"
	"dwell: 10 s\n"
	"switches-per-hour: 4\n"
	"rules:\n"
	"  - {name: cold, when: {temperature of case: below -10 C}, then: {bits: at least 3}}\n"
	"  - {name: hot, when: {temperature: above 80 C}, hard: true, then: {bits: at most 2, "
	"threads: 1}}\n"
	"  - {name: low, when: {on-battery: true, battery-percent: below 20 %}, then: {bits: at "
	"most 2}}\n"
	"  - {name: cameras, when: {on-battery: true}, then: {models: 'cam-*', bits: 5}}\n"
	"  - {name: card, when: {on-battery: true}, then: {models: card, accuracy-loss: at most 1 "
	"%}}\n"
	"  - {name: saver, when: {not: {system-profile: [balanced, performance]}}, then: {bits: at "
	"most 3.5}}\n"
	"  - {name: blind, when: {telemetry of sun: below 1}, unknown: true, then: {bits: at most "
	"6, rate: 2 /s}}\n"
	"  - {name: night, when: {time-of-day: '22:00 to 06:00'}, then: {bits: at most 4, refuse: "
	"true}}\n"
	"  - {name: lap, when: {performance-degraded: any}, then: {bits: at most 4.5}}\n";

static struct rules *read_rules(const char *text)
{
	struct rules *r;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(rules_new(&r), 0);
	if (rules_read_text(r, "t.yaml", text, strlen(text), &e) < 0 || rules_check(r, &e) < 0)
		printf("%s\n", e.text);
	CU_ASSERT_STRING_EQUAL_FATAL(e.text, "");
	CU_ASSERT_EQUAL_FATAL(rules_take_numbers(r, NULL), 0);
	return r;
}

#define NO (-1e9)

struct rules_row {
	const char *model, *rule;
	double bits, hand, hold;
	double battery, percent, temperature, in_case, profile, sun, minute;
	const char *degraded;
};

/* clang-format off */
static const struct rules_row rules_rows[] = {
	/* model   rule       bits hand hold  batt  %   temp  case prof sun minute degraded */
	{ "m",     "full",    8,   0,   0,    0,   10,  20,   NO,  1,   5,  720,   "" },
	{ "m",     "blind",   6,   0,   0,    NO,  NO,  NO,   NO,  NO,  NO, NO,    NULL },	/* nothing is known: only what says so */
	{ "m",     "low",     2,   0,   0,    1,   10,  20,   NO,  1,   5,  720,   "" },
	{ "m",     "full",    8,   0,   0,    1,   NO,  20,   NO,  1,   5,  720,   "" },	/* no battery is not an empty one */
	{ "m",     "low",     3,   0,   0,    1,   10,  20,  -20,  1,   5,  720,   "" },	/* an earlier "at least" stands */
	{ "m",     "hot",     2,   0,   0,    1,   10,  81,  -20,  1,   5,  720,   "" },	/* hard beats what stands before it */
	{ "m",     "hot",     2,   7,   6,    0,   50,  81,   20,  1,   5,  720,   "" },	/* and hands and holds */
	{ "m",     "hand",    7,   7,   6,    1,   10,  20,   20,  1,   5,  720,   "" },
	{ "m",     "hold",    6,   3,   6,    1,   10,  20,   20,  1,   5,  720,   "" },
	{ "cam-1", "cameras", 5,   0,   0,    1,   90,  20,   20,  1,   5,  720,   "" },
	{ "cam-1", "low",     2,   0,   0,    1,   10,  20,   20,  1,   5,  720,   "" },
	{ "cam",   "full",    8,   0,   0,    1,   90,  20,   20,  1,   5,  720,   "" },
	{ "card",  "card",    3,   0,   0,    1,   90,  20,   20,  1,   5,  720,   "" },
	{ "m",     "saver",   3.5, 0,   0,    0,   90,  20,   20,  0,   5,  720,   "" },
	{ "m",     "blind",   6,   0,   0,    0,   90,  20,   20,  1,   0,  720,   "" },
	{ "m",     "night",   4,   0,   0,    0,   90,  20,   20,  1,   5,  1320,  "" },
	{ "m",     "night",   4,   0,   0,    0,   90,  20,   20,  1,   5,  359,   "" },
	{ "m",     "full",    8,   0,   0,    0,   90,  20,   20,  1,   5,  360,   "" },
	{ "m",     "lap",     4.5, 0,   0,    0,   90,  20,   20,  1,   5,  720,   "lap-detected" },
};
/* clang-format on */

static struct reading reading(double v)
{
	return (struct reading){v, v != NO};
}

static struct policy_inputs inputs_of(const struct rules_row *r)
{
	struct policy_inputs in = {.now_nsec = NSEC_PER_SEC, .n_zones = 2, .n_telemetry = 1};

	in.plain[SENSE_ON_BATTERY] = reading(r->battery);
	in.plain[SENSE_BATTERY_PERCENT] = reading(r->percent);
	in.plain[SENSE_SYSTEM_PROFILE] = reading(r->profile);
	in.plain[SENSE_TIME_OF_DAY] = reading(r->minute);
	in.plain[SENSE_PERFORMANCE_DEGRADED].known = r->degraded;
	(void) snprintf(in.degraded, sizeof in.degraded, "%s", r->degraded ?: "");
	in.zones[0] = (struct policy_zone){.type = "cpu", .temperature = reading(r->temperature)};
	in.zones[1] = (struct policy_zone){.type = "case", .temperature = reading(r->in_case)};
	in.telemetry[0] = (struct policy_telemetry){"sun", reading(r->sun)};
	return in;
}

static const struct accuracy card[] = {
	{1, 40, 0, 0}, {2, 88, 0, 0}, {3, 90.5f, 0, 0}, {4, 91, 0, 0}, {8, 91.5f, 0, 0}};

static void test_rules_by_table(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(some_rules);

	for (size_t i = 0; i < ARRAY_SIZE(rules_rows); i++) {
		const struct rules_row *r = &rules_rows[i];
		struct policy_inputs in = inputs_of(r);
		struct policy_model m = {.name = r->model,
			.bits_max = 8,
			.bits_by_hand = r->hand,
			.hold_bits = r->hold,
			.accuracies = card,
			.n_accuracies = ARRAY_SIZE(card)};
		struct policy_state s = {}, again;

		policy_resolve(rules, &in, &m, &s, &s);
		if (s.budget.bits != r->bits || strcmp(s.budget.rule_name, r->rule) != 0)
			printf("row %zu: %s %g: %s\n", i, s.budget.rule_name, s.budget.bits,
				s.budget.text);
		CU_ASSERT_EQUAL(s.budget.bits, r->bits);
		CU_ASSERT_STRING_EQUAL(s.budget.rule_name, r->rule);
		CU_ASSERT_EQUAL(s.budget.hold_broken, strcmp(r->rule, "hot") == 0 && r->hold > 0);
		CU_ASSERT_EQUAL(s.budget.threads, strcmp(r->rule, "hot") == 0);
		CU_ASSERT_EQUAL(s.budget.refuse, strcmp(r->rule, "night") == 0);
		policy_resolve(rules, &in, &m, &s, &again);
		CU_ASSERT_EQUAL(again.budget.bits, s.budget.bits);
		CU_ASSERT_EQUAL(again.n_switches, s.n_switches);
	}
}

/* Boards have several zones, and what is far from its trip point is no reason to let go of one that is near. */
static void test_the_worst_zone_counts(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(
		"version: 1\nrules:\n"
		"  - {name: hot, when: {trip-distance: below 5 C}, until: {trip-distance: above 10 C}, hard: true, "
		"dwell: 30 s, then: {bits: at most 2}}\n"
		"  - {name: warm, when: {temperature: above 60 C}, until: {temperature: below 50 C}, dwell: 30 s, "
		"then: {bits: at most 3}}\n");
	struct policy_inputs in = {.n_zones = 2,
		.zones = {{"cpu", {80, true}, {}, {3, true}}, {"gpu", {30, true}, {}, {70, true}}}};
	struct policy_model m = {.name = "m", .bits_max = 4};
	struct policy_state s = {};

	for (uint64_t i = 1; i < 50; i++) {
		in.now_nsec = i * 60 * UINT64_C(1000000000);
		policy_resolve(rules, &in, &m, &s, &s);
		CU_ASSERT_EQUAL(s.budget.bits, i < 20 ? 2 : i < 30 ? 3 : 4);
		if (i == 19)
			in.zones[0].trip_distance.value = 11;
		if (i == 29)
			in.zones[0].temperature.value = 49;
	}
	CU_ASSERT_EQUAL(s.n_switches, 2);
}

static void test_each_limit_has_its_rule(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(
		"version: 1\nrules:\n"
		"  - {name: low, when: {on-battery: true}, then: {bits: at most 2, rate: 5 /s}}\n"
		"  - {name: night, when: {on-battery: true}, then: {refuse: true, rate: 1 /s}}\n");
	struct policy_inputs in = {.plain[SENSE_ON_BATTERY] = {1, true}};
	struct policy_model m = {.name = "m", .bits_max = 4};
	struct policy_state s = {};
	struct explanation why;

	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_STRING_EQUAL(s.budget.text, "the rule \"low\" allows 2 bits");
	CU_ASSERT_STRING_EQUAL(policy_limited_by(rules, &s.budget, DEMAND_REFUSE), "night");
	CU_ASSERT_STRING_EQUAL(policy_limited_by(rules, &s.budget, DEMAND_RATE), "low");
	CU_ASSERT_EQUAL(s.budget.rate, 5);
	policy_explain(&why, rules, &in, &m, &s);
	CU_ASSERT_STRING_EQUAL(why.lines[1], "requests are refused, by \"night\"");
	CU_ASSERT_STRING_EQUAL(why.lines[2], "at most 5 requests per second, by \"low\"");
}

static void test_a_loss_needs_a_card(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(
		"version: 1\nrules: [{name: battery, when: {on-battery: true}, then: {accuracy-loss: at most 1 %}}]\n");
	struct policy_inputs in = {.plain[SENSE_ON_BATTERY] = {1, true}};
	struct policy_model m = {.name = "m", .bits_max = 8};
	struct policy_state s = {};
	struct explanation why;

	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_EQUAL(s.budget.bits, 8);
	CU_ASSERT_STRING_EQUAL(s.budget.rule_name, "full");
	CU_ASSERT_STRING_EQUAL(
		s.budget.text, "the rule \"battery\" allows a loss, but the model has no accuracy card");
	policy_explain(&why, rules, &in, &m, &s);
	CU_ASSERT_EQUAL_FATAL(why.n, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(why.lines[0], "accuracy card"));
	in.plain[SENSE_ON_BATTERY].value = 0;
	m.accuracies = card;
	m.n_accuracies = ARRAY_SIZE(card);
	s = (struct policy_state){};
	policy_resolve(rules, &in, &m, &s, &s);
	policy_explain(&why, rules, &in, &m, &s);
	CU_ASSERT_EQUAL_FATAL(why.n, 1);
	CU_ASSERT_STRING_EQUAL(why.lines[0], "\"battery\" would allow 3 bits, when on-battery is true");
}

struct step {
	double second, percent, temperature, bits;
	uint64_t n_switches, dwell, budget;
};

static void run_steps(const struct rules *rules, const struct step *steps, size_t n, double resumed)
{
	struct policy_model m = {.name = "m", .bits_max = 8};
	struct policy_state s = {};

	for (size_t i = 0; i < n; i++) {
		struct rules_row r = {"m", "", 0, 0, 0, 1, steps[i].percent, steps[i].temperature,
			NO, 1, 5, 720, ""};
		struct policy_inputs in = inputs_of(&r);

		in.now_nsec = (uint64_t) (steps[i].second * 1e9);
		in.resumed_nsec = (uint64_t) (resumed * 1e9);
		policy_resolve(rules, &in, &m, &s, &s);
		if (s.budget.bits != steps[i].bits)
			printf("step %zu: %g bits\n", i, s.budget.bits);
		CU_ASSERT_EQUAL(s.budget.bits, steps[i].bits);
		CU_ASSERT_EQUAL(s.n_switches, steps[i].n_switches);
		CU_ASSERT_EQUAL(s.n_suppressed[SUPPRESSED_DWELL], steps[i].dwell);
		CU_ASSERT_EQUAL(s.n_suppressed[SUPPRESSED_BUDGET], steps[i].budget);
		CU_ASSERT_TRUE(s.wake_nsec == 0 || s.wake_nsec > in.now_nsec);
	}
}

static void test_dwell_band_and_budget(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(some_rules);
	static const struct step steps[] = {
		{100, 50, 20, 8, 0, 0, 0},
		{101, 19, 20, 2, 1, 0, 0},
		{102, 22, 20, 2, 1, 0, 0}, /* inside of the band: nobody wants more */
		{103, 23, 20, 2, 1, 1, 0}, /* out of it, and too early */
		{104, 24, 20, 2, 1, 1, 0}, /* the same wish counts once */
		{111, 24, 20, 8, 2, 1, 0},
		{112, 24, 85, 2, 3, 1, 0}, /* a hard limit waits for nothing */
		{130, 24, 76, 2, 3, 1, 1}, /* the last switch of the hour is kept for less */
		{3701, 24, 76, 8, 4, 1, 1},
		{3712, 19, 76, 2, 5, 1, 1},
	};

	run_steps(rules, steps, ARRAY_SIZE(steps), 0);
}

static void test_grace_after_resume(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(some_rules);
	struct policy_model m = {.name = "m", .bits_max = 8};
	struct rules_row r = {"m", "", 0, 0, 0, 1, 50, 20, NO, 1, 5, 720, ""};
	struct policy_inputs in = inputs_of(&r);
	struct policy_state s = {};

	policy_resolve(rules, &in, &m, &s, &s);
	in.resumed_nsec = in.now_nsec = 100 * NSEC_PER_SEC;
	in.plain[SENSE_BATTERY_PERCENT] = reading(5);
	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_EQUAL(s.budget.bits, 8);
	CU_ASSERT_EQUAL(s.n_suppressed[SUPPRESSED_GRACE], 1);
	CU_ASSERT_EQUAL(s.wake_nsec, 115 * NSEC_PER_SEC);
	CU_ASSERT_STRING_EQUAL(suppressed_name(SUPPRESSED_GRACE), "grace");
	in.now_nsec = s.wake_nsec;
	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_EQUAL(s.budget.bits, 2);
}

/* What a person asks for does not wait and takes nothing from the budget. */
static void test_hands_are_at_once(void)
{
	_cleanup_(rules_freep) struct rules *rules = read_rules(some_rules);
	struct policy_model m = {.name = "m", .bits_max = 8};
	struct rules_row r = {"m", "", 0, 0, 0, 0, 50, 20, NO, 1, 5, 720, ""};
	struct policy_inputs in = inputs_of(&r);
	struct policy_state s = {};

	policy_resolve(rules, &in, &m, &s, &s);
	for (int i = 0; i < 100; i++) {
		m.bits_by_hand = i % 2 ? 3 : 0;
		policy_resolve(rules, &in, &m, &s, &s);
		CU_ASSERT_EQUAL(s.budget.bits, i % 2 ? 3 : 8);
	}
	CU_ASSERT_EQUAL(s.n_switches, 0);
	m.profile = PROFILE_POWER_SAVER;
	m.bits_by_hand = 0;
	m.profile_bits = 2;
	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_EQUAL(s.budget.bits, 2);
}

static void test_until(void)
{
	_cleanup_(rules_freep) struct rules *rules =
		read_rules("version: 1\ndwell: 0 s\nrules:\n"
			   "  - {name: a, when: {on-battery: true, power-draw: above 4 W}, until: "
			   "{on-battery: false}, then: {bits: at most 2}}\n");
	struct policy_model m = {.name = "m", .bits_max = 8};
	struct policy_inputs in = {.now_nsec = 1};
	struct policy_state s = {};
	static const struct {
		double watts, battery, bits;
	} steps[] = {{3, 1, 8}, {5, 1, 2}, {1, 1, 2}, {NO, 1, 2}, {1, NO, 8}, {5, 1, 2}, {1, 0, 8}};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		in.now_nsec += NSEC_PER_SEC;
		in.plain[SENSE_POWER_DRAW] = reading(steps[i].watts);
		in.plain[SENSE_ON_BATTERY] = reading(steps[i].battery);
		policy_resolve(rules, &in, &m, &s, &s);
		CU_ASSERT_EQUAL(s.budget.bits, steps[i].bits);
	}
}

static void test_names_are_parsed_back(void)
{
	for (int i = 0; i < _PROFILE_MAX; i++)
		CU_ASSERT_EQUAL(profile_parse(profile_name(i)), i);
	CU_ASSERT_TRUE(profile_parse("turbo") < 0);
	CU_ASSERT_TRUE(profile_parse("") < 0);
	CU_ASSERT_STRING_EQUAL(policy_rule_name(RULE_PROFILE), "profile");
}

static bool explains(const struct explanation *e, const char *line)
{
	for (uint32_t i = 0; i < e->n; i++)
		if (strcmp(e->lines[i], line) == 0)
			return true;
	for (uint32_t i = 0; i < e->n; i++)
		printf("\n    said: %s", e->lines[i]);
	return false;
}

static void test_it_says_what_would_end_it(void)
{
	struct rules *rules = read_rules(some_rules);
	struct policy_model m = {.name = "m", .bits_max = 8, .hold_bits = 0};
	struct policy_inputs in = {.now_nsec = 1};
	struct explanation why;
	struct policy_state s = {};

	in.plain[SENSE_ON_BATTERY] = (struct reading){1, true};
	in.plain[SENSE_BATTERY_PERCENT] = (struct reading){10, true};
	policy_resolve(rules, &in, &m, &s, &s);
	policy_explain(&why, rules, &in, &m, &s);
	CU_ASSERT_TRUE(explains(
		&why, "it ends when on-battery is false or battery-percent is at least 23 %"));
	in.plain[SENSE_BATTERY_PERCENT].value = 90;
	in.now_nsec += NSEC_PER_SEC;
	policy_resolve(rules, &in, &m, &s, &s);
	in.plain[SENSE_BATTERY_PERCENT].value = 10;
	policy_resolve(rules, &in, &m, &s, &s);
	policy_explain(&why, rules, &in, &m, &s);
	CU_ASSERT_TRUE(explains(&why, "1 switches so far; withheld: 1 by dwell"));
	CU_ASSERT_TRUE(explains(&why,
		"2 bits by \"low\" wait 10 s: one switch does not follow another at once"));
	m.memory_bits = 1.5;
	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_EQUAL(s.budget.bits, 1.5);
	CU_ASSERT_EQUAL(s.budget.rule, RULE_MEMORY);
	m.hold_bits = 4;
	policy_resolve(rules, &in, &m, &s, &s);
	CU_ASSERT_EQUAL(s.budget.bits, 1.5);
	CU_ASSERT_TRUE(s.budget.hold_broken);
	m = (struct policy_model){.name = "m", .bits_max = 8, .hold_bits = 4};
	in.plain[SENSE_BATTERY_PERCENT].value = 10;
	policy_resolve(rules, &in, &m, &s, &s);
	policy_explain(&why, rules, &in, &m, &s);
	CU_ASSERT_TRUE(explains(&why, "it ends when the client lets go; bitshed status says who"));
	CU_ASSERT_TRUE(explains(&why, "\"hot\" would allow 2 bits, when temperature is above 80 C"));
	(void) rules_free(rules);
}

TEST_MAIN("policy", TEST(without_rules), TEST(rules_by_table), TEST(the_worst_zone_counts), TEST(each_limit_has_its_rule), TEST(a_loss_needs_a_card), TEST(dwell_band_and_budget),
	TEST(grace_after_resume), TEST(hands_are_at_once), TEST(until), TEST(names_are_parsed_back), TEST(it_says_what_would_end_it))
