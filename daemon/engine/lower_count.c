/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lower_count.h"

/*
 * The compiler's popcount is a table walk unless it may use the instruction, which the oldest x86-64
 * lacks. So each body is compiled twice there, and the choice is made once per row.
 */
#ifdef __x86_64__
#define POPCOUNT_CLONE __attribute__((target("popcnt")))
#define have_popcount() __builtin_cpu_supports("popcnt")
#else
#define POPCOUNT_CLONE
#define have_popcount() true
#endif
#define INLINE static inline __attribute__((always_inline))

/* One row of one plane: @p has @words words, of the last only the bits of @tail count. */
struct row {
	uint64_t word; /* of a row that shares a word with others */
	const uint64_t *p;
};

static void row_init(struct row *r, const struct matrix *m, const uint64_t *plane, uint32_t row)
{
	r->word = 0;
	r->p = plane + (uint64_t) row * m->row_bits / BITS_PER_WORD;
	if (m->row_bits < BITS_PER_WORD) {
		r->word = bits_word(plane, row, m->row_bits, 0);
		r->p = &r->word;
	}
}

struct shape_of_row {
	uint32_t words, group_words;
	uint64_t tail;
};

static struct shape_of_row row_shape(const struct matrix *m)
{
	uint32_t words = bits_words(m->columns), rest = m->columns % BITS_PER_WORD;

	return (struct shape_of_row) {
		.words = words,
		.group_words = m->groups == 1 ? words : m->group_columns / BITS_PER_WORD,
		.tail = rest ? (UINT64_C(1) << rest) - 1 : UINT64_MAX,
	};
}

INLINE uint32_t popcount(uint64_t v)
{
	return (uint32_t) __builtin_popcountll(v);
}

/* Set bits of a ^ b per group; b may be NULL. Two words, the usual group, without an inner loop. */
INLINE void count_body(const uint64_t *a, const uint64_t *b, struct shape_of_row s, uint32_t *ret)
{
	uint32_t w = 0;

	if (s.group_words == 2)
		for (; w + 2 < s.words; w += 2)
			*ret++ = popcount(a[w] ^ (b ? b[w] : 0)) + popcount(a[w + 1] ^ (b ? b[w + 1] : 0));
	while (w < s.words) {
		uint32_t end = MIN_OF(w + s.group_words, s.words), sum = 0;

		for (; w < end; w++)
			sum += popcount((a[w] ^ (b ? b[w] : 0)) & (w + 1 == s.words ? s.tail : UINT64_MAX));
		*ret++ = sum;
	}
}

POPCOUNT_CLONE static void count_fast(const uint64_t *a, const uint64_t *b, struct shape_of_row s,
	uint32_t *ret)
{
	if (b)
		count_body(a, b, s, ret);
	else
		count_body(a, NULL, s, ret);
}

static void count_plain(const uint64_t *a, const uint64_t *b, struct shape_of_row s, uint32_t *ret)
{
	count_body(a, b, s, ret);
}

void lower_count_pairs(const struct matrix *m, const uint64_t *const *planes, uint32_t row, uint32_t kept,
	uint32_t *ret)
{
	struct shape_of_row s = row_shape(m);
	struct row rows[BITS_PLANES_MAX];
	bool fast = have_popcount();

	for (uint32_t i = 0; i < m->planes; i++)
		row_init(&rows[i], m, planes[i], row);
	for (uint32_t i = 0; i < kept; i++)
		for (uint32_t j = i + 1; j < m->planes; j++, ret += m->groups)
			(fast ? count_fast : count_plain)(rows[i].p, rows[j].p, s, ret);
}

void lower_count_ones(const struct matrix *m, const uint64_t *const *planes, uint32_t row, uint32_t n,
	uint32_t *ret)
{
	struct shape_of_row s = row_shape(m);
	bool fast = have_popcount();

	for (uint32_t i = 0; i < n; i++, ret += m->groups) {
		struct row r;

		row_init(&r, m, planes[i], row);
		(fast ? count_fast : count_plain)(r.p, NULL, s, ret);
	}
}

/* Masks of the columns with each code are split plane by plane, the most significant one first. */
INLINE void codes_body(const struct row *rows, uint32_t n, struct shape_of_row s, uint64_t *counts)
{
	uint64_t masks[1 << BITS_PLANES_MAX];

	for (uint32_t w = 0; w < s.words; w++) {
		masks[0] = w + 1 == s.words ? s.tail : UINT64_MAX;
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t c = UINT32_C(1) << i; c-- > 0;) {
				masks[2 * c + 1] = masks[c] & rows[i].p[w];
				masks[2 * c] = masks[c] & ~rows[i].p[w];
			}
		for (uint32_t c = 0; c < UINT32_C(1) << n; c++)
			counts[c] += popcount(masks[c]);
	}
}

POPCOUNT_CLONE static void codes_fast(const struct row *rows, uint32_t n, struct shape_of_row s,
	uint64_t *counts)
{
	codes_body(rows, n, s, counts);
}

static void codes_plain(const struct row *rows, uint32_t n, struct shape_of_row s, uint64_t *counts)
{
	codes_body(rows, n, s, counts);
}

void lower_count_codes(const struct matrix *m, const uint64_t *const *planes, uint32_t row, uint32_t n,
	uint64_t *counts)
{
	struct row rows[BITS_PLANES_MAX];

	for (uint32_t i = 0; i < n; i++)
		row_init(&rows[i], m, planes[i], row);
	(have_popcount() ? codes_fast : codes_plain)(rows, n, row_shape(m), counts);
}
