/* SPDX-License-Identifier: Apache-2.0 */
/* The levels of one group of binary codes, in order, for methods that choose among them by the output. */
#pragma once

#include "convert/quantize/fit.h"
#include "convert/quantize/quantizer.h"

/**
 * struct codebook - @value: [1 << planes], ascending; @code: which code each belongs to
 */
struct codebook {
	uint32_t n;
	double value[FIT_CODES_MAX];
	uint8_t code[FIT_CODES_MAX];
};

/**
 * codebook_fit() - the best levels of a group by the plain alternating fit (methods C2)
 * @alpha: [planes], written: the scales that make them
 */
void codebook_fit(struct codebook *b, struct fit *f, const float *weights, uint32_t n, uint32_t planes,
	float *alpha);

/** codebook_nearest() - Return: the place of the level nearest to @w */
uint32_t codebook_nearest(const struct codebook *b, double w);

struct metric;

/**
 * codebook_finish() - scales of the row by least squares in the metric, made positive
 * @weights: the whole matrix
 *
 * Return: 0 or -ENOMEM
 */
int codebook_finish(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct metric *m);
