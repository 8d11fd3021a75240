/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of libbitshed share. Nothing here is seen by applications. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "bitshed/bitshed.h"
#include "bitshed/protocol.h"

#define _cleanup_(f) __attribute__((cleanup(f)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define CALL_USEC UINT64_C(25000000)
#define LONG_CALL_USEC UINT64_C(300000000)

/* How long a daemon that was there is waited for. */
#define RESTART_MSEC UINT64_C(5000)

/**
 * struct home - what a connection and its sessions, which other threads may use, have in common
 * @closed: the connection is, and so its sessions are not to come back
 */
struct home {
	atomic_uint refs;
	atomic_bool closed;
	char address[];
};

/** struct bitshed - @served: a daemon has answered */
struct bitshed {
	sd_bus *bus;
	struct home *home;
	bool served;
	sd_bus_slot *matches[3];
	bitshed_event_fn on_event;
	void *userdata;
};

static inline void client_freep(void *p)
{
	free(*(void **) p);
}

static inline void client_closep(int *fd)
{
	if (*fd >= 0)
		(void) close(*fd);
}

/** fail() - words of our own for an errno; the name is the one that the daemon would use. Return:
 * @r */
int fail(struct bitshed_error *e, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** fail_status() - a status of a bitshed_reply. Return: its negative errno */
int fail_status(struct bitshed_error *e, uint16_t status);

/** fail_bus() - what sd-bus reported, in @from when it came from a peer. Return: negative errno */
int fail_bus(struct bitshed_error *e, int r, const sd_bus_error *from);

/** manager_call() - a new call to the manager, to be filled and given to call() */
int manager_call(
	struct bitshed *b, sd_bus_message **ret, const char *member, struct bitshed_error *e);

/** call() - send and wait; @ret_reply may be NULL */
int call(struct bitshed *b, sd_bus_message *m, uint64_t usec, sd_bus_message **ret_reply,
	struct bitshed_error *e);

/** call_patiently() - call(), again when the daemon is restarted meanwhile; the call must bear that */
int call_patiently(struct bitshed *b, sd_bus_message *m, uint64_t usec, sd_bus_message **ret_reply,
	struct bitshed_error *e);

/** home_ref(), home_unref() - Return: @h, NULL */
struct home *home_ref(struct home *h);
struct home *home_unref(struct home *h);

uint64_t now_msec(void);

/** pause_a_while() - *@ms, doubled for the next time up to 50 */
void pause_a_while(uint64_t *ms);

/** path_split() - "/org/bitshed/model/NAME" to "model" and a decoded NAME for free(); the root is
 * "daemon", "" */
int path_split(const char *path, const char **ret_kind, char **ret_name);

/** model_path() - for free(). Return: 0 or -ENOMEM */
int model_path(char **ret, const char *name);

/** device_names() - in the order of the numbers in replies; ends with NULL, every string and it for
 * free() */
int device_names(struct bitshed *b, char ***ret);
