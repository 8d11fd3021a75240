/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kernels of which device under which driver must not be used again, over restarts. A changed driver
 * is another driver: its entries do not hold any more, and go when the file is next written.
 *
 * The file has a line for each: device, driver, kernel ("*" for all), reason, with tabs between. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "worker/protocol.h"

#define QUARANTINE_ALL "*"
#define QUARANTINE_MAX 256

struct quarantine;

/** quarantine_new() - read @file; NULL: for this process only. What cannot be read is not there. Return: 0, -ENOMEM */
int quarantine_new(struct quarantine **ret, const char *file);
struct quarantine *quarantine_free(struct quarantine *q);
DEFINE_CLEANUP(struct quarantine *, quarantine_free)

/** quarantine_add() - and write the file. Return: 0; a negative errno when it holds for this process only */
int quarantine_add(struct quarantine *q, const char *device, const char *driver, const char *kernel,
	const char *reason);

/** quarantine_find() - Return: it is in; then @ret_reason has why */
bool quarantine_find(struct quarantine *q, const char *device, const char *driver, const char *kernel,
	char ret_reason[WORKER_TEXT]);

/** quarantine_list() - kernels of a device and driver into @test, but for QUARANTINE_ALL. Return: how many */
uint32_t quarantine_list(struct quarantine *q, const char *device, const char *driver,
	struct worker_test *test);

/** quarantine_lift() - forget everything. Return: how many there were */
uint32_t quarantine_lift(struct quarantine *q);
