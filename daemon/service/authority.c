/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	authority_check() --> GetConnectionCredentials() --> CheckAuthorization() --+
 *	       ^                    | root, own user, owner,        polkit          |
 *	       |                    | or no polkit here                             |
 *	       +--- the bus dispatches the call again <-----------------------------+
 *
 * A query lives from the first time that a call is seen until the second.
 *
 * What the bus has read and not yet dispatched it asks its event loop for by a timer that it sets anew
 * in each round: while sessions keep the loop busy that never comes. So there is a source of our own.
 */
#include "service/authority.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "service/bus.h"

#define BUS_NAME "org.freedesktop.DBus"
#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_INTERACTIVE 1u

/* A person needs time for a password, a program does not. */
#define ASK_USEC UINT64_C(10000000)
#define ASK_PERSON_USEC UINT64_C(300000000)

#define QUERIES_MAX 512
#define QUERIES_PER_SENDER_MAX 64
#define REMEMBERED 64

/* clang-format off */
static const struct {
	const char *action, *words;
} verbs[_VERB_MAX] = {
	[VERB_INFER] =      {"org.bitshed.infer",      "use models"},
	[VERB_LOAD] =       {"org.bitshed.load",       "load and unload models"},
	[VERB_SET_POLICY] = {"org.bitshed.set-policy", "set widths and profiles"},
	[VERB_HOLD] =       {"org.bitshed.hold",       "hold the precision of a model"},
	[VERB_TELEMETRY] =  {"org.bitshed.telemetry",  "report what the board feels"},
	[VERB_STATISTICS] = {"org.bitshed.statistics", "read what other users have done"},
};
/* clang-format on */

/** struct query - @decision: as authority_check() returns it; 0: not known */
struct query {
	struct list link;
	struct authority *authority;
	sd_bus_message *call;
	sd_bus_slot *slot;
	enum verb verb;
	uid_t owner, uid;
	bool member;
	int decision;
	struct error why;
};

/**
 * struct authority - @absent: there is no polkit, until one appears
 * @pump: dispatches what @bus has read
 * @remembered: a ring of unique names, which a bus never gives twice, that may infer; empty ones are
 * free
 */
struct authority {
	sd_bus *bus;
	sd_bus_slot *changed, *owner_changed;
	sd_event_source *pump;
	bool absent;
	struct list queries;
	uint32_t n_queries, next;
	char remembered[REMEMBERED][32];
};

const char *verb_action(enum verb verb)
{
	return verbs[verb].action;
}

static struct query *query_free(struct query *q)
{
	if (!q)
		return NULL;
	list_remove(&q->link);
	q->authority->n_queries--;
	(void) sd_bus_slot_unref(q->slot);
	(void) sd_bus_message_unref(q->call);
	free(q);
	return NULL;
}

static void pump(struct authority *a)
{
	uint64_t n = 0;

	if (sd_bus_get_n_queued_read(a->bus, &n) >= 0 && n > 0)
		(void) sd_event_source_set_enabled(a->pump, SD_EVENT_ONESHOT);
}

static int on_pump(sd_event_source *source, void *userdata)
{
	struct authority *a = userdata;

	if (sd_bus_process(a->bus, NULL) > 0)
		pump(a);
	return 0;
}

static bool is_remembered(const struct authority *a, const char *sender)
{
	for (uint32_t i = 0; i < REMEMBERED; i++)
		if (strcmp(a->remembered[i], sender) == 0)
			return true;
	return false;
}

static void remember(struct authority *a, const char *sender)
{
	char *to = a->remembered[a->next++ % REMEMBERED];

	/* A name that does not fit is asked for each time. */
	if (strlen(sender) < sizeof a->remembered[0])
		(void) strcpy(to, sender);
}

static int on_polkit_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct authority *a = userdata;

	a->absent = false;
	memset(a->remembered, 0, sizeof a->remembered);
	return 0;
}

/* The call goes the whole way once more: what it names may have gone meanwhile. */
static void conclude(struct query *q, int decision)
{
	int r;

	q->decision = decision;
	q->slot = sd_bus_slot_unref(q->slot);
	if (decision > 0 && q->verb == VERB_INFER)
		remember(q->authority, sd_bus_message_get_sender(q->call));
	r = sd_bus_message_rewind(q->call, 1);
	if (r >= 0)
		r = sd_bus_enqueue_for_read(q->authority->bus, q->call);
	pump(q->authority);
	if (r >= 0)
		return;
	(void) bus_reply_error(q->call, r, NULL);
	(void) query_free(q);
}

static int decide_alone(struct query *q)
{
	if (q->verb == VERB_INFER || q->member)
		return 1;
	return error_set(&q->why, -EACCES, "only root and the daemon's group may %s", verbs[q->verb].words);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	const sd_bus_error *error = sd_bus_message_get_error(m);
	struct query *q = userdata;
	int r, authorized, challenge;

	if (sd_bus_error_has_names(error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
		    "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitMasked")) {
		q->authority->absent = true;
		conclude(q, decide_alone(q));
		return 0;
	}
	r = error ? -sd_bus_error_get_errno(error) : sd_bus_message_enter_container(m, 'r', "bba{ss}");
	if (r >= 0)
		r = sd_bus_message_read(m, "bb", &authorized, &challenge);
	if (r < 0)
		r = error_set(&q->why, -EACCES, "polkit does not say whether you may %s: %s", verbs[q->verb].words,
			error && error->message ? error->message : strerror(-r));
	else if (authorized)
		r = 1;
	else
		r = error_set(&q->why, -EACCES, "you may not %s: polkit refuses %s%s", verbs[q->verb].words,
			verbs[q->verb].action, challenge ? " without an administrator's password" : "");
	conclude(q, r);
	return 0;
}

static int ask_polkit(struct query *q)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int person = sd_bus_message_get_allow_interactive_authorization(q->call);
	sd_bus *bus = q->authority->bus;
	int r;

	r = sd_bus_message_new_method_call(
		bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization");
	if (r >= 0)
		r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
			sd_bus_message_get_sender(q->call), verbs[q->verb].action, 0,
			person > 0 ? POLKIT_INTERACTIVE : 0, "");
	if (r < 0)
		return r;
	q->slot = sd_bus_slot_unref(q->slot);
	return sd_bus_call_async(bus, &q->slot, m, on_answer, q, person > 0 ? ASK_PERSON_USEC : ASK_USEC);
}

static int read_groups(sd_bus_message *m, bool *ret_member)
{
	const uint32_t *groups;
	size_t size;
	int r;

	r = sd_bus_message_enter_container(m, 'v', "au");
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'u', (const void **) &groups, &size);
	if (r < 0)
		return r;
	for (size_t i = 0; i < size / sizeof *groups; i++)
		*ret_member |= groups[i] == getegid();
	return sd_bus_message_exit_container(m);
}

static int read_credentials(sd_bus_message *m, struct query *q)
{
	const char *key;
	uint32_t uid = AUTHORITY_NO_OWNER;
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0 && strcmp(key, "UnixUserID") == 0)
			r = sd_bus_message_read(m, "v", "u", &uid);
		else if (r >= 0 && strcmp(key, "UnixGroupIDs") == 0)
			r = read_groups(m, &q->member);
		else if (r >= 0)
			r = sd_bus_message_skip(m, "v");
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	q->uid = uid;
	return r < 0 ? r : uid == AUTHORITY_NO_OWNER ? -ENODATA : 0;
}

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct query *q = userdata;
	int r;

	if (sd_bus_message_is_method_error(m, NULL) || read_credentials(m, q) < 0) {
		conclude(q, error_set(&q->why, -EACCES, "the bus does not say which user is asking"));
		return 0;
	}
	if (q->uid == 0 || q->uid == geteuid() || q->uid == q->owner) {
		conclude(q, 1);
		return 0;
	}
	if (q->authority->absent) {
		conclude(q, decide_alone(q));
		return 0;
	}
	pump(q->authority);
	r = ask_polkit(q);
	if (r < 0)
		conclude(q, error_set(&q->why, -EACCES, "polkit cannot be asked: %s", strerror(-r)));
	return 0;
}

static int check_room(const struct authority *a, const char *sender, struct error *reterr)
{
	uint32_t n = 0;

	list_for_each (l, &a->queries)
		n += strcmp(sd_bus_message_get_sender(list_entry(l, struct query, link)->call), sender) == 0;
	if (n >= QUERIES_PER_SENDER_MAX || a->n_queries >= QUERIES_MAX)
		return error_set(reterr, -EBUSY, "too many calls wait to be authorized");
	return 0;
}

static int begin(struct authority *a, sd_bus_message *call, enum verb verb, uid_t owner)
{
	struct query *q = calloc(1, sizeof *q);
	int r;

	if (!q)
		return -ENOMEM;
	*q = (struct query){.authority = a, .call = sd_bus_message_ref(call), .verb = verb, .owner = owner};
	list_append(&a->queries, &q->link);
	a->n_queries++;
	r = sd_bus_call_method_async(a->bus, &q->slot, BUS_NAME, "/org/freedesktop/DBus", BUS_NAME,
		"GetConnectionCredentials", on_credentials, q, "s", sd_bus_message_get_sender(call));
	if (r < 0) {
		(void) query_free(q);
		return r;
	}
	return 0;
}

static struct query *find(struct authority *a, const sd_bus_message *call)
{
	list_for_each (l, &a->queries)
		if (list_entry(l, struct query, link)->call == call)
			return list_entry(l, struct query, link);
	return NULL;
}

int authority_check(struct authority *a, sd_bus_message *call, enum verb verb, uid_t owner,
	struct error *reterr)
{
	const char *sender = sd_bus_message_get_sender(call);
	struct query *q;
	int r;

	pump(a);
	if (verb == VERB_ANY)
		return 1;
	if (!sender)
		return error_set(reterr, -EACCES, "the bus does not say who is asking");
	q = find(a, call);
	if (q) {
		r = q->decision;
		if (r < 0)
			*reterr = q->why;
		(void) query_free(q);
		return r;
	}
	if (verb == VERB_INFER && is_remembered(a, sender))
		return 1;
	r = check_room(a, sender, reterr);
	return r < 0 ? r : begin(a, call, verb, owner);
}

int authority_new(struct authority **ret, sd_bus *bus)
{
	_cleanup_(authority_freep) struct authority *a = calloc(1, sizeof *a);
	int r;

	if (!a)
		return -ENOMEM;
	list_init(&a->queries);
	a->bus = bus;
	r = sd_event_add_defer(sd_bus_get_event(bus), &a->pump, on_pump, a);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->pump, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = sd_bus_match_signal_async(bus, &a->changed, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "Changed",
		on_polkit_changed, NULL, a);
	if (r >= 0)
		r = sd_bus_add_match_async(bus, &a->owner_changed,
			"type='signal',sender='" BUS_NAME "',interface='" BUS_NAME
			"',member='NameOwnerChanged',arg0='" POLKIT_NAME "'",
			on_polkit_changed, NULL, a);
	if (r < 0)
		return r;
	*ret = take_ptr(a);
	return 0;
}

struct authority *authority_free(struct authority *a)
{
	if (!a)
		return NULL;
	while (!list_empty(&a->queries)) {
		struct query *q = list_entry(a->queries.next, struct query, link);

		(void) bus_reply_error(q->call, -EIO, NULL);
		(void) query_free(q);
	}
	(void) sd_event_source_disable_unref(a->pump);
	(void) sd_bus_slot_unref(a->changed);
	(void) sd_bus_slot_unref(a->owner_changed);
	free(a);
	return NULL;
}
