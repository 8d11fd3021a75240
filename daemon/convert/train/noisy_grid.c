/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/noisy_grid.h"

#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define NEAR 16 /* times the noise: points beyond have no probability worth counting */

/* Fewest bits that have point @j. */
static uint32_t width_of(int j)
{
	uint32_t magnitude = (uint32_t) (j < 0 ? -(j + 1) : j), width = 1;

	for (; magnitude; magnitude >>= 1)
		width++;
	return MAX_OF(width, (uint32_t) NOISY_GRID_CORE);
}

/* The nearest point that @planes bits have. */
static int nearest(uint32_t planes, float u)
{
	float low = -(float) (1 << (planes - 1));

	return (int) fminf(fmaxf(rintf(u), low), -low - 1);
}

static float mask_of(const struct noisy_grid *g, uint32_t width)
{
	float mask = 1;

	for (uint32_t k = NOISY_GRID_CORE + 1; k <= width; k++)
		mask *= g->mask[k];
	return mask;
}

/* Logarithm of a point's probability, but for what all points have. */
static float log_probability(const struct noisy_grid *g, float u, int j)
{
	float x = fabsf(u - (float) j) / g->noise, e = expf(-x);

	return logf(mask_of(g, width_of(j))) - x - logf((1 + e * e) / 2 + coshf(0.5f / g->noise) * e);
}

/* Within points of equal masks the nearest one. */
int noisy_grid_point(const struct noisy_grid *g, float u)
{
	int best = nearest(g->planes, u);
	uint32_t width = width_of(best);

	if (mask_of(g, width) == 1)
		return best;
	for (uint32_t k = NOISY_GRID_CORE; k < width; k++) {
		int j = nearest(k, u);

		if (log_probability(g, u, j) >= log_probability(g, u, best))
			best = j;
	}
	return best;
}

/**
 * struct sums - of the probabilities of points, alone and times something
 * @h, @sinh_h, @cosh_h: of the noise; @reference: the x of the point whose probability is about 1
 * @all: [2] alone, and times the point; @place, @noise: the same of the logarithm's derivatives
 * @width: of the points of each width
 */
struct sums {
	float h, sinh_h, cosh_h, reference;
	float all[2], place[2], noise[2], width[BITS_PLANES_MAX + 1][2];
};

static void add_point(struct sums *s, const struct noisy_grid *g, float u, int j)
{
	float signed_x = (u - (float) j) / g->noise, x = fabsf(signed_x), e = expf(-x);
	float below = (1 + e * e) / 2 + s->cosh_h * e, sine = (1 - e * e) / 2;
	uint32_t width = width_of(j);
	float p = mask_of(g, width) * expf(s->reference - x) / below;
	float place = -copysignf(sine, signed_x) / below / g->noise;
	float noise = (s->sinh_h * e * s->h + sine * x) / below / g->noise;

	for (int i = 0; i < 2; i++, p *= (float) j) {
		s->all[i] += p;
		s->place[i] += p * place;
		s->noise[i] += p * noise;
		s->width[width][i] += p;
	}
}

struct noisy_mean noisy_grid_mean(const struct noisy_grid *g, float u)
{
	int best = noisy_grid_point(g, u), near = nearest(g->planes, u), end = 1 << (g->planes - 1);
	int reach = (int) ceilf(NEAR * g->noise), first = MAX_OF(MIN_OF(best, near) - reach, -end);
	int last = MIN_OF(MAX_OF(best, near) + reach, end - 1);
	struct noisy_mean m = {.point = best};
	float h = 0.5f / g->noise;
	struct sums s = {.h = h, .sinh_h = sinhf(h), .cosh_h = coshf(h),
		.reference = fabsf(u - (float) best) / g->noise};

	for (int j = first; j <= last; j++)
		add_point(&s, g, u, j);
	m.mean = s.all[1] / s.all[0];
	m.by_place = (s.place[1] - m.mean * s.place[0]) / s.all[0];
	m.by_noise = (s.noise[1] - m.mean * s.noise[0]) / s.all[0];
	for (uint32_t k = NOISY_GRID_CORE + 1; k <= g->planes; k++)
		for (uint32_t w = k; w <= g->planes; w++)
			m.by_mask[k] += (s.width[w][1] - m.mean * s.width[w][0]) / s.all[0];
	return m;
}
