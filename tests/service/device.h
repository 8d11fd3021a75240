/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon with a worker of its own, in a folder that goes with the program. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

/**
 * device_folder() - STATE_DIRECTORY and CACHE_DIRECTORY of daemons and workers to come, and a place for files.
 * Leaves the program as skipped when this machine has no OpenCL driver
 */
const char *device_folder(void);

/** device_configure() - @config for the next daemon, or the one that runs and is told by SIGHUP */
void device_configure(const char *config);

/**
 * device_daemon() - bitshedd with the worker of this build; device_daemon_with(): and rules of its own
 * @config, @rules: YAML, or NULL
 */
pid_t device_daemon(const char *config);
pid_t device_daemon_with(const char *config, const char *rules);

/** device_select() - which one the functions below look at; "opencl" until then. @name: static */
void device_select(const char *name);

/** device_text(), device_number() - a property of it; text is static */
const char *device_text(sd_bus *bus, const char *property);
uint64_t device_number(sd_bus *bus, const char *property);

/** device_wait() - until State is that. Return: false when it does not come true within a minute or two */
bool device_wait(sd_bus *bus, const char *state);

/** device_wait_number() - until a number is at least that */
bool device_wait_number(sd_bus *bus, const char *property, uint64_t least);

/** device_worker_pid() - the worker of @daemon, 0: there is none now */
pid_t device_worker_pid(pid_t daemon);
