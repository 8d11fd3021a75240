/* SPDX-License-Identifier: Apache-2.0 */
/* How long work tells that it goes on. */
#pragma once

#include <stdint.h>

/**
 * struct progress - may be NULL everywhere; @step is called from any thread, often
 * @what: static text, changes from phase to phase
 */
struct progress {
	void (*step)(void *userdata, const char *what, uint64_t done, uint64_t total);
	void *userdata;
};

static inline void progress_step(const struct progress *p, const char *what, uint64_t done, uint64_t total)
{
	if (p && p->step)
		p->step(p->userdata, what, done, total);
}
