/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue's thread: one request on the device, and on the processor when that fails. Nothing here waits
 * for the worker longer than the request can, and a client sees no failure but of what it has required.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/device_worker_parts.h"

/* What is left to the processor: a request's own time of it, and this. */
#define MARGIN_NSEC (5 * NSEC_PER_MSEC)
#define ERRORS_MAX 3

#define TURN_NSEC (10 * NSEC_PER_SEC)
#define TURN_PAUSE_NSEC (NSEC_PER_MSEC / 10)

static int run_on_cpu(struct device_worker *d, struct request *q)
{
	d->workspace.threads_max = q->threads_max;
	q->device = REQUEST_ON_CPU;
	return device_run(
		d->options.cpu, &d->workspace, q->plan, q->input_type, q->input, q->output);
}

static uint64_t timeout_of(const struct request *q, uint64_t run_timeout_nsec)
{
	uint64_t now = clock_now_nsec(), left;

	if (!q->deadline_nsec)
		return run_timeout_nsec;
	left = q->deadline_nsec > now + MARGIN_NSEC ? q->deadline_nsec - now - MARGIN_NSEC : 0;
	/* Half of it is the processor's, should the worker not answer. */
	return MIN_OF(run_timeout_nsec, left / 2);
}

/* Under the lock. Return: a copy of what the request needs, or state REMOTE_FAILED */
static struct remote_plan look(
	struct device_worker *d, const struct plan *plan, struct settings *ret)
{
	struct remote_plan copy = {.state = REMOTE_FAILED}, *p;

	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, plan);
	if (p && p->state == REMOTE_LOADED && d->status.state == DEVICE_READY)
		copy = *p;
	*ret = d->settings;
	(void) pthread_mutex_unlock(&d->lock);
	return copy;
}

static void learn(struct device_worker *d, const struct plan *plan, uint64_t nsec)
{
	struct remote_plan *p;

	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, plan);
	if (p)
		p->run_nsec = p->run_nsec ? p->run_nsec - p->run_nsec / 16 + nsec / 16 : nsec;
	d->status.answered++;
	(void) pthread_mutex_unlock(&d->lock);
	d->errors = 0;
}

/* The minder sees to it; until then nobody else is sent there. */
static void report(struct device_worker *d, int r, const char *reason)
{
	(void) pthread_mutex_lock(&d->lock);
	if (!d->broken) {
		d->broken = r;
		(void) snprintf(d->broken_reason, sizeof d->broken_reason, "%s", reason);
		device_worker_set(d, DEVICE_WAITING, reason);
	}
	(void) pthread_cond_signal(&d->wake);
	(void) pthread_mutex_unlock(&d->lock);
}

static void report_failure(struct device_worker *d, int r, const struct error *why)
{
	char text[256];

	if (r == -ETIMEDOUT)
		(void) snprintf(text, sizeof text, "the worker does not answer");
	else if (worker_is_lost(r))
		(void) snprintf(text, sizeof text, "the worker has gone: %s", strerrordesc_np(-r));
	else
		(void) snprintf(text, sizeof text, "%.200s", error_text(why, r));
	/* A device that has gone will not come back by itself; other errors may pass. */
	if (worker_is_lost(r) || r == -ENODEV || ++d->errors >= ERRORS_MAX)
		report(d, worker_is_lost(r) ? r : -ENODEV, text);
	else
		log_notice("opencl: a request is retried on the processor: %s", text);
}

static int reserve_check(struct device_worker *d, size_t bytes)
{
	float *more;

	if (bytes <= d->check_bytes)
		return 0;
	more = realloc(d->check, bytes);
	if (!more)
		return -ENOMEM;
	d->check = more;
	d->check_bytes = bytes;
	return 0;
}

/* The same input, as the device has had it: the client may have changed its own. */
static void check_answer(struct device_worker *d, struct request *q)
{
	size_t bytes = q->plan->output_bytes;
	bool right;

	d->since_check = 0;
	if (reserve_check(d, bytes) < 0)
		return;
	d->workspace.threads_max = q->threads_max;
	if (device_run(d->options.cpu, &d->workspace, q->plan, q->input_type, d->client.region,
		    d->check) < 0)
		return;
	right = memcmp(d->check, q->output, bytes) == 0;
	(void) pthread_mutex_lock(&d->lock);
	d->status.checked++;
	d->status.wrong += !right;
	(void) pthread_mutex_unlock(&d->lock);
	if (right)
		return;
	memcpy(q->output, d->check, bytes);
	q->device = REQUEST_ON_CPU;
	report(d, -EILSEQ, "an answer differed from the processor's");
}

/* Return: 0; a negative errno, which has been reported. The turn is ours. */
static int run_on_device(struct device_worker *d, struct request *q, const struct remote_plan *p,
	const struct settings *settings)
{
	uint64_t begin = clock_now_nsec();
	uint64_t limit = settings->run_timeout_ms * NSEC_PER_MSEC, timeout = timeout_of(q, limit);
	struct error why = {};
	int r;

	if (timeout == 0)
		return -EBUSY;
	r = worker_run(
		&d->client, p->id, q->plan, q->input_type, q->input, q->output, timeout, &why);
	/* Too late for this request is not dead yet; what comes next waits for it, or for the minder. */
	if (r == -ETIMEDOUT && !worker_is_stalled(&d->client, limit - limit / 16))
		return -EBUSY;
	if (r < 0) {
		report_failure(d, r, &why);
		return r;
	}
	q->device = REQUEST_ON_OPENCL;
	learn(d, q->plan, clock_now_nsec() - begin);
	if (settings->check_every > 0 && ++d->since_check >= settings->check_every)
		check_answer(d, q);
	return 0;
}

/*
 * A required device is waited for; otherwise the processor is the better answer. Looked for rather than slept for:
 * pthread_mutex_clocklock() is unknown to the thread sanitizer, pthread_mutex_timedlock() waits by a clock that is set.
 */
static int take_turn(struct device_worker *d, const struct request *q)
{
	struct timespec pause = {0, TURN_PAUSE_NSEC};
	uint64_t end = q->deadline_nsec ? q->deadline_nsec : clock_now_nsec() + TURN_NSEC;
	int r;

	while ((r = pthread_mutex_trylock(&d->turn)) == EBUSY && q->choice == CHOICE_REQUIRE &&
		clock_now_nsec() < end)
		(void) nanosleep(&pause, NULL);
	return -r;
}

static int try_device(struct device_worker *d, struct request *q)
{
	struct settings settings;
	struct remote_plan p;
	int r = take_turn(d, q);

	if (r < 0)
		return -EAGAIN;
	p = look(d, q->plan, &settings);
	r = p.state == REMOTE_LOADED ? run_on_device(d, q, &p, &settings) : -EAGAIN;
	(void) pthread_mutex_unlock(&d->turn);
	return r;
}

int device_worker_run(void *userdata, struct request *request)
{
	struct device_worker *d = userdata;
	int r = try_device(d, request);

	if (r >= 0)
		return 0;
	if (request->choice == CHOICE_REQUIRE)
		return r == -EAGAIN ? -EAGAIN : -ENODEV;
	(void) pthread_mutex_lock(&d->lock);
	d->status.retried++;
	(void) pthread_mutex_unlock(&d->lock);
	return run_on_cpu(d, request);
}
