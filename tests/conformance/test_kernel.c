/* SPDX-License-Identifier: Apache-2.0 */
/* The list itself, what is chosen from it, and the flags it is chosen by. */
#include "engine/kernels/kernel.h"

#include <string.h>

#include "base/cleanup.h"
#include "support/test.h"

static void test_every_op_ends_with_a_scalar_row(void)
{
	for (uint32_t op = 0; op < _KERNEL_OP_MAX; op++) {
		const struct kernel *last = NULL;

		for (uint32_t i = 0; i < kernel_count; i++)
			if (kernel_table[i].op == op)
				last = &kernel_table[i];
		CU_ASSERT_PTR_NOT_NULL_FATAL(last);
		CU_ASSERT_EQUAL(last->needs, 0);
		CU_ASSERT_PTR_EQUAL(kernel_pick((enum kernel_op) op, 0, NULL, 0), last);
		CU_ASSERT(strstr(last->name, "_scalar") != NULL);
	}
}

static void test_pick_obeys_flags(void)
{
	for (uint32_t op = 0; op < _KERNEL_OP_MAX; op++)
		for (uint32_t cpu = 0; cpu < 1024; cpu++) {
			const struct kernel *k = kernel_pick((enum kernel_op) op, cpu, NULL, 0);

			CU_ASSERT_PTR_NOT_NULL_FATAL(k);
			CU_ASSERT_EQUAL(k->needs & ~cpu, 0);
			CU_ASSERT_EQUAL(k->op, op);
		}
}

static void test_pick_obeys_coding(void)
{
	static const int8_t level[4] = {-1, 0, 1, 2};
	struct kernel_matrix w = {.rows = 1, .words = 1, .groups = 1, .group_words = 1, .planes = 2,
		.level = level};

	CU_ASSERT_PTR_NOT_NULL(kernel_pick(KERNEL_MATMUL, 0, &w, 0));
	CU_ASSERT_PTR_NULL(kernel_pick(KERNEL_MATMUL_BITS, UINT32_MAX, &w, 0));
	w.level = NULL;
	CU_ASSERT_PTR_NOT_NULL(kernel_pick(KERNEL_MATMUL_BITS, 0, &w, 0));
}

/* However many columns: only rows that take any; of few ones also those made for them. */
static void test_pick_obeys_columns(void)
{
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if (k->columns_max == 0)
			continue;
		CU_ASSERT_EQUAL(kernel_pick(k->op, k->needs, NULL, 0)->columns_max, 0);
		CU_ASSERT(kernel_pick(k->op, k->needs, NULL, k->columns_max)->columns_max > 0);
		CU_ASSERT_EQUAL(kernel_pick(k->op, k->needs, NULL, k->columns_max + 1)->columns_max, 0);
	}
}

static void test_product_is_the_cheapest(void)
{
	static const int8_t level[256] = {1};
	struct kernel_matrix w = {.rows = 64, .words = 4, .groups = 2, .group_words = 2};

	for (uint32_t i = 0; i < kernel_count; i++)
		if (kernel_multiplies(&kernel_table[i], NULL, 1, 1))
			CU_ASSERT(kernel_table[i].cost > 0);
	for (uint32_t planes = 1; planes <= BITS_PLANES_MAX; planes++)
		for (uint32_t bits = 1; bits <= 8; bits++)
			for (uint32_t j = 0; j < kernel_count; j++) {
				const struct kernel *k = &kernel_table[j], *best;

				w.planes = planes;
				w.level = j % 2 ? level : NULL;
				best = kernel_pick_product(k->needs, &w, 1 + planes, bits);
				CU_ASSERT_PTR_NOT_NULL_FATAL(best);
				CU_ASSERT_EQUAL(best->needs & ~k->needs, 0);
				CU_ASSERT(kernel_multiplies(best, &w, 1 + planes, bits));
				if (kernel_multiplies(k, &w, 1 + planes, bits))
					CU_ASSERT(kernel_cost(best, &w, bits) <= kernel_cost(k, &w, bits));
			}
}

static void test_names_are_unique(void)
{
	for (uint32_t i = 0; i < kernel_count; i++) {
		CU_ASSERT(kernel_table[i].columns_per_tile > 0);
		CU_ASSERT(kernel_table[i].any != NULL);
		for (uint32_t j = 0; j < i; j++)
			CU_ASSERT(strcmp(kernel_table[i].name, kernel_table[j].name) != 0);
	}
}

static void print_product(uint32_t planes, uint32_t bits)
{
	struct kernel_matrix w = {.rows = 256, .words = 16, .groups = 8, .group_words = 2, .planes = planes};
	const struct kernel *k = kernel_pick_product(cpu_flags(), &w, 1000, bits);

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	printf(" W%uA%u=%s", planes, bits, k->name);
}

/* packaging/check-arm64 reads this: each processor must get the rows that are made for it. */
static void test_chosen_here(void)
{
	char text[64];

	printf("\nchosen (%s):", cpu_flags_text(cpu_flags(), text, sizeof text));
	print_product(1, 1);
	print_product(2, 8);
	print_product(8, 8);
	for (uint32_t op = KERNEL_MATMUL_BITS + 1; op < _KERNEL_OP_MAX; op++)
		printf(" %s", kernel_pick((enum kernel_op) op, cpu_flags(), NULL, 0)->name);
	printf("\n");
}

static void test_mask_takes_flags_away(void)
{
	const char *mask = getenv("BITSHED_CPU_MASK");

	if (mask && *mask)
		CU_ASSERT_EQUAL(cpu_flags() & ~(uint32_t) strtoul(mask, NULL, 0), 0);
	CU_ASSERT_EQUAL(cpu_flags(), cpu_flags());
}

static void test_flags_have_words(void)
{
	char text[64], tiny[5];

	CU_ASSERT_STRING_EQUAL(cpu_flags_text(CPU_AVX2 | CPU_AVX512_VNNI, text, sizeof text),
		"avx2 avx512-vnni");
	CU_ASSERT_STRING_EQUAL(cpu_flags_text(0, text, sizeof text), "");
	CU_ASSERT_STRING_EQUAL(cpu_flags_text(CPU_NEON | CPU_DOTPROD, tiny, sizeof tiny), "neon");
}

/* Two planes, 4 and 2 from -2 on, of two filters of three taps that share a word. */
static void test_depthwise_decode_follows_row_bits(void)
{
	static const uint64_t plane[2] = {0x0501, 0x0302}; /* rows of 8 bits: 001 and 101, 010 and 011 */
	static const int16_t step[] = {4, 2, 4, 2};
	static const int8_t base[] = {-2, -2};
	static const int8_t expected[] = {2, 4, 0, 0, -2, 2};
	struct kernel_matrix w = {.rows = 2, .words = 1, .groups = 1, .group_words = 1, .planes = 2,
		.plane = {&plane[0], &plane[1]}, .step = step, .base = base};
	int8_t weights[6];

	depthwise_decode(&w, bits_row_bits(3, true), 3, weights);
	CU_ASSERT_EQUAL(memcmp(weights, expected, sizeof weights), 0);
}

static void test_weight_of_level_coding(void)
{
	static const uint64_t plane[2] = {0x2, 0x3}; /* indexes 1, 3, 0 */
	static const int8_t level[4] = {-100, -1, 1, 100};
	struct kernel_matrix w = {.rows = 1, .words = 1, .groups = 1, .group_words = 1, .planes = 2,
		.plane = {&plane[0], &plane[1]}, .level = level};

	CU_ASSERT_EQUAL(kernel_weight(&w, 0, 0), -1);
	CU_ASSERT_EQUAL(kernel_weight(&w, 0, 1), 100);
	CU_ASSERT_EQUAL(kernel_weight(&w, 0, 2), -100);
}

TEST_MAIN("kernel", TEST(every_op_ends_with_a_scalar_row), TEST(pick_obeys_flags),
	TEST(pick_obeys_coding), TEST(pick_obeys_columns), TEST(product_is_the_cheapest), TEST(names_are_unique), TEST(chosen_here), TEST(mask_takes_flags_away),
	TEST(flags_have_words), TEST(depthwise_decode_follows_row_bits), TEST(weight_of_level_coding))
