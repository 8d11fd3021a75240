/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/aggregate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/quantize/eigen.h"

#define DAMPING 0.01 /* of the mean importance, as in GPTQ */
#define MOVE_MAX 0.02 /* how far a direction turns in a step, and a logarithm goes */

uint32_t aggregate_end(uint32_t n, uint32_t portion)
{
	return portion + 1 < AGGREGATE_PORTIONS ? n - (n >> (portion + 1)) : n;
}

/* M and its damping. */
static void metric_of(const struct aggregate *a, double *m)
{
	size_t n = a->n;

	memset(m, 0, n * n * sizeof *m);
	for (size_t q = 0; q < n; q++) {
		const double *v = a->v + q * n, s = exp(a->log_s[q]);

		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < n; k++)
				m[i * n + k] += s * v[i] * v[k];
	}
	for (size_t i = 0; i < n; i++)
		m[i * n + i] += DAMPING;
}

/* Gauss and Jordan, in place; a positive definite matrix needs no pivots. */
static void invert(double *x, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		double pivot = 1 / x[k * n + k];

		x[k * n + k] = 1;
		for (size_t j = 0; j < n; j++)
			x[k * n + j] *= pivot;
		for (size_t i = 0; i < n; i++) {
			double factor = x[i * n + k];

			if (i == k)
				continue;
			x[i * n + k] = 0;
			for (size_t j = 0; j < n; j++)
				x[i * n + j] -= factor * x[k * n + j];
		}
	}
}

/* M_RR^-1 of what lies behind column @end. Return: how many columns that are */
static size_t rest_inverse(double *x, const double *m, size_t n, size_t end)
{
	size_t rest = n - end;

	for (size_t i = 0; i < rest; i++)
		memcpy(x + i * rest, m + (end + i) * n + end, rest * sizeof *x);
	invert(x, rest);
	return rest;
}

/* @row times @x, [n][n] */
static void times(const double *row, const double *x, size_t n, double *ret)
{
	memset(ret, 0, n * sizeof *ret);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			ret[k] += row[i] * x[i * n + k];
}

static int find_pass(struct aggregate *a)
{
	size_t n = a->n;
	_cleanup_free_ double *m = calloc(2 * n + 1, n * sizeof *m);
	double *x = m + n * n, *row = x + n * n;

	if (!m)
		return -ENOMEM;
	metric_of(a, m);
	memset(a->pass, 0, n * n * sizeof *a->pass);
	for (uint32_t p = 0, first = 0; p + 1 < AGGREGATE_PORTIONS; p++) {
		uint32_t end = aggregate_end(a->n, p);
		size_t rest = rest_inverse(x, m, n, end);

		for (; first < end; first++) {
			times(m + first * n + end, x, rest, row);
			for (size_t k = 0; k < rest; k++)
				a->pass[first * n + end + k] = (float) row[k];
		}
	}
	return 0;
}

static void find_order(struct aggregate *a, const double *moment)
{
	for (uint32_t i = 0; i < a->n; i++) {
		uint32_t at = i;

		for (; at > 0 && moment[(size_t) a->order[at - 1] * (a->n + 1)] < moment[(size_t) i * (a->n + 1)];
			at--)
			a->order[at] = a->order[at - 1];
		a->order[at] = i;
	}
}

int aggregate_start(struct aggregate *a, const double *moment)
{
	size_t n = a->n;
	_cleanup_free_ double *m = malloc(n * n * sizeof *m);
	double mean = 1e-30;

	if (!m)
		return -ENOMEM;
	find_order(a, moment);
	for (size_t i = 0; i < n; i++)
		mean += moment[i * (n + 1)] / (double) n;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			m[i * n + k] = moment[a->order[i] * n + a->order[k]] / mean;
	eigen_symmetric(m, a->log_s, a->v, a->n);
	for (size_t q = 0; q < n; q++)
		a->log_s[q] = log(fmax(a->log_s[q], 1e-6));
	memset(a->gradient, 0, n * n * sizeof *a->gradient);
	return find_pass(a);
}

/* The gradient by M of T = M_AR M_RR^-1 = pass, from that by T, for all portions: @ret, not symmetric. */
static void metric_gradient(const struct aggregate *a, const double *m, double *x, double *row, double *ret)
{
	size_t n = a->n;

	for (uint32_t p = 0, first = 0; p + 1 < AGGREGATE_PORTIONS; p++) {
		uint32_t end = aggregate_end(a->n, p);
		size_t rest = rest_inverse(x, m, n, end);
		double *given = row + n;

		for (; first < end; first++) {
			for (size_t k = 0; k < rest; k++)
				given[k] = (double) a->gradient[first * n + end + k];
			times(given, x, rest, row);
			for (size_t k = 0; k < rest; k++)
				ret[first * n + end + k] += row[k];
			for (size_t j = 0; j < rest; j++)
				for (size_t k = 0; k < rest; k++)
					ret[(end + j) * n + end + k] -= (double) a->pass[first * n + end + j] * row[k];
		}
	}
}

/* @g: [n][n], of the directions: less what would change their lengths and angles */
static void make_tangent(const double *v, double *g, size_t n, double *s)
{
	memset(s, 0, n * n * sizeof *s);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			for (size_t t = 0; t < n; t++)
				s[i * n + k] += (g[i * n + t] * v[k * n + t] + v[i * n + t] * g[k * n + t]) / 2;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			for (size_t t = 0; t < n; t++)
				g[i * n + t] -= s[i * n + k] * v[k * n + t];
}

/* Gram and Schmidt. */
static void make_orthonormal(double *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double *x = v + i * n, square = 0;

		for (size_t k = 0; k < i; k++) {
			double dot = 0;

			for (size_t t = 0; t < n; t++)
				dot += x[t] * v[k * n + t];
			for (size_t t = 0; t < n; t++)
				x[t] -= dot * v[k * n + t];
		}
		for (size_t t = 0; t < n; t++)
			square += x[t] * x[t];
		for (size_t t = 0; t < n; t++)
			x[t] /= sqrt(square);
	}
}

static double limited(double move)
{
	return fmin(fmax(move, -MOVE_MAX), MOVE_MAX);
}

/* @g: gradient by M plus its transpose, becomes that of the directions. @by_log: [n], of the logarithms */
static void direction_gradient(const struct aggregate *a, double *g, double *scratch, double *by_log)
{
	size_t n = a->n;

	memcpy(scratch, g, n * n * sizeof *g);
	for (size_t q = 0; q < n; q++) {
		double s = exp(a->log_s[q]);

		times(a->v + q * n, scratch, n, g + q * n);
		by_log[q] = 0;
		for (size_t t = 0; t < n; t++) {
			g[q * n + t] *= s;
			by_log[q] += g[q * n + t] * a->v[q * n + t] / 2;
		}
	}
	make_tangent(a->v, g, n, scratch);
}

int aggregate_learn(struct aggregate *a, double rate)
{
	size_t n = a->n;
	_cleanup_free_ double *m = calloc(3 * n + 2, n * sizeof *m);
	double *g = m + n * n, *x = g + n * n, *row = x + n * n, square = 1e-30;

	if (!m)
		return -ENOMEM;
	metric_of(a, m);
	metric_gradient(a, m, x, row, g);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k <= i; k++)
			g[i * n + k] = g[k * n + i] = g[i * n + k] + g[k * n + i];
	direction_gradient(a, g, x, row);
	for (size_t i = 0; i < n * n; i++)
		square += g[i] * g[i] / (double) n;
	for (size_t i = 0; i < n * n; i++)
		a->v[i] -= fmin(rate, MOVE_MAX / sqrt(square)) * g[i];
	make_orthonormal(a->v, n);
	for (size_t q = 0; q < n; q++)
		a->log_s[q] -= limited(rate * row[q]);
	memset(a->gradient, 0, n * n * sizeof *a->gradient);
	return find_pass(a);
}
