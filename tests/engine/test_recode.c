/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-encodings: the errors that methods D4.3 found on drawn groups, what a network of one computes, and the file
 * that keeps it.
 */
#include "engine/recode.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "convert/quantize/fit.h"
#include "engine/lower.h"
#include "engine/recode_fit.h"
#include "support/gaussian.h"
#include "support/network.h"
#include "support/test.h"

#define N 128
#define K 4
#define GROUPS 400

static const atomic_bool go_on;

static double uniform(uint64_t *state)
{
	return ((double) (test_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

static double gauss(uint64_t *state)
{
	return sqrt(-2 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
}

static double laplace(uint64_t *state)
{
	return (test_random(state) >> 63 ? 1 : -1) * -log(uniform(state)) / sqrt(2);
}

/* The largest scale first, as in a file. */
static void sort_planes(float *alpha, uint8_t *codes)
{
	for (int i = 0; i < K; i++)
		for (int j = i + 1; j < K; j++) {
			float a = alpha[i];
			int x = K - 1 - i, y = K - 1 - j;

			if (a >= alpha[j])
				continue;
			alpha[i] = alpha[j];
			alpha[j] = a;
			for (int t = 0; t < N; t++)
				if ((codes[t] >> x & 1) != (codes[t] >> y & 1))
					codes[t] ^= (uint8_t) (1 << x | 1 << y);
		}
}

/* The alternating fit of four planes, the better of its two starts. */
static void fit_four(struct fit *f, const float *w, float *alpha, uint8_t *codes)
{
	fit_load(f, w, N);
	fit_alternate(f, K, 20);
	fit_store(f, alpha, codes);
	sort_planes(alpha, codes);
}

static double value(const float *alpha, uint32_t planes, uint32_t code)
{
	double v = 0;

	for (uint32_t i = 0; i < planes; i++)
		v += code >> (planes - 1 - i) & 1 ? (double) alpha[i] : -(double) alpha[i];
	return v;
}

/* Of the first planes with scales refitted to the stored model: what lower.c does. */
static double prefix_error(const float *w, const float *alpha, const uint8_t *codes, uint32_t kept)
{
	float stored[N], scales[BITS_PLANES_MAX];
	double fitted[BITS_PLANES_MAX], error = 0;
	uint8_t prefix[N];

	for (int t = 0; t < N; t++) {
		stored[t] = (float) value(alpha, K, codes[t]);
		prefix[t] = codes[t] >> (K - kept);
	}
	(void) fit_scales(fitted, stored, prefix, N, kept);
	for (uint32_t i = 0; i < kept; i++)
		scales[i] = (float) fitted[i];
	for (int t = 0; t < N; t++)
		error += pow((double) w[t] - value(scales, kept, prefix[t]), 2);
	return error;
}

static double recode_error(const float *w, const float *alpha, const uint8_t *codes, uint32_t kept)
{
	double fitted[BITS_PLANES_MAX], offset, error = 0, direct = 0;
	uint32_t counts[1 << K] = {};
	float scales[BITS_PLANES_MAX];
	uint8_t map[1 << K] = {};
	struct recode_points p;
	struct recode_sums sums;

	for (int t = 0; t < N; t++)
		counts[codes[t]]++;
	recode_points(&p, counts, alpha, K);
	recode_fit(&p, alpha, K, kept, fitted, &offset, map, &sums);
	for (uint32_t i = 0; i < kept; i++)
		scales[i] = (float) fitted[i];
	for (int t = 0; t < N; t++) {
		double v = value(scales, kept, map[codes[t]]) + offset;

		error += pow((double) w[t] - v, 2);
		direct += pow(value(alpha, K, codes[t]) - v, 2);
	}
	CU_ASSERT_DOUBLE_EQUAL(sums.error, direct, 1e-3);
	return error;
}

/*
 * Relative to the weights, mean over groups. Methods E3 has the expected ones for either start of the fit, and what
 * they gain over prefixes: 0.7 to 1.0 dB of a Gaussian's two planes, 3.0 of a Laplacian's.
 */
static void check_errors(double (*draw)(uint64_t *state), const double recoded[K], const double gain_db[K])
{
	_cleanup_(fit_freep) struct fit *f = NULL;
	double before[K] = {}, after[K] = {}, norm = 0;
	uint64_t state = 7;

	CU_ASSERT_EQUAL_FATAL(fit_new(&f, N), 0);
	for (int n = 0; n < GROUPS; n++) {
		float w[N], alpha[K];
		uint8_t codes[N];

		for (int t = 0; t < N; t++) {
			w[t] = (float) draw(&state);
			norm += (double) w[t] * (double) w[t];
		}
		fit_four(f, w, alpha, codes);
		for (uint32_t kept = 1; kept < K; kept++) {
			before[kept] += prefix_error(w, alpha, codes, kept);
			after[kept] += recode_error(w, alpha, codes, kept);
		}
	}
	for (uint32_t kept = 1; kept < K; kept++) {
		printf("%u planes: prefix %.4f, re-encoded %.4f: %+.2f dB\n", kept, before[kept] / norm,
			after[kept] / norm, 10 * log10(before[kept] / after[kept]));
		CU_ASSERT_DOUBLE_EQUAL(after[kept] / norm, recoded[kept], 0.04 * recoded[kept]);
		CU_ASSERT_TRUE(10 * log10(before[kept] / after[kept]) >= gain_db[kept]);
	}
}

static void test_errors_of_gaussian_groups(void)
{
	check_errors(gauss, (double[]){0, .3614, .1160, .0375}, (double[]){0, .15, .8, .35});
}

static void test_errors_of_laplacian_groups(void)
{
	check_errors(laplace, (double[]){0, .4918, .1666, .0536}, (double[]){0, 1, 2.4, 2.8});
}

/* All ways to cut eight levels into four runs. */
static void test_levels_are_the_best(void)
{
	uint64_t state = 3;

	for (int n = 0; n < 100; n++) {
		uint64_t counts[8];
		float level[8], fitted[4];
		double best = INFINITY;
		struct recode_sums sums;
		uint8_t map[8];

		for (int i = 0; i < 8; i++) {
			counts[i] = test_random(&state) % 5;
			level[i] = (float) (i + uniform(&state));
		}
		CU_ASSERT_EQUAL(recode_fit_levels(level, counts, 3, 2, fitted, map, &sums), 0);
		for (int a = 1; a < 8; a++)
			for (int b = a + 1; b < 8; b++)
				for (int c = b + 1; c < 8; c++) {
					const int cut[] = {0, a, b, c, 8};
					double sum = 0;

					for (int m = 0; m < 4; m++) {
						double w = 0, v = 0, vv = 0;

						for (int i = cut[m]; i < cut[m + 1]; i++) {
							w += (double) counts[i];
							v += (double) counts[i] * (double) level[i];
							vv += (double) counts[i] * (double) level[i] *
								(double) level[i];
						}
						sum += w > 0 ? vv - v * v / w : 0;
					}
					best = fmin(best, sum);
				}
		CU_ASSERT_DOUBLE_EQUAL(sums.error, best, 1e-6);
		for (int i = 1; i < 4; i++)
			CU_ASSERT_TRUE(fitted[i] >= fitted[i - 1]);
		for (int i = 1; i < 8; i++)
			CU_ASSERT_TRUE(map[i] >= map[i - 1] && map[i] < 4);
	}
}

static struct recode *run(struct network *n, uint32_t planes)
{
	struct recode *r = NULL;

	CU_ASSERT_EQUAL_FATAL(recode_new(&r, n, planes, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(recode_run(r, &go_on), 0);
	return r;
}

static struct model *build(struct recode *r, uint32_t planes)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct model *m = NULL;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(recode_network(r, &n, &e), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&m, n, planes, &e), 0);
	return m;
}

/* The real weight of a matrix at the planes of its model, by the numbers of its file. */
static double weight(const struct model *m, uint32_t i, uint32_t row, uint32_t column)
{
	const struct matrix *x = &m->network->matrices[i];
	const struct layer *l = &m->layers[i];
	uint64_t bit = (uint64_t) row * x->row_bits + column;
	size_t g = (size_t) row * x->groups + column / x->group_columns;
	uint32_t code = 0;

	for (uint32_t p = 0; p < l->planes; p++)
		code = code << 1 | bits_get(l->plane[p], bit);
	if (x->coding == CODING_LEVEL)
		return (double) x->level[((size_t) (x->shared_levels ? 0 : row) << x->planes) + code];
	return value(x->alpha + g * x->planes, x->planes, code) + (x->offset ? (double) x->offset[g] : 0);
}

/*
 * Sums of rows stay, and what is new says as much of what was as it should: its product with all planes' weights, about
 * the means, is that of theirs with themselves.
 */
static void check_weights(const struct model *full, const struct model *recoded)
{
	const struct network *n = full->network;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		double error = 0, norm = 0, most = 0, product = 0;

		for (uint32_t row = 0; row < m->rows; row++) {
			double sum = 0;

			for (uint32_t t = 0; t < m->columns; t++) {
				double a = weight(full, i, row, t), d = weight(recoded, i, row, t) - a;

				error += d * d;
				norm += a * a;
				sum += d;
				product += a * d;
			}
			most = fmax(most, fabs(sum));
		}
		if (m->fixed)
			CU_ASSERT_EQUAL(error, 0);
		/* Drawn planes are hard to say with one: gains end at 2. */
		CU_ASSERT_TRUE(error < norm * 2);
		CU_ASSERT_TRUE(recoded->n_planes < 2 || fabs(product) < 1e-3 * norm);
		CU_ASSERT_TRUE(m->shared_levels || most < 1e-3 * sqrt(norm));
	}
}

static void check_network(const struct test_network_options *options)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(options);
	_cleanup_(model_unrefp) struct model *full = NULL;

	CU_ASSERT_EQUAL_FATAL(model_build(&full, n, n->planes_max, NULL), 0);
	for (uint32_t planes = 1; planes < n->planes_max; planes++) {
		_cleanup_(recode_freep) struct recode *r = run(n, planes);
		_cleanup_(model_unrefp) struct model *m = build(r, planes);

		CU_ASSERT_EQUAL(m->bits, planes);
		CU_ASSERT_EQUAL(m->n_planes, planes);
		CU_ASSERT_PTR_EQUAL(m->fixed, full->fixed);
		check_weights(full, m);
	}
}

static void test_networks(void)
{
	check_network(&(struct test_network_options){.seed = 1, .planes = 4, .plain = true});
	check_network(&(struct test_network_options){.seed = 2, .planes = 4, .plain = true, .offsets = true});
	check_network(&(struct test_network_options){.seed = 3, .planes = 3, .plain = true});
	check_network(&(struct test_network_options){.seed = 5, .planes = 5, .plain = true, .channels = 70});
}

/*
 * Outputs of matrix products: methods D4.6 has .222 for a prefix, .117 for a re-encoding that keeps sums; ours pays for
 * its gain with the 13 % that E / (V - E) is above E / V. Prefixes here have no correction.
 */
static void test_output_snr(void)
{
	_cleanup_(model_unrefp) struct model *full = NULL, *prefix = NULL, *recoded = NULL;
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(recode_freep) struct recode *r = NULL;
	_cleanup_close_ int fd = -1;
	double before, after;
	struct graph g;

	graph_resnet20(&g, GAUSSIAN_PLANES);
	g.plain = true;
	fd = gaussian_memfd(&g);
	graph_done(&g);
	CU_ASSERT_EQUAL_FATAL(network_open(&n, fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&full, n, 4, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&prefix, n, 2, NULL), 0);
	r = run(n, 2);
	recoded = build(r, 2);
	before = gaussian_output_error(full, prefix);
	after = gaussian_output_error(full, recoded);
	printf("output SNR: prefix %.2f dB, re-encoded %.2f dB ", -10 * log10(before), -10 * log10(after));
	CU_ASSERT_TRUE(10 * log10(before / after) >= 1);
}

static void test_what_is_measured_stays(void)
{
	const struct test_network_options corrected = {.seed = 4, .planes = 4},
					  scaled = {.seed = 4, .planes = 4, .plain = true, .alpha_widths = 2};
	_cleanup_(network_unrefp) struct network *a = test_network_open(&corrected), *b = test_network_open(&scaled);

	CU_ASSERT_FALSE(recode_helps(a, 2));
	CU_ASSERT_FALSE(recode_helps(b, 2));
	CU_ASSERT_TRUE(recode_helps(b, 3));
}

static void test_limits(void)
{
	const struct test_network_options options = {.seed = 1, .planes = 4, .plain = true};
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	_cleanup_(recode_freep) struct recode *r = NULL;
	const atomic_bool stop = true;
	struct error e = {};

	CU_ASSERT_EQUAL(recode_new(&r, n, 0, &e), -ERANGE);
	CU_ASSERT_EQUAL(recode_new(&r, n, 4, &e), -ERANGE);
	CU_ASSERT_EQUAL_FATAL(recode_new(&r, n, 2, &e), 0);
	CU_ASSERT_EQUAL(recode_run(r, &stop), -ECANCELED);
}

/* Any change to the file, or its end, is noticed. */
static void check_broken(int folder, struct network *n, const char *key)
{
	_cleanup_close_ int fd = openat(folder, key, O_RDWR | O_CLOEXEC);
	struct recode *r = NULL;
	struct stat st;

	CU_ASSERT_TRUE_FATAL(fd >= 0 && fstat(fd, &st) == 0);
	for (off_t at = 0; at < st.st_size; at += at < 200 ? 1 : 1009) {
		uint8_t byte = 0, other;

		CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
		other = byte ^ 0x10;
		CU_ASSERT_EQUAL(pwrite(fd, &other, 1, at), 1);
		CU_ASSERT_EQUAL(recode_load(&r, n, 2, folder, key), -EBADMSG);
		CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
	}
	CU_ASSERT_EQUAL(ftruncate(fd, st.st_size - 1), 0);
	CU_ASSERT_EQUAL(recode_load(&r, n, 2, folder, key), -EBADMSG);
}

static void test_cache(void)
{
	const struct test_network_options options = {.seed = 1, .planes = 4, .plain = true};
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	_cleanup_(recode_freep) struct recode *r = run(n, 2), *back = NULL;
	char key[RECODE_KEY_SIZE], other[RECODE_KEY_SIZE], path[] = "/tmp/bitshed-recode-XXXXXX";
	_cleanup_close_ int folder = -1;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_EQUAL(recode_key(key, n, 2, 0), 0);
	CU_ASSERT_EQUAL(recode_key(other, n, 2, 1), 0);
	CU_ASSERT_STRING_NOT_EQUAL(key, other);
	CU_ASSERT_EQUAL(recode_load(&back, n, 2, folder, key), -ENOENT);
	CU_ASSERT_EQUAL(recode_save(r, folder, key), 0);
	CU_ASSERT_EQUAL_FATAL(recode_load(&back, n, 2, folder, key), 0);
	{
		_cleanup_(model_unrefp) struct model *a = build(r, 2), *b = build(back, 2);

		CU_ASSERT_EQUAL(a->numbers_bytes, b->numbers_bytes);
		for (uint32_t i = 0; i < n->n_matrices; i++)
			CU_ASSERT_EQUAL(memcmp(a->layers[i].gain, b->layers[i].gain,
						n->matrices[i].rows * sizeof(float)),
				0);
		for (int p = 0; p < 2; p++)
			CU_ASSERT_EQUAL(memcmp(a->planes[p]->words, b->planes[p]->words, a->planes[p]->bytes), 0);
	}
	check_broken(folder, n, key);
	CU_ASSERT_EQUAL(unlinkat(folder, key, 0), 0);
	CU_ASSERT_EQUAL(rmdir(path), 0);
}

TEST_MAIN("recode", TEST(errors_of_gaussian_groups), TEST(errors_of_laplacian_groups), TEST(levels_are_the_best),
	TEST(networks), TEST(output_snr), TEST(what_is_measured_stays), TEST(limits), TEST(cache))
