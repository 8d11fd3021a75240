/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that need a model to keep a width: as long as they keep a descriptor open. Thread: loop.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "base/error.h"
#include "service/catalog.h"

/**
 * hold_add() - for the sender of @call
 * @ret_fd: for the client; the caller closes it. The last close of it ends the hold.
 *
 * Return: 0; -EINVAL, -ERANGE no such width, -EDQUOT, -EACCES with words; -ENOMEM.
 */
int hold_add(struct entry *e, sd_bus_message *call, double min_bits, const char *reason, int *ret_fd,
	struct error *reterr);

/** holds_tell() - the policy has decided about @e: those who hold it hear whether that is honoured */
void holds_tell(struct entry *e);

/** holds_bits() - the highest width that is held of a model of that name, 0: none */
double holds_bits(const struct manager *m, const char *name);

/** holds_append() - all as a(sdssub): model, bits, reason, owner, uid, honoured. Return: as sd-bus */
int holds_append(const struct manager *m, sd_bus_message *reply);

/** holds_free() - at the end of the daemon */
void holds_free(struct manager *m);
