/* SPDX-License-Identifier: Apache-2.0 */
#include "service/serving.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/bus_objects.h"
#include "service/catalog.h"
#include "service/manager.h"

/* Nobody notices whether an idle model leaves memory a second later, but processors that wake do. */
#define PARK_SLACK_USEC 1000000

void serving_init(struct serving *s)
{
	list_init(&s->waiting);
	s->used_nsec = clock_now_nsec();
}

void serving_done(struct serving *s)
{
	s->park = sd_event_source_disable_unref(s->park);
	s->begin = sd_event_source_disable_unref(s->begin);
}

/* A bucket that holds one second's worth, at least one request. */
static bool take_token(struct serving *s, double rate)
{
	uint64_t now = clock_now_nsec();
	double most = fmax(1, rate);

	s->tokens += (double) (now - s->tokens_nsec) / (double) NSEC_PER_SEC * rate;
	s->tokens = s->tokens_nsec == 0 ? most : fmin(most, s->tokens);
	s->tokens_nsec = now;
	if (s->tokens < 1)
		return false;
	s->tokens -= 1;
	return true;
}

int serving_admit(struct entry *e, struct error *reterr)
{
	const struct budget *b = &e->policy.budget;
	const struct rules *rules = e->manager->rules;

	if (b->refuse)
		return error_set(reterr, -EBUSY, "model %s: the rule \"%s\" refuses requests", e->name,
			policy_limited_by(rules, b, DEMAND_REFUSE));
	if (b->rate > 0 && !take_token(&e->serving, b->rate))
		return error_set(reterr, -EBUSY,
			"model %s: the rule \"%s\" allows %.3g requests per second", e->name,
			policy_limited_by(rules, b, DEMAND_RATE), b->rate);
	return 0;
}

static int on_begin(sd_event_source *source, void *userdata)
{
	entry_update(userdata);
	return 0;
}

static int begin(struct entry *e)
{
	struct serving *s = &e->serving;
	int r;

	if (s->begin)
		return sd_event_source_set_enabled(s->begin, SD_EVENT_ONESHOT);
	r = sd_event_add_defer(e->manager->event, &s->begin, on_begin, e);
	return r < 0 ? r : sd_event_source_set_enabled(s->begin, SD_EVENT_ONESHOT);
}

static int let_wait(struct entry *e, struct request *request)
{
	struct serving *s = &e->serving;

	if (s->n_waiting >= e->manager->config->queue_length_max)
		return -EBUSY;
	if (begin(e) < 0)
		return -ENOMEM;
	request->submitted_nsec = clock_now_nsec();
	request->waits = true;
	list_append(&s->waiting, &request->link);
	s->n_waiting++;
	return 0;
}

/* What the operator wants of a device goes before what a client does, but does not call for an error. */
static void follow_policy(const struct entry *e, struct request *request)
{
	if (e->policy.budget.device == POLICY_DEVICE_CPU && request->choice != CHOICE_REQUIRE)
		request->choice = CHOICE_CPU;
	else if (e->policy.budget.device == POLICY_DEVICE_OPENCL && request->choice == CHOICE_ANY)
		request->choice = CHOICE_PREFER;
}

/* What each would take, of those that it may go to. */
static void look(const struct entry *e, const struct request *request, struct choices *ret)
{
	double bits = request->plan->model->bits;
	struct manager *m = e->manager;

	*ret = (struct choices){.n = 1};
	ret->all[0].there = true;
	ret->all[0].nsec = stats_cpu(&e->stats, bits, &ret->all[0].measured_nsec);
	if (!m->devices || request->choice == CHOICE_CPU)
		return;
	ret->all[0].joules = energy_measured(&e->energy, bits);
	ret->all[0].waiting = queue_length(m->queue);
	devices_look(m->devices, request->plan, ret);
	for (uint32_t i = 1; i < ret->n; i++)
		ret->all[i].joules = energy_measured(&e->device_energy[i - 1], bits);
}

static int submit(struct entry *e, struct request *request)
{
	struct choices choices;

	request->plan = plan_ref(e->plan);
	follow_policy(e, request);
	look(e, request, &choices);
	return manager_submit(e->manager, request, &choices);
}

int serving_submit(struct entry *e, struct request *request)
{
	struct manager *m = e->manager;

	e->serving.used_nsec = clock_now_nsec();
	request->threads_max = e->policy.budget.threads;
	if (!e->plan || manager_is_asleep(m))
		return let_wait(e, request);
	return submit(e, request);
}

static void take_out(struct entry *e, struct request *request)
{
	list_remove(&request->link);
	request->waits = false;
	e->serving.n_waiting--;
}

bool serving_cancel(struct entry *e, struct request *request)
{
	if (!request->waits)
		return false;
	take_out(e, request);
	return true;
}

static void finish(struct request *request, int r)
{
	request->result = r;
	request->started_nsec = request->finished_nsec = clock_now_nsec();
	request->done(request, request->userdata);
}

/* done() may end sessions and with them requests that wait: nothing is remembered between two. */
static struct request *take_first(struct entry *e)
{
	struct request *request;

	if (list_empty(&e->serving.waiting))
		return NULL;
	request = list_entry(e->serving.waiting.next, struct request, link);
	take_out(e, request);
	return request;
}

void serving_ready(struct entry *e)
{
	struct request *request;
	int r;

	e->serving.used_nsec = clock_now_nsec();
	while (e->plan && (request = take_first(e))) {
		if (plan_below(e->plan, request->min_bits)) {
			finish(request, -ERANGE);
			continue;
		}
		r = submit(e, request);
		if (r > 0)
			request->done(request, request->userdata);
		else if (r < 0)
			finish(request, r);
	}
}

void serving_fail(struct entry *e, int r)
{
	struct request *request;

	while ((request = take_first(e)))
		finish(request, r);
}

static void arm(struct entry *e)
{
	uint64_t at = e->serving.used_nsec + e->policy.budget.park_after_sec * NSEC_PER_SEC;

	(void) sd_event_source_set_time(e->serving.park, at / NSEC_PER_USEC + 1);
	(void) sd_event_source_set_enabled(e->serving.park, SD_EVENT_ONESHOT);
}

/* A plan that somebody else refers to is computed with, or waits to be. */
static bool is_idle(const struct entry *e)
{
	return atomic_load(&e->plan->refs) == 1;
}

static int on_park(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct entry *e = userdata;
	uint64_t now = clock_now_nsec();

	if (!e->plan || e->policy.budget.park_after_sec == 0)
		return 0;
	if (e->job_running || !is_idle(e))
		e->serving.used_nsec = now;
	if (now - e->serving.used_nsec < e->policy.budget.park_after_sec * NSEC_PER_SEC)
		arm(e);
	else
		serving_park(e, "nobody has asked for it");
	return 0;
}

void serving_follow(struct entry *e)
{
	struct serving *s = &e->serving;

	if (!e->plan || e->policy.budget.park_after_sec == 0) {
		if (s->park)
			(void) sd_event_source_set_enabled(s->park, SD_EVENT_OFF);
		return;
	}
	if (!s->park
		&& sd_event_add_time(e->manager->event, &s->park, CLOCK_MONOTONIC, 0, PARK_SLACK_USEC,
			   on_park, e)
			   < 0)
		return;
	arm(e);
}

void serving_park(struct entry *e, const char *why)
{
	uint64_t bytes = entry_resident_bytes(e);

	if (!e->plan || e->job_running || e->state != ENTRY_READY)
		return;
	entry_leave_device(e);
	e->plan = plan_unref(e->plan);
	e->state = ENTRY_PARKED;
	if (e->serving.park)
		(void) sd_event_source_set_enabled(e->serving.park, SD_EVENT_OFF);
	log_info("model %s: parked, %" PRIu64 " bytes of planes given back: %s", e->name, bytes, why);
	bus_model_parked(e);
	fdstore_keep(e);
	recoder_follow(e);
	manager_power_follow(e->manager);
}
