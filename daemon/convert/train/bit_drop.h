/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DropBits (methods B5): a mask for each bit of a layer above the first ones, drawn anew in each step from a
 * hard concrete distribution: a sigmoid of logistic noise about a learned logit, stretched over its ends and
 * cut, so that it is often exactly 0 or 1 and still has a gradient in between.
 */
#pragma once

#include "engine/bits.h"

/**
 * struct bit_drop - masks 0 .. n - 1
 * @logit, @grad: trained; @mask: as they are now; @slope: how each moves with its logit
 */
struct bit_drop {
	uint32_t n;
	float logit[BITS_PLANES_MAX], grad[BITS_PLANES_MAX];
	float mask[BITS_PLANES_MAX], slope[BITS_PLANES_MAX];
};

/** bit_drop_init() - masks that are nearly always there */
void bit_drop_init(struct bit_drop *d, uint32_t n);

/** bit_drop_draw() - the masks that @key says */
void bit_drop_draw(struct bit_drop *d, uint64_t key);

/** bit_drop_expect() - the masks that stand for all draws */
void bit_drop_expect(struct bit_drop *d);

/** bit_drop_alive() - how probable it is that mask @i is not 0, when all logits are @shift less */
double bit_drop_alive(const struct bit_drop *d, uint32_t i, double shift);

/** bit_drop_bits() - expected bits: a mask is of use only as far as those before it are there */
double bit_drop_bits(const struct bit_drop *d, double shift);
