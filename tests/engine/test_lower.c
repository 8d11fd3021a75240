/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lower.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "support/network.h"
#include "support/test.h"

#define N 128
#define K 4

static double uniform(uint64_t *state)
{
	return ((double) (test_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

static double gauss(uint64_t *state)
{
	return sqrt(-2 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
}

/* A group: weights, signs and scales, all as plain doubles. */
struct group {
	double w[N], b[K][N], alpha[K];
};

static void gram_of(const struct group *g, double gram[9][9])
{
	for (int i = 0; i <= K; i++)
		for (int j = 0; j <= K; j++) {
			gram[i][j] = 0;
			for (int t = 0; t < N; t++)
				gram[i][j] += (i < K ? g->b[i][t] : 1) * (j < K ? g->b[j][t] : 1);
		}
}

static double value(const struct group *g, const double *alpha, uint32_t planes, int t)
{
	double v = 0;

	for (uint32_t i = 0; i < planes; i++)
		v += alpha[i] * g->b[i][t];
	return v;
}

static void draw_group(struct group *g, uint64_t *state)
{
	for (int t = 0; t < N; t++)
		g->w[t] = gauss(state);
	for (int i = 0; i < K; i++) {
		g->alpha[i] = uniform(state) / (1 << i);
		for (int t = 0; t < N; t++)
			g->b[i][t] = test_random(state) >> 63 ? 1 : -1;
	}
}

static void test_error_is_that_of_the_weights(void)
{
	uint64_t state = 5;

	for (int n = 0; n < 200; n++) {
		uint32_t kept = 1 + (uint32_t) n % K;
		bool with_offset = n % 3 == 0;
		double gram[9][9], alpha[K], offset, error, direct = 0, norm = 0, square = 0;
		struct group g;

		draw_group(&g, &state);
		gram_of(&g, gram);
		error = lower_refit(gram, K, kept, g.alpha, with_offset, alpha, &offset);
		for (int t = 0; t < N; t++) {
			double full = value(&g, g.alpha, K, t);

			direct += pow(full - value(&g, alpha, kept, t) - offset, 2);
			norm += full * full;
		}
		CU_ASSERT_DOUBLE_EQUAL(error, direct, 1e-9);
		CU_ASSERT_TRUE(with_offset || offset == 0);
		for (int i = 0; i < K; i++)
			for (int j = 0; j < K; j++)
				square += g.alpha[i] * gram[i][j] * g.alpha[j];
		CU_ASSERT_DOUBLE_EQUAL(square, norm, 1e-9);
	}
}

/* No other scales are better: the residual is orthogonal to every kept column. */
static void test_refit_is_least_squares(void)
{
	uint64_t state = 6;

	for (int n = 0; n < 100; n++) {
		double gram[9][9], alpha[K], offset;
		uint32_t kept = 1 + (uint32_t) n % (K - 1);
		struct group g;

		draw_group(&g, &state);
		gram_of(&g, gram);
		(void) lower_refit(gram, K, kept, g.alpha, true, alpha, &offset);
		for (uint32_t i = 0; i <= kept; i++) {
			double dot = 0;

			for (int t = 0; t < N; t++)
				dot += (value(&g, g.alpha, K, t) - value(&g, alpha, kept, t) - offset) *
					(i < kept ? g.b[i][t] : 1);
			CU_ASSERT_DOUBLE_EQUAL(dot, 0, 1e-9);
		}
	}
}

/* Least squares of the weights on the first planes: lower_refit() from a dummy plane that is w itself. */
static void fit_scales(struct group *g, uint32_t planes, double *alpha)
{
	double m[K][K], r[K];

	for (uint32_t i = 0; i < planes; i++) {
		r[i] = 0;
		for (int t = 0; t < N; t++)
			r[i] += g->b[i][t] * g->w[t];
		for (uint32_t j = 0; j < planes; j++) {
			m[i][j] = 0;
			for (int t = 0; t < N; t++)
				m[i][j] += g->b[i][t] * g->b[j][t];
		}
	}
	for (uint32_t i = 0; i < planes; i++)
		for (uint32_t j = 0; j < planes; j++) {
			double f = j == i ? 0 : m[j][i] / m[i][i];

			for (uint32_t k = 0; k < planes; k++)
				m[j][k] -= f * m[i][k];
			r[j] -= f * r[i];
		}
	for (uint32_t i = 0; i < planes; i++)
		alpha[i] = r[i] / m[i][i];
}

static void test_refit_from_stored_is_refit_from_weights(void)
{
	uint64_t state = 7;

	for (int n = 0; n < 100; n++) {
		double gram[9][9], alpha[K], direct[K], offset;
		uint32_t kept = 1 + (uint32_t) n % (K - 1);
		struct group g;

		draw_group(&g, &state);
		fit_scales(&g, K, g.alpha);
		gram_of(&g, gram);
		(void) lower_refit(gram, K, kept, g.alpha, false, alpha, &offset);
		fit_scales(&g, kept, direct);
		for (uint32_t i = 0; i < kept; i++)
			CU_ASSERT_DOUBLE_EQUAL(alpha[i], direct[i], 1e-9);
	}
}

static void test_ternary_keeps_the_fraction_of_nonzeros(void)
{
	double gram[9][9] = {0}, alpha, offset, a = 1.25;
	const double stored[2] = {a / 2, a / 2};

	/* 128 weights, 48 of them zero: there the planes differ. */
	gram[0][0] = gram[1][1] = gram[2][2] = 128;
	gram[0][1] = gram[1][0] = 128 - 2 * 48;
	(void) lower_refit(gram, 2, 1, stored, false, &alpha, &offset);
	CU_ASSERT_DOUBLE_EQUAL(alpha, a * 80 / 128, 1e-12);
}

static void test_repeated_planes_do_no_harm(void)
{
	double gram[9][9], alpha[3], offset, error;
	const double stored[4] = {1, 0.5, 0.25, 0.125};

	for (int i = 0; i < 9; i++)
		for (int j = 0; j < 9; j++)
			gram[i][j] = 64;
	error = lower_refit(gram, 4, 3, stored, true, alpha, &offset);
	CU_ASSERT_DOUBLE_EQUAL(alpha[0] + alpha[1] + alpha[2] + offset, 1.875, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(error, 0, 1e-9);
}

/*
 * From the best uniform grid of 16 levels (methods.md E1), in turns the best code of each weight and the
 * best scales.
 */
static void fit_alternating(struct group *g)
{
	for (int i = 0; i < K; i++)
		g->alpha[i] = .3352 * 4 / (1 << i);
	for (int round = 0; round < 20; round++) {
		for (int t = 0; t < N; t++) {
			double best = INFINITY;
			int code = 0;

			for (int c = 0; c < 1 << K; c++) {
				double v = 0;

				for (int i = 0; i < K; i++)
					v += c >> i & 1 ? g->alpha[i] : -g->alpha[i];
				if (fabs(g->w[t] - v) < best) {
					best = fabs(g->w[t] - v);
					code = c;
				}
			}
			for (int i = 0; i < K; i++)
				g->b[i][t] = code >> i & 1 ? 1 : -1;
		}
		fit_scales(g, K, g->alpha);
	}
}

static void sort_planes(struct group *g)
{
	for (int i = 0; i < K; i++)
		for (int j = i + 1; j < K; j++)
			if (fabs(g->alpha[j]) > fabs(g->alpha[i])) {
				double b[N], a = g->alpha[i];

				g->alpha[i] = g->alpha[j];
				g->alpha[j] = a;
				memcpy(b, g->b[i], sizeof b);
				memcpy(g->b[i], g->b[j], sizeof b);
				memcpy(g->b[j], b, sizeof b);
			}
}

/* The figures of methods.md E3, "uniform-start ALT4, best subset + LS", Gauss. */
static void test_known_errors_of_lowering(void)
{
	static const double expected[K] = {0, .3614, .1359, .0375};
	double error[K] = {0}, norm = 0;
	uint64_t state = 8;

	for (int n = 0; n < 400; n++) {
		double gram[9][9], alpha[K], offset;
		struct group g;

		draw_group(&g, &state);
		fit_alternating(&g);
		sort_planes(&g);
		gram_of(&g, gram);
		for (uint32_t kept = 1; kept < K; kept++) {
			(void) lower_refit(gram, K, kept, g.alpha, false, alpha, &offset);
			for (int t = 0; t < N; t++)
				error[kept] += pow(g.w[t] - value(&g, alpha, kept, t), 2);
		}
		for (int t = 0; t < N; t++)
			norm += g.w[t] * g.w[t];
	}
	for (int kept = 1; kept < K; kept++)
		CU_ASSERT_DOUBLE_EQUAL(error[kept] / norm / expected[kept], 1, 0.03);
}

/* A matrix again, slowly: bit by bit, group by group. */
struct slow {
	double alpha[2][BITS_PLANES_MAX], offset[2], most;
};

/* Scales of a width that the file has as they are: no planes are asked. */
static void slow_stored(struct slow *s, const struct matrix *m, uint32_t row, uint32_t kept)
{
	const float *alpha = m->alpha;

	if (kept < m->planes)
		alpha = m->alpha_at + (size_t) m->rows * m->groups * kept * (kept - 1) / 2;
	for (uint32_t g = 0; g < m->groups; g++) {
		size_t at = (size_t) row * m->groups + g;

		s->offset[g] = m->offset ? (double) m->offset[at] : 0;
		for (uint32_t i = 0; i < kept; i++)
			s->alpha[g][i] = (double) alpha[at * kept + i];
	}
}

static void slow_refit(struct slow *s, const struct matrix *m, uint64_t *const *planes, uint32_t row,
	uint32_t kept)
{
	for (uint32_t g = 0; g < m->groups; g++) {
		double gram[9][9] = {0}, stored[BITS_PLANES_MAX];
		size_t at = (size_t) row * m->groups + g;

		for (uint32_t i = 0; i < m->planes; i++)
			stored[i] = (double) m->alpha[at * m->planes + i];
		for (uint32_t t = g * 128; t < MIN_OF(m->columns, (g + 1) * 128); t++)
			for (uint32_t i = 0; i <= m->planes; i++)
				for (uint32_t j = 0; j <= m->planes; j++) {
					uint64_t bit = (uint64_t) row * m->row_bits + t;
					bool a = i == m->planes || bits_get(planes[i], bit);
					bool b = j == m->planes || bits_get(planes[j], bit);

					gram[i][j] += a == b ? 1 : -1;
				}
		(void) lower_refit(gram, m->planes, kept, stored, m->offset, s->alpha[g], &s->offset[g]);
		s->offset[g] += m->offset ? (double) m->offset[at] : 0;
	}
}

static void slow_row(struct slow *s, const struct matrix *m, uint64_t *const *planes, uint32_t row,
	uint32_t kept)
{
	*s = (struct slow) {0};
	if (kept == m->planes || kept <= m->alpha_widths)
		slow_stored(s, m, row, kept);
	else
		slow_refit(s, m, planes, row, kept);
	for (uint32_t g = 0; g < m->groups; g++) {
		double sum = 0;

		for (uint32_t i = 0; i < kept; i++)
			sum += fabs(s->alpha[g][i]);
		s->most = fmax(s->most, sum + fabs(s->offset[g]));
	}
}

static void check_gain(const struct network *n, const struct op *op, const struct layer *l, uint32_t row,
	double scale, double sum)
{
	const struct matrix *m = &n->matrices[op->matrix];
	const struct value *in = &n->values[op->inputs[0]], *out = &n->values[op->output];
	double so = out->element == ELEMENT_U8 ? (double) out->scale : 1;
	size_t at = (size_t) (l->planes - 1) * m->rows + row;
	double gain = (m->gain_at ? (double) m->gain_at[at] : 1) * scale * (double) in->scale / so;
	double bias = (double) (m->bias_at ? m->bias_at[at] : m->bias[row]) / so - gain * in->zero_point * sum;

	CU_ASSERT_EQUAL(l->gain[row], (float) gain);
	CU_ASSERT_EQUAL(l->bias[row], (float) bias);
}

static void check_sum_layer(const struct network *n, const struct op *op, const struct layer *l,
	uint64_t *const *planes)
{
	const struct matrix *m = &n->matrices[op->matrix];

	for (uint32_t row = 0; row < m->rows; row++) {
		double scale, sum = 0;
		struct slow s;

		slow_row(&s, m, planes, row, l->planes);
		scale = s.most / 127;
		for (uint32_t g = 0; g < m->groups; g++) {
			size_t at = (size_t) row * m->groups + g;
			int low = l->base[at], high = low, centre = 2 * low;
			int limit = 254 - abs((int) rint(2 * s.offset[g] / scale)), rounded = 0, moved = 0;

			for (uint32_t i = 0; i < l->planes; i++) {
				int q = l->step[at * l->planes + i];

				int plain = (int) rint(2 * fabs(s.alpha[g][i]) / scale);

				CU_ASSERT_TRUE(fabs(2 * s.alpha[g][i] / scale - q) < 2);
				rounded += plain;
				moved += abs(abs(q) - plain);
				low += q < 0 ? q : 0;
				high += q > 0 ? q : 0;
				centre += q;
			}
			CU_ASSERT_TRUE(low >= -127 && high <= 127);
			CU_ASSERT_EQUAL(centre, rint(2 * s.offset[g] / scale));
			/* Steps gave way to the reach, else at most one to the parity. */
			CU_ASSERT_EQUAL(moved, rounded > limit ? rounded - limit : (limit - rounded) % 2);
			for (uint32_t t = g * 128; t < MIN_OF(m->columns, (g + 1) * 128); t++) {
				sum += l->base[at];
				for (uint32_t i = 0; i < l->planes; i++)
					sum += l->step[at * l->planes + i] *
						bits_get(planes[i], (uint64_t) row * m->row_bits + t);
			}
		}
		check_gain(n, op, l, row, scale, sum);
	}
}

static void check_level_layer(const struct network *n, const struct op *op, const struct layer *l,
	uint64_t *const *planes)
{
	const struct matrix *m = &n->matrices[op->matrix];
	uint32_t levels = UINT32_C(1) << l->planes;

	for (uint32_t row = 0; row < m->rows; row++) {
		double merged[256] = {0}, plain[256] = {0}, counts[256] = {0}, most = 0, sum = 0;
		uint32_t drop = m->planes - l->planes;

		for (uint32_t c = 0; c < UINT32_C(1) << m->planes; c++)
			plain[c >> drop] += (double) m->level[((size_t) row << m->planes) + c] / (1 << drop);
		for (uint32_t t = 0; t < m->columns; t++) {
			uint32_t code = 0;

			for (uint32_t i = 0; i < m->planes; i++)
				code = code << 1 |
					bits_get(planes[i], (uint64_t) row * m->row_bits + t);
			merged[code >> drop] += (double) m->level[((size_t) row << m->planes) + code];
			counts[code >> drop]++;
			sum += l->level[(size_t) row * levels + (code >> drop)];
		}
		for (uint32_t c = 0; c < levels; c++) {
			merged[c] = counts[c] > 0 && drop > 0 ? merged[c] / counts[c] : plain[c];
			most = fmax(most, fabs(merged[c]));
		}
		for (uint32_t c = 0; c < levels; c++)
			CU_ASSERT_EQUAL(l->level[row * levels + c], rint(merged[c] / (most / 127)));
		if (drop == 0)
			check_gain(n, op, l, row, most / 127, sum);
	}
}

static void check_all_widths(const struct test_network_options *options)
{
	_cleanup_(test_network_done) struct test_network t = {0};
	_cleanup_(network_unrefp) struct network *n = test_network_open(options);

	test_network_make(&t, options);
	for (uint32_t bits = 1; bits <= n->planes_max; bits++) {
		_cleanup_(model_unrefp) struct model *m = NULL;

		CU_ASSERT_EQUAL_FATAL(model_build(&m, n, bits, NULL), 0);
		CU_ASSERT_EQUAL(m->bits, bits);
		CU_ASSERT_EQUAL(m->n_planes, bits);
		for (uint32_t i = 0; i < n->n_ops; i++) {
			const struct op *op = &n->ops[i];
			const struct layer *l = &m->layers[op->matrix];

			if (op->kind != OP_CONVOLUTION && op->kind != OP_DEPTHWISE)
				continue;
			CU_ASSERT_EQUAL(l->planes, n->matrices[op->matrix].fixed ? 8 : bits);
			if (n->matrices[op->matrix].coding == CODING_SUM)
				check_sum_layer(n, op, l, t.planes[op->matrix]);
			else
				check_level_layer(n, op, l, t.planes[op->matrix]);
		}
	}
}

static void test_numbers_of_a_model(void)
{
	check_all_widths(&(struct test_network_options) {.seed = 1});
	check_all_widths(&(struct test_network_options) {.seed = 2, .offsets = true, .channels = 24});
	check_all_widths(&(struct test_network_options) {.seed = 3, .planes = 8, .plain = true});
	check_all_widths(&(struct test_network_options) {.seed = 5, .alpha_widths = 3, .channels = 24});
	check_all_widths(&(struct test_network_options) {.seed = 6, .planes = 8, .alpha_widths = 4, .offsets = true});
	check_all_widths(&(struct test_network_options) {.seed = 4, .planes = 1, .channels = 20});
}

/* Without weights that need rounding, a shared table and tables per row say the same. */
static void test_shared_levels(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&(struct test_network_options) {0});
	_cleanup_(model_unrefp) struct model *a = NULL, *b = NULL;
	struct matrix *m = &n->matrices[3];
	_cleanup_free_ float *level = malloc(((size_t) m->rows << m->planes) * sizeof *level);

	for (size_t i = 0; i < (size_t) m->rows << m->planes; i++)
		level[i] = m->level[i % (1U << m->planes)];
	m->level = level;
	CU_ASSERT_EQUAL_FATAL(model_build(&a, n, 4, NULL), 0);
	m->shared_levels = true;
	CU_ASSERT_EQUAL_FATAL(model_build(&b, n, 4, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(a->layers[3].level, b->layers[3].level, 1U << m->planes), 0);
	CU_ASSERT_EQUAL(memcmp(a->layers[3].gain, b->layers[3].gain, m->rows * sizeof(float)), 0);
	CU_ASSERT_EQUAL(memcmp(a->layers[3].bias, b->layers[3].bias, m->rows * sizeof(float)), 0);
	b = model_unref(b);
	CU_ASSERT_EQUAL_FATAL(model_build(&b, n, 2, NULL), 0);
	CU_ASSERT_TRUE(b->layers[3].level[0] < b->layers[3].level[3]);
}

static void test_widths_outside_are_refused(void)
{
	static const double wrong[] = {0, 0.99, 4.01, 1e9, -1, NAN, INFINITY};
	_cleanup_(network_unrefp) struct network *n = test_network_open(&(struct test_network_options) {0});
	struct model *m = NULL;
	struct error e = {0};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CU_ASSERT_EQUAL(model_build(&m, n, wrong[i], &e), -ERANGE);
	CU_ASSERT_STRING_EQUAL(e.text, "inf bits, the model has 1 to 4");
	CU_ASSERT_PTR_NULL(m);
}

static void test_average_widths(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&(struct test_network_options) {0});
	const struct matrix *m = n->matrices;
	uint32_t planes[5];
	float worth[3][4] = {{9, 5, 4, 4}, {9, 8, 1, 0}, {9, 5, 4.99f, 4}};

	/* Weights: 16 x 9 depthwise, 16 x 144, 32 x 16; the second gains most per weight. */
	n->matrices[1].sensitivity = worth[0];
	n->matrices[2].sensitivity = worth[1];
	n->matrices[3].sensitivity = worth[2];
	CU_ASSERT_EQUAL(m[2].rows * m[2].columns, 2304);
	CU_ASSERT_EQUAL_FATAL(lower_allocate(planes, n, 2), 0);
	CU_ASSERT_EQUAL(planes[2], 2);
	CU_ASSERT_EQUAL_FATAL(lower_allocate(planes, n, 2.8), 0);
	CU_ASSERT_EQUAL(planes[0], 8);
	CU_ASSERT_EQUAL(planes[1], 3);
	CU_ASSERT_EQUAL(planes[2], 2);
	CU_ASSERT_EQUAL(planes[3], 3);
	worth[0][2] = 5;
	worth[2][2] = 5;
	CU_ASSERT_EQUAL_FATAL(lower_allocate(planes, n, 2.8), 0);
	CU_ASSERT_EQUAL(planes[1], 2);
	CU_ASSERT_EQUAL(planes[2], 3);
	CU_ASSERT_EQUAL(planes[3], 2);
}

/* No allocation within the budget loses less, of convex losses; a plane that gains nothing is stepped over. */
static void test_spending_is_optimal(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&(struct test_network_options) {0});
	float worth[3][4] = {{9, 3, 1, 0}, {90, 90, 10, 0}, {40, 10, 2, 0}};
	uint32_t planes[5];

	for (int i = 0; i < 3; i++)
		n->matrices[1 + i].sensitivity = worth[i];
	for (double bits = 1; bits <= 4; bits += 0.125) {
		double have = 0, used = 0, weights = 0, best = INFINITY;

		CU_ASSERT_EQUAL_FATAL(lower_spend(planes, n, bits, 1, 4), 0);
		for (int i = 0; i < 3; i++) {
			const struct matrix *m = &n->matrices[1 + i];

			have += (double) worth[i][planes[1 + i] - 1];
			used += planes[1 + i] * (double) m->rows * m->columns;
			weights += (double) m->rows * m->columns;
		}
		CU_ASSERT_TRUE(used <= bits * weights);
		/* The hull: every allocation that costs no more than what was used, and not less. */
		for (uint32_t c = 0; c < 64; c++) {
			double cost = 0, loss = 0;

			for (uint32_t i = 0; i < 3; i++) {
				uint32_t p = 1 + (c >> 2 * i & 3);
				const struct matrix *m = &n->matrices[1 + i];

				cost += p * (double) m->rows * m->columns;
				loss += (double) worth[i][p - 1];
			}
			if (cost <= used)
				best = fmin(best, loss);
		}
		CU_ASSERT_TRUE(have <= best * 2 + 1e-6);
		CU_ASSERT_TRUE(bits != 4 || have == 0);
	}
	CU_ASSERT_EQUAL(lower_spend(planes, n, 0.9, 1, 4), -ERANGE);
}

static void test_mixed_planes(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&(struct test_network_options) {0});
	_cleanup_(model_unrefp) struct model *m = NULL;
	uint32_t planes[5] = {0, 4, 1, 2, 1};
	struct error e = {0};

	CU_ASSERT_EQUAL_FATAL(model_build_mixed(&m, n, planes, &e), 0);
	for (uint32_t i = 1; i < 4; i++)
		CU_ASSERT_EQUAL(m->layers[i].planes, planes[i]);
	CU_ASSERT_EQUAL(m->layers[0].planes, n->matrices[0].planes);
	m = model_unref(m);
	planes[1] = 5;
	CU_ASSERT_EQUAL(model_build_mixed(&m, n, planes, &e), -ERANGE);
	planes[1] = 0;
	CU_ASSERT_EQUAL(model_build_mixed(&m, n, planes, &e), -ERANGE);
}

static void test_an_average_model_uses_its_bits(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&(struct test_network_options) {0});

	for (double bits = 1; bits <= 4; bits += 0.125) {
		_cleanup_(model_unrefp) struct model *m = NULL;

		CU_ASSERT_EQUAL_FATAL(model_build(&m, n, bits, NULL), 0);
		CU_ASSERT_TRUE(m->bits <= bits);
		CU_ASSERT_TRUE(m->bits >= floor(bits));
		CU_ASSERT_TRUE(bits != floor(bits) || m->bits == bits);
	}
}

TEST_MAIN("lower", TEST(error_is_that_of_the_weights), TEST(refit_is_least_squares),
	TEST(refit_from_stored_is_refit_from_weights), TEST(ternary_keeps_the_fraction_of_nonzeros),
	TEST(repeated_planes_do_no_harm), TEST(known_errors_of_lowering), TEST(numbers_of_a_model),
	TEST(shared_levels), TEST(widths_outside_are_refused), TEST(average_widths), TEST(spending_is_optimal), TEST(mixed_planes),
	TEST(an_average_model_uses_its_bits))
