/* SPDX-License-Identifier: Apache-2.0 */
#include "service/choice.h"

#include "base/clock.h"

#define BETTER 0.9
#define AGAIN_NSEC (600 * NSEC_PER_SEC)
#define AGAIN_FACTOR 4

static bool is_known(const struct figure *f)
{
	return f->there && f->nsec > 0;
}

static bool all_joules_known(const struct figure *figures, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (is_known(&figures[i]) && figures[i].joules <= 0)
			return false;
	return true;
}

static double cost(const struct figure *f, enum profile profile, bool joules_known)
{
	double time = (double) f->nsec * (1 + f->waiting);

	if (!joules_known)
		return time;
	switch (profile) {
	case PROFILE_POWER_SAVER:
		return f->joules;
	case PROFILE_BALANCED:
		return f->joules * time;
	case PROFILE_PERFORMANCE:
	case _PROFILE_MAX:
		break;
	}
	return time;
}

uint32_t choice_device(const struct figure *figures, uint32_t n, enum profile profile)
{
	bool joules = all_joules_known(figures + 1, n - 1);
	uint32_t best = CHOICE_NONE;

	for (uint32_t i = 1; i < n; i++)
		if (is_known(&figures[i]) &&
			(best == CHOICE_NONE || cost(&figures[i], profile, joules) <
							cost(&figures[best], profile, joules)))
			best = i;
	return best;
}

/* Return: one whose figure is old, and which @best's request can afford; CHOICE_NONE */
static uint32_t find_old(const struct figure *figures, uint32_t n, uint32_t best, uint64_t now_nsec,
	uint64_t left_nsec)
{
	uint64_t most = figures[best].nsec * AGAIN_FACTOR;

	if (left_nsec > 0 && left_nsec < 2 * most)
		return CHOICE_NONE;
	for (uint32_t i = 0; i < n; i++)
		if (i != best && is_known(&figures[i]) && figures[i].nsec <= most &&
			figures[i].waiting == 0 && figures[i].measured_nsec + AGAIN_NSEC <= now_nsec)
			return i;
	return CHOICE_NONE;
}

uint32_t choice_best(const struct figure *figures, uint32_t n, enum profile profile, uint64_t now_nsec,
	uint64_t left_nsec)
{
	uint32_t best = 0, device = choice_device(figures, n, profile), old;
	bool joules = all_joules_known(figures, n);

	/* What the processor takes is found out first, on every board. */
	if (figures[0].nsec == 0 || device == CHOICE_NONE)
		return 0;
	if (cost(&figures[device], profile, joules) < cost(&figures[0], profile, joules) * BETTER)
		best = device;
	old = find_old(figures, n, best, now_nsec, left_nsec);
	return old == CHOICE_NONE ? best : old;
}
