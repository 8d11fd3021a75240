/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole numbers under logistic noise: which of them a weight is likely to be (methods B5). Point j has the
 * probability that the noise, of scale @noise, takes place u into [j - 1/2, j + 1/2],
 *
 *	p_j = sinh h / (cosh h + cosh x),	h = 1 / (2 noise),	x = (u - j) / noise
 *
 * times the masks of the widths that it takes to have it, of the sum of all.
 */
#pragma once

#include "engine/bits.h"

/** Points of this width always count. */
#define NOISY_GRID_CORE 2

/**
 * struct noisy_grid - points -2^(planes - 1) .. 2^(planes - 1) - 1
 * @planes: NOISY_GRID_CORE or more
 * @mask: [planes + 1], from NOISY_GRID_CORE + 1 on, 0 .. 1: mask[k] acts on all points that less than k
 *	bits do not have
 */
struct noisy_grid {
	uint32_t planes;
	float noise, mask[BITS_PLANES_MAX + 1];
};

/**
 * struct noisy_mean - the mean point of a place, and how it moves
 * @point: the most probable one
 * @by_mask: [planes + 1], with the logarithm of each mask
 */
struct noisy_mean {
	int point;
	float mean, by_place, by_noise, by_mask[BITS_PLANES_MAX + 1];
};

/** noisy_grid_point() - the most probable point at @u */
int noisy_grid_point(const struct noisy_grid *g, float u);

/** noisy_grid_mean() - at @u, over all points near enough to count */
struct noisy_mean noisy_grid_mean(const struct noisy_grid *g, float u);
