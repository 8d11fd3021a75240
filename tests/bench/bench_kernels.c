/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of every kernel that this processor runs, one thread, from the list, beside what the machine
 * can do at most: bench_kernels [PART OF A NAME] [--json FILE]
 *
 * Matrix products in 10^9 multiply-accumulates per second (of weights with activations, whatever
 * their widths), all others in 10^9 elements per second. The percentage is of the peak that bounds
 * it: decode of the int8 product, bitserial of one bit times one bit, products with one column and
 * weights that no cache holds of reading the planes from memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "bench/peaks.h"
#include "engine/kernels/kernel.h"

#define MEASURE_NSEC (36 * NSEC_PER_MSEC)
#define REPEATS 9
#define CLOCKS 4 /* looks at the clock per repetition */
#define ELEMENTS 4096
#define TAPS 9
#define ACTIVATION_PLANES 2
#define COLD_ROUNDS 3
#define COLD_BYTES (96u << 20) /* of planes, read in turn: more than a cache holds */

static double peaks[_PEAK_MAX];
static FILE *json;
static const char *json_comma = "";

/* One object of the JSON list; @share: of the peak, 0: none */
static void print_json(const char *name, const char *shape, double value, const char *unit, double share)
{
	if (!json)
		return;
	fprintf(json, "%s\n  {\"name\": \"%s\", \"shape\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"",
		json_comma, name, shape, value, unit);
	if (share > 0)
		fprintf(json, ", \"share\": %.3f", share);
	fprintf(json, "}");
	json_comma = ",";
}

static void bench_peaks(void)
{
	static const char *const units[] = {"GMAC/s", "Gbit-MAC/s", "G/s", "GB/s"};

	for (uint32_t i = 0; i < _PEAK_MAX; i++) {
		peaks[i] = peak_measure((enum peak) i);
		if (peaks[i] <= 0)
			continue;
		printf("%-28s %9.1f %s\n", peak_name((enum peak) i), peaks[i], units[i]);
		print_json(peak_name((enum peak) i), "", peaks[i], units[i], 0);
	}
}

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
	const int16_t *step;
	const int8_t *base;
	const uint64_t *bits;
	uint32_t copies, copy; /* of the planes and scales */
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
	size_t plane = (size_t) p->w.rows * p->w.words;
	size_t groups = (size_t) p->w.rows * p->w.groups;

	for (uint32_t i = 0; i < p->w.planes; i++)
		p->w.plane[i] = p->bits + (p->copy * (size_t) p->w.planes + i) * plane;
	if (p->step) {
		p->w.step = p->step + p->copy * groups * p->w.planes;
		p->w.base = p->base + p->copy * groups;
	}
	p->copy = (p->copy + 1) % p->copies;
	p->kernel->matmul(&p->w, &p->x, p->acc, p->w.rows, p->scratch);
}

static void run_elements(void *userdata)
{
	static const struct kernel_add add = {0.5f, 0.25f, 3, 200, 5, 0, 255};
	struct elements *e = userdata;
	const struct kernel_gather gather = {.image = e->a, .lines = 3, .taps = 3, .tap_step = 1,
		.line_bytes = TAPS * 64, .tap_bytes = 3 * 64, .step = 64, .stride = TAPS * 64};
	const struct kernel *k = e->kernel;
	const uint8_t *taps[TAPS];

	switch (k->op) {
	case KERNEL_DEPTHWISE:
		for (uint32_t i = 0; i < TAPS; i++)
			taps[i] = e->a + 64 * i;
		k->depthwise((const int8_t *) e->b, TAPS, 64, taps, 64, ELEMENTS / 64, e->acc);
		break;
	case KERNEL_GATHER:
		k->gather(&gather, 0, 0, ELEMENTS / (TAPS * 64), e->out);
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
	case KERNEL_QUANTIZE:
		k->quantize(e->f, ELEMENTS, 30.0f, 128, e->out);
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
	uint64_t begin = peak_clock_nsec(), now = begin;
	uint32_t calls = 0, per_clock;
	double best = 1e300;

	for (; now - begin < MEASURE_NSEC / REPEATS; now = peak_clock_nsec(), calls++)
		fn(userdata);
	per_clock = MAX_OF(calls / CLOCKS, 1u);
	for (uint32_t r = 0; r < REPEATS * CLOCKS; r++) {
		begin = peak_clock_nsec();
		for (uint32_t i = 0; i < per_clock; i++)
			fn(userdata);
		best = MIN_OF(best, (double) (peak_clock_nsec() - begin) / per_clock);
	}
	return best;
}

/* What memory gives changes with the neighbours: it is asked again in between, best against best. */
static double measure_cold(struct product *p)
{
	double best = 1e300;

	peaks[PEAK_MEMORY] = 0;
	for (uint32_t i = 0; i < COLD_ROUNDS; i++) {
		peaks[PEAK_MEMORY] = MAX_OF(peaks[PEAK_MEMORY], peak_measure(PEAK_MEMORY));
		best = MIN_OF(best, measure(run_product, p));
	}
	return best;
}

/* The share of its peak that a product of @macs in @nsec reaches, which reads @bytes of cold planes */
static double product_share(const struct product *p, double macs, double bytes, double nsec)
{
	double bits = (double) p->w.planes * p->x.planes;

	if (bytes > 0)
		return bytes / nsec / peaks[PEAK_MEMORY];
	if (p->kernel->op == KERNEL_MATMUL_BITS)
		return peaks[PEAK_COUNT] > 0 ? macs * bits / nsec / peaks[PEAK_COUNT] : 0;
	return peaks[PEAK_DOT] > 0 ? macs / nsec / peaks[PEAK_DOT] : 0;
}

/* @cold: enough copies of the planes that each is read from memory */
static void bench_product(const struct kernel *k, uint32_t rows, uint32_t columns, uint32_t planes,
	uint32_t count, bool level, bool cold)
{
	uint32_t words = bits_words(columns), group_words = level ? words : MIN_OF(2u, words);
	uint32_t groups = (words + group_words - 1) / group_words;
	size_t bytes = (size_t) rows * words * 8 * planes;
	uint32_t copies = cold ? (uint32_t) (COLD_BYTES / bytes + 1) : 1;
	_cleanup_free_ uint64_t *bits = take_memory(bytes * copies);
	_cleanup_free_ int8_t *level_table = take_memory((size_t) rows << planes);
	_cleanup_free_ int8_t *base = take_memory((size_t) rows * groups * copies);
	_cleanup_free_ int16_t *step = take_memory((size_t) rows * groups * copies * planes * sizeof *step);
	_cleanup_free_ uint8_t *q = take_memory((size_t) count * words * 64);
	_cleanup_free_ int32_t *acc = take_memory((size_t) count * rows * 4);
	_cleanup_free_ void *scratch = take_memory(KERNEL_SCRATCH_BYTES);
	struct product p = {
		.kernel = k,
		.w = {rows, words, groups, group_words, planes, .level = level ? level_table : NULL,
			.level_stride = 1u << planes},
		.step = level ? NULL : step,
		.base = base,
		.x = {count, q, (const uint64_t *) (void *) q, ACTIVATION_PLANES, columns},
		.acc = acc,
		.scratch = scratch,
		.bits = bits,
		.copies = copies,
	};
	double macs = (double) rows * columns * count, nsec, share;
	char shape[80];

	if (!kernel_takes(k, &p.w, count))
		return;
	nsec = cold ? measure_cold(&p) : measure(run_product, &p);
	share = product_share(&p, macs, cold ? (double) bytes : 0, nsec);
	snprintf(shape, sizeof shape, "%4ux%-5u %u planes %s %4u columns%s", rows, columns, planes,
		level ? "level" : "sum  ", count, cold ? ", cold" : "");
	printf("%-18s %-48s %9.2f GMAC/s", k->name, shape, macs / nsec);
	printf(share > 0 ? " %5.1f %%\n" : "\n", share * 100);
	print_json(k->name, shape, macs / nsec, "GMAC/s", share);
}

/* Times one column, weights in memory; of the scalar rows one width tells enough. */
static void bench_vector_products(const struct kernel *k)
{
	static const uint32_t widths[] = {1, 2, 3, 4, 8};

	for (uint32_t i = 0; i < (k->needs ? ARRAY_SIZE(widths) : 1); i++) {
		bench_product(k, 4096, 4096, widths[i], 1, !k->sum, k->needs != 0);
		bench_product(k, 4096, 11008, widths[i], 1, !k->sum, k->needs != 0);
	}
}

static void bench_products(const struct kernel *k)
{
	/* rows, columns, tiles of output columns: one for small layers, many for a large product */
	static const uint32_t shapes[][3] = {
		{16, 144, 1}, {64, 576, 1}, {256, 2304, 1}, {256, 2304, 4}, {512, 512, 10}};

	for (uint32_t s = 0; s < ARRAY_SIZE(shapes) && k->columns_max == 0; s++)
		for (uint32_t planes = 1; planes <= 8; planes *= 2)
			for (uint32_t level = 0; level < 2; level++)
				if (level ? k->level : k->sum)
					bench_product(k, shapes[s][0], shapes[s][1], planes,
						k->columns_per_tile * (k->needs ? shapes[s][2] : 1),
						level, false);
	bench_vector_products(k);
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
	printf("%-28s %9.2f G/s\n", k->name, ELEMENTS / nsec);
	print_json(k->name, "", ELEMENTS / nsec, "G/s", 0);
}

static void bench_kernels(const char *part)
{
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if ((k->needs & ~cpu_flags()) || (part && !strstr(k->name, part)))
			continue;
		if (k->op == KERNEL_MATMUL || k->op == KERNEL_MATMUL_BITS)
			bench_products(k);
		else
			bench_elements(k);
	}
}

int main(int argc, char **argv)
{
	const char *part = NULL;
	char text[128];

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
			json = fopen(argv[++i], "we");
		else
			part = argv[i];
	}
	printf("cpu: %s\n", cpu_flags_text(cpu_flags(), text, sizeof text));
	if (json)
		fprintf(json, "[");
	bench_peaks();
	bench_kernels(part);
	if (json) {
		fprintf(json, "\n]\n");
		return fclose(json) != 0;
	}
	return 0;
}
