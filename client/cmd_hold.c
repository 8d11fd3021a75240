/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed hold: a model keeps a width for as long as this runs, or as a command does. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"

#define LOOK_MS 1000
#define RETRY_MS 200
#define RETRIES 25

static volatile sig_atomic_t ended;

static void on_end(int signal)
{
	ended = 1;
}

/* A daemon that is restarted knows of no holds: a new one is asked for. */
static int take_again(struct command *c, struct bitshed_error *e)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	int fd = -ECONNREFUSED;

	for (int i = 0; i < RETRIES && !ended && fd < 0; i++) {
		(void) nanosleep(&pause, NULL);
		fd = bitshed_hold(c->bus, c->arguments[0], c->min_bits, c->reason, e);
	}
	return fd;
}

static const char not_honoured[] = "a hard limit, or want of memory, goes before holds";

static void print(const struct command *c, bool honoured, double bits)
{
	if (c->json)
		printf("{\"honoured\":%s,\"bits\":%.9g}\n", honoured ? "true" : "false", bits);
	else if (honoured)
		printf("%s runs at %.3g bits\n", c->arguments[0], bits);
	else
		printf("%s runs at %.3g bits only: %s\n", c->arguments[0], bits, not_honoured);
	(void) fflush(stdout);
}

/* Standard output is the command's: only what it may have to know, and where it does not disturb. */
static void warn(const struct command *c, bool honoured, double bits)
{
	static bool warned;

	if (!honoured)
		(void) fprintf(stderr, "bitshed: %s runs at %.3g bits only: %s\n",
			c->arguments[0], bits, not_honoured);
	else if (warned)
		(void) fprintf(
			stderr, "bitshed: %s runs at %.3g bits again\n", c->arguments[0], bits);
	warned |= !honoured;
}

/* @child: 0: none; until it ends, or a signal comes. Return: an exit code */
static int keep(struct command *c, int fd, pid_t child)
{
	struct bitshed_error e = {};
	bool honoured = false;
	double bits = 0;
	int r, status;

	while (!ended) {
		r = bitshed_hold_wait(fd, child > 0 ? LOOK_MS / 20 : LOOK_MS, &honoured, &bits, &e);
		if (r == -ECONNRESET) {
			(void) close(fd);
			fd = r = take_again(c, &e);
		} else if (r > 0) {
			(child == 0 ? print : warn)(c, honoured, bits);
		}
		if (r < 0 && !ended)
			return complain(c, r, &e, c->arguments[0]);
		if (child > 0 && waitpid(child, &status, WNOHANG) == child)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	(void) close(fd);
	if (child > 0 && kill(child, SIGTERM) == 0)
		(void) waitpid(child, &status, 0);
	return 0;
}

static void catch_signals(void)
{
	struct sigaction end = {.sa_handler = on_end};

	(void) sigaction(SIGINT, &end, NULL);
	(void) sigaction(SIGTERM, &end, NULL);
	(void) sigaction(SIGHUP, &end, NULL);
}

/* The descriptor is not the command's: a daemon that it leaves behind must not hold for ever. */
static pid_t run(char **argv)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void) execvp(argv[0], argv);
	(void) fprintf(stderr, "bitshed: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int cmd_hold(struct command *c)
{
	struct bitshed_error e = {};
	pid_t child = 0;
	int fd;

	if (c->min_bits < 1) {
		(void) fprintf(stderr, "bitshed: expected --min-bits=1 to 8\n");
		return EXIT_CODE_USAGE;
	}
	if (!c->reason)
		c->reason = c->n_arguments > 1 ? c->arguments[1] : "by hand";
	fd = bitshed_hold(c->bus, c->arguments[0], c->min_bits, c->reason, &e);
	if (fd < 0)
		return complain(c, fd, &e, c->arguments[0]);
	if (c->n_arguments > 1)
		child = run(c->arguments + 1);
	if (child < 0) {
		perror("bitshed");
		return EXIT_CODE_FAILED;
	}
	catch_signals();
	return keep(c, fd, child);
}
