/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn weights of the two distributions for which the errors of the methods are known. */
#pragma once

#include <math.h>
#include <stdint.h>

struct source {
	uint64_t state;
};

#define SAMPLES_INIT                                                                               \
	{                                                                                          \
		UINT64_C(0x9e3779b97f4a7c15)                                                       \
	}

/* In (0, 1). */
static inline double sample_uniform(struct source *s)
{
	s->state ^= s->state << 13;
	s->state ^= s->state >> 7;
	s->state ^= s->state << 17;
	return ((double) (s->state >> 12) + 0.5) / 4503599627370496.0;
}

static inline float sample_gauss(struct source *s)
{
	double radius = sqrt(-2 * log(sample_uniform(s)));

	return (float) (radius * cos(2 * M_PI * sample_uniform(s)));
}

static inline float sample_laplace(struct source *s)
{
	double u = sample_uniform(s);

	return (float) (u < 0.5 ? log(2 * u) : -log(2 - 2 * u));
}

static inline void sample_fill(struct source *s, float *out, uint32_t n, int laplace)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = laplace ? sample_laplace(s) : sample_gauss(s);
}
