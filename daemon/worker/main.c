/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "worker/check.h"
#include "worker/serve.h"

#define LISTEN_FD 3 /* systemd's first; the daemon's too when it starts us itself */

static const char help[] =
	"bitshed-worker [OPTIONS]\n"
	"\n"
	"Computes on one OpenCL device for bitshedd, which starts it; nobody else needs to.\n"
	"\n"
	"  --fd=N          the connection to bitshedd\n"
	"  --cache=FOLDER  compiled programs (default: $CACHE_DIRECTORY, then "
	"$XDG_CACHE_HOME/bitshed)\n"
	"  --device=TEXT   part of the name of the device or platform to take\n"
	"  --check         build and test everything, say what came of it, and end\n"
	"  --probe         with --check: look for a device only\n"
	"  --emulate       with --check: also kernels for extensions that the device lacks, in "
	"plain "
	"C\n"
	"  --version, --help\n";

struct arguments {
	struct serve_options options;
	char cache[1024];
	int fd;
	bool check, probe, emulate;
};

static int usage(const char *what, const char *value)
{
	fprintf(stderr, "bitshed-worker: %s: %s\nTry: bitshed-worker --help\n", what, value);
	return -EINVAL;
}

/* Return: 1 go on, 0 nothing more to do, -EINVAL */
static int parse_option(struct arguments *a, int option)
{
	char *end;

	switch (option) {
	case 'f':
		a->fd = (int) strtol(optarg, &end, 10);
		return *end || end == optarg || a->fd < 0 ? usage("expected a descriptor", optarg)
							  : 1;
	case 'c':
		a->options.cache = optarg;
		return 1;
	case 'd':
		a->options.device = optarg;
		return 1;
	case 'C':
		a->check = true;
		return 1;
	case 'P':
		a->probe = true;
		return 1;
	case 'E':
		a->emulate = true;
		return 1;
	case 'V':
		printf("bitshed-worker %s\n", BITSHED_VERSION);
		return 0;
	case 'h':
		fputs(help, stdout);
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{"fd", required_argument, NULL, 'f'},
		{"cache", required_argument, NULL, 'c'},
		{"device", required_argument, NULL, 'd'},
		{"check", no_argument, NULL, 'C'},
		{"probe", no_argument, NULL, 'P'},
		{"emulate", no_argument, NULL, 'E'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		r = parse_option(a, option);
		if (r <= 0)
			return r;
	}
	return optind < argc ? usage("unexpected argument", argv[optind]) : 1;
}

static void find_cache(struct arguments *a)
{
	const char *folder = getenv("CACHE_DIRECTORY"), *home = getenv("HOME");
	int n = -1;

	if (a->options.cache)
		folder = a->options.cache;
	if (folder)
		n = snprintf(a->cache, sizeof a->cache, "%s", folder);
	else if (getenv("XDG_CACHE_HOME"))
		n = snprintf(a->cache, sizeof a->cache, "%s/bitshed", getenv("XDG_CACHE_HOME"));
	else if (home)
		n = snprintf(a->cache, sizeof a->cache, "%s/.cache/bitshed", home);
	a->options.cache = NULL;
	if (n <= 0 || n >= (int) sizeof a->cache - 16)
		return;
	for (char *p = a->cache + 1; *p; p++)
		if (*p == '/') {
			*p = '\0';
			(void) mkdir(a->cache, 0700);
			*p = '/';
		}
	(void) mkdir(a->cache, 0700);
	if (access(a->cache, W_OK | X_OK) == 0)
		a->options.cache = a->cache;
}

/* Drivers have caches of their own, and some do not start where they cannot write one. */
static void place_driver_cache(const struct arguments *a)
{
	char folder[sizeof a->cache + 16];

	if (!a->options.cache)
		return;
	(void) snprintf(folder, sizeof folder, "%s/driver", a->options.cache);
	(void) mkdir(folder, 0700);
	(void) setenv("POCL_CACHE_DIR", folder, 0);
	(void) setenv("XDG_CACHE_HOME", folder, 0);
}

/* The thread that serves may hang in a driver for ever: when the daemon has gone, so do we. */
static void *guard(void *userdata)
{
	struct pollfd p = {.fd = *(const int *) userdata, .events = POLLRDHUP};

	for (;;)
		if (poll(&p, 1, -1) > 0 &&
			(p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0)
			_exit(EXIT_SUCCESS);
}

/* Socket activation hands over a listening socket, the daemon a connected one. */
static int connection(int fd)
{
	int listening = 0;
	socklen_t size = sizeof listening;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
		return -errno;
	if (!listening)
		return fd;
	fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int run(const struct arguments *a)
{
	int fd = connection(a->fd);
	pthread_t thread;
	int r;

	if (fd < 0) {
		log_error("no connection to bitshedd: %s", strerror(-fd));
		return fd;
	}
	r = -pthread_create(&thread, NULL, guard, &fd);
	if (r >= 0)
		r = serve(fd, &a->options);
	if (r < 0)
		log_error("ending: %s", strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	static struct arguments a = {.fd = LISTEN_FD};
	int r = parse(&a, argc, argv);

	if (r <= 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	log_init(getenv("JOURNAL_STREAM") != NULL, LOG_INFO);
	(void) prctl(PR_SET_NAME, "bitshed-worker");
	find_cache(&a);
	place_driver_cache(&a);
	r = a.check ? check_device(&a.options, a.probe, a.emulate, stdout) : run(&a);
	(void) fflush(stdout);
	/* Not through exit(): drivers hang in their destructors, too. */
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
