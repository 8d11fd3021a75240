/* SPDX-License-Identifier: Apache-2.0 */
#include "service/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/holds.h"
#include "service/journal.h"
#include "service/manager.h"
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
	uint64_t run_nsec = request->finished_nsec - request->started_nsec;

	stats_add(&e->stats, request->started_nsec - request->submitted_nsec, run_nsec,
		request->device == REQUEST_ON_CPU);
	energy_note(&m->energy_meter, &e->energy, request->plan->model->bits, run_nsec,
		request->finished_nsec, m->inputs.plain[SENSE_POWER_DRAW]);
}

struct entry *entry_ref(struct entry *e)
{
	e->refs++;
	return e;
}

void entry_leave_device(struct entry *e)
{
	if (e->plan && e->manager->worker)
		device_worker_drop(e->manager->worker, e->plan);
}

/* Where rules keep the model on the processor, nothing is built for another device either. */
void entry_follow_device(struct entry *e)
{
	if (!e->plan || !e->manager->worker)
		return;
	if (e->policy.budget.device == POLICY_DEVICE_CPU)
		entry_leave_device(e);
	else
		device_worker_add(e->manager->worker, e->plan, e->fdstore.head);
}

struct entry *entry_unref(struct entry *e)
{
	if (!e || --e->refs > 0)
		return NULL;
	(void) sd_bus_slot_unref(e->object);
	serving_done(&e->serving);
	energy_forget(&e->manager->energy_meter, &e->energy);
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

static void start_job(struct entry *e)
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

static void start_build(struct entry *e, const struct budget *budget)
{
	e->building = *budget;
	e->job.network = network_ref(e->network);
	e->job.bits = budget->bits;
	start_job(e);
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

/* The graph is there, the planes could not be: who waits for them is told, who asks later tries again. */
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

static void on_built(struct entry *e)
{
	int r = e->job.result;

	e->job.network = network_unref(e->job.network);
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

static void on_job(struct job *job, void *userdata)
{
	_cleanup_(entry_unrefp) struct entry *e = userdata;

	e->job_running = false;
	e->fdstore.head = job->head;
	if (e->state == ENTRY_UNLOADED || job->result == -ECANCELED) {
		job->network = network_unref(job->network);
		job->plan = plan_unref(job->plan);
		return;
	}
	if (e->fd >= 0)
		on_opened(e);
	else
		on_built(e);
	recoder_follow(e);
	manager_power_follow(e->manager);
}

/* What will hold when it comes back is known; it comes back when somebody asks. */
static void update_parked(struct entry *e, const struct budget *budget)
{
	e->active = *budget;
	e->bits_by_hand_active = e->bits_by_hand;
	answer_waiters(e, 0, NULL);
	fdstore_keep(e);
	if (e->serving.n_waiting > 0 && !manager_is_asleep(e->manager))
		start_build(e, budget);
}

void entry_update(struct entry *e)
{
	struct budget budget;
	bool said;

	if ((e->state != ENTRY_READY && e->state != ENTRY_PARKED) || e->job_running)
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

static bool name_is_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= sizeof((struct entry *) 0)->name || name[0] == '.' || name[0] == '-')
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
	       == n;
}

/*
 * A descriptor from a client may be anything: only what can be read at any offset and cannot
 * block is taken.
 */
static int check_file(
	const struct config *config, int fd, uint64_t *ret_bytes, struct error *reterr)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (flags & (O_ACCMODE | O_PATH)) == O_WRONLY || (flags & O_PATH))
		return error_set(
			reterr, -EBADMSG, "the model is not a readable regular file or memfd");
	if (st.st_size <= 0)
		return error_set(reterr, -EBADMSG, "the model file is empty");
	if ((uint64_t) st.st_size > config->model_file_bytes_max)
		return error_set(reterr, -EDQUOT,
			"the model file has %" PRIu64 " bytes, %" PRIu64 " are allowed",
			(uint64_t) st.st_size, config->model_file_bytes_max);
	*ret_bytes = (uint64_t) st.st_size;
	return 0;
}

/* Whoever serves such a file can let our read wait for ever, and all other models behind it. */
static int check_file_system(int fd, uid_t uid, struct error *reterr)
{
	struct statfs fs;

	if (uid == 0 || uid == geteuid())
		return 0;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type == FUSE_SUPER_MAGIC)
		return error_set(
			reterr, -EBADMSG, "the model is on a file system of a user: send a memfd");
	return 0;
}

static int check_load(struct manager *m, const char *name, int fd, double bits, uint64_t *ret_bytes,
	struct error *reterr)
{
	struct entry *e;

	if (!name_is_valid(name))
		return error_set(reterr, -EINVAL,
			"a model's name is 1 to 63 letters, digits, \".\", \"_\", \"-\", not "
			"\"%.64s\"",
			name);
	if (!isfinite(bits) || bits < 0)
		return error_set(reterr, -EINVAL, "bits must be 0 or a width, not %g", bits);
	if (catalog_find(m, name, &e, NULL) >= 0)
		return error_set(reterr, -EEXIST, "model \"%s\" exists", name);
	if (m->n_entries >= m->config->models_max)
		return error_set(reterr, -EDQUOT, "there are %u models, %u are allowed",
			m->n_entries, m->config->models_max);
	return check_file(m->config, fd, ret_bytes, reterr);
}

static int new_entry(
	struct manager *m, const char *name, int fd, uid_t uid, double bits, struct entry **ret)
{
	_cleanup_(entry_unrefp) struct entry *e = calloc(1, sizeof *e);
	int r;

	if (!e)
		return -ENOMEM;
	e->refs = 1;
	e->manager = m;
	e->uid = uid;
	e->bits_by_hand = bits;
	list_init(&e->link);
	list_init(&e->waiters);
	serving_init(&e->serving);
	memcpy(e->name, name, strlen(name) + 1);
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (e->fd < 0)
		return -errno;
	e->job.fd = e->fd;
	e->job.head = -1;
	e->job.keep_head = fdstore_available() || m->worker;
	fdstore_entry_init(&e->fdstore);
	r = bus_model_add(e);
	if (r < 0)
		return r;
	*ret = take_ptr(e);
	return 0;
}

/* @taken: may be NULL */
static int add_entry(struct manager *m, const char *name, int fd, uid_t uid, double bits,
	const struct fdstore_entry *taken, struct entry **ret, struct error *reterr)
{
	uint64_t bytes = 0;
	struct entry *e = NULL;
	int r;

	r = check_load(m, name, fd, bits, &bytes, reterr);
	if (r >= 0)
		r = check_file_system(fd, uid, reterr);
	if (r < 0)
		return r;
	r = limits_charge(
		&m->limits, uid, LIMIT_BYTES, bytes, m->config->bytes_per_user_max, reterr);
	if (r < 0)
		return r;
	r = new_entry(m, name, fd, uid, bits, &e);
	if (r < 0) {
		limits_release(&m->limits, uid, LIMIT_BYTES, bytes);
		return r;
	}
	e->charged_bytes = bytes;
	if (taken) {
		e->fdstore = *taken;
		e->job.head = taken->head;
	}
	list_append(&m->entries, &e->link);
	m->n_entries++;
	bus_model_added(e);
	start_job(e);
	*ret = e;
	return 0;
}

int catalog_load(struct manager *m, const char *name, int fd, uid_t uid, double bits,
	struct entry **ret, struct error *reterr)
{
	return add_entry(m, name, fd, uid, bits, NULL, ret, reterr);
}

int catalog_return(struct manager *m, int fd, const struct fdstore_entry *taken, struct entry **ret,
	struct error *reterr)
{
	const struct fdstore_state *s = &taken->state;

	return add_entry(m, s->name, fd, s->uid, s->bits_by_hand, taken, ret, reterr);
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
	manager_power_follow(m);
	(void) entry_unref(e);
}
