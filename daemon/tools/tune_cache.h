/* SPDX-License-Identifier: Apache-2.0 */
/* Where bitshed-model keeps measured times of kernels, and takes them from. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/**
 * tune_cache_open() - a cache folder
 * @folder: NULL: bitshed of XDG_CACHE_HOME, or of .cache of HOME
 * @make: make it, and those above it
 *
 * Return: a descriptor owned by the caller, or a negative errno
 */
int tune_cache_open(const char *folder, bool make, struct error *reterr);

/** tune_cache_use() - choose kernels by the times in @folder, or say on stderr why not; silent when there are none */
void tune_cache_use(const char *folder);
