/* SPDX-License-Identifier: Apache-2.0 */
/* Prototypes of all kernels, made from the list. */
#pragma once

#include "engine/kernels/kernel.h"

typedef sum_fn sum_rows_fn;

#define KERNEL(op, member, name, ...) member##_fn name;
#include "engine/kernels/kernels.inc"
#undef KERNEL

/* Which matrices a row that is not for all of them can do. */
bool lookup_gfni_fits(const struct kernel_matrix *w);
bool matvec_vbmi_fits(const struct kernel_matrix *w);
bool decode_gfni_fits(const struct kernel_matrix *w);
bool lookup_avx2_fits(const struct kernel_matrix *w);
bool lookup_neon_fits(const struct kernel_matrix *w);

/* Rows whose sums can leave requantized. */
matmul_u8_fn decode_gfni_u8, decode_avx512_u8, bitserial_avx512_u8;
depthwise_u8_fn depthwise_vnni_u8;
