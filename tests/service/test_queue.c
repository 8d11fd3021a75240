/* SPDX-License-Identifier: Apache-2.0 */
#include "service/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/test.h"

/* A device that can be held shut, and notes what it ran on which thread. */
struct fake {
	pthread_mutex_t gate;
	atomic_int entered;
	struct request *order[64];
	pthread_t thread[64];
	int n;
};

static int fake_run(void *device, struct request *request)
{
	struct fake *f = device;

	atomic_fetch_add(&f->entered, 1);
	pthread_mutex_lock(&f->gate);
	f->order[f->n] = request;
	f->thread[f->n++] = pthread_self();
	pthread_mutex_unlock(&f->gate);
	return 0;
}

static int done_count;

static void on_done(struct request *request, void *userdata)
{
	done_count++;
}

static void open_queue(struct queue **ret, struct fake *f, uint32_t length_max)
{
	*f = (struct fake){};
	done_count = 0;
	(void) pthread_mutex_init(&f->gate, NULL);
	CU_ASSERT_EQUAL_FATAL(queue_new(ret, NULL, fake_run, f, length_max), 0);
}

static void drain_until(struct queue *q, int count)
{
	for (int i = 0; i < 2000 && done_count < count; i++) {
		queue_drain(q);
		(void) usleep(1000);
	}
	CU_ASSERT_EQUAL(done_count, count);
}

/* Holds the device with a request that runs, so that the others wait. */
static void block(struct queue *q, struct fake *f, struct request *blocker)
{
	*blocker = (struct request){.done = on_done};
	pthread_mutex_lock(&f->gate);
	CU_ASSERT_EQUAL(queue_push(q, blocker), 0);
	for (int i = 0; i < 2000 && !atomic_load(&f->entered); i++)
		(void) usleep(1000);
	CU_ASSERT_EQUAL(atomic_load(&f->entered), 1);
}

static void test_priority_then_deadline_then_order(void)
{
	uint64_t soon = clock_now_nsec() + 100 * NSEC_PER_SEC;
	struct request blocker, r[6] = {
					{.done = on_done},
					{.done = on_done, .priority = -5},
					{.done = on_done, .deadline_nsec = soon + 1},
					{.done = on_done, .deadline_nsec = soon},
					{.done = on_done, .priority = 5},
					{.done = on_done},
				};
	static const int expected[6] = {4, 3, 2, 0, 5, 1};
	struct queue *q;
	struct fake f;

	open_queue(&q, &f, 100);
	block(q, &f, &blocker);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(queue_push(q, &r[i]), 0);
	CU_ASSERT_EQUAL(queue_length(q), 6);
	pthread_mutex_unlock(&f.gate);
	drain_until(q, 7);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_PTR_EQUAL(f.order[i + 1], &r[expected[i]]);
	queue_free(q);
}

static void test_full_is_busy(void)
{
	struct request blocker, a = {.done = on_done}, b = {.done = on_done}, c = {.done = on_done};
	struct queue *q;
	struct fake f;

	open_queue(&q, &f, 2);
	block(q, &f, &blocker);
	CU_ASSERT_EQUAL(queue_push(q, &a), 0);
	CU_ASSERT_EQUAL(queue_push(q, &b), 0);
	CU_ASSERT_EQUAL(queue_push(q, &c), -EBUSY);
	pthread_mutex_unlock(&f.gate);
	drain_until(q, 3);
	queue_free(q);
}

static void test_cancel_only_what_waits(void)
{
	struct request blocker, a = {.done = on_done};
	struct queue *q;
	struct fake f;

	open_queue(&q, &f, 2);
	block(q, &f, &blocker);
	CU_ASSERT_EQUAL(queue_push(q, &a), 0);
	CU_ASSERT_TRUE(queue_cancel(q, &a));
	CU_ASSERT_FALSE(queue_cancel(q, &a));
	CU_ASSERT_FALSE(queue_cancel(q, &blocker));
	pthread_mutex_unlock(&f.gate);
	drain_until(q, 1);
	CU_ASSERT_EQUAL(f.n, 1);
	queue_free(q);
}

static void test_too_late_is_not_run(void)
{
	struct request blocker, late = {.done = on_done};
	struct queue *q;
	struct fake f;

	open_queue(&q, &f, 2);
	block(q, &f, &blocker);
	late.deadline_nsec = clock_now_nsec() + NSEC_PER_MSEC;
	CU_ASSERT_EQUAL(queue_push(q, &late), 0);
	(void) usleep(3000);
	pthread_mutex_unlock(&f.gate);
	drain_until(q, 2);
	CU_ASSERT_EQUAL(late.result, -ETIMEDOUT);
	CU_ASSERT_EQUAL(f.n, 1);
	queue_free(q);
}

/* Refused when its time is over, not when the device has time to look at it. */
static void test_timer_refuses_while_the_device_is_busy(void)
{
	struct request blocker, late = {.done = on_done};
	sd_event *event = NULL;
	struct queue *q;
	struct fake f = {};

	done_count = 0;
	(void) pthread_mutex_init(&f.gate, NULL);
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&event), 0);
	CU_ASSERT_EQUAL_FATAL(queue_new(&q, event, fake_run, &f, 10), 0);
	block(q, &f, &blocker);
	late.deadline_nsec = clock_now_nsec() + 5 * NSEC_PER_MSEC;
	CU_ASSERT_EQUAL(queue_push(q, &late), 0);
	for (int i = 0; i < 100 && done_count == 0; i++)
		CU_ASSERT_TRUE(sd_event_run(event, 100000) >= 0);
	CU_ASSERT_EQUAL(done_count, 1);
	CU_ASSERT_EQUAL(late.result, -ETIMEDOUT);
	CU_ASSERT_EQUAL(queue_length(q), 0);
	pthread_mutex_unlock(&f.gate);
	for (int i = 0; i < 100 && done_count == 1; i++)
		CU_ASSERT_TRUE(sd_event_run(event, 100000) >= 0);
	CU_ASSERT_EQUAL(done_count, 2);
	queue_free(q);
	(void) sd_event_unref(event);
}

static void test_runs_here_only_when_idle(void)
{
	struct request blocker, here = {.done = on_done},
				late = {.done = on_done, .deadline_nsec = 1};
	struct queue *q;
	struct fake f;

	open_queue(&q, &f, 10);
	CU_ASSERT_TRUE(queue_run_here(q, &here));
	CU_ASSERT_TRUE(pthread_equal(f.thread[0], pthread_self()));
	CU_ASSERT_EQUAL(here.result, 0);
	CU_ASSERT_TRUE(queue_run_here(q, &late));
	CU_ASSERT_EQUAL(late.result, -ETIMEDOUT);
	CU_ASSERT_EQUAL(f.n, 1);
	atomic_store(&f.entered, 0);
	block(q, &f, &blocker);
	CU_ASSERT_FALSE(queue_run_here(q, &here));
	pthread_mutex_unlock(&f.gate);
	drain_until(q, 1);
	CU_ASSERT_FALSE(pthread_equal(f.thread[1], pthread_self()));
	queue_free(q);
}

static void test_finish_forgets_what_waits(void)
{
	struct request blocker, waits = {.done = on_done};
	struct queue *q;
	struct fake f;

	open_queue(&q, &f, 10);
	queue_set_length_max(q, 0);
	CU_ASSERT_EQUAL(queue_push(q, &waits), -EBUSY);
	queue_set_length_max(q, 1);
	block(q, &f, &blocker);
	pthread_mutex_unlock(&f.gate);
	queue_finish(q);
	CU_ASSERT_EQUAL(done_count, 1);
	CU_ASSERT_EQUAL(queue_push(q, &waits), 0);
	queue_free(q);
	CU_ASSERT_EQUAL(done_count, 1);
}

/* A device that takes along what is like the one that it is given, once it is let. */
struct gatherer {
	struct queue *q;
	pthread_mutex_t gate;
	atomic_int entered, n_alike;
	uint64_t deadline_nsec;
};

static int gather(void *device, struct request *request)
{
	struct gatherer *g = device;
	struct request *alike[3];
	uint32_t n;

	atomic_fetch_add(&g->entered, 1);
	pthread_mutex_lock(&g->gate);
	n = queue_take_alike(g->q, request, g->deadline_nsec, alike, 3);
	atomic_fetch_add(&g->n_alike, (int) n);
	for (uint32_t i = 0; i < n; i++)
		queue_finish_alike(g->q, alike[i], -EIO);
	pthread_mutex_unlock(&g->gate);
	return 0;
}

static void test_requests_alike_run_together(void)
{
	uint64_t now = clock_now_nsec(), soon = now + 100 * NSEC_PER_SEC;
	struct plan plans[2];
	struct gatherer g = {.deadline_nsec = soon + 50};
	struct request first = {.done = on_done, .plan = &plans[0]}, r[6] = {
		{.done = on_done, .plan = &plans[0]},
		{.done = on_done, .plan = &plans[1]},
		{.done = on_done, .plan = &plans[0], .deadline_nsec = soon},
		{.done = on_done, .plan = &plans[0], .deadline_nsec = soon + 100},
		{.done = on_done, .plan = &plans[0], .input_type = INPUT_FLOATS},
		{.done = on_done, .plan = &plans[0]},
	};

	done_count = 0;
	(void) pthread_mutex_init(&g.gate, NULL);
	CU_ASSERT_EQUAL_FATAL(queue_new(&g.q, NULL, gather, &g, 100), 0);
	pthread_mutex_lock(&g.gate);
	CU_ASSERT_EQUAL(queue_push(g.q, &first), 0);
	for (int i = 0; i < 2000 && !atomic_load(&g.entered); i++)
		(void) usleep(1000);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(queue_push(g.q, &r[i]), 0);
	pthread_mutex_unlock(&g.gate);
	drain_until(g.q, 7);
	/* 0, 3 and 5 with the first; another plan, a nearer deadline and another type by themselves */
	CU_ASSERT_EQUAL(atomic_load(&g.n_alike), 3);
	CU_ASSERT_EQUAL(atomic_load(&g.entered), 4);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(r[i].result, i == 0 || i == 3 || i == 5 ? -EIO : 0);
	CU_ASSERT_EQUAL(queue_length(g.q), 0);
	queue_free(g.q);
}

TEST_MAIN("queue", TEST(priority_then_deadline_then_order), TEST(full_is_busy),
	TEST(cancel_only_what_waits), TEST(too_late_is_not_run),
	TEST(timer_refuses_while_the_device_is_busy), TEST(runs_here_only_when_idle),
	TEST(finish_forgets_what_waits), TEST(requests_alike_run_together))
