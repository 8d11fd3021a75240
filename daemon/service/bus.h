/* SPDX-License-Identifier: Apache-2.0 */
/* What all bus_*.c share: errors with our names, options that are checked, who is asking. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/error.h"

/** bus_status() - the code for a reply record. Return: enum bitshed_status; 0 for @r >= 0 */
uint16_t bus_status(int r);

/**
 * bus_error() - fill @ret with our name for @r and the words. Return: a negative errno for sd-bus
 */
int bus_error(sd_bus_error *ret, int r, const struct error *e);

/**
 * bus_reply_error() - the same as an answer to a call that was kept. Return: as
 * sd_bus_reply_method_error()
 */
int bus_reply_error(sd_bus_message *call, int r, const struct error *e);

/**
 * struct bus_option - a key that a method takes
 * @type: one basic D-Bus type; "s" gives a const char * that lives as long as the message
 * @offset: where the value goes in the target
 */
struct bus_option {
	const char *key;
	char type;
	size_t offset;
};

/**
 * bus_read_options() - an a{sv} into a struct; keys that are absent leave it alone
 *
 * Return: 0; -EINVAL with words for a key that is unknown, twice there or of another type; or
 * sd-bus' error.
 */
int bus_read_options(sd_bus_message *m, const struct bus_option *table, size_t n, void *target,
	struct error *reterr);

/**
 * bus_sender_uid() - effective uid of the sender; asks the bus, once per message. Return: 0 or
 * errno
 */
int bus_sender_uid(sd_bus_message *m, uid_t *ret, struct error *reterr);

/** bus_append_u32() and so on - one {sv} entry of that type */
int bus_append_u32(sd_bus_message *m, const char *key, uint32_t value);
int bus_append_u64(sd_bus_message *m, const char *key, uint64_t value);
int bus_append_double(sd_bus_message *m, const char *key, double value);
int bus_append_text(sd_bus_message *m, const char *key, const char *value);
