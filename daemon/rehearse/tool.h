/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bitshed-policy, which the command "bitshed policy" runs: rules without a daemon. A program of its own, because it
 * computes with what the daemon computes with, which neither a client nor a running daemon should carry.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "rehearse/simulate.h"

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_NO_DAEMON = 3,
};

/* Each reads its own options. Return: an exit code; what is wrong has been said */
int check_command(int argc, char **argv);
int simulate_command(int argc, char **argv);
int record_command(int argc, char **argv);
int replay_command(int argc, char **argv);

/** usage_error() - Return: EXIT_CODE_USAGE */
int usage_error(const char *expected, const char *given);

/** complain() - Return: EXIT_CODE_FAILED */
int complain(int r, const struct error *e);

/** load_rules() - of one file, or the installed ones with NULL. Return: 0 or negative errno with words */
int load_rules(struct rules **ret, const char *file, struct error *reterr);

#define MODELS_MAX 64

/**
 * struct output - how simulations are shown
 * @json: for programs; @plot: NULL, or the SVG file to write, of the last one shown
 * @n: how many have been shown
 */
struct output {
	bool json;
	const char *plot;
	unsigned int n;
};

/** output_check() - can @plot be written in the form that its name says? Return: 0 or an exit code */
int output_check(const struct output *o);

/** output_begin(), output_show(), output_end() - in this order. Return: 0 or negative errno with words */
void output_begin(const struct output *o);
int output_show(struct output *o, const char *model, const struct simulation *s, struct error *reterr);
void output_end(const struct output *o);
