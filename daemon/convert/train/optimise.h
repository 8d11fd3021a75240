/* SPDX-License-Identifier: Apache-2.0 */
/* One step of the parameters along their gradients. */
#pragma once

#include "convert/train/store.h"

enum train_optimiser {
	OPTIMISER_SGD,	   /* with momentum */
	OPTIMISER_ADAM,
	OPTIMISER_AMSGRAD, /* Adam with the largest second moment so far */
	_OPTIMISER_MAX,
};

enum train_schedule {
	SCHEDULE_COSINE, /* from the rate to zero */
	SCHEDULE_STEP,	 /* a tenth after half of the time, again after three quarters */
	SCHEDULE_FLAT,
	_SCHEDULE_MAX,
};

/**
 * struct optimise - how to step
 * @decay: weight decay, on the parameters that want it
 * @clip: the gradient's norm over all parameters is brought down to this; 0: not
 * @warm: part of all steps in which the rate rises from zero
 */
struct optimise {
	enum train_optimiser optimiser;
	enum train_schedule schedule;
	float rate, momentum, decay, clip, warm;
};

/** optimise_rate() - at step @step of @steps */
float optimise_rate(const struct optimise *o, uint64_t step, uint64_t steps);

/** optimise_step() - @step counts from where the moments were zero; @rate from optimise_rate() */
void optimise_step(const struct optimise *o, struct train_store *s, uint64_t step, float rate);
