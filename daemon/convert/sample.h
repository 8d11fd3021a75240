/* SPDX-License-Identifier: Apache-2.0 */
/* Items of a data set as a network wants them. */
#pragma once

#include "convert/dataset.h"
#include "engine/tensor.h"

/**
 * struct samples - a data set and how its items become inputs
 * @preprocess: of pixels
 */
struct samples {
	struct dataset *data;
	struct preprocess preprocess;
	struct shape shape;
	bool pixels;
};

/**
 * samples_init() - match @data with a network whose input has shape @want
 *
 * Folders are resized to @want. Return: 0; -EINVAL with words when the sizes do not fit.
 */
int samples_init(struct samples *ret, struct dataset *data, const struct preprocess *preprocess,
	struct shape want, struct error *reterr);

/** samples_chw() - item @i as the fp32 input of a net; @pixels: scratch of the item's size */
int samples_chw(struct samples *s, uint32_t i, uint8_t *pixels, float *ret);

/** samples_elements() - elements of an item */
static inline size_t samples_elements(const struct samples *s)
{
	return (size_t) s->shape.height * s->shape.width * s->shape.channels;
}
