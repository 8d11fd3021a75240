/* SPDX-License-Identifier: Apache-2.0 */
/* What methods that drop bits compute with: likely points, their mean and its derivatives, masks. */
#include "nets.h"

#include "convert/train/bit_drop.h"
#include "convert/train/noisy_grid.h"

#define DELTA 1e-3f

static struct noisy_grid grid(float third, float fourth)
{
	return (struct noisy_grid){.planes = 4, .noise = 0.3f, .mask = {[3] = third, [4] = fourth}};
}

static void check_near(float have, double want)
{
	if (fabs((double) have - want) > 2e-3 + 0.02 * fabs(want))
		printf("%g, not %g\n", (double) have, want);
	CU_ASSERT(fabs((double) have - want) <= 2e-3 + 0.02 * fabs(want));
}

static double slope(const struct noisy_grid *a, const struct noisy_grid *b, float u, float v)
{
	return (double) (noisy_grid_mean(b, v).mean - noisy_grid_mean(a, u).mean) / (2 * (double) DELTA);
}

static void check_derivatives(struct noisy_grid g, float u)
{
	struct noisy_mean m = noisy_grid_mean(&g, u);
	struct noisy_grid a = g, b = g;

	check_near(m.by_place, slope(&g, &g, u - DELTA, u + DELTA));
	a.noise -= DELTA;
	b.noise += DELTA;
	check_near(m.by_noise, slope(&a, &b, u, u));
	for (int k = 3; k <= 4; k++) {
		a = b = g;
		a.mask[k] *= 1 - DELTA;
		b.mask[k] *= 1 + DELTA;
		check_near(m.by_mask[k], slope(&a, &b, u, u));
	}
}

/* Away from the places where a point more begins to count. */
static void test_derivatives(void)
{
	for (int i = -33; i <= 33; i++) {
		float u = (float) i * 0.29f + 0.01f;

		check_derivatives(grid(1, 1), u);
		check_derivatives(grid(0.7f, 0.2f), u);
		check_derivatives(grid(0.02f, 0.5f), u);
	}
}

static void test_masks_take_points_away(void)
{
	struct noisy_grid all = grid(1, 1), none = grid(0, 1), last = grid(1, 0), few = grid(1e-4f, 1);

	for (int i = -100; i <= 100; i++) {
		float u = (float) i * 0.1f + 0.01f;
		int near = (int) rintf(u);

		CU_ASSERT_EQUAL(noisy_grid_point(&all, u), near < -8 ? -8 : near > 7 ? 7 : near);
		CU_ASSERT_EQUAL(noisy_grid_point(&last, u), near < -4 ? -4 : near > 3 ? 3 : near);
		CU_ASSERT_EQUAL(noisy_grid_point(&none, u), near < -2 ? -2 : near > 1 ? 1 : near);
	}
	CU_ASSERT_EQUAL(noisy_grid_point(&few, 2), 1);
	CU_ASSERT_EQUAL(noisy_grid_point(&few, 5), 5);
}

/* Their mean over many draws is what is expected; a logit of +-20 is certain. */
static void test_drawn_masks(void)
{
	struct bit_drop d;
	double sum = 0, alive = 0;
	int n = 20000;

	bit_drop_init(&d, 3);
	d.logit[0] = 0.5f;
	d.logit[1] = 20;
	d.logit[2] = -20;
	for (int i = 0; i < n; i++) {
		bit_drop_draw(&d, (uint64_t) i + 1);
		sum += (double) d.mask[0] / n;
		alive += (d.mask[0] > 0) / (double) n;
		CU_ASSERT(d.mask[1] == 1 && d.mask[2] == 0 && d.slope[1] == 0 && d.slope[2] == 0);
	}
	CU_ASSERT_DOUBLE_EQUAL(alive, bit_drop_alive(&d, 0, 0), 0.01);
	CU_ASSERT_DOUBLE_EQUAL(bit_drop_bits(&d, 0), alive + alive, 0.02);
	bit_drop_expect(&d);
	CU_ASSERT_DOUBLE_EQUAL(sum, d.mask[0], 0.05);
}

TEST_MAIN("noisy_grid", TEST(derivatives), TEST(masks_take_points_away), TEST(drawn_masks))
