/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Better codes than a prefix (methods D4.3). The weights of a group have as many different values as codes that
 * occur; how often each occurs is all there is to know of it. What fewer planes can say best about that many points
 * is found without looking at a weight again.
 */
#pragma once

#include <stdint.h>

#include "engine/bits.h"

#define RECODE_POINTS_MAX 256

/** struct recode_points - the values that a group has, without its offset */
struct recode_points {
	uint32_t n;
	double value[RECODE_POINTS_MAX], count[RECODE_POINTS_MAX];
	uint8_t code[RECODE_POINTS_MAX];
};

/** struct recode_sums - of a group or row: @n weights, @mean of a group, @variance and @error times n */
struct recode_sums {
	double n, mean, variance, error;
};

/** recode_points() - @counts: [1 << planes], how often each code occurs; @alpha: [planes] of sum coding */
void recode_points(struct recode_points *ret, const uint32_t *counts, const float *alpha, uint32_t planes);

/**
 * recode_fit() - sum coding of @kept planes
 * @alpha: [planes], of the stored model; its first planes, refitted, are one of the starts, so that the result is
 *	never worse than lower_refit()
 * @ret_alpha: [kept]; @ret_offset: to add to the group's offset; it makes the sum of all weights what it was
 * @ret_map: [1 << planes], the new code of each that occurs
 * @ret: what it took; @error is the squared error added to the group
 */
void recode_fit(const struct recode_points *p, const float *alpha, uint32_t planes, uint32_t kept,
	double *ret_alpha, double *ret_offset, uint8_t *ret_map, struct recode_sums *ret);

/**
 * recode_fit_levels() - level coding: the best 1 << kept levels for ascending ones, by dynamic programming
 * (methods D4.5)
 * @level, @counts: [1 << planes]
 * @ret_level: [1 << kept], ascending; @ret_map: [1 << planes]
 *
 * Return: 0 or -ENOMEM.
 */
int recode_fit_levels(const float *level, const uint64_t *counts, uint32_t planes, uint32_t kept,
	float *ret_level, uint8_t *ret_map, struct recode_sums *ret);

/** recode_gain() - by how much what a fit says is too small; at most 2 */
double recode_gain(const struct recode_sums *s);
