/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session whose daemon has restarted goes on with the next one. The application sees nothing of it:
 * the new memory takes the address of the old one, and the new socket its number.
 *
 * A daemon that closes a socket and stays has ended the session: the model is gone, or somebody
 * called Close(). Only another owner of the name means a restart.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "session.h"

/* How long a name may stay with a daemon that has closed our socket because it dies. */
#define SAME_OWNER_MSEC 100

int session_remember(struct bitshed_session *s, const char *model, const char *daemon)
{
	char *m = strdup(model), *d = strdup(daemon ?: "");

	if (!m || !d) {
		free(m);
		free(d);
		return -ENOMEM;
	}
	free(s->model);
	free(s->daemon);
	s->model = m;
	s->daemon = d;
	return 0;
}

/* Return: 1 another daemon than ours owns the name, 0 ours does, -errno nobody does. */
static int other_owner(struct bitshed_session *s)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *owner;
	int r = sd_bus_call_method(s->own->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
		"org.freedesktop.DBus", "GetNameOwner", NULL, &reply, "s", BITSHED_BUS_NAME);

	if (r >= 0)
		r = sd_bus_message_read(reply, "s", &owner);
	return r < 0 ? r : strcmp(owner, s->daemon) != 0;
}

static int wait_for_daemon(struct bitshed_session *s, uint64_t start)
{
	uint64_t pause_ms = 1;

	for (;;) {
		int r = other_owner(s);
		uint64_t waited = now_msec() - start;

		if (r > 0)
			return 0;
		if ((r == 0 && waited > SAME_OWNER_MSEC) || waited > RESTART_MSEC)
			return -ECONNRESET;
		pause_a_while(&pause_ms);
	}
}

/* A model that comes from a file may need a moment. */
static int open_again(struct bitshed_session *s, uint64_t start, sd_bus_message **ret)
{
	uint64_t pause_ms = 1;
	int r;

	for (;;) {
		r = session_call_open(s->own, s->model, s->layout.slots, ret, NULL);
		if (r != -EAGAIN || now_msec() - start > RESTART_MSEC)
			return r;
		pause_a_while(&pause_ms);
	}
}

/* The application has pointers into the memory, and inputs there: both must stay good. */
static int replace_memory(struct bitshed_session *s, int fd)
{
	size_t size = (size_t) s->layout.memory_bytes;
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	memcpy(map, s->memory, size);
	(void) munmap(map, size);
	map = mmap(s->memory, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	return map == MAP_FAILED ? -errno : 0;
}

static int replace(struct bitshed_session *s, sd_bus_message *reply)
{
	struct layout layout = {};
	const char *object;
	int memory, socket; /* the message's */
	int r = sd_bus_message_read(reply, "ohh", &object, &memory, &socket);

	if (r >= 0)
		r = session_read_layout(reply, &layout);
	if (r < 0)
		return r;
	/* Another model of the same name: its tensors are not those that the application knows. */
	if (memcmp(&layout, &s->layout, sizeof layout) != 0)
		return -EPROTO;
	r = session_check_memory(memory, &layout, NULL);
	if (r >= 0)
		r = session_check_socket(socket, NULL);
	if (r >= 0)
		r = replace_memory(s, memory);
	if (r >= 0 && dup3(socket, s->socket, O_CLOEXEC) < 0)
		r = -errno;
	return r;
}

static int send_again(struct bitshed_session *s)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < s->layout.slots; i++)
		if (s->slots[i].state == SLOT_AWAY)
			r = session_send(s, &s->slots[i].request);
	return r;
}

static int resume(struct bitshed_session *s)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	uint64_t start = now_msec();
	int r = 0;

	if (!s->own)
		r = bitshed_open(&s->own, s->home->address, NULL);
	if (r >= 0)
		r = wait_for_daemon(s, start);
	if (r >= 0)
		r = open_again(s, start, &reply);
	if (r >= 0)
		r = replace(s, reply);
	if (r >= 0)
		r = session_remember(s, s->model, sd_bus_message_get_sender(reply));
	if (r < 0)
		return r;
	session_learn_names(s, s->own, s->model);
	return send_again(s);
}

int session_resume(struct bitshed_session *s)
{
	if (s->ended || atomic_load(&s->home->closed) || resume(s) < 0) {
		s->ended = true;
		return -ECONNRESET;
	}
	return 0;
}
