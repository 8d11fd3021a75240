/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include "engine/device.h"

void device_init(struct device *d, const struct device_ops *ops)
{
	d->ops = ops;
	(void) pthread_mutex_init(&d->turn, NULL);
}

struct device *device_free(struct device *d)
{
	if (!d)
		return NULL;
	(void) pthread_mutex_destroy(&d->turn);
	d->ops->free(d);
	return NULL;
}

const char *device_name(const struct device *d)
{
	return d->ops->name;
}

const char *device_describe(const struct device *d, char *buffer, size_t size)
{
	assert(size > 0);
	d->ops->describe(d, buffer, size);
	return buffer;
}

int device_plan(struct device *d, struct model *model, struct plan **ret, struct error *reterr)
{
	return d->ops->plan(d, model, ret, reterr);
}

int device_reserve(struct device *d, struct workspace *w, const struct plan *plan)
{
	int r;

	(void) pthread_mutex_lock(&d->turn);
	r = d->ops->reserve(d, w, plan);
	(void) pthread_mutex_unlock(&d->turn);
	return r;
}

int device_run(struct device *d, struct workspace *w, const struct plan *plan, enum input_type type,
	const void *input, float *output)
{
	int r;

	if (type == INPUT_PIXELS ? plan->input_pixels_bytes == 0 : type != INPUT_FLOATS)
		return -EINVAL;
	(void) pthread_mutex_lock(&d->turn);
	r = d->ops->reserve(d, w, plan);
	if (r == 0)
		r = d->ops->run(d, w, plan, type, input, output);
	(void) pthread_mutex_unlock(&d->turn);
	return r;
}

int device_set_threads(struct device *d, uint32_t threads)
{
	if (!d->ops->set_threads)
		return -ENOTSUP;
	if (threads > DEVICE_THREADS_MAX)
		return -EINVAL;
	return d->ops->set_threads(d, threads > 0 ? threads : threads_available());
}

uint32_t device_threads(const struct device *d)
{
	return d->ops->threads(d);
}
