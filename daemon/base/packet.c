/* SPDX-License-Identifier: Apache-2.0 */
#include "base/packet.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
};

/* Return: 0 when @fd is ready for @events or has ended */
static int wait_for(int fd, short events, uint64_t end_nsec)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		struct timespec left = {}, *timeout = NULL;
		uint64_t now = clock_now_nsec();
		int r;

		if (end_nsec != UINT64_MAX) {
			uint64_t nsec = end_nsec > now ? end_nsec - now : 0;

			left = (struct timespec){
				(time_t) (nsec / NSEC_PER_SEC), (long) (nsec % NSEC_PER_SEC)};
			timeout = &left;
		}
		r = ppoll(&p, 1, timeout, NULL);
		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static uint64_t end_of(uint64_t timeout_nsec)
{
	uint64_t now = clock_now_nsec();

	return timeout_nsec > UINT64_MAX - now ? UINT64_MAX : now + timeout_nsec;
}

int packet_send(
	int fd, const void *data, size_t size, const int *fds, uint32_t n, uint64_t timeout_nsec)
{
	uint64_t end = end_of(timeout_nsec);
	struct iovec part = {.iov_base = (void *) data, .iov_len = size};
	union control control = {};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	assert(n <= PACKET_FDS_MAX);
	if (n > 0) {
		struct cmsghdr *c = &control.align;

		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n * sizeof *fds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof *fds);
		memcpy(CMSG_DATA(c), fds, n * sizeof *fds);
	}
	for (;;) {
		ssize_t sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (sent >= 0)
			return (size_t) sent == size ? 0 : -EMSGSIZE;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(fd, POLLOUT, end);
		if (r < 0)
			return r;
	}
}

static uint32_t take_fds(struct msghdr *m, int *fds, uint32_t max)
{
	uint32_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (n < max)
				fds[n++] = fd;
			else
				(void) close(fd);
		}
	}
	return n;
}

int packet_receive(
	int fd, void *data, size_t size, int *fds, uint32_t *ret_n, uint64_t timeout_nsec)
{
	uint64_t end = end_of(timeout_nsec);
	struct iovec part = {.iov_base = data, .iov_len = size};
	union control control;
	struct msghdr m = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes};
	uint32_t count;
	ssize_t n;
	int r;

	do {
		r = wait_for(fd, POLLIN, end);
		if (r < 0)
			return r;
		n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		return -errno;
	count = take_fds(&m, fds, fds ? PACKET_FDS_MAX : 0);
	if (n > 0 && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
		if (ret_n)
			*ret_n = count;
		return (int) n;
	}
	for (uint32_t i = 0; i < count; i++)
		(void) close(fds[i]);
	return n == 0 ? -ECONNRESET : -EMSGSIZE;
}
