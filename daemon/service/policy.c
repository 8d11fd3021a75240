/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hand beats a profile beats nothing: who sets bits on purpose has looked at this model, a
 * profile has not. Never outside of 1 .. bits_max, whatever the configuration says.
 */
#include "service/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const rule_names[_RULE_MAX] = {
	[RULE_FULL] = "full",
	[RULE_HAND] = "hand",
	[RULE_PROFILE] = "profile",
};

static const char *const profile_names[_PROFILE_MAX] = {
	[PROFILE_POWER_SAVER] = "power-saver",
	[PROFILE_BALANCED] = "balanced",
	[PROFILE_PERFORMANCE] = "performance",
};

const char *policy_rule_name(enum policy_rule rule)
{
	return rule_names[rule];
}

const char *profile_name(enum profile profile)
{
	return profile_names[profile];
}

int profile_parse(const char *name)
{
	for (int i = 0; i < _PROFILE_MAX; i++)
		if (strcmp(profile_names[i], name) == 0)
			return i;
	return -EINVAL;
}

static double within(double bits, double bits_max)
{
	return bits < 1 ? 1 : bits > bits_max ? bits_max : bits;
}

void policy_resolve(const struct policy_inputs *in, struct budget *ret)
{
	double cap = in->profile_bits[in->profile];

	if (in->bits_by_hand > 0) {
		ret->rule = RULE_HAND;
		ret->bits = within(in->bits_by_hand, in->bits_max);
		(void) snprintf(ret->text, sizeof ret->text, "set to %g bits by hand", ret->bits);
	} else if (cap > 0 && cap < in->bits_max) {
		ret->rule = RULE_PROFILE;
		ret->bits = within(cap, in->bits_max);
		(void) snprintf(ret->text, sizeof ret->text, "the profile \"%s\" allows %g bits",
			profile_name(in->profile), ret->bits);
	} else {
		ret->rule = RULE_FULL;
		ret->bits = in->bits_max;
		(void) snprintf(ret->text, sizeof ret->text,
			"nothing asks for less than all %g bits", ret->bits);
	}
}
