/* SPDX-License-Identifier: Apache-2.0 */
#include "service/holds.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "bitshed/protocol.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/manager.h"

#define PER_USER_MAX 16
#define REASON_MAX 256

/**
 * struct hold - @fd: our end of a socket whose other end is the client's
 * @told: -1: nothing yet, else what the client knows of whether it is honoured
 */
struct hold {
	struct list link;
	struct manager *manager;
	char model[64];
	double bits;
	char *reason, *owner;
	uid_t uid;
	int fd, told;
	sd_event_source *source;
};

static struct hold *hold_free(struct hold *h)
{
	if (!h)
		return NULL;
	list_remove(&h->link);
	(void) sd_event_source_disable_unref(h->source);
	close_fdp(&h->fd);
	free(h->reason);
	free(h->owner);
	free(h);
	return NULL;
}

DEFINE_CLEANUP(struct hold *, hold_free)

static void follow(struct manager *m, const char *model)
{
	struct entry *e;

	bus_manager_changed(m, "Holds");
	if (catalog_find(m, model, &e, NULL) >= 0)
		entry_update(e);
}

static int on_closed(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct hold *h = userdata;
	struct manager *m = h->manager;
	char model[sizeof h->model];

	memcpy(model, h->model, sizeof model);
	log_info("model %s: %s holds %g bits no longer", h->model, h->owner, h->bits);
	(void) hold_free(h);
	follow(m, model);
	return 0;
}

static int check(const struct entry *e, double bits, const char *reason, uid_t uid,
	struct error *reterr)
{
	uint32_t n = 0;

	if (!isfinite(bits) || bits < 1 || bits > e->network->planes_max)
		return error_set(reterr, -ERANGE, "model %s has 1 to %u bits, not %g", e->name,
			e->network->planes_max, bits);
	if (!reason[0] || strlen(reason) > REASON_MAX)
		return error_set(
			reterr, -EINVAL, "a hold needs a reason of at most %d bytes", REASON_MAX);
	list_for_each (l, &e->manager->holds)
		n += list_entry(l, struct hold, link)->uid == uid;
	if (n >= PER_USER_MAX)
		return error_set(reterr, -EDQUOT, "this user has %u holds, %u are allowed", n,
			PER_USER_MAX);
	return 0;
}

static int hold_new(struct hold **ret, struct entry *e, sd_bus_message *call, double bits,
	const char *reason)
{
	_cleanup_(hold_freep) struct hold *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	list_init(&h->link);
	h->fd = h->told = -1;
	h->manager = e->manager;
	h->bits = bits;
	memcpy(h->model, e->name, sizeof h->model);
	h->reason = strdup(reason);
	h->owner = strdup(sd_bus_message_get_sender(call));
	if (!h->reason || !h->owner)
		return -ENOMEM;
	*ret = take_ptr(h);
	return 0;
}

/* No events are asked for: a client that has gone is told in any case, and what it writes is not. */
static int watch(struct hold *h, int *ret_fd)
{
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	h->fd = ends[0];
	r = sd_event_add_io(h->manager->event, &h->source, h->fd, 0, on_closed, h);
	if (r < 0) {
		(void) close(ends[1]);
		return r;
	}
	*ret_fd = ends[1];
	return 0;
}

int hold_add(struct entry *e, sd_bus_message *call, double min_bits, const char *reason, int *ret_fd,
	struct error *reterr)
{
	_cleanup_(hold_freep) struct hold *h = NULL;
	uid_t uid;
	int r;

	r = bus_sender_uid(call, &uid, reterr);
	if (r >= 0)
		r = check(e, min_bits, reason, uid, reterr);
	if (r >= 0)
		r = hold_new(&h, e, call, min_bits, reason);
	if (r >= 0)
		r = watch(h, ret_fd);
	if (r < 0)
		return r;
	h->uid = uid;
	list_append(&e->manager->holds, &take_ptr(h)->link);
	log_info("model %s: %s holds %g bits: %s", e->name, sd_bus_message_get_sender(call),
		min_bits, reason);
	follow(e->manager, e->name);
	return 0;
}

double holds_bits(const struct manager *m, const char *name)
{
	double bits = 0;

	list_for_each (l, &m->holds) {
		const struct hold *h = list_entry(l, struct hold, link);

		if (strcmp(h->model, name) == 0)
			bits = fmax(bits, h->bits);
	}
	return bits;
}

/* By what the policy wants: a switch that is on its way will be there in a moment. */
static bool is_honoured(const struct hold *h, const struct entry *e)
{
	return e->policy.decided && e->policy.budget.bits + 1e-3 >= h->bits;
}

/* A client that does not read its records loses those that do not fit. */
static void tell(struct hold *h, const struct entry *e)
{
	struct bitshed_hold_record record = {
		.version = BITSHED_PROTOCOL_VERSION,
		.honoured = (uint16_t) h->told,
		.bits = (float) e->policy.budget.bits,
	};

	(void) send(h->fd, &record, sizeof record, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!h->told)
		log_notice("model %s: %s holds %g bits, but %s", h->model, h->owner, h->bits,
			e->policy.budget.text);
}

void holds_tell(struct entry *e)
{
	bool changed = false;

	list_for_each (l, &e->manager->holds) {
		struct hold *h = list_entry(l, struct hold, link);

		if (strcmp(h->model, e->name) != 0 || h->told == is_honoured(h, e))
			continue;
		h->told = is_honoured(h, e);
		tell(h, e);
		changed = true;
	}
	if (changed)
		bus_manager_changed(e->manager, "Holds");
}

static int append(const struct hold *h, sd_bus_message *reply)
{
	struct entry *e;
	bool honoured = catalog_find(h->manager, h->model, &e, NULL) >= 0 && is_honoured(h, e);

	return sd_bus_message_append(reply, "(sdssub)", h->model, h->bits, h->reason, h->owner,
		(uint32_t) h->uid, honoured);
}

int holds_append(const struct manager *m, sd_bus_message *reply)
{
	int r = sd_bus_message_open_container(reply, 'a', "(sdssub)");

	list_for_each (l, &m->holds)
		if (r >= 0)
			r = append(list_entry(l, struct hold, link), reply);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

void holds_free(struct manager *m)
{
	while (!list_empty(&m->holds))
		(void) hold_free(list_entry(m->holds.next, struct hold, link));
}
