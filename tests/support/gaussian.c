/* SPDX-License-Identifier: Apache-2.0 */
#include "support/gaussian.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/model_write.h"
#include "convert/quantize/fit.h"
#include "engine/lower.h"

#define GROUP 128
#define TILES 256
#define PLANES GAUSSIAN_PLANES
#define ROWS_MAX 8
#define INPUTS 16

struct tile {
	float alpha[PLANES];
	uint8_t codes[GROUP];
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static double uniform(struct graph *g)
{
	return ((double) (graph_random(g) >> 11) + 0.5) / 9007199254740992.0;
}

static double gauss(struct graph *g)
{
	return sqrt(-2 * log(uniform(g))) * cos(6.283185307179586 * uniform(g));
}

/* The largest scale first, as in a file of an export. */
static void sort_planes(struct tile *t)
{
	for (int i = 0; i < PLANES; i++)
		for (int j = i + 1; j < PLANES; j++) {
			int x = PLANES - 1 - i, y = PLANES - 1 - j;
			float a = t->alpha[i];

			if (a >= t->alpha[j])
				continue;
			t->alpha[i] = t->alpha[j];
			t->alpha[j] = a;
			for (int c = 0; c < GROUP; c++)
				if ((t->codes[c] >> x & 1) != (t->codes[c] >> y & 1))
					t->codes[c] ^= (uint8_t) (1 << x | 1 << y);
		}
}

static struct tile *draw_tiles(struct graph *g)
{
	struct tile *tiles = must(calloc(TILES, sizeof *tiles));
	struct fit *f;

	if (fit_new(&f, GROUP) < 0)
		abort();
	for (int i = 0; i < TILES; i++) {
		float w[GROUP];

		for (int t = 0; t < GROUP; t++)
			w[t] = (float) gauss(g);
		fit_load(f, w, GROUP);
		fit_alternate(f, PLANES, 20);
		fit_store(f, tiles[i].alpha, tiles[i].codes);
		sort_planes(&tiles[i]);
	}
	(void) fit_free(f);
	return tiles;
}

static void fill_group(const struct matrix *m, uint64_t **planes, uint32_t row, uint32_t g, const struct tile *tile,
	float *alpha)
{
	uint32_t begin = g * GROUP, end = begin + GROUP < m->columns ? begin + GROUP : m->columns;

	memcpy(alpha + ((size_t) row * m->groups + g) * PLANES, tile->alpha, sizeof tile->alpha);
	for (uint32_t t = begin; t < end; t++)
		for (uint32_t p = 0; p < PLANES; p++)
			if (tile->codes[t - begin] >> (PLANES - 1 - p) & 1)
				bits_set(planes[p], (uint64_t) row * m->row_bits + t);
}

static uint64_t **fill_matrix(struct graph *g, struct matrix *m, const struct tile *tiles)
{
	uint64_t **planes = must(calloc(PLANES, sizeof *planes)), words = bits_plane_words(m->rows, m->row_bits);
	float *alpha;

	m->group_columns = GROUP;
	m->groups = (m->columns + GROUP - 1) / GROUP;
	alpha = must(calloc((size_t) m->rows * m->groups * PLANES, sizeof *alpha));
	m->alpha = alpha;
	m->bias = must(calloc(m->rows, sizeof *m->bias));
	for (uint32_t p = 0; p < PLANES; p++)
		planes[p] = must(calloc(words, sizeof(uint64_t)));
	for (uint32_t row = 0; row < m->rows; row++)
		for (uint32_t i = 0; i < m->groups; i++)
			fill_group(m, planes, row, i, &tiles[graph_below(g, TILES)], alpha);
	return planes;
}

int gaussian_memfd(struct graph *g)
{
	struct network *n = &g->network;
	uint64_t ***planes = must(calloc(n->n_matrices, sizeof *planes));
	int fd = memfd_create("gaussian", MFD_CLOEXEC), r;
	struct tile *tiles = draw_tiles(g);
	struct error e = {0};

	for (uint32_t i = 0; i < n->n_matrices; i++)
		planes[i] = fill_matrix(g, &g->matrices[i], tiles);
	(void) snprintf(n->name, sizeof n->name, "gaussian");
	n->pixel_scale = 1;
	for (int c = 0; c < 4; c++)
		n->pixel_std[c] = 1;
	r = fd < 0 ? fd : model_write_fd(fd, n, (uint64_t *const *const *) planes, &e);
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		free((void *) g->matrices[i].alpha);
		free((void *) g->matrices[i].bias);
		for (uint32_t p = 0; p < PLANES; p++)
			free(planes[i][p]);
		free(planes[i]);
	}
	free(planes);
	free(tiles);
	if (r < 0) {
		(void) fprintf(stderr, "gaussian: %s\n", error_text(&e, r));
		abort();
	}
	return fd;
}

/* As the kernels compute it: the integer weight times its row's gain. */
static double weight(const struct model *m, uint32_t i, uint32_t row, uint32_t column)
{
	const struct matrix *x = &m->network->matrices[i];
	const struct layer *l = &m->layers[i];
	size_t g = (size_t) row * x->groups + column / x->group_columns;
	int q = l->base[g];

	for (uint32_t p = 0; p < l->planes; p++)
		if (bits_get(l->plane[p], (uint64_t) row * x->row_bits + column))
			q += l->step[g * l->planes + p];
	return (double) l->gain[row] * q;
}

/* Of squares: of the outputs, of what is different. */
struct sums {
	double yy, dd;
};

static void add_row(struct sums *s, const struct model *full, const struct model *narrow, uint32_t i, uint32_t row,
	const float *inputs)
{
	uint32_t columns = full->network->matrices[i].columns;
	double y[INPUTS] = {0}, d[INPUTS] = {0};

	for (uint32_t t = 0; t < columns; t++) {
		double a = weight(full, i, row, t), b = weight(narrow, i, row, t) - a;

		for (int k = 0; k < INPUTS; k++) {
			y[k] += a * (double) inputs[(size_t) k * columns + t];
			d[k] += b * (double) inputs[(size_t) k * columns + t];
		}
	}
	for (int k = 0; k < INPUTS; k++) {
		s->yy += y[k] * y[k];
		s->dd += d[k] * d[k];
	}
}

double gaussian_output_error(const struct model *full, const struct model *narrow)
{
	const struct network *n = full->network;
	double error = 0, weights = 0;
	struct graph random;

	graph_init(&random, 5);
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		float *inputs = must(malloc(INPUTS * (size_t) m->columns * sizeof *inputs));
		struct sums s = {0};

		for (size_t t = 0; t < INPUTS * (size_t) m->columns; t++)
			inputs[t] = (float) fmax(gauss(&random), 0);
		for (uint32_t row = 0; row < m->rows; row += m->rows / ROWS_MAX + 1)
			add_row(&s, full, narrow, i, row, inputs);
		/* Each matrix counts by its size. */
		error += s.dd / s.yy * m->rows * m->columns;
		weights += (double) m->rows * m->columns;
		free(inputs);
	}
	graph_done(&random);
	return error / weights;
}
