/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many clients at once while the power profile changes under them: what an application sees of it.
 *
 *	clients [--bus=ADDRESS] --model NAME [--clients 8] [--seconds 2] [--profile power-saver]
 *
 * Each client is a thread with a connection and a session of its own, asking as fast as it is answered.
 * Three phases of --seconds each: as the daemon is, at --profile, and back. Prints a line per phase: widths
 * that served, requests, failures, latency and the bytes of planes in memory. Exits 1 when a request failed.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bitshed/bitshed.h>

#define CLIENTS_MAX 256
#define PHASES 3
#define SAMPLES_MAX 100000
#define WIDTHS_MAX 81 /* tenths of a bit */

/* What one client saw in one phase; only its thread writes, main reads after the join. */
struct record {
	uint32_t *latency_usec, n, n_failed, by_width[WIDTHS_MAX];
	char failure[256];
};

struct client {
	pthread_t thread;
	struct bitshed *bus;
	struct bitshed_session *session;
	unsigned seed;
	struct record phases[PHASES];
};

static atomic_int phase;
static atomic_bool stop;

static uint64_t now_usec(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

static void draw_input(struct client *c)
{
	uint8_t *input = bitshed_session_input(c->session, 0);
	size_t bytes = bitshed_session_input_bytes(c->session, BITSHED_INPUT_DEFAULT);

	for (size_t i = 0; i < bytes; i++)
		input[i] = (uint8_t) rand_r(&c->seed);
}

static void ask_once(struct client *c)
{
	struct record *r = &c->phases[atomic_load(&phase)];
	struct bitshed_result result;
	struct bitshed_error error;
	uint64_t start = now_usec();

	if (bitshed_session_infer(c->session, 0, NULL, &result, &error) < 0) {
		r->n_failed++;
		(void) snprintf(r->failure, sizeof r->failure, "%s", error.text);
		return;
	}
	r->latency_usec[r->n++ % SAMPLES_MAX] = (uint32_t) (now_usec() - start);
	if (result.bits >= 0 && result.bits * 10 < WIDTHS_MAX)
		r->by_width[(int) (result.bits * 10 + 0.5)]++;
}

static void *client_main(void *userdata)
{
	struct client *c = userdata;

	draw_input(c);
	while (!atomic_load(&stop))
		ask_once(c);
	return NULL;
}

static int client_open(struct client *c, const char *bus, const char *model, unsigned number)
{
	struct bitshed_error error;

	c->seed = number + 1;
	for (int i = 0; i < PHASES; i++) {
		c->phases[i].latency_usec = calloc(SAMPLES_MAX, sizeof(uint32_t));
		if (!c->phases[i].latency_usec)
			return -1;
	}
	if (bitshed_open(&c->bus, bus, &error) < 0 ||
		bitshed_session_open(&c->session, c->bus, model, 1, &error) < 0) {
		fprintf(stderr, "clients: client %u: %s\n", number, error.text);
		return -1;
	}
	return 0;
}

static void client_close(struct client *c)
{
	(void) bitshed_session_close(c->session);
	(void) bitshed_close(c->bus);
	for (int i = 0; i < PHASES; i++)
		free(c->phases[i].latency_usec);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

static void print_widths(const struct client *clients, int n, int p)
{
	char text[64] = "";

	for (int w = 0; w < WIDTHS_MAX; w++) {
		uint32_t served = 0;

		for (int i = 0; i < n; i++)
			served += clients[i].phases[p].by_width[w];
		if (served)
			(void) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%g",
				text[0] ? ", " : "", w / 10.0);
	}
	printf("%-9s", text);
}

/* Return: how many requests failed in this phase. */
static uint32_t print_phase(struct client *clients, int n, int p, const char *name, uint64_t bytes,
	double seconds)
{
	uint32_t failed = 0;
	size_t total = 0, asked = 0;
	uint32_t *all = malloc((size_t) n * SAMPLES_MAX * sizeof *all);

	if (!all)
		return 1;
	for (int i = 0; i < n; i++) {
		struct record *r = &clients[i].phases[p];
		size_t kept = r->n < SAMPLES_MAX ? r->n : SAMPLES_MAX;

		memcpy(all + total, r->latency_usec, kept * sizeof *all);
		total += kept;
		asked += r->n;
		failed += r->n_failed;
		if (r->n_failed)
			fprintf(stderr, "clients: client %d: %s\n", i, r->failure);
	}
	qsort(all, total, sizeof *all, compare);
	printf("%-12s ", name);
	print_widths(clients, n, p);
	printf("%10zu %8u %12.0f %10.3f %10.3f %12.1f\n", asked, failed, (double) asked / seconds,
		total ? all[total / 2] / 1000.0 : 0, total ? all[total * 99 / 100] / 1000.0 : 0,
		(double) bytes / 1024);
	free(all);
	return failed;
}

static uint64_t resident_bytes(struct bitshed *bus, const char *model)
{
	struct bitshed_model *m;
	uint64_t bytes;

	if (bitshed_get_model(bus, &m, model, NULL) < 0)
		return 0;
	bytes = m->resident_bytes;
	bitshed_model_free(m);
	return bytes;
}

static void sleep_seconds(double seconds)
{
	struct timespec t = {(time_t) seconds, (long) ((seconds - (double) (time_t) seconds) * 1e9)};

	(void) nanosleep(&t, NULL);
}

struct arguments {
	const char *bus, *model, *profile;
	int clients;
	double seconds;
};

static int arguments_parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {{"bus", required_argument, NULL, 'b'},
		{"model", required_argument, NULL, 'm'}, {"clients", required_argument, NULL, 'c'},
		{"seconds", required_argument, NULL, 's'}, {"profile", required_argument, NULL, 'p'}, {0}};
	int c;

	*a = (struct arguments){.profile = "power-saver", .clients = 8, .seconds = 2};
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'b': a->bus = optarg; break;
		case 'm': a->model = optarg; break;
		case 'c': a->clients = atoi(optarg); break;
		case 's': a->seconds = atof(optarg); break;
		case 'p': a->profile = optarg; break;
		default: return -1;
		}
	}
	return a->model && a->clients >= 1 && a->clients <= CLIENTS_MAX && a->seconds > 0 ? 0 : -1;
}

/* The three phases, seen from the connection that changes the profile. */
static int run_phases(const struct arguments *a, struct bitshed *bus, uint64_t bytes[PHASES])
{
	struct bitshed_error error;
	char *before = NULL;
	int r = bitshed_get_profile(bus, &before, &error);

	for (int p = 0; r >= 0 && p < PHASES; p++) {
		if (p > 0)
			r = bitshed_set_profile(bus, p == 1 ? a->profile : before, &error);
		atomic_store(&phase, p);
		sleep_seconds(a->seconds);
		bytes[p] = resident_bytes(bus, a->model);
	}
	if (r < 0)
		fprintf(stderr, "clients: %s\n", error.text);
	free(before);
	return r;
}

static int run(const struct arguments *a, struct client *clients, struct bitshed *bus)
{
	static const char *const names[PHASES] = {"before", "changed", "restored"};
	uint64_t bytes[PHASES] = {0};
	uint32_t failed = 0;
	int r;

	for (int i = 0; i < a->clients; i++)
		if (client_open(&clients[i], a->bus, a->model, (unsigned) i) < 0)
			return 1;
	for (int i = 0; i < a->clients; i++)
		if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
			return 1;
	r = run_phases(a, bus, bytes);
	atomic_store(&stop, true);
	for (int i = 0; i < a->clients; i++)
		(void) pthread_join(clients[i].thread, NULL);
	printf("%d clients, profile %s for the second phase\n", a->clients, a->profile);
	printf("%-12s %-9s%10s %8s %12s %10s %10s %12s\n", "phase", "bits", "requests", "failed",
		"requests/s", "median ms", "99 % ms", "planes KiB");
	for (int p = 0; p < PHASES; p++)
		failed += print_phase(clients, a->clients, p, names[p], bytes[p], a->seconds);
	printf("%u failed requests\n", failed);
	return r < 0 || failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct arguments a;
	struct client *clients;
	struct bitshed_error error;
	struct bitshed *bus;
	int r;

	if (arguments_parse(&a, argc, argv) < 0) {
		fprintf(stderr, "usage: clients [--bus=ADDRESS] --model NAME [--clients N] [--seconds S] "
				"[--profile NAME]\n");
		return 2;
	}
	if (bitshed_open(&bus, a.bus, &error) < 0) {
		fprintf(stderr, "clients: %s\n", error.text);
		return 1;
	}
	clients = calloc((size_t) a.clients, sizeof *clients);
	r = clients ? run(&a, clients, bus) : 1;
	for (int i = 0; clients && i < a.clients; i++)
		client_close(&clients[i]);
	free(clients);
	(void) bitshed_close(bus);
	return r;
}
