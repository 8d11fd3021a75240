/* SPDX-License-Identifier: Apache-2.0 */
/* The transformation that carries errors to columns not yet binary: what it is, and that it learns. */
#include "nets.h"

#include "convert/train/aggregate.h"

#define N 13
#define VECTORS 60
#define DELTA 1e-4

/**
 * struct fixture - a block and the second moment of its inputs; the loss is the sum of pass, each times a
 *	drawn number
 */
struct fixture {
	struct aggregate a;
	uint32_t order[N];
	double v[N * N], log_s[N], moment[N * N];
	float pass[N * N], gradient[N * N], *heavy;
};

static void fixture_init(struct fixture *f)
{
	_cleanup_free_ float *x = drawn_floats(3, VECTORS * N, 1);

	*f = (struct fixture){.a = {.n = N, .order = f->order, .v = f->v, .log_s = f->log_s, .pass = f->pass,
		.gradient = f->gradient}, .heavy = drawn_floats(4, N * N, 1)};
	for (uint32_t k = 0; k < VECTORS; k++) {
		for (uint32_t i = 0; i + 1 < N; i++)
			x[k * N + i] = (x[k * N + i] + x[k * N + i + 1]) * (1 + 0.1f * (float) (i * 5 % N));
		for (uint32_t i = 0; i < N; i++)
			for (uint32_t j = 0; j < N; j++)
				f->moment[i * N + j] += (double) (x[k * N + i] * x[k * N + j]);
	}
	CU_ASSERT_EQUAL_FATAL(aggregate_start(&f->a, f->moment), 0);
}

static void set_gradient(struct fixture *f)
{
	for (uint32_t p = 0, first = 0; p < AGGREGATE_PORTIONS; p++)
		for (uint32_t end = aggregate_end(N, p); first < end; first++)
			for (uint32_t k = end; k < N; k++)
				f->gradient[first * N + k] = f->heavy[first * N + k];
}

static double loss(const struct fixture *f)
{
	double sum = 0;

	for (uint32_t i = 0; i < N * N; i++)
		sum += (double) f->heavy[i] * (double) f->pass[i];
	return sum;
}

/* Of all that can be added to the rest, pass leaves the least error in the metric: pass M_RR = M_AR. */
static void test_pass_is_the_best_there_is(void)
{
	struct fixture f;
	double mean = 0;

	fixture_init(&f);
	for (uint32_t i = 0; i < N; i++) {
		mean += f.moment[i * (N + 1)] / N;
		CU_ASSERT(i == 0 || f.moment[f.order[i] * (N + 1)] <= f.moment[f.order[i - 1] * (N + 1)]);
	}
	for (uint32_t p = 0, first = 0; p < AGGREGATE_PORTIONS; p++)
		for (uint32_t end = aggregate_end(N, p); first < end; first++)
			for (uint32_t k = 0; k < N; k++) {
				double sum = 0.01 * mean * (double) f.pass[first * N + k];

				for (uint32_t t = end; t < N; t++)
					sum += (double) f.pass[first * N + t] * f.moment[f.order[t] * N + f.order[k]];
				if (k < end)
					CU_ASSERT_EQUAL(f.pass[first * N + k], 0);
				if (k >= end)
					CU_ASSERT_DOUBLE_EQUAL(sum / mean, f.moment[f.order[first] * N + f.order[k]] / mean, 1e-4);
			}
	free(f.heavy);
}

/* What a step says about importances is the difference that they make. */
static void test_importances_follow_their_gradient(void)
{
	struct fixture f, g;

	fixture_init(&f);
	for (uint32_t q = 0; q < N; q++) {
		double was = f.log_s[q], above, moved;

		f.log_s[q] = was + DELTA;
		CU_ASSERT_EQUAL(aggregate_learn(&f.a, 0), 0);
		above = loss(&f);
		f.log_s[q] = was - DELTA;
		CU_ASSERT_EQUAL(aggregate_learn(&f.a, 0), 0);
		above = (above - loss(&f)) / (2 * DELTA);
		f.log_s[q] = was;
		fixture_init(&g);
		set_gradient(&g);
		CU_ASSERT_EQUAL(aggregate_learn(&g.a, 1e-3), 0);
		moved = (was - g.log_s[q]) / 1e-3;
		CU_ASSERT_DOUBLE_EQUAL(moved, above, 0.02 * fabs(above) + 2e-3);
		free(g.heavy);
	}
	free(f.heavy);
}

/* Turned directions stay directions, and lower the loss as fast as their gradient says. */
static void test_directions_learn(void)
{
	struct fixture f;
	double before, was[N * N], importances[N], turned = 0;

	fixture_init(&f);
	before = loss(&f);
	memcpy(was, f.v, sizeof was);
	memcpy(importances, f.log_s, sizeof importances);
	for (int i = 0; i < 50; i++) {
		set_gradient(&f);
		CU_ASSERT_EQUAL(aggregate_learn(&f.a, 0.02), 0);
		memcpy(f.log_s, importances, sizeof importances);
	}
	CU_ASSERT_EQUAL(aggregate_learn(&f.a, 0), 0);
	CU_ASSERT(loss(&f) < before - 0.1);
	for (uint32_t i = 0; i < N; i++)
		for (uint32_t j = 0; j <= i; j++) {
			double dot = 0;

			for (uint32_t t = 0; t < N; t++)
				dot += f.v[i * N + t] * f.v[j * N + t];
			CU_ASSERT_DOUBLE_EQUAL(dot, i == j, 1e-9);
			turned += fabs(f.v[i * N + j] - was[i * N + j]);
		}
	CU_ASSERT(turned > 0.1);
	free(f.heavy);
}

TEST_MAIN("aggregate", TEST(pass_is_the_best_there_is), TEST(importances_follow_their_gradient),
	TEST(directions_learn))
