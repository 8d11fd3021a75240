/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/model.h"

#include <unistd.h>

/* What a network has for itself, a re-encoding too. */
static void free_own(struct network *n)
{
	(void) plane_store_free(n->store);
	free(n->matrices);
	free(n->scales);
	(void) network_unref(n->parent);
}

static void network_free(struct network *n)
{
	free_own(n);
	if (n->parent) {
		free(n);
		return;
	}
	if (n->fd >= 0)
		(void) close(n->fd);
	for (uint32_t i = 0; n->ops && i < n->n_ops; i++)
		free(n->ops[i].table);
	free(n->ops);
	free(n->values);
	free(n->labels);
	free(n->accuracies);
	free(n);
}

struct network *network_ref(struct network *n)
{
	(void) atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
	return n;
}

struct network *network_unref(struct network *n)
{
	if (n && atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) == 1)
		network_free(n);
	return NULL;
}

static void model_free(struct model *m)
{
	for (uint32_t i = 0; i < m->n_planes; i++)
		(void) plane_unref(m->planes[i]);
	(void) plane_unref(m->fixed);
	free(m->layers);
	free(m->numbers);
	/* Last: the planes' store belongs to it. */
	(void) network_unref(m->network);
	free(m);
}

struct model *model_ref(struct model *m)
{
	(void) atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

struct model *model_unref(struct model *m)
{
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		model_free(m);
	return NULL;
}
