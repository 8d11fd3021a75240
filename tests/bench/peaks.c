/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peaks.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/kernels/kernel.h"

#define TIMES 7
#define LOOPS 200000
#define MEMORY_BYTES (256u << 20)

/* Makes a compiler believe that @v changes, so that nothing moves out of a loop. */
#if KERNELS_X86
#define CHANGE(v) __asm__ volatile("" : "+v"(v))
#elif KERNELS_ARM
#define CHANGE(v) __asm__ volatile("" : "+w"(v))
#endif

/* Sums have names: arrays of them do not stay in registers. */
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define SUMS 12

#if KERNELS_X86
#include <immintrin.h>

#define NEEDS_DOT (CPU_AVX512 | CPU_AVX512_VNNI)
#define NEEDS_COUNT (CPU_AVX512 | CPU_AVX512_VPOPCNT)
#define NEEDS_LOOKUP CPU_AVX512
#define LANES 64
#define DECLARE(n) __m512i s##n = _mm512_setzero_si512();
#define KEEP(n) CHANGE(s##n);
#define DOT(n) s##n = _mm512_dpbusd_epi32(s##n, a, b);
#define COUNT(n) s##n = _mm512_add_epi64(s##n, _mm512_popcnt_epi64(_mm512_and_si512(a, b)));
#define LOOKUP(n) s##n = _mm512_add_epi8(s##n, _mm512_shuffle_epi8(a, b));
#define DEFINE_LOOP(name, step, isa)                                                               \
	__attribute__((target(isa))) static void name(void)                                        \
	{                                                                                          \
		__m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);                          \
                                                                                                   \
		EACH(DECLARE)                                                                      \
		for (uint32_t i = 0; i < LOOPS; i++) {                                             \
			EACH(step##_STEP)                                                          \
		}                                                                                  \
		EACH(KEEP)                                                                         \
	}
#define DOT_STEP(n) CHANGE(b); DOT(n)
#define COUNT_STEP(n) CHANGE(b); COUNT(n)
#define LOOKUP_STEP(n) CHANGE(b); LOOKUP(n)

static const char *const names[] = {
	"VPDPBUSD", "AND + VPOPCNTQ + add", "VPSHUFB + add", "memory, read"};

DEFINE_LOOP(run_dot, DOT, "avx512f,avx512bw,avx512vnni")
DEFINE_LOOP(run_count, COUNT, "avx512f,avx512bw,avx512vpopcntdq")
DEFINE_LOOP(run_lookup, LOOKUP, "avx512f,avx512bw")

#elif KERNELS_ARM
#include <arm_neon.h>

#define NEEDS_DOT (CPU_NEON | CPU_DOTPROD)
#define NEEDS_COUNT CPU_NEON
#define NEEDS_LOOKUP CPU_NEON
#define LANES 16
#define DECLARE_DOT(n) int32x4_t s##n = vdupq_n_s32(0);
#define DECLARE(n) uint8x16_t s##n = vdupq_n_u8(0);
#define KEEP(n) CHANGE(s##n);
#define DOT(n) CHANGE(b); s##n = vdotq_s32(s##n, vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
#define COUNT(n) CHANGE(b); s##n = vaddq_u8(s##n, vcntq_u8(vandq_u8(a, b)));
#define LOOKUP(n) CHANGE(b); s##n = vaddq_u8(s##n, vqtbl1q_u8(a, b));
#define DEFINE_LOOP(name, declare, step, isa)                                                      \
	isa static void name(void)                                                                 \
	{                                                                                          \
		uint8x16_t a = vdupq_n_u8(3), b = vdupq_n_u8(5);                                   \
                                                                                                   \
		EACH(declare)                                                                      \
		for (uint32_t i = 0; i < LOOPS; i++) {                                             \
			EACH(step)                                                                 \
		}                                                                                  \
		EACH(KEEP)                                                                         \
	}

static const char *const names[] = {"SDOT", "AND + CNT + add", "TBL + add", "memory, read"};

DEFINE_LOOP(run_dot, DECLARE_DOT, DOT, __attribute__((target("arch=armv8.2-a+dotprod"))))
DEFINE_LOOP(run_count, DECLARE, COUNT, )
DEFINE_LOOP(run_lookup, DECLARE, LOOKUP, )
#endif

uint64_t peak_clock_nsec(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t) t.tv_sec * NSEC_PER_SEC + (uint64_t) t.tv_nsec;
}

/* Best of some, in nanoseconds. */
static double time_loop(void (*fn)(void))
{
	uint64_t best = UINT64_MAX;

	for (uint32_t i = 0; i < TIMES; i++) {
		uint64_t begin = peak_clock_nsec();

		fn();
		best = MIN_OF(best, peak_clock_nsec() - begin);
	}
	return (double) best;
}

#define AHEAD 128 /* of 64 bytes */

static uint64_t *memory; /* for as long as the program runs */

typedef uint64_t bytes_64 __attribute__((vector_size(64)));

/* Bytes of any value, as wide as the processor reads them. */
#define DEFINE_READ(name, attribute)                                                               \
	attribute static void name(void)                                                           \
	{                                                                                          \
		const bytes_64 *p = (const bytes_64 *) (const void *) memory;                      \
		bytes_64 sum[2] = {};                                                              \
                                                                                                   \
		for (size_t k = 0; k < MEMORY_BYTES / sizeof *p; k += 2) {                         \
			__builtin_prefetch(p + k + AHEAD);                                         \
			__builtin_prefetch(p + k + 1 + AHEAD);                                     \
			sum[0] += p[k];                                                            \
			sum[1] += p[k + 1];                                                        \
		}                                                                                  \
		memory[0] ^= (sum[0] + sum[1])[0] & 1;                                             \
	}

DEFINE_READ(read_any, )
#if KERNELS_X86
DEFINE_READ(read_avx512, __attribute__((target("avx512f"))))
#endif

static double measure_memory(void)
{
	void (*fn)(void) = read_any;

	if (!memory) {
		memory = aligned_alloc(64, MEMORY_BYTES);
		if (!memory)
			return 0;
		memset(memory, 1, MEMORY_BYTES);
	}
#if KERNELS_X86
	if (cpu_flags() & CPU_AVX512)
		fn = read_avx512;
#endif
	return MEMORY_BYTES / time_loop(fn);
}

#if KERNELS_X86 || KERNELS_ARM
static double measure_loop(void (*fn)(void), uint32_t needs, double each)
{
	if (needs & ~cpu_flags())
		return 0;
	return (double) LOOPS * SUMS * LANES * each / time_loop(fn);
}

const char *peak_name(enum peak p)
{
	return names[p];
}

double peak_measure(enum peak p)
{
	switch (p) {
	case PEAK_DOT:
		return measure_loop(run_dot, NEEDS_DOT, 1);
	case PEAK_COUNT:
		return measure_loop(run_count, NEEDS_COUNT, 8);
	case PEAK_LOOKUP:
		return measure_loop(run_lookup, NEEDS_LOOKUP, 1);
	case PEAK_MEMORY:
		return measure_memory();
	case _PEAK_MAX:
		break;
	}
	return 0;
}
#else
const char *peak_name(enum peak p)
{
	return "memory, read";
}

double peak_measure(enum peak p)
{
	return p == PEAK_MEMORY ? measure_memory() : 0;
}
#endif
