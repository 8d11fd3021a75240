/* SPDX-License-Identifier: Apache-2.0 */
/* A session as session.c, which uses it, and session_resume.c, which brings it back, see it. */
#pragma once

#include "internal.h"

enum slot_state { SLOT_MINE, SLOT_AWAY, SLOT_KEPT };

/** struct slot - @request: while AWAY, to send again; @reply: while KEPT */
struct slot {
	enum slot_state state;
	struct bitshed_request request;
	struct bitshed_reply reply;
};

struct layout {
	uint32_t slots;
	uint64_t stride, input, output, pixels_bytes, floats_bytes, output_bytes, memory_bytes;
};

/**
 * struct bitshed_session - see session.c
 * @rules, @devices: names of the numbers in replies
 * @home: of the connection that opened it
 * @model, @daemon: what it is for, and the unique name of who serves it
 * @own: after a resume: a session lives as long as the connection that opened it
 * @ended: for good
 */
struct bitshed_session {
	struct layout layout;
	unsigned char *memory;
	int socket;
	uint32_t n_away, n_kept;
	char **rules, **devices;
	struct home *home;
	char *model, *daemon;
	struct bitshed *own;
	bool ended;
	struct slot slots[];
};

/** session_call_open() - OpenSession() */
int session_call_open(struct bitshed *b, const char *model, uint32_t slots, sd_bus_message **ret,
	struct bitshed_error *e);

/** session_read_layout() - the last argument of its reply. Return: 0 or sd-bus' error */
int session_read_layout(sd_bus_message *m, struct layout *l);

/** session_check_memory(), session_check_socket() - Return: 0 or -EPROTO */
int session_check_memory(int fd, const struct layout *l, struct bitshed_error *e);
int session_check_socket(int fd, struct bitshed_error *e);

/** session_learn_names() - of rules and devices, anew */
void session_learn_names(struct bitshed_session *s, struct bitshed *b, const char *model);

/** session_send() - Return: 0; -EAGAIN the socket is full; -EPIPE nobody reads it */
int session_send(struct bitshed_session *s, const struct bitshed_request *request);

/** session_remember() - what a resume needs. Return: 0 or -ENOMEM */
int session_remember(struct bitshed_session *s, const char *model, const char *daemon);

/**
 * session_resume() - the socket has been closed: if that was a restart, go on with the new daemon
 *
 * Memory stays at its address with what is in it, requests on their way are sent again.
 * Return: 0, or -ECONNRESET: the session has ended for good.
 */
int session_resume(struct bitshed_session *s);
