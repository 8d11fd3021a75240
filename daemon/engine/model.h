/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models: a graph, its weight matrices and the planes that are in memory.
 *
 * A network is what a file says: graph, scales of all planes, corrections, metadata; immutable, shared
 * by every width. A model is a network at one width, with references to just the planes of that width.
 * Lowering makes another model of the same network (lower.h); nothing is ever changed in place, so a
 * request that took a model keeps computing with it.
 *
 *	network  <- file, once			model(4 bits) -> planes 1..4
 *	   ^-------------------------------------model(2 bits) -> planes 1..2	(the same plane objects)
 *
 * The integer weight. The real weight of row r, column t in group g = t / group_columns at p planes is
 *
 *	sum coding	offset[r][g] + sum over i < p of alpha[r][g][i] * b_i(t)	b in {-1, +1}
 *	level coding	level[r][index made of planes 0..p-1]
 *
 * and every matrix is run with int8 weights on one scale per row: scale_row = M_r / 127, M_r the largest
 * magnitude that row r can reach at this width, and
 *
 *	level_q = rint(level / scale_row)	step_i = rint(2 alpha_i / scale_row)
 *	weight_q = base + sum of the steps of set bits, centred on offset:
 *	2 base + sum of all steps = rint(2 offset / scale_row)
 *
 * where the step that rounding has moved furthest gives way, by one, for each that the reach exceeds 127 or
 * when the parity is not that of the right side. So every integer of -127..127 can be a weight, and a whole
 * matrix product is integer arithmetic, independent of the order of summation, and all devices
 * agree with ==. Rounding costs less than 1/254 of the row's range. Per width, not per file: one plane
 * has the full seven bits for its scales.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/op.h"
#include "engine/planes.h"
#include "engine/tensor.h"

enum coding {
	CODING_SUM,
	CODING_LEVEL,
	_CODING_MAX,
};

/**
 * struct matrix - a quantized weight matrix as the file has it; owned by its network
 * @rows: output channels (all groups of a grouped convolution, one after the other)
 * @columns: inputs of one output: kernel_h * kernel_w * (input channels / groups), in the order
 *	[kernel_h][kernel_w][channel]
 * @row_bits: bits_row_bits(columns, depthwise)
 * @group_columns: columns that share scales: a multiple of 64, or >= columns
 * @groups: groups per row
 * @planes: planes in the file, 1..8
 * @fixed: its planes lie in the blob "planes.fixed" and are never shed: first and last layers
 * @plane_word: where its part of each plane begins, in words from the start of the plane (fixed: plane i
 *	begins i * bits_plane_words() later)
 * @alpha: sum coding, [rows][groups][planes]; the scales of all planes
 * @alpha_widths: sum coding: at 1 .. alpha_widths planes, fewer than all, scales come from @alpha_at; at
 *	other widths they are refitted to @alpha by popcounts
 * @alpha_at: for each width p = 1 .. alpha_widths, one after the other, [rows][groups][p]
 * @offset: sum coding, [rows][groups]; or NULL
 * @level: level coding, [shared_levels ? 1 : rows][1 << planes], ascending in the index
 * @bias: [rows], real
 * @gain_at, @bias_at: [planes][rows], correction when run at p = index + 1 planes:
 *	real output = gain_at * (sum w x) + bias_at; NULL: 1 and bias
 * @sensitivity: [planes], expected loss of the network when only this matrix runs at p = index + 1
 *	planes; NULL when not exported
 */
struct matrix {
	uint32_t rows, columns, row_bits, group_columns, groups, planes, alpha_widths;
	bool fixed, depthwise, shared_levels;
	enum coding coding;
	uint64_t plane_word;
	const float *alpha, *offset, *alpha_at, *level, *bias, *gain_at, *bias_at, *sensitivity;
};

/** matrix_alpha_at() - where the scales of @planes planes begin in alpha_at, in floats */
static inline uint64_t matrix_alpha_at(const struct matrix *m, uint32_t planes)
{
	return (uint64_t) m->rows * m->groups * (planes * (planes - 1) / 2);
}

#define ACCURACIES_MAX 64
#define ACCURACY_SNR_MAX 200.0f

enum accuracy_against {
	ACCURACY_LABELS,
	ACCURACY_FP32,
	_ACCURACY_AGAINST_MAX,
};

/**
 * struct accuracy - one row of the accuracy card
 * @top1, @top5: percent of @images whose right class is the first, or among the first five
 * @against: what is right: labels, or, where there were none, the fp32 network's first class
 * @snr: of the outputs against the fp32 network's, dB; 0: not measured
 */
struct accuracy {
	float bits, top1, top5, snr;
	uint32_t images;
	enum accuracy_against against;
};

/**
 * struct network - what a model file says; immutable, counted
 * @fd: the model file, for planes that come back; owned
 * @scales: memory behind all float pointers of matrices
 * @planes_max: highest number of planes of a matrix that is not fixed; the widest width
 * @plane_bytes: [planes_max], bytes of each plane in the file, a multiple of 4096
 * @plane_offset: [planes_max], where each begins in the file; @fixed_offset, @fixed_bytes likewise
 * @plane_crc: [planes_max], CRC-32 of each plane; @fixed_crc
 * @parent: of a re-encoding (recode.h), whose own are only matrices, scales, store and planes; else NULL
 */
struct network {
	atomic_uint refs;
	struct network *parent;
	int fd;
	char name[64], method[64], source_hash[65], data[64];
	struct value *values;
	uint32_t n_values;
	struct op *ops;
	uint32_t n_ops;
	struct matrix *matrices;
	uint32_t n_matrices;
	void *scales;
	size_t scales_bytes;
	uint32_t input, output; /* values; the output is always f32 */
	bool input_pixels;      /* u8 RGB NHWC pixels are accepted, INPUT has tables */
	bool input_bgr;         /* the network wants B, G, R: INPUT swaps */
	float pixel_scale, pixel_mean[4], pixel_std[4];
	char **labels;
	uint32_t n_labels;
	uint32_t planes_max;
	uint64_t plane_bytes[BITS_PLANES_MAX], plane_offset[BITS_PLANES_MAX];
	uint32_t plane_crc[BITS_PLANES_MAX];
	uint64_t fixed_bytes, fixed_offset;
	uint32_t fixed_crc;
	struct accuracy *accuracies;
	uint32_t n_accuracies;
	char accuracy_data[64]; /* what they were measured on */
	struct plane_store *store;
};

/**
 * network_open() - read and check a model file
 * @ret: counted, the caller gets one reference; on failure untouched
 * @fd: readable regular file or memfd; the network keeps its own duplicate
 *
 * Trusts nothing: each length, offset, index and float is checked where it is read. Reads no planes.
 * Return: 0; -EBADMSG with words for a broken file; -ENOTSUP for a version or op that is not known;
 * -ENOMEM; or an errno of reading. Any thread.
 */
int network_open(struct network **ret, int fd, struct error *reterr);

/**
 * network_head() - a copy of all of a model file but its planes, in a sealed memfd
 * @ret: owned by the caller; of the file's size, with holes where the planes are
 *
 * What was read once is there to be read again when the file has gone or changed.
 * Return: 0; as gguf_read(); -ENOMEM, -ENOSPC when memory is short. Any thread.
 */
int network_head(int *ret, int fd, struct error *reterr);

/** network_open_head() - network_open() of @head; @fd is for the planes only and not looked at */
int network_open_head(struct network **ret, int head, int fd, struct error *reterr);
struct network *network_ref(struct network *n);
struct network *network_unref(struct network *n);
DEFINE_CLEANUP(struct network *, network_unref)

/**
 * struct layer - one matrix of a model at its width, ready for kernels (kernels/kernel.h)
 * @planes: how many are used
 * @plane: [planes], into the mappings of the model's planes
 * @step: sum coding, [rows][groups][planes], what a set bit adds to a weight
 * @base: sum coding, [rows][groups], the weight with all bits clear
 * @level: level coding, [shared_levels ? 1 : rows][1 << planes]
 * @gain, @bias: [rows]; as op.h uses them, for a u8 output already divided by its scale
 */
struct layer {
	uint32_t planes;
	const uint64_t *plane[BITS_PLANES_MAX];
	const int16_t *step;
	const int8_t *base, *level;
	const float *gain, *bias;
};

/**
 * struct model - a network at one width; immutable, counted
 * @bits: average planes per weight over the matrices that are not fixed; exactly the integer where all
 *	are equal
 * @layers: [network->n_matrices]
 * @numbers: memory behind the int8 and float pointers of layers
 */
struct model {
	atomic_uint refs;
	struct network *network;
	double bits;
	struct layer *layers;
	void *numbers;
	size_t numbers_bytes;
	struct plane *planes[BITS_PLANES_MAX], *fixed;
	uint32_t n_planes;
};

struct model *model_ref(struct model *m);
struct model *model_unref(struct model *m);
DEFINE_CLEANUP(struct model *, model_unref)
