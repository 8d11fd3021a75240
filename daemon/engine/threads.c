/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job at a time. threads_run() stores the job, then gives each thread a share of its tasks: neighbours,
 * and the same ones of each job with as many, which find in their cache what they left there. A thread takes
 * from the front of its own share; when that is empty, from the back of the others': so all end together
 * though one was held up. Whoever changes a share has claimed a task of it, and only then reads the job. A
 * thread that wakes late claims nothing, or a task of the job that is current by then: it never acts on an
 * old one.
 *
 *	caller:	job, pending = n, shares, seq++, wake -- claim, run ... -- wait for pending = 0
 *	thread:	sleep on seq -- claim, run, pending-- ... -- nothing left: watch seq briefly, sleep
 *
 * Steps of a small network follow each other within microseconds, faster than a sleeper wakes: so
 * both sides watch for SPIN_NSEC before they sleep, and not at all where processors are fewer than
 * threads.
 */
#include "engine/threads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/processors.h"

#define SPIN_NSEC (30 * NSEC_PER_USEC)
#define SPIN_PAUSES 16 /* between two looks at the clock */

/*
 * struct worker - the first one is whoever calls
 * @share: of the tasks, first | end << 32
 * @looking: it may claim a task, by the limit that it has seen
 */
struct worker {
	_Alignas(64) _Atomic uint64_t share;
	atomic_bool looking;
	struct threads *pool;
	pthread_t id;
	uint32_t thread;
};

/* Each thing that one side writes while the other looks at something else has its own cache line.
 */
struct threads {
	uint32_t count, n_started;
	bool spin;
	threads_fn *fn;
	void *userdata;
	_Alignas(64) atomic_uint pending;
	_Alignas(64) atomic_uint seq; /* futex of the threads */
	atomic_uint limit;
	atomic_uint sleepers;
	atomic_bool waiting, stop; /* waiting: the caller sleeps on pending */
	struct worker workers[];
};

static void futex_wait(atomic_uint *word, uint32_t expected)
{
	/* EAGAIN, EINTR and a stolen wake all mean the same: look again. */
	(void) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, uint32_t n)
{
	(void) syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ volatile("yield");
#endif
}

/* Return: true as soon as *word != value, false when that took too long. */
static bool spin_while(const struct threads *t, atomic_uint *word, uint32_t value)
{
	uint64_t end;

	if (atomic_load(word) != value)
		return true;
	if (!t->spin)
		return false;
	end = clock_now_nsec() + SPIN_NSEC;
	do {
		for (uint32_t i = 0; i < SPIN_PAUSES; i++) {
			cpu_pause();
			if (atomic_load(word) != value)
				return true;
		}
	} while (clock_now_nsec() < end);
	return false;
}

static uint64_t share_of(uint32_t first, uint32_t end)
{
	return (uint64_t) end << 32 | first;
}

/* @back: its last task, else its first */
static bool share_take(_Atomic uint64_t *share, bool back, uint32_t *ret_task)
{
	uint64_t was = atomic_load(share);

	for (;;) {
		uint32_t first = (uint32_t) was, end = (uint32_t) (was >> 32);

		if (first == end)
			return false;
		if (!atomic_compare_exchange_weak(
			    share, &was, back ? share_of(first, end - 1) : share_of(first + 1, end)))
			continue;
		*ret_task = back ? end - 1 : first;
		return true;
	}
}

static bool task_claim(struct threads *t, uint32_t thread, uint32_t *ret_task)
{
	if (share_take(&t->workers[thread].share, false, ret_task))
		return true;
	for (uint32_t i = 1; i < t->count; i++)
		if (share_take(&t->workers[(thread + i) % t->count].share, true, ret_task))
			return true;
	return false;
}

/* Return: how many tasks this thread ran. */
static uint32_t tasks_run(struct threads *t, uint32_t thread)
{
	uint32_t task, n = 0;

	for (; task_claim(t, thread, &task); n++)
		t->fn(t->userdata, task, thread);
	return n;
}

static void tasks_done(struct threads *t, uint32_t n)
{
	if (n > 0 && atomic_fetch_sub(&t->pending, n) == n && atomic_load(&t->waiting))
		futex_wake(&t->pending, 1);
}

static void wait_for_job(struct threads *t, uint32_t seq)
{
	if (spin_while(t, &t->seq, seq))
		return;
	atomic_fetch_add(&t->sleepers, 1);
	while (atomic_load(&t->seq) == seq)
		futex_wait(&t->seq, seq);
	atomic_fetch_sub(&t->sleepers, 1);
}

static void *worker_main(void *userdata)
{
	struct worker *w = userdata;
	struct threads *t = w->pool;

	for (;;) {
		uint32_t seq = atomic_load(&t->seq);

		if (atomic_load(&t->stop))
			return NULL;
		atomic_store(&w->looking, true);
		if (w->thread < atomic_load(&t->limit))
			tasks_done(t, tasks_run(t, w->thread));
		atomic_store(&w->looking, false);
		wait_for_job(t, seq);
	}
}

uint32_t threads_available(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
		return MIN_OF(processors_worth("", &set), THREADS_MAX);
	return (uint32_t) MIN_OF(MAX_OF(1L, sysconf(_SC_NPROCESSORS_ONLN)), (long) THREADS_MAX);
}

static int worker_start(struct threads *t, uint32_t thread)
{
	struct worker *w = &t->workers[thread];
	int r;

	w->pool = t;
	w->thread = thread;
	r = pthread_create(&w->id, NULL, worker_main, w);
	if (r != 0)
		return -r;
	t->n_started++;
	(void) pthread_setname_np(w->id, "bitshed-engine");
	return 0;
}

/*
 * Beside small processors, on the large ones: a step ends with its slowest thread. Only while there are enough
 * of them, and not for the caller, whose processors are not ours to choose.
 */
static void workers_keep_to_large(struct threads *t)
{
	cpu_set_t allowed, large;

	if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 || CPU_COUNT(&allowed) == 0)
		return;
	processors_large("", &allowed, &large);
	if (CPU_EQUAL(&large, &allowed) || t->count > (uint32_t) CPU_COUNT(&large))
		return;
	for (uint32_t i = 1; i <= t->n_started; i++)
		(void) pthread_setaffinity_np(t->workers[i].id, sizeof large, &large);
}

/* Signals belong to the thread that made the pool: the workers are born with all of them blocked.
 */
static int workers_start(struct threads *t)
{
	sigset_t all, old;
	int r = 0;

	(void) sigfillset(&all);
	r = -pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r < 0)
		return r;
	for (uint32_t i = 1; i < t->count && r == 0; i++)
		r = worker_start(t, i);
	(void) pthread_sigmask(SIG_SETMASK, &old, NULL);
	workers_keep_to_large(t);
	return r;
}

int threads_new(struct threads **ret, uint32_t count)
{
	_cleanup_(threads_freep) struct threads *t = NULL;
	size_t bytes = sizeof *t;
	int r;

	if (count == 0 || count > THREADS_MAX)
		return -EINVAL;
	bytes += count * sizeof t->workers[0];
	t = aligned_alloc(64, bytes);
	if (!t)
		return -ENOMEM;
	memset(t, 0, bytes);
	t->count = count;
	atomic_store(&t->limit, count);
	t->spin = count <= threads_available();
	r = workers_start(t);
	if (r < 0)
		return r;
	*ret = take_ptr(t);
	return 0;
}

struct threads *threads_free(struct threads *t)
{
	if (!t)
		return NULL;
	atomic_store(&t->stop, true);
	atomic_fetch_add(&t->seq, 1);
	futex_wake(&t->seq, INT_MAX);
	for (uint32_t i = 0; i < t->n_started; i++)
		(void) pthread_join(t->workers[i + 1].id, NULL);
	free(t);
	return NULL;
}

uint32_t threads_count(const struct threads *t)
{
	return t ? atomic_load(&t->limit) : 1;
}

void threads_limit(struct threads *t, uint32_t limit)
{
	if (!t)
		return;
	limit = limit == 0 ? t->count : MIN_OF(limit, t->count);
	/* Beside what the threads look at: written only when it is another. */
	if (atomic_load(&t->limit) == limit)
		return;
	atomic_store(&t->limit, limit);
	/* Who saw the old one must not claim a task of the next job, which has no scratch for it. */
	for (uint32_t i = limit; i < t->count; i++)
		while (atomic_load(&t->workers[i].looking))
			(void) sched_yield();
}

static void wait_for_tasks(struct threads *t)
{
	uint32_t pending;

	while ((pending = atomic_load(&t->pending)) > 0) {
		if (spin_while(t, &t->pending, pending))
			continue;
		atomic_store(&t->waiting, true);
		while ((pending = atomic_load(&t->pending)) > 0)
			futex_wait(&t->pending, pending);
		atomic_store(&t->waiting, false);
	}
}

void threads_run(struct threads *t, threads_fn *fn, void *userdata, uint32_t n_tasks)
{
	uint32_t n = threads_count(t);

	if (n_tasks <= 1 || n == 1) {
		for (uint32_t i = 0; i < n_tasks; i++)
			fn(userdata, i, 0);
		return;
	}
	t->fn = fn;
	t->userdata = userdata;
	atomic_store(&t->pending, n_tasks);
	for (uint64_t i = 0; i < n; i++)
		atomic_store(&t->workers[i].share,
			share_of((uint32_t) (n_tasks * i / n), (uint32_t) (n_tasks * (i + 1) / n)));
	atomic_fetch_add(&t->seq, 1);
	if (atomic_load(&t->sleepers) > 0)
		/* Nobody knows which of them sleep: under a limit all are asked. */
		futex_wake(&t->seq, n < t->count ? INT_MAX : MIN_OF(n_tasks, n) - 1);
	tasks_done(t, tasks_run(t, 0));
	wait_for_tasks(t);
}
