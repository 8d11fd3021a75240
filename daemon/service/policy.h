/* SPDX-License-Identifier: Apache-2.0 */
/* How many bits a model may have, and why. */
#pragma once

#include <stdint.h>

#include "service/config.h"

/** enum policy_rule - the number in bitshed_reply.rule; appended to, never reordered */
enum policy_rule {
	RULE_FULL,    /* nothing asks for less */
	RULE_HAND,    /* SetBits() */
	RULE_PROFILE, /* the profile's cap in the configuration */
	_RULE_MAX,
};

/**
 * struct policy_inputs - all that a decision depends on
 * @bits_max: the widest width of the model
 * @bits_by_hand: SetBits(), 0: not set
 * @profile_bits: [enum profile], caps; 0: none
 */
struct policy_inputs {
	double bits_max, bits_by_hand;
	enum profile profile;
	const double *profile_bits;
};

/** struct budget - what a model may use; replaced whole */
struct budget {
	double bits;
	enum policy_rule rule;
	char text[128]; /* for a person */
};

/** policy_resolve() - pure: the same inputs give the same budget. Any thread. */
void policy_resolve(const struct policy_inputs *inputs, struct budget *ret);

/** policy_rule_name() - "full", "hand", "profile". Return: static text, never NULL */
const char *policy_rule_name(enum policy_rule rule);

/** profile_name() - "power-saver", "balanced", "performance". Return: static text, never NULL */
const char *profile_name(enum profile profile);

/** profile_parse() - Return: the profile, or -EINVAL */
int profile_parse(const char *name);
