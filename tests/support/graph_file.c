/* SPDX-License-Identifier: Apache-2.0 */
#include "support/graph_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/model_write.h"

#define GROUP_COLUMNS 128

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* Planes halve in weight, and rows differ a little. */
static float *draw_alpha(struct graph *g, const struct matrix *m)
{
	size_t n = (size_t) m->rows * m->groups * m->planes;
	float *alpha = must(calloc(n, sizeof *alpha));

	for (size_t i = 0; i < n; i++)
		alpha[i] = (1 + (float) graph_below(g, 100) / 1000) / (float) (1 << i % m->planes);
	return alpha;
}

static uint64_t **fill_matrix(struct graph *g, struct matrix *m, const struct layer *l)
{
	uint64_t **planes = must(calloc(m->planes, sizeof *planes));

	m->group_columns = GROUP_COLUMNS;
	m->groups = (m->columns + GROUP_COLUMNS - 1) / GROUP_COLUMNS;
	m->alpha = draw_alpha(g, m);
	m->bias = must(calloc(m->rows, sizeof *m->bias));
	for (uint32_t p = 0; p < m->planes; p++)
		planes[p] = (uint64_t *) l->plane[p];
	return planes;
}

int graph_memfd(struct graph *g)
{
	struct network *n = &g->network;
	uint64_t ***planes = must(calloc(n->n_matrices, sizeof *planes));
	int fd = memfd_create("graph", MFD_CLOEXEC), r;
	struct error e = {0};

	for (uint32_t i = 0; i < n->n_matrices; i++)
		planes[i] = fill_matrix(g, &g->matrices[i], &g->layers[i]);
	(void) snprintf(n->name, sizeof n->name, "graph");
	n->pixel_scale = 1;
	for (int c = 0; c < 4; c++)
		n->pixel_std[c] = 1;
	r = fd < 0 ? fd : model_write_fd(fd, n, (uint64_t *const *const *) planes, &e);
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		free((void *) g->matrices[i].alpha);
		free((void *) g->matrices[i].bias);
		free(planes[i]);
	}
	free(planes);
	if (r < 0) {
		(void) fprintf(stderr, "graph: %s\n", error_text(&e, r));
		abort();
	}
	return fd;
}
