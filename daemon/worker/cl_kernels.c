/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl_kernels.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/bits.h"
#include "worker/cl.h"
#include "worker/cl_cache.h"
#include "cl_sources.h"

#define OPTIONS_BYTES 128

const struct kernel_cl kernel_cl_table[] = {
#define KERNEL_CL(op_, name_, args_, needs_, columns_, columns_min_, planes_max_, group_rows_,     \
	l0_, l1_, l2_)                                                                             \
	{.name = #name_,                                                                           \
		.op = KERNEL_CL_##op_,                                                             \
		.args = KERNEL_CL_##args_,                                                         \
		.needs = KERNEL_CL_##needs_,                                                       \
		.tuning = {columns_, columns_min_, planes_max_, group_rows_, {l0_, l1_, l2_}},     \
		.source = kernel_cl_source_##name_},
#include "kernels_cl/kernels_cl.inc"
#undef KERNEL_CL
};

const uint32_t kernel_cl_count = ARRAY_SIZE(kernel_cl_table);
_Static_assert(ARRAY_SIZE(kernel_cl_table) <= KERNEL_CL_MAX, "programs have room for the list");

uint32_t kernel_cl_find(const char *name)
{
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		if (strcmp(kernel_cl_table[i].name, name) == 0)
			return i;
	return KERNEL_CL_ANY;
}

void kernel_cl_probe(struct cl *cl)
{
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		if ((kernel_cl_table[i].needs & ~cl->has) ||
			cl->kernel_tuning[i].columns_min == KERNEL_CL_NEVER)
			cl->banned[i] = true;
}

void kernel_cl_emulate(struct cl *cl)
{
	memset(cl->banned, 0, sizeof cl->banned);
	cl->emulates = true;
}

const char *kernel_cl_need_name(enum kernel_cl_need need)
{
	switch (need) {
	case KERNEL_CL_NOTHING:
		return NULL;
	case KERNEL_CL_KHR_DOT:
		return "cl_khr_integer_dot_product";
	case KERNEL_CL_ARM_DOT:
		return "cl_arm_integer_dot_product_int8";
	case KERNEL_CL_SUBGROUPS:
		return "cl_khr_subgroups";
	}
	return NULL;
}

bool kernel_cl_takes(const struct kernel_cl *k, const struct kernel_cl_product *p)
{
	return !p->level || k->args != KERNEL_CL_TABLES;
}

/* Tests want one row of its op and no other. */
static bool is_left_out(const struct cl *cl, uint32_t i)
{
	return cl->only < kernel_cl_count && cl->only != i &&
	       kernel_cl_table[cl->only].op == kernel_cl_table[i].op;
}

uint32_t kernel_cl_pick_product(
	const struct cl *cl, enum kernel_cl_op op, const struct kernel_cl_product *p)
{
	uint32_t last = KERNEL_CL_ANY;

	for (uint32_t i = 0; i < kernel_cl_count; i++) {
		const struct kernel_cl_tuning *t = &cl->kernel_tuning[i];

		if (kernel_cl_table[i].op != op || !cl->programs[i] || cl->banned[i] ||
			is_left_out(cl, i) || !kernel_cl_takes(&kernel_cl_table[i], p))
			continue;
		last = i;
		if (t->columns_min != KERNEL_CL_NEVER && p->pixels >= t->columns_min &&
			p->planes <= t->planes_max)
			return i;
	}
	return last;
}

uint32_t kernel_cl_pick(const struct cl *cl, enum kernel_cl_op op, uint64_t pixels)
{
	return kernel_cl_pick_product(cl, op,
		&(struct kernel_cl_product){
			.pixels = pixels, .planes = BITS_PLANES_MAX, .level = true});
}

/*
 * Extensions of later versions of the language are to be had with that version; what needs none is built as
 * OpenCL C 1.2, which every device has.
 */
static const char *language_of(const struct cl *cl, const struct kernel_cl *k)
{
	if (!(k->needs & cl->has & (KERNEL_CL_KHR_DOT | KERNEL_CL_SUBGROUPS)))
		return "CL1.2";
	if (strncmp(cl->version, "OpenCL 1.", 9) == 0)
		return "CL1.2";
	return strncmp(cl->version, "OpenCL 2.", 9) == 0 ? "CL2.0" : "CL3.0";
}

static const char *options_of(const struct cl *cl, const struct kernel_cl *k, char *buffer)
{
	const struct kernel_cl_tuning *t = &cl->kernel_tuning[k - kernel_cl_table];
	int n = snprintf(buffer, OPTIONS_BYTES, "-cl-std=%s", language_of(cl, k));

	if (k->args != KERNEL_CL_NONE)
		n += snprintf(buffer + n, OPTIONS_BYTES - (size_t) n,
			" -DCOLUMNS=%u -DGROUP_ROWS=%u -DPOPCOUNT_BITS=%u", t->columns,
			t->group_rows, cl->tuning.popcount_bits);
	if (k->needs & ~cl->has)
		(void) snprintf(buffer + n, OPTIONS_BYTES - (size_t) n, " -DEMULATE");
	return buffer;
}

/* The compiler's first words; its whole log may have pages. */
static int build_error(struct cl *cl, cl_program program, cl_int code, struct error *reterr)
{
	char log[4096] = "";
	size_t n = 0;

	(void) clGetProgramBuildInfo(
		program, cl->device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
	log[sizeof log - 1] = '\0';
	for (char *p = log; *p; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
	n = strspn(log, " ");
	(void) cl_error(reterr, code, "compiling");
	if (log[n])
		return error_set(reterr, cl_errno(code), "the compiler says: %.160s", log + n);
	return cl_errno(code);
}

static int build(struct cl *cl, cl_program program, const struct kernel_cl *k, struct error *reterr)
{
	char options[OPTIONS_BYTES];
	cl_int code =
		clBuildProgram(program, 1, &cl->device, options_of(cl, k, options), NULL, NULL);

	return code == CL_SUCCESS ? 0 : build_error(cl, program, code, reterr);
}

/* A program that does not have its kernel was not built, whatever the driver says. */
static int check_kernel(cl_program program, const char *name, struct error *reterr)
{
	cl_int code;
	cl_kernel k = clCreateKernel(program, name, &code);

	if (!k)
		return cl_error(reterr, code, "making the kernel");
	(void) clReleaseKernel(k);
	return 0;
}

static int build_source(
	struct cl *cl, const struct kernel_cl *k, cl_program *ret, struct error *reterr)
{
	cl_int code;
	cl_program program =
		clCreateProgramWithSource(cl->context, 1, (const char **) &k->source, NULL, &code);
	int r;

	if (!program)
		return cl_error(reterr, code, "taking the source");
	r = build(cl, program, k, reterr);
	if (r >= 0)
		r = check_kernel(program, k->name, reterr);
	if (r < 0) {
		(void) clReleaseProgram(program);
		return r;
	}
	*ret = program;
	return 0;
}

/* What the cache has may be from another world: anything wrong with it means to compile. */
static cl_program build_cached(struct cl *cl, const struct kernel_cl *k, const char *cache)
{
	_cleanup_free_ void *binary = NULL;
	char options[OPTIONS_BYTES];
	size_t bytes;
	cl_int status, code;
	cl_program program;

	if (!cache || cl_cache_read(cache, cl, k, options_of(cl, k, options), &binary, &bytes) < 0)
		return NULL;
	program = clCreateProgramWithBinary(cl->context, 1, &cl->device, &bytes,
		(const unsigned char **) &binary, &status, &code);
	if (!program)
		return NULL;
	if (build(cl, program, k, NULL) >= 0 && check_kernel(program, k->name, NULL) >= 0)
		return program;
	(void) clReleaseProgram(program);
	return NULL;
}

int kernel_cl_build(
	struct cl *cl, uint32_t index, const char *cache, bool *ret_cached, struct error *reterr)
{
	const struct kernel_cl *k = &kernel_cl_table[index];
	cl_program program = build_cached(cl, k, cache);
	int r;

	if (ret_cached)
		*ret_cached = program != NULL;
	if (!program) {
		r = build_source(cl, k, &program, reterr);
		if (r < 0)
			return r;
	}
	cl->programs[index] = program;
	return 0;
}

void kernel_cl_save(struct cl *cl, uint32_t index, const char *cache)
{
	const struct kernel_cl *k = &kernel_cl_table[index];
	_cleanup_free_ unsigned char *binary = NULL;
	char options[OPTIONS_BYTES];
	size_t bytes = 0;

	if (clGetProgramInfo(cl->programs[index], CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes,
		    NULL) != CL_SUCCESS ||
		bytes == 0 || bytes > CL_CACHE_ENTRY_BYTES_MAX)
		return;
	binary = malloc(bytes);
	if (!binary || clGetProgramInfo(cl->programs[index], CL_PROGRAM_BINARIES, sizeof binary,
			       &binary, NULL) != CL_SUCCESS)
		return;
	(void) cl_cache_write(cache, cl, k, options_of(cl, k, options), binary, bytes);
}
