/* SPDX-License-Identifier: Apache-2.0 */
/* What each matrix costs the whole network when it alone has fewer planes (methods D4.7). */
#pragma once

#include "convert/export.h"
#include "engine/threads.h"

/** Widths up to here are measured; a plane more is taken to divide by four, as it does for the error. */
#define SENSITIVITY_WIDTHS 4

/**
 * sensitivity_measure() - fill in the sensitivity of every matrix of @e that sheds planes
 * @e: quantized and, where wanted, corrected
 * @samples, @limit: unlabelled data; the first so many
 * @path: a file may be made beside it and removed again
 *
 * The measure is the divergence of the classes' probabilities from those of the network at all planes,
 * averaged over the samples: the expected increase of the cross entropy with what it says itself. It never
 * falls when planes go.
 * Return: 0 or a negative errno with words.
 */
int sensitivity_measure(struct export *e, struct samples *samples, uint32_t limit, const char *path,
	struct threads *threads, const struct progress *progress, struct error *reterr);
