/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binary-coded fits of one group of weights.
 *
 * For given scales the best code of a weight depends on the weight alone, and the codes that win
 * form intervals of the sorted weights: the cost of a code c, sum_p lambda_p (w - v_p(c))^2, is the
 * same parabola for all codes plus a line in w, so the winners are the lower envelope of 2^k lines.
 * A fit is therefore just the borders of at most 2^k intervals, and prefix sums of the sorted
 * weights give every Gram matrix without touching the weights again.
 *
 * Codes are numbers whose most significant bit is plane 0; p-plane prefixes of k-plane codes are c
 * >> (k - p).
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "engine/bits.h"

#define FIT_CODES_MAX (1 << BITS_PLANES_MAX)

/**
 * struct fit_state - borders, scales and errors of the group that is loaded
 * @begin, @end: of each code, in the sorted weights; empty where equal
 * @alpha: [p]: least-squares scales of the first p planes, set by fit_solve()
 * @error: [p]: squared error with them; [0] the sum of squares
 */
struct fit_state {
	uint32_t planes;
	uint32_t begin[FIT_CODES_MAX], end[FIT_CODES_MAX];
	double alpha[BITS_PLANES_MAX + 1][BITS_PLANES_MAX], error[BITS_PLANES_MAX + 1];
};

struct fit;

/** fit_new() - room for groups of up to @n_max weights. One per thread. Return: 0 or -ENOMEM */
int fit_new(struct fit **ret, uint32_t n_max);
struct fit *fit_free(struct fit *f);
DEFINE_CLEANUP(struct fit *, fit_free)

/** fit_load() - take a group of finite weights and fit one plane: signs and mean magnitude */
void fit_load(struct fit *f, const float *weights, uint32_t n);

/** fit_state() - readable and, between calls, replaceable by an earlier copy of the same group's */
struct fit_state *fit_state(struct fit *f);

/** fit_solve() - least-squares scales of every prefix for the present borders (methods D4.2) */
void fit_solve(struct fit *f);

/** fit_split() - add a plane: each code into its two children, @rounds times { split, solve }
 * (D4.4-2) */
void fit_split(struct fit *f, uint32_t rounds);

/**
 * fit_joint() - up to @rounds times { best codes for all prefixes together, solve } (D4.4-3)
 * @lambda: [planes], weight of the error at p = index + 1 planes; all 0 but the last is the
 * alternating fit
 *
 * The weighted error never rises; ends early when no border moves.
 */
void fit_joint(struct fit *f, const double *lambda, uint32_t rounds);

/** fit_alternate() - @planes planes: best of a greedy and a uniform start, then alternate (methods
 * C2) */
void fit_alternate(struct fit *f, uint32_t planes, uint32_t rounds);

/**
 * fit_transform() - Walsh and Hadamard's, in place: @x[m] = sum over codes of x[code] * product of the signs of the
 * bits of m, clear bits -1
 * @size: a power of two
 *
 * Of counts and moments of codes it makes Gram matrices; of a table of levels, divided by @size, what each product
 * of planes contributes to it (methods D2).
 */
void fit_transform(double *x, uint32_t size);

/**
 * fit_scales() - least-squares scales for codes that are given
 * @codes: [n], of @planes planes
 *
 * Return: the squared error. Any thread.
 */
double fit_scales(
	double *alpha, const float *weights, const uint8_t *codes, uint32_t n, uint32_t planes);

/** fit_store() - the scales of all planes, made >= 0, and the code of each weight in its original
 * place */
void fit_store(struct fit *f, float *alpha, uint8_t *codes);
