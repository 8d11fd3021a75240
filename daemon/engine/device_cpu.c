/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor. A new number of threads is a new pool, made by who asks for it and put into
 * `next`; the next run takes it from there. So nobody waits: not the loop for a running request,
 * and a running request keeps its pool to the end.
 */
#include <errno.h>
#include <stdio.h>

#include "engine/device.h"
#include "engine/kernels/cpu.h"

struct device_cpu {
	struct device device;
	uint32_t cpu;
	struct threads *pool; /* of whoever holds device.turn */
	_Atomic(struct threads *) next;
	atomic_uint count;
};

static struct device_cpu *device_cpu(struct device *d)
{
	return (struct device_cpu *) d;
}

static int cpu_plan(struct device *d, struct model *model, struct plan **ret, struct error *reterr)
{
	return plan_new(ret, model, device_cpu(d)->cpu, reterr);
}

static void take_next_pool(struct device_cpu *c)
{
	struct threads *next = atomic_exchange(&c->next, NULL);

	if (!next)
		return;
	(void) threads_free(c->pool);
	c->pool = next;
}

static int cpu_reserve(struct device *d, struct workspace *w, const struct plan *plan)
{
	struct device_cpu *c = device_cpu(d);

	take_next_pool(c);
	threads_limit(c->pool, w->threads_max);
	return workspace_reserve(w, plan, threads_count(c->pool));
}

static int cpu_run(struct device *d, struct workspace *w, const struct plan *plan,
	enum input_type type, const void *input, float *output)
{
	return exec_run(plan, w, device_cpu(d)->pool, type, input, output);
}

static int cpu_set_threads(struct device *d, uint32_t threads)
{
	struct device_cpu *c = device_cpu(d);
	struct threads *pool;
	int r;

	if (threads == atomic_load(&c->count))
		return 0;
	r = threads_new(&pool, threads);
	if (r < 0)
		return r;
	(void) threads_free(atomic_exchange(&c->next, pool));
	atomic_store(&c->count, threads);
	return 0;
}

static uint32_t cpu_threads(const struct device *d)
{
	return atomic_load(&((const struct device_cpu *) d)->count);
}

static void cpu_describe(const struct device *d, char *buffer, size_t size)
{
	const struct device_cpu *c = (const struct device_cpu *) d;
	uint32_t n = atomic_load(&c->count);
	char flags[128];

	(void) snprintf(buffer, size, "%u thread%s, %s", n, n == 1 ? "" : "s",
		cpu_flags_text(c->cpu, flags, sizeof flags));
}

static void cpu_free(struct device *d)
{
	struct device_cpu *c = device_cpu(d);

	(void) threads_free(atomic_load(&c->next));
	(void) threads_free(c->pool);
	free(c);
}

static const struct device_ops device_cpu_ops = {
	.name = "cpu",
	.plan = cpu_plan,
	.reserve = cpu_reserve,
	.run = cpu_run,
	.set_threads = cpu_set_threads,
	.threads = cpu_threads,
	.describe = cpu_describe,
	.free = cpu_free,
};

int device_cpu_new(struct device **ret, uint32_t threads)
{
	_cleanup_free_ struct device_cpu *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	if (threads == 0)
		threads = threads_available();
	r = threads_new(&c->pool, threads);
	if (r < 0)
		return r;
	c->cpu = cpu_flags();
	atomic_store(&c->count, threads);
	device_init(&c->device, &device_cpu_ops);
	*ret = &take_ptr(c)->device;
	return 0;
}
