/* SPDX-License-Identifier: Apache-2.0 */
/* A meter of our own: 2 W, and 3 W more while something runs. */
#include "service/energy.h"

#include "base/clock.h"
#include "support/network.h"
#include "support/test.h"

#define RUN_NSEC (20 * NSEC_PER_MSEC)

static uint64_t now = 100 * NSEC_PER_SEC;

/* @n inferences, one after the other, with @pause between them. */
static void infer(struct energy_meter *m, struct energy *e, double bits, int n, uint64_t pause, double watts)
{
	for (int i = 0; i < n; i++) {
		now += pause + RUN_NSEC;
		energy_note(m, e, bits, RUN_NSEC, now, (struct reading){watts, watts > 0});
	}
}

static void test_measured(void)
{
	struct energy_meter m = {};
	struct energy e = {};

	/* Busy before anybody knows what idle is: nothing is learnt. */
	infer(&m, &e, 2, 600, 0, 5);
	CU_ASSERT_EQUAL(e.joules[16], 0);
	infer(&m, &e, 2, 1, 20 * NSEC_PER_SEC, 2);
	infer(&m, &e, 2, 600, 0, 5);
	CU_ASSERT_DOUBLE_EQUAL(e.joules[16], 3 * 0.02, 1e-3);
	CU_ASSERT_EQUAL(e.joules[32], 0);
	/* Half of the time. */
	infer(&m, &e, 4, 1, 20 * NSEC_PER_SEC, 2);
	infer(&m, &e, 4, 600, RUN_NSEC, 2 + 3 * 0.5);
	CU_ASSERT_DOUBLE_EQUAL(e.joules[32], 3 * 0.02, 1e-3);
}

static void test_two_at_once_say_nothing(void)
{
	struct energy_meter m = {};
	struct energy a = {}, b = {};

	infer(&m, &a, 2, 2, 20 * NSEC_PER_SEC, 2);
	for (int i = 0; i < 600; i++) {
		infer(&m, &a, 2, 1, 0, 5);
		infer(&m, &b, 2, 1, 0, 5);
	}
	CU_ASSERT_EQUAL(a.joules[16] + b.joules[16], 0);
	/* No meter, or one that has gone. */
	infer(&m, &a, 2, 600, 0, 0);
	CU_ASSERT_EQUAL(a.joules[16], 0);
	energy_forget(&m, &a);
	energy_forget(&m, &b);
	CU_ASSERT_PTR_NULL(m.owner);
}

/* As a device runs them together, and as two devices do, the later one heard of first. */
static void test_side_by_side_is_not_idle(void)
{
	const struct reading busy = {5, true};
	struct energy_meter m = {};
	struct energy e = {};

	infer(&m, &e, 2, 2, 20 * NSEC_PER_SEC, 2);
	for (int i = 0; i < 600; i++) {
		now += RUN_NSEC;
		CU_ASSERT_EQUAL(energy_due(&m, RUN_NSEC, now), now >= m.since_nsec + 5 * NSEC_PER_SEC);
		energy_note(&m, &e, 2, RUN_NSEC, now, busy);
		CU_ASSERT_FALSE(energy_due(&m, RUN_NSEC, now - 1));
		energy_note(&m, &e, 2, RUN_NSEC, now - 1, busy);
	}
	CU_ASSERT_DOUBLE_EQUAL(m.idle_watts, 2, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(e.joules[16], 3 * 0.01, 1e-3);
}

/* More bits cost more, and a measured width corrects the others. */
static void test_modelled(void)
{
	const struct test_network_options options = {.seed = 1, .planes = 4};
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	struct energy e = {};
	double at[5];
	bool measured;

	for (int b = 1; b <= 4; b++) {
		at[b] = energy_joules(&e, n, b, &measured);
		CU_ASSERT_FALSE(measured);
		CU_ASSERT_TRUE(at[b] > (b > 1 ? at[b - 1] : 0));
	}
	CU_ASSERT_TRUE(energy_joules(&e, n, 2.5, &measured) > at[2]);
	e.joules[16] = 3 * at[2];
	CU_ASSERT_EQUAL(energy_joules(&e, n, 2, &measured), 3 * at[2]);
	CU_ASSERT_TRUE(measured);
	CU_ASSERT_DOUBLE_EQUAL(energy_joules(&e, n, 4, &measured), 3 * at[4], 1e-9 * at[4]);
	CU_ASSERT_FALSE(measured);
	CU_ASSERT_EQUAL(energy_joules(&e, n, 9, &measured), 0);
}

TEST_MAIN("energy", TEST(measured), TEST(two_at_once_say_nothing), TEST(side_by_side_is_not_idle),
	TEST(modelled))
