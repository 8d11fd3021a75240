/* SPDX-License-Identifier: Apache-2.0 */
/* What teachers answer: the mean of what each of them would alone. */
#include "nets.h"

#include <errno.h>

#include "convert/train/prepare.h"
#include "convert/train/teachers.h"

#define BATCH 3
#define INPUTS (8 * 8 * 3)
#define CLASSES 4

static void answers_of(const struct net *net, const float *input, float *ret)
{
	_cleanup_(teachers_done) struct teachers t = {};

	CU_ASSERT_EQUAL_FATAL(teachers_init(&t, net, BATCH), 0);
	CU_ASSERT_EQUAL_FATAL(teachers_add(&t, net, BATCH, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(teachers_ask(&t, input, NULL), 0);
	memcpy(ret, t.answers, BATCH * CLASSES * sizeof *ret);
}

static void test_the_mean_of_all(void)
{
	_cleanup_(net_freep) struct net *a = net_small(), *b = net_small();
	_cleanup_(teachers_done) struct teachers both = {};
	_cleanup_free_ float *input = drawn_floats(5, BATCH * INPUTS, 1);
	float of_a[BATCH * CLASSES], of_b[BATCH * CLASSES], apart = 0;

	prepare_random(b, 7);
	answers_of(a, input, of_a);
	answers_of(b, input, of_b);
	CU_ASSERT_EQUAL_FATAL(teachers_init(&both, a, BATCH), 0);
	CU_ASSERT_EQUAL_FATAL(teachers_add(&both, a, BATCH, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(teachers_add(&both, b, BATCH, NULL), 0);
	for (int turn = 0; turn < 2; turn++)
		CU_ASSERT_EQUAL_FATAL(teachers_ask(&both, input, NULL), 0);
	for (size_t i = 0; i < BATCH * CLASSES; i++) {
		CU_ASSERT_DOUBLE_EQUAL(both.answers[i], (of_a[i] + of_b[i]) / 2, 1e-5);
		apart = fmaxf(apart, fabsf(of_a[i] - of_b[i]));
	}
	CU_ASSERT(apart > 0.1f);
}

static void test_other_sizes_are_refused(void)
{
	_cleanup_(net_freep) struct net *small = net_small(), *other = net_new("other");
	_cleanup_(teachers_done) struct teachers t = {};
	struct error e = {};
	uint32_t in = net_value_of(other, 1, INPUTS, 0, 0), out = net_value_of(other, 1, CLASSES + 1, 0, 0);

	(void) net_add_node(other, NET_INPUT, "input");
	other->nodes[0].output = other->input = in;
	other->output = out;
	(void) net_linear(other, in, out);
	CU_ASSERT_EQUAL_FATAL(teachers_init(&t, small, BATCH), 0);
	CU_ASSERT_EQUAL(teachers_add(&t, other, BATCH, &e), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "5 outputs"));
	CU_ASSERT_EQUAL(t.n, 0);
}

TEST_MAIN("teachers", TEST(the_mean_of_all), TEST(other_sizes_are_refused))
