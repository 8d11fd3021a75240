/* SPDX-License-Identifier: Apache-2.0 */
/* Codes that know the integers they will be run with. */
#pragma once

#include "convert/quantize/quantizer.h"

/**
 * integer_grid() - eight planes as plain int8: one table of levels -1..1 for the matrix
 * @row_scale: [rows], what the decoded row is to be multiplied with
 *
 * For matrices whose planes are never shed, and for networks that need all eight bits: the whole grid of
 * -127..127 is used, of which sum coding reaches only every second one. Return: 0 or -ENOMEM
 */
int integer_grid(struct coded *ret, float *row_scale, const float *weights, uint32_t rows,
	uint32_t columns);

/** integer_scales() - put the scales of one row on the integer grid; @c: sum coding without offsets */
void integer_scales(struct coded *c, uint32_t row);

/**
 * integer_codes() - put the scales of all planes on the integer grid, choose the last planes again
 * @c: sum coding without offsets and at least five planes; anything else stays as it is
 */
void integer_codes(struct coded *c, const float *weights);
