/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed devices: what computes, and how well. */
#include <inttypes.h>
#include <string.h>

#include "cmd.h"

static void print_opencl(const struct bitshed_device *d)
{
	char size[16];

	if (d->platform[0])
		printf("          %s, driver %s, %s\n", d->platform, d->driver, d->version);
	if (d->starts > 0)
		printf("          %u kernels, %u from the cache, built in %.0f ms, tested in %.0f "
		       "ms; %" PRIu64 " starts\n          %u networks, %s of buffers\n",
			d->kernels, d->kernels_cached, (double) d->build_nsec / 1e6,
			(double) d->test_nsec / 1e6, d->starts, d->plans,
			size_text(size, d->buffer_bytes));
	printf("          %" PRIu64 " answers, %" PRIu64 " of them together, %" PRIu64
	       " by the processor in its place, %" PRIu64 " compared, %" PRIu64 " wrong\n",
		d->answered, d->together, d->retried, d->checked, d->wrong);
	for (char **p = d->quarantine; *p; p++)
		printf("          in quarantine: %s\n", strcmp(*p, "*") == 0 ? "everything" : *p);
}

static void print_device(const struct bitshed_device *d)
{
	printf("%-8s  %s%s%s%s%s\n", d->name, d->state, d->state_reason[0] ? ": " : "",
		d->state_reason, d->description[0] ? ", " : "", d->description);
	if (strcmp(d->name, "cpu") != 0)
		print_opencl(d);
}

static void json_text(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	json_string(value);
}

static void print_json(struct bitshed_device *const *devices, int n)
{
	(void) putchar('[');
	for (int i = 0; i < n; i++) {
		const struct bitshed_device *d = devices[i];

		printf("%s{\"name\":", i ? "," : "");
		json_string(d->name);
		json_text("kind", d->kind);
		json_text("state", d->state);
		json_text("state_reason", d->state_reason);
		json_text("description", d->description);
		json_text("platform", d->platform);
		json_text("driver", d->driver);
		printf(",\"plans\":%u,\"buffer_bytes\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"together\":%" PRIu64
		       ",\"retried\":%" PRIu64 ",\"checked\":%" PRIu64 ",\"wrong\":%" PRIu64
		       ",\"starts\":%" PRIu64 "}",
			d->plans, d->buffer_bytes, d->answered, d->together, d->retried, d->checked, d->wrong,
			d->starts);
	}
	printf("]\n");
}

static int retry(struct command *c)
{
	struct bitshed_error e = {};
	int n = bitshed_retry_devices(c->bus, &e);

	if (n < 0)
		return complain(c, n, &e, NULL);
	if (!c->json)
		printf("Looked for again; %d entr%s of the quarantine %s lifted.\n", n,
			n == 1 ? "y" : "ies", n == 1 ? "is" : "are");
	return EXIT_CODE_OK;
}

int cmd_devices(struct command *c)
{
	struct bitshed_device **devices;
	struct bitshed_error e = {};
	int n;

	if (c->n_arguments == 1 && strcmp(c->arguments[0], "retry") == 0)
		return retry(c);
	if (c->n_arguments == 1) {
		(void) fprintf(stderr, "Usage: bitshed devices [retry]\n");
		return EXIT_CODE_USAGE;
	}
	n = bitshed_list_devices(c->bus, &devices, &e);
	if (n < 0)
		return complain(c, n, &e, NULL);
	if (c->json)
		print_json(devices, n);
	for (int i = 0; !c->json && i < n; i++)
		print_device(devices[i]);
	if (!c->json && n == 1)
		printf("CPU only: bitshed-worker is not installed.\n");
	bitshed_devices_free(devices);
	return EXIT_CODE_OK;
}
