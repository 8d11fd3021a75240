/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of @from are copied together first: its rows are whole pages apart, where they would evict one another.
 * A tile then stays in the second cache while four rows at a time pass over it in registers. It is as wide as that
 * because the factors of four rows are sorted out once for each tile.
 */
#include "convert/quantize/rank_update.h"

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"

#define TILE 128
#define LANES 8
#define ROWS 4

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

/**
 * struct tile - @from: [rank][TILE], zeros beyond @n columns
 * @first, @n: columns of the update
 */
struct tile {
	double from[RANK_MAX * TILE] __attribute__((aligned(64)));
	size_t first, n;
};

/**
 * struct strip - four rows and their factors; factors that are zero for all of them are left out
 * @factor: [n][ROWS]; @at: [n], rows of the tile
 */
struct strip {
	double *to[ROWS], factor[RANK_MAX * ROWS];
	uint8_t at[RANK_MAX];
	uint32_t rows, n;
};

/* One tile of sums, as many vectors of them as registers hold. */
static inline __attribute__((always_inline)) void add_vectors(double *sums, const struct tile *t,
	const struct strip *s, uint32_t first)
{
	lanes sum[ROWS], b;

	for (int i = 0; i < ROWS; i++)
		memcpy(&sum[i], sums + i * TILE + first, sizeof sum[i]);
	for (uint32_t k = 0; k < s->n; k++) {
		memcpy(&b, t->from + (size_t) s->at[k] * TILE + first, sizeof b);
		for (int i = 0; i < ROWS; i++)
			sum[i] += s->factor[k * ROWS + i] * b;
	}
	for (int i = 0; i < ROWS; i++)
		memcpy(sums + i * TILE + first, &sum[i], sizeof sum[i]);
}

static void add_any(double *sums, const struct tile *t, const struct strip *s)
{
	for (uint32_t first = 0; first < TILE; first += LANES)
		add_vectors(sums, t, s, first);
}

typedef void add_fn(double *sums, const struct tile *t, const struct strip *s);

/* The same additions in wider registers: the same bits. */
#ifdef __x86_64__
__attribute__((target("avx2"))) static void add_avx2(double *sums, const struct tile *t, const struct strip *s)
{
	for (uint32_t first = 0; first < TILE; first += LANES)
		add_vectors(sums, t, s, first);
}

__attribute__((target("avx512f"))) static void add_avx512(double *sums, const struct tile *t,
	const struct strip *s)
{
	for (uint32_t first = 0; first < TILE; first += LANES)
		add_vectors(sums, t, s, first);
}

static add_fn *choose_add(void)
{
	return __builtin_cpu_supports("avx512f") ? add_avx512 : __builtin_cpu_supports("avx2") ? add_avx2 : add_any;
}
#else
static add_fn *choose_add(void)
{
	return add_any;
}
#endif

static void load_tile(struct tile *t, const struct rank_update *u, size_t first)
{
	t->first = first;
	t->n = MIN_OF((size_t) TILE, u->end - first);
	for (size_t k = 0; k < u->rank; k++) {
		memcpy(t->from + k * TILE, u->from + k * u->stride + first, t->n * sizeof *t->from);
		memset(t->from + k * TILE + t->n, 0, (TILE - t->n) * sizeof *t->from);
	}
}

static void load_strip(struct strip *s, const struct rank_update *u, uint32_t first)
{
	s->rows = MIN_OF((uint32_t) ROWS, u->n_to - first);
	s->n = 0;
	for (uint32_t i = 0; i < s->rows; i++)
		s->to[i] = u->to[first + i];
	for (size_t k = 0; k < u->rank; k++) {
		const double *from = u->factor + k * u->n_to + first;
		double *to = s->factor + (size_t) s->n * ROWS;
		bool any = false;

		for (uint32_t i = 0; i < ROWS; i++) {
			to[i] = i < s->rows ? from[i] : 0;
			any |= to[i] != 0;
		}
		s->at[s->n] = (uint8_t) k;
		s->n += any;
	}
}

static void run_strip(const struct strip *s, const struct tile *t, add_fn *add)
{
	double sums[ROWS * TILE] __attribute__((aligned(64))) = {0};

	for (uint32_t i = 0; i < s->rows; i++)
		memcpy(sums + i * TILE, s->to[i] + t->first, t->n * sizeof *sums);
	add(sums, t, s);
	for (uint32_t i = 0; i < s->rows; i++)
		memcpy(s->to[i] + t->first, sums + i * TILE, t->n * sizeof *sums);
}

void rank_update(const struct rank_update *u)
{
	add_fn *add = choose_add();
	struct strip s;
	struct tile t;

	for (size_t first = u->first; first < u->end; first += TILE) {
		load_tile(&t, u, first);
		for (uint32_t i = 0; i < u->n_to; i += ROWS) {
			load_strip(&s, u, i);
			if (s.n > 0)
				run_strip(&s, &t, add);
		}
	}
}
