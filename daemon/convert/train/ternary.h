/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of -a, 0 and a, a scale for each row: what several methods end in. */
#pragma once

#include "convert/train/method.h"

/** ternary_scale() - mean magnitude of the weights above @threshold; 0 when there is none */
float ternary_scale(const float *w, uint32_t n, float threshold);

/**
 * ternary_codes() - two planes (methods D3): the first is the sign, zeros included, so that it is the best
 * one-bit model alone; the second agrees with it where the weight is not zero
 * @scale, @threshold: [rows]
 */
int ternary_codes(struct coded *ret, const struct train_layer *l, const float *scale,
	const float *threshold, struct error *reterr);
