/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pressure stall information: the kernel wakes us when tasks lost a tenth of two seconds to
 * memory or to the processor; it says nothing when that ends, so pressure counts until it has
 * been quiet for some windows.
 *
 * systemd may name another place to watch for memory: a PSI file of our cgroup, a FIFO or a socket.
 */
#include "service/power_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

/*
 * Without CAP_SYS_RESOURCE a window must be a multiple of 2 s. The kernel drops the last byte of
 * what is written, so the terminating zero is written too.
 */
#define TRIGGER "some 200000 2000000"
#define TRIGGER_PERCENT 10
#define WORD_PERCENT 50 /* of who says that there is pressure, but not how much */
#define QUIET_NSEC (10 * NSEC_PER_SEC)
#define PSI_BYTES 512

struct psi {
	struct power *power;
	enum power_source source;
	enum power_input input;
	char path[256];
	const char *encoded;
	int fd;
	bool is_file;
	sd_event_source *io, *quiet;
};

/* Return: percent lost over the last 10 s, or 0 when the file does not say */
static double read_average(int fd)
{
	char text[PSI_BYTES + 1];
	ssize_t n = pread(fd, text, PSI_BYTES, 0);
	double average;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "some avg10=%lf", &average) == 1 ? average : 0;
}

static int on_quiet(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct psi *psi = userdata;

	power_set(psi->power, psi->input, 0, NULL);
	return 0;
}

/* The cgroup is gone, or the socket's other end: nobody will tell us any more. */
static void give_up(struct psi *psi)
{
	psi->io = sd_event_source_disable_unref(psi->io);
	close_fdp(&psi->fd);
	psi->fd = -1;
	(void) sd_event_source_set_enabled(psi->quiet, SD_EVENT_OFF);
	power_lost(psi->power, psi->source);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct psi *psi = userdata;
	double percent = WORD_PERCENT;
	char drop[256];
	ssize_t n;

	if (psi->is_file && (events & EPOLLERR)) {
		give_up(psi);
		return 0;
	}
	if (psi->is_file) {
		percent = MAX_OF(TRIGGER_PERCENT, read_average(fd));
	} else {
		n = read(fd, drop, sizeof drop);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			give_up(psi);
		if (n <= 0)
			return 0;
	}
	power_set(psi->power, psi->input, percent, NULL);
	power_arm(psi->quiet, QUIET_NSEC);
	return 0;
}

static int open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
		return -errno;
	return take_fd(&fd);
}

/* A FIFO is opened for writing too: so it never has an end when its last writer leaves. */
static int open_watch(struct psi *psi, const char *path, mode_t mode)
{
	int fd = S_ISSOCK(mode) ? open_socket(path)
				: open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return S_ISSOCK(mode) ? fd : -errno;
	psi->fd = fd;
	psi->is_file = S_ISREG(mode);
	return 0;
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int) (at - digits) : -1;
}

/* Return: bytes, or -EINVAL */
static ssize_t base64_decode(const char *text, uint8_t *ret, size_t size)
{
	uint32_t bits = 0, have = 0;
	size_t n = 0;

	for (; *text && *text != '='; text++) {
		int digit = base64_digit(*text);

		if (digit < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t) digit;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (n == size)
			return -EINVAL;
		ret[n++] = (uint8_t) (bits >> have);
	}
	return text[strspn(text, "=")] == '\0' ? (ssize_t) n : -EINVAL;
}

static int write_trigger(struct psi *psi, const char *encoded)
{
	uint8_t text[256] = TRIGGER;
	ssize_t n = sizeof TRIGGER;

	if (encoded)
		n = base64_decode(encoded, text, sizeof text);
	if (n < 0)
		return (int) n;
	return fd_write_all(psi->fd, text, (size_t) n);
}

static int listen_to(struct psi *psi)
{
	struct stat st;
	int r;

	if (stat(psi->path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return -ENODEV; /* /dev/null: somebody does not want it */
	r = open_watch(psi, psi->path, st.st_mode);
	if (r >= 0 && (psi->is_file || (S_ISSOCK(st.st_mode) && psi->encoded)))
		r = write_trigger(psi, psi->encoded);
	if (r < 0)
		return r;
	return sd_event_add_io(power_options(psi->power)->event, &psi->io, psi->fd,
		psi->is_file ? EPOLLPRI : EPOLLIN, on_io, psi);
}

static void psi_refresh(void *state)
{
	struct psi *psi = state;

	if (psi->io)
		return;
	if (listen_to(psi) >= 0) {
		power_set(psi->power, psi->input, 0, NULL);
		return;
	}
	close_fdp(&psi->fd);
	psi->fd = -1;
}

static void psi_close(void *state)
{
	struct psi *psi = state;

	(void) sd_event_source_disable_unref(psi->io);
	(void) sd_event_source_disable_unref(psi->quiet);
	close_fdp(&psi->fd);
	free(psi);
}

static int psi_open(struct power *p, enum power_source source, enum power_input input,
	const char *path, const char *encoded, void **ret)
{
	struct psi *psi = calloc(1, sizeof *psi);
	int r;

	if (!psi)
		return -ENOMEM;
	*psi = (struct psi){
		.power = p, .source = source, .input = input, .encoded = encoded, .fd = -1};
	(void) snprintf(psi->path, sizeof psi->path, "%s", path);
	r = power_timer(p, &psi->quiet, on_quiet, psi);
	if (r >= 0)
		r = listen_to(psi);
	if (r < 0) {
		psi_close(psi);
		return r;
	}
	power_set(p, input, 0, NULL);
	*ret = psi;
	return 0;
}

static int memory_open(struct power *p, void **ret)
{
	const struct power_options *o = power_options(p);
	char path[256];

	if (o->memory_watch)
		return psi_open(p, POWER_PSI_MEMORY, POWER_MEMORY_PRESSURE, o->memory_watch,
			o->memory_write, ret);
	(void) snprintf(path, sizeof path, "%s/pressure/memory", o->proc);
	return psi_open(p, POWER_PSI_MEMORY, POWER_MEMORY_PRESSURE, path, NULL, ret);
}

static int cpu_open(struct power *p, void **ret)
{
	char path[256];

	(void) snprintf(path, sizeof path, "%s/pressure/cpu", power_options(p)->proc);
	return psi_open(p, POWER_PSI_CPU, POWER_CPU_PRESSURE, path, NULL, ret);
}

const struct power_driver power_psi_memory_driver = {
	.open = memory_open,
	.refresh = psi_refresh,
	.close = psi_close,
	.on_demand = true,
};
const struct power_driver power_psi_cpu_driver = {
	.open = cpu_open,
	.refresh = psi_refresh,
	.close = psi_close,
	.on_demand = true,
};
