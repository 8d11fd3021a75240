/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the command bitshed, and how they print. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "bitshed/bitshed.h"

#define _cleanup_(f) __attribute__((cleanup(f)))

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_NO_DAEMON = 3,
	EXIT_CODE_DENIED = 4,
	EXIT_CODE_NO_SUCH_MODEL = 5,
	EXIT_CODE_REFUSED =
		6, /* busy, deadline, precision, limits: trying again or asking for less may help */
};

/** struct command - what the command line said; the first of @arguments is the verb's */
struct command {
	struct bitshed *bus;
	bool json;
	char **arguments;
	int n_arguments;
	double bits, min_bits;
	uint32_t deadline_ms, top, repeat;
	int32_t priority;
	bool no_wait, session;
	enum bitshed_input input;
	enum bitshed_choice device;
	const char *reason;
};

int cmd_status(struct command *c);
int cmd_models(struct command *c);
int cmd_load(struct command *c);
int cmd_unload(struct command *c);
int cmd_infer(struct command *c);
int cmd_bits(struct command *c);
int cmd_profile(struct command *c);
int cmd_hold(struct command *c);
int cmd_why(struct command *c);
int cmd_monitor(struct command *c);
int cmd_devices(struct command *c);
int cmd_doctor(struct command *c);
int cmd_policy(struct command *c);

/**
 * policy_exec() - become the program that knows rules; a client does not
 * @argv: from "policy" on
 *
 * Return: an exit code, when there is no such program.
 */
int policy_exec(char **argv);

/** complain() - why @r, and what to do about it, on standard error. Return: an exit code */
int complain(struct command *c, int r, const struct bitshed_error *e, const char *model);

/** json_string() - quoted and escaped */
void json_string(const char *s);

/** json_inputs() - what the daemon knows of the board, as a list */
void json_inputs(const struct bitshed_power_input *inputs, int n);

/** size_text() - "1.5 MiB". Return: @to */
const char *size_text(char to[16], uint64_t bytes);

/** time_text() - "1.5 ms"; "-" for 0. Return: @to */
const char *time_text(char to[16], uint64_t nsec);

/** input_read() - an image or raw file for @model. Return: 0 or an exit code, the reason has been
 * told */
int input_read(const char *path, const struct bitshed_model *model, enum bitshed_input *input,
	void **ret, size_t *ret_size);

static inline void cmd_freep(void *p)
{
	free(*(void **) p);
}
