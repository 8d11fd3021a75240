/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl_tuning.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "worker/cl.h"

#define TILE_KIB 16
#define POPCOUNT_BITS 64
#define NEVER KERNEL_CL_NEVER

/* clang-format off */
static const struct {
	const char *name;
	uint32_t id;
	const char *begins[3];
	uint32_t tile_kib, popcount_bits;
} vendors[] = {
	{"other", 0, {"", "", ""}, TILE_KIB, POPCOUNT_BITS},
#define VENDOR_CL(name_, id_, a_, b_, c_, tile_kib_, popcount_bits_)                               \
	{#name_, id_, {a_, b_, c_}, tile_kib_, popcount_bits_},
#define TUNING_CL(...)
#include "kernels_cl/tuning.inc"
#undef VENDOR_CL
#undef TUNING_CL
};

static const struct {
	enum cl_vendor vendor;
	const char *kernel;
	struct kernel_cl_tuning tuning;
} tunings[] = {
	/* a table has one row at least */
	{CL_VENDOR_OTHER, "", {}},
#define VENDOR_CL(...)
#define TUNING_CL(vendor_, kernel_, columns_, columns_min_, planes_max_, group_rows_, l0_, l1_, l2_) \
	{CL_VENDOR_##vendor_, #kernel_, {columns_, columns_min_, planes_max_, group_rows_, {l0_, l1_, l2_}}},
#include "kernels_cl/tuning.inc"
#undef VENDOR_CL
#undef TUNING_CL
};
/* clang-format on */

/* "Arm" is not in "alarm": the beginning of a word. */
static bool has_word(const char *text, const char *begin)
{
	size_t n = strlen(begin);

	for (const char *p = text; n > 0 && *p; p++)
		if (strncasecmp(p, begin, n) == 0 && (p == text || strchr(" -_(/,", p[-1])))
			return true;
	return false;
}

static bool is_called(enum cl_vendor vendor, const char *const names[3])
{
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			if (has_word(names[i], vendors[vendor].begins[j]))
				return true;
	return false;
}

enum cl_vendor cl_vendor_of(bool processor, uint32_t id, const char *const names[3])
{
	if (processor)
		return CL_VENDOR_PROCESSOR;
	for (enum cl_vendor v = CL_VENDOR_PROCESSOR + 1; v < _CL_VENDOR_MAX; v++)
		if (id != 0 && vendors[v].id == id)
			return v;
	for (enum cl_vendor v = CL_VENDOR_PROCESSOR + 1; v < _CL_VENDOR_MAX; v++)
		if (is_called(v, names))
			return v;
	return CL_VENDOR_OTHER;
}

const char *cl_vendor_name(enum cl_vendor vendor)
{
	return vendors[vendor].name;
}

void cl_tune(struct cl *cl, enum cl_vendor vendor)
{
	cl->tuning = (struct cl_tuning){.vendor = vendor,
		.tile_bytes = (size_t) vendors[vendor].tile_kib * 1024,
		.popcount_bits = vendors[vendor].popcount_bits};
	if (cl->local_bytes > 0)
		cl->tuning.tile_bytes = MIN_OF(cl->tuning.tile_bytes, cl->local_bytes / 2);
	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		cl->kernel_tuning[i] = kernel_cl_table[i].tuning;
		for (size_t t = 0; t < ARRAY_SIZE(tunings); t++)
			if (tunings[t].vendor == vendor &&
				strcmp(tunings[t].kernel, kernel_cl_table[i].name) == 0)
				cl->kernel_tuning[i] = tunings[t].tuning;
	}
}
