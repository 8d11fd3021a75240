/* SPDX-License-Identifier: Apache-2.0 */
#include "service/stats.h"

static uint64_t mean(uint64_t old, uint64_t sample)
{
	return old ? old - old / 16 + sample / 16 : sample;
}

void stats_add(struct stats *s, uint64_t queue_nsec, uint64_t run_nsec, bool on_cpu)
{
	s->requests++;
	if (on_cpu)
		s->cpu_nsec = mean(s->cpu_nsec, run_nsec);
	s->run_nsec = mean(s->run_nsec, run_nsec);
	s->latency_nsec = mean(s->latency_nsec, queue_nsec + run_nsec);
}

void stats_fail(struct stats *s)
{
	s->failures++;
}
