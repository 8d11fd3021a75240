/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/eigen.h"

#include <math.h>
#include <string.h>

#define SWEEPS 12
#define TOLERANCE 1e-20

static double off_diagonal(const double *a, size_t n, double *ret_all)
{
	double off = 0;

	*ret_all = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			*ret_all += a[i * n + j] * a[i * n + j];
			off += i != j ? a[i * n + j] * a[i * n + j] : 0;
		}
	return off;
}

static void rotate_rows(double *x, double *y, size_t n, double c, double s)
{
	for (size_t k = 0; k < n; k++) {
		double a = x[k], b = y[k];

		x[k] = c * a - s * b;
		y[k] = s * a + c * b;
	}
}

/* Makes a[p][q] zero. */
static void rotate(double *a, double *v, size_t n, size_t p, size_t q)
{
	double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]), t, c, s;

	t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
	c = 1 / sqrt(t * t + 1);
	s = t * c;
	rotate_rows(a + p * n, a + q * n, n, c, s);
	for (size_t k = 0; k < n; k++) {
		double x = a[k * n + p], y = a[k * n + q];

		a[k * n + p] = c * x - s * y;
		a[k * n + q] = s * x + c * y;
	}
	rotate_rows(v + p * n, v + q * n, n, c, s);
}

/* Largest first; few enough for the simplest way. */
static void sort(double *values, double *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t best = i;
		double value;

		for (size_t j = i + 1; j < n; j++)
			best = values[j] > values[best] ? j : best;
		if (best == i)
			continue;
		rotate_rows(v + i * n, v + best * n, n, 0, 1);
		for (size_t k = 0; k < n; k++) /* a quarter turn is an exchange but for the sign */
			v[i * n + k] = -v[i * n + k];
		value = values[i];
		values[i] = values[best];
		values[best] = value;
	}
}

void eigen_symmetric(double *a, double *values, double *v, uint32_t n)
{
	double all, off;

	memset(v, 0, (size_t) n * n * sizeof *v);
	for (size_t i = 0; i < n; i++)
		v[i * n + i] = 1;
	for (int sweep = 0; sweep < SWEEPS; sweep++) {
		off = off_diagonal(a, n, &all);
		if (off <= TOLERANCE * all)
			break;
		for (size_t p = 0; p < n; p++)
			for (size_t q = p + 1; q < n; q++)
				if (a[p * n + q] * a[p * n + q] > 1e-3 * TOLERANCE * all / n / n)
					rotate(a, v, n, p, q);
	}
	for (size_t i = 0; i < n; i++)
		values[i] = a[i * n + i];
	sort(values, v, n);
}

bool eigen_cholesky(double *a, uint32_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j <= i; j++) {
			double rest = a[i * n + j];

			for (size_t k = 0; k < j; k++)
				rest -= a[i * n + k] * a[j * n + k];
			if (i == j && !(rest > 0))
				return false;
			a[i * n + j] = i == j ? sqrt(rest) : rest / a[j * n + j];
		}
		memset(a + i * n + i + 1, 0, (n - i - 1) * sizeof *a);
	}
	return true;
}
