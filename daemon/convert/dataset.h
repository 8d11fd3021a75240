/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labelled images or feature arrays: CIFAR-10 binary records, MNIST idx, .npy pairs (uint8 images
 * NHWC or NCHW, float32 features, integer labels), and a folder of JPEG/PNG with one folder per
 * class.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct dataset;

/**
 * struct preprocess - x = (pixel * scale - mean[c]) / std[c], then channel order
 * @mean, @std: of the picture's channels, red first, whatever order the network wants
 */
struct preprocess {
	float scale, mean[4], std[4];
	bool bgr;
};

/** dataset_open() - @labels may be NULL: found beside the data (idx), inside it (CIFAR-10), or
 * absent. The kind is recognised by content, not by name. */
int dataset_open(struct dataset **ret, const char *data, const char *labels, struct error *reterr);
struct dataset *dataset_free(struct dataset *d);
DEFINE_CLEANUP(struct dataset *, dataset_free)

uint32_t dataset_count(const struct dataset *d);
/** dataset_is_pixels() - u8 RGB (or one channel) images; else float32 features */
bool dataset_is_pixels(const struct dataset *d);
/** dataset_shape() - height, width, channels of every item; folders resize and crop to @height x
 * @width given to dataset_resize() before the first read */
void dataset_shape(const struct dataset *d, uint32_t *height, uint32_t *width, uint32_t *channels);
int dataset_resize(struct dataset *d, uint32_t height, uint32_t width);
/** dataset_pixels() - item @i as NHWC u8 into @out. Any thread. */
int dataset_pixels(struct dataset *d, uint32_t i, uint8_t *out);
/** dataset_floats() - features as they are in the file */
int dataset_floats(struct dataset *d, uint32_t i, float *out);
/** dataset_label() - Return: the label, or -1 when there is none */
int dataset_label(const struct dataset *d, uint32_t i);

/** preprocess_chw() - pixels NHWC u8 to the CHW fp32 input of a net */
void preprocess_chw(const struct preprocess *p, const uint8_t *pixels, uint32_t height,
	uint32_t width, uint32_t channels, float *out);
