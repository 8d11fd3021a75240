/* SPDX-License-Identifier: Apache-2.0 */
/* Updates of many rows against the plain loop, bit for bit. */
#include "convert/quantize/rank_update.h"

#include <string.h>

#include "base/cleanup.h"
#include "convert/samples.h"
#include "support/test.h"

#define COLUMNS 150
#define ROWS_MAX 9

static double from[RANK_MAX * COLUMNS], factor[RANK_MAX * ROWS_MAX], got[ROWS_MAX * COLUMNS], want[ROWS_MAX * COLUMNS];

static void draw(struct source *s, double *to, size_t n, uint32_t one_in)
{
	for (size_t i = 0; i < n; i++)
		to[i] = sample_uniform(s) * one_in < 1 ? (double) sample_gauss(s) : 0;
}

static void plain(const struct rank_update *u)
{
	for (uint32_t i = 0; i < u->n_to; i++)
		for (uint32_t k = 0; k < u->rank; k++)
			for (size_t j = u->first; j < u->end; j++)
				want[i * COLUMNS + j] += u->factor[k * u->n_to + i] * u->from[k * u->stride + j];
}

static void check(struct source *s, uint32_t rows, uint32_t rank, size_t first, size_t end, uint32_t one_in)
{
	double *to[ROWS_MAX];
	struct rank_update u = {.to = to, .n_to = rows, .rank = rank, .factor = factor, .from = from,
		.stride = COLUMNS, .first = first, .end = end};

	draw(s, factor, ARRAY_SIZE(factor), one_in);
	draw(s, got, ARRAY_SIZE(got), 1);
	for (uint32_t i = 0; i < ROWS_MAX; i++)
		to[i] = got + i * COLUMNS;
	memcpy(want, got, sizeof want);
	plain(&u);
	rank_update(&u);
	CU_ASSERT_EQUAL(memcmp(got, want, sizeof want), 0);
}

static void test_same_bits_as_the_plain_loop(void)
{
	static const size_t edges[][2] = {{0, COLUMNS}, {0, 1}, {31, 33}, {17, 81}, {COLUMNS, COLUMNS}};
	static const uint32_t ranks[] = {0, 1, 5, RANK_MAX};
	struct source s = SAMPLES_INIT;

	draw(&s, from, ARRAY_SIZE(from), 1);
	for (uint32_t rows = 1; rows <= ROWS_MAX; rows++)
		for (size_t r = 0; r < ARRAY_SIZE(ranks); r++)
			for (size_t e = 0; e < ARRAY_SIZE(edges); e++) {
				check(&s, rows, ranks[r], edges[e][0], edges[e][1], 1);
				check(&s, rows, ranks[r], edges[e][0], edges[e][1], 20);
			}
}

TEST_MAIN("rank_update", TEST(same_bits_as_the_plain_loop))
