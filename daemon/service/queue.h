/* SPDX-License-Identifier: Apache-2.0 */
/* Where the loop thread and a device's thread meet, and nowhere else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "engine/device.h"

struct queue;
struct region;

/** enum device_choice - what a request says about devices; rules say it for those that do not */
enum device_choice {
	CHOICE_ANY,	/* whichever is quicker */
	CHOICE_CPU,
	CHOICE_PREFER,	/* OpenCL, or the processor when it is not there */
	CHOICE_REQUIRE, /* OpenCL, or an error */
	_CHOICE_MAX,
};

/** enum request_device - who has computed it; the number in bitshed_reply.device */
enum request_device {
	REQUEST_ON_CPU,
	REQUEST_ON_OPENCL, /* the first device; the others' numbers come after it */
};

/**
 * struct request - one inference; embedded in what it belongs to, so none is allocated
 * @plan: a reference, taken when the request is submitted; a change of bits never touches it. NULL while the
 *	request waits for planes, see serving.h: then @waits, and @min_bits is looked at when they are there
 * @input, @output: not to be touched by anybody else until @done is called
 * @region: the session's memory that @input is in; NULL: in memory of the daemon alone
 * @priority: higher first; then the earlier deadline; then first come
 * @deadline_nsec: CLOCK_MONOTONIC; 0: none
 * @done: called on the loop thread, exactly once, unless queue_cancel() took the request back
 * @threads_max: at most so many compute it; 0: all that the device has
 * @choice: where to run; @device: where it has, enum request_device
 * @result: 0, -ETIMEDOUT when the deadline passed before the end, or what running gave
 * @running: the queue's; under its mutex
 */
struct request {
	struct list link;
	struct plan *plan;
	enum input_type input_type;
	const void *input;
	float *output;
	const struct region *region;
	int32_t priority;
	uint64_t deadline_nsec, submitted_nsec, started_nsec, finished_nsec;
	double min_bits;
	uint32_t threads_max;
	enum device_choice choice;
	uint32_t device;
	int result;
	bool running, waits;
	void (*done)(struct request *request, void *userdata);
	void *userdata;
};

/**
 * queue_run_fn - computes; on the device's thread or the loop's, never on both at once. Return: 0
 * or errno
 */
typedef int queue_run_fn(void *device, struct request *request);

/**
 * queue_new() - a queue with a thread of its own
 * @length_max: waiting requests, beyond it queue_push() says -EBUSY
 *
 * Return: 0 or negative errno. Thread: loop, as everything here.
 */
int queue_new(
	struct queue **ret, sd_event *event, queue_run_fn *run, void *device, uint32_t length_max);

/**
 * queue_finish() - wait for the running request, end the thread, call done for what is finished
 *
 * Requests that still wait are forgotten, their done is not called: whoever made them takes them
 * back.
 */
void queue_finish(struct queue *q);

/** queue_free() - queue_finish() and free. Return: NULL */
struct queue *queue_free(struct queue *q);
DEFINE_CLEANUP(struct queue *, queue_free)

void queue_set_length_max(struct queue *q, uint32_t length_max);

/** queue_length() - requests that wait now */
uint32_t queue_length(struct queue *q);

/** queue_is_idle() - nothing waits, runs on the device's thread or is to be told */
bool queue_is_idle(struct queue *q);

/**
 * queue_push() - hand a request to the device's thread. Return: 0; -EBUSY when full, done is not
 * called
 */
int queue_push(struct queue *q, struct request *request);

/**
 * queue_run_here() - run the request on this thread if nobody waits and the device is idle
 *
 * Return: true: it has run and request->result is set (done is not called); false: use
 * queue_push().
 */
bool queue_run_here(struct queue *q, struct request *request);

/**
 * queue_take_alike() - waiting requests of the same plan and type of input, to be computed with the one that runs
 * @like: the one that runs; @deadline_nsec: those that have to be answered before are left
 * @ret: [@max]; each is given back by queue_finish_alike()
 *
 * Return: how many. Thread: the device's, inside of queue_run_fn, as queue_finish_alike().
 */
uint32_t queue_take_alike(struct queue *q, const struct request *like, uint64_t deadline_nsec,
	struct request **ret, uint32_t max);

/** queue_finish_alike() - @result: as of queue_run_fn */
void queue_finish_alike(struct queue *q, struct request *request, int result);

/**
 * queue_cancel() - take a waiting request back
 *
 * Return: true: it is the caller's again; false: it runs or is finished, done will still be called.
 */
bool queue_cancel(struct queue *q, struct request *request);

/**
 * queue_drain() - call done for all that is finished; the loop does it by itself, tests do not
 * have one
 */
void queue_drain(struct queue *q);
