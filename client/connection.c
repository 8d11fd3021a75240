/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the bus, and the calls that need no more than a name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"

const char *bitshed_version(void)
{
	return BITSHED_VERSION;
}

static int open_bus(sd_bus **ret, const char *address)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	int r;

	if (strcmp(address, "system") == 0)
		return sd_bus_open_system(ret);
	if (strcmp(address, "session") == 0)
		return sd_bus_open_user(ret);
	if (!strchr(address, ':'))
		return -EINVAL;
	r = sd_bus_new(&bus);
	if (r < 0)
		return r;
	r = sd_bus_set_address(bus, address);
	if (r < 0)
		return r;
	r = sd_bus_set_bus_client(bus, true);
	if (r < 0)
		return r;
	r = sd_bus_start(bus);
	if (r < 0)
		return r;
	*ret = bus;
	bus = NULL;
	return 0;
}

struct home *home_ref(struct home *h)
{
	(void) atomic_fetch_add(&h->refs, 1);
	return h;
}

struct home *home_unref(struct home *h)
{
	if (h && atomic_fetch_sub(&h->refs, 1) == 1)
		free(h);
	return NULL;
}

static struct home *home_new(const char *address)
{
	size_t size = strlen(address) + 1;
	struct home *h = calloc(1, sizeof *h + size);

	if (!h)
		return NULL;
	atomic_init(&h->refs, 1);
	memcpy(h->address, address, size);
	return h;
}

int bitshed_open(struct bitshed **ret, const char *address, struct bitshed_error *reterr)
{
	struct bitshed *b = calloc(1, sizeof *b);
	int r;

	if (!b)
		return fail(reterr, -ENOMEM, "out of memory");
	address = address ?: getenv("BITSHED_BUS") ?: "system";
	b->home = home_new(address);
	r = b->home ? open_bus(&b->bus, address) : -ENOMEM;
	if (r < 0) {
		(void) home_unref(b->home);
		free(b);
		if (r == -EINVAL)
			return fail(reterr, -EINVAL,
				"'%.100s' is no bus: system, session or a D-Bus address", address);
		return fail(reterr, r == -ENOMEM ? r : -ECONNREFUSED, "no bus at '%.100s': %s",
			address, strerrordesc_np(-r));
	}
	(void) sd_bus_set_allow_interactive_authorization(b->bus, true);
	*ret = b;
	return 0;
}

struct bitshed *bitshed_close(struct bitshed *b)
{
	if (!b)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(b->matches); i++)
		sd_bus_slot_unref(b->matches[i]);
	atomic_store(&b->home->closed, true);
	(void) home_unref(b->home);
	sd_bus_flush_close_unref(b->bus);
	free(b);
	return NULL;
}

int manager_call(
	struct bitshed *b, sd_bus_message **ret, const char *member, struct bitshed_error *e)
{
	int r = sd_bus_message_new_method_call(
		b->bus, ret, BITSHED_BUS_NAME, BITSHED_PATH, BITSHED_MANAGER_INTERFACE, member);

	return r < 0 ? fail_bus(e, r, NULL) : 0;
}

int call(struct bitshed *b, sd_bus_message *m, uint64_t usec, sd_bus_message **ret_reply,
	struct bitshed_error *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call(b->bus, m, usec, &error, ret_reply);

	if (r < 0)
		return fail_bus(e, r, &error);
	b->served = true;
	return 0;
}

uint64_t now_msec(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

void pause_a_while(uint64_t *ms)
{
	struct timespec pause = {0, (long) *ms * 1000000};

	(void) nanosleep(&pause, NULL);
	if (*ms < 50)
		*ms *= 2;
}

/* Nobody has the name, or whoever had it went away without an answer. */
static bool daemon_gone(const sd_bus_error *e, uint64_t took_ms, uint64_t usec)
{
	if (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
		sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
		return true;
	/* sd-bus uses the name for its own time-out, too. */
	return sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) && took_ms < usec / 2000;
}

int call_patiently(struct bitshed *b, sd_bus_message *m, uint64_t usec, sd_bus_message **ret_reply,
	struct bitshed_error *e)
{
	uint64_t gone_since = 0, pause_ms = 1;

	for (;;) {
		_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
		uint64_t sent = now_msec(), now;
		int r = sd_bus_call(b->bus, m, usec, &error, ret_reply);

		b->served |= r >= 0;
		if (r >= 0)
			return 0;
		now = now_msec();
		if (!gone_since && b->served && daemon_gone(&error, now - sent, usec))
			gone_since = now;
		/* Nothing wrong but that the next daemon is not ready yet. */
		if (!gone_since || now - gone_since > RESTART_MSEC ||
			(!daemon_gone(&error, now - sent, usec) &&
				!sd_bus_error_has_name(&error, "org.bitshed.Error.NotReady")))
			return fail_bus(e, r, &error);
		pause_a_while(&pause_ms);
	}
}

int model_path(char **ret, const char *name)
{
	return sd_bus_path_encode(BITSHED_PATH "/model", name, ret);
}

int path_split(const char *path, const char **ret_kind, char **ret_name)
{
	static const char *const kinds[] = {"model", "session", "device"};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char prefix[64];
		int r;

		(void) snprintf(prefix, sizeof prefix, BITSHED_PATH "/%s", kinds[i]);
		r = sd_bus_path_decode(path, prefix, ret_name);
		if (r < 0)
			return r;
		if (r > 0) {
			*ret_kind = kinds[i];
			return 0;
		}
	}
	*ret_name = strdup("");
	*ret_kind = "daemon";
	return *ret_name ? 0 : -ENOMEM;
}

int bitshed_load_fd(
	struct bitshed *b, const char *name, int fd, double bits, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = manager_call(b, &m, "LoadModel", reterr);

	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "sh", name, fd);
	if (r >= 0 && bits != 0)
		r = sd_bus_message_append(m, "a{sv}", 1, "bits", "d", bits);
	else if (r >= 0)
		r = sd_bus_message_append(m, "a{sv}", 0);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	return call(b, m, CALL_USEC, NULL, reterr);
}

int bitshed_load(struct bitshed *b, const char *name, const char *path, double bits,
	struct bitshed_error *reterr)
{
	/* O_NONBLOCK: a pipe must not hang us; the daemon refuses what is no regular file. */
	_cleanup_(client_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		int r = -errno;

		return fail(reterr, r, "%.150s: %s", path, strerrordesc_np(-r));
	}
	return bitshed_load_fd(b, name, fd, bits, reterr);
}

/*
 * Asked for, with growing pauses, instead of waiting for a signal: the caller may have callbacks
 * that must not run inside of this call.
 */
int bitshed_wait_ready(
	struct bitshed *b, const char *name, int timeout_ms, struct bitshed_error *reterr)
{
	uint64_t start = now_msec(), pause_ms = 1;

	for (;;) {
		struct bitshed_model *m = NULL;
		int r = bitshed_get_model(b, &m, name, reterr);

		if (r < 0)
			return r;
		if (strcmp(m->state, "failed") == 0)
			r = fail(reterr, -EBADMSG, "%s", m->state_reason);
		else if (strcmp(m->state, "ready") != 0)
			r = 1;
		bitshed_model_free(m);
		if (r <= 0)
			return r;
		if (timeout_ms >= 0 && now_msec() - start >= (uint64_t) timeout_ms)
			return fail(reterr, -ETIMEDOUT, "model '%s' is still loading", name);
		pause_a_while(&pause_ms);
	}
}

int bitshed_unload(struct bitshed *b, const char *name, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = manager_call(b, &m, "Unload", reterr);

	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "s", name);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	return call(b, m, CALL_USEC, NULL, reterr);
}

int bitshed_set_bits(
	struct bitshed *b, const char *model, double bits, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = manager_call(b, &m, "SetBits", reterr);

	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "sd", model, bits);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	return call(b, m, LONG_CALL_USEC, NULL, reterr);
}

int bitshed_get_profile(struct bitshed *b, char **ret, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_get_property_string(b->bus, BITSHED_BUS_NAME, BITSHED_PATH,
		BITSHED_MANAGER_INTERFACE, "Profile", &error, ret);

	return r < 0 ? fail_bus(reterr, r, &error) : 0;
}

int bitshed_retry_devices(struct bitshed *b, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	uint32_t lifted = 0;
	int r = sd_bus_call_method(b->bus, BITSHED_BUS_NAME, BITSHED_PATH, BITSHED_MANAGER_INTERFACE,
		"RetryDevices", &error, &reply, "");

	if (r >= 0)
		r = sd_bus_message_read(reply, "u", &lifted);
	return r < 0 ? fail_bus(reterr, r, &error) : (int) lifted;
}

int bitshed_set_profile(struct bitshed *b, const char *profile, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_set_property(b->bus, BITSHED_BUS_NAME, BITSHED_PATH,
		BITSHED_MANAGER_INTERFACE, "Profile", &error, "s", profile);

	return r < 0 ? fail_bus(reterr, r, &error) : 0;
}
