/* SPDX-License-Identifier: Apache-2.0 */
#include "service/choice.h"

#include "base/clock.h"
#include "support/test.h"

#define MS NSEC_PER_MSEC
#define NOW (1000 * NSEC_PER_SEC)

static struct figure of(uint64_t ms, double joules)
{
	return (struct figure){.there = true, .nsec = ms * MS, .joules = joules, .measured_nsec = NOW};
}

static uint32_t best(const struct figure *f, uint32_t n, enum profile profile)
{
	return choice_best(f, n, profile, NOW, 0);
}

static void test_the_quicker_one_where_nobody_measures_joules(void)
{
	struct figure f[3] = {of(10, 0), of(8, 0), of(9, 0)};

	for (enum profile p = 0; p < _PROFILE_MAX; p++) {
		CU_ASSERT_EQUAL(best(f, 3, p), 1);
		CU_ASSERT_EQUAL(best(f, 1, p), 0);
	}
	f[1].there = false;
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_BALANCED), 0); /* not by a tenth */
	f[2].nsec = 8 * MS;
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_BALANCED), 2);
	f[0].nsec = 0;
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_BALANCED), 0); /* measured first */
}

static void test_joules_count_as_the_profile_says(void)
{
	/* quick and hungry, slow and frugal */
	const struct figure f[3] = {of(10, 1.0), of(5, 3.0), of(16, 0.5)};

	CU_ASSERT_EQUAL(best(f, 3, PROFILE_PERFORMANCE), 1);
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_BALANCED), 2); /* 10, 15, 8 */
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_POWER_SAVER), 2);
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_POWER_SAVER), 0);
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_BALANCED), 0);
}

static void test_joules_of_one_alone_say_nothing(void)
{
	const struct figure f[2] = {of(10, 1.0), of(5, 0)};

	CU_ASSERT_EQUAL(best(f, 2, PROFILE_POWER_SAVER), 1);
}

static void test_who_has_much_to_do_takes_longer(void)
{
	struct figure f[3] = {of(10, 0), of(5, 0), of(6, 0)};

	f[1].waiting = 1;
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_PERFORMANCE), 2);
	f[2].waiting = 1;
	CU_ASSERT_EQUAL(best(f, 3, PROFILE_PERFORMANCE), 0);
}

static void test_old_figures_are_measured_again(void)
{
	struct figure f[2] = {of(10, 0), of(30, 0)};

	f[1].measured_nsec = NOW - 599 * NSEC_PER_SEC;
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_BALANCED), 0);
	f[1].measured_nsec = NOW - 600 * NSEC_PER_SEC;
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_BALANCED), 1);
	/* not where the request would be late, nor where it would take ages */
	CU_ASSERT_EQUAL(choice_best(f, 2, PROFILE_BALANCED, NOW, 40 * MS), 0);
	CU_ASSERT_EQUAL(choice_best(f, 2, PROFILE_BALANCED, NOW, 100 * MS), 1);
	f[1].nsec = 50 * MS;
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_BALANCED), 0);
	/* the processor's too */
	f[1].nsec = 3 * MS;
	f[1].measured_nsec = NOW;
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_BALANCED), 1);
	f[0].measured_nsec = 0;
	CU_ASSERT_EQUAL(best(f, 2, PROFILE_BALANCED), 0);
}

static void test_a_device_that_is_asked_for(void)
{
	struct figure f[3] = {of(1, 0), of(8, 0), of(7, 0)};

	CU_ASSERT_EQUAL(choice_device(f, 3, PROFILE_BALANCED), 2);
	f[2].there = false;
	CU_ASSERT_EQUAL(choice_device(f, 3, PROFILE_BALANCED), 1);
	f[1].there = false;
	CU_ASSERT_EQUAL(choice_device(f, 3, PROFILE_BALANCED), CHOICE_NONE);
}

TEST_MAIN("choice", TEST(the_quicker_one_where_nobody_measures_joules), TEST(joules_count_as_the_profile_says),
	TEST(joules_of_one_alone_say_nothing), TEST(who_has_much_to_do_takes_longer),
	TEST(old_figures_are_measured_again), TEST(a_device_that_is_asked_for))
