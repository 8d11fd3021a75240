/* SPDX-License-Identifier: Apache-2.0 */
#include "service/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "service/quarantine.h"

/** struct slot - what a device tells its changes to */
struct slot {
	struct devices *devices;
	struct device_worker *worker;
};

struct devices {
	struct devices_options options;
	struct quarantine *quarantine;
	struct slot all[WORKER_DEVICES];
	uint32_t n;
	bool finished;
};

const char *devices_name(uint32_t index)
{
	static const char *const names[WORKER_DEVICES] = {"opencl", "opencl2", "opencl3", "opencl4"};

	return names[index];
}

static void on_changed(void *userdata);

static int add_device(struct devices *d, const struct config *config)
{
	struct slot *s = &d->all[d->n];
	struct device_worker_options o = {
		.path = d->options.path,
		.index = d->n,
		.quarantine = d->quarantine,
		.event = d->options.event,
		.cpu = d->options.cpu,
		.config = config,
		.changed = on_changed,
		.userdata = s,
	};
	int r;

	s->devices = d;
	r = device_worker_new(&s->worker, &o);
	d->n += r >= 0;
	return r;
}

/* What the first has seen beside itself, up to the number that is allowed. */
static void follow_first(struct devices *d)
{
	struct device_status status;
	uint32_t wanted;

	device_worker_status(d->all[0].worker, &status);
	wanted = MIN_OF(status.n_devices, d->options.config->opencl_devices_max);
	while (!d->finished && d->n < MIN_OF(wanted, WORKER_DEVICES)) {
		if (add_device(d, d->options.config) < 0)
			break;
		d->options.added(d->n - 1, d->options.userdata);
	}
}

static void on_changed(void *userdata)
{
	struct slot *s = userdata;
	struct devices *d = s->devices;

	d->options.changed((uint32_t) (s - d->all), d->options.userdata);
	if (s == &d->all[0])
		follow_first(d);
}

int devices_new(struct devices **ret, const struct devices_options *options)
{
	struct devices *d = calloc(1, sizeof *d);
	_cleanup_free_ char *file = NULL;
	int r = 0;

	if (!d)
		return -ENOMEM;
	d->options = *options;
	if (options->folder && asprintf(&file, "%s/quarantine", options->folder) < 0) {
		file = NULL;
		r = -ENOMEM;
	}
	if (r >= 0)
		r = quarantine_new(&d->quarantine, file);
	if (r >= 0)
		r = add_device(d, options->config);
	if (r < 0) {
		(void) devices_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void devices_finish(struct devices *d)
{
	d->finished = true;
	for (uint32_t i = 0; i < d->n; i++)
		device_worker_finish(d->all[i].worker);
}

struct devices *devices_free(struct devices *d)
{
	if (!d)
		return NULL;
	devices_finish(d);
	for (uint32_t i = 0; i < d->n; i++)
		(void) device_worker_free(d->all[i].worker);
	(void) quarantine_free(d->quarantine);
	free(d);
	return NULL;
}

void devices_configure(struct devices *d, const struct config *config)
{
	d->options.config = config;
	for (uint32_t i = 0; i < d->n; i++)
		device_worker_configure(d->all[i].worker, config);
	follow_first(d);
}

uint32_t devices_count(const struct devices *d)
{
	return d->n;
}

struct device_worker *devices_get(const struct devices *d, uint32_t index)
{
	return d->all[index].worker;
}

void devices_add(struct devices *d, struct plan *plan, int head)
{
	for (uint32_t i = 0; i < d->n; i++)
		device_worker_add(d->all[i].worker, plan, head);
}

void devices_drop(struct devices *d, const struct plan *plan)
{
	for (uint32_t i = 0; i < d->n; i++)
		device_worker_drop(d->all[i].worker, plan);
}

void devices_forget(struct devices *d, const struct region *region)
{
	for (uint32_t i = 0; i < d->n; i++)
		device_worker_forget(d->all[i].worker, region);
}

void devices_look(struct devices *d, const struct plan *plan, struct choices *c)
{
	for (uint32_t i = 0; i < d->n; i++)
		device_worker_look(d->all[i].worker, plan, &c->all[1 + i]);
	c->n = 1 + d->n;
}

/* Return: -EAGAIN when one of them may come, else -ENODEV */
static int missing(struct devices *d, const struct plan *plan)
{
	int r = -ENODEV;

	for (uint32_t i = 0; i < d->n; i++)
		if (device_worker_missing(d->all[i].worker, plan) == -EAGAIN)
			r = -EAGAIN;
	return r;
}

int devices_choose(struct devices *d, const struct request *request, const struct choices *choices,
	enum profile profile, uint32_t *ret)
{
	uint64_t now = clock_now_nsec(), end = request->deadline_nsec;
	uint32_t best;

	*ret = 0;
	switch (request->choice) {
	case CHOICE_CPU:
		return 0;
	case CHOICE_ANY:
		*ret = choice_best(choices->all, choices->n, profile, now,
			end == 0 ? 0 : end > now ? end - now : 1);
		return 0;
	case CHOICE_PREFER:
	case CHOICE_REQUIRE:
	case _CHOICE_MAX:
		break;
	}
	best = choice_device(choices->all, choices->n, profile);
	if (best != CHOICE_NONE)
		*ret = best;
	else if (request->choice == CHOICE_REQUIRE)
		return missing(d, request->plan);
	return 0;
}

int devices_push(struct devices *d, uint32_t choice, struct request *request)
{
	return device_worker_push(d->all[choice - 1].worker, request);
}

bool devices_cancel(struct devices *d, struct request *request)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (device_worker_cancel(d->all[i].worker, request))
			return true;
	return false;
}

uint64_t devices_nsec(struct devices *d, const struct plan *plan)
{
	uint64_t least = 0;

	for (uint32_t i = 0; i < d->n; i++) {
		struct figure f;

		device_worker_look(d->all[i].worker, plan, &f);
		if (f.there && (least == 0 || f.nsec < least))
			least = f.nsec;
	}
	return least;
}

uint32_t devices_retry(struct devices *d)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n; i++)
		n += device_worker_retry(d->all[i].worker);
	return n;
}
