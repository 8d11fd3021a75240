/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: slots in a memfd that the daemon has made and sealed, and one record per request on a
 * socket.
 *
 *            submit               reply read
 *   MINE ──────────────▶ AWAY ──────────────────▶ MINE    session_wait() returns it
 *     ▲                    │ read while session_infer() waits for another slot's
 *     └─────── KEPT ◀──────┘                              session_wait() returns it later
 *
 * The daemon's word is checked once, when the session is opened: afterwards every offset is our
 * own.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "session.h"

#define SLOTS_MAX 65536
#define DEADLINE_GRACE_MS 1000

static const struct {
	const char *key;
	size_t offset;
} layout_keys[] = {
	{"slot-stride", offsetof(struct layout, stride)},
	{"input-offset", offsetof(struct layout, input)},
	{"output-offset", offsetof(struct layout, output)},
	{"pixels-bytes", offsetof(struct layout, pixels_bytes)},
	{"floats-bytes", offsetof(struct layout, floats_bytes)},
	{"output-bytes", offsetof(struct layout, output_bytes)},
	{"memory-bytes", offsetof(struct layout, memory_bytes)},
};

static int read_layout_entry(sd_bus_message *m, struct layout *l)
{
	const char *key;
	int r = sd_bus_message_read(m, "s", &key);

	if (r < 0)
		return r;
	if (strcmp(key, "slots") == 0)
		return sd_bus_message_read(m, "v", "u", &l->slots);
	for (size_t i = 0; i < ARRAY_SIZE(layout_keys); i++)
		if (strcmp(key, layout_keys[i].key) == 0)
			return sd_bus_message_read(m, "v", "t", (char *) l + layout_keys[i].offset);
	return sd_bus_message_skip(m, "v");
}

int session_read_layout(sd_bus_message *m, struct layout *l)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = read_layout_entry(m, l);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* [@offset, @offset + @bytes) inside of one slot, floats where floats may lie */
static bool area_ok(const struct layout *l, uint64_t offset, uint64_t bytes)
{
	uint64_t end;

	return offset % sizeof(float) == 0 && !__builtin_add_overflow(offset, bytes, &end) &&
	       end <= l->stride;
}

static bool layout_ok(const struct layout *l)
{
	uint64_t all;

	return l->slots > 0 && l->slots <= SLOTS_MAX && l->stride > 0 &&
	       l->stride % sizeof(float) == 0 && area_ok(l, l->input, l->pixels_bytes) &&
	       area_ok(l, l->input, l->floats_bytes) && area_ok(l, l->output, l->output_bytes) &&
	       l->output_bytes % sizeof(float) == 0 &&
	       !__builtin_mul_overflow(l->stride, l->slots, &all) && all <= l->memory_bytes &&
	       l->memory_bytes <= SIZE_MAX;
}

/* Memory that could shrink would kill us with a signal at the next store. */
int session_check_memory(int fd, const struct layout *l, struct bitshed_error *e)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return fail(e, -EPROTO, "the daemon's memory is not sealed");
	if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t) st.st_size < l->memory_bytes)
		return fail(e, -EPROTO, "the daemon's memory is smaller than it says");
	return 0;
}

int session_check_socket(int fd, struct bitshed_error *e)
{
	int type = 0;
	socklen_t size = sizeof type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
		return fail(e, -EPROTO, "the daemon's socket is none of records");
	return 0;
}

static int session_new(struct bitshed_session **ret, const struct layout *l, int memory, int socket,
	struct bitshed_error *e)
{
	struct bitshed_session *s;
	void *map;

	if (!layout_ok(l))
		return fail(e, -EPROTO, "the daemon's layout does not fit its memory");
	if (session_check_memory(memory, l, e) < 0 || session_check_socket(socket, e) < 0)
		return -EPROTO;
	s = calloc(1, sizeof *s + l->slots * sizeof s->slots[0]);
	if (!s)
		return fail(e, -ENOMEM, "out of memory");
	s->layout = *l;
	s->socket = -1;
	map = mmap(NULL, (size_t) l->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (map == MAP_FAILED) {
		int r = -errno;

		(void) bitshed_session_close(s);
		return fail(e, r, "the daemon's memory cannot be mapped");
	}
	s->memory = map;
	s->socket = fcntl(socket, F_DUPFD_CLOEXEC, 3);
	if (s->socket < 0) {
		int r = -errno;

		(void) bitshed_session_close(s);
		return fail(e, r, "no file descriptor left for the session");
	}
	*ret = s;
	return 0;
}

static void free_names(char **names)
{
	for (char **p = names; p && *p; p++)
		free(*p);
	free(names);
}

/* Without the names a result shows numbers; that is no reason to refuse a session. */
void session_learn_names(struct bitshed_session *s, struct bitshed *b, const char *model)
{
	_cleanup_(client_freep) char *path = NULL;

	free_names(s->rules);
	free_names(s->devices);
	s->rules = s->devices = NULL;
	if (model_path(&path, model) >= 0)
		(void) sd_bus_get_property_strv(b->bus, BITSHED_BUS_NAME, path,
			BITSHED_MODEL_INTERFACE, "Rules", NULL, &s->rules);
	(void) device_names(b, &s->devices);
}

int session_call_open(struct bitshed *b, const char *model, uint32_t slots, sd_bus_message **ret,
	struct bitshed_error *e)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = manager_call(b, &m, "OpenSession", e);

	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "sa{sv}", model, 1, "slots", "u", slots);
	if (r < 0)
		return fail_bus(e, r, NULL);
	return call(b, m, CALL_USEC, ret, e);
}

int bitshed_session_open(struct bitshed_session **ret, struct bitshed *b, const char *model,
	uint32_t slots, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct bitshed_session *s = NULL;
	struct layout layout = {};
	const char *object;
	int memory, socket; /* the message's */
	int r = session_call_open(b, model, slots, &reply, reterr);

	if (r < 0)
		return r;
	r = sd_bus_message_read(reply, "ohh", &object, &memory, &socket);
	if (r >= 0)
		r = session_read_layout(reply, &layout);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	r = session_new(&s, &layout, memory, socket, reterr);
	if (r < 0)
		return r;
	session_learn_names(s, b, model);
	s->home = home_ref(b->home);
	r = session_remember(s, model, sd_bus_message_get_sender(reply));
	if (r < 0) {
		(void) bitshed_session_close(s);
		return fail(reterr, r, "out of memory");
	}
	*ret = s;
	return 0;
}

struct bitshed_session *bitshed_session_close(struct bitshed_session *s)
{
	if (!s)
		return NULL;
	/* The end of the socket is the end of the session: no call, so any thread may close. */
	if (s->socket >= 0)
		(void) close(s->socket);
	if (s->memory)
		(void) munmap(s->memory, (size_t) s->layout.memory_bytes);
	free_names(s->rules);
	free_names(s->devices);
	(void) bitshed_close(s->own);
	(void) home_unref(s->home);
	free(s->model);
	free(s->daemon);
	free(s);
	return NULL;
}

uint32_t bitshed_session_slots(const struct bitshed_session *s)
{
	return s->layout.slots;
}

void *bitshed_session_input(struct bitshed_session *s, uint32_t slot)
{
	if (slot >= s->layout.slots)
		return NULL;
	return s->memory + slot * s->layout.stride + s->layout.input;
}

const float *bitshed_session_output(const struct bitshed_session *s, uint32_t slot)
{
	if (slot >= s->layout.slots)
		return NULL;
	return (const float *) (const void *) (s->memory + slot * s->layout.stride +
					       s->layout.output);
}

static enum bitshed_input effective_input(const struct bitshed_session *s, enum bitshed_input input)
{
	if (input != BITSHED_INPUT_DEFAULT)
		return input;
	return s->layout.pixels_bytes ? BITSHED_INPUT_PIXELS : BITSHED_INPUT_FLOATS;
}

size_t bitshed_session_input_bytes(const struct bitshed_session *s, enum bitshed_input input)
{
	return (size_t) (effective_input(s, input) == BITSHED_INPUT_PIXELS
				 ? s->layout.pixels_bytes
				 : s->layout.floats_bytes);
}

size_t bitshed_session_output_count(const struct bitshed_session *s)
{
	return (size_t) s->layout.output_bytes / sizeof(float);
}

int bitshed_session_fd(const struct bitshed_session *s)
{
	return s->socket;
}

static int fail_ended(struct bitshed_error *e)
{
	return fail(e, -ECONNRESET,
		"the session has ended: the daemon stopped, or the model was unloaded");
}

int bitshed_session_submit(struct bitshed_session *s, uint32_t slot,
	const struct bitshed_options *options, uint64_t cookie, struct bitshed_error *reterr)
{
	static const struct bitshed_options defaults;
	const struct bitshed_options *o = options ?: &defaults;
	struct bitshed_request request = {
		.version = BITSHED_PROTOCOL_VERSION,
		.input_type = effective_input(s, o->input) == BITSHED_INPUT_FLOATS,
		.slot = slot,
		.cookie = cookie,
		.min_bits = (float) o->min_bits,
		.deadline_ms = o->deadline_ms,
		.priority = o->priority,
		.device = (uint16_t) o->device,
	};

	int r;

	if (slot >= s->layout.slots)
		return fail(reterr, -EINVAL, "slot %u of a session of %u", slot, s->layout.slots);
	if (s->slots[slot].state != SLOT_MINE)
		return fail(reterr, -EBUSY, "slot %u is on its way", slot);
	r = session_send(s, &request);
	if (r == -EPIPE && session_resume(s) >= 0)
		r = session_send(s, &request);
	if (r == -EAGAIN)
		return fail(reterr, r, "the session's socket is full, wait for a reply first");
	if (r < 0)
		return fail_ended(reterr);
	s->slots[slot].request = request;
	s->slots[slot].state = SLOT_AWAY;
	s->n_away++;
	return 0;
}

int session_send(struct bitshed_session *s, const struct bitshed_request *request)
{
	if (send(s->socket, request, sizeof *request, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EAGAIN || errno == ENOBUFS ? -EAGAIN : -EPIPE;
}

/* Return: 1 with a reply, 0 when none came in time, negative: the session is of no more use. */
static int receive(struct bitshed_session *s, struct bitshed_reply *ret, int timeout_ms,
	struct bitshed_error *e)
{
	struct pollfd p = {.fd = s->socket, .events = POLLIN};
	ssize_t n;

	if (timeout_ms > 0 && poll(&p, 1, timeout_ms) == 0)
		return 0;
	do
		n = recv(s->socket, ret, sizeof *ret, timeout_ms < 0 ? 0 : MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	/* After a restart the requests are on their way again, and we wait on. */
	if (n <= 0)
		return session_resume(s) < 0 ? fail_ended(e) : receive(s, ret, timeout_ms, e);
	if ((size_t) n != sizeof *ret || ret->version != BITSHED_PROTOCOL_VERSION ||
		ret->slot >= s->layout.slots || s->slots[ret->slot].state != SLOT_AWAY)
		return fail(e, -EPROTO, "the daemon sent something that is no reply");
	s->n_away--;
	s->slots[ret->slot].state = SLOT_MINE;
	return 1;
}

static void put_name(char *to, size_t size, char *const *names, uint16_t i)
{
	uint16_t n = 0;

	while (names && names[n] && n < i)
		n++;
	if (names && names[n])
		(void) snprintf(to, size, "%s", names[n]);
	else
		(void) snprintf(to, size, "%u", i);
}

/* Return: 1, or the errno that the daemon answered with. */
static int tell(const struct bitshed_session *s, const struct bitshed_reply *reply,
	struct bitshed_result *ret, struct bitshed_error *e)
{
	if (ret) {
		*ret = (struct bitshed_result){
			.slot = reply->slot,
			.cookie = reply->cookie,
			.bits = (double) reply->bits,
			.queue_nsec = reply->queue_nsec,
			.run_nsec = reply->run_nsec,
		};
		put_name(ret->device, sizeof ret->device, s->devices, reply->device);
		put_name(ret->rule, sizeof ret->rule, s->rules, reply->rule);
	}
	return reply->status == BITSHED_OK ? 1 : fail_status(e, reply->status);
}

static bool take_kept(struct bitshed_session *s, struct bitshed_reply *ret)
{
	if (s->n_kept == 0)
		return false;
	for (uint32_t i = 0; i < s->layout.slots; i++)
		if (s->slots[i].state == SLOT_KEPT) {
			*ret = s->slots[i].reply;
			s->slots[i].state = SLOT_MINE;
			s->n_kept--;
			return true;
		}
	return false;
}

int bitshed_session_wait(struct bitshed_session *s, int timeout_ms,
	struct bitshed_result *ret_result, struct bitshed_error *reterr)
{
	struct bitshed_reply reply;
	int r;

	if (ret_result)
		*ret_result = (struct bitshed_result){.slot = BITSHED_NO_SLOT};
	if (take_kept(s, &reply))
		return tell(s, &reply, ret_result, reterr);
	if (s->n_away == 0)
		return fail(reterr, -EINVAL, "no request is on its way");
	r = receive(s, &reply, timeout_ms, reterr);
	if (r <= 0)
		return r;
	return tell(s, &reply, ret_result, reterr);
}

static int wait_for(struct bitshed_session *s, uint32_t slot, int timeout_ms,
	struct bitshed_reply *ret, struct bitshed_error *e)
{
	for (;;) {
		int r = receive(s, ret, timeout_ms, e);

		if (r < 0)
			return r;
		if (r == 0)
			return fail(e, -ETIMEDOUT,
				"bitshedd did not answer; the slot is still its own");
		if (ret->slot == slot)
			return 0;
		s->slots[ret->slot].state = SLOT_KEPT;
		s->slots[ret->slot].reply = *ret;
		s->n_kept++;
	}
}

int bitshed_session_infer(struct bitshed_session *s, uint32_t slot,
	const struct bitshed_options *options, struct bitshed_result *ret_result,
	struct bitshed_error *reterr)
{
	struct bitshed_reply reply;
	int timeout_ms = -1, r = bitshed_session_submit(s, slot, options, 0, reterr);

	if (r < 0)
		return r;
	/* The daemon keeps deadlines; this is for a daemon that has stopped to. */
	if (options && options->deadline_ms && options->deadline_ms < INT32_MAX - DEADLINE_GRACE_MS)
		timeout_ms = (int) options->deadline_ms + DEADLINE_GRACE_MS;
	r = wait_for(s, slot, timeout_ms, &reply, reterr);
	if (r < 0)
		return r;
	r = tell(s, &reply, ret_result, reterr);
	return r < 0 ? r : 0;
}
