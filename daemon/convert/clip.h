/* SPDX-License-Identifier: Apache-2.0 */
/* How much of a value's range is kept (methods C8); the list of ways, with their names in options. */
#pragma once

#include "convert/calibrate.h"

/**
 * struct clip_way - @choose: narrow the range [@low, @high], which contains 0, for 2^@bits levels; the histogram is
 *	there. NULL: nothing to do
 */
struct clip_way {
	const char *name;
	void (*choose)(const struct value_statistics *v, uint32_t bits, float *low, float *high);
};

extern const struct clip_way clips[_CLIP_MAX];

/** clip_find() - Return: _CLIP_MAX when there is no such way */
enum calibrate_clip clip_find(const char *name);
