/* SPDX-License-Identifier: Apache-2.0 */
/* CIFAR-10's ResNet-20, loaded by a daemon of the test's own, and its test pictures. */
#pragma once

#include "bitshed/bitshed.h"
#include "convert/evaluate.h"

/**
 * struct real_network - the daemon has the file loaded as "net"
 * @imported: made for this test and removed with it, empty when @path is somebody's
 * @count: how many pictures are asked: a few hundred, all 5,000 with BITSHED_TEST_FULL=1
 */
struct real_network {
	const char *path;
	char imported[64];
	struct network *network;
	struct dataset *data;
	struct samples samples;
	struct bitshed *bus;
	pid_t daemon;
	uint32_t count;
};

/**
 * real_network_init() - skips the test where the data are missing
 * @path: a planes file for CIFAR-10's pixels; NULL imports ResNet-20 at 8 planes
 */
void real_network_init(struct real_network *f, const char *path);
void real_network_done(struct real_network *f);

/** real_network_must() - the test ends where @r is an error of the library */
void real_network_must(int r, const struct bitshed_error *e);

/**
 * real_network_session() - of one slot, on a bus of its own: for a thread
 *
 * Return: 0, or an error; both are closed by the caller either way.
 */
int real_network_session(struct bitshed **bus, struct bitshed_session **session);
