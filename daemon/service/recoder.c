/* SPDX-License-Identifier: Apache-2.0 */
#include "service/recoder.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/lower.h"
#include "engine/recode.h"
#include "service/bus_objects.h"
#include "service/catalog.h"
#include "service/manager.h"

/**
 * struct recoding - one re-encoding under way; lives until its last step is done
 * @link: in the manager's list
 * @job: the steps on the builder's thread
 * @key: its name in the cache @cache_fd, -1: there is none; @cached: it was there
 * @event_fd: the idle thread wakes the loop; @finished: all that it has written is there to be read, @result too
 * @cancel: nobody wants it any more
 */
struct recoding {
	struct list link;
	struct entry *entry;
	struct network *network;
	uint32_t planes, uid;
	struct job job;
	struct recode *recode;
	char key[RECODE_KEY_SIZE];
	bool cached, in_thread;
	int cache_fd, event_fd, result;
	sd_event_source *source;
	atomic_bool cancel, finished;
	uint64_t began_nsec;
};

static struct recoding *recoding_free(struct recoding *r)
{
	if (!r)
		return NULL;
	list_remove(&r->link);
	(void) sd_event_source_disable_unref(r->source);
	close_fdp(&r->event_fd);
	(void) recode_free(r->recode);
	(void) plan_unref(r->job.plan);
	(void) network_unref(r->network);
	if (r->entry->recoder.recoding == r)
		r->entry->recoder.recoding = NULL;
	/* One that was cancelled may be wanted again. */
	recoder_follow(r->entry);
	(void) entry_unref(r->entry);
	free(r);
	return NULL;
}

DEFINE_CLEANUP(struct recoding *, recoding_free)

bool recoder_is_used(const struct entry *e)
{
	return e->plan && e->plan->model->network->parent;
}

/* Builder's thread: all that is left once the planes are there. */
static int build_plan(struct recoding *r)
{
	_cleanup_(network_unrefp) struct network *network = NULL;
	_cleanup_(model_unrefp) struct model *model = NULL;
	int k;

	if (!r->cached && r->cache_fd >= 0)
		(void) recode_save(r->recode, r->cache_fd, r->key);
	k = recode_network(r->recode, &network, &r->job.error);
	if (k >= 0)
		k = model_build(&model, network, r->planes, &r->job.error);
	return k < 0 ? k : device_plan(r->job.device, model, &r->job.plan, &r->job.error);
}

static int work_prepare(struct job *job)
{
	struct recoding *r = list_entry(job, struct recoding, job);

	if (r->cache_fd >= 0 && recode_key(r->key, r->network, r->planes, r->uid) >= 0)
		r->cached = recode_load(&r->recode, r->network, r->planes, r->cache_fd, r->key) >= 0;
	if (r->cached)
		return build_plan(r);
	return recode_new(&r->recode, r->network, r->planes, &job->error);
}

static int work_finish(struct job *job)
{
	return build_plan(list_entry(job, struct recoding, job));
}

static void give_up(struct recoding *r, int k)
{
	struct entry *e = r->entry;

	e->recoder.at_once = false;
	if (k != -ECANCELED) {
		log_warning("model %s: not re-encoded to %u bits: %s", e->name, r->planes,
			error_text(&r->job.error, k));
		e->recoder.planes_tried = r->planes;
	}
	(void) recoding_free(r);
}

static bool is_wanted(const struct recoding *r)
{
	const struct entry *e = r->entry;

	return !atomic_load(&r->cancel) && e->state == ENTRY_READY && !e->job_running && e->plan &&
	       e->active.bits == r->planes;
}

static void swap(struct recoding *r)
{
	struct entry *e = r->entry;

	entry_leave_device(e);
	(void) plan_unref(e->plan);
	e->plan = take_ptr(r->job.plan);
	entry_follow_device(e);
	e->recoder.at_once = false;
	log_info("model %s: %u bits re-encoded%s, %.1f s", e->name, r->planes,
		r->cached ? " before" : "", (double) (clock_now_nsec() - r->began_nsec) / NSEC_PER_SEC);
	bus_model_reencoded(e);
	fdstore_keep(e);
}

static void on_finished(struct job *job, void *userdata)
{
	_cleanup_(recoding_freep) struct recoding *r = userdata;

	if (job->result < 0)
		give_up(take_ptr(r), job->result);
	else if (is_wanted(r))
		swap(r);
}

static void push(struct recoding *r, int (*work)(struct job *), void (*done)(struct job *, void *))
{
	r->job.device = r->entry->manager->device;
	r->job.work = work;
	r->job.done = done;
	r->job.userdata = r;
	builder_push(r->entry->manager->builder, &r->job);
}

static int on_thread_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct recoding *r = userdata;
	uint64_t count;

	(void) !read(fd, &count, sizeof count);
	if (!atomic_load(&r->finished))
		return 0;
	r->in_thread = false;
	(void) sd_event_source_set_enabled(r->source, SD_EVENT_OFF);
	if (r->result < 0 || !is_wanted(r))
		give_up(r, r->result < 0 ? r->result : -ECANCELED);
	else
		push(r, work_finish, on_finished);
	return 0;
}

/* Detached, and its last act wakes the loop: to join it would be to wait for a turn at idle priority. */
static void *idle_thread(void *userdata)
{
	const struct sched_param none = {};
	struct recoding *r = userdata;
	uint64_t one = 1;
	int fd = r->event_fd;

	/* Never at another priority. */
	r->result = sched_setscheduler(0, SCHED_IDLE, &none) < 0 ? -errno : recode_run(r->recode, &r->cancel);
	atomic_store(&r->finished, true);
	/* From here on @r is the loop's. */
	(void) !write(fd, &one, sizeof one);
	return NULL;
}

static int start_thread(struct recoding *r)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int k;

	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0)
		return -errno;
	k = sd_event_add_io(
		r->entry->manager->event, &r->source, r->event_fd, EPOLLIN, on_thread_done, r);
	if (k < 0)
		return k;
	k = -pthread_attr_init(&attributes);
	if (k < 0)
		return k;
	(void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	k = -pthread_create(&thread, &attributes, idle_thread, r);
	(void) pthread_attr_destroy(&attributes);
	r->in_thread = k == 0;
	r->entry->recoder.at_once = false;
	return k;
}

static void on_prepared(struct job *job, void *userdata)
{
	struct recoding *r = userdata;
	int k = job->result;

	if (k >= 0 && r->cached) {
		on_finished(job, userdata);
		return;
	}
	if (k >= 0)
		k = is_wanted(r) ? start_thread(r) : -ECANCELED;
	if (k < 0)
		give_up(r, k);
}

static void start(struct entry *e)
{
	struct recoding *r = calloc(1, sizeof *r);

	if (!r)
		return;
	list_append(&e->manager->recodings, &r->link);
	r->entry = entry_ref(e);
	r->network = network_ref(e->network);
	r->planes = (uint32_t) e->active.bits;
	r->uid = e->uid;
	r->cache_fd = e->manager->cache_fd;
	r->event_fd = -1;
	r->job.head = r->job.fd = -1;
	r->began_nsec = clock_now_nsec();
	e->recoder.recoding = r;
	push(r, work_prepare, on_prepared);
}

/* It costs a second or so of one core, which pays soon, and planes in memory until it is done. */
static bool power_allows(const struct manager *m)
{
	const struct policy_inputs in = manager_inputs_now(m);
	const struct reading *warning = &in.plain[SENSE_WARNING_LEVEL];
	const struct reading *memory = &in.plain[SENSE_MEMORY_PRESSURE];
	/* As rules_value.c numbers them: none, discharging, low, critical, action. */
	const double critical = 3;

	return !manager_is_asleep(m) && !(warning->known && warning->value >= critical) &&
	       !(memory->known && memory->value > 0);
}

static uint64_t wait_nsec(const struct entry *e)
{
	return e->recoder.at_once ? 0 : e->manager->config->reencode_after_ms * NSEC_PER_MSEC;
}

static void arm(struct entry *e)
{
	uint64_t at = (clock_now_nsec() + wait_nsec(e)) / NSEC_PER_USEC;

	(void) sd_event_source_set_time(e->recoder.timer, at);
	(void) sd_event_source_set_enabled(e->recoder.timer, SD_EVENT_ONESHOT);
}

static bool may_become_better(const struct entry *e)
{
	double bits = e->active.bits;

	/* What is low for want of memory has none for the planes above. */
	return e->state == ENTRY_READY && !e->job_running && e->plan && e->memory_bits <= 0 && !recoder_is_used(e) &&
	       e->manager->config->reencode_after_ms > 0 && bits == floor(bits) &&
	       bits != e->recoder.planes_tried && recode_helps(e->network, (uint32_t) bits);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct entry *e = userdata;

	if (!may_become_better(e) || e->recoder.recoding)
		return 0;
	if (e->recoder.at_once || power_allows(e->manager))
		start(e);
	else
		arm(e);
	return 0;
}

/* Is the timer running? What makes it fire must not put it off. */
static bool is_armed(const struct entry *e)
{
	int enabled = SD_EVENT_OFF;

	return e->recoder.timer &&
	       sd_event_source_get_enabled(e->recoder.timer, &enabled) >= 0 && enabled != SD_EVENT_OFF;
}

void recoder_follow(struct entry *e)
{
	struct recoder *r = &e->recoder;

	if (r->recoding && (!is_wanted(r->recoding) || !power_allows(e->manager)))
		atomic_store(&r->recoding->cancel, true);
	if (r->planes_tried && e->active.bits != r->planes_tried)
		r->planes_tried = 0;
	if (!may_become_better(e)) {
		if (e->state == ENTRY_READY && !e->job_running)
			r->at_once = false;
		if (r->timer)
			(void) sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
		return;
	}
	if (r->recoding || is_armed(e))
		return;
	if (!r->timer && sd_event_add_time(e->manager->event, &r->timer, CLOCK_MONOTONIC, 0, 0, on_timer, e) < 0)
		return;
	arm(e);
}

void recoder_forget(struct entry *e)
{
	if (e->recoder.recoding)
		atomic_store(&e->recoder.recoding->cancel, true);
	e->recoder.timer = sd_event_source_disable_unref(e->recoder.timer);
}

void recoders_stop(struct manager *m)
{
	list_for_each(l, &m->recodings) atomic_store(&list_entry(l, struct recoding, link)->cancel, true);
	list_for_each_safe(l, n, &m->recodings)
	{
		struct recoding *r = list_entry(l, struct recoding, link);
		struct pollfd p = {.fd = r->event_fd, .events = POLLIN};
		uint64_t count;

		if (!r->in_thread)
			continue;
		/* Until it has written: the descriptor must be ours so long. */
		while (read(r->event_fd, &count, sizeof count) < 0 || !atomic_load(&r->finished))
			(void) poll(&p, 1, -1);
		(void) recoding_free(r);
	}
}
