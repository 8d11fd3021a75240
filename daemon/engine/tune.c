/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tune.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic(struct tune *) used;

struct tune *tune_new(void)
{
	return calloc(1, sizeof(struct tune));
}

struct tune *tune_free(struct tune *t)
{
	free(t);
	return NULL;
}

void tune_use(struct tune *t)
{
	(void) tune_free(atomic_exchange(&used, t));
}

const struct tune *tune_used(void)
{
	return atomic_load(&used);
}

struct tune_shape tune_shape(
	const struct kernel_matrix *w, uint32_t columns, uint32_t bits, uint32_t groups)
{
	return (struct tune_shape){w->rows, w->words, w->group_words, w->planes, w->level != NULL, bits,
		columns, groups};
}

static int compare(const struct tune_row *row, const struct tune_shape *shape, const struct kernel *k)
{
	int order = memcmp(&row->shape, shape, sizeof *shape);

	return order != 0 ? order : (row->kernel > k) - (row->kernel < k);
}

/* Return: the first row that is not before (shape, k); NULL begins a shape */
static uint32_t place_of(const struct tune *t, const struct tune_shape *shape, const struct kernel *k)
{
	uint32_t low = 0, high = t->n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare(&t->rows[middle], shape, k) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int tune_set(struct tune *t, const struct tune_shape *shape, const struct kernel *k, uint64_t nsec)
{
	uint32_t at = place_of(t, shape, k);

	if (at == t->n || compare(&t->rows[at], shape, k) != 0) {
		if (t->n == TUNE_ROWS_MAX)
			return -ENOSPC;
		memmove(&t->rows[at + 1], &t->rows[at], (t->n - at) * sizeof t->rows[0]);
		t->n++;
	}
	t->rows[at] = (struct tune_row){*shape, k, nsec};
	return 0;
}

const struct tune_row *tune_find(
	const struct tune *t, const struct tune_shape *shape, const struct kernel *k)
{
	uint32_t at = t ? place_of(t, shape, k) : 0;

	return t && at < t->n && compare(&t->rows[at], shape, k) == 0 ? &t->rows[at] : NULL;
}

const struct kernel *tune_pick(const struct tune *t, uint32_t cpu, const struct kernel_matrix *w,
	uint32_t columns, uint32_t bits, uint32_t groups)
{
	struct tune_shape shape = tune_shape(w, columns, bits, groups);
	const struct tune_row *best = NULL;

	for (uint32_t i = t ? place_of(t, &shape, NULL) : 0;
		t && i < t->n && memcmp(&t->rows[i].shape, &shape, sizeof shape) == 0; i++) {
		const struct tune_row *row = &t->rows[i];

		/* The file may be anybody's: what does not fit here is not believed. */
		if ((row->kernel->needs & ~cpu) || !kernel_multiplies(row->kernel, w, columns, bits))
			continue;
		if (!best || row->nsec < best->nsec)
			best = row;
	}
	return best ? best->kernel : kernel_pick_product(cpu, w, columns, bits);
}
