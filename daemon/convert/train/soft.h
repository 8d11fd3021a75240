/* SPDX-License-Identifier: Apache-2.0 */
/* Weights that choose among the free levels of their layer, softly at first. */
#pragma once

#include "convert/train/method.h"

#define SOFT_LEVELS_MAX 16

/**
 * struct soft - of one layer; own of methods that choose softly
 * @level, @level_grad: [levels]
 * @choice: [rows][columns], once it is hard
 * @hard: choices stay, levels are trained on
 */
struct soft {
	uint32_t levels;
	bool hard;
	float sharp, *level, *level_grad;
	uint8_t *choice;
	float *logit, *logit_grad;
};

/**
 * soft_init() - 2^planes levels by k-means
 * @logits: room for one of each weight and level, as parameters
 */
int soft_init(struct train_layer *l, bool logits);
void soft_done(struct train_layer *l);

/**
 * soft_mean() - the mean of the levels by softmax
 * @share: [levels]; logits in, how much of each level out
 */
float soft_mean(const struct soft *s, float *share);

/** soft_harden() - every weight chooses level @of(l, i) from now on */
void soft_harden(struct train_layer *l, uint32_t (*of)(const struct train_layer *l, size_t i));

/** soft_hard_weights() - the level of each choice */
void soft_hard_weights(const struct train_layer *l, float *hat);

/** soft_hard_gradient() - to the levels */
void soft_hard_gradient(struct train_layer *l, const float *grad);

/** soft_codes() - level coding, one table for the layer */
int soft_codes(struct train_layer *l, struct coded *ret, struct error *reterr);
