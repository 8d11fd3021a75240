/* SPDX-License-Identifier: Apache-2.0 */
#include "service/session.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/manager.h"

#define PRIORITY_MAX 100
#define NO_SLOT UINT32_MAX

static void on_done(struct request *request, void *userdata);

struct session *session_ref(struct session *s)
{
	s->refs++;
	return s;
}

/*
 * Apart and not inlined: gcc 12 does not see that a reference is held across a call that may
 * free.
 */
__attribute__((noinline)) static void session_free(struct session *s)
{
	(void) sd_event_source_disable_unref(s->source);
	(void) sd_bus_track_unref(s->track);
	(void) sd_bus_slot_unref(s->object);
	close_fdp(&s->fd);
	close_fdp(&s->client_fd);
	manager_forget_region(s->manager, &s->region);
	region_close(&s->region);
	(void) entry_unref(s->entry);
	free(s->slots);
	free(s->owner);
	free(s->path);
	free(s);
}

struct session *session_unref(struct session *s)
{
	if (s && --s->refs == 0)
		session_free(s);
	return NULL;
}

static void slot_release(struct slot *slot)
{
	slot->request.plan = plan_unref(slot->request.plan);
	slot->busy = false;
	(void) session_unref(slot->session);
}

void session_close(struct session *s, const char *why)
{
	struct limits *limits = &s->manager->limits;

	if (!s->open)
		return;
	s->open = false;
	log_debug("session %s of user %u ends: %s", s->path, (unsigned int) s->uid, why);
	s->source = sd_event_source_disable_unref(s->source);
	close_fdp(&s->fd);
	s->fd = -1;
	for (uint32_t i = 0; i < s->region.slots; i++)
		if (s->slots[i].busy
			&& (serving_cancel(s->entry, &s->slots[i].request)
				|| manager_cancel(s->manager, &s->slots[i].request)))
			slot_release(&s->slots[i]);
	limits_release(limits, s->uid, LIMIT_SESSIONS, 1);
	limits_release(limits, s->uid, LIMIT_BYTES, s->charged_bytes);
	list_remove(&s->link);
	s->manager->n_sessions--;
	bus_session_removed(s);
	(void) session_unref(s);
}

void sessions_end(struct manager *m, struct entry *e)
{
	list_for_each_safe (l, n, &m->sessions) {
		struct session *s = list_entry(l, struct session, link);

		if (!e || s->entry == e)
			session_close(s, e ? "model unloaded" : "daemon ends");
	}
}

int session_check(const struct bitshed_request *record, size_t size, uint32_t slots)
{
	if (size != sizeof *record || record->version != BITSHED_PROTOCOL_VERSION
		|| record->reserved != 0 || record->device > BITSHED_DEVICE_REQUIRE)
		return -EINVAL;
	if (record->slot >= slots || record->input_type > 1)
		return -EINVAL;
	if (!isfinite(record->min_bits) || record->min_bits < 0)
		return -EINVAL;
	if (record->priority < -PRIORITY_MAX || record->priority > PRIORITY_MAX)
		return -EINVAL;
	return 0;
}

/*
 * A client that does not read its replies is dropped: the daemon neither waits for it nor keeps
 * them.
 */
static void send_reply(struct session *s, const struct bitshed_reply *reply)
{
	if (send(s->fd, reply, sizeof *reply, MSG_DONTWAIT | MSG_NOSIGNAL)
		== (ssize_t) sizeof *reply)
		return;
	if (errno == EAGAIN)
		log_notice("session %s of user %u: dropped, it does not read its replies", s->path,
			(unsigned int) s->uid);
	session_close(s, "no reply can be sent");
}

/* A parked model has none. */
static double plan_bits(const struct plan *plan)
{
	return plan ? plan->model->bits : 0;
}

static void refuse(struct session *s, const struct bitshed_request *record, bool readable, int r)
{
	struct bitshed_reply reply = {
		.version = BITSHED_PROTOCOL_VERSION,
		.status = bus_status(r),
		.slot = readable ? record->slot : NO_SLOT,
		.cookie = readable ? record->cookie : 0,
		.bits = (float) plan_bits(s->entry->plan),
		.rule = (uint16_t) s->entry->active.rule,
	};

	stats_fail(&s->entry->stats);
	send_reply(s, &reply);
}

static void answer(struct slot *slot)
{
	struct session *s = slot->session;
	const struct request *request = &slot->request;
	struct bitshed_reply reply = {
		.version = BITSHED_PROTOCOL_VERSION,
		.status = bus_status(request->result),
		.slot = (uint32_t) (slot - s->slots),
		.cookie = slot->cookie,
		.bits = (float) plan_bits(request->plan),
		.rule = slot->rule,
		.device = (uint16_t) request->device,
		.queue_nsec = request->started_nsec - request->submitted_nsec,
		.run_nsec = request->finished_nsec - request->started_nsec,
	};

	if (request->result < 0)
		stats_fail(&s->entry->stats);
	else
		entry_ran(s->entry, request);
	s->requests++;
	slot->busy = false;
	if (s->open)
		send_reply(s, &reply);
}

static void complete(struct slot *slot)
{
	answer(slot);
	slot_release(slot);
}

static void on_done(struct request *request, void *userdata)
{
	complete(userdata);
}

/* What the model has now, against what the record asks for. */
static int check_record(const struct entry *e, const struct bitshed_request *record)
{
	if (e->plan && plan_below(e->plan, record->min_bits))
		return -ERANGE;
	if (record->input_type == INPUT_PIXELS && e->sizes.pixels_bytes == 0)
		return -EMSGSIZE;
	return 0;
}

static void fill_request(struct slot *slot, const struct bitshed_request *record)
{
	struct session *s = slot->session;

	slot->busy = true;
	slot->cookie = record->cookie;
	slot->rule = (uint16_t) s->entry->active.rule;
	slot->request.input_type = record->input_type == 1 ? INPUT_FLOATS : INPUT_PIXELS;
	slot->request.min_bits = (double) record->min_bits;
	slot->request.priority = record->priority;
	slot->request.choice = (enum device_choice) record->device;
	slot->request.deadline_nsec = manager_deadline(s->manager, record->deadline_ms);
	(void) session_ref(s);
}

static void submit(struct session *s, const struct bitshed_request *record)
{
	struct slot *slot = &s->slots[record->slot];
	int r;

	r = slot->busy ? -EBUSY : check_record(s->entry, record);
	if (r >= 0)
		r = serving_admit(s->entry, NULL);
	if (r < 0) {
		refuse(s, record, true, r);
		return;
	}
	fill_request(slot, record);
	r = serving_submit(s->entry, &slot->request);
	if (r > 0) {
		complete(slot);
	} else if (r < 0) {
		(void) session_ref(s);
		slot_release(slot);
		if (s->open)
			refuse(s, record, true, r);
		(void) session_unref(s);
	}
}

/*
 * One record per wake-up: the loop goes round all clients, however many records one of them has
 * sent.
 */
static int on_record(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	_cleanup_(session_unrefp) struct session *s = session_ref(userdata);
	struct bitshed_request record;
	ssize_t n;
	int r;

	n = recv(fd, &record, sizeof record, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		session_close(s, "socket closed");
		return 0;
	}
	r = session_check(&record, (size_t) n, s->region.slots);
	if (r < 0)
		refuse(s, &record, n == sizeof record, r);
	else
		submit(s, &record);
	return 0;
}

static int on_peer_gone(sd_bus_track *track, void *userdata)
{
	session_close(userdata, "peer left the bus");
	return 1;
}

static int watch_peer(struct session *s, sd_bus_message *call)
{
	int r;

	r = sd_bus_track_new(s->manager->bus, &s->track, on_peer_gone, s);
	return r < 0 ? r : sd_bus_track_add_sender(s->track, call);
}

static int open_socket(struct session *s)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	s->fd = pair[0];
	s->client_fd = pair[1];
	return sd_event_add_io(s->manager->event, &s->source, s->fd, EPOLLIN, on_record, s);
}

static int open_slots(struct session *s, uint32_t slots, struct error *reterr)
{
	int r;

	r = region_open(&s->region, reterr);
	if (r < 0)
		return r;
	s->slots = calloc(slots, sizeof *s->slots);
	if (!s->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < slots; i++) {
		s->slots[i].session = s;
		s->slots[i].request.input = region_input(&s->region, i);
		s->slots[i].request.region = &s->region;
		s->slots[i].request.output = region_output(&s->region, i);
		s->slots[i].request.done = on_done;
		s->slots[i].request.userdata = &s->slots[i];
	}
	return 0;
}

static int charge(struct session *s, struct error *reterr)
{
	struct manager *m = s->manager;
	int r;

	r = limits_charge(
		&m->limits, s->uid, LIMIT_SESSIONS, 1, m->config->sessions_per_user_max, reterr);
	if (r < 0)
		return r;
	r = limits_charge(&m->limits, s->uid, LIMIT_BYTES, s->region.bytes,
		m->config->bytes_per_user_max, reterr);
	if (r < 0) {
		limits_release(&m->limits, s->uid, LIMIT_SESSIONS, 1);
		return r;
	}
	s->charged_bytes = s->region.bytes;
	return 0;
}

static int new_session(
	struct entry *e, sd_bus_message *call, struct session **ret, struct error *reterr)
{
	_cleanup_(session_unrefp) struct session *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	s->refs = 1;
	s->fd = s->client_fd = s->region.fd = -1;
	s->manager = e->manager;
	s->entry = entry_ref(e);
	list_init(&s->link);
	r = bus_sender_uid(call, &s->uid, reterr);
	if (r < 0)
		return r;
	s->owner = strdup(sd_bus_message_get_sender(call));
	if (!s->owner
		|| asprintf(
			   &s->path, BITSHED_PATH "/session/%" PRIu64, ++s->manager->session_serial)
			   < 0)
		return -ENOMEM;
	*ret = take_ptr(s);
	return 0;
}

static int open_parts(struct session *s, sd_bus_message *call, uint32_t slots, struct error *reterr)
{
	int r;

	r = open_slots(s, slots, reterr);
	if (r < 0)
		return r;
	r = open_socket(s);
	if (r < 0)
		return r;
	r = watch_peer(s, call);
	return r < 0 ? r : bus_session_add(s);
}

int session_open(struct entry *e, sd_bus_message *call, uint32_t slots, struct session **ret,
	struct error *reterr)
{
	_cleanup_(session_unrefp) struct session *s = NULL;
	uint32_t slots_max = e->manager->config->slots_per_session_max;
	int r;

	if (slots == 0)
		return error_set(reterr, -EINVAL, "a session needs at least one slot");
	if (slots > slots_max)
		return error_set(reterr, -EDQUOT, "%u slots are asked for, %u are allowed", slots,
			slots_max);
	r = new_session(e, call, &s, reterr);
	if (r < 0)
		return r;
	r = region_layout(&s->region, &e->sizes, slots);
	s->region.id = s->manager->session_serial;
	if (r < 0)
		return error_set(reterr, -EDQUOT, "%u slots of this model are too large", slots);
	r = charge(s, reterr);
	if (r < 0)
		return r;
	r = open_parts(s, call, slots, reterr);
	if (r < 0) {
		limits_release(&s->manager->limits, s->uid, LIMIT_SESSIONS, 1);
		limits_release(&s->manager->limits, s->uid, LIMIT_BYTES, s->charged_bytes);
		return r;
	}
	list_append(&s->manager->sessions, &s->link);
	s->manager->n_sessions++;
	s->open = true;
	*ret = take_ptr(s);
	return 0;
}
