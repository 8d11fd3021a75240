/* SPDX-License-Identifier: Apache-2.0 */
/* What this processor can do and the system has enabled. */
#pragma once

#include <stdint.h>

#define CPU_AVX2 (UINT32_C(1) << 0)
#define CPU_AVX512 (UINT32_C(1) << 1)	    /* F, BW, DQ, VL */
#define CPU_AVX512_VNNI (UINT32_C(1) << 2)
#define CPU_AVX512_VPOPCNT (UINT32_C(1) << 3)
#define CPU_NEON (UINT32_C(1) << 4)
#define CPU_DOTPROD (UINT32_C(1) << 5)
#define CPU_I8MM (UINT32_C(1) << 6)
#define CPU_AVX512_VBMI (UINT32_C(1) << 8)
#define CPU_AVX_VNNI (UINT32_C(1) << 9)   /* of 256 bits, without AVX-512 */
#define CPU_GFNI (UINT32_C(1) << 7) /* of whatever registers the other flags give */

/**
 * cpu_flags() - CPUID with XGETBV, or HWCAP; asked once
 *
 * BITSHED_CPU_MASK in the environment (a number) is ANDed in, so that tests reach every row.
 */
uint32_t cpu_flags(void);

/** cpu_flags_text() - "avx2 avx512 ..." into @buffer. Return: @buffer */
const char *cpu_flags_text(uint32_t flags, char *buffer, uint32_t size);
