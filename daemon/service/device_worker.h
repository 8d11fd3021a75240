/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OpenCL device behind the worker, and what is done about a worker that dies, hangs or lies.
 *
 *	ABSENT: there is no worker to start, or it has found no device; looked for again by device_worker_retry()
 *	IDLE: nobody wants a plan there, so there is no worker; to STARTING with the first one, and from READY
 *	some seconds after the last
 *
 *	STARTING -> TESTING -> READY ---- crash, stall, lost ----> WAITING -- a while, longer each time --> STARTING
 *	                |        |
 *	                |        +-- a wrong number, a stall, two crashes --> QUARANTINED
 *	                +-- the same, of one kernel: it is left out; of all of them ---^
 *
 * Threads: the minder starts, tests, loads and lets go; the queue's thread computes. Who talks to the worker
 * has `turn`; a request that cannot have it at once is computed by the processor. What the loop sees is under
 * `lock`, which nobody keeps for long. QUARANTINED lasts until device_worker_retry() or another driver.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "service/choice.h"
#include "service/config.h"
#include "service/queue.h"

struct device_worker;
struct quarantine;

enum device_state {
	DEVICE_ABSENT,
	DEVICE_IDLE,
	DEVICE_STARTING,
	DEVICE_TESTING,
	DEVICE_READY,
	DEVICE_WAITING,
	DEVICE_QUARANTINED,
	_DEVICE_STATE_MAX,
};

/**
 * struct device_status - a look at it
 * @n_devices: that its driver showed beside it, itself included; 0: not known yet
 * @answered: by the device; @together: of them with others at once; @retried: by the processor in its place
 */
struct device_status {
	enum device_state state;
	char reason[256], platform[128], name[128], driver[128], version[128], banned[512];
	const char *kind; /* "gpu", "accelerator", "cpu", "" */
	bool shares_memory;
	uint32_t units, n_plans, n_devices;
	uint64_t memory_bytes, buffer_bytes, build_nsec, test_nsec;
	uint64_t answered, together, retried, checked, wrong, starts;
	uint32_t n_cached, n_right;
};

/**
 * struct device_worker_options
 * @path: program or socket
 * @index: which of the machine's devices
 * @quarantine: outlives the device
 * @cpu: computes what the worker does not
 * @changed: on the loop, when anything of the status but its counters has changed
 */
struct device_worker_options {
	const char *path;
	uint32_t index;
	struct quarantine *quarantine;
	sd_event *event;
	struct device *cpu;
	const struct config *config;
	void (*changed)(void *userdata);
	void *userdata;
};

/** device_worker_new() - Return: 0 or negative errno. Thread: loop, as everything here */
int device_worker_new(struct device_worker **ret, const struct device_worker_options *options);

/** device_worker_finish() - no more requests run; those that wait are forgotten, as by queue_finish() */
void device_worker_finish(struct device_worker *d);
struct device_worker *device_worker_free(struct device_worker *d);

/** device_worker_configure() - from now on */
void device_worker_configure(struct device_worker *d, const struct config *config);

/**
 * device_worker_add() - a plan that requests may soon ask for; loaded when the device is ready
 * @plan: not kept: before the caller's last reference goes comes device_worker_drop()
 * @head: of its file, duplicated
 */
void device_worker_add(struct device_worker *d, struct plan *plan, int head);

/** device_worker_drop() - nobody will ask for it again; its buffers go. A plan that is not there is fine */
void device_worker_drop(struct device_worker *d, const struct plan *plan);

/** device_worker_look() - what it takes for a plan, the talking included, and whether it is there; joules are left 0 */
void device_worker_look(struct device_worker *d, const struct plan *plan, struct figure *ret);

/** device_worker_missing() - why it cannot compute a plan. Return: -EAGAIN while it may come, else -ENODEV */
int device_worker_missing(struct device_worker *d, const struct plan *plan);

/** device_worker_push() - Return: as queue_push() */
int device_worker_push(struct device_worker *d, struct request *request);

/** device_worker_forget() - a session's memory goes; nothing of it runs any more */
void device_worker_forget(struct device_worker *d, const struct region *region);
bool device_worker_cancel(struct device_worker *d, struct request *request);
uint32_t device_worker_queue_length(struct device_worker *d);

/** device_worker_retry() - lift the quarantine, look again. Return: how many kernels were in it */
uint32_t device_worker_retry(struct device_worker *d);

void device_worker_status(struct device_worker *d, struct device_status *ret);

/** device_state_name() - as Device1.State. Return: static text */
const char *device_state_name(enum device_state state);
