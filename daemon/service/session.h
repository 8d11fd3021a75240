/* SPDX-License-Identifier: Apache-2.0 */
/* One client with one model: tensors in shared memory, one record per request. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "bitshed/protocol.h"
#include "service/catalog.h"
#include "service/queue.h"
#include "service/region.h"

/*
 * A slot:
 *	                 record with this slot
 *	FREE ------------------------------------> BUSY: QUEUED -> RUNNING (the queue knows which)
 *	 ^  \                                       |
 *	 |   +-- refused at once: reply             | done on the loop thread
 *	 +------------------------------------------+ reply
 *
 * A session:
 *	OPEN --- Close(), socket closed, peer left, model unloaded, replies not read ---> CLOSED
 *	CLOSED: off the bus, socket closed, waiting requests taken back. A running one finishes into
 *	memory that nobody reads; the last one frees the session.
 */
struct slot {
	struct session *session;
	struct request request;
	bool busy;
	uint16_t rule;
	uint64_t cookie;
};

/**
 * struct session - counted: the manager's list, each busy slot
 * @owner: unique bus name of who opened it; @client_fd: the other end, until the reply is sent
 */
struct session {
	struct list link;
	uint32_t refs;
	bool open;
	struct manager *manager;
	struct entry *entry;
	char *owner, *path;
	uid_t uid;
	uint64_t requests, charged_bytes;
	struct region region;
	int fd, client_fd;
	sd_event_source *source;
	sd_bus_track *track;
	sd_bus_slot *object;
	struct slot *slots;
};

/**
 * session_open() - for the sender of @call
 * @slots: 1 .. the configured maximum
 *
 * Return: 0; -EINVAL, -EDQUOT, -EAGAIN, -ENOMEM, -EACCES with words.
 */
int session_open(struct entry *e, sd_bus_message *call, uint32_t slots, struct session **ret,
	struct error *reterr);

/** session_close() - see above; does nothing when closed already. @why: for the journal */
void session_close(struct session *s, const char *why);

/** sessions_end() - close all of @e; NULL: of all models */
void sessions_end(struct manager *m, struct entry *e);

/** session_check() - is a record one that may be tried? Pure. Return: 0, -EINVAL, -EMSGSIZE */
int session_check(const struct bitshed_request *record, size_t size, uint32_t slots);

struct session *session_ref(struct session *s);
struct session *session_unref(struct session *s);
DEFINE_CLEANUP(struct session *, session_unref)
