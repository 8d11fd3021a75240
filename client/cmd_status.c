/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed status, models, monitor: what there is and what happens. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cmd.h"

static const char *bits_text(char to[16], double bits)
{
	(void) snprintf(to, 16, bits > 0 ? "%.3g" : "-", bits);
	return to;
}

static const char *count_text(char to[24], const struct bitshed_model *m, uint64_t n)
{
	(void) snprintf(to, 24, m->statistics_known ? "%" PRIu64 : "-", n);
	return to;
}

/* "1.2 mJ", and "~1.2 mJ" where no meter says so. */
static const char *energy_text(char to[24], const struct bitshed_model *m)
{
	static const char *const units[] = {"nJ", "uJ", "mJ", "J"};
	double v = m->joules * 1e9;
	size_t i = 0;

	for (; v >= 1000 && i < 3; i++)
		v /= 1000;
	if (m->joules > 0)
		(void) snprintf(to, 24, "%s%.*f %s", strcmp(m->energy_source, "measured") ? "~" : "",
			v < 100 ? 1 : 0, v, units[i]);
	else
		(void) snprintf(to, 24, "-");
	return to;
}

static void print_table(struct bitshed_model *const *models, int n)
{
	int width = 5;

	for (int i = 0; i < n; i++)
		if ((int) strlen(models[i]->name) > width)
			width = (int) strlen(models[i]->name);
	printf("%-*s  %-8s %5s %5s %10s %10s %10s %10s %8s  %s\n", width, "MODEL", "STATE", "BITS", "OF",
		"RESIDENT", "LATENCY", "ENERGY", "REQUESTS", "FAILED", "WHY");
	for (int i = 0; i < n; i++) {
		const struct bitshed_model *m = models[i];
		char bits[16], most[16], size[16], latency[16], energy[24], requests[24], failures[24];

		printf("%-*s  %-8s %5s %5s %10s %10s %10s %10s %8s  %s\n", width,
			m->name, m->state, bits_text(bits, m->bits), bits_text(most, m->bits_max),
			size_text(size, m->resident_bytes), time_text(latency, m->latency_nsec),
			energy_text(energy, m),
			count_text(requests, m, m->requests), count_text(failures, m, m->failures),
			strcmp(m->state, "failed") == 0 ? m->state_reason : m->rule_text);
	}
}

static void print_model_json(const struct bitshed_model *m)
{
	printf("{\"name\":");
	json_string(m->name);
	printf(",\"state\":");
	json_string(m->state);
	printf(",\"state_reason\":");
	json_string(m->state_reason);
	printf(",\"progress\":%.9g,\"bits\":%.9g,\"bits_by_hand\":%.9g,\"bits_max\":%.9g",
		m->progress, m->bits, m->bits_by_hand, m->bits_max);
	printf(",\"rule\":");
	json_string(m->rule);
	printf(",\"rule_text\":");
	json_string(m->rule_text);
	printf(",\"joules_per_inference\":%.9g,\"energy_source\":", m->joules);
	json_string(m->energy_source);
	printf(",\"method\":");
	json_string(m->method);
	printf(",\"resident_bytes\":%" PRIu64, m->resident_bytes);
	if (m->statistics_known)
		printf(",\"requests\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"run_nsec\":%" PRIu64
		       ",\"latency_nsec\":%" PRIu64,
			m->requests, m->failures, m->run_nsec, m->latency_nsec);
	printf(",\"input_type\":");
	json_string(m->input_type);
	printf(",\"input_shape\":[%u,%u,%u],\"output_shape\":[%u,%u,%u],\"accuracy\":[",
		m->input_shape[0], m->input_shape[1], m->input_shape[2], m->output_shape[0],
		m->output_shape[1], m->output_shape[2]);
	for (size_t i = 0; i < m->n_accuracy; i++)
		printf("%s{\"bits\":%.9g,\"top1\":%.9g,\"top5\":%.9g,\"images\":%u}", i ? "," : "",
			m->accuracy[i].bits, m->accuracy[i].top1_percent,
			m->accuracy[i].top5_percent, m->accuracy[i].images);
	printf("]}");
}

static void print_models_json(struct bitshed_model *const *models, int n)
{
	(void) putchar('[');
	for (int i = 0; i < n; i++) {
		if (i > 0)
			(void) putchar(',');
		print_model_json(models[i]);
	}
	(void) putchar(']');
}

int cmd_models(struct command *c)
{
	struct bitshed_model **models;
	struct bitshed_error e = {};
	int n = bitshed_list_models(c->bus, &models, &e);

	if (n < 0)
		return complain(c, n, &e, NULL);
	if (c->json) {
		print_models_json(models, n);
		(void) putchar('\n');
	} else if (n > 0) {
		print_table(models, n);
	} else {
		printf("No model is loaded.\n");
	}
	bitshed_models_free(models);
	return 0;
}

static void print_holds(const struct bitshed_hold_info *holds, int n)
{
	for (int i = 0; i < n; i++)
		printf("hold      %s at %.3g bits by user %u (%s)%s: %s\n", holds[i].model, holds[i].bits,
			holds[i].uid, holds[i].owner,
			holds[i].honoured ? "" : ", not honoured: a hard limit is lower",
			holds[i].reason);
}

static void print_inputs(const struct bitshed_power_input *inputs, int n)
{
	int known = 0;

	for (int i = 0; i < n; i++) {
		const struct bitshed_power_input *in = &inputs[i];

		if (!in->known)
			continue;
		printf("%s%s ", known++ ? ", " : "inputs    ", in->name);
		if (in->text[0] && !in->unit[0])
			printf("%s", in->text);
		else
			printf("%.4g%s%s", in->value, in->unit[0] ? " " : "", in->unit);
	}
	printf("%s%d unknown\n", known ? ", " : "inputs    ", n - known);
}

static void print_holds_json(const struct bitshed_hold_info *holds, int n)
{
	printf("[");
	for (int i = 0; i < n; i++) {
		printf("%s{\"model\":", i ? "," : "");
		json_string(holds[i].model);
		printf(",\"bits\":%.9g,\"reason\":", holds[i].bits);
		json_string(holds[i].reason);
		printf(",\"owner\":");
		json_string(holds[i].owner);
		printf(",\"uid\":%u,\"honoured\":%s}", holds[i].uid,
			holds[i].honoured ? "true" : "false");
	}
	printf("]");
}

/** struct status - all of a daemon, as it was asked for */
struct status {
	struct bitshed_daemon *daemon;
	struct bitshed_model **models;
	struct bitshed_device **devices;
	struct bitshed_hold_info *holds;
	struct bitshed_power_input *inputs;
	int n_models, n_devices, n_holds, n_inputs;
};

static void print_status(const struct status *s)
{
	const struct bitshed_daemon *d = s->daemon;
	uint64_t resident = 0;
	char size[16];

	for (int i = 0; i < s->n_models; i++)
		resident += s->models[i]->resident_bytes;
	printf("bitshedd  %s\nprofile   %s\nsessions  %u\nresident  %s of planes in %d model%s\n",
		d->version, d->profile, d->n_sessions, size_text(size, resident), s->n_models,
		s->n_models == 1 ? "" : "s");
	for (int i = 0; i < s->n_devices; i++)
		printf("device    %s, %u thread%s, %u waiting\n", s->devices[i]->name,
			s->devices[i]->threads, s->devices[i]->threads == 1 ? "" : "s",
			s->devices[i]->queue_length);
	if (d->configuration_error[0])
		printf("degraded  the last good configuration stays: %s\n", d->configuration_error);
	print_holds(s->holds, s->n_holds);
	print_inputs(s->inputs, s->n_inputs);
	if (s->n_models > 0) {
		(void) putchar('\n');
		print_table(s->models, s->n_models);
	}
}

static void print_status_json(const struct status *s)
{
	printf("{\"version\":");
	json_string(s->daemon->version);
	printf(",\"profile\":");
	json_string(s->daemon->profile);
	printf(",\"configuration_error\":");
	json_string(s->daemon->configuration_error);
	printf(",\"sessions\":%u,\"devices\":[", s->daemon->n_sessions);
	for (int i = 0; i < s->n_devices; i++) {
		printf("%s{\"name\":", i ? "," : "");
		json_string(s->devices[i]->name);
		printf(",\"kind\":");
		json_string(s->devices[i]->kind);
		printf(",\"threads\":%u,\"queue_length\":%u}", s->devices[i]->threads,
			s->devices[i]->queue_length);
	}
	printf("],\"models\":");
	print_models_json(s->models, s->n_models);
	printf(",\"holds\":");
	print_holds_json(s->holds, s->n_holds);
	printf(",\"inputs\":");
	json_inputs(s->inputs, s->n_inputs);
	printf("}\n");
}

static void free_status(struct status *s)
{
	bitshed_daemon_free(s->daemon);
	bitshed_models_free(s->models);
	bitshed_devices_free(s->devices);
	bitshed_holds_free(s->holds, s->n_holds > 0 ? (size_t) s->n_holds : 0);
	bitshed_power_inputs_free(s->inputs, s->n_inputs > 0 ? (size_t) s->n_inputs : 0);
}

int cmd_status(struct command *c)
{
	struct status s = {};
	struct bitshed_error e = {};
	int r = bitshed_get_daemon(c->bus, &s.daemon, &e);

	if (r >= 0)
		r = s.n_models = bitshed_list_models(c->bus, &s.models, &e);
	if (r >= 0)
		r = s.n_devices = bitshed_list_devices(c->bus, &s.devices, &e);
	if (r >= 0)
		r = s.n_holds = bitshed_list_holds(c->bus, &s.holds, &e);
	if (r >= 0)
		r = s.n_inputs = bitshed_list_power_inputs(c->bus, &s.inputs, &e);
	if (r >= 0)
		(c->json ? print_status_json : print_status)(&s);
	free_status(&s);
	return r < 0 ? complain(c, r, &e, NULL) : 0;
}

static const char *const event_names[] = {
	[BITSHED_EVENT_ADDED] = "added",
	[BITSHED_EVENT_REMOVED] = "removed",
	[BITSHED_EVENT_CHANGED] = "changed",
	[BITSHED_EVENT_STARTED] = "started",
	[BITSHED_EVENT_STOPPED] = "stopped",
};

static void print_event(const struct bitshed_event *e, void *userdata)
{
	const struct command *c = userdata;
	struct timespec now;
	struct tm local;
	char clock[16];

	(void) clock_gettime(CLOCK_REALTIME, &now);
	if (c->json) {
		printf("{\"time\":%lld.%03ld,\"event\":\"%s\",\"kind\":\"%s\",\"name\":",
			(long long) now.tv_sec, now.tv_nsec / 1000000, event_names[e->type],
			e->kind);
		json_string(e->name);
		if (e->property) {
			printf(",\"property\":");
			json_string(e->property);
			printf(",\"value\":");
			json_string(e->value);
		}
		printf("}\n");
	} else {
		(void) localtime_r(&now.tv_sec, &local);
		(void) strftime(clock, sizeof clock, "%H:%M:%S", &local);
		printf("%s.%03ld %s%s%s", clock, now.tv_nsec / 1000000, e->kind,
			e->name[0] ? " " : "", e->name);
		if (e->property)
			printf(" %s: %s\n", e->property, e->value);
		else
			printf(" %s\n", event_names[e->type]);
	}
	(void) fflush(stdout);
}

int cmd_monitor(struct command *c)
{
	struct bitshed_error e = {};
	int r = bitshed_monitor(c->bus, print_event, c, &e);

	/* Ends with a signal, or when the reader of standard output has gone. */
	while (r >= 0 && !ferror(stdout))
		r = bitshed_process(c->bus, -1, &e);
	return r < 0 ? complain(c, r, &e, NULL) : 0;
}
