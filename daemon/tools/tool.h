/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands of bitshed-model share. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "convert/progress.h"
#include "convert/sample.h"
#include "engine/model.h"
#include "engine/threads.h"

/**
 * struct command - one subcommand, one file
 * @run: argv[0] is the subcommand's name. Return: the exit status
 */
struct command {
	const char *name, *summary, *help;
	int (*run)(int argc, char **argv);
};

extern const struct command command_import, command_inspect, command_evaluate, command_run,
	command_compare, command_train, command_sweep, command_pack, command_unpack, command_classes, command_analyse,
	command_tune, command_bench;

#define EXIT_USAGE 2

/** tool_fail() - "bitshed-model import: words". Return: EXIT_FAILURE */
int tool_fail(const struct command *c, const struct error *e, int r);
/** tool_usage() - a mistake in the arguments, in words, and where to find help. Return: EXIT_USAGE */
int tool_usage(const struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** tool_help() - for --help. Return: EXIT_SUCCESS */
int tool_help(const struct command *c);

/** tool_number() - a whole number from @low to @high. Return: false, when it is not */
bool tool_number(const char *text, uint32_t low, uint32_t high, uint32_t *ret);
/** tool_floats() - "0.1,0.2,0.3". Return: how many, 0 when it is no such list or has more than @max */
uint32_t tool_floats(const char *text, float *ret, uint32_t max);

/** tool_base_name() - what follows the last slash. Return: into @path */
const char *tool_base_name(const char *path);

/** tool_network() - open a model file */
int tool_network(struct network **ret, const char *path, struct error *reterr);
/** tool_samples() - open a data set for a network. @ret_data is owned by the caller */
int tool_samples(struct samples *ret, struct dataset **ret_data, const struct network *n,
	const char *data, const char *labels, struct error *reterr);
/** tool_widths() - "4,3,2.5" within the network's widths; NULL: all whole ones. Return: how many or -EINVAL */
int tool_widths(const struct network *n, const char *text, float *ret, uint32_t max,
	struct error *reterr);
#define WIDTHS_MAX 64

/**
 * struct meter - progress for a person: one line that changes on a terminal, else a line per phase
 */
struct meter {
	struct progress progress;
	bool terminal;
	int busy;
	const char *what;
	uint64_t start_nsec, shown_nsec;
};

void meter_init(struct meter *m);
/** meter_done() - clear the line */
void meter_done(struct meter *m);

/** json_string() - @text in quotes, escaped, to stdout */
void json_string(const char *text);
