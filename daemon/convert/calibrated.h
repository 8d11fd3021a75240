/* SPDX-License-Identifier: Apache-2.0 */
/* The calibrated method on a whole matrix: rows on all threads, scales of every width. */
#pragma once

#include "convert/quantize/quantizer.h"
#include "convert/second_moment.h"
#include "engine/threads.h"

/** Widths up to here are chosen together and have scales of their own; planes beyond are added to them. */
#define CALIBRATED_WIDTHS 4

/**
 * calibrated_matrix() - quantize @weights so that the layer's output changes least
 * @ret: sum coding with alpha_at; written on success only, coded_done() frees
 * @m: of the inputs; rows / m->groups rows share one H
 *
 * Return: 0; -EINVAL with words for weights that are not finite; -ENOMEM.
 */
int calibrated_matrix(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct second_moment *m, const struct quantize_options *options,
	struct threads *threads, struct error *reterr);

/**
 * calibrated_grid() - as integer_grid(), each column's rounding error passed on to the columns after it
 * @m: second moment of the matrix' inputs
 *
 * Return: as calibrated_matrix().
 */
int calibrated_grid(struct coded *ret, float *row_scale, const float *weights, uint32_t rows,
	uint32_t columns, const struct second_moment *m, struct threads *threads, struct error *reterr);
