/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The minder's thread: brings a worker up, keeps its plans what the loop wants, and decides what a crash, a
 * stall or a wrong number means. Each change of state is one line of the journal.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "service/device_worker_parts.h"

#define WAIT_FIRST_NSEC (100 * NSEC_PER_MSEC)
#define WAIT_MOST_NSEC (60 * NSEC_PER_SEC)
#define ANSWERS_WELL 100
#define LOOK_NSEC NSEC_PER_SEC /* a worker that dies while nobody asks is noticed within it */
#define LINGER_NSEC (5 * NSEC_PER_SEC) /* a model that is loaded anew still finds it */

static void set_state(struct device_worker *d, enum device_state state, const char *reason)
{
	(void) pthread_mutex_lock(&d->lock);
	device_worker_set(d, state, reason);
	(void) pthread_mutex_unlock(&d->lock);
}

static struct settings settings_of(struct device_worker *d)
{
	struct settings s;

	(void) pthread_mutex_lock(&d->lock);
	s = d->settings;
	(void) pthread_mutex_unlock(&d->lock);
	return s;
}

static uint64_t build_timeout(struct device_worker *d)
{
	return settings_of(d).build_timeout_ms * NSEC_PER_MSEC;
}

/* For people and for Device1: which kernels are left out. Lock not held */
static void show_banned(struct device_worker *d)
{
	struct worker_test all = {};
	const struct device_status *s = &d->status;
	char reason[WORKER_TEXT];
	bool whole = quarantine_find(d->options.quarantine, s->name, s->driver, QUARANTINE_ALL, reason);
	uint32_t n = quarantine_list(d->options.quarantine, s->name, s->driver, &all);
	size_t at = 0;

	(void) pthread_mutex_lock(&d->lock);
	d->status.banned[0] = '\0';
	if (whole)
		at = (size_t) snprintf(
			d->status.banned, sizeof d->status.banned, "%s", QUARANTINE_ALL);
	for (uint32_t i = 0; i < n && at + WORKER_NAME + 2 < sizeof d->status.banned; i++)
		at += (size_t) snprintf(d->status.banned + at, sizeof d->status.banned - at, "%s%s",
			at > 0 ? " " : "", all.banned[i]);
	(void) pthread_mutex_unlock(&d->lock);
}

static void ban(struct device_worker *d, const char *kernel, const char *reason)
{
	int r = quarantine_add(d->options.quarantine, d->status.name, d->status.driver, kernel, reason);

	log_warning("opencl: %s is in quarantine for %s, driver %s: %s",
		strcmp(kernel, QUARANTINE_ALL) == 0 ? "everything" : kernel, d->status.name,
		d->status.driver, reason);
	if (r < 0)
		log_warning("opencl: the quarantine cannot be written: %s", strerrordesc_np(-r));
	show_banned(d);
}

/* Nothing of a worker that has gone is on the device any more. Under the turn. */
static void forget_worker(struct device_worker *d)
{
	(void) pthread_mutex_lock(&d->lock);
	d->talking_fd = -1;
	d->broken = 0; /* what a request has met of this worker ends with it */
	list_for_each(l, &d->plans)
	{
		struct remote_plan *p = list_entry(l, struct remote_plan, link);

		p->on_device = false;
		if (p->state != REMOTE_DEAD)
			p->state = REMOTE_WANTED;
	}
	d->n_regions = 0;
	d->status.n_plans = 0;
	d->status.buffer_bytes = 0;
	(void) pthread_mutex_unlock(&d->lock);
	worker_stop(&d->client);
}

static uint64_t answered(struct device_worker *d)
{
	uint64_t n;

	(void) pthread_mutex_lock(&d->lock);
	n = d->status.answered;
	(void) pthread_mutex_unlock(&d->lock);
	return n;
}

static void wait_longer(struct device_worker *d)
{
	uint64_t now = answered(d);

	/* It has served well meanwhile: this is another matter. */
	if (now - d->waited_answered > ANSWERS_WELL)
		d->waited_nsec = 0;
	d->waited_answered = now;
	d->waited_nsec =
		d->waited_nsec ? MIN_OF(d->waited_nsec * 2, WAIT_MOST_NSEC) : WAIT_FIRST_NSEC;
	d->retry_at_nsec = clock_now_nsec() + d->waited_nsec;
}

/* The same place twice, without much in between, and it is not by chance. Return: it is in quarantine now */
static bool count_crash(struct device_worker *d, const char *where, const char *reason)
{
	uint64_t now = answered(d);

	if (strcmp(d->crashed_at, where) != 0 || now - d->crashed_answered > CRASHES_APART)
		d->crashes = 0;
	(void) snprintf(d->crashed_at, sizeof d->crashed_at, "%s", where);
	d->crashed_answered = now;
	if (++d->crashes < CRASHES_MAX)
		return false;
	d->crashes = 0;
	ban(d, where, reason);
	return true;
}

static bool stopping(struct device_worker *d)
{
	bool stop;

	(void) pthread_mutex_lock(&d->lock);
	stop = d->stop;
	(void) pthread_mutex_unlock(&d->lock);
	return stop;
}

/*
 * @where: the kernel it was at, or QUARANTINE_ALL for one of its requests. Under the turn. A wrong number and
 * a stall are enough; a crash may be chance, once.
 */
static void lose_worker(struct device_worker *d, const char *where, int r, const char *reason)
{
	bool banned = true;

	forget_worker(d);
	if (stopping(d))
		return; /* it was us */
	if (r == -EILSEQ || r == -ETIMEDOUT)
		ban(d, where, reason);
	else
		banned = count_crash(d, where, reason);
	if (banned && strcmp(where, QUARANTINE_ALL) == 0) {
		log_warning("opencl: not used any more, see \"bitshed devices\": %s", reason);
		set_state(d, DEVICE_QUARANTINED, reason);
		return;
	}
	wait_longer(d);
	log_warning("opencl: the worker is started again in %" PRIu64 " ms: %s",
		d->waited_nsec / NSEC_PER_MSEC, reason);
	set_state(d, DEVICE_WAITING, reason);
}

static void hear_tested(const char *kernel, int result, const char *why, void *userdata)
{
	struct device_worker *d = userdata;

	/* Nothing to judge it with, or no room: that is not its fault. */
	if (result == -ENOTSUP || result == -ENOMEM)
		log_notice("opencl: kernel %s is left out: %s", kernel, why);
	else
		ban(d, kernel,
			result == -EILSEQ ? "its numbers are wrong"
			: why[0]	  ? why
					  : "it cannot be built");
}

static void describe(struct device_worker *d, const struct worker_welcome *w)
{
	static const char *const kinds[_WORKER_KIND_MAX] = {
		[WORKER_KIND_GPU] = "gpu",
		[WORKER_KIND_ACCELERATOR] = "accelerator",
		[WORKER_KIND_CPU] = "cpu",
	};
	struct device_status *s = &d->status;

	(void) pthread_mutex_lock(&d->lock);
	(void) snprintf(s->platform, sizeof s->platform, "%.127s", w->platform);
	(void) snprintf(s->name, sizeof s->name, "%.127s", w->device);
	(void) snprintf(s->driver, sizeof s->driver, "%.127s", w->driver);
	(void) snprintf(s->version, sizeof s->version, "%.127s", w->version);
	s->kind = kinds[w->kind];
	s->units = w->units;
	s->n_devices = w->n_devices;
	s->memory_bytes = w->memory_bytes;
	s->shares_memory = w->shares_memory != 0;
	(void) pthread_mutex_unlock(&d->lock);
	show_banned(d);
}

/* It would take memory and time to compile for what another device, or the processor itself, does better. */
static bool is_spare(const struct device_worker *d, const struct worker_welcome *w)
{
	return d->options.index > 0 && w->kind == WORKER_KIND_CPU && w->first_kind != WORKER_KIND_CPU;
}

/* A device that is not there is no accident: nothing is tried again until somebody asks. */
static int greet(struct device_worker *d)
{
	struct worker_welcome welcome;
	char reason[WORKER_TEXT];
	struct error why = {};
	int r = worker_hello(&d->client, "", d->options.index, build_timeout(d), &welcome, &why);

	if (r < 0 && worker_is_lost(r)) {
		lose_worker(d, "start", r, error_text(&why, r));
		return r;
	}
	if (r < 0) {
		forget_worker(d);
		log_info("opencl: CPU only: %s", error_text(&why, r));
		set_state(d, DEVICE_ABSENT, error_text(&why, r));
		return r;
	}
	describe(d, &welcome);
	if (is_spare(d, &welcome)) {
		forget_worker(d);
		log_info("opencl: %s is left to the processor's own kernels", d->status.name);
		set_state(d, DEVICE_ABSENT, "a processor, beside a device that is none");
		return -ENODEV;
	}
	if (!quarantine_find(d->options.quarantine, d->status.name, d->status.driver, QUARANTINE_ALL,
		    reason))
		return 0;
	forget_worker(d);
	log_warning("opencl: %s stays in quarantine: %s", d->status.name, reason);
	set_state(d, DEVICE_QUARANTINED, reason);
	return -EPERM;
}

static int test(struct device_worker *d)
{
	struct worker_test banned = {.header = worker_header(WORKER_TEST)};
	struct worker_trial trial = {.tested = hear_tested, .userdata = d};
	struct error why = {};
	char text[256];
	int r;

	set_state(d, DEVICE_TESTING, "its kernels are built and tested");
	(void) quarantine_list(d->options.quarantine, d->status.name, d->status.driver, &banned);
	r = worker_test(&d->client, &banned, build_timeout(d), &trial, &why);
	if (r < 0 && worker_is_lost(r)) {
		(void) snprintf(text, sizeof text, "%s while it was at %s",
			r == -ETIMEDOUT ? "it did not answer" : "it died",
			trial.trying[0] ? trial.trying : "start");
		lose_worker(d, trial.trying[0] ? trial.trying : "start", r, text);
		return r;
	}
	if (r < 0) {
		forget_worker(d);
		log_warning("opencl: not used: %s", error_text(&why, r));
		set_state(d, DEVICE_QUARANTINED, error_text(&why, r));
		return r;
	}
	(void) pthread_mutex_lock(&d->lock);
	d->status.n_right = trial.n_right;
	d->status.n_cached = trial.n_cached;
	d->status.build_nsec = trial.build_nsec;
	d->status.test_nsec = trial.test_nsec;
	(void) pthread_mutex_unlock(&d->lock);
	return 0;
}

static void start(struct device_worker *d)
{
	struct error why = {};
	int r;

	set_state(d, DEVICE_STARTING, "");
	(void) pthread_mutex_lock(&d->turn);
	r = worker_start(&d->client, d->path, &why);
	if (r < 0) {
		log_info("opencl: CPU only: %s", error_text(&why, r));
		set_state(d, DEVICE_ABSENT, error_text(&why, r));
	} else {
		/* Who ends us cuts off what we talk to: not before it is known. */
		(void) pthread_mutex_lock(&d->lock);
		d->talking_fd = d->client.fd;
		r = d->stop ? -ECANCELED : 0;
		(void) pthread_mutex_unlock(&d->lock);
		if (r >= 0)
			r = greet(d);
	}
	if (r >= 0)
		r = test(d);
	if (r >= 0) {
		(void) pthread_mutex_lock(&d->lock);
		d->status.starts++;
		d->unwanted_nsec = clock_now_nsec();
		device_worker_set(d, DEVICE_READY, "");
		(void) pthread_mutex_unlock(&d->lock);
		log_info("opencl: %s is ready: %u kernels, %u from the cache, built in %" PRIu64
			 " ms, tested in %" PRIu64 " ms",
			d->status.name, d->status.n_right, d->status.n_cached,
			d->status.build_nsec / NSEC_PER_MSEC, d->status.test_nsec / NSEC_PER_MSEC);
	}
	(void) pthread_mutex_unlock(&d->turn);
}

/* Lock held. Return: one that is to be loaded or let go */
static struct remote_plan *find_work(struct device_worker *d)
{
	list_for_each(l, &d->plans)
	{
		struct remote_plan *p = list_entry(l, struct remote_plan, link);

		if (p->state == REMOTE_DEAD ||
			(p->state == REMOTE_WANTED && d->status.state == DEVICE_READY))
			return p;
	}
	return NULL;
}

static void let_go(struct device_worker *d, struct remote_plan *p)
{
	uint64_t bytes = 0;
	int r = 0;

	(void) pthread_mutex_lock(&d->turn);
	if (p->on_device && d->client.fd >= 0)
		r = worker_settle(&d->client, build_timeout(d));
	if (p->on_device && d->client.fd >= 0 && r >= 0)
		r = worker_unload(&d->client, p->id, build_timeout(d), &bytes);
	(void) pthread_mutex_lock(&d->lock);
	if (p->on_device) {
		d->status.n_plans--;
		d->status.buffer_bytes = bytes;
	}
	list_remove(&p->link);
	d->unwanted_nsec = clock_now_nsec();
	(void) pthread_mutex_unlock(&d->lock);
	if (r < 0)
		lose_worker(d, QUARANTINE_ALL, r, "it did not let a plan go");
	(void) pthread_mutex_unlock(&d->turn);
	close_fdp(&p->head);
	free(p);
}

/* What is no more than this much quicker with others than alone is not made to wait for them. */
#define TOGETHER_PERCENT 95

/* Lost with the worker, it is wanted as before. The loop may have dropped it meanwhile. */
static void loaded(
	struct device_worker *d, struct remote_plan *p, int r, const struct worker_loaded *answer)
{
	(void) pthread_mutex_lock(&d->lock);
	p->on_device = r >= 0;
	p->run_nsec = answer->run_nsec;
	p->measured_nsec = clock_now_nsec();
	p->batch_nsec = answer->batch_nsec < answer->run_nsec / 100 * TOGETHER_PERCENT
				? answer->batch_nsec
				: 0;
	if (p->state == REMOTE_WANTED && !worker_is_lost(r))
		p->state = r >= 0 ? REMOTE_LOADED : REMOTE_FAILED;
	if (r >= 0) {
		d->status.n_plans++;
		d->status.buffer_bytes = answer->bytes;
	}
	(void) pthread_mutex_unlock(&d->lock);
}

static void load(struct device_worker *d, struct remote_plan *p, struct plan *plan)
{
	struct worker_loaded answer = {};
	struct error why = {};
	int r;

	(void) pthread_mutex_lock(&d->turn);
	r = worker_settle(&d->client, build_timeout(d));
	if (r >= 0)
		r = worker_reserve(&d->client, plan, build_timeout(d));
	if (r >= 0)
		r = worker_load(
			&d->client, p->id, plan, p->head, build_timeout(d), &answer, &why);
	loaded(d, p, r, &answer);
	if (r < 0 && worker_is_lost(r))
		lose_worker(d, QUARANTINE_ALL, r, "it died or hung over a network");
	else if (r < 0)
		log_notice("opencl: model %s at %g bits stays on the processor: %s",
			plan->model->network->name, plan->model->bits, error_text(&why, r));
	else
		log_info("opencl: model %s at %g bits is on the device, %" PRIu64
			 " us an inference, %" PRIu64 " us of several together",
			plan->model->network->name, plan->model->bits,
			answer.run_nsec / NSEC_PER_USEC, answer.batch_nsec / NSEC_PER_USEC);
	(void) pthread_mutex_unlock(&d->turn);
}

/* Lock held */
static bool has_gone(const struct device_worker *d)
{
	for (uint32_t i = 0; i < d->n_regions; i++)
		if (d->regions[i].gone)
			return true;
	return false;
}

/* The lock is taken after the turn: meanwhile the worker may have gone, and everything with it. */
static void forget_regions(struct device_worker *d)
{
	(void) pthread_mutex_lock(&d->turn);
	(void) pthread_mutex_lock(&d->lock);
	for (uint32_t i = d->n_regions; i-- > 0;) {
		if (!d->regions[i].gone)
			continue;
		/* Who cannot be told will be found dead by whoever talks to it next. */
		(void) worker_forget(&d->client, d->regions[i].id, 0);
		d->regions[i] = d->regions[--d->n_regions];
	}
	(void) pthread_mutex_unlock(&d->lock);
	(void) pthread_mutex_unlock(&d->turn);
}

static void follow_break(struct device_worker *d)
{
	char reason[256];
	int r;

	(void) pthread_mutex_lock(&d->turn);
	(void) pthread_mutex_lock(&d->lock);
	r = d->broken;
	memcpy(reason, d->broken_reason, sizeof reason);
	(void) pthread_mutex_unlock(&d->lock);
	if (r < 0)
		lose_worker(d, QUARANTINE_ALL, r, reason);
	(void) pthread_mutex_unlock(&d->turn);
}

static void notice_death(struct device_worker *d)
{
	(void) pthread_mutex_lock(&d->turn);
	if (d->client.fd >= 0 && !worker_is_alive(&d->client))
		lose_worker(d, QUARANTINE_ALL, -ECONNRESET,
			"the worker has gone while nobody asked for it");
	else if (worker_is_stalled(&d->client, settings_of(d).run_timeout_ms * NSEC_PER_MSEC))
		lose_worker(d, QUARANTINE_ALL, -ETIMEDOUT, "the worker does not answer");
	(void) pthread_mutex_unlock(&d->turn);
}

static void look_again(struct device_worker *d)
{
	uint32_t n = quarantine_lift(d->options.quarantine);

	log_notice("opencl: looked for again, %u entries of the quarantine are lifted", n);
	(void) pthread_mutex_lock(&d->turn);
	forget_worker(d);
	(void) pthread_mutex_unlock(&d->turn);
	d->crashes = 0;
	d->waited_nsec = d->retry_at_nsec = 0;
	show_banned(d);
	start(d);
}

/* A driver keeps much memory and threads of its own, for nothing while there is no plan. */
static void rest(struct device_worker *d)
{
	(void) pthread_mutex_lock(&d->turn);
	forget_worker(d);
	(void) pthread_mutex_unlock(&d->turn);
	set_state(d, DEVICE_IDLE, DEVICE_IDLE_REASON);
}

/*
 * Lock held. Until something is wanted, it is time to let the worker rest, or to look whether it lives: while it
 * has no plan that matters to nobody, and an idle board sleeps on.
 */
static void sleep_until(struct device_worker *d)
{
	uint64_t end = clock_now_nsec() + LOOK_NSEC;
	struct timespec t;

	if (d->status.state == DEVICE_WAITING) {
		end = d->retry_at_nsec;
	} else if (d->status.state == DEVICE_READY && list_empty(&d->plans)) {
		end = d->unwanted_nsec + LINGER_NSEC;
	} else if (d->status.n_plans == 0) {
		(void) pthread_cond_wait(&d->wake, &d->lock);
		return;
	}
	t = (struct timespec){(time_t) (end / NSEC_PER_SEC), (long) (end % NSEC_PER_SEC)};
	(void) pthread_cond_timedwait(&d->wake, &d->lock, &t);
}

/* Lock held, let go and taken again */
static void do_plan(struct device_worker *d, struct remote_plan *p)
{
	struct plan *plan = p->state == REMOTE_WANTED ? plan_ref(p->plan) : NULL;

	(void) pthread_mutex_unlock(&d->lock);
	if (plan)
		load(d, p, plan);
	else
		let_go(d, p);
	(void) plan_unref(plan);
	(void) pthread_mutex_lock(&d->lock);
}

typedef void (*step_fn)(struct device_worker *d);

/* Lock held. Return: what the state calls for by itself, NULL: nothing now */
static step_fn find_step(const struct device_worker *d)
{
	bool wanted = !list_empty(&d->plans);
	uint64_t now = clock_now_nsec();

	if (d->status.state == DEVICE_IDLE && wanted)
		return start;
	if (d->status.state == DEVICE_WAITING && now >= d->retry_at_nsec)
		return wanted ? start : rest;
	if (d->status.state == DEVICE_READY && !wanted && now >= d->unwanted_nsec + LINGER_NSEC)
		return rest;
	return NULL;
}

/* Lock held. Return: something has been done without it, look again */
static bool work(struct device_worker *d)
{
	step_fn next = find_step(d);
	struct remote_plan *p = find_work(d);

	if (d->retry) {
		d->retry = false;
		next = look_again;
	} else if (d->broken) {
		next = follow_break;
	} else if (has_gone(d)) {
		next = forget_regions;
	} else if (p) {
		do_plan(d, p);
		return true;
	}
	if (!next)
		return false;
	(void) pthread_mutex_unlock(&d->lock);
	next(d);
	(void) pthread_mutex_lock(&d->lock);
	return true;
}

void *device_worker_minder(void *userdata)
{
	struct device_worker *d = userdata;

	(void) pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		if (work(d))
			continue;
		sleep_until(d);
		(void) pthread_mutex_unlock(&d->lock);
		notice_death(d);
		(void) pthread_mutex_lock(&d->lock);
	}
	(void) pthread_mutex_unlock(&d->lock);
	return NULL;
}
