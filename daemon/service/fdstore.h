/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that outlive the process: systemd's fd store keeps their memory while the daemon restarts.
 *
 *	state.NAME	who loaded it, the width by hand, and which files the others must be
 *	head.NAME	graph and scales, see network_head()
 *	file.NAME	the model file, for planes that are not in memory
 *	fixed.NAME, plane1.NAME ...	planes, as they are mapped
 *
 * Names come back as they were given, but nothing says that they still name the same files: each must
 * have the inode that the sealed state says. Thread: loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/bits.h"

struct entry;
struct manager;
struct manager_options;

#define FDSTORE_PLANES (BITS_PLANES_MAX + 1)

/** struct fdstore_file - which file; all zero: none. @layout: of a plane, see plane_layout() */
struct fdstore_file {
	uint64_t dev, ino, bytes;
	uint32_t layout, reserved;
};

/**
 * struct fdstore_state - the contents of state.NAME; no holes
 * @recoded: its planes are not the file's, and not here: the cache has them
 * @mtime_nsec: of the model file
 * @planes: [0] the fixed ones, [i] plane i
 */
struct fdstore_state {
	char magic[8];
	uint32_t uid, configured, recoded, reserved;
	char name[64];
	double bits_by_hand;
	int64_t mtime_nsec;
	struct fdstore_file head, file, planes[FDSTORE_PLANES];
};

/**
 * struct fdstore_entry - what the store has of a model
 * @head: memfd, -1: the model is not for the store
 * @state: as last stored; all zero: nothing is
 * @taken: planes of an earlier process until the network is open, -1: none
 */
struct fdstore_entry {
	int head;
	struct fdstore_state state;
	int taken[FDSTORE_PLANES];
};

void fdstore_entry_init(struct fdstore_entry *s);
void fdstore_entry_done(struct fdstore_entry *s);

/** fdstore_available() - does somebody listen who may keep descriptors? */
bool fdstore_available(void);

/** fdstore_keep() - make the store have what @e has now: new planes go in, shed ones out */
void fdstore_keep(struct entry *e);

/** fdstore_forget() - nothing of @e stays in the store */
void fdstore_forget(struct entry *e);

/** fdstore_offer() - give the planes that were taken back to the network of @e, which is open now */
void fdstore_offer(struct entry *e);

/**
 * fdstore_take() - put all models that came with the process into the catalog, and wait for them
 *
 * Those of @options and the configuration only while they name the same unchanged file. Whatever does
 * not fit is removed from the store, and said.
 */
void fdstore_take(struct manager *m, const struct manager_options *options);
