/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of worker/protocol.h: starts a worker, says one thing at a time, and believes nothing
 * that comes back. No locks and no decisions: whoever has the worker's turn calls. Every call has an end:
 * a worker that does not answer in time is for the caller to kill.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/exec.h"
#include "worker/protocol.h"

/**
 * struct worker_client - @fd: -1: there is no worker; @pid: 0: systemd's child, not ours
 * @region: tensors of WORKER_BATCH inferences, shared with the worker: all outputs, behind them all inputs
 * @cookie: of the last request; @running_since_nsec: it has not been answered, 0: it has
 */
struct worker_client {
	int fd, region_fd;
	pid_t pid;
	uint8_t *region;
	size_t region_bytes;
	uint64_t cookie, running_since_nsec;
};

void worker_init(struct worker_client *w);

/**
 * worker_start() - connect to @path when it is a socket, else run it
 *
 * Return: 0; -ENOENT when nothing is there; another errno with words.
 */
int worker_start(struct worker_client *w, const char *path, struct error *reterr);

/** worker_stop() - kill it, whatever it does; there may be none */
void worker_stop(struct worker_client *w);

/** worker_is_alive() - has it not closed its end? */
bool worker_is_alive(const struct worker_client *w);

/**
 * worker_hello() - @nth: of the devices with @device in their name; @ret: what it has, all texts terminated
 *
 * Return: 0; -ENODEV with words; as packet_receive()
 */
int worker_hello(struct worker_client *w, const char *device, uint32_t nth, uint64_t timeout_nsec,
	struct worker_welcome *ret, struct error *reterr);

/**
 * struct worker_trial - of all its kernels
 * @trying: the one that it was at when it was last heard of
 * @tested: told of each kernel that is not right; @result: -EILSEQ wrong numbers
 */
struct worker_trial {
	char trying[WORKER_NAME];
	uint32_t n_right, n_cached;
	uint64_t build_nsec, test_nsec;
	void (*tested)(const char *kernel, int result, const char *why, void *userdata);
	void *userdata;
};

/**
 * worker_test() - build and test all kernels but the banned ones
 * @timeout_nsec: for each of them
 *
 * Return: 0; -ENOTSUP with words when too few are left; as packet_receive() when it went away or hangs.
 */
int worker_test(struct worker_client *w, const struct worker_test *test, uint64_t timeout_nsec,
	struct worker_trial *trial, struct error *reterr);

/**
 * worker_load() - a plan to the device
 * @head: as network_head()
 * @ret: what it says of it
 *
 * Return: 0; what it says, with words; as packet_receive(), -EPROTO when the connection is of no use any more.
 */
int worker_load(struct worker_client *w, uint64_t id, const struct plan *plan, int head,
	uint64_t timeout_nsec, struct worker_loaded *ret, struct error *reterr);
int worker_unload(struct worker_client *w, uint64_t id, uint64_t timeout_nsec, uint64_t *ret_bytes);

/** worker_reserve() - a region of our own for the tensors of @plan. Return: 0 or negative errno */
int worker_reserve(struct worker_client *w, const struct plan *plan, uint64_t timeout_nsec);

/**
 * worker_region() - let it read a session's memory; worker_forget(): it ends
 * @region: a number that is used once; no more than WORKER_REGIONS at once
 *
 * Return: 0 or negative errno.
 */
int worker_region(struct worker_client *w, uint64_t region, int fd, uint64_t bytes, uint64_t timeout_nsec);
int worker_forget(struct worker_client *w, uint64_t region, uint64_t timeout_nsec);

/**
 * struct worker_job - one inference
 * @region, @at: where its input is in memory of a session; WORKER_OWN_REGION: at @input, copied
 * @output: written on success only
 */
struct worker_job {
	uint64_t region, at;
	const void *input;
	float *output;
};

/**
 * worker_run() - inferences that run together; the region has room for them
 * @n: 1 .. WORKER_BATCH
 * @timeout_nsec: afterwards the worker may go on; whatever is said to it next comes after worker_settle()
 *
 * Return: as worker_load(). A failure of the kernel leaves the connection as it was, see worker_is_lost().
 */
int worker_run(struct worker_client *w, uint64_t id, const struct plan *plan, enum input_type type,
	const struct worker_job *jobs, uint32_t n, uint64_t timeout_nsec, struct error *reterr);

/** worker_input() - the first job's, as the worker has had it, when that was copied */
const void *worker_input(const struct worker_client *w, const struct plan *plan);

/** worker_settle() - wait until no request runs any more. Return: 0; as packet_receive() */
int worker_settle(struct worker_client *w, uint64_t timeout_nsec);

/** worker_is_stalled() - has a request been running for longer than @limit_nsec? */
bool worker_is_stalled(const struct worker_client *w, uint64_t limit_nsec);

/** worker_is_lost() - does @r mean that there is nobody to talk to any more? */
bool worker_is_lost(int r);
