/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Soft-to-hard quantization (methods B12; Agustsson et al. 2017) in its calibration-only form: vectors of one
 * weight, and the error of the weights, weighed by the energy of their inputs, in place of the loss. Each weight
 * belongs to all levels at first,
 *
 *	phi_j(w) proportional to q_j^beta exp(-sigma (w - c_j)^2),  c_j = sum h phi_j w / sum h phi_j
 *
 * q_j the soft histogram, whose power is the pull of the entropy term; sigma grows until every weight has one.
 * That is deterministic annealing.
 */
#include <errno.h>
#include <math.h>

#include "convert/quantize/method.h"

#define STEPS 12
#define GROWTH 2.0
#define BETA 0.25
#define SAMPLE_MAX 16384
#define NEGLIGIBLE 20.0

/**
 * struct soft - @pull: BETA * log of the share of each level
 */
struct soft {
	uint32_t n;
	double level[1 << BITS_PLANES_MAX], pull[1 << BITS_PLANES_MAX], sigma;
	double sum[1 << BITS_PLANES_MAX], mass[1 << BITS_PLANES_MAX], total;
};

static double score(const struct soft *f, uint32_t j, double w)
{
	return f->pull[j] - f->sigma * (w - f->level[j]) * (w - f->level[j]);
}

/* Levels further away than these have no part of @w that counts. */
static void find_window(const struct soft *f, double w, uint32_t *ret_begin, uint32_t *ret_end)
{
	uint32_t low = 0, high = f->n - 1;
	double best;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (2 * w < f->level[middle] + f->level[middle + 1])
			high = middle;
		else
			low = middle + 1;
	}
	best = score(f, low, w) - NEGLIGIBLE;
	for (*ret_begin = low; *ret_begin > 0 && score(f, *ret_begin - 1, w) > best; --*ret_begin)
		;
	for (*ret_end = low + 1; *ret_end < f->n && score(f, *ret_end, w) > best; ++*ret_end)
		;
}

static void share_out(struct soft *f, double w, double h)
{
	double phi[1 << BITS_PLANES_MAX], most = -INFINITY, whole = 0;
	uint32_t begin, end;

	find_window(f, w, &begin, &end);
	for (uint32_t j = begin; j < end; j++)
		most = fmax(most, phi[j] = score(f, j, w));
	for (uint32_t j = begin; j < end; j++)
		whole += phi[j] = exp(phi[j] - most);
	for (uint32_t j = begin; j < end; j++) {
		f->mass[j] += h * phi[j] / whole;
		f->sum[j] += h * phi[j] / whole * w;
	}
	f->total += h;
}

/* One round over at most SAMPLE_MAX weights, evenly spread. */
static void soften(struct soft *f, const struct span *s)
{
	size_t used = MIN_OF(s->n, (size_t) SAMPLE_MAX);

	f->total = 0;
	for (uint32_t j = 0; j < f->n; j++)
		f->sum[j] = f->mass[j] = 0;
	for (size_t k = 0; k < used; k++) {
		size_t i = k * s->n / used;

		share_out(f, (double) s->weights[i], s->importance ? (double) s->importance[i] + 1e-12 : 1);
	}
	for (uint32_t j = 0; j < f->n; j++) {
		double level = f->mass[j] > 1e-12 * f->total ? f->sum[j] / f->mass[j] : f->level[j];

		f->pull[j] = BETA * log(fmax(f->mass[j] / f->total, 1e-6));
		f->level[j] = j > 0 ? fmax(level, f->level[j - 1]) : level; /* whoever stood still */
	}
}

static int choose_levels(float *levels, const struct span *s, uint32_t planes)
{
	double deviation = (double) span_deviation(s), reach = fmin((double) span_largest(s), 6 * deviation);
	struct soft f = {.n = 1u << planes};

	for (uint32_t j = 0; j < f.n; j++) { /* closer where there are more weights */
		double x = (j + 0.5) / f.n * 2 - 1;

		f.level[j] = reach * x * sqrt(fabs(x));
	}
	/* Neighbours share at first, all of them do not: levels that have met never part again. */
	f.sigma = deviation > 0 ? f.n * f.n / (64 * deviation * deviation) : 0;
	for (int step = 0; step < STEPS && isfinite(f.sigma) && f.sigma > 0; step++, f.sigma *= GROWTH)
		soften(&f, s);
	for (uint32_t j = 0; j < f.n; j++)
		levels[j] = (float) f.level[j];
	return 0;
}

int quantize_soft_vq(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
