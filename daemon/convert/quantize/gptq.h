/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nested fit with error compensation: needs the second moment of a layer's inputs, no labels.
 */
#pragma once

#include "base/cleanup.h"
#include "convert/quantize/quantizer.h"
#include "engine/threads.h"

/**
 * struct metric - what an error in a row of weights costs at the layer's output; immutable
 *
 * With H = E[x x^T], the mean square of the output's error is e^T H e.
 */
struct metric;

/**
 * metric_new() - prepare H for any number of rows
 * @second_moment: [columns][columns], symmetric, in the order of the matrix' columns; only read
 * here
 *
 * @threads: or NULL
 *
 * One percent of the mean of the diagonal is added to it (methods C3). Takes columns^3 / 3 steps; their
 * order does not depend on @threads.
 * Return: 0; -EINVAL with words when @second_moment is not finite or far from positive; -ENOMEM.
 */
int metric_new(struct metric **ret, const double *second_moment, uint32_t columns, struct threads *threads,
	struct error *reterr);
struct metric *metric_free(struct metric *m);
DEFINE_CLEANUP(struct metric *, metric_free)

/** metric_error() - e^T H e for e = a - b, two rows of weights */
double metric_error(const struct metric *m, const float *a, const float *b);

/**
 * gptq_rows() - quantize rows @first to @end - 1 of @weights, the whole matrix
 * @c: from coded_allocate(), sum coding; only these rows are written, so threads can share it
 *
 * GPTQ for all widths at once: each column gets the code whose prefixes serve all widths best, each
 * width passes its own error on. Then single codes are moved where all widths together gain, and
 * all scales of a row are refitted together by least squares in the metric. Return: 0; -EINVAL when
 * a weight is not finite; -ENOMEM. Any thread.
 */
int gptq_rows(struct coded *c, const float *weights, uint32_t first, uint32_t end,
	const struct metric *m, const struct quantize_options *options, struct error *reterr);

/**
 * gptq_scales() - the best scales of the first planes, all groups of a row together, in the metric
 * @alpha: [c->planes], alpha[p - 1] those of the first p planes, [end - first][groups][p], or NULL;
 *	may come out negative
 *
 * These differ from a refit by popcounts (methods D4.2), which knows only the plain metric.
 * Return: 0 or -ENOMEM. Any thread.
 */
int gptq_scales(float *const *alpha, const struct coded *c, const float *weights, uint32_t first,
	uint32_t end, const struct metric *m);

/** gptq_turn_negative() - planes with a negative scale are turned over, so that all scales are magnitudes */
void gptq_turn_negative(struct coded *c, uint32_t row);

/** quantizer_calibrated_fn - as quantizer_fn, with the second moment of the inputs */
typedef int quantizer_calibrated_fn(struct coded *ret, const float *weights, uint32_t rows,
	uint32_t columns, const double *second_moment, const struct quantize_options *options,
	struct error *reterr);

quantizer_calibrated_fn quantize_gptq;
