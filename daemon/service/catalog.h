/* SPDX-License-Identifier: Apache-2.0 */
/* The models that the daemon serves, by name. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "service/builder.h"
#include "service/energy.h"
#include "service/fdstore.h"
#include "service/policy.h"
#include "service/recoder.h"
#include "service/region.h"
#include "service/serving.h"
#include "service/stats.h"
#include "worker/protocol.h"

struct manager;

/*
 *	          open, build                build at another width
 *	LOADING ---------------> READY <-----------------------------+
 *	   |                       |  \______________________________/
 *	   | broken file           |
 *	   v                       |        a job on the builder's thread holds no request up:
 *	FAILED                     |        READY serves the old plan until the new one is there
 *	   |                       |
 *	   |                       +--- idle, or the machine sleeps ---> PARKED: no planes; the next
 *	   |                       ^                                       |     request brings them back
 *	   |                       +------------- build -------------------+
 *	   |   Unload()            |
 *	   +---------> UNLOADED <--+        lives on until the last request and job let go
 */
enum entry_state {
	ENTRY_LOADING,
	ENTRY_READY,
	ENTRY_PARKED,
	ENTRY_FAILED,
	ENTRY_UNLOADED,
	_ENTRY_STATE_MAX,
};

/**
 * struct entry - one model; counted
 * @path: object path; @uid: who loaded it; @charged_bytes: in that user's account
 * @configured: by the operator and not by a call: for all who may set widths
 * @fd: the file, while it is being opened
 * @network, @plan: NULL unless READY (network: or PARKED, or being built)
 * @sizes: known with the first plan
 * @active: what @plan was built for; @building: what the job is building
 * @policy: what the last decision left for the next; @rule: of it, since @rule_since_nsec,
 *	CLOCK_MONOTONIC
 * @recoder: better planes for a width that stays; @energy: what inferences have been measured to take
 * @bits_by_hand: 0: automatic; @bits_by_hand_active: as it was when @plan was built, to go back to
 * @memory_bits: what fits beside the others, 0: all of it; @admitted: it counts there, though it
 *	is not in memory yet; @postponed: it grows when the others have shed
 * @waiters: struct waiter, SetBits() calls to answer when the switch has happened
 */
struct entry {
	struct list link;
	uint32_t refs;
	struct manager *manager;
	char name[64], *path;
	uid_t uid;
	bool configured;
	uint64_t charged_bytes;
	enum entry_state state;
	struct error reason;
	double progress;
	int fd;
	struct network *network;
	struct plan *plan;
	struct tensor_sizes sizes;
	struct serving serving;
	struct budget active, building;
	struct policy_state policy;
	uint32_t rule;
	uint64_t rule_since_nsec;
	double bits_by_hand, bits_by_hand_active, memory_bits;
	bool admitted, postponed;
	struct job job;
	bool job_running;
	struct recoder recoder;
	struct list waiters;
	sd_bus_slot *object;
	struct stats stats;
	struct energy energy, device_energy[WORKER_DEVICES];
	struct fdstore_entry fdstore;
};

/**
 * catalog_load() - begin to load a model
 * @fd: stays the caller's
 * @bits: width by hand, 0: automatic
 *
 * Return: 0; -EINVAL for a bad name, -EEXIST, -EDQUOT, -EBADMSG for what is not a file, -ENOMEM.
 */
int catalog_load(struct manager *m, const char *name, int fd, uid_t uid, double bits,
	struct entry **ret, struct error *reterr);

/**
 * catalog_return() - the same with what an earlier process has left
 * @taken: goes into the entry on success
 */
int catalog_return(struct manager *m, int fd, const struct fdstore_entry *taken, struct entry **ret,
	struct error *reterr);

/** catalog_find() - Return: 0, -ENOENT with words */
int catalog_find(struct manager *m, const char *name, struct entry **ret, struct error *reterr);

/** catalog_find_ready() - the same, ready or parked; -EAGAIN with words when it cannot serve */
int catalog_find_ready(
	struct manager *m, const char *name, struct entry **ret, struct error *reterr);

/** catalog_unload() - off the bus and out of the catalog; ends its sessions */
void catalog_unload(struct entry *e);

/** entry_ref(), entry_unref() - Return: @e, NULL */
struct entry *entry_ref(struct entry *e);
struct entry *entry_unref(struct entry *e);

/** entry_start_job() - give the builder what e->job says; for the files of the catalog */
void entry_start_job(struct entry *e);

/** entry_policy_model() - what policy_resolve() is told of it; the network must be open */
struct policy_model entry_policy_model(const struct entry *e);

/** entry_update() - ask the policy and begin to build what it wants, unless it is there */
void entry_update(struct entry *e);

/**
 * entry_set_bits() - by hand, 0: automatic again
 * @call: answered when new requests run at the new width, or with the error
 *
 * Return: 0; -ERANGE, -EINVAL, -ENOMEM: then @call is not answered.
 */
int entry_set_bits(struct entry *e, double bits, sd_bus_message *call, struct error *reterr);

/** entry_ran() - @request is answered, well: for statistics and energy */
void entry_ran(struct entry *e, const struct request *request);

/** entry_leave_device() - before the last reference to the plan goes: the worker lets it go, too */
void entry_leave_device(struct entry *e);

/** entry_follow_device() - the plan or the policy is another one: the worker is to have it, or not to */
void entry_follow_device(struct entry *e);

/** entry_resident_bytes() - of the planes in memory */
uint64_t entry_resident_bytes(const struct entry *e);

/** plan_below() - fewer bits than asked for; averages are not exact */
static inline bool plan_below(const struct plan *plan, double min_bits)
{
	return plan->model->bits + 1e-3 < min_bits;
}

/** entry_state_name() - as Model1.State */
const char *entry_state_name(enum entry_state state);
