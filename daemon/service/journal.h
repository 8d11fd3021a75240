/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the journal that programs read: with fields of their own, not a line to take apart. */
#pragma once

#include <stdint.h>

#include "service/policy.h"

/** JOURNAL_SWITCH_ID - MESSAGE_ID of a switch; config/bitshed.catalog explains it to people */
#define JOURNAL_SWITCH_ID "7519369d46d54e8a9a17d0b37b11fdca"

/**
 * struct journal_switch - one change of width
 * @bits_was: before; @rule, @reason: see struct budget; @resident_bytes: of planes, afterwards
 * @inputs: what the decision saw
 */
struct journal_switch {
	const char *model, *rule, *reason;
	double bits, bits_was;
	uint64_t resident_bytes;
	const struct policy_inputs *inputs;
};

/** journal_switch() - one native entry, or one line on standard error when that is not the journal */
void journal_switch(const struct journal_switch *s);
