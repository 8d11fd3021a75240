/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a trace, which is then simulated, and as a journal. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "rehearse/journal_export.h"
#include "rehearse/simulate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_trace(const uint8_t *data, size_t size)
{
	struct simulate_model m = {.policy = {.name = "m", .bits_max = 4}};
	struct error e = {};
	struct simulation s;
	struct trace t;
	int r = trace_open_stream(&t, fmemopen((void *) data, size, "r"), "t", &e);

	if (r >= 0) {
		r = simulate_run(&s, NULL, &t, &m, &e);
		trace_done(&t);
	}
	if (r >= 0)
		simulation_done(&s);
	else if (!e.text[0])
		abort();
}

static void as_journal(const uint8_t *data, size_t size)
{
	struct journal_reader r = {.file = fmemopen((void *) data, size, "r"), .name = "t"};
	static struct journal_entry entry;
	struct error e = {};
	int k;

	while ((k = journal_next(&r, &entry, &e)) > 0)
		if (entry.bits < 1 || entry.bits > 8)
			abort();
	if (k < 0 && !e.text[0])
		abort();
	journal_done(&r);
	(void) fclose(r.file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	as_trace(data, size);
	as_journal(data, size);
	return 0;
}
