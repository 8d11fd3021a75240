/* SPDX-License-Identifier: Apache-2.0 */
/* Codes that know the integers they will be run with. */
#pragma once

#include "convert/quantize/quantizer.h"

/**
 * integer_edge() - eight planes as plain int8: level coding, one scale per row
 *
 * For matrices whose planes are never shed: nothing smaller is nested in it, so the whole grid of -127..127
 * is used. Sum coding reaches only every second of these. Return: 0 or -ENOMEM
 */
int integer_edge(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns);

/**
 * integer_codes() - put the scales of all planes on the integer grid, choose the last planes again
 * @c: sum coding without offsets and at least five planes; anything else stays as it is
 */
void integer_codes(struct coded *c, const float *weights);
