/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan is a model made ready for one device: a kernel for each step, a place in memory for each
 * value. Immutable, counted. exec_run() may run the same plan on many threads at once, each with
 * its own workspace.
 */
#pragma once

#include <stdatomic.h>

#include "engine/kernels/kernel.h"
#include "engine/model.h"
#include "engine/threads.h"

struct tune;

/**
 * struct step - one op with its kernel and the shape of its work
 * @kernel: CONVOLUTION and DEPTHWISE: the row of kernels.inc that runs it
 * @pack: CONVOLUTION on bit planes of the input: what makes them; else NULL
 * @matrix: CONVOLUTION and DEPTHWISE: all rows of all groups
 * @direct: CONVOLUTION: the input's pixels are the columns, nothing is gathered
 * @packed_bytes: CONVOLUTION on bit planes: of the padded input's planes, from which columns are gathered
 *	(gather_bits.c); 0: bytes are gathered, and then packed
 * @image: CONVOLUTION: the kernel takes columns from the input's lines; @padded: from padded ones in scratch
 * @tile_unit: CONVOLUTION: tiles are multiples of so many output pixels
 * @to_output: the kernel requantizes its sums itself
 * @columns_per_tile: CONVOLUTION: output pixels per task; DEPTHWISE: output lines per task
 * @rows_per_block: matrix rows per call of the kernel; of DEPTHWISE, channels per task
 * @repeat: CONVOLUTION: columns that are requantized in one call
 * @bits_at, @acc_at, @gain_at, @kernel_at, @line_at: where parts of a thread's scratch begin;
 *	multiples of 64. Gathered columns, or padded lines, come first
 * @scratch_bytes: what one thread needs
 */
struct step {
	const struct op *op;
	const struct kernel *kernel, *pack;
	struct kernel_matrix matrix;
	bool direct, image, padded, to_output;
	uint32_t tile_unit, columns_per_tile, rows_per_block, repeat;
	size_t bits_at, acc_at, gain_at, kernel_at, line_at;
	size_t packed_bytes, scratch_bytes;
};

/**
 * @kernels: for ops that need no matrix, by KERNEL_*
 * @value_offset: [n_values], into the workspace's arena; multiples of 64
 * @packed_at: where its packed inputs of convolutions begin, of which there is one at a time
 * @work_min: steps of fewer nanoseconds, roughly, stay on one thread; waking others would cost more
 * @input_pixels_bytes: 0 when the network does not take pixels
 */
struct plan {
	atomic_uint refs;
	struct model *model;
	const struct kernel *kernels[_KERNEL_OP_MAX];
	struct step *steps;
	uint32_t n_steps;
	size_t *value_offset;
	size_t packed_at, arena_bytes, scratch_bytes;
	uint64_t work_min;
	size_t input_pixels_bytes, input_floats_bytes, output_bytes;
};

/**
 * plan_new() - choose kernels and lay out memory
 * @cpu: CPU_* flags that may be used (kernels/cpu.h)
 *
 * Return: 0, -ENOTSUP with words when no kernel fits, -ENOMEM. Any thread.
 */
int plan_new(struct plan **ret, struct model *model, uint32_t cpu, struct error *reterr);

/** plan_new_tuned() - by the times of @tune (tune.h), which may be NULL; plan_new(): of those in use */
int plan_new_tuned(struct plan **ret, struct model *model, uint32_t cpu, const struct tune *tune,
	struct error *reterr);
struct plan *plan_ref(struct plan *p);
struct plan *plan_unref(struct plan *p);
DEFINE_CLEANUP(struct plan *, plan_unref)

/**
 * plan_matrix_rows() - rows @first .. @first + @count of @all
 * @first: where rows are shorter than a word, one that begins a word
 */
void plan_matrix_rows(const struct kernel_matrix *all, uint32_t row_bits, uint32_t first,
	uint32_t count, struct kernel_matrix *ret);

/** plan_padded_width() - input pixels of one line that a convolution's taps can reach */
static inline size_t plan_padded_width(const struct op *op, const struct shape *out)
{
	return (size_t) (out->width - 1) * op->stride_w +
	       (size_t) (op->kernel_w - 1) * op->dilation_w + 1;
}

/** plan_reached_lines() - input lines that the taps of @lines output lines can reach */
static inline uint32_t plan_reached_lines(const struct op *op, uint32_t lines)
{
	return (lines - 1) * op->stride_h + (op->kernel_h - 1) * op->dilation_h + 1;
}

/* struct packed - bit planes of a convolution's padded input, [planes][lines][width][words] */
struct packed {
	uint32_t planes, lines, width, words;
};

/** plan_packed() - the shape of the packed input of @op, which reads an image of shape @in */
static inline struct packed plan_packed(const struct op *op, const struct shape *in)
{
	return (struct packed){op->activation_bits, op->pad_top + in->height + op->pad_bottom,
		op->pad_left + in->width + op->pad_right, in->channels / BITS_PER_WORD};
}

/**
 * plan_layout() - give each value of plan->model->network a place; in plan_memory.c
 *
 * Values that live at the same time never overlap, but for a RESHAPE, which is its input under
 * another shape, and a TABLE that writes over an input nobody reads again. Large values first, each
 * into the tightest gap. Sets value_offset and arena_bytes.
 * Return: 0 or -ENOMEM.
 */
int plan_layout(struct plan *plan);
