/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue's thread: one request on the device, or a few alike, and on the processor when that fails. Nothing
 * here waits for the worker longer than the request can, and a client sees no failure but of what it has required.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/device_worker_parts.h"
#include "service/region.h"

/* What is left to the processor: a request's own time of it, and this. */
#define MARGIN_NSEC (5 * NSEC_PER_MSEC)
#define ERRORS_MAX 3
#define SEND_NSEC NSEC_PER_SEC

/** struct together - requests that run at once; the first is the one that the queue runs */
struct together {
	struct request *requests[WORKER_BATCH];
	uint32_t n;
};

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

static void learn(struct device_worker *d, const struct together *t, uint64_t nsec)
{
	struct remote_plan *p;

	(void) pthread_mutex_lock(&d->lock);
	p = device_worker_find(d, t->requests[0]->plan);
	if (p && t->n == 1)
		p->run_nsec = p->run_nsec ? p->run_nsec - p->run_nsec / 16 + nsec / 16 : nsec;
	if (p)
		p->measured_nsec = clock_now_nsec();
	d->status.answered += t->n;
	d->status.together += t->n > 1 ? t->n : 0;
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
	if (device_run(d->options.cpu, &d->workspace, q->plan, q->input_type,
		    worker_input(&d->client, q->plan), d->check) < 0)
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

/* Lock held. Return: @id is known to the worker; *@ret_new: it is to be told */
static bool add_region(struct device_worker *d, uint64_t id, bool *ret_new)
{
	*ret_new = false;
	for (uint32_t i = 0; i < d->n_regions; i++)
		if (d->regions[i].id == id)
			return true;
	if (d->n_regions == WORKER_REGIONS)
		return false;
	d->regions[d->n_regions++] = (struct known_region){.id = id};
	*ret_new = true;
	return true;
}

/* Where the worker finds the input. One that is compared is copied: nobody else may change it meanwhile. */
static struct worker_job job_of(struct device_worker *d, const struct request *q, bool copy)
{
	struct worker_job job = {.input = q->input, .output = q->output};
	const struct region *region = copy ? NULL : q->region;
	bool known, is_new;

	if (!region || region->bytes > WORKER_REGION_BYTES_MAX)
		return job;
	(void) pthread_mutex_lock(&d->lock);
	known = add_region(d, region->id, &is_new);
	(void) pthread_mutex_unlock(&d->lock);
	/* A worker that cannot be told does not answer the request either. */
	if (is_new)
		(void) worker_region(&d->client, region->id, region->fd, region->bytes, SEND_NSEC);
	if (known) {
		job.region = region->id;
		job.at = (uint64_t) ((const uint8_t *) q->input - region->map);
	}
	return job;
}

static int talk(struct device_worker *d, const struct together *t, const struct remote_plan *p,
	bool compare, uint64_t timeout, struct error *reterr)
{
	struct worker_job jobs[WORKER_BATCH];

	for (uint32_t i = 0; i < t->n; i++)
		jobs[i] = job_of(d, t->requests[i], compare);
	return worker_run(&d->client, p->id, t->requests[0]->plan, t->requests[0]->input_type, jobs,
		t->n, timeout, reterr);
}

static uint64_t shortest_timeout(const struct together *t, uint64_t limit)
{
	uint64_t least = limit;

	for (uint32_t i = 0; i < t->n; i++)
		least = MIN_OF(least, timeout_of(t->requests[i], limit));
	return least;
}

/* Return: 0; a negative errno, which has been reported. The turn is ours. */
static int run_on_device(struct device_worker *d, const struct together *t,
	const struct remote_plan *p, const struct settings *settings)
{
	bool compare = d->since_check + t->n >= settings->check_every && settings->check_every > 0;
	uint64_t begin = clock_now_nsec();
	uint64_t limit = settings->run_timeout_ms * NSEC_PER_MSEC;
	uint64_t timeout = shortest_timeout(t, limit);
	struct error why = {};
	int r;

	if (timeout == 0)
		return -EBUSY;
	r = talk(d, t, p, compare, timeout, &why);
	/* Too late for this request is not dead yet; what comes next waits for it, or for the minder. */
	if (r == -ETIMEDOUT && !worker_is_stalled(&d->client, limit - limit / 16))
		return -EBUSY;
	if (r < 0) {
		report_failure(d, r, &why);
		return r;
	}
	for (uint32_t i = 0; i < t->n; i++)
		t->requests[i]->device = REQUEST_ON_OPENCL + d->options.index;
	learn(d, t, clock_now_nsec() - begin);
	d->since_check += t->n;
	if (compare)
		check_answer(d, t->requests[0]);
	return 0;
}

/*
 * Those that wait for the same plan come along where that is quicker, and where all have time for all of them, and
 * for as long again.
 */
static void gather(struct device_worker *d, struct together *t, const struct remote_plan *p,
	const struct settings *settings)
{
	const struct request *first = t->requests[0];
	uint64_t end = clock_now_nsec() + 2 * WORKER_BATCH * p->batch_nsec;
	bool compare = settings->check_every > 0 && d->since_check + 1 >= settings->check_every;

	if (p->batch_nsec == 0 || compare || (first->deadline_nsec && first->deadline_nsec < end))
		return;
	t->n += queue_take_alike(d->queue, first, end, t->requests + 1, WORKER_BATCH - 1);
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

static int try_device(struct device_worker *d, struct together *t)
{
	struct request *first = t->requests[0];
	struct settings settings;
	struct remote_plan p;
	int r = take_turn(d, first);

	if (r < 0)
		return -EAGAIN;
	p = look(d, first->plan, &settings);
	r = -EAGAIN;
	if (p.state == REMOTE_LOADED) {
		gather(d, t, &p, &settings);
		r = run_on_device(d, t, &p, &settings);
	}
	(void) pthread_mutex_unlock(&d->turn);
	return r;
}

/* @r: what the device has said. Return: as queue_run_fn */
static int settle(struct device_worker *d, struct request *request, int r)
{
	if (r >= 0)
		return 0;
	if (request->choice == CHOICE_REQUIRE)
		return r == -EAGAIN ? -EAGAIN : -ENODEV;
	(void) pthread_mutex_lock(&d->lock);
	d->status.retried++;
	(void) pthread_mutex_unlock(&d->lock);
	return run_on_cpu(d, request);
}

int device_worker_run(void *userdata, struct request *request)
{
	struct device_worker *d = userdata;
	struct together t = {{request}, 1};
	int r = try_device(d, &t), first = settle(d, request, r);

	for (uint32_t i = 1; i < t.n; i++)
		queue_finish_alike(d->queue, t.requests[i], settle(d, t.requests[i], r));
	return first;
}
