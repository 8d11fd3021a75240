/* SPDX-License-Identifier: Apache-2.0 */
/* What each user has of what is scarce. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/list.h"

enum limit {
	LIMIT_SESSIONS,
	LIMIT_BYTES, /* session memory and model files */
	_LIMIT_MAX,
};

/** struct limits - a counter per uid and kind; users without anything are not kept */
struct limits {
	struct list users;
};

void limits_init(struct limits *l);
void limits_done(struct limits *l);

/**
 * limits_charge() - take @amount for @uid
 * @max: what the user may have in all, from the configuration of this moment
 *
 * Return: 0; -EDQUOT with what there is, was asked and is allowed, nothing charged; -ENOMEM.
 * Thread: loop.
 */
int limits_charge(struct limits *l, uid_t uid, enum limit kind, uint64_t amount, uint64_t max,
	struct error *reterr);

/** limits_release() - give back what was charged before */
void limits_release(struct limits *l, uid_t uid, enum limit kind, uint64_t amount);

uint64_t limits_used(const struct limits *l, uid_t uid, enum limit kind);
