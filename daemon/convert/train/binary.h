/* SPDX-License-Identifier: Apache-2.0 */
/* One plane: signs and a scale for each row. */
#pragma once

#include "convert/train/method.h"

/** binary_weights() - sign times the row's mean magnitude, the best scale for these signs */
void binary_weights(struct train_layer *l, uint32_t planes, float *hat);

int binary_codes(struct train_layer *l, struct coded *ret, struct error *reterr);

/** binary_clip() - latent weights stay where a sign can still change: within 2.5 mean magnitudes */
int binary_clip(struct train_layer *l, const struct train_moment *m);
