/* SPDX-License-Identifier: Apache-2.0 */
/* What programs that peers.py talks to have in common: a line in, the times of some runs out. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define PEER_NSEC (100 * NSEC_PER_MSEC)
#define PEER_RUNS_MIN 5

/** peer_now() - nanoseconds; PEER_CLOCK=processor: of processors that this program has used */
static inline uint64_t peer_now(void)
{
	const char *clock = getenv("PEER_CLOCK");
	struct timespec t;

	if (!clock || strcmp(clock, "processor") != 0)
		return clock_now_nsec();
	(void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t) t.tv_sec * NSEC_PER_SEC + (uint64_t) t.tv_nsec;
}

/** peer_run_fn - one run. Return: its nanoseconds */
typedef uint64_t peer_run_fn(void *userdata);

static inline long peer_resident_bytes(void)
{
	long size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	if (f)
		(void) fclose(f);
	return resident * sysconf(_SC_PAGESIZE);
}

/** peer_serve() - until the input ends */
static inline void peer_serve(peer_run_fn *run, void *userdata)
{
	char line[64];

	(void) run(userdata);
	puts("ready");
	(void) fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		uint64_t end = clock_now_nsec() + PEER_NSEC;

		for (uint32_t n = 0; n < PEER_RUNS_MIN || clock_now_nsec() < end; n++)
			printf("%llu ", (unsigned long long) run(userdata));
		printf("rss %ld\n", peer_resident_bytes());
		(void) fflush(stdout);
	}
}
