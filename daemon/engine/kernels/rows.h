/* SPDX-License-Identifier: Apache-2.0 */
/* Prototypes of all kernels, made from the list. */
#pragma once

#include "engine/kernels/kernel.h"

typedef sum_fn sum_rows_fn;

#define KERNEL(op, member, name, ...) member##_fn name;
#include "engine/kernels/kernels.inc"
#undef KERNEL
