/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/bit_drop.h"

#include <math.h>

#include "convert/train/loader.h"

#define START 2.2f /* nine of ten are kept */
#define BETA (2.0f / 3)
#define LOW -0.1f
#define HIGH 1.1f

void bit_drop_init(struct bit_drop *d, uint32_t n)
{
	*d = (struct bit_drop){.n = n};
	for (uint32_t i = 0; i < n; i++)
		d->logit[i] = START;
	bit_drop_expect(d);
}

static float sigmoid(float x)
{
	return 1 / (1 + expf(-x));
}

/* @temperature: of the sigmoid, by which its slope goes */
static void set(struct bit_drop *d, uint32_t i, float x, float temperature)
{
	float s = sigmoid(x / temperature), stretched = s * (HIGH - LOW) + LOW;

	d->mask[i] = fminf(fmaxf(stretched, 0), 1);
	d->slope[i] = d->mask[i] == stretched ? (HIGH - LOW) * s * (1 - s) / temperature : 0;
}

void bit_drop_draw(struct bit_drop *d, uint64_t key)
{
	for (uint32_t i = 0; i < d->n; i++) {
		double u = ((double) (draw_u64(key, i) >> 12) + 0.5) / 4503599627370496.0;

		set(d, i, d->logit[i] + (float) log(u / (1 - u)), BETA);
	}
}

void bit_drop_expect(struct bit_drop *d)
{
	for (uint32_t i = 0; i < d->n; i++)
		set(d, i, d->logit[i], 1);
}

double bit_drop_alive(const struct bit_drop *d, uint32_t i, double shift)
{
	double x = (double) d->logit[i] - shift - (double) (BETA * logf(-LOW / HIGH));

	return 1 / (1 + exp(-x));
}

double bit_drop_bits(const struct bit_drop *d, double shift)
{
	double sum = 0, there = 1;

	for (uint32_t i = 0; i < d->n; i++) {
		there *= bit_drop_alive(d, i, shift);
		sum += there;
	}
	return sum;
}
