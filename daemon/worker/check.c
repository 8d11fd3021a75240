/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/check.h"

#include "base/clock.h"
#include "worker/cl_selftest.h"

static int check_kernel(struct cl *cl, uint32_t i, const char *cache, FILE *out)
{
	uint64_t begin = clock_now_nsec(), built;
	struct error why = {};
	bool cached = false;
	int r = kernel_cl_build(cl, i, cache, &cached, &why);

	built = clock_now_nsec();
	fprintf(out, "  %-18s %s %6.1f ms", kernel_cl_table[i].name,
		cached ? "cached  " : "compiled", (double) (built - begin) / NSEC_PER_MSEC);
	if (r < 0)
		fprintf(out, ", not built: %s", error_text(&why, r));
	(void) fputc('\n', out);
	return r;
}

/* Why a kernel is not built at all. */
static void print_absent(const struct cl *cl, uint32_t i, FILE *out)
{
	uint32_t missing = kernel_cl_table[i].needs & ~cl->has;

	fprintf(out, "  %-18s %s%s\n", kernel_cl_table[i].name,
		missing ? "needs " : "is never the best here",
		missing ? kernel_cl_need_name((enum kernel_cl_need) missing) : "");
}

static int test_kernel(struct cl *cl, uint32_t i, const char *cache, FILE *out)
{
	uint64_t begin = clock_now_nsec();
	struct error why = {};
	int r = cl->programs[i] ? cl_selftest(cl, i, &why) : 0;

	if (!cl->programs[i])
		return 0;
	fprintf(out, "  %-18s %s %6.1f ms%s%s\n", kernel_cl_table[i].name,
		r < 0 ? "WRONG   " : "right   ",
		(double) (clock_now_nsec() - begin) / NSEC_PER_MSEC, r < 0 ? ": " : "",
		r < 0 ? error_text(&why, r) : "");
	if (r >= 0 && cache)
		kernel_cl_save(cl, i, cache);
	return r;
}

int check_device(const struct serve_options *options, bool probe, bool emulate, FILE *out)
{
	_cleanup_(cl_closep) struct cl *cl = NULL;
	struct error why = {};
	int r = cl_open(&cl, options->device, &why), first = 0;

	if (r < 0) {
		fprintf(out, "no device: %s\n", error_text(&why, r));
		return r;
	}
	fprintf(out,
		"%s: %s, driver %s, %s\n%u units, %lu MiB, local memory %lu KiB, groups of %zu, "
		"%s, tuned as %s\n",
		cl->platform_name, cl->name, cl->driver, cl->version, cl->units,
		cl->memory_bytes >> 20, cl->local_bytes >> 10, cl->group_max,
		cl_sharing_name(cl->sharing), cl_vendor_name(cl->tuning.vendor));
	if (probe)
		return 0;
	if (emulate)
		kernel_cl_emulate(cl);
	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		if (cl->banned[i]) {
			print_absent(cl, i, out);
			continue;
		}
		r = check_kernel(cl, i, options->cache, out);
		first = first < 0 ? first : r;
	}
	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		r = test_kernel(cl, i, options->cache, out);
		first = first < 0 ? first : r;
	}
	return first;
}
