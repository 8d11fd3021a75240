/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listens to the power sources on the system bus of its environment and prints what it hears: one line per
 * report, "reason | input | input ...". For services.py, which makes the things happen.
 */
#include "service/power.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static void print(struct power *p, const char *reason, void *userdata)
{
	char text[96];

	printf("%s", reason);
	for (enum power_input i = 0; i < _POWER_INPUT_MAX; i++)
		printf(" | %s", power_describe(power_inputs(p), i, text, sizeof text));
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	_cleanup_(power_freep) struct power *p = NULL;
	struct power_options options = {
		.sysfs = argc > 1 ? argv[1] : NULL,
		.proc = argc > 1 ? argv[1] : NULL,
		.memory_watch = "/dev/null",
		.silence_nsec = 2 * NSEC_PER_SEC,
		.poll_nsec = 100 * NSEC_PER_MSEC,
		.changed = print,
	};
	int r;

	if (argc != 2) {
		fprintf(stderr, "power-probe SYSFS\n");
		return 2;
	}
	r = sd_event_default(&options.event);
	if (r >= 0)
		r = sd_bus_open_system(&options.bus);
	if (r >= 0)
		r = sd_bus_attach_event(options.bus, options.event, 0);
	if (r >= 0)
		r = power_new(&p, &options);
	if (r < 0) {
		fprintf(stderr, "power-probe: %s\n", strerror(-r));
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	return sd_event_loop(options.event) < 0;
}
