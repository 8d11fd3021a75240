/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labelled samples in memory, dealt in batches. What a batch is depends on seed, epoch and place alone, so
 * a run that was broken off goes on with the same ones.
 */
#pragma once

#include "convert/sample.h"

/**
 * struct loader_options - of the training data
 * @crop: pictures are shifted by up to this many pixels; @flip: and mirrored
 * @cutmix: part of the pictures in which a rectangle is one of another picture. Their labels are of what is around it:
 *	such pictures are for teachers
 * @limit: use the first samples only; 0: all
 */
struct loader_options {
	uint32_t crop, limit;
	float cutmix;
	bool flip;
	uint64_t seed;
};

struct loader;

/**
 * loader_open() - read all of a data set
 * @shape: of the network's input
 * @classes: labels must be below it
 *
 * Return: 0; -EINVAL without labels or with other sizes; an errno of reading.
 */
int loader_open(struct loader **ret, const char *data, const char *labels, const struct preprocess *p,
	struct shape shape, uint32_t classes, const struct loader_options *options, struct error *reterr);
struct loader *loader_free(struct loader *l);
DEFINE_CLEANUP(struct loader *, loader_free)

uint32_t loader_count(const struct loader *l);
/** loader_key() - a number that tells options and sizes apart */
uint64_t loader_key(const struct loader *l);

/** loader_shuffle() - the order of @epoch; without it samples come as they are in the file */
void loader_shuffle(struct loader *l, uint64_t epoch);

/**
 * loader_batch() - samples @first to @first + @n - 1 of the present order
 * @augment: with what the options say
 * @out: [n][height][width][channels]; @labels: [n], -1 behind the last sample
 */
void loader_batch(const struct loader *l, uint32_t first, uint32_t n, bool augment, float *out,
	int32_t *labels);

/** draw_u64() - a number that looks drawn from a @key and a counter */
uint64_t draw_u64(uint64_t key, uint64_t counter);
