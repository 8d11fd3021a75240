/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/recode.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memfd.h"
#include "engine/recode_parts.h"

static void unmap(struct recode *r, uint32_t p)
{
	if (r->out[p])
		(void) munmap(r->out[p], r->network->plane_bytes[p]);
	r->out[p] = NULL;
}

struct recode *recode_free(struct recode *r)
{
	if (!r)
		return NULL;
	for (uint32_t p = 0; p < BITS_PLANES_MAX; p++) {
		unmap(r, p);
		close_fdp(&r->fd[p]);
		(void) plane_unref(r->in[p]);
	}
	free(r->numbers);
	(void) network_unref(r->network);
	free(r);
	return NULL;
}

/* Exports that have measured nothing write the same for each width. */
static bool differs(const float *at, const struct matrix *m, uint32_t planes)
{
	return at && memcmp(at + (size_t) (planes - 1) * m->rows, at + (size_t) (m->planes - 1) * m->rows,
			     m->rows * sizeof *at) != 0;
}

static bool is_measured(const struct matrix *m, uint32_t planes)
{
	return m->alpha_widths >= planes || differs(m->gain_at, m, planes) || differs(m->bias_at, m, planes);
}

bool recode_helps(const struct network *network, uint32_t planes)
{
	if (planes < 1 || planes >= network->planes_max)
		return false;
	for (uint32_t i = 0; i < network->n_matrices; i++)
		if (recode_changes(&network->matrices[i], planes) && is_measured(&network->matrices[i], planes))
			return false;
	return true;
}

int recode_allocate(struct recode **ret, struct network *network, uint32_t planes)
{
	_cleanup_(recode_freep) struct recode *r = NULL;
	int k = 0;

	if (!recode_helps(network, planes))
		return -ERANGE;
	r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	for (uint32_t p = 0; p < BITS_PLANES_MAX; p++)
		r->fd[p] = -1;
	r->network = network_ref(network);
	r->planes = planes;
	for (uint32_t i = 0; i < network->n_matrices; i++)
		r->n_numbers += recode_numbers(&network->matrices[i], planes);
	r->numbers = calloc(r->n_numbers + 1, sizeof *r->numbers);
	if (!r->numbers)
		return -ENOMEM;
	for (uint32_t p = 0; k >= 0 && p < planes; p++)
		k = memfd_new(&r->fd[p], (void **) &r->out[p], "bitshed-recoded", network->plane_bytes[p]);
	if (k < 0)
		return k;
	*ret = take_ptr(r);
	return 0;
}

int recode_new(struct recode **ret, struct network *network, uint32_t planes, struct error *reterr)
{
	_cleanup_(recode_freep) struct recode *r = NULL;
	int k;

	k = recode_allocate(&r, network, planes);
	if (k == -ERANGE)
		return error_set(reterr, k, "%u of its planes are better as they are, or all that it has", planes);
	for (uint32_t p = 0; k >= 0 && p < network->planes_max; p++)
		k = plane_acquire(&r->in[p], network, p, NULL, reterr);
	if (k < 0)
		return k;
	*ret = take_ptr(r);
	return 0;
}

static int seal(struct recode *r)
{
	int k = 0;

	for (uint32_t p = 0; k >= 0 && p < r->planes; p++) {
		unmap(r, p);
		k = memfd_seal_read_only(r->fd[p]);
	}
	return k;
}

static void change_matrix(struct matrix *m, uint32_t planes, const float *numbers)
{
	if (m->coding == CODING_LEVEL) {
		m->level = numbers;
	} else {
		m->alpha = numbers;
		m->offset = numbers + (size_t) m->rows * m->groups * planes;
	}
	m->alpha_widths = 0;
	m->planes = planes;
}

static void change_matrices(const struct recode *r, struct network *n)
{
	const float *numbers = r->numbers;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		size_t count = recode_numbers(&n->matrices[i], r->planes);

		if (count > 0)
			change_matrix(&n->matrices[i], r->planes, numbers);
		numbers += count;
	}
}

static int offer_planes(struct recode *r, struct network *n)
{
	_cleanup_free_ uint64_t *word = malloc(n->n_matrices * sizeof *word + 1);
	struct plane plane = {.matrix_word = word};
	int k = word ? 0 : -ENOMEM;

	for (uint32_t p = 0; k >= 0 && p < r->planes; p++) {
		for (uint32_t i = 0; i < n->n_matrices; i++)
			word[i] = !n->matrices[i].fixed && p < n->matrices[i].planes
					  ? n->matrices[i].plane_word
					  : UINT64_MAX;
		k = plane_offer(n, p, plane_layout(&plane, n), n->plane_bytes[p], take_fd(&r->fd[p]));
	}
	return k;
}

int recode_network(struct recode *r, struct network **ret, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	const size_t at = offsetof(struct network, parent);
	struct matrix *matrices;
	int k;

	k = seal(r);
	if (k < 0)
		return error_set(reterr, k, "new planes cannot be sealed: %s", strerror(-k));
	matrices = malloc(r->network->n_matrices * sizeof *matrices + 1);
	n = matrices ? malloc(sizeof *n) : NULL;
	if (!n) {
		free(matrices);
		return -ENOMEM;
	}
	/* Behind the count, which other threads change meanwhile. */
	memcpy((char *) n + at, (const char *) r->network + at, sizeof *n - at);
	atomic_init(&n->refs, 1);
	n->parent = network_ref(r->network);
	n->fd = -1;
	n->matrices = memcpy(matrices, r->network->matrices, n->n_matrices * sizeof *matrices);
	n->planes_max = r->planes;
	change_matrices(r, n);
	n->scales_bytes = r->n_numbers * sizeof *r->numbers;
	n->scales = take_ptr(r->numbers);
	n->store = plane_store_new();
	k = n->store ? offer_planes(r, n) : -ENOMEM;
	if (k < 0)
		return k;
	*ret = take_ptr(n);
	return 0;
}
