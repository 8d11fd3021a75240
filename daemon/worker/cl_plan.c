/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl_plan.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "worker/cl_launches.h"

/* Arguments of every kernel, in their order (kernels_cl/common.clh). */
enum {
	ARG_ARENA,
	ARG_LAUNCHES,
	ARG_INDEX,
	ARG_NUMBERS,
	ARG_PLANES,
	ARG_LOCAL = ARG_PLANES + LAUNCH_PLANES,
};

/** struct cl_plan - @kernels: [launches.n]; @arena_serial: of the arena that they are bound to */
struct cl_plan {
	struct cl *cl;
	struct plan *plan;
	struct cl_launches launches;
	struct cl_buffer numbers, table;
	cl_kernel *kernels;
	uint64_t arena_serial;
};

const struct plan *cl_plan_engine(const struct cl_plan *p)
{
	return p->plan;
}

const struct cl_launches *cl_plan_launches(const struct cl_plan *p)
{
	return &p->launches;
}

bool cl_plan_uses(const struct cl_plan *p, uint32_t kernel)
{
	for (uint32_t i = 0; i < p->launches.n; i++)
		if (p->launches.launches[i].kernel == kernel)
			return true;
	return false;
}

static bool takes_planes(const struct cl_launch *l)
{
	return kernel_cl_table[l->kernel].args != KERNEL_CL_NONE;
}

static void release_planes(struct cl_plan *p, uint32_t index)
{
	const struct cl_launch *l = &p->launches.launches[index];

	for (uint32_t i = 0; takes_planes(l) && i < l->numbers.planes; i++)
		cl_share_put(p->cl, l->planes[i].data);
}

struct cl_plan *cl_plan_free(struct cl_plan *p)
{
	if (!p)
		return NULL;
	for (uint32_t i = 0; p->kernels && i < p->launches.n; i++) {
		if (!p->kernels[i])
			break;
		(void) clReleaseKernel(p->kernels[i]);
		release_planes(p, i);
	}
	free(p->kernels);
	cl_buffer_done(p->cl, &p->numbers);
	cl_buffer_done(p->cl, &p->table);
	cl_launches_done(&p->launches);
	/* last: buffers may lie over the memory of its planes */
	(void) plan_unref(p->plan);
	free(p);
	return NULL;
}

static int add_numbers(struct cl_plan *p, struct error *reterr)
{
	static const uint64_t nothing;
	const struct cl_launches *l = &p->launches;

	if (l->numbers_bytes == 0)
		return cl_buffer_new(p->cl, &nothing, sizeof nothing, false, &p->numbers, reterr);
	return cl_buffer_new(p->cl, l->numbers, l->numbers_bytes, false, &p->numbers, reterr);
}

static int add_table(struct cl_plan *p, struct error *reterr)
{
	size_t bytes = p->launches.n * sizeof(struct launch);
	_cleanup_free_ struct launch *all = malloc(bytes);

	if (!all)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->launches.n; i++)
		all[i] = p->launches.launches[i].numbers;
	return cl_buffer_new(p->cl, all, bytes, false, &p->table, reterr);
}

/* Those that the matrix has not are never read, but every argument must be something. */
static int set_planes(struct cl_plan *p, uint32_t index, struct error *reterr)
{
	const struct cl_launch *l = &p->launches.launches[index];
	cl_mem mem = p->numbers.mem;
	uint32_t shared = 0;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < LAUNCH_PLANES; i++) {
		cl_int code = CL_SUCCESS;

		if (i < l->numbers.planes) {
			r = cl_share_get(
				p->cl, l->planes[i].data, l->planes[i].bytes, &mem, reterr);
			shared += r >= 0;
		}
		if (r >= 0)
			code = clSetKernelArg(p->kernels[index], ARG_PLANES + i, sizeof mem, &mem);
		if (code != CL_SUCCESS)
			r = cl_error(reterr, code, "setting arguments");
	}
	while (r < 0 && shared > 0)
		cl_share_put(p->cl, l->planes[--shared].data);
	return r;
}

static int set_args(struct cl_plan *p, uint32_t index, struct error *reterr)
{
	const struct cl_launch *l = &p->launches.launches[index];
	cl_kernel k = p->kernels[index];
	cl_int code = clSetKernelArg(k, ARG_LAUNCHES, sizeof(cl_mem), &p->table.mem);

	if (code == CL_SUCCESS)
		code = clSetKernelArg(k, ARG_INDEX, sizeof(cl_uint), &index);
	if (code == CL_SUCCESS)
		code = clSetKernelArg(k, ARG_NUMBERS, sizeof(cl_mem), &p->numbers.mem);
	if (code == CL_SUCCESS && l->local_bytes > 0)
		code = clSetKernelArg(k, ARG_LOCAL, l->local_bytes, NULL);
	return code == CL_SUCCESS ? 0 : cl_error(reterr, code, "setting arguments");
}

static size_t group_number(struct cl_plan *p, uint32_t index, cl_kernel_work_group_info what)
{
	size_t v = 0;

	(void) clGetKernelWorkGroupInfo(p->kernels[index], p->cl->device, what, sizeof v, &v, NULL);
	return v;
}

/* As many groups as before where they share rows, else as many items. */
static void resize_group(
	struct cl_launch *l, const struct kernel_cl_tuning *t, int side, size_t size)
{
	size_t groups = l->global[side] / l->local[side];

	if (t->group_rows > 0 && side == 0)
		l->global[side] = groups * size;
	else
		l->global[side] = (l->global[side] + size - 1) / size * size;
	l->local[side] = size;
}

/*
 * What the compiled kernel can do may be less than what the device can; and devices start items by so many
 * at once: a smaller group leaves some idle. All kernels look whether an item has anything to do.
 */
static int fit_group(struct cl_plan *p, uint32_t index, struct error *reterr)
{
	struct cl_launch *l = &p->launches.launches[index];
	const struct kernel_cl_tuning *t = &p->cl->kernel_tuning[l->kernel];
	size_t max = group_number(p, index, CL_KERNEL_WORK_GROUP_SIZE);
	size_t multiple = group_number(p, index, CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE);
	size_t room = p->cl->group_max > 0 ? MIN_OF(max, p->cl->group_max) : max;

	if (max == 0)
		return error_set(reterr, -EIO, "the kernel tells no size of a work-group");
	while (l->local[0] * l->local[1] * l->local[2] > max) {
		int largest = l->local[0] >= l->local[1] ? 0 : 1;

		if (l->local[largest] == 1)
			break;
		resize_group(l, t, largest, l->local[largest] / 2);
	}
	while (t->group_rows == 0 && l->local[0] * l->local[1] * l->local[2] < multiple &&
		l->local[0] * l->local[1] * l->local[2] * 2 <= room &&
		l->local[0] * 2 <= p->cl->items_max[0])
		resize_group(l, t, 0, l->local[0] * 2);
	return 0;
}

static int add_kernel(struct cl_plan *p, uint32_t index, struct error *reterr)
{
	const struct cl_launch *l = &p->launches.launches[index];
	cl_int code;
	int r;

	p->kernels[index] =
		clCreateKernel(p->cl->programs[l->kernel], kernel_cl_table[l->kernel].name, &code);
	if (!p->kernels[index])
		return cl_error(reterr, code, "making a kernel");
	r = takes_planes(l) ? set_planes(p, index, reterr) : 0;
	if (r < 0) {
		(void) clReleaseKernel(p->kernels[index]);
		p->kernels[index] = NULL;
		return r;
	}
	r = set_args(p, index, reterr);
	return r < 0 ? r : fit_group(p, index, reterr);
}

static int add_kernels(struct cl_plan *p, struct error *reterr)
{
	int r = 0;

	p->kernels = calloc(p->launches.n + 1, sizeof(cl_kernel));
	if (!p->kernels)
		return -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < p->launches.n; i++)
		r = add_kernel(p, i, reterr);
	return r;
}

int cl_plan_new(struct cl_plan **ret, struct cl *cl, struct plan *plan, struct error *reterr)
{
	_cleanup_(cl_plan_freep) struct cl_plan *p = calloc(1, sizeof *p);
	int r;

	if (!p)
		return -ENOMEM;
	p->cl = cl;
	p->plan = plan_ref(plan);
	r = cl_launches_make(&p->launches, cl, plan, reterr);
	if (r >= 0)
		r = add_numbers(p, reterr);
	if (r >= 0)
		r = add_table(p, reterr);
	if (r >= 0)
		r = add_kernels(p, reterr);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}

/* Another plan may have made the arena larger, and so another one. */
static int bind_arena(struct cl_plan *p, struct error *reterr)
{
	int r = cl_arena_reserve(p->cl, p->launches.arena_bytes, reterr);

	if (r < 0 || p->arena_serial == p->cl->arena_serial)
		return r;
	for (uint32_t i = 0; i < p->launches.n; i++) {
		cl_int code =
			clSetKernelArg(p->kernels[i], ARG_ARENA, sizeof(cl_mem), &p->cl->arena);

		if (code != CL_SUCCESS)
			return cl_error(reterr, code, "setting arguments");
	}
	p->arena_serial = p->cl->arena_serial;
	return 0;
}

/* Of the input's two launches, the one that the request does not need. */
static bool is_other_input(const struct cl_plan *p, uint32_t index, enum input_type type)
{
	enum kernel_cl_op op = kernel_cl_table[p->launches.launches[index].kernel].op;

	return op == (type == INPUT_PIXELS ? KERNEL_CL_INPUT_FLOATS : KERNEL_CL_INPUT_PIXELS);
}

static int enqueue(struct cl_plan *p, uint32_t index, cl_command_queue queue, cl_event *ret_event,
	struct error *reterr)
{
	const struct cl_launch *l = &p->launches.launches[index];
	cl_int code = clEnqueueNDRangeKernel(
		queue, p->kernels[index], 3, NULL, l->global, l->local, 0, NULL, ret_event);

	if (code == CL_SUCCESS)
		return 0;
	return error_prefix(reterr, cl_error(reterr, code, "starting"), "kernel %s",
		kernel_cl_table[l->kernel].name);
}

/* The queue is in order: the next input may take the place of the last one as soon as that has been read. */
static int enqueue_item(struct cl_plan *p, enum input_type type, const struct cl_item *item, bool wait,
	struct error *reterr)
{
	const struct plan *plan = p->plan;
	size_t bytes = type == INPUT_PIXELS ? plan->input_pixels_bytes : plan->input_floats_bytes;
	cl_int code = clEnqueueWriteBuffer(p->cl->queue, p->cl->arena, CL_FALSE,
		p->launches.input_at, bytes, item->input, 0, NULL, NULL);
	int r = code == CL_SUCCESS ? 0 : cl_error(reterr, code, "bringing the input");

	for (uint32_t i = 0; r >= 0 && i < p->launches.n; i++)
		if (!is_other_input(p, i, type))
			r = enqueue(p, i, p->cl->queue, NULL, reterr);
	if (r < 0)
		return r;
	code = clEnqueueReadBuffer(p->cl->queue, p->cl->arena, wait ? CL_TRUE : CL_FALSE,
		plan->value_offset[plan->model->network->output], plan->output_bytes, item->output,
		0, NULL, NULL);
	return code == CL_SUCCESS ? 0 : cl_error(reterr, code, "fetching the output");
}

int cl_plan_run_all(struct cl_plan *p, enum input_type type, const struct cl_item *items, uint32_t n,
	struct error *reterr)
{
	int r;

	if (type == INPUT_PIXELS && p->plan->input_pixels_bytes == 0)
		return error_set(reterr, -EINVAL, "this network takes no pixels");
	r = bind_arena(p, reterr);
	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = enqueue_item(p, type, &items[i], i + 1 == n, reterr);
	if (r < 0)
		(void) clFinish(p->cl->queue); /* nothing may write into items any more */
	return r;
}

int cl_plan_run(struct cl_plan *p, enum input_type type, const void *input, float *output,
	struct error *reterr)
{
	struct cl_item item = {input, output};

	return cl_plan_run_all(p, type, &item, 1, reterr);
}

static int open_profiler(struct cl *cl, struct error *reterr)
{
	cl_int code;

	if (cl->profiler)
		return 0;
	cl->profiler =
		clCreateCommandQueue(cl->context, cl->device, CL_QUEUE_PROFILING_ENABLE, &code);
	return cl->profiler ? 0 : cl_error(reterr, code, "making a queue that takes times");
}

/* A device whose clock stands still has no times, which is no error. */
static void lower_time(cl_event event, uint64_t *nsec)
{
	cl_ulong begin = 0, end = 0;

	if (clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof begin, &begin, NULL) ==
			CL_SUCCESS &&
		clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) ==
			CL_SUCCESS &&
		end > begin && (*nsec == 0 || end - begin < *nsec))
		*nsec = end - begin;
}

int cl_plan_profile(struct cl_plan *p, uint64_t *nsec, struct error *reterr)
{
	_cleanup_free_ cl_event *events = calloc(p->launches.n + 1, sizeof *events);
	int r = events ? open_profiler(p->cl, reterr) : -ENOMEM;

	if (r >= 0)
		r = bind_arena(p, reterr);
	for (uint32_t i = 0; r >= 0 && i < p->launches.n; i++)
		if (!is_other_input(p, i, INPUT_FLOATS))
			r = enqueue(p, i, p->cl->profiler, &events[i], reterr);
	if (p->cl->profiler)
		(void) clFinish(p->cl->profiler);
	for (uint32_t i = 0; events && i < p->launches.n; i++) {
		if (!events[i])
			continue;
		if (r >= 0)
			lower_time(events[i], &nsec[i]);
		(void) clReleaseEvent(events[i]);
	}
	return r;
}
