/* SPDX-License-Identifier: Apache-2.0 */
/* Eigenvectors; convolutions in another basis compute the same; few bits keep the rows that matter. */
#include "convert/transform.h"

#include <math.h>
#include <string.h>

#include "convert/quantize/eigen.h"
#include "convert/drawn_net.h"
#include "support/test.h"

#define N 24
#define SIDE 5
#define CHANNELS 16
#define TAPS 9

static struct source source = SAMPLES_INIT;

/* A A^T of a drawn A: symmetric and positive. */
static void draw_covariance(double *to, uint32_t n)
{
	double a[N * N];

	for (uint32_t i = 0; i < n * n; i++)
		a[i] = (double) sample_gauss(&source);
	for (uint32_t i = 0; i < n * n; i++) {
		to[i] = 0;
		for (uint32_t k = 0; k < n; k++)
			to[i] += a[i / n * n + k] * a[i % n * n + k];
	}
}

static void test_eigenvectors(void)
{
	double c[N * N], a[N * N], v[N * N], values[N];

	draw_covariance(c, N);
	memcpy(a, c, sizeof a);
	eigen_symmetric(a, values, v, N);
	for (uint32_t i = 0; i < N * N; i++) {
		double back = 0, product = 0;

		for (uint32_t k = 0; k < N; k++) {
			back += v[k * N + i / N] * values[k] * v[k * N + i % N];
			product += v[i / N * N + k] * v[i % N * N + k];
		}
		CU_ASSERT_DOUBLE_EQUAL(back, c[i], 1e-9 * values[0]);
		CU_ASSERT_DOUBLE_EQUAL(product, i / N == i % N, 1e-9);
	}
	for (uint32_t k = 1; k < N; k++)
		CU_ASSERT_TRUE(values[k] <= values[k - 1]);
}

static void test_cholesky(void)
{
	double c[N * N], l[N * N];

	draw_covariance(c, N);
	memcpy(l, c, sizeof l);
	CU_ASSERT_TRUE_FATAL(eigen_cholesky(l, N));
	for (uint32_t i = 0; i < N * N; i++) {
		double back = 0;

		for (uint32_t k = 0; k < N; k++)
			back += l[i / N * N + k] * l[i % N * N + k];
		CU_ASSERT_DOUBLE_EQUAL(back, c[i], 1e-9 * c[0]);
	}
	c[0] = -1;
	CU_ASSERT_FALSE(eigen_cholesky(c, N));
}

static uint32_t convolution(struct net *n, uint32_t in, uint32_t channels, uint32_t kernel)
{
	return drawn_convolution(n, &source, in, channels, kernel);
}

/* The one in the middle is split; half of its rows are small. */
static struct net *three_convolutions(void)
{
	const struct net_shape in = {.n = 3, .dims = {3, SIDE, SIDE}};
	struct net *n = net_new("test");
	uint32_t at;

	source = (struct source) SAMPLES_INIT;
	n->input = (uint32_t) net_add_value(n, "in", &in);
	at = convolution(n, n->input, CHANNELS, 1);
	at = convolution(n, at, CHANNELS, 3);
	for (uint32_t i = CHANNELS / 2 * CHANNELS * TAPS; i < CHANNELS * CHANNELS * TAPS; i++)
		n->nodes[1].weight[i] *= 0.05f;
	n->output = convolution(n, at, 4, 1);
	return n;
}

/* Relative error of the output of @n against that of the net as it was. */
static double error_of(const struct net *n)
{
	_cleanup_(net_freep) struct net *plain = three_convolutions();
	_cleanup_(reference_freep) struct reference *a = NULL, *b = NULL;
	float in[3 * SIDE * SIDE];
	double error = 0, square = 0;

	CU_ASSERT_EQUAL_FATAL(reference_new(&a, plain), 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&b, n), 0);
	sample_fill(&source, in, 3 * SIDE * SIDE, 0);
	reference_run(a, in);
	reference_run(b, in);
	for (uint32_t i = 0; i < 4 * SIDE * SIDE; i++) {
		double x = (double) reference_value(a, plain->output)[i];
		double e = x - (double) reference_value(b, n->output)[i];

		error += e * e;
		square += x * x;
	}
	return error / square;
}

static void test_the_same_in_another_basis(void)
{
	for (int elt = 0; elt <= 1; elt++) {
		_cleanup_(net_freep) struct net *n = three_convolutions();
		double covariance[CHANNELS * CHANNELS], *gradients[3] = {NULL, elt ? covariance : NULL, NULL};

		draw_covariance(covariance, CHANNELS);
		CU_ASSERT_FALSE(transform_serves(n, 0));
		CU_ASSERT_TRUE(transform_serves(n, 1));
		CU_ASSERT_FALSE(transform_serves(n, 2));
		CU_ASSERT_EQUAL(transform_net(n, gradients, 0), 1);
		CU_ASSERT_EQUAL(n->n_nodes, 6); /* two blocks, side by side, and the basis */
		CU_ASSERT_TRUE(error_of(n) < 1e-8);
	}
}

static void test_few_bits_keep_the_rows_that_matter(void)
{
	_cleanup_(net_freep) struct net *n = three_convolutions();

	CU_ASSERT_EQUAL(transform_net(n, NULL, 0.7), 1);
	CU_ASSERT_EQUAL(n->n_nodes, 4); /* one block */
	CU_ASSERT_TRUE(n->nodes[1].outputs >= CHANNELS / 2 && n->nodes[1].outputs < CHANNELS);
	CU_ASSERT_TRUE(error_of(n) < 0.01); /* what was dropped is small */
}

static void test_names(void)
{
	CU_ASSERT_EQUAL(transform_find("klt"), TRANSFORM_KLT);
	CU_ASSERT_EQUAL(transform_find("elt"), TRANSFORM_ELT);
	CU_ASSERT_EQUAL(transform_find("dct"), TRANSFORM_NONE);
	CU_ASSERT_STRING_EQUAL(transform_name(TRANSFORM_ELT), "elt");
}

TEST_MAIN("transform", TEST(eigenvectors), TEST(cholesky), TEST(the_same_in_another_basis),
	TEST(few_bits_keep_the_rows_that_matter), TEST(names))
