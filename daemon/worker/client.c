/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/client.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/memfd.h"
#include "base/packet.h"

#define CHILD_FD 3
#define SEND_NSEC NSEC_PER_SEC
#define REAP_NSEC (2 * NSEC_PER_SEC)

extern char **environ;

void worker_init(struct worker_client *w)
{
	*w = (struct worker_client){.fd = -1, .region_fd = -1};
}

bool worker_is_lost(int r)
{
	switch (r) {
	case -ETIMEDOUT:
	case -ECONNRESET:
	case -EPIPE:
	case -EPROTO:
	case -EMSGSIZE:
	case -EBADF:
		return true;
	default:
		return false;
	}
}

static int connect_to(struct worker_client *w, const char *path, struct error *reterr)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof address.sun_path)
		return error_set(reterr, -ENAMETOOLONG, "the worker's socket has too long a name");
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
		return error_set(
			reterr, -errno, "cannot connect to the worker: %s", strerror(errno));
	w->fd = take_fd(&fd);
	return 0;
}

/* The loop's blocked signals are not the child's. */
static int set_signals(posix_spawnattr_t *attributes)
{
	sigset_t none;
	int r;

	(void) sigemptyset(&none);
	r = posix_spawnattr_setsigmask(attributes, &none);
	return r ? r : posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
}

static int spawn_with(struct worker_client *w, const char *path, int fd)
{
	char *argv[] = {(char *) "bitshed-worker", (char *) "--fd=3", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	(void) posix_spawn_file_actions_init(&actions);
	(void) posix_spawnattr_init(&attributes);
	r = posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&actions, CHILD_FD + 1);
	if (r == 0)
		r = set_signals(&attributes);
	if (r == 0)
		r = posix_spawn(&w->pid, path, &actions, &attributes, argv, environ);
	(void) posix_spawnattr_destroy(&attributes);
	(void) posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int spawn(struct worker_client *w, const char *path, struct error *reterr)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	r = spawn_with(w, path, pair[1]);
	(void) close(pair[1]);
	if (r < 0) {
		(void) close(pair[0]);
		w->pid = 0;
		return error_set(reterr, r, "cannot start the worker: %s", strerror(-r));
	}
	w->fd = pair[0];
	return 0;
}

int worker_start(struct worker_client *w, const char *path, struct error *reterr)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set(reterr, -errno, "there is no worker: %s", strerror(errno));
	return S_ISSOCK(st.st_mode) ? connect_to(w, path, reterr) : spawn(w, path, reterr);
}

static void reap(pid_t pid)
{
	uint64_t end = clock_now_nsec() + REAP_NSEC;
	struct timespec pause = {0, NSEC_PER_MSEC};

	(void) kill(pid, SIGKILL);
	/* Stuck in a driver's call into the kernel it may not even die; that is not ours to wait for. */
	while (waitpid(pid, NULL, WNOHANG) == 0 && clock_now_nsec() < end)
		(void) nanosleep(&pause, NULL);
}

void worker_stop(struct worker_client *w)
{
	close_fdp(&w->fd);
	w->fd = -1;
	if (w->pid > 0)
		reap(w->pid);
	w->pid = 0;
	w->running_since_nsec = 0;
	if (w->region)
		(void) munmap(w->region, w->region_bytes);
	close_fdp(&w->region_fd);
	w->region = NULL;
	w->region_fd = -1;
	w->region_bytes = 0;
}

bool worker_is_alive(const struct worker_client *w)
{
	char c;
	ssize_t n;

	if (w->fd < 0)
		return false;
	n = recv(w->fd, &c, sizeof c, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static int send_record(struct worker_client *w, const void *record, const int *fds, uint32_t n)
{
	const struct worker_header *h = record;

	return packet_send(w->fd, record, h->size, fds, n, SEND_NSEC);
}

static int receive(struct worker_client *w, union worker_record *ret, uint64_t timeout_nsec)
{
	int r = packet_receive(w->fd, ret, sizeof *ret, NULL, NULL, timeout_nsec);

	if (r < 0)
		return r;
	return worker_check(ret, (uint64_t) r) ? 0 : -EPROTO;
}

static int receive_type(struct worker_client *w, enum worker_type type, union worker_record *ret,
	uint64_t timeout_nsec)
{
	int r = receive(w, ret, timeout_nsec);

	return r < 0 || ret->header.type == type ? r : -EPROTO;
}

/* Texts of a worker go to the journal and to clients: terminated, and nothing that a terminal acts on. */
static void clean(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (char *p = text; *p; p++)
		if ((unsigned char) *p < ' ' || (unsigned char) *p >= 127)
			*p = ' ';
}

/* Its errors must not look like those of the connection. */
static int said(int32_t result, char *text, struct error *reterr)
{
	int r = result < 0 && result > -4096 ? result : -EIO;

	clean(text, WORKER_TEXT);
	return error_set(reterr, worker_is_lost(r) ? -EIO : r, "%s", text);
}

int worker_hello(struct worker_client *w, const char *device, uint32_t nth, uint64_t timeout_nsec,
	struct worker_welcome *ret, struct error *reterr)
{
	struct worker_hello hello = {.header = worker_header(WORKER_HELLO), .index = nth};
	union worker_record m;
	int r;

	(void) snprintf(hello.device, sizeof hello.device, "%s", device);
	r = send_record(w, &hello, NULL, 0);
	if (r >= 0)
		r = receive_type(w, WORKER_WELCOME, &m, timeout_nsec);
	if (r < 0)
		return error_set(reterr, r, "the worker does not answer: %s", strerror(-r));
	if (m.welcome.result != 0)
		return said(m.welcome.result, m.welcome.text, reterr);
	*ret = m.welcome;
	clean(ret->platform, sizeof ret->platform);
	clean(ret->device, sizeof ret->device);
	clean(ret->driver, sizeof ret->driver);
	clean(ret->version, sizeof ret->version);
	return ret->kind < _WORKER_KIND_MAX && ret->first_kind < _WORKER_KIND_MAX ? 0 : -EPROTO;
}

static void hear_tested(struct worker_trial *trial, struct worker_tested *m)
{
	clean(m->kernel, sizeof m->kernel);
	clean(m->text, sizeof m->text);
	if (m->result == 0) {
		trial->n_right++;
		trial->n_cached += m->cached != 0;
	} else {
		trial->tested(m->kernel, m->result, m->text, trial->userdata);
	}
}

int worker_test(struct worker_client *w, const struct worker_test *test, uint64_t timeout_nsec,
	struct worker_trial *trial, struct error *reterr)
{
	union worker_record m;
	int r = send_record(w, test, NULL, 0);

	/* Each kernel is said at most four times; a worker that goes on for ever is none. */
	for (uint32_t i = 0; r >= 0 && i < 4 * WORKER_KERNELS; i++) {
		r = receive(w, &m, timeout_nsec);
		if (r < 0)
			break;
		if (m.header.type == WORKER_READY) {
			trial->build_nsec = m.ready.build_nsec;
			trial->test_nsec = m.ready.test_nsec;
			return m.ready.result == 0 ? 0 : said(m.ready.result, m.ready.text, reterr);
		}
		if (m.header.type == WORKER_TESTED) {
			hear_tested(trial, &m.tested);
		} else if (m.header.type == WORKER_TRYING) {
			memcpy(trial->trying, m.trying.kernel, sizeof trial->trying);
			clean(trial->trying, sizeof trial->trying);
		} else {
			return -EPROTO;
		}
	}
	return r < 0 ? r : -EPROTO;
}

/* What a width has of its own, for model_adopt(). */
static int make_numbers(const struct model *model, int *ret_fd, uint64_t *ret_bytes)
{
	uint32_t n = model->network->n_matrices;
	uint64_t at = WORKER_NUMBERS_AT(n);
	size_t bytes = at + model->numbers_bytes;
	_cleanup_close_ int fd = -1;
	void *map;
	int r = memfd_new(&fd, &map, "bitshed-numbers", bytes);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n; i++)
		((uint32_t *) map)[i] = model->layers[i].planes;
	memcpy((uint8_t *) map + at, model->numbers, model->numbers_bytes);
	(void) munmap(map, bytes);
	r = memfd_seal_read_only(fd);
	if (r < 0)
		return r;
	*ret_bytes = bytes;
	*ret_fd = take_fd(&fd);
	return 0;
}

static int add_plane(
	struct worker_load *m, int *fds, const struct plane *p, const struct network *n)
{
	if (!p)
		return 0;
	if (p->fd < 0)
		return -ENOTSUP; /* memory of this process alone */
	m->planes[m->n_planes] = (struct worker_plane){p->index, plane_layout(p, n), p->bytes};
	fds[2 + m->n_planes++] = p->fd;
	return 0;
}

static int send_load(struct worker_client *w, uint64_t id, const struct model *model, int head)
{
	struct worker_load load = {.header = worker_header(WORKER_LOAD), .plan = id};
	_cleanup_close_ int numbers = -1;
	int fds[WORKER_FDS] = {head}, r;

	r = make_numbers(model, &numbers, &load.numbers_bytes);
	if (r < 0)
		return r;
	fds[1] = numbers;
	r = add_plane(&load, fds, model->fixed, model->network);
	for (uint32_t i = 0; r >= 0 && i < model->n_planes; i++)
		r = add_plane(&load, fds, model->planes[i], model->network);
	return r < 0 ? r : send_record(w, &load, fds, 2 + load.n_planes);
}

int worker_load(struct worker_client *w, uint64_t id, const struct plan *plan, int head,
	uint64_t timeout_nsec, struct worker_loaded *ret, struct error *reterr)
{
	union worker_record m;
	int r = send_load(w, id, plan->model, head);

	if (r >= 0)
		r = receive_type(w, WORKER_LOADED, &m, timeout_nsec);
	if (r >= 0 && m.loaded.plan != id)
		r = -EPROTO;
	if (r < 0)
		return r;
	*ret = m.loaded;
	return m.loaded.result == 0 ? 0 : said(m.loaded.result, m.loaded.text, reterr);
}

int worker_unload(struct worker_client *w, uint64_t id, uint64_t timeout_nsec, uint64_t *ret_bytes)
{
	struct worker_unload unload = {.header = worker_header(WORKER_UNLOAD), .plan = id};
	union worker_record m;
	int r = send_record(w, &unload, NULL, 0);

	if (r >= 0)
		r = receive_type(w, WORKER_UNLOADED, &m, timeout_nsec);
	if (r < 0)
		return r;
	*ret_bytes = m.unloaded.bytes;
	return m.unloaded.plan == id ? 0 : -EPROTO;
}

static size_t output_room(const struct plan *plan)
{
	return bytes_align(plan->output_bytes, 64);
}

static size_t input_room(const struct plan *plan)
{
	return bytes_align(plan->input_floats_bytes, 64);
}

int worker_region(struct worker_client *w, uint64_t region, int fd, uint64_t bytes, uint64_t timeout_nsec)
{
	struct worker_region m = {
		.header = worker_header(WORKER_REGION), .region = region, .bytes = bytes};

	return packet_send(w->fd, &m, sizeof m, &fd, 1, timeout_nsec);
}

int worker_forget(struct worker_client *w, uint64_t region, uint64_t timeout_nsec)
{
	struct worker_forget m = {.header = worker_header(WORKER_FORGET), .region = region};

	return packet_send(w->fd, &m, sizeof m, NULL, 0, timeout_nsec);
}

int worker_reserve(struct worker_client *w, const struct plan *plan, uint64_t timeout_nsec)
{
	_cleanup_close_ int fd = -1;
	size_t bytes;
	void *map;
	int r;

	if (!bytes_add(&bytes, input_room(plan), output_room(plan)) ||
		!bytes_mul(&bytes, bytes, WORKER_BATCH) || bytes > WORKER_REGION_BYTES_MAX)
		return -ENOMEM;
	if (bytes <= w->region_bytes)
		return 0;
	bytes = bytes_align(bytes, 4096);
	r = memfd_new(&fd, &map, "bitshed-worker-region", bytes);
	if (r < 0)
		return r;
	r = worker_region(w, WORKER_OWN_REGION, fd, bytes, timeout_nsec);
	if (r < 0) {
		(void) munmap(map, bytes);
		return r;
	}
	if (w->region)
		(void) munmap(w->region, w->region_bytes);
	close_fdp(&w->region_fd);
	w->region = map;
	w->region_bytes = bytes;
	w->region_fd = take_fd(&fd);
	return 0;
}

int worker_settle(struct worker_client *w, uint64_t timeout_nsec)
{
	union worker_record m;
	int r;

	if (w->running_since_nsec == 0)
		return 0;
	r = receive_type(w, WORKER_DONE, &m, timeout_nsec);
	if (r < 0)
		return r;
	w->running_since_nsec = 0;
	return m.done.cookie == w->cookie ? 0 : -EPROTO;
}

bool worker_is_stalled(const struct worker_client *w, uint64_t limit_nsec)
{
	return w->running_since_nsec > 0 && clock_now_nsec() - w->running_since_nsec > limit_nsec;
}

static int receive_done(struct worker_client *w, uint64_t timeout_nsec, struct error *reterr)
{
	union worker_record m;
	int r = receive_type(w, WORKER_DONE, &m, timeout_nsec);

	if (r < 0)
		return r;
	w->running_since_nsec = 0;
	if (m.done.cookie != w->cookie)
		return -EPROTO;
	return m.done.result == 0 ? 0 : said(m.done.result, m.done.text, reterr);
}

static size_t input_at(const struct plan *plan, uint32_t i)
{
	return WORKER_BATCH * output_room(plan) + i * input_room(plan);
}

const void *worker_input(const struct worker_client *w, const struct plan *plan)
{
	return w->region + input_at(plan, 0);
}

/* Where each job's tensors are; inputs that lie nowhere else are copied. */
static void place(struct worker_client *w, const struct plan *plan, enum input_type type,
	const struct worker_job *jobs, struct worker_run *run)
{
	size_t bytes = type == INPUT_PIXELS ? plan->input_pixels_bytes : plan->input_floats_bytes;

	for (uint32_t i = 0; i < run->n; i++) {
		struct worker_item *item = &run->items[i];

		*item = (struct worker_item){jobs[i].region, jobs[i].at, i * output_room(plan)};
		if (item->region != WORKER_OWN_REGION)
			continue;
		item->input_at = input_at(plan, i);
		memcpy(w->region + item->input_at, jobs[i].input, bytes);
	}
}

int worker_run(struct worker_client *w, uint64_t id, const struct plan *plan, enum input_type type,
	const struct worker_job *jobs, uint32_t n, uint64_t timeout_nsec, struct error *reterr)
{
	struct worker_run run = {
		.header = worker_header(WORKER_RUN), .plan = id, .input_type = type, .n = n};
	int r = worker_settle(w, timeout_nsec);

	if (r < 0)
		return r;
	if (input_at(plan, WORKER_BATCH) > w->region_bytes)
		return -ENOMEM;
	place(w, plan, type, jobs, &run);
	run.cookie = ++w->cookie;
	r = send_record(w, &run, NULL, 0);
	if (r < 0)
		return r;
	w->running_since_nsec = clock_now_nsec();
	r = receive_done(w, timeout_nsec, reterr);
	for (uint32_t i = 0; r >= 0 && i < n; i++)
		memcpy(jobs[i].output, w->region + run.items[i].output_at, plan->output_bytes);
	return r;
}
