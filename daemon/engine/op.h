/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of a graph, as the model file has them. This is the whole vocabulary of the daemon:
 * the converter lowers everything else to it (fully connected is a 1x1 convolution of a 1x1 image,
 * ReLU is a clamp of the operation before it, batch normalisation is in scales and biases, ...).
 *
 * Arithmetic, the same on every device. q are integers, float steps are IEEE single, in the order
 * written, never fused, rint() rounds to nearest even, clamp is to [clamp_low, clamp_high]:
 *
 *	INPUT		u8 pixels p of channel c: q = table[c][p]; float x: q = clamp(rint(x * (1 / scale)) + zero_point)
 *			with clamp to [0, 255]; NaN gives the zero point.
 *	CONVOLUTION	acc = sum over taps and input channels of w * q, w the integer weight (see model.h);
 *			padding counts as the input's zero point. t = (float) acc * gain[row] + bias[row];
 *			u8 output: clamp((int) rint(t) + zero_point of the output); f32 output: t itself.
 *			gain and bias already contain scales, zero points and the correction of the width.
 *	DEPTHWISE	the same; output channel c sees only input channel c.
 *	ADD		t = (float) (qa - za) * gain[0] + (float) (qb - zb) * gain[1], gain = scale_in / scale_out;
 *			clamp((int) rint(t) + zero_point)
 *	MAX_POOL	maximum of the q inside the image; input and output share scale and zero point; clamped.
 *	AVERAGE_POOL	s = sum of (q - z) inside the image, n = their count, or kernel_h * kernel_w when
 *			count_padding; t = (float) s * (gain[0] / (float) n), gain[0] = scale_in / scale_out
 *			(scale_in for f32 output); u8: clamp((int) rint(t) + zero_point), f32: t.
 *	CONCAT		along channels; part i goes through table[i][q].
 *	PAD		with the zero point, in height, width and channels (pad_channels_before/after).
 *	SLICE		output[y][x][c] = input[begin[0] + y * step[0]][begin[1] + x * step[1]][begin[2] + c * step[2]]
 *	RESHAPE		the same bytes in NHWC order under another shape.
 *	TABLE		q_out = table[0][q]: any function of one value, requantization included.
 *	TO_FLOAT	(float) (q - zero_point) * scale
 *	SOFTMAX		f32 over channels: m = max x; e = exp_engine(x - m); sum in order of channels; e / sum.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/bits.h"

struct value;

enum op_kind {
	OP_INPUT,
	OP_CONVOLUTION,
	OP_DEPTHWISE,
	OP_ADD,
	OP_MAX_POOL,
	OP_AVERAGE_POOL,
	OP_CONCAT,
	OP_PAD,
	OP_SLICE,
	OP_RESHAPE,
	OP_TABLE,
	OP_TO_FLOAT,
	OP_SOFTMAX,
	_OP_KIND_MAX,
};

#define OP_INPUTS_MAX 16

/**
 * struct op - one operation; owned by its graph, never changed after the graph is built
 * @output: index of the value that it writes; each value is written by exactly one op, before any use
 * @activation_bits: CONVOLUTION: 8, or 1..4 when the q of the input are below 2^activation_bits
 * @matrix: CONVOLUTION, DEPTHWISE: index into the model's matrices
 * @table: CONCAT: [n_inputs][256]; TABLE: [1][256]; INPUT: [channels][256] when pixels are accepted
 */
struct op {
	enum op_kind kind;
	uint32_t inputs[OP_INPUTS_MAX], n_inputs;
	uint32_t output;
	uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
	uint32_t pad_top, pad_left, pad_bottom, pad_right;
	uint32_t pad_channels_before, pad_channels_after;
	uint32_t groups;
	uint32_t begin[3], step[3];
	uint32_t activation_bits;
	uint32_t matrix;
	uint8_t clamp_low, clamp_high;
	bool count_padding;
	float gain[2];
	uint8_t (*table)[256];
	uint32_t n_tables;
};

extern const char *const op_kind_names[_OP_KIND_MAX];

/** op_kind_name() - "convolution", "add", ... as in the model file. Return: static text, never NULL */
const char *op_kind_name(enum op_kind kind);

/** op_kind_parse() - Return: the kind, or -EINVAL for an unknown name */
int op_kind_parse(const char *name);

/**
 * op_check() - do element types, shapes, scales and tables of inputs and output fit the operation?
 * @values: of the graph; the op's indices lie inside of it, the shapes are valid
 *
 * Return: 0; -EBADMSG with words that do not name the op.
 */
int op_check(const struct op *op, const struct value *values, struct error *reterr);
