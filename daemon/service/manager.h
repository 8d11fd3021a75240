/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon: one object with everything below it. */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/list.h"
#include "service/builder.h"
#include "service/config.h"
#include "service/devices.h"
#include "service/energy.h"
#include "service/limits.h"
#include "service/policy.h"
#include "service/power.h"
#include "service/queue.h"

/**
 * struct manager - owned by main; everything in it belongs to the loop thread
 * @entries: the catalog, struct entry; @sessions: struct session; @calls: Infer() calls that wait
 * @holds: struct hold
 * @calls_bytes: inputs that the waiting calls keep in memory
 * @rules: of the policy files; NULL: there are none; @inputs: what the board feels, without the time
 * @devices: those of OpenCL; NULL: CPU only
 * @device: the processor; @workspace: its scratch, of whoever runs a request of @queue
 * @authority: who may do what on @bus
 * @power: what the board feels, heard on @power_bus (which may be @bus, or NULL while it is lost)
 * @reconnect: armed then, the next time after @reconnect_nsec
 * @wake: decides again at @wake_nsec, CLOCK_BOOTTIME, though nothing changes; 0: not armed
 * @recodings: struct recoding, under way; @cache_fd: the folder that keeps them, or -1
 * @memory_rest_bytes: what the process needs beside planes, see memory.c
 * @config: replaced whole; @config_file: where it came from, NULL: the layers
 * @config_error: why the last reload left it as it was; empty: it did not
 */
struct manager {
	sd_event *event;
	sd_bus *bus;
	struct config *config;
	const char *config_file, *policy_file;
	struct error config_error;
	struct list entries, sessions, calls, holds, recodings;
	uint32_t n_entries, n_sessions;
	uint64_t session_serial, calls_bytes;
	enum profile profile;
	struct rules *rules;
	struct policy_inputs inputs;
	struct authority *authority;
	sd_bus *power_bus;
	const char *power_bus_name; /* NULL: @bus */
	sd_bus_slot *power_bus_lost;
	sd_event_source *reconnect;
	uint64_t reconnect_nsec;
	struct power *power;
	sd_event_source *wake;
	uint64_t wake_nsec, memory_rest_bytes;
	struct limits limits;
	struct energy_meter energy_meter;
	struct builder *builder;
	int cache_fd;
	struct device *device;
	struct workspace workspace;
	struct queue *queue;
	struct devices *devices;
};

/**
 * struct manager_options - what the command line says; strings outlive the manager
 * @bus: "system", "session" or an address
 * @power_bus: the same, where UPower and its like are; NULL: on @bus
 * @memory_watch, @memory_write: of systemd's environment, or NULL
 * @sysfs: NULL: /sys
 * @config_file: read instead of the layers, with the drop-ins of its own, or NULL
 * @cache_dir: for what takes long to compute; NULL: nothing is kept
 * @policy_file: read instead of the folders, or NULL
 * @worker: program or socket of the OpenCL worker, "none", "unit": its unit's socket or none; NULL: where it is
 *	installed
 * @models: loaded at the start, beside those of the configuration
 */
struct manager_options {
	const char *bus, *power_bus, *sysfs, *memory_watch, *memory_write;
	const char *config_file, *policy_file, *cache_dir, *worker;
	struct config_model *models;
	uint32_t n_models;
};

/**
 * manager_new() - read the configuration, make the objects, appear on the bus
 *
 * Blocks the signals that the loop handles: call it before other threads exist.
 * Return: 0 or a negative errno with words.
 */
int manager_new(struct manager **ret, const struct manager_options *options, struct error *reterr);

/** manager_run() - until a signal or the end of the bus. Return: 0 or negative errno */
int manager_run(struct manager *m);

struct manager *manager_free(struct manager *m);
DEFINE_CLEANUP(struct manager *, manager_free)

/** manager_set_profile() - and resolve all models anew */
void manager_set_profile(struct manager *m, enum profile profile);

/** manager_open_bus() - @name: "system", "session" or an address; attached to the loop. Return: 0 or errno */
int manager_open_bus(struct manager *m, const char *name, sd_bus **ret);

/** manager_is_asleep() - the machine is about to sleep: nothing new begins */
bool manager_is_asleep(const struct manager *m);

/** manager_watts() - what the board draws, by its meter or its battery, looked at now */
struct reading manager_watts(struct manager *m);

/** manager_inputs_now() - what policy_resolve() sees for any model */
struct policy_inputs manager_inputs_now(const struct manager *m);

/** manager_power_follow() - models came or went: listen to what now matters, and to nothing without any */
void manager_power_follow(struct manager *m);

/** manager_wake_at() - update by then at the latest; CLOCK_BOOTTIME, 0: no need */
void manager_wake_at(struct manager *m, uint64_t boot_nsec);

/** manager_power_start() - listen to what the board feels, and act on it. Return: 0 or errno */
int manager_power_start(struct manager *m, const struct manager_options *options);
void manager_power_stop(struct manager *m);

/**
 * manager_deadline() - of a request read now. @deadline_ms: 0 for the default. Return:
 * nanoseconds, 0: none
 */
uint64_t manager_deadline(const struct manager *m, uint32_t deadline_ms);

/**
 * manager_submit() - on the device that the request chooses: run here if that is quick, else queue
 *
 * @choices: what the processor takes, by which is also decided where it runs, and the devices
 *
 * Return: 1 done, 0 queued, -EBUSY queue full; when it requires a device that is not there -ENODEV, or -EAGAIN
 * while that is being prepared.
 */
int manager_submit(struct manager *m, struct request *request, const struct choices *choices);

/** manager_forget_region() - a session's memory goes; nothing of it runs any more */
void manager_forget_region(struct manager *m, const struct region *region);

/** manager_cancel() - as queue_cancel(), whichever queue it is in */
bool manager_cancel(struct manager *m, struct request *request);
