/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace of this board: what the daemon's rules read, asked for every few seconds. The columns are those of the
 * first answer; what comes later has none.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "rehearse/tool.h"

/** struct recorder - @heads: of the columns; @cells: of the line that is being made */
struct recorder {
	sd_bus *bus;
	FILE *to;
	uint64_t began_nsec;
	double interval, duration;
	struct trace_cell cells[TRACE_COLUMNS_MAX];
	uint32_t n;
	bool begun, told;
};

static int open_bus(sd_bus **ret, const char *name)
{
	int r;

	if (!name || strcmp(name, "system") == 0)
		return sd_bus_open_system(ret);
	if (strcmp(name, "session") == 0)
		return sd_bus_open_user(ret);
	r = sd_bus_new(ret);
	if (r >= 0)
		r = sd_bus_set_address(*ret, name);
	if (r >= 0)
		r = sd_bus_set_bus_client(*ret, 1);
	return r < 0 ? r : sd_bus_start(*ret);
}

static struct trace_cell *column(struct recorder *r, const char *head)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (strcmp(r->cells[i].head, head) == 0)
			return &r->cells[i];
	if (!r->begun && r->n < TRACE_COLUMNS_MAX - 1) {
		(void) snprintf(r->cells[r->n].head, sizeof r->cells[0].head, "%s", head);
		return &r->cells[r->n++];
	}
	if (!r->told)
		(void) fprintf(stderr,
			"bitshed policy: \"%s\" has come while recording and is left out\n", head);
	r->told = true;
	return NULL;
}

static int read_cells(struct recorder *r, sd_bus_message *m)
{
	const char *head, *value;
	int k;

	for (uint32_t i = 0; i < r->n; i++)
		r->cells[i].value[0] = '\0';
	k = sd_bus_message_enter_container(m, 'a', "(ss)");
	while (k >= 0 && (k = sd_bus_message_read(m, "(ss)", &head, &value)) > 0) {
		struct trace_cell *c = column(r, head);

		if (c)
			(void) snprintf(c->value, sizeof c->value, "%s", value);
	}
	return k;
}

static void write_line(struct recorder *r)
{
	if (!r->begun) {
		r->began_nsec = clock_boot_nsec();
		fprintf(r->to, "seconds");
		for (uint32_t i = 0; i < r->n; i++)
			fprintf(r->to, ",%s", r->cells[i].head);
		fputc('\n', r->to);
		r->begun = true;
	}
	fprintf(r->to, "%.0f", (double) (clock_boot_nsec() - r->began_nsec) / NSEC_PER_SEC);
	for (uint32_t i = 0; i < r->n; i++)
		fprintf(r->to, ",%s", r->cells[i].value);
	fputc('\n', r->to);
}

static int record_line(struct recorder *r, struct error *reterr)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL;
	int k;

	k = sd_bus_get_property(r->bus, "org.bitshed", "/org/bitshed", "org.bitshed.Manager1",
		"PolicyInputs", &e, &m, "a(ss)");
	if (k < 0)
		k = error_set(reterr, k, "the daemon does not answer: %s", e.message ?: strerror(-k));
	else
		k = read_cells(r, m);
	if (k >= 0) {
		write_line(r);
		if (fflush(r->to) != 0)
			k = error_set(reterr, -EIO, "the trace cannot be written");
	}
	sd_bus_error_free(&e);
	(void) sd_bus_message_unref(m);
	return k;
}

/* Until a signal, the end of the time, or of the reader. */
static int record(struct recorder *r, struct error *reterr)
{
	struct timespec wait = {.tv_sec = (time_t) r->interval,
		.tv_nsec = (long) ((r->interval - (double) (time_t) r->interval) * 1e9)};
	sigset_t signals;
	int k;

	(void) sigemptyset(&signals);
	(void) sigaddset(&signals, SIGINT);
	(void) sigaddset(&signals, SIGTERM);
	(void) sigprocmask(SIG_BLOCK, &signals, NULL);
	do {
		k = record_line(r, reterr);
		if (k < 0)
			return k;
		if (r->duration > 0 &&
			(double) (clock_boot_nsec() - r->began_nsec) / NSEC_PER_SEC >= r->duration)
			return 0;
	} while (sigtimedwait(&signals, NULL, &wait) < 0);
	return 0;
}

static int seconds(double *ret, const char *text)
{
	char *end;

	*ret = strtod(text, &end);
	return end != text && *end == '\0' && *ret >= 0.1 && *ret <= 1e7 ? 0 : -EINVAL;
}

int record_command(int argc, char **argv)
{
	static const struct option options[] = {{"bus", required_argument, NULL, 'b'},
		{"interval", required_argument, NULL, 'i'},
		{"duration", required_argument, NULL, 'd'},
		{"output", required_argument, NULL, 'o'}, {}};
	static struct recorder r = {.interval = 10};
	const char *bus = getenv("BITSHED_BUS"), *output = NULL;
	struct error why = {};
	int option, k = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'b')
			bus = optarg;
		else if (option == 'o')
			output = optarg;
		else if (option == '?')
			return EXIT_CODE_USAGE;
		else
			k = seconds(option == 'i' ? &r.interval : &r.duration, optarg);
		if (k < 0)
			return usage_error("seconds", optarg);
	}
	if (optind < argc)
		return usage_error("no more arguments", argv[optind]);
	k = open_bus(&r.bus, bus);
	if (k < 0) {
		(void) fprintf(stderr, "bitshed policy: no bus: %s\n", strerror(-k));
		return EXIT_CODE_NO_DAEMON;
	}
	r.to = output ? fopen(output, "we") : stdout;
	if (!r.to)
		k = error_set(&why, -errno, "%.100s: %s", output, strerrordesc_np(errno));
	else
		k = record(&r, &why);
	(void) sd_bus_flush_close_unref(r.bus);
	if (r.to && r.to != stdout && fclose(r.to) != 0 && k >= 0)
		k = error_set(&why, -EIO, "%.100s: cannot be written", output);
	return k < 0 ? complain(k, &why) : EXIT_CODE_OK;
}
