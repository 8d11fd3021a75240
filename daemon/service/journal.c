/* SPDX-License-Identifier: Apache-2.0 */
#include "service/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "base/log.h"
#include "service/trace.h"

#define INPUTS_SIZE 8192

/* "on-battery=true,battery-percent=15": heads and cells of a trace, without those that are not known. */
static void put_inputs(char *to, size_t size, const struct policy_inputs *in)
{
	struct trace_cell c;
	size_t n = 0;

	to[0] = '\0';
	for (uint32_t i = 0; n < size && trace_cell(in, i, &c); i++)
		if (c.value[0])
			n += (size_t) snprintf(
				to + n, size - n, "%s%s=%s", n ? "," : "", c.head, c.value);
}

void journal_switch(const struct journal_switch *s)
{
	char line[512], inputs[INPUTS_SIZE];

	(void) snprintf(line, sizeof line,
		"model %s: %g -> %g bits, %" PRIu64 " bytes of planes: %s", s->model, s->bits_was,
		s->bits, s->resident_bytes, s->reason);
	if (!log_is_journal()) {
		log_info("%s", line);
		return;
	}
	put_inputs(inputs, sizeof inputs, s->inputs);
	(void) sd_journal_send("MESSAGE=%s", line, "MESSAGE_ID=" JOURNAL_SWITCH_ID, "PRIORITY=%d",
		LOG_INFO, "MODEL=%s", s->model, "BITS=%g", s->bits, "BITS_WAS=%g", s->bits_was,
		"RULE=%s", s->rule, "REASON=%s", s->reason, "RESIDENT_BYTES=%" PRIu64,
		s->resident_bytes, "INPUTS=%s", inputs, NULL);
}
