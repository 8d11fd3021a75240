/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon that says what it should not: the worker answers with an error or ends the connection. */
#include "worker/serve.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memfd.h"
#include "base/packet.h"
#include "support/test.h"
#include "worker/protocol.h"

#define WAIT_NSEC (60 * NSEC_PER_SEC)
#define ROUNDS 2000

/** struct peer - a worker in a thread; @result: what serve() has returned */
struct peer {
	int fd, its;
	pthread_t thread;
	int result;
};

static void *run(void *userdata)
{
	static const struct serve_options options;
	struct peer *p = userdata;

	p->result = serve(p->its, &options);
	(void) close(p->its);
	return NULL;
}

static void start(struct peer *p)
{
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*p = (struct peer){.fd = pair[0], .its = pair[1]};
	CU_ASSERT_EQUAL_FATAL(pthread_create(&p->thread, NULL, run, p), 0);
}

/* Return: what serve() returned */
static int end(struct peer *p)
{
	(void) shutdown(p->fd, SHUT_WR);
	(void) pthread_join(p->thread, NULL);
	(void) close(p->fd);
	return p->result;
}

static void say(struct peer *p, const void *record, size_t size)
{
	(void) packet_send(p->fd, record, size, NULL, 0, WAIT_NSEC);
}

static int hear(struct peer *p, enum worker_type type, union worker_record *ret)
{
	int r = packet_receive(p->fd, ret, sizeof *ret, NULL, NULL, WAIT_NSEC);

	return r < 0 || ret->header.type == type ? r : -EPROTO;
}

static bool greet(struct peer *p, uint32_t index)
{
	struct worker_hello hello = {.header = worker_header(WORKER_HELLO), .index = index};
	union worker_record m;

	say(p, &hello, sizeof hello);
	CU_ASSERT(hear(p, WORKER_WELCOME, &m) > 0);
	if (index > 0) {
		CU_ASSERT_EQUAL(m.welcome.result, -ENODEV);
		CU_ASSERT_STRING_NOT_EQUAL(m.welcome.text, "");
	}
	return m.welcome.result == 0;
}

static void test_nothing_before_hello(void)
{
	static const enum worker_type types[] = {WORKER_TEST, WORKER_LOAD, WORKER_RUN, WORKER_UNLOAD,
		WORKER_WELCOME, WORKER_DONE, WORKER_REGION};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		union worker_record m = {.header = worker_header(types[i])};
		struct peer p;

		start(&p);
		say(&p, &m, m.header.size);
		CU_ASSERT_EQUAL(end(&p), -EPROTO);
	}
}

static void test_records_that_are_none(void)
{
	uint64_t seed = 1;

	for (int i = 0; i < ROUNDS; i++) {
		union worker_record m;
		uint8_t *bytes = (uint8_t *) &m;
		size_t size;
		struct peer p;

		for (size_t j = 0; j < sizeof m; j++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
			bytes[j] = (uint8_t) (seed >> 56);
		}
		/* every other one has a head that is right, but for who may say it */
		m.header = worker_header((enum worker_type) (WORKER_TEST + i % 12));
		size = i % 2 ? m.header.size : 1 + (size_t) (seed >> 40) % (sizeof m - 1);
		if (m.header.type == WORKER_FORGET)
			continue;
		start(&p);
		say(&p, &m, size);
		CU_ASSERT_EQUAL(end(&p), -EPROTO);
	}
}

static void test_a_device_that_is_not_there(void)
{
	struct peer p;

	start(&p);
	CU_ASSERT_FALSE(greet(&p, 99));
	CU_ASSERT_EQUAL(end(&p), 0);
}

static int run_items(struct peer *p, uint32_t n)
{
	struct worker_run m = {.header = worker_header(WORKER_RUN), .plan = 1, .cookie = 7, .n = n};
	union worker_record answer;

	memset(m.items, 0xff, sizeof m.items);
	say(p, &m, sizeof m);
	CU_ASSERT(hear(p, WORKER_DONE, &answer) > 0);
	CU_ASSERT_EQUAL(answer.done.cookie, 7);
	return answer.done.result;
}

static void test_errors_after_hello(void)
{
	struct worker_region region = {.header = worker_header(WORKER_REGION), .region = 1, .bytes = 4096};
	struct worker_unload unload = {.header = worker_header(WORKER_UNLOAD), .plan = 5};
	struct worker_forget forget = {.header = worker_header(WORKER_FORGET), .region = 5};
	struct worker_load load = {.header = worker_header(WORKER_LOAD), .plan = 1, .n_planes = UINT32_MAX};
	_cleanup_close_ int fd = -1;
	union worker_record m;
	struct peer p;

	start(&p);
	if (!greet(&p, 0)) {
		(void) end(&p);
		test_skip("no OpenCL device on this machine");
	}
	CU_ASSERT_EQUAL(run_items(&p, 1), -ENOENT);
	CU_ASSERT_EQUAL(run_items(&p, 0), -ENOENT);
	CU_ASSERT_EQUAL(run_items(&p, UINT32_MAX), -ENOENT);
	say(&p, &forget, sizeof forget);
	say(&p, &unload, sizeof unload);
	CU_ASSERT(hear(&p, WORKER_UNLOADED, &m) > 0);
	say(&p, &load, sizeof load);
	CU_ASSERT(hear(&p, WORKER_LOADED, &m) > 0);
	CU_ASSERT_EQUAL(m.loaded.result, -EBADMSG);
	CU_ASSERT_EQUAL_FATAL(memfd_new(&fd, NULL, "region", 4096), 0);
	CU_ASSERT_EQUAL(packet_send(p.fd, &region, sizeof region, &fd, 1, WAIT_NSEC), 0);
	CU_ASSERT_EQUAL(run_items(&p, 1), -ENOENT);
	/* a number is used once */
	CU_ASSERT_EQUAL(packet_send(p.fd, &region, sizeof region, &fd, 1, WAIT_NSEC), 0);
	CU_ASSERT_EQUAL(end(&p), -EPROTO);
}

TEST_MAIN("serve", TEST(nothing_before_hello), TEST(records_that_are_none), TEST(a_device_that_is_not_there),
	TEST(errors_after_hello))
