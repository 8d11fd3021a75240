/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Correction per width: each output channel of each matrix gets, at each number of planes, the gain and
 * bias that give it the mean and the deviation that it has in the fp32 network, before its clip (methods
 * D4.6). Layer by layer in the integer network, so that each layer sees inputs that were corrected at the
 * same width. A width whose output comes closer to fp32's without it has none.
 */
#pragma once

#include "convert/calibrate.h"
#include "convert/export.h"

/**
 * correct_widths() - fill gain_at, bias_at and sensitivity of every matrix of @e
 * @e: with scales and weights
 * @samples: the calibration data
 * @path: of the model file to come; scratch files are made beside it and removed
 */
int correct_widths(struct export *e, const struct calibration *c, struct samples *samples,
	const char *path, struct threads *threads, const struct progress *progress,
	struct error *reterr);

/** correct_widest() - the same for the widest width only: of a file that is run at no other */
int correct_widest(struct export *e, const struct calibration *c, struct samples *samples,
	const char *path, struct threads *threads, const struct progress *progress,
	struct error *reterr);

/**
 * correct_without_data() - the same as the statistics of batch normalisation foresee it, nothing measured
 * @c: from calibrate_batch_norm()
 */
int correct_without_data(struct export *e, const struct calibration *c, const char *path, struct error *reterr);
