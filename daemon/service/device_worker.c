/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's side: what there is, what is wanted, and whether a request goes there. */
#include "service/device_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "service/device_worker_parts.h"
#include "service/region.h"

static const char *const state_names[_DEVICE_STATE_MAX] = {
	[DEVICE_ABSENT] = "absent",
	[DEVICE_IDLE] = "idle",
	[DEVICE_STARTING] = "starting",
	[DEVICE_TESTING] = "testing",
	[DEVICE_READY] = "ready",
	[DEVICE_WAITING] = "waiting",
	[DEVICE_QUARANTINED] = "quarantined",
};

const char *device_state_name(enum device_state state)
{
	return state_names[state];
}

void device_worker_set(struct device_worker *d, enum device_state state, const char *reason)
{
	uint64_t one = 1;

	d->status.state = state;
	(void) snprintf(d->status.reason, sizeof d->status.reason, "%s", reason);
	(void) !write(d->event_fd, &one, sizeof one);
}

struct remote_plan *device_worker_find(struct device_worker *d, const struct plan *plan)
{
	list_for_each(l, &d->plans)
	{
		struct remote_plan *p = list_entry(l, struct remote_plan, link);

		if (p->plan == plan && p->state != REMOTE_DEAD)
			return p;
	}
	return NULL;
}

static int on_changed(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct device_worker *d = userdata;
	uint64_t count;

	(void) !read(fd, &count, sizeof count);
	d->options.changed(d->options.userdata);
	return 0;
}

void device_worker_configure(struct device_worker *d, const struct config *config)
{
	(void) pthread_mutex_lock(&d->lock);
	d->settings = (struct settings){
		.check_every = config->opencl_check_every,
		.build_timeout_ms = config->opencl_build_timeout_ms,
		.run_timeout_ms = config->opencl_run_timeout_ms,
	};
	(void) pthread_mutex_unlock(&d->lock);
	queue_set_length_max(d->queue, config->queue_length_max);
}

void device_worker_add(struct device_worker *d, struct plan *plan, int head)
{
	struct remote_plan *p;

	if (head < 0)
		return;
	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, plan) ? NULL : calloc(1, sizeof *p);
	if (p) {
		p->plan = plan;
		p->id = ++d->plan_serial;
		p->head = fcntl(head, F_DUPFD_CLOEXEC, 3);
		list_append(&d->plans, &p->link);
		(void) pthread_cond_signal(&d->wake);
	}
	(void) pthread_mutex_unlock(&d->lock);
}

void device_worker_drop(struct device_worker *d, const struct plan *plan)
{
	struct remote_plan *p;

	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, plan);
	if (p) {
		p->plan = NULL;
		p->state = REMOTE_DEAD;
		(void) pthread_cond_signal(&d->wake);
	}
	(void) pthread_mutex_unlock(&d->lock);
}

int device_worker_missing(struct device_worker *d, const struct plan *plan)
{
	const struct remote_plan *p;
	int r = -ENODEV;

	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, plan);
	switch (d->status.state) {
	case DEVICE_IDLE:
	case DEVICE_STARTING:
	case DEVICE_TESTING:
	case DEVICE_READY:
	case DEVICE_WAITING:
		/* Rules may keep it on the processor. */
		r = !p || p->state == REMOTE_FAILED ? -ENODEV : -EAGAIN;
		break;
	case DEVICE_ABSENT:
	case DEVICE_QUARANTINED:
	case _DEVICE_STATE_MAX:
		break;
	}
	(void) pthread_mutex_unlock(&d->lock);
	return r;
}

void device_worker_look(struct device_worker *d, const struct plan *plan, struct figure *ret)
{
	const struct remote_plan *p;

	*ret = (struct figure){.waiting = queue_length(d->queue)};
	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, plan);
	if (p && p->state == REMOTE_LOADED && d->status.state == DEVICE_READY) {
		ret->there = true;
		ret->nsec = p->run_nsec;
		ret->measured_nsec = p->measured_nsec;
	}
	(void) pthread_mutex_unlock(&d->lock);
}

void device_worker_forget(struct device_worker *d, const struct region *region)
{
	(void) pthread_mutex_lock(&d->lock);
	for (uint32_t i = 0; i < d->n_regions; i++)
		if (d->regions[i].id == region->id) {
			d->regions[i].gone = true;
			(void) pthread_cond_signal(&d->wake);
		}
	(void) pthread_mutex_unlock(&d->lock);
}

int device_worker_push(struct device_worker *d, struct request *request)
{
	return queue_push(d->queue, request);
}

bool device_worker_cancel(struct device_worker *d, struct request *request)
{
	return queue_cancel(d->queue, request);
}

uint32_t device_worker_queue_length(struct device_worker *d)
{
	return queue_length(d->queue);
}

uint32_t device_worker_retry(struct device_worker *d)
{
	uint32_t n = 0;

	(void) pthread_mutex_lock(&d->lock);
	for (const char *p = d->status.banned; *p; p++)
		n += *p == ' ' || p == d->status.banned;
	d->retry = true;
	(void) pthread_cond_signal(&d->wake);
	(void) pthread_mutex_unlock(&d->lock);
	return n;
}

void device_worker_status(struct device_worker *d, struct device_status *ret)
{
	(void) pthread_mutex_lock(&d->lock);
	*ret = d->status;
	(void) pthread_mutex_unlock(&d->lock);
}

static int make_threads(struct device_worker *d)
{
	int r;

	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->event_fd < 0)
		return -errno;
	r = sd_event_add_io(d->options.event, &d->source, d->event_fd, EPOLLIN, on_changed, d);
	if (r >= 0)
		r = queue_new(&d->queue, d->options.event, device_worker_run, d,
			d->options.config->queue_length_max);
	if (r < 0)
		return r;
	device_worker_configure(d, d->options.config);
	d->options.config = NULL; /* may be replaced from now on */
	r = -pthread_create(&d->thread, NULL, device_worker_minder, d);
	d->started = r >= 0;
	return r;
}

int device_worker_new(struct device_worker **ret, const struct device_worker_options *options)
{
	struct device_worker *d = calloc(1, sizeof *d);
	pthread_condattr_t attributes;
	int r;

	if (!d)
		return -ENOMEM;
	d->options = *options;
	d->event_fd = d->talking_fd = -1;
	d->status.kind = "";
	worker_init(&d->client);
	list_init(&d->plans);
	(void) pthread_mutex_init(&d->turn, NULL);
	(void) pthread_mutex_init(&d->lock, NULL);
	(void) pthread_condattr_init(&attributes);
	(void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&d->wake, &attributes);
	(void) pthread_condattr_destroy(&attributes);
	d->status.state = DEVICE_IDLE;
	(void) snprintf(d->status.reason, sizeof d->status.reason, "%s", DEVICE_IDLE_REASON);
	d->path = strdup(options->path);
	r = d->path ? make_threads(d) : -ENOMEM;
	if (r < 0) {
		(void) device_worker_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

/* The worker is cut off first: then nobody waits for it any more. */
void device_worker_finish(struct device_worker *d)
{
	if (d->finished)
		return;
	d->finished = true;
	(void) pthread_mutex_lock(&d->lock);
	d->stop = true;
	if (d->talking_fd >= 0)
		(void) shutdown(d->talking_fd, SHUT_RDWR);
	(void) pthread_cond_signal(&d->wake);
	(void) pthread_mutex_unlock(&d->lock);
	if (d->queue)
		queue_finish(d->queue);
	if (d->started)
		(void) pthread_join(d->thread, NULL);
	worker_stop(&d->client);
}

struct device_worker *device_worker_free(struct device_worker *d)
{
	if (!d)
		return NULL;
	device_worker_finish(d);
	d->queue = queue_free(d->queue);
	list_for_each_safe(l, n, &d->plans)
	{
		struct remote_plan *p = list_entry(l, struct remote_plan, link);

		close_fdp(&p->head);
		free(p);
	}
	(void) sd_event_source_disable_unref(d->source);
	close_fdp(&d->event_fd);
	workspace_done(&d->workspace);
	(void) pthread_cond_destroy(&d->wake);
	(void) pthread_mutex_destroy(&d->lock);
	(void) pthread_mutex_destroy(&d->turn);
	free(d->check);
	free(d->path);
	free(d);
	return NULL;
}
