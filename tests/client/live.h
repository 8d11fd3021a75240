/* SPDX-License-Identifier: Apache-2.0 */
/* A real daemon on the private bus, and files for its clients in a folder that goes with the
 * program. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "bitshed/bitshed.h"

#define LIVE_SIZE 8
#define LIVE_PIXELS (LIVE_SIZE * LIVE_SIZE * 3)

/** struct live - @network: a model file of 4 planes; @image: P6; @raw: the same pixels; @garbage:
 * no model */
struct live {
	pid_t daemon;
	char folder[64], network[96], image[96], raw[96], garbage[96];
	uint8_t pixels[LIVE_PIXELS];
};

/** live_start() - ends the program when anything fails */
void live_start(struct live *l);
void live_stop(struct live *l);

/** live_load() - the network as @name, ready, through a connection of its own */
void live_load(struct live *l, const char *name);

/** live_run() - a command line with BITSHED_BUS set, standard output and error in @output. Return:
 * exit code */
int live_run(const char *command, char *output, size_t size);
