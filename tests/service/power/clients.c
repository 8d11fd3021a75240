/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For policy.py: clients that ask all the time, each a process of its own, and what they ask.
 *
 *	power-clients write FILE
 *		a network of 4 planes with an accuracy card: 90, 89.5, 85, 40 % at 4, 3, 2, 1 bits
 *	power-clients run ADDRESS MODEL N
 *		until SIGTERM; then "asked A failed F", and exits 1 when F > 0
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bitshed/bitshed.h"
#include "convert/model_write.h"
#include "support/network.h"

#define PAUSE_USEC 5000 /* the machine has others to serve */

struct sums {
	uint32_t asked, failed;
};

static volatile sig_atomic_t ended;

static void on_end(int signal)
{
	ended = 1;
}

static int write_file(const char *path)
{
	static struct accuracy card[] = {
		{.bits = 4, .top1 = 90, .top5 = 99, .images = 1000},
		{.bits = 3, .top1 = 89.5f, .top5 = 99, .images = 1000},
		{.bits = 2, .top1 = 85, .top5 = 98, .images = 1000},
		{.bits = 1, .top1 = 40, .top5 = 80, .images = 1000},
	};
	struct test_network_options options = {.seed = 1, .planes = 4};
	struct test_network t = {};
	struct error e = {};
	int fd, r;

	test_network_make(&t, &options);
	t.network->accuracies = card;
	t.network->n_accuracies = ARRAY_SIZE(card);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	r = model_write_fd(fd, t.network, (uint64_t *const *const *) t.planes, &e);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", path, e.text);
	t.network->accuracies = NULL;
	test_network_done(&t);
	(void) close(fd);
	return r < 0;
}

static void ask(const char *address, const char *model, int to)
{
	struct bitshed_session *session = NULL;
	struct bitshed_error e = {};
	struct sums sums = {};
	struct bitshed *bus;

	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (bitshed_open(&bus, address, &e) < 0
		|| bitshed_session_open(&session, bus, model, 1, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		_exit(2);
	}
	while (!ended) {
		if (bitshed_session_infer(session, 0, NULL, NULL, &e) < 0 && !ended) {
			fprintf(stderr, "%s\n", e.text);
			sums.failed++;
		}
		sums.asked++;
		(void) usleep(PAUSE_USEC);
	}
	_exit(write(to, &sums, sizeof sums) != (ssize_t) sizeof sums);
}

static int run(const char *address, const char *model, int n)
{
	struct sums one, all = {};
	int ends[2], missing = 0, status;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return 2;
	for (int i = 0; i < n; i++)
		if (fork() == 0)
			ask(address, model, ends[1]);
	(void) close(ends[1]);
	while (!ended)
		(void) pause();
	(void) kill(0, SIGTERM);
	while (read(ends[0], &one, sizeof one) == (ssize_t) sizeof one) {
		all.asked += one.asked;
		all.failed += one.failed;
	}
	while (wait(&status) > 0)
		missing += status != 0;
	printf("asked %u failed %u\n", all.asked, all.failed + (unsigned int) missing);
	return all.failed + (unsigned int) missing > 0 || all.asked == 0;
}

int main(int argc, char **argv)
{
	struct sigaction end = {.sa_handler = on_end, .sa_flags = SA_RESTART};

	if (argc == 3 && strcmp(argv[1], "write") == 0)
		return write_file(argv[2]);
	if (argc != 5 || strcmp(argv[1], "run") != 0)
		return 2;
	(void) setpgid(0, 0);
	(void) sigaction(SIGTERM, &end, NULL);
	return run(argv[2], argv[3], atoi(argv[4]));
}
