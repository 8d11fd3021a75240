/* SPDX-License-Identifier: Apache-2.0 */
/* Methods that work on rows with the second moment of their inputs, on a whole matrix and all threads. */
#pragma once

#include "convert/quantize/quantizer.h"
#include "convert/second_moment.h"
#include "engine/threads.h"

/**
 * calibrated_rows() - quantize @weights with @q, which has rows
 * @ret: written on success only, coded_done() frees
 * @m: of the inputs; rows / m->groups rows share one H
 *
 * Return: 0; -EINVAL with words for weights that are not finite; -ENOMEM.
 */
int calibrated_rows(struct coded *ret, const struct quantizer *q, const float *weights, uint32_t rows,
	uint32_t columns, const struct second_moment *m, const struct quantize_options *options,
	struct threads *threads, struct error *reterr);

/**
 * calibrated_importance() - what a squared error of each weight costs: the mean square of its input
 * @ret: [rows][columns], owned by the caller
 */
int calibrated_importance(float **ret, uint32_t rows, uint32_t columns, const struct second_moment *m);
