/* SPDX-License-Identifier: Apache-2.0 */
/* A client made of bare sd-bus calls and system calls: nothing between a test and the daemon. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "bitshed/protocol.h"
#include "engine/plan.h"
#include "support/network.h"

/**
 * caller_load() - LoadModel() and wait. Return: 0 when ready, 1 when failed, -1 with *ret_error
 * (static)
 */
int caller_load(sd_bus *bus, const char *name, int fd, const char **ret_error);

/** caller_load_network() - a drawn network of @planes planes, which must become ready */
void caller_load_network(sd_bus *bus, const char *name, uint32_t planes);

/**
 * caller_error() - call a method of Manager1. Return: the error's name (static), "" without error
 */
const char *caller_error(sd_bus *bus, const char *method, const char *types, ...);

/** caller_bits() - Model1.Bits */
double caller_bits(sd_bus *bus, const char *name);

/** caller_statistic() - one entry of Model1.GetStatistics(); UINT64_MAX when it is not there */
uint64_t caller_statistic(sd_bus *bus, const char *name, const char *key);

/** caller_text() - a string property of Model1 (static) */
const char *caller_text(sd_bus *bus, const char *name, const char *property);

/** caller_switches() - how often the threads of a process have been woken or put aside until now */
uint64_t caller_switches(pid_t pid);

/**
 * caller_expect_quiet() - nothing wakes up a process for @seconds
 *
 * What a busy machine has made late may still come first: one quiet stretch of three is enough. ThreadSanitizer's own
 * thread wakes up: with it nothing is expected, and said so.
 */
void caller_expect_quiet(pid_t pid, uint32_t seconds);

/** struct caller_answer - what Infer() gave; @error is empty when it did */
struct caller_answer {
	float output[64];
	size_t output_bytes;
	double bits;
	char rule[32], device[32], error[128];
};

/**
 * caller_infer() - @options: types and values of the a{sv}, as for sd_bus_message_append(), or
 * NULL
 */
void caller_infer(sd_bus *bus, const char *name, const void *input, size_t size,
	struct caller_answer *ret, const char *options, ...);

/** struct caller_session - what OpenSession() gave, mapped */
struct caller_session {
	char path[96];
	int socket;
	uint8_t *map;
	uint32_t slots;
	uint64_t stride, input, output, pixels_bytes, floats_bytes, output_bytes, memory_bytes;
};

/** caller_session_open() - Return: the error's name (static), "" without error */
const char *caller_session_open(
	sd_bus *bus, const char *name, uint32_t slots, struct caller_session *ret);
void caller_session_done(struct caller_session *s);

/** caller_request() - a record that asks for @slot */
struct bitshed_request caller_request(uint32_t slot);

/**
 * caller_exchange() - send @size bytes of a record and wait for a reply. Return: false when none
 * came
 */
bool caller_exchange(
	struct caller_session *s, const void *record, size_t size, struct bitshed_reply *ret);

/** struct reference - the same network in this process, one thread, no bus */
struct reference {
	struct network *network;
	struct plan *plan;
	struct workspace *workspace;
};

/** reference_open() - of the network that caller_load_network() loads */
void reference_open(struct reference *r, uint32_t planes, double bits);
void reference_run(struct reference *r, bool floats, const void *input, float *output);
void reference_done(struct reference *r);
