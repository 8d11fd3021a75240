/* SPDX-License-Identifier: Apache-2.0 */
#include "support/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/bus.h"
#include "support/test.h"

#define STORED_MAX 256
#define FIRST_FD 3

static struct stored {
	char name[96];
	int fd;
} stored[STORED_MAX];
static size_t n_stored; /* with the array under the mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int notify = -1;
static const char *trace;
static atomic_uint n_synced;

static void die(const char *what)
{
	fprintf(stderr, "restart: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static bool field(const char *text, const char *key, char *value, size_t size)
{
	const char *p = strstr(text, key);

	if (!p)
		return false;
	p += strlen(key);
	(void) snprintf(value, size, "%.*s", (int) strcspn(p, "\n"), p);
	return true;
}

void restart_put(const char *name, int fd)
{
	(void) pthread_mutex_lock(&mutex);
	if (n_stored == STORED_MAX)
		die("too many descriptors");
	(void) snprintf(stored[n_stored].name, sizeof stored[0].name, "%s", name);
	stored[n_stored].fd = fcntl(fd, F_DUPFD_CLOEXEC, 512);
	if (stored[n_stored++].fd < 0)
		die("dup");
	(void) pthread_mutex_unlock(&mutex);
}

void restart_drop(const char *name)
{
	size_t kept = 0;

	(void) pthread_mutex_lock(&mutex);
	for (size_t i = 0; i < n_stored; i++)
		if (strcmp(stored[i].name, name) == 0)
			(void) close(stored[i].fd);
		else
			stored[kept++] = stored[i];
	n_stored = kept;
	(void) pthread_mutex_unlock(&mutex);
}

size_t restart_stored(const char *name)
{
	size_t n = 0;

	(void) pthread_mutex_lock(&mutex);
	for (size_t i = 0; i < n_stored; i++)
		n += !name || strcmp(stored[i].name, name) == 0;
	(void) pthread_mutex_unlock(&mutex);
	return n;
}

bool restart_wait(const char *name, size_t count)
{
	for (int i = 0; i < 2000 && restart_stored(name) != count; i++)
		(void) usleep(5000);
	return restart_stored(name) == count;
}

static struct stored *find(const char *name)
{
	for (size_t i = 0; i < n_stored; i++)
		if (strcmp(stored[i].name, name) == 0)
			return &stored[i];
	errno = ENOENT;
	die(name);
	return NULL;
}

void restart_swap(const char *a, const char *b)
{
	struct stored *x, *y;
	int fd;

	(void) pthread_mutex_lock(&mutex);
	x = find(a);
	y = find(b);
	fd = x->fd;
	x->fd = y->fd;
	y->fd = fd;
	(void) pthread_mutex_unlock(&mutex);
}

static void on_message(const char *text, int fd)
{
	char name[96];

	if (strcmp(text, "SYNC=1") == 0)
		atomic_fetch_add(&n_synced, 1);
	if (!field(text, "FDNAME=", name, sizeof name))
		return;
	if (strstr(text, "FDSTOREREMOVE=1"))
		restart_drop(name);
	else if (strstr(text, "FDSTORE=1") && fd >= 0)
		restart_put(name, fd);
}

static void *listen_thread(void *unused)
{
	for (;;) {
		char text[1024], control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(64)];
		struct iovec io = {text, sizeof text - 1};
		struct msghdr m = {.msg_iov = &io,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof control};
		ssize_t n = recvmsg(notify, &m, MSG_CMSG_CLOEXEC);
		int fd = -1;

		if (n < 0)
			continue;
		text[n] = '\0';
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_type == SCM_RIGHTS)
				memcpy(&fd, CMSG_DATA(c), sizeof fd);
		on_message(text, fd);
		if (fd >= 0)
			(void) close(fd);
	}
	return unused;
}

void restart_init(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pthread_t thread;
	char name[64];

	(void) snprintf(name, sizeof name, "@bitshed-test-restart-%d", (int) getpid());
	(void) memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(notify, (const struct sockaddr *) &address,
		    (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(name)))
		< 0)
		die("bind");
	(void) setenv("NOTIFY_SOCKET", name, 1);
	if (pthread_create(&thread, NULL, listen_thread, NULL) != 0)
		die("thread");
	(void) pthread_detach(thread);
}

/* In the child: the stored descriptors become 3, 4 and so on, as sd_listen_fds() wants them. */
static void pass_descriptors(void)
{
	static char names[STORED_MAX * 96];
	char number[24];
	size_t length = 0;

	for (size_t i = 0; i < n_stored; i++) {
		if (dup2(stored[i].fd, FIRST_FD + (int) i) < 0)
			_exit(127);
		length += (size_t) snprintf(names + length, sizeof names - length, "%s%s",
			i ? ":" : "", stored[i].name);
	}
	if (n_stored == 0)
		return;
	(void) snprintf(number, sizeof number, "%zu", n_stored);
	(void) setenv("LISTEN_FDS", number, 1);
	(void) setenv("LISTEN_FDNAMES", names, 1);
	(void) snprintf(number, sizeof number, "%d", (int) getpid());
	(void) setenv("LISTEN_PID", number, 1);
}

bool restart_trace(const char *path)
{
	trace = path;
	return !path || system("strace -D -o /dev/null true 2>/dev/null") == 0;
}

/* As a grandchild, so that the daemon has the pid that LISTEN_PID names. A tracee cannot look for leaks. */
static void exec_traced(char *const *argv)
{
	char *traced[48] = {(char *) "strace", (char *) "-D", (char *) "-f", (char *) "-qq", (char *) "-o", (char *) trace,
		(char *) "-e", (char *) "trace=open,openat,openat2", (char *) "-e", (char *) "signal=none"};
	size_t n = 10;

	for (; *argv && n < 47; argv++)
		traced[n++] = *argv;
	(void) setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	(void) execvp(traced[0], traced);
}

static pid_t spawn(char *const *argv)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	(void) pthread_mutex_lock(&mutex);
	pid = fork();
	if (pid == 0) {
		(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127);
		pass_descriptors();
		if (trace)
			exec_traced(argv);
		(void) execvp(argv[0], argv);
		_exit(127);
	}
	(void) pthread_mutex_unlock(&mutex);
	if (pid < 0)
		die("fork");
	return pid;
}

pid_t restart_start(const char *const *args, uint64_t *ret_started_nsec)
{
	char *argv[32] = {(char *) TEST_BITSHEDD}, option[300];
	sd_bus *bus = test_bus_open();
	size_t n = 1;
	pid_t pid;

	(void) snprintf(option, sizeof option, "--bus=%s", test_bus_address());
	argv[n++] = option;
	argv[n++] = (char *) "--config=/nonexistent/bitshed.yaml";
	for (; args && *args && n < 30; args++)
		argv[n++] = (char *) *args;
	if (ret_started_nsec)
		*ret_started_nsec = clock_now_nsec();
	pid = spawn(argv);
	/* A sanitized daemon on a busy machine needs a while. */
	for (int i = 0; i < 30000 && !test_daemon_is_up(bus); i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			die(TEST_BITSHEDD);
		(void) usleep(1000);
	}
	(void) sd_bus_flush_close_unref(bus);
	return pid;
}

/* Messages come in order: with ours, all of the daemon's have been worked on. */
static void sync_messages(void)
{
	unsigned int before = atomic_load(&n_synced);

	if (sd_notify(0, "SYNC=1") < 0)
		die("sync");
	while (atomic_load(&n_synced) == before)
		(void) usleep(1000);
}

int restart_stop(pid_t pid, int signal)
{
	int status = 0;

	(void) kill(pid, signal);
	(void) waitpid(pid, &status, 0);
	sync_messages();
	return status;
}
