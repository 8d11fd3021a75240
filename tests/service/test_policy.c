/* SPDX-License-Identifier: Apache-2.0 */
#include "service/policy.h"

#include <string.h>

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
	{  4,   0,    PROFILE_BALANCED,     4,    4,    RULE_FULL }, /* takes nothing */
	{  3,   0,    PROFILE_BALANCED,     4,    3,    RULE_FULL },
	{  8,   0,    PROFILE_POWER_SAVER,  2.5,  2.5,  RULE_PROFILE },
	{  8,   6,    PROFILE_POWER_SAVER,  2,    6,    RULE_HAND },	/* a hand beats a profile */
	{  8,   2,    PROFILE_PERFORMANCE,  0,    2,    RULE_HAND },
	{  4,   9,    PROFILE_PERFORMANCE,  0,    4,    RULE_HAND },
	{  4,   0.25, PROFILE_PERFORMANCE,  0,    1,    RULE_HAND },
	{  8,   0,    PROFILE_BALANCED,     0.5,  1,    RULE_PROFILE },
};
/* clang-format on */

static void test_table(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		double caps[_PROFILE_MAX] = {};
		struct policy_inputs in = {
			.bits_max = rows[i].bits_max,
			.bits_by_hand = rows[i].by_hand,
			.profile = rows[i].profile,
			.profile_bits = caps,
		};
		struct budget budget;

		caps[rows[i].profile] = rows[i].cap;
		policy_resolve(&in, &budget);
		CU_ASSERT_EQUAL(budget.bits, rows[i].bits);
		CU_ASSERT_EQUAL(budget.rule, rows[i].rule);
		CU_ASSERT_TRUE(budget.text[0] != '\0');
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

TEST_MAIN("policy", TEST(table), TEST(names_are_parsed_back))
