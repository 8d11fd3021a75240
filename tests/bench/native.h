/* SPDX-License-Identifier: Apache-2.0 */
/* The scalar rows under other names, compiled for the machine that builds. */
#pragma once

#include "engine/kernels/kernel.h"

matmul_fn decode_native, bitserial_native;
