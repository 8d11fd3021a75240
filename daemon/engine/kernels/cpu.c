/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Which register states the system saves on a switch: an instruction is usable only if its registers are. */
static uint64_t saved_states(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t) high << 32 | low;
}

static bool has_avx_vnni(void)
{
	uint32_t a, b, c, d;

	return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVXVNNI);
}

#define STATES_YMM 0x06u
#define STATES_ZMM 0xe6u

static uint32_t detect(void)
{
	uint32_t a, b, c, d, flags = 0;
	uint64_t states;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 0;
	states = saved_states();
	if ((states & STATES_YMM) != STATES_YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	if (b & bit_AVX2)
		flags |= CPU_AVX2 | (c & bit_GFNI ? CPU_GFNI : 0) | (has_avx_vnni() ? CPU_AVX_VNNI : 0);
	if ((states & STATES_ZMM) != STATES_ZMM)
		return flags;
	if ((b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) && (b & bit_AVX512VL))
		flags |= CPU_AVX512;
	if ((flags & CPU_AVX512) && (c & bit_AVX512VNNI))
		flags |= CPU_AVX512_VNNI;
	if ((flags & CPU_AVX512) && (c & bit_AVX512VPOPCNTDQ))
		flags |= CPU_AVX512_VPOPCNT;
	if ((flags & CPU_AVX512) && (c & bit_AVX512VBMI))
		flags |= CPU_AVX512_VBMI;
	return flags;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

static uint32_t detect(void)
{
	unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
	uint32_t flags = 0;

	if (caps & HWCAP_ASIMD)
		flags |= CPU_NEON;
	if (caps & HWCAP_ASIMDDP)
		flags |= CPU_DOTPROD;
	if (caps2 & HWCAP2_I8MM)
		flags |= CPU_I8MM;
	return flags;
}
#else
static uint32_t detect(void)
{
	return 0;
}
#endif

#define CPU_ASKED (UINT32_C(1) << 31)

uint32_t cpu_flags(void)
{
	static _Atomic uint32_t known;
	uint32_t flags = atomic_load_explicit(&known, memory_order_relaxed);
	const char *mask;
	char *end;

	if (flags & CPU_ASKED)
		return flags & ~CPU_ASKED;
	flags = detect();
	mask = getenv("BITSHED_CPU_MASK");
	if (mask && *mask) {
		unsigned long v = strtoul(mask, &end, 0);

		if (*end == '\0')
			flags &= (uint32_t) v;
	}
	atomic_store_explicit(&known, flags | CPU_ASKED, memory_order_relaxed);
	return flags;
}

const char *cpu_flags_text(uint32_t flags, char *buffer, uint32_t size)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {
		{CPU_AVX2, "avx2"},
		{CPU_AVX_VNNI, "avx-vnni"},
		{CPU_AVX512, "avx512"},
		{CPU_AVX512_VNNI, "avx512-vnni"},
		{CPU_AVX512_VPOPCNT, "avx512-vpopcnt"},
		{CPU_AVX512_VBMI, "avx512-vbmi"},
		{CPU_GFNI, "gfni"},
		{CPU_NEON, "neon"},
		{CPU_DOTPROD, "dotprod"},
		{CPU_I8MM, "i8mm"},
	};
	size_t at = 0;

	if (size == 0)
		return buffer;
	buffer[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names) && at < size; i++)
		if (flags & names[i].flag)
			at += (size_t) snprintf(buffer + at, size - at, "%s%s", at ? " " : "",
				names[i].name);
	return buffer;
}
