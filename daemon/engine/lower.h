/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network at k bits: keep a prefix of the planes, refit the scales from popcounts alone, apply the
 * exported correction of that width (methods D4.1, D4.2, D4.6). No fp32 weights, no data, no copy of
 * plane bytes.
 */
#pragma once

#include "engine/model.h"

/**
 * model_build() - the model of @network at @bits
 * @bits: 1 .. planes_max, whole or not; an average width gives each matrix the planes that cost least by
 *	the exported sensitivities (methods D4.7), weighted by its number of weights
 *
 * Return: 0; -ERANGE outside of the network's widths; else as plane_acquire(). Any thread, and slow:
 * milliseconds per ten million weights, more when planes come from the file.
 */
int model_build(struct model **ret, struct network *network, double bits, struct error *reterr);

/**
 * model_build_mixed() - the model in which matrix i has @planes[i] planes
 * @planes: [n_matrices], 1 to what the matrix has; fixed matrices keep all of theirs whatever it says
 *
 * Return: 0; -ERANGE; else as plane_acquire().
 */
int model_build_mixed(struct model **ret, struct network *network, const uint32_t *planes,
	struct error *reterr);

/**
 * model_adopt() - the same model again in another process, whose numbers need not be computed
 * @planes: [n_matrices], of each matrix's layer
 * @numbers: [@bytes], model->numbers of the other; any bytes are safe, not any are right
 *
 * Needs the planes that are kept and no others. Return: 0; -EBADMSG when the numbers are not as many as they
 * should be; else as model_build().
 */
int model_adopt(struct model **ret, struct network *network, const uint32_t *planes, const void *numbers,
	size_t bytes, struct error *reterr);

/**
 * lower_allocate() - planes of each matrix at a width; pure
 * @ret_planes: [n_matrices]
 *
 * At a whole width all have as many. Between two, all have the lower one at least, and what is left goes to
 * the planes that are worth most (lower_spend()).
 */
int lower_allocate(uint32_t *ret_planes, const struct network *network, double bits);

/**
 * lower_spend() - planes of each matrix at an average of @bits, from @lowest to @highest each; pure
 * @ret_planes: [n_matrices]
 *
 * Steps are taken by their gain in sensitivity per bit, the best first: what a Lagrange multiplier on the
 * bits would choose, as far as the budget is met. A step may be of several planes, so that a plane that
 * gains nothing by itself is no barrier. Without sensitivities small matrices come first.
 * Return: 0; -ERANGE when @bits is below @lowest; -ENOMEM.
 */
int lower_spend(uint32_t *ret_planes, const struct network *network, double bits, uint32_t lowest,
	uint32_t highest);

/**
 * lower_refit() - least-squares scales of the first @kept planes of one group (methods D4.1)
 * @gram: of the planes and the ones column (index @planes), by popcounts; [9][9]
 * @alpha: [planes], of the stored model
 * @with_offset: refit the offset too
 * @ret_alpha: [kept]; @ret_offset: the new offset's increase, 0 without @with_offset
 *
 * Return: the squared error added to the group.
 */
double lower_refit(const double gram[9][9], uint32_t planes, uint32_t kept, const double *alpha,
	bool with_offset, double *ret_alpha, double *ret_offset);
