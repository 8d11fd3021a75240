/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-worker --check: what the daemon would find, for a person. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "worker/serve.h"

/**
 * check_device() - build and test every kernel
 * @probe: only look for a device
 * @emulate: also the kernels that the device lacks an extension for, see kernel_cl_emulate()
 *
 * Return: 0 when every kernel is right, else the first errno
 */
int check_device(const struct serve_options *options, bool probe, bool emulate, FILE *out);
