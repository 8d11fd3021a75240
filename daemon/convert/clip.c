/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/clip.h"

#include <math.h>
#include <string.h>

#define SIDE (CALIBRATE_BINS / 2)

/* Mean square error of rounding to 2^bits levels of [low, high], clipped, over the histogram. */
static double clip_error(const struct value_statistics *v, double low, double high, uint32_t bits)
{
	double width = 2.0 * v->limit / CALIBRATE_BINS, error = 0;
	double step = (high - low) / ((1u << bits) - 1);

	for (int i = 0; i < CALIBRATE_BINS; i++) {
		double x = (i + 0.5) * width - v->limit, d;

		if (!v->bins[i])
			continue;
		d = x < low ? low - x : x > high ? x - high : 0;
		error += (double) v->bins[i] * (d * d + (d > 0 ? 0 : step * step / 12));
	}
	return error;
}

/* One end at a time, a hundred steps each, until neither moves. */
static void clip_mse(const struct value_statistics *v, uint32_t bits, float *low, float *high)
{
	double ends[2] = {*low, *high}, best = clip_error(v, ends[0], ends[1], bits);

	for (int round = 0; round < 3; round++)
		for (int side = 0; side < 2; side++) {
			double full = side ? *high : *low;

			for (int i = 100; full != 0 && i >= 20; i--) {
				double keep = ends[side], e;

				ends[side] = full * i / 100;
				e = clip_error(v, ends[0], ends[1], bits);
				if (e < best)
					best = e;
				else
					ends[side] = keep;
			}
		}
	*low = (float) ends[0];
	*high = (float) ends[1];
}

/* Share of the values that may lie outside, on each side (methods C8). */
static double outside(uint32_t bits)
{
	return bits >= 8 ? 1e-4 : bits > 4 ? 1e-3 : 5e-3;
}

static void clip_percentile(const struct value_statistics *v, uint32_t bits, float *low, float *high)
{
	double width = 2.0 * (double) v->limit / CALIBRATE_BINS, total = 0, below = 0, above = 0, allowed;
	int first = 0, last = CALIBRATE_BINS - 1;

	for (int i = 0; i < CALIBRATE_BINS; i++)
		total += (double) v->bins[i];
	allowed = total * outside(bits);
	for (; first < SIDE && below + (double) v->bins[first] <= allowed; first++)
		below += (double) v->bins[first];
	for (; last >= SIDE && above + (double) v->bins[last] <= allowed; last--)
		above += (double) v->bins[last];
	*low = fmaxf(*low, (float) (first * width - (double) v->limit));
	*high = fminf(*high, (float) ((last + 1) * width - (double) v->limit));
}

/* Divergence of magnitudes below bin @n, merged into @levels, from what they were with the tail put into the last. */
static double divergence(const double *count, uint32_t n, double tail, double total, uint32_t levels)
{
	double inside = total - tail, sum = 0;

	for (uint32_t level = 0; level < levels; level++) {
		uint32_t begin = level * n / levels, end = (level + 1) * n / levels, used = 0;
		double mass = 0, each;

		for (uint32_t i = begin; i < end; i++) {
			mass += count[i];
			used += count[i] > 0 || (i == n - 1 && tail > 0);
		}
		each = used ? fmax(mass / used / inside, 1e-4 / total) : 0;
		for (uint32_t i = begin; i < end; i++) {
			double p = (count[i] + (i == n - 1 ? tail : 0)) / total;

			sum += p > 0 ? p * log(p / each) : 0;
		}
	}
	return sum;
}

static void clip_kl(const struct value_statistics *v, uint32_t bits, float *low, float *high)
{
	double count[SIDE], total = 0, tail = 0, smallest = INFINITY, width = (double) v->limit / SIDE;
	uint32_t levels = *low < 0 ? 1u << (bits - 1) : MIN_OF(1u << bits, 128u), best = SIDE;

	for (int i = 0; i < SIDE; i++) {
		count[i] = (double) v->bins[SIDE + i] + (double) v->bins[SIDE - 1 - i];
		total += count[i];
	}
	total += count[1] - count[0];
	count[0] = count[1]; /* the many zeros after ReLU have a level of their own in any case */
	for (uint32_t n = SIDE; n >= MAX_OF(levels, 8u); n--) {
		if (tail < total && (SIDE - n) % 4 == 0) {
			double d = divergence(count, n, tail, total, levels);

			if (d < smallest) {
				smallest = d;
				best = n;
			}
		}
		tail += count[n - 1];
	}
	*low = fmaxf(*low, (float) -(best * width));
	*high = fminf(*high, (float) (best * width));
}

/* Moments of what is not 0; the bin of 0 is that of small values too, which weigh nothing. */
static void moments_of(const struct value_statistics *v, double *ret_magnitude, double *ret_deviation)
{
	double width = 2.0 * (double) v->limit / CALIBRATE_BINS, sum = 0, square = 0, n = 0;

	for (int i = 0; i < CALIBRATE_BINS; i++) {
		double x = (i + 0.5) * width - (double) v->limit, c = i == SIDE ? 0 : (double) v->bins[i];

		sum += c * fabs(x);
		square += c * x * x;
		n += c;
	}
	*ret_magnitude = n > 0 ? sum / n : 0;
	*ret_deviation = n > 0 ? sqrt(square / n) : 0;
}

/*
 * ACIQ's constants, clip over deviation for a normal variable and over mean magnitude for Laplace's, by bits. Values
 * after ReLU spend no sign and take the next entry. Whose ratio of magnitude to deviation is nearer decides: .798
 * is normal, .707 Laplace.
 */
static void clip_aciq(const struct value_statistics *v, uint32_t bits, float *low, float *high)
{
	static const double normal[] = {0, 1.24, 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92, 4.2};
	static const double laplace[] = {1.05, 1.86, 2.83, 3.89, 5.03, 6.2, 7.41, 8.64, 9.89, 11.16};
	uint32_t at = bits + (*low >= 0);
	double magnitude, deviation, clip;

	moments_of(v, &magnitude, &deviation);
	if (deviation <= 0)
		return;
	clip = magnitude / deviation > 0.75 ? normal[at] * deviation : laplace[at] * magnitude;
	*low = fmaxf(*low, (float) -clip);
	*high = fminf(*high, (float) clip);
}

const struct clip_way clips[_CLIP_MAX] = {
	[CLIP_DEFAULT] = {"default", NULL},
	[CLIP_MSE] = {"mse", clip_mse},
	[CLIP_MIN_MAX] = {"min-max", NULL},
	[CLIP_PERCENTILE] = {"percentile", clip_percentile},
	[CLIP_KL] = {"kl", clip_kl},
	[CLIP_ACIQ] = {"aciq", clip_aciq},
};

enum calibrate_clip clip_find(const char *name)
{
	enum calibrate_clip c = CLIP_DEFAULT;

	while (c < _CLIP_MAX && strcmp(clips[c].name, name) != 0)
		c++;
	return c;
}
