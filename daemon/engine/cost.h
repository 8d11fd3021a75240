/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one inference costs, counted and not measured: weight bits times activation bits for every product, and the
 * bytes that go through memory. Where no meter is, joules are these counts times constants.
 */
#pragma once

#include "engine/model.h"

/**
 * struct cost - of one inference
 * @bit_macs: products of one bit of a weight with one bit of an activation; a product of 8 by 8 bits has 64
 * @bytes: planes, and values written and read once each
 */
struct cost {
	double bit_macs, bytes;
};

/*
 * Of a board whose in-order cores do about 20 products of 8 by 8 bits per nanosecond and watt (200 pJ each) and
 * whose LPDDR4 moves a byte for about 100 pJ, controller included. Ratios between widths are worth more than the
 * joules: a meter on the board corrects both, see service/energy.h.
 */
#define COST_JOULES_PER_BIT_MAC 3e-12
#define COST_JOULES_PER_BYTE 100e-12

/** network_cost() - at a width of the network, whole or not. Return: 0, -ERANGE, -ENOMEM */
int network_cost(struct cost *ret, const struct network *network, double bits);

/** cost_joules() - by the constants above */
double cost_joules(const struct cost *c);
