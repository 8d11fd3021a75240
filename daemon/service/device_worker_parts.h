/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of device_worker.h share; nobody else includes this. */
#pragma once

#include <pthread.h>

#include "service/device_worker.h"
#include "service/quarantine.h"
#include "worker/client.h"

/* So many good answers between two crashes, and the first is forgotten. */
#define CRASHES_APART 1000
#define CRASHES_MAX 2

#define DEVICE_IDLE_REASON "no model wants it"

enum remote_state {
	REMOTE_WANTED,
	REMOTE_LOADED,
	REMOTE_FAILED, /* the device cannot have it; asked for again after a restart of the worker */
	REMOTE_DEAD,   /* nobody wants it any more; to be let go */
};

/**
 * struct remote_plan - a plan on the device
 * @plan: not referred to; alive until device_worker_drop(), which makes it NULL
 * @run_nsec: what a request took lately, the talking included
 * @batch_nsec: one of several that run together; 0: that does not pay
 * @measured_nsec: when that was last found
 */
struct remote_plan {
	struct list link;
	struct plan *plan;
	uint64_t id;
	int head;
	enum remote_state state;
	bool on_device;
	uint64_t run_nsec, batch_nsec, measured_nsec;
};

/**
 * struct settings - of the configuration, under the lock
 * @check_every: one request in so many is computed twice; 0: none
 */
struct settings {
	uint32_t check_every, build_timeout_ms, run_timeout_ms;
};

/** struct known_region - memory of a session that the worker has; @gone: to be forgotten */
struct known_region {
	uint64_t id;
	bool gone;
};

/**
 * struct device_worker
 * @turn: of whoever talks to @client; taken before @lock
 * @talking_fd: of @client while there is a worker, for the loop to cut it off; under the lock
 * @crashes: of @crashed_at, a kernel or QUARANTINE_ALL, since @good answers ago
 * @broken: what a request has met; the minder acts on it
 * @unwanted_nsec: since when no plan has been wanted, while the worker is ready and none is
 * @workspace: of the queue's thread, as @checked
 */
struct device_worker {
	struct device_worker_options options;
	char *path;
	struct queue *queue;
	pthread_t thread;
	bool started, finished;
	int event_fd;
	sd_event_source *source;

	pthread_mutex_t turn;
	struct worker_client client;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop, retry;
	int talking_fd;
	struct settings settings;
	struct device_status status;
	struct list plans;
	uint64_t plan_serial;
	struct known_region regions[WORKER_REGIONS];
	uint32_t n_regions;
	int broken;
	char broken_reason[256];

	/* the minder's */
	uint64_t waited_nsec, retry_at_nsec, unwanted_nsec;
	uint32_t crashes;
	char crashed_at[WORKER_NAME];
	uint64_t crashed_answered, waited_answered;

	/* the queue's thread's */
	struct workspace workspace;
	float *check;
	size_t check_bytes;
	uint32_t since_check, errors;
};

/** device_worker_minder() - the minder's thread; @userdata: the device */
void *device_worker_minder(void *userdata);

/** device_worker_run() - as queue_run_fn */
int device_worker_run(void *userdata, struct request *request);

/** device_worker_set() - state and reason, and tell the loop. Lock held */
void device_worker_set(struct device_worker *d, enum device_state state, const char *reason);

/** device_worker_find() - Return: NULL when it is not there or dead. Lock held */
struct remote_plan *device_worker_find(struct device_worker *d, const struct plan *plan);
