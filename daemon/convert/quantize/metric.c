/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPTQ needs the upper factor U of the inverse, H^-1 = U^T U. With H = R R^T, R upper, that is
 * R^-1, and R comes from a Cholesky that starts at the last column: no inverse of H is ever formed.
 */
#include "convert/quantize/metric.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define DAMPING 0.01

static double dot(const double *a, const double *b, size_t n)
{
	double sum[4] = {0}; /* four chains: one would wait for each addition */
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (size_t k = 0; k < 4; k++)
			sum[k] += a[i + k] * b[i + k];
	for (; i < n; i++)
		sum[0] += a[i] * b[i];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static int check_moment(const double *h, uint32_t n, struct error *reterr)
{
	for (size_t i = 0; i < (size_t) n * n; i++)
		if (!isfinite(h[i]))
			return error_set(
				reterr, -EINVAL, "the second moment of the inputs is not finite");
	for (size_t i = 0; i < n; i++)
		if (h[i * n + i] < 0)
			return error_set(
				reterr, -EINVAL, "the second moment of input %zu is negative", i);
	return 0;
}

static int factor_upper(double *r, const double *h, uint32_t n, struct error *reterr)
{
	for (size_t j = n; j-- > 0;) {
		const double *right = r + j * n + j + 1;
		double pivot = h[j * n + j] - dot(right, right, n - j - 1);

		if (!(pivot > 0))
			return error_set(
				reterr, -EINVAL, "the second moment of the inputs is not positive");
		r[j * n + j] = sqrt(pivot);
		for (size_t i = 0; i < j; i++)
			r[i * n + j] = (h[i * n + j] - dot(r + i * n + j + 1, right, n - j - 1)) /
				       r[j * n + j];
	}
	return 0;
}

/* Row i of R^-1 solves x R = e_i: forward, one contiguous row of R at a time. */
static void invert_upper(double *u, const double *r, uint32_t n)
{
	for (size_t i = 0; i < n; i++) {
		double *x = u + i * n;

		x[i] = 1;
		for (size_t k = i; k < n; k++) {
			x[k] /= r[k * n + k];
			for (size_t j = k + 1; j < n; j++)
				x[j] -= x[k] * r[k * n + j];
		}
	}
}

int metric_new(
	struct metric **ret, const double *second_moment, uint32_t columns, struct error *reterr)
{
	_cleanup_(metric_freep) struct metric *m = calloc(1, sizeof *m);
	size_t n = columns, bytes = n * n * sizeof(double);
	_cleanup_free_ double *r = calloc(n * n, sizeof *r);
	double damping = 0;
	int error;

	if (!m || !r)
		return -ENOMEM;
	error = check_moment(second_moment, columns, reterr);
	if (error < 0)
		return error;
	m->columns = columns;
	m->h = malloc(bytes);
	m->u = calloc(n * n, sizeof *m->u);
	if (!m->h || !m->u)
		return -ENOMEM;
	memcpy(m->h, second_moment, bytes);
	for (size_t i = 0; i < n; i++)
		damping += DAMPING * m->h[i * n + i] / (double) n;
	for (size_t i = 0; i < n; i++)
		m->h[i * n + i] += damping > 0 ? damping : 1;
	error = factor_upper(r, m->h, columns, reterr);
	if (error < 0)
		return error;
	invert_upper(m->u, r, columns);
	*ret = take_ptr(m);
	return 0;
}

struct metric *metric_free(struct metric *m)
{
	if (!m)
		return NULL;
	free(m->h);
	free(m->u);
	free(m);
	return NULL;
}

double metric_error(const struct metric *m, const float *a, const float *b)
{
	double sum = 0;

	for (size_t i = 0; i < m->columns; i++) {
		double product = 0;

		for (size_t j = 0; j < m->columns; j++)
			product += m->h[i * m->columns + j] * ((double) a[j] - b[j]);
		sum += product * ((double) a[i] - b[i]);
	}
	return sum;
}
