/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who computes a request: the processor or one of the devices, by what each was measured to take for this model at
 * this width, and to draw. Pure: no clock, no lock, no device.
 *
 *	profile		what counts
 *	power-saver	joules
 *	balanced	joules times time
 *	performance	time
 *
 * Time alone counts where the joules of one of them are not known. A figure that nobody has looked at for long is
 * measured again by one request, unless it was so much worse that the request would suffer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "service/policy.h"

#define CHOICE_NONE UINT32_MAX

/**
 * struct figure - of the processor or a device, for one model at one width
 * @there: it can compute it now
 * @nsec: one inference; 0: not known; @joules: likewise
 * @waiting: requests that it has before this one
 * @measured_nsec: when; CLOCK_MONOTONIC
 */
struct figure {
	bool there;
	uint64_t nsec, measured_nsec;
	double joules;
	uint32_t waiting;
};

/**
 * choice_best() - whatever is there, the processor too
 * @figures: [@n], the processor's first, which is always there
 * @left_nsec: until the request's deadline; 0: it has none
 *
 * Return: index. It is a device only where that is better by a tenth: the processor disturbs nobody else.
 */
uint32_t choice_best(const struct figure *figures, uint32_t n, enum profile profile, uint64_t now_nsec,
	uint64_t left_nsec);

/** choice_device() - a device, since one is asked for; as above, without the processor. Return: index, or CHOICE_NONE */
uint32_t choice_device(const struct figure *figures, uint32_t n, enum profile profile);
