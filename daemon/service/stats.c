/* SPDX-License-Identifier: Apache-2.0 */
#include "service/stats.h"

static uint64_t mean(uint64_t old, uint64_t sample)
{
	return old ? old - old / 16 + sample / 16 : sample;
}

void stats_add(struct stats *s, uint64_t queue_nsec, uint64_t run_nsec)
{
	s->requests++;
	s->run_nsec = mean(s->run_nsec, run_nsec);
	s->latency_nsec = mean(s->latency_nsec, queue_nsec + run_nsec);
}

void stats_add_cpu(struct stats *s, double bits, uint64_t run_nsec, uint64_t now_nsec)
{
	uint32_t i = width_index(bits);

	s->cpu_nsec = mean(s->cpu_nsec, run_nsec);
	s->width_nsec[i] = mean(s->width_nsec[i], run_nsec);
	s->width_measured_nsec[i] = now_nsec;
}

uint64_t stats_cpu(const struct stats *s, double bits, uint64_t *ret_measured_nsec)
{
	uint32_t i = width_index(bits);

	*ret_measured_nsec = s->width_measured_nsec[i];
	return s->width_nsec[i] ?: s->cpu_nsec;
}

void stats_fail(struct stats *s)
{
	s->failures++;
}
