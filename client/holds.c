/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping a model at a width, and who does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "internal.h"

int bitshed_hold(struct bitshed *b, const char *model, double min_bits, const char *reason,
	struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	int fd, r;

	r = manager_call(b, &m, "HoldPrecision", reterr);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "sds", model, min_bits, reason);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	r = call(b, m, CALL_USEC, &reply, reterr);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(reply, 'h', &fd);
	if (r < 0)
		return fail_bus(reterr, r, NULL);
	/* The message closes its own. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? fail_bus(reterr, -errno, NULL) : fd;
}

int bitshed_hold_wait(
	int fd, int timeout_ms, bool *ret_honoured, double *ret_bits, struct bitshed_error *reterr)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct bitshed_hold_record record;
	ssize_t n;

	if (poll(&p, 1, timeout_ms) < 0)
		return errno == EINTR ? 0 : fail_bus(reterr, -errno, NULL);
	n = recv(fd, &record, sizeof record, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return fail(reterr, -ECONNRESET, "the daemon has gone, and the hold with it");
	if (n != sizeof record || record.version != BITSHED_PROTOCOL_VERSION)
		return fail(reterr, -EPROTO, "the daemon sent a record that this library does not know");
	*ret_honoured = record.honoured;
	*ret_bits = (double) record.bits;
	return 1;
}

void bitshed_holds_free(struct bitshed_hold_info *holds, size_t n)
{
	for (size_t i = 0; holds && i < n; i++) {
		free(holds[i].model);
		free(holds[i].reason);
		free(holds[i].owner);
	}
	free(holds);
}

/* Return: 1 read, 0 no more, negative errno */
static int read_hold(sd_bus_message *m, struct bitshed_hold_info *to)
{
	const char *model, *reason, *owner;
	int r, honoured;
	double bits;
	uint32_t uid;

	r = sd_bus_message_read(m, "(sdssub)", &model, &bits, &reason, &owner, &uid, &honoured);
	if (r <= 0)
		return r;
	*to = (struct bitshed_hold_info){.model = strdup(model),
		.reason = strdup(reason),
		.owner = strdup(owner),
		.uid = uid,
		.bits = bits,
		.honoured = honoured};
	return 1;
}

static int read_holds(sd_bus_message *m, struct bitshed_hold_info **ret, size_t *n)
{
	int r = sd_bus_message_enter_container(m, 'a', "(sdssub)");

	while (r >= 0) {
		struct bitshed_hold_info *more = reallocarray(*ret, *n + 1, sizeof *more);

		if (!more)
			return -ENOMEM;
		*ret = more;
		r = read_hold(m, &more[*n]);
		if (r <= 0)
			return r;
		++*n;
		if (!more[*n - 1].model || !more[*n - 1].reason || !more[*n - 1].owner)
			return -ENOMEM;
	}
	return r;
}

int bitshed_list_holds(
	struct bitshed *b, struct bitshed_hold_info **ret, struct bitshed_error *reterr)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	struct bitshed_hold_info *holds = NULL;
	size_t n = 0;
	int r = sd_bus_get_property(b->bus, BITSHED_BUS_NAME, BITSHED_PATH,
		BITSHED_MANAGER_INTERFACE, "Holds", &error, &m, "a(sdssub)");

	if (r >= 0)
		r = read_holds(m, &holds, &n);
	if (r < 0) {
		bitshed_holds_free(holds, n);
		r = fail_bus(reterr, r, &error);
		sd_bus_error_free(&error);
		return r;
	}
	*ret = holds;
	return (int) n;
}
