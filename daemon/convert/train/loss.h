/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax cross-entropy, with smoothed labels and a teacher. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * struct loss - how much of what
 * @smoothing: part of a label that is spread over all classes
 * @distil: part of the loss that asks for the teacher's answers instead of the labels
 * @temperature: both are softened with it before they are compared
 */
struct loss {
	float smoothing, distil, temperature;
};

/**
 * struct loss_sum - over samples
 */
struct loss_sum {
	double loss;
	uint64_t right, samples;
};

/**
 * loss_gradient() - the mean loss of a batch and its gradient
 * @logits, @grad: [n][classes]; @teacher: likewise, or NULL: labels only
 * @labels: [n]; -1: the sample does not count
 * @scale: the gradient is multiplied with it
 */
void loss_gradient(const struct loss *l, const float *logits, const float *teacher, const int32_t *labels,
	uint32_t n, uint32_t classes, float scale, float *grad, struct loss_sum *sum);
