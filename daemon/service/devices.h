/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All OpenCL devices of the machine, each behind a worker of its own (device_worker.h). The first worker says how
 * many there are; then the others get theirs. Thread: loop.
 */
#pragma once

#include "service/choice.h"
#include "service/device_worker.h"
#include "worker/protocol.h"

struct devices;

/**
 * struct devices_options
 * @path: program or socket of workers
 * @folder: where the quarantine is kept; NULL: nowhere
 * @cpu: computes what a worker does not
 * @changed: something of the status of a device but its counters has changed; @added: there is one more
 */
struct devices_options {
	const char *path, *folder;
	sd_event *event;
	struct device *cpu;
	const struct config *config;
	void (*changed)(uint32_t index, void *userdata);
	void (*added)(uint32_t index, void *userdata);
	void *userdata;
};

/** devices_new() - with one device, which may turn out to be none. Return: 0 or negative errno */
int devices_new(struct devices **ret, const struct devices_options *options);

/** devices_finish() - no more requests run; those that wait are forgotten, as by queue_finish() */
void devices_finish(struct devices *d);
struct devices *devices_free(struct devices *d);

/** devices_configure() - from now on; @config may be replaced afterwards */
void devices_configure(struct devices *d, const struct config *config);

/** devices_count(), devices_get() - at least one; @index below the count */
uint32_t devices_count(const struct devices *d);
struct device_worker *devices_get(const struct devices *d, uint32_t index);

/** devices_name() - "opencl", "opencl2", ... Return: static text */
const char *devices_name(uint32_t index);

/** devices_add(), devices_drop(), devices_forget() - as of device_worker.h, for all of them */
void devices_add(struct devices *d, struct plan *plan, int head);
void devices_drop(struct devices *d, const struct plan *plan);
void devices_forget(struct devices *d, const struct region *region);

/** struct choices - @all: [@n], the processor, then the devices */
struct choices {
	struct figure all[1 + WORKER_DEVICES];
	uint32_t n;
};

/** devices_look() - add all devices to the processor. Joules are left out */
void devices_look(struct devices *d, const struct plan *plan, struct choices *c);

/**
 * devices_choose() - which device, for what the request says
 * @ret: of @choices, 0: the processor
 *
 * Return: 0; of CHOICE_REQUIRE -ENODEV, or -EAGAIN while a device is on its way.
 */
int devices_choose(struct devices *d, const struct request *request, const struct choices *choices,
	enum profile profile, uint32_t *ret);

/** devices_push() - to the one that devices_choose() gave, which is not the processor. Return: as queue_push() */
int devices_push(struct devices *d, uint32_t choice, struct request *request);
bool devices_cancel(struct devices *d, struct request *request);

/** devices_nsec() - what a request takes on the quickest of them; 0: @plan is on none */
uint64_t devices_nsec(struct devices *d, const struct plan *plan);

/** devices_retry() - lift the quarantine, look again. Return: how many kernels were in it */
uint32_t devices_retry(struct devices *d);
