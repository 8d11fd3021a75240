/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of every kernel that this processor runs, one thread, from the list: "bench_kernels [PART OF A NAME]".
 * Matrix products in 10^9 multiply-accumulates per second (of weights with activations, whatever their
 * widths), all others in 10^9 elements per second.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/kernels/kernel.h"

#define MEASURE_NSEC (20 * NSEC_PER_MSEC)
#define REPEATS 5
#define ELEMENTS 4096
#define TAPS 9

static void *take_memory(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!p)
		exit(1);
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *) p)[i] = (uint8_t) (i * 2654435761u >> 13);
	return p;
}

struct product {
	const struct kernel *kernel;
	struct kernel_matrix w;
	struct kernel_columns x;
	int32_t *acc;
	void *scratch;
};

struct elements {
	const struct kernel *kernel;
	uint8_t *a, *b, *out;
	int32_t *acc;
	float *f, *gain, *bias;
};

static void run_product(void *userdata)
{
	struct product *p = userdata;

	p->kernel->matmul(&p->w, &p->x, p->acc, p->w.rows, p->scratch);
}

static void run_elements(void *userdata)
{
	static const struct kernel_add add = {0.5f, 0.25f, 3, 200, 5, 0, 255};
	struct elements *e = userdata;
	const struct kernel *k = e->kernel;
	const uint8_t *taps[TAPS];

	switch (k->op) {
	case KERNEL_DEPTHWISE:
		for (uint32_t i = 0; i < TAPS; i++)
			taps[i] = e->a + 64 * i;
		k->depthwise((const int8_t *) e->b, TAPS, 64, taps, 64, ELEMENTS / 64, e->acc);
		break;
	case KERNEL_PACK:
		k->pack(e->a, ELEMENTS / 64, 2, (uint64_t *) (void *) e->out);
		break;
	case KERNEL_REQUANTIZE:
		k->requantize(e->acc, ELEMENTS, e->gain, e->bias, 7, 0, 255, e->out);
		break;
	case KERNEL_ADD:
		k->add(&add, e->a, e->b, ELEMENTS, e->out);
		break;
	case KERNEL_TABLE:
		k->table(e->b, e->a, ELEMENTS, e->out);
		break;
	case KERNEL_MAX:
		k->max(e->a, ELEMENTS, e->out);
		break;
	case KERNEL_SUM:
		k->sum_rows(e->a, ELEMENTS, e->acc);
		break;
	case KERNEL_SOFTMAX:
		k->softmax(e->f, ELEMENTS, e->gain);
		break;
	case KERNEL_MATMUL:
	case KERNEL_MATMUL_BITS:
	case _KERNEL_OP_MAX:
		break;
	}
}

/* Best of some runs: what the kernel can do, not what else the machine does. */
static double measure(void (*fn)(void *), void *userdata)
{
	double best = 1e300;

	for (uint32_t r = 0; r < REPEATS; r++) {
		uint64_t begin = clock_now_nsec(), now = begin;
		uint32_t calls = 0;

		do {
			fn(userdata);
			calls++;
			now = clock_now_nsec();
		} while (now - begin < MEASURE_NSEC / REPEATS);
		best = MIN_OF(best, (double) (now - begin) / calls);
	}
	return best;
}

static void bench_product(const struct kernel *k, uint32_t rows, uint32_t columns, uint32_t planes,
	uint32_t count, bool level)
{
	uint32_t words = bits_words(columns), group_words = level ? words : MIN_OF(2u, words);
	uint32_t groups = (words + group_words - 1) / group_words;
	_cleanup_free_ uint64_t *bits = take_memory((size_t) rows * words * 8 * planes);
	_cleanup_free_ int8_t *scales = take_memory((size_t) rows * (groups + 1) * 256);
	_cleanup_free_ uint8_t *q = take_memory((size_t) count * words * 64);
	_cleanup_free_ int32_t *acc = take_memory((size_t) count * rows * 4);
	_cleanup_free_ void *scratch = take_memory(KERNEL_SCRATCH_BYTES);
	struct product p = {
		.kernel = k,
		.w = {rows, words, groups, group_words, planes, .alpha = level ? NULL : scales,
			.offset = level ? NULL : scales, .level = level ? scales : NULL,
			.level_stride = 1u << planes},
		.x = {count, q, (const uint64_t *) (void *) q, 2},
		.acc = acc,
		.scratch = scratch,
	};
	double nsec;

	for (uint32_t i = 0; i < planes; i++)
		p.w.plane[i] = bits + (size_t) i * rows * words;
	nsec = measure(run_product, &p);
	printf("%-20s %4ux%-5u %u planes %s %4u columns %9.2f GMAC/s\n", k->name, rows, columns, planes,
		level ? "level" : "sum  ", count, (double) rows * columns * count / nsec);
}

static void bench_products(const struct kernel *k)
{
	static const uint32_t shapes[][2] = {{16, 144}, {64, 576}, {256, 2304}};

	for (uint32_t s = 0; s < ARRAY_SIZE(shapes); s++)
		for (uint32_t planes = 2; planes <= 8; planes *= 2)
			for (uint32_t level = 0; level < 2; level++)
				if (level ? k->level : k->sum)
					bench_product(k, shapes[s][0], shapes[s][1], planes,
						k->columns_per_tile, level);
	bench_product(k, 256, 2304, 4, 1, !k->sum);
}

static void bench_elements(const struct kernel *k)
{
	_cleanup_free_ uint8_t *a = take_memory(2 * ELEMENTS), *b = take_memory(2 * ELEMENTS);
	_cleanup_free_ uint8_t *out = take_memory(ELEMENTS);
	_cleanup_free_ int32_t *acc = take_memory(ELEMENTS * sizeof *acc);
	_cleanup_free_ float *f = take_memory(ELEMENTS * sizeof *f), *gain = take_memory(ELEMENTS * sizeof *f),
			     *bias = take_memory(ELEMENTS * sizeof *f);
	struct elements e = {k, a, b, out, acc, f, gain, bias};
	double nsec;

	for (uint32_t i = 0; i < ELEMENTS; i++) {
		f[i] = -0.001f * (float) i;
		gain[i] = 1e-3f;
		bias[i] = 0.5f;
		acc[i] = (int32_t) i * 50;
	}
	nsec = measure(run_elements, &e);
	printf("%-20s %9.2f G/s\n", k->name, ELEMENTS / nsec);
}

int main(int argc, char **argv)
{
	char text[128];

	printf("cpu: %s\n", cpu_flags_text(cpu_flags(), text, sizeof text));
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if ((k->needs & ~cpu_flags()) || (argc > 1 && !strstr(k->name, argv[1])))
			continue;
		if (k->op == KERNEL_MATMUL || k->op == KERNEL_MATMUL_BITS)
			bench_products(k);
		else
			bench_elements(k);
	}
	return 0;
}
