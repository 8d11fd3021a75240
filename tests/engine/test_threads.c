/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/threads.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "support/test.h"

#define TASKS 300

struct counts {
	uint32_t runs[TASKS]; /* each written by one task only: a task run twice is a data race too
			       */
	atomic_uint threads[8], bad_thread;
	uint32_t n_threads;
};

static void count_task(void *userdata, uint32_t task, uint32_t thread)
{
	struct counts *c = userdata;

	c->runs[task]++;
	if (thread < c->n_threads)
		atomic_fetch_add(&c->threads[thread], 1);
	else
		atomic_fetch_add(&c->bad_thread, 1);
}

static void check_counts(const struct counts *c, uint32_t n)
{
	uint32_t wrong = 0, sum = 0;

	for (uint32_t i = 0; i < TASKS; i++)
		wrong += c->runs[i] != (i < n);
	for (uint32_t i = 0; i < 8; i++)
		sum += atomic_load(&c->threads[i]);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(sum, n);
	CU_ASSERT_EQUAL(atomic_load(&c->bad_thread), 0);
}

static void test_each_task_runs_once(void)
{
	for (uint32_t n_threads = 1; n_threads <= 4; n_threads++) {
		_cleanup_(threads_freep) struct threads *t = NULL;

		CU_ASSERT_EQUAL_FATAL(threads_new(&t, n_threads), 0);
		CU_ASSERT_EQUAL(threads_count(t), n_threads);
		for (uint32_t i = 0; i < 400; i++) {
			struct counts c = {.n_threads = n_threads};
			uint32_t n = i * 7 % (TASKS + 1);

			threads_run(t, count_task, &c, n);
			check_counts(&c, n);
		}
	}
}

static void test_null_pool_runs_here(void)
{
	struct counts c = {.n_threads = 1};

	threads_run(NULL, count_task, &c, 10);
	check_counts(&c, 10);
	CU_ASSERT_EQUAL(threads_count(NULL), 1);
	CU_ASSERT_PTR_NULL(threads_free(NULL));
}

static uint32_t count_system_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	uint32_t n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_one_thread_makes_none(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	uint32_t before = count_system_threads();

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 1), 0);
	CU_ASSERT_EQUAL(count_system_threads(), before);
	t = threads_free(t);
	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 3), 0);
	CU_ASSERT_EQUAL(count_system_threads(), before + 2);
	t = threads_free(t);
}

static void test_silly_counts_are_refused(void)
{
	struct threads *t = NULL;

	CU_ASSERT_EQUAL(threads_new(&t, 0), -EINVAL);
	CU_ASSERT_EQUAL(threads_new(&t, THREADS_MAX + 1), -EINVAL);
	CU_ASSERT_PTR_NULL(t);
}

static void meet_task(void *userdata, uint32_t task, uint32_t thread)
{
	atomic_uint *arrived = userdata;

	atomic_fetch_add(arrived, 1);
	while (atomic_load(arrived) < 3)
		(void) sched_yield();
}

/* Three tasks that wait for each other end only when three threads work at once. */
static void test_threads_work_together(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 3), 0);
	for (uint32_t i = 0; i < 50; i++) {
		atomic_uint arrived = 0;

		threads_run(t, meet_task, &arrived, 3);
		CU_ASSERT_EQUAL(atomic_load(&arrived), 3);
		if (i % 10 == 0)
			(void) usleep(1000); /* long enough that the others sleep */
	}
}

/* struct meeting - @elsewhere: tasks that ran on another thread than the one whose share they are */
struct meeting {
	atomic_uint arrived, elsewhere;
};

static void share_task(void *userdata, uint32_t task, uint32_t thread)
{
	struct meeting *m = userdata;

	if (task != thread)
		atomic_fetch_add(&m->elsewhere, 1);
	meet_task(&m->arrived, task, thread);
}

/*
 * As many tasks as threads, none of which is free before all have one: nobody takes another one's, but for
 * a thread that is still looking around when a job begins.
 */
static void test_each_thread_has_its_share(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	uint32_t elsewhere = 0;

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 3), 0);
	for (uint32_t i = 0; i < 50; i++) {
		struct meeting m = {};

		threads_run(t, share_task, &m, 3);
		CU_ASSERT_EQUAL(atomic_load(&m.arrived), 3);
		elsewhere += atomic_load(&m.elsewhere);
	}
	CU_ASSERT(elsewhere < 15);
}

#define HELD_UP_SEC 20

static void held_up_task(void *userdata, uint32_t task, uint32_t thread)
{
	atomic_uint *done = userdata;
	time_t end = time(NULL) + HELD_UP_SEC;

	while (task == 0 && atomic_load(done) < TASKS - 1 && time(NULL) < end)
		(void) sched_yield();
	if (task > 0)
		atomic_fetch_add(done, 1);
	else if (atomic_load(done) == TASKS - 1)
		atomic_fetch_add(done, 1000);
}

/* The first task of a share waits for all others, which therefore somebody else must have run. */
static void test_a_share_is_stolen(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	atomic_uint done = 0;

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 2), 0);
	threads_run(t, held_up_task, &done, TASKS);
	CU_ASSERT_EQUAL(atomic_load(&done), TASKS - 1 + 1000);
}

static uint64_t cpu_usec(void)
{
	struct rusage u;

	(void) getrusage(RUSAGE_SELF, &u);
	return (uint64_t) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t) (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void test_idle_threads_sleep(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	struct counts c = {.n_threads = 4};
	uint64_t before;

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 4), 0);
	threads_run(t, count_task, &c, TASKS);
	(void) usleep(20000);
	before = cpu_usec();
	(void) usleep(200000);
	CU_ASSERT(cpu_usec() - before < 20000);
}

static void mask_task(void *userdata, uint32_t task, uint32_t thread)
{
	sigset_t set;

	(void) pthread_sigmask(SIG_SETMASK, NULL, &set);
	if (thread > 0 && !sigismember(&set, SIGTERM))
		atomic_fetch_add((atomic_uint *) userdata, 1);
	(void) usleep(100);
}

static void test_signals_stay_with_the_maker(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	atomic_uint open = 0;
	sigset_t set;

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 3), 0);
	threads_run(t, mask_task, &open, 30);
	CU_ASSERT_EQUAL(atomic_load(&open), 0);
	(void) pthread_sigmask(SIG_SETMASK, NULL, &set);
	CU_ASSERT_FALSE(sigismember(&set, SIGTERM));
}

static void highest_task(void *userdata, uint32_t task, uint32_t thread)
{
	atomic_uint *highest = userdata;
	uint32_t now = atomic_load(highest);

	while (thread > now && !atomic_compare_exchange_weak(highest, &now, thread))
		;
	(void) usleep(100);
}

static void test_a_limit_is_kept(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	static const uint32_t limits[] = {2, 1, 3, 0, 9, 2};

	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 4), 0);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		uint32_t n = limits[i] > 0 && limits[i] < 4 ? limits[i] : 4;
		atomic_uint highest = 0;

		threads_limit(t, limits[i]);
		CU_ASSERT_EQUAL(threads_count(t), n);
		threads_run(t, highest_task, &highest, 60);
		CU_ASSERT_TRUE(atomic_load(&highest) < n);
	}
	threads_limit(NULL, 2);
}

static void affinity_task(void *userdata, uint32_t task, uint32_t thread)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) != 1)
		atomic_fetch_add((atomic_uint *) userdata, 1);
	(void) usleep(100);
}

static void test_affinity_is_respected(void)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	atomic_uint elsewhere = 0;
	cpu_set_t all, one;

	CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&one);
	for (uint32_t i = 0; CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	CU_ASSERT_EQUAL_FATAL(sched_setaffinity(0, sizeof one, &one), 0);
	CU_ASSERT_EQUAL(threads_available(), 1);
	CU_ASSERT_EQUAL_FATAL(threads_new(&t, 3), 0);
	threads_run(t, affinity_task, &elsewhere, 30);
	CU_ASSERT_EQUAL(atomic_load(&elsewhere), 0);
	CU_ASSERT_EQUAL_FATAL(sched_setaffinity(0, sizeof all, &all), 0);
	CU_ASSERT(threads_available() <= (uint32_t) CPU_COUNT(&all));
}

TEST_MAIN("threads", TEST(each_task_runs_once), TEST(null_pool_runs_here),
	TEST(one_thread_makes_none), TEST(silly_counts_are_refused), TEST(threads_work_together),
	TEST(each_thread_has_its_share), TEST(a_share_is_stolen),
	TEST(idle_threads_sleep), TEST(signals_stay_with_the_maker), TEST(affinity_is_respected),
	TEST(a_limit_is_kept))
