/* SPDX-License-Identifier: Apache-2.0 */
/* The grids of esb.c and the unit that DDA gives them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** esb_levels() - 2^planes levels in units, ascending. Return: false for a grid that another fraction has */
bool esb_levels(float *levels, uint32_t planes, uint32_t fraction);

/** esb_unit() - the unit in deviations for which a standard normal variable errs least */
double esb_unit(uint32_t planes, uint32_t fraction);
