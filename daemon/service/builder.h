/* SPDX-License-Identifier: Apache-2.0 */
/* One thread for what takes long: reading model files, building models of another width. */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/list.h"
#include "engine/device.h"

struct builder;

/**
 * struct job - one thing to do; embedded in what it is for, which must live until @done
 * @fd: without @network: the model file to open; the job reads it, the caller closes it
 * @head: its head, see network_head(); -1: none yet, and with @keep_head the job makes one
 * @network: opened from @fd, or given: then a plan is built
 * @bits: width of the plan
 * @result: 0 or negative errno with @error
 * @plan: with @network given
 * @work: done instead, on the builder's thread; NULL: as above
 * @done: on the loop thread, exactly once; -ECANCELED when the builder ends before
 */
struct job {
	struct list link;
	struct device *device;
	int fd, head;
	bool keep_head;
	struct network *network;
	double bits;
	int result;
	struct error error;
	struct plan *plan;
	int (*work)(struct job *job);
	void (*done)(struct job *job, void *userdata);
	void *userdata;
};

/** builder_new() - Return: 0 or negative errno. Thread: loop, as everything here */
int builder_new(struct builder **ret, sd_event *event);

/** builder_free() - waits for the job that is being done, cancels the others */
struct builder *builder_free(struct builder *b);
DEFINE_CLEANUP(struct builder *, builder_free)

/** builder_push() - jobs are done in this order */
void builder_push(struct builder *b, struct job *job);
