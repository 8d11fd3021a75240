/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels: loops over numbers, nothing else. No allocation, no threads, no logging; no read or write
 * past the sizes given here (guard pages prove it). kernels.inc is the list: one row per kernel, best
 * first, the scalar row last; prototypes, look-up, conformance tests and benches come from it.
 * A kernel's name is its file, its function and its row.
 *
 * Every row of an op gives the same bytes as the scalar row of that op.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/bits.h"
#include "engine/kernels/cpu.h"

#if defined(__x86_64__)
#define KERNELS_X86 1
#define KERNELS_ARM 0
#elif defined(__aarch64__)
#define KERNELS_X86 0
#define KERNELS_ARM 1
#else
#define KERNELS_X86 0
#define KERNELS_ARM 0
#endif

enum kernel_op {
	KERNEL_MATMUL,	   /* u8 columns times planes, matmul_fn */
	KERNEL_MATMUL_BITS, /* packed columns times planes, matmul_fn */
	KERNEL_DEPTHWISE,  /* depthwise_fn */
	KERNEL_GATHER,	   /* gather_fn */
	KERNEL_PACK,	   /* pack_fn */
	KERNEL_REQUANTIZE, /* requantize_fn */
	KERNEL_ADD,	   /* add_fn */
	KERNEL_TABLE,	   /* table_fn */
	KERNEL_MAX,	   /* max_fn */
	KERNEL_SUM,	   /* sum_fn */
	KERNEL_SOFTMAX,	   /* softmax_fn */
	KERNEL_QUANTIZE,   /* quantize_fn */
	_KERNEL_OP_MAX,
};

/**
 * struct kernel_matrix - the rows of one matrix product (one group of a grouped convolution)
 * @words: 64-bit words per row
 * @group_words: words per group, at least 1 (the last group may be shorter); groups = ceil(words / group_words)
 * @plane: [planes], each rows * words, most significant first
 * @step: sum coding: [rows][groups][planes], what a set bit adds; @base: [rows][groups], the weight with all
 *	bits clear
 * @level: level coding: row r's table at level + r * level_stride, 1 << planes entries; NULL: sum coding
 * For every reachable weight |w| <= 127, so a step may reach 254 and decoding may wrap at 256; and columns * 127 * 255 < 2^31 (checked when a model is built).
 */
struct kernel_matrix {
	uint32_t rows, words, groups, group_words, planes;
	const uint64_t *plane[BITS_PLANES_MAX];
	const int16_t *step;
	const int8_t *base, *level;
	uint32_t level_stride;
};

/**
 * struct kernel_columns - input columns of a matrix product
 * @count: how many
 * @u8: [count][words * 64], 64-byte aligned, zero beyond the real columns (KERNEL_MATMUL)
 * @bits: [count][planes][words], least significant activation plane first (KERNEL_MATMUL_BITS)
 * @values: real ones of each column, in its last word the last of them; kernels may leave out the
 *	zeros that follow. 0: all of words * 64 count
 * @run: 0, or the columns lie in an image and overlap, for rows of the list that can do it (@image): @u8 is
 *	where the first one begins, and of each one @run bytes, a multiple of 4, lie together
 * @run_step: bytes from one run of a column to the next; @values is of all of them
 * @width, @step: columns of one line, and the bytes from one to the next; @line_step: from line to line
 */
struct kernel_columns {
	uint32_t count;
	const uint8_t *u8;
	const uint64_t *bits;
	uint32_t planes;
	uint32_t values;
	uint32_t run, width;
	size_t run_step, step, line_step;
};

/** kernel_values() - how many values of words [first, first + words) matter, in multiples of @step */
static inline uint32_t kernel_values(
	const struct kernel_columns *x, uint32_t first, uint32_t words, uint32_t step)
{
	uint32_t end = (first + words) * BITS_PER_WORD;

	if (x->values != 0 && x->values < end)
		end = x->values;
	return (end - first * BITS_PER_WORD + step - 1) / step * step;
}

/**
 * matmul_fn - acc[n][r] = sum over t of w(r, t) * q(n, t), for all rows and columns
 * @acc: [count][acc_stride], 64-byte aligned; only [count][rows] is written
 * @scratch: kernel->scratch_bytes(w), 64-byte aligned
 */
typedef void matmul_fn(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch);

/**
 * struct kernel_output - where sums leave as bytes, requantized as requantize_fn says
 * @gain, @bias: of each row
 * @out: of the first column, @stride bytes to the next one's
 */
struct kernel_output {
	const float *gain, *bias;
	int32_t zero_point;
	uint8_t low, high;
	uint8_t *out;
	size_t stride;
};

/**
 * matmul_u8_fn - the same, and the sums requantized before they leave the registers
 * @acc: [count][rows], 64-byte aligned, for sums of rows that are too long for one go
 */
typedef void matmul_u8_fn(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	void *scratch, const struct kernel_output *o);

/**
 * depthwise_fn - one output row of a depthwise convolution
 * @weights: [taps][channels], int8, decoded by depthwise_decode() (kernel.c)
 * @taps: [taps], where each tap's input pixel of output pixel 0 begins; output pixel x reads
 *	taps[i] + x * pixel_stride. The caller gives a padded image, so nothing lies outside.
 * @acc: [count][channels]
 */
typedef void depthwise_fn(const int8_t *weights, uint32_t n_taps, uint32_t channels,
	const uint8_t *const *taps, uint32_t pixel_stride, uint32_t count, int32_t *acc);

/**
 * struct kernel_depthwise - lines of the output of a depthwise convolution, of up to 64 channels
 * @taps: [n_taps], at most DEPTHWISE_TAPS_MAX, as above, of the first line
 * @line_stride: bytes from the taps of a line to those of the next one
 * @weights: [n_taps][channels], where they may be decoded to
 * @output: its columns are pixels; @out_line: bytes from a line of the output to the next one
 */
struct kernel_depthwise {
	const uint8_t *const *taps;
	uint32_t n_taps, pixel_stride, width, lines;
	size_t line_stride;
	int8_t *weights;
	struct kernel_output output;
	size_t out_line;
};

#define DEPTHWISE_TAPS_MAX 25
#define DEPTHWISE_CHANNELS_MAX 64

/** depthwise_u8_fn - the same from planes to bytes: @w has the channels as rows, @row_bits apart (bits.h) */
typedef void depthwise_u8_fn(
	const struct kernel_matrix *w, uint32_t row_bits, const struct kernel_depthwise *d);

/**
 * struct kernel_gather - columns of a convolution whose taps of one line are neighbours in memory
 * @image: @lines lines of @line_bytes
 * @taps: lines of taps, each so many lines of the image (@tap_step) below the last one; @tap_bytes: of one
 * @step: bytes from where one column's taps begin to the next one's
 * @stride: bytes between columns, at least @taps * @tap_bytes and less than 64 more
 * @outside: what stands where there is no image
 */
struct kernel_gather {
	const uint8_t *image;
	uint32_t lines, taps, tap_step;
	size_t line_bytes, tap_bytes, step, stride;
	uint8_t outside;
};

/**
 * gather_fn - @count columns, whose taps begin at line @y, the first one's at byte @x of it
 * @y, @x: within the image or not
 * @out: [count][stride], 64-byte aligned; zero beyond the taps
 */
typedef void gather_fn(const struct kernel_gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out);

/** pack_fn - q of one column, below 2^planes, to planes: bits[planes][words], from u8[words * 64] */
typedef void pack_fn(const uint8_t *u8, uint32_t words, uint32_t planes, uint64_t *bits);

/** requantize_fn - out[i] = clamp((int) rint((float) acc[i] * gain[i] + bias[i]) + zero_point, low, high).
 * The sum is clamped in float before the conversion, so any acc, gain and bias are safe; NaN gives low. */
typedef void requantize_fn(const int32_t *acc, uint32_t count, const float *gain, const float *bias,
	int32_t zero_point, uint8_t low, uint8_t high, uint8_t *out);

/** add_fn - see op.h, OP_ADD */
struct kernel_add {
	float gain_a, gain_b;
	int32_t zero_a, zero_b, zero_out;
	uint8_t low, high;
};
typedef void add_fn(const struct kernel_add *p, const uint8_t *a, const uint8_t *b, size_t count,
	uint8_t *out);

/** table_fn - out[i] = table[in[i]]; in == out is allowed */
typedef void table_fn(const uint8_t table[256], const uint8_t *in, size_t count, uint8_t *out);

/** max_fn - out[i] = max(out[i], in[i]) */
typedef void max_fn(const uint8_t *in, uint32_t count, uint8_t *out);

/** sum_fn - acc[i] += in[i] */
typedef void sum_fn(const uint8_t *in, uint32_t count, int32_t *acc);

/** softmax_fn - see op.h, OP_SOFTMAX */
typedef void softmax_fn(const float *in, uint32_t count, float *out);

/** quantize_fn - out[i] = clamp((int) rint(in[i] * factor) + zero_point, 0, 255); NaN counts as zero.
 * Each number is read once: a client may be writing to it. */
typedef void quantize_fn(
	const float *in, uint32_t count, float factor, int32_t zero_point, uint8_t *out);

/**
 * struct kernel - one row of the list
 * @needs: CPU_* flags
 * @columns_per_tile: how many columns the kernel likes at once
 * @columns_max: more of them it cannot do; 0: any number
 * @sum, @level: which codings it can do (matrix products)
 * @cost, @cost_per_plane: of matrix products, see kernel_cost()
 * @fits: of matrices of those codings, can it do this one? NULL: any
 * @scratch: bytes of scratch for a matrix; NULL: none
 * @image: it takes columns from an image (kernel_columns)
 * @matmul_u8, @depthwise_u8: its sums can leave requantized; NULL: they cannot
 */
struct kernel {
	const char *name;
	enum kernel_op op;
	uint32_t needs;
	uint32_t columns_per_tile, columns_max;
	bool sum, level;
	uint32_t cost, cost_per_plane;
	bool (*fits)(const struct kernel_matrix *w);
	size_t (*scratch)(const struct kernel_matrix *w, uint32_t columns);
	bool image;
	matmul_u8_fn *matmul_u8;
	depthwise_u8_fn *depthwise_u8;
	union {
		matmul_fn *matmul;
		depthwise_fn *depthwise;
		gather_fn *gather;
		pack_fn *pack;
		requantize_fn *requantize;
		add_fn *add;
		table_fn *table;
		max_fn *max;
		sum_fn *sum_rows;
		softmax_fn *softmax;
		quantize_fn *quantize;
		void (*any)(void);
	};
};

/* No row of the list asks for more scratch than this: a tile of decoded weights lives in the cache. */
#define KERNEL_SCRATCH_BYTES 65536

extern const struct kernel kernel_table[];
extern const uint32_t kernel_count;

/** kernel_takes() - can @k do @columns (0: any number) of @w (NULL: any)? Whatever processor it needs */
bool kernel_takes(const struct kernel *k, const struct kernel_matrix *w, uint32_t columns);

/**
 * kernel_pick() - first row of @op that @cpu can run
 * @w: the matrix, for matrix products, else NULL
 * @columns: of the product; 0: however many there are
 */
const struct kernel *kernel_pick(
	enum kernel_op op, uint32_t cpu, const struct kernel_matrix *w, uint32_t columns);

#define KERNEL_BITS_MAX 4 /* of values of KERNEL_MATMUL_BITS */

/** kernel_multiplies() - is @k a matrix product for @columns of values of @bits? Whatever processor it needs */
bool kernel_multiplies(
	const struct kernel *k, const struct kernel_matrix *w, uint32_t columns, uint32_t bits);

/**
 * kernel_cost() - what a product with many columns costs, to compare the rows of one architecture
 * @bits: of the values
 *
 * Return: about picoseconds (arm64: instructions) for 1000 multiplications
 */
uint32_t kernel_cost(const struct kernel *k, const struct kernel_matrix *w, uint32_t bits);

/**
 * kernel_pick_product() - the row that multiplies @w at the least cost, whether its values are packed or not
 *
 * Return: KERNEL_MATMUL or KERNEL_MATMUL_BITS; NULL when none fits, which is never
 */
const struct kernel *kernel_pick_product(
	uint32_t cpu, const struct kernel_matrix *w, uint32_t columns, uint32_t bits);

/** kernel_weight() - the integer weight of row @row, column @column: what every kernel must agree on */
int32_t kernel_weight(const struct kernel_matrix *w, uint32_t row, uint32_t column);

/** depthwise_decode() - weights [taps][channels] from planes of rows @row_bits apart; see bits.h */
void depthwise_decode(const struct kernel_matrix *w, uint32_t row_bits, uint32_t taps,
	int8_t *weights);

/** kernel_scratch() - KERNEL_SCRATCH_BYTES, for rows that tile within it whatever the shape */
size_t kernel_scratch(const struct kernel_matrix *w, uint32_t columns);

/** kernel_exp() - e^x in single steps of a defined order, for x <= 0; the same bits everywhere */
float kernel_exp(float x);
