/* SPDX-License-Identifier: Apache-2.0 */
/* An OpenCL device for bitshed-model: a bitshed-worker of its own, no daemon needed. */
#pragma once

#include "convert/evaluate.h"

struct evaluate_device;

/**
 * evaluate_device_open() - start a worker and let it build and test its kernels
 * @wanted: part of the name of the platform or device; empty: the most promising one
 * @model: the file that is evaluated
 *
 * Says on stderr which device it is, and which kernels are left out. Return: 0; -ENODEV, -ENOENT when there is no
 * device or no worker, another errno of it, all with words.
 */
int evaluate_device_open(struct evaluate_device **ret, const char *wanted, const char *model, struct error *reterr);
struct evaluate_device *evaluate_device_free(struct evaluate_device *d);
DEFINE_CLEANUP(struct evaluate_device *, evaluate_device_free)

/** evaluate_device_outputs() - as evaluate_outputs() */
int evaluate_device_outputs(struct evaluate_device *d, struct outputs *ret, struct model *model,
	struct samples *samples, uint32_t limit, const struct progress *progress, struct error *reterr);
