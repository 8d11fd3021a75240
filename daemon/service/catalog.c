/* SPDX-License-Identifier: Apache-2.0 */
#include "service/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/holds.h"
#include "service/journal.h"
#include "service/manager.h"
#include "service/memory.h"
#include "service/session.h"

struct waiter {
	struct list link;
	sd_bus_message *call;
};

static const char *const state_names[_ENTRY_STATE_MAX] = {
	[ENTRY_LOADING] = "loading",
	[ENTRY_READY] = "ready",
	[ENTRY_PARKED] = "parked",
	[ENTRY_FAILED] = "failed",
	[ENTRY_UNLOADED] = "unloaded",
};

static void on_job(struct job *job, void *userdata);

const char *entry_state_name(enum entry_state state)
{
	return state_names[state];
}

uint64_t entry_resident_bytes(const struct entry *e)
{
	const struct model *model = e->plan ? e->plan->model : NULL;
	uint64_t bytes = 0;

	if (!model)
		return 0;
	for (uint32_t i = 0; i < model->n_planes; i++)
		bytes += model->planes[i] ? model->planes[i]->bytes : 0;
	return bytes + (model->fixed ? model->fixed->bytes : 0);
}

void entry_ran(struct entry *e, const struct request *request)
{
	struct manager *m = e->manager;
	uint64_t run_nsec = request->finished_nsec - request->started_nsec, now = request->finished_nsec;
	struct energy *energy = &e->energy;
	struct reading watts = {};

	stats_add(&e->stats, request->started_nsec - request->submitted_nsec, run_nsec);
	if (request->device == REQUEST_ON_CPU)
		stats_add_cpu(&e->stats, request->plan->model->bits, run_nsec, now);
	else
		energy = &e->device_energy[request->device - REQUEST_ON_OPENCL];
	if (energy_due(&m->energy_meter, run_nsec, now))
		watts = manager_watts(m);
	energy_note(&m->energy_meter, energy, request->plan->model->bits, run_nsec, now, watts);
}

struct entry *entry_ref(struct entry *e)
{
	e->refs++;
	return e;
}

void entry_leave_device(struct entry *e)
{
	if (e->plan && e->manager->devices)
		devices_drop(e->manager->devices, e->plan);
}

/* Where rules keep the model on the processor, nothing is built for another device either. */
void entry_follow_device(struct entry *e)
{
	if (!e->plan || !e->manager->devices)
		return;
	if (e->policy.budget.device == POLICY_DEVICE_CPU)
		entry_leave_device(e);
	else
		devices_add(e->manager->devices, e->plan, e->fdstore.head);
}

struct entry *entry_unref(struct entry *e)
{
	if (!e || --e->refs > 0)
		return NULL;
	(void) sd_bus_slot_unref(e->object);
	serving_done(&e->serving);
	energy_forget(&e->manager->energy_meter, &e->energy);
	for (uint32_t i = 0; i < WORKER_DEVICES; i++)
		energy_forget(&e->manager->energy_meter, &e->device_energy[i]);
	(void) plan_unref(e->plan);
	(void) network_unref(e->network);
	close_fdp(&e->fd);
	fdstore_entry_done(&e->fdstore);
	free(e->path);
	free(e);
	return NULL;
}

DEFINE_CLEANUP(struct entry *, entry_unref)

static void answer_waiters(struct entry *e, int r, const struct error *why)
{
	while (!list_empty(&e->waiters)) {
		struct waiter *w = list_entry(e->waiters.next, struct waiter, link);

		list_remove(&w->link);
		(void) (r < 0 ? bus_reply_error(w->call, r, why)
			      : sd_bus_reply_method_return(w->call, NULL));
		(void) sd_bus_message_unref(w->call);
		free(w);
	}
}

static void release_bytes(struct entry *e)
{
	limits_release(&e->manager->limits, e->uid, LIMIT_BYTES, e->charged_bytes);
	e->charged_bytes = 0;
}

void entry_start_job(struct entry *e)
{
	e->job.device = e->manager->device;
	e->job.error = (struct error){};
	e->job.plan = NULL;
	e->job.done = on_job;
	e->job.userdata = entry_ref(e);
	e->job_running = true;
	manager_power_follow(e->manager);
	builder_push(e->manager->builder, &e->job);
}

struct policy_model entry_policy_model(const struct entry *e)
{
	const struct manager *m = e->manager;

	return (struct policy_model){
		.name = e->name,
		.bits_max = e->network->planes_max,
		.bits_by_hand = e->bits_by_hand,
		.hold_bits = holds_bits(m, e->name),
		.memory_bits = e->memory_bits,
		.profile = m->profile,
		.profile_bits = m->config->profile_bits[m->profile],
		.accuracies = e->network->accuracies,
		.n_accuracies = e->network->n_accuracies,
	};
}

static void resolve(struct entry *e, struct budget *ret)
{
	struct manager *m = e->manager;
	struct policy_model model = entry_policy_model(e);
	struct policy_inputs inputs = manager_inputs_now(m);

	policy_resolve(m->rules, &inputs, &model, &e->policy, &e->policy);
	manager_wake_at(m, e->policy.wake_nsec);
	if (e->policy.budget.rule != e->rule || e->rule_since_nsec == 0)
		e->rule_since_nsec = clock_now_nsec();
	e->rule = e->policy.budget.rule;
	*ret = e->policy.budget;
}

static double bits_in_memory(const struct entry *e)
{
	return e->plan ? e->active.bits : 0;
}

/* Under a limit of memory, what sheds goes first: what grows would not fit beside it. */
static bool somebody_sheds(const struct entry *except)
{
	list_for_each (l, &except->manager->entries) {
		const struct entry *e = list_entry(l, struct entry, link);

		if (e != except && e->memory_bits > 0 && e->job_running
			&& e->building.bits < bits_in_memory(e))
			return true;
	}
	return false;
}

static void start_build(struct entry *e, const struct budget *budget)
{
	e->postponed = budget->bits > bits_in_memory(e) && somebody_sheds(e);
	if (e->postponed)
		return;
	e->building = *budget;
	e->job.network = network_ref(e->network);
	e->job.bits = budget->bits;
	entry_start_job(e);
}

static void fail(struct entry *e, int r, const struct error *why)
{
	e->state = ENTRY_FAILED;
	fdstore_forget(e);
	(void) error_set(&e->reason, r, "%s", error_text(why, r));
	e->network = network_unref(e->network);
	release_bytes(e);
	log_warning("model %s: not loaded: %s", e->name, e->reason.text);
	bus_model_failed(e);
}

static int check_bits(const struct entry *e, double bits, struct error *reterr)
{
	if (!isfinite(bits) || bits < 0)
		return error_set(reterr, -EINVAL, "bits must be 0 or a width, not %g", bits);
	if (bits > 0 && (bits < 1 || bits > e->network->planes_max))
		return error_set(reterr, -ERANGE, "model %s has 1 to %u bits, not %g", e->name,
			e->network->planes_max, bits);
	return 0;
}

static void on_opened(struct entry *e)
{
	struct error why = e->job.error;
	struct budget budget;
	int r = e->job.result;

	close_fdp(&e->fd);
	e->fd = -1;
	if (r >= 0) {
		e->network = take_ptr(e->job.network);
		fdstore_offer(e);
		r = check_bits(e, e->bits_by_hand, &why);
	}
	if (r < 0) {
		fail(e, r, &why);
		return;
	}
	r = memory_admit(e, &why);
	if (r < 0) {
		fail(e, r, &why);
		return;
	}
	e->progress = 0.5;
	bus_model_progress(e);
	resolve(e, &budget);
	start_build(e, &budget);
}

static void say_switch(const struct entry *e, double before)
{
	struct policy_inputs inputs = manager_inputs_now(e->manager);
	struct journal_switch s = {
		.model = e->name,
		.rule = e->active.rule_name,
		.reason = e->active.text,
		.bits = e->plan->model->bits,
		.bits_was = before,
		.resident_bytes = entry_resident_bytes(e),
		.inputs = &inputs,
	};

	journal_switch(&s);
}

static void swap_plan(struct entry *e)
{
	double before = e->plan ? e->plan->model->bits : 0;
	bool loaded = !e->plan;

	entry_leave_device(e);
	(void) plan_unref(e->plan);
	e->plan = take_ptr(e->job.plan);
	e->sizes = (struct tensor_sizes){e->plan->input_pixels_bytes, e->plan->input_floats_bytes,
		e->plan->output_bytes};
	e->reason = (struct error){};
	e->active = e->building;
	e->bits_by_hand_active = e->active.rule == RULE_HAND ? e->active.bits : 0;
	e->state = ENTRY_READY;
	e->progress = 1;
	say_switch(e, before);
	if (loaded)
		bus_model_loaded(e);
	else
		bus_model_switched(e);
	(void) plane_offers_drop(e->network);
	fdstore_keep(e);
	entry_follow_device(e);
	serving_follow(e);
	serving_ready(e);
}

/* The graph is there, the planes could not be: who waits is told, who asks later tries again. */
static void stay_parked(struct entry *e, int r)
{
	(void) error_set(&e->reason, r, "%s", error_text(&e->job.error, r));
	log_warning("model %s: stays parked: %s", e->name, e->reason.text);
	answer_waiters(e, r, &e->job.error);
	serving_fail(e, r);
	bus_model_parked(e);
}

/*
 * The old plan goes on serving; a width that cannot be had is not asked for again until somebody
 * does.
 */
static void keep_plan(struct entry *e, int r)
{
	log_warning("model %s: stays at %g bits: %s", e->name, e->active.bits,
		error_text(&e->job.error, r));
	e->bits_by_hand = e->bits_by_hand_active;
	answer_waiters(e, r, &e->job.error);
	bus_model_switched(e);
}

/*
 * The limit was reached all the same: what others use cannot be known. One plane less is tried until
 * there is none left to go.
 */
static bool try_less(struct entry *e)
{
	struct budget budget;

	if (e->building.bits <= 1 || (e->plan && e->active.bits < e->building.bits))
		return false;
	e->memory_bits = fmax(1, ceil(e->building.bits) - 1);
	resolve(e, &budget);
	if (budget.bits >= e->building.bits)
		return false;
	start_build(e, &budget);
	return true;
}

static void on_built(struct entry *e)
{
	int r = e->job.result;

	e->job.network = network_unref(e->job.network);
	e->admitted = false;
	if (r == -ENOMEM && try_less(e))
		return;
	if (r < 0) {
		e->job.plan = plan_unref(e->job.plan);
		if (e->plan)
			keep_plan(e, r);
		else if (e->state == ENTRY_PARKED)
			stay_parked(e, r);
		else
			fail(e, r, &e->job.error);
		return;
	}
	swap_plan(e);
	entry_update(e);
}

static void resume_postponed(struct manager *m)
{
	struct budget budget;

	list_for_each_safe (l, n, &m->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (!e->postponed || e->job_running)
			continue;
		resolve(e, &budget);
		start_build(e, &budget);
	}
}

static void on_job(struct job *job, void *userdata)
{
	_cleanup_(entry_unrefp) struct entry *e = userdata;
	/* Before the next one begins, and is the builder's. */
	bool cancelled = job->result == -ECANCELED;

	e->job_running = false;
	e->fdstore.head = job->head;
	if (e->state == ENTRY_UNLOADED || cancelled) {
		job->network = network_unref(job->network);
		job->plan = plan_unref(job->plan);
	} else if (e->fd >= 0) {
		on_opened(e);
	} else {
		on_built(e);
	}
	if (cancelled)
		return; /* so is the builder */
	if (e->state != ENTRY_UNLOADED)
		recoder_follow(e);
	resume_postponed(e->manager);
	manager_power_follow(e->manager);
}

static void wake(struct entry *e)
{
	struct budget budget;
	int r;

	e->job.error = (struct error){};
	r = memory_admit(e, &e->job.error);
	if (r < 0) {
		stay_parked(e, r);
		return;
	}
	resolve(e, &budget);
	start_build(e, &budget);
}

/* What will hold when it comes back is known; it comes back when somebody asks. */
static void update_parked(struct entry *e, const struct budget *budget)
{
	e->active = *budget;
	e->bits_by_hand_active = e->bits_by_hand;
	answer_waiters(e, 0, NULL);
	fdstore_keep(e);
	if (e->serving.n_waiting == 0 || manager_is_asleep(e->manager) || e->admitted)
		return;
	wake(e);
}

void entry_update(struct entry *e)
{
	struct budget budget;
	bool said;

	if ((e->state != ENTRY_READY && e->state != ENTRY_PARKED) || e->job_running || e->postponed)
		return;
	resolve(e, &budget);
	entry_follow_device(e);
	serving_follow(e);
	holds_tell(e);
	if (e->state == ENTRY_PARKED) {
		update_parked(e, &budget);
		return;
	}
	if (budget.bits != e->active.bits) {
		start_build(e, &budget);
		recoder_follow(e);
		return;
	}
	said = budget.rule == e->active.rule && strcmp(budget.text, e->active.text) == 0
	       && e->bits_by_hand == e->bits_by_hand_active;
	e->active = budget;
	e->bits_by_hand_active = e->bits_by_hand;
	if (!said)
		bus_model_switched(e);
	fdstore_keep(e);
	answer_waiters(e, 0, NULL);
	if (!manager_is_asleep(e->manager))
		serving_ready(e);
}

int entry_set_bits(struct entry *e, double bits, sd_bus_message *call, struct error *reterr)
{
	struct waiter *w;
	int r;

	r = check_bits(e, bits, reterr);
	if (r < 0)
		return r;
	w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->call = sd_bus_message_ref(call);
	list_append(&e->waiters, &w->link);
	e->bits_by_hand = bits;
	entry_update(e);
	return 0;
}

int catalog_find(struct manager *m, const char *name, struct entry **ret, struct error *reterr)
{
	list_for_each (l, &m->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (strcmp(e->name, name) == 0) {
			*ret = e;
			return 0;
		}
	}
	return error_set(reterr, -ENOENT, "there is no model \"%.64s\"", name);
}

int catalog_find_ready(
	struct manager *m, const char *name, struct entry **ret, struct error *reterr)
{
	struct entry *e = NULL;
	int r;

	r = catalog_find(m, name, &e, reterr);
	if (r < 0)
		return r;
	if (e->state == ENTRY_FAILED)
		return error_set(reterr, -EAGAIN, "model %s was not loaded: %.180s", e->name,
			e->reason.text);
	if (e->state != ENTRY_READY && e->state != ENTRY_PARKED)
		return error_set(
			reterr, -EAGAIN, "model %s is %s", e->name, entry_state_name(e->state));
	*ret = e;
	return 0;
}

void catalog_unload(struct entry *e)
{
	struct manager *m = e->manager;
	struct error why = {};

	sessions_end(m, e);
	serving_fail(e, -ENOENT);
	(void) error_set(&why, -ENOENT, "model %s has been unloaded", e->name);
	answer_waiters(e, -ENOENT, &why);
	e->state = ENTRY_UNLOADED;
	recoder_forget(e);
	release_bytes(e);
	list_remove(&e->link);
	m->n_entries--;
	bus_model_removed(e);
	entry_leave_device(e);
	e->plan = plan_unref(e->plan);
	memory_settle(m);
	manager_power_follow(m);
	(void) entry_unref(e);
}
