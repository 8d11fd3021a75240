/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of the kinds of data sets fill in, and dataset.c gives out. */
#pragma once

#include <stddef.h>

#include "convert/dataset.h"
#include "convert/file.h"

/**
 * struct dataset - items at a constant distance in a mapped file, or pictures in files
 * @map: the data file
 * @items: first item; item i begins i * @stride bytes later. NULL when @paths are used
 * @channels_first: pixels lie as [channels][height][width]
 * @height, @width, @channels: of an item in the file
 * @out_height, @out_width: what readers get, see dataset_resize()
 * @labels: [count], or NULL
 * @paths: [count], owned; JPEG or PNG files
 */
struct dataset {
	struct file_map map;
	const uint8_t *items;
	size_t stride;
	uint32_t count, height, width, channels, out_height, out_width;
	bool pixels, channels_first;
	int32_t *labels;
	char **paths;
};

/* More than a person can have, and far from wrapping sums of sizes. */
#define DATASET_SIDE_MAX 16384
#define DATASET_ITEM_BYTES_MAX (UINT64_C(1) << 30)

/** dataset_read_npy() - @d->map begins with the magic of .npy; sets items and shape */
int dataset_read_npy(struct dataset *d, struct error *reterr);

/** npy_labels() - a vector of integers. Return: 0, *ret_labels owned by the caller; -EBADMSG,
 * -ENOTSUP, -ENOMEM */
int npy_labels(int32_t **ret_labels, uint32_t *ret_count, const struct file_map *map,
	struct error *reterr);

/** dataset_read_folder() - JPEG and PNG files: one folder per class, or all in one without labels
 */
int dataset_read_folder(struct dataset *d, const char *path, struct error *reterr);
