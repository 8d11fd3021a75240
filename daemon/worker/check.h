/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-worker --check: what the daemon would find, for a person. */
#pragma once

#include <stdio.h>

#include "worker/serve.h"

/** check_device() - Return: 0 when every kernel is right, else the first errno */
int check_device(const struct serve_options *options, FILE *out);
