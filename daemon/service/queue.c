/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which thread may do what:
 *
 *	loop thread				mutex		device thread
 *	queue_push()      ---> insert --->  [ waiting ] ---> take the first
 *	queue_cancel()    <--- remove <---  [         ]      running = true
 *	                                                     run it: plan, slot bytes, scratch
 *	done()            <--- take all <-  [ finished] <--- append, running = false
 *	   ^                                                    |
 *	   +-------------------- eventfd ----------------------+
 *
 *	queue_run_here(): the loop thread itself sets running, runs, clears running. The device's
 *	scratch belongs to whoever set running; the mutex hands it over.
 *
 * A hand-over between threads costs more than a small network, hence queue_run_here(): when nothing
 * waits and the device is idle, the thread that has read the record runs it.
 *
 * A timer on the loop refuses waiting requests when their deadline comes; a running one ends first
 * and is refused then, since its answer is of no use any more.
 */
#include "service/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"

struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_t thread;
	bool started;
	/* under the mutex */
	struct list waiting, finished;
	uint32_t length;
	bool running, stop;
	/* the loop's */
	queue_run_fn *run;
	void *device;
	uint32_t length_max;
	int event_fd;
	uint64_t timer_nsec;
	sd_event_source *finished_source, *timer;
};

static void set_result(struct request *request, int result)
{
	request->result = result;
	request->finished_nsec = clock_now_nsec();
	if (result == 0 && request->deadline_nsec && request->finished_nsec > request->deadline_nsec)
		request->result = -ETIMEDOUT;
}

static void run_request(struct queue *q, struct request *request)
{
	request->started_nsec = clock_now_nsec();
	if (request->deadline_nsec && request->started_nsec >= request->deadline_nsec) {
		request->result = -ETIMEDOUT;
		request->finished_nsec = request->started_nsec;
		return;
	}
	set_result(request, q->run(q->device, request));
}

static void signal_finished(struct queue *q)
{
	uint64_t one = 1;

	(void) !write(q->event_fd, &one, sizeof one);
}

static void *device_thread(void *userdata)
{
	struct queue *q = userdata;
	struct request *request;

	pthread_mutex_lock(&q->mutex);
	for (;;) {
		while (!q->stop && (q->running || list_empty(&q->waiting)))
			pthread_cond_wait(&q->wake, &q->mutex);
		if (q->stop)
			break;
		request = list_entry(q->waiting.next, struct request, link);
		list_remove(&request->link);
		q->length--;
		q->running = request->running = true;
		pthread_mutex_unlock(&q->mutex);
		run_request(q, request);
		pthread_mutex_lock(&q->mutex);
		q->running = request->running = false;
		list_append(&q->finished, &request->link);
		signal_finished(q);
	}
	pthread_mutex_unlock(&q->mutex);
	return NULL;
}

void queue_drain(struct queue *q)
{
	struct list batch;
	struct request *request;

	/*
	 * Requests may be pushed from done(): take what is there now, without holding the mutex
	 * below.
	 */
	list_init(&batch);
	pthread_mutex_lock(&q->mutex);
	while (!list_empty(&q->finished)) {
		request = list_entry(q->finished.next, struct request, link);
		list_remove(&request->link);
		list_append(&batch, &request->link);
	}
	pthread_mutex_unlock(&q->mutex);
	while (!list_empty(&batch)) {
		request = list_entry(batch.next, struct request, link);
		list_remove(&request->link);
		request->done(request, request->userdata);
	}
}

static int on_finished(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	uint64_t count;

	(void) !read(fd, &count, sizeof count);
	queue_drain(userdata);
	return 0;
}

/* Moves what is too late to the finished list. Return: the next deadline, UINT64_MAX for none. */
static uint64_t expire(struct queue *q, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	pthread_mutex_lock(&q->mutex);
	list_for_each_safe (l, n, &q->waiting) {
		struct request *request = list_entry(l, struct request, link);

		if (!request->deadline_nsec)
			continue;
		if (request->deadline_nsec > now) {
			next = MIN_OF(next, request->deadline_nsec);
			continue;
		}
		list_remove(&request->link);
		q->length--;
		request->result = -ETIMEDOUT;
		request->started_nsec = request->finished_nsec = now;
		list_append(&q->finished, &request->link);
	}
	pthread_mutex_unlock(&q->mutex);
	return next;
}

static void arm_timer(struct queue *q, uint64_t nsec)
{
	q->timer_nsec = nsec;
	if (nsec == UINT64_MAX) {
		(void) sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
		return;
	}
	(void) sd_event_source_set_time(q->timer, nsec / NSEC_PER_USEC + 1);
	(void) sd_event_source_set_enabled(q->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct queue *q = userdata;

	arm_timer(q, expire(q, clock_now_nsec()));
	queue_drain(q);
	return 0;
}

static bool comes_before(const struct request *a, const struct request *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	/* No deadline is the latest: 0 - 1 wraps to the largest. */
	return a->deadline_nsec - 1 < b->deadline_nsec - 1;
}

/* From the end: most requests are alike and stay there. */
static void insert(struct queue *q, struct request *request)
{
	struct list *after = q->waiting.previous;

	while (after != &q->waiting
		&& comes_before(request, list_entry(after, struct request, link)))
		after = after->previous;
	list_append(after->next, &request->link);
	q->length++;
}

int queue_push(struct queue *q, struct request *request)
{
	request->submitted_nsec = clock_now_nsec();
	request->running = false;
	pthread_mutex_lock(&q->mutex);
	if (q->length >= q->length_max) {
		pthread_mutex_unlock(&q->mutex);
		return -EBUSY;
	}
	insert(q, request);
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->mutex);
	if (request->deadline_nsec && request->deadline_nsec < q->timer_nsec && q->timer)
		arm_timer(q, request->deadline_nsec);
	return 0;
}

/* No deadline is later than any. */
static bool is_alike(const struct request *a, const struct request *b, uint64_t deadline_nsec)
{
	return a->plan == b->plan && a->input_type == b->input_type &&
	       (b->deadline_nsec == 0 || b->deadline_nsec >= deadline_nsec);
}

uint32_t queue_take_alike(struct queue *q, const struct request *like, uint64_t deadline_nsec,
	struct request **ret, uint32_t max)
{
	uint64_t now = clock_now_nsec();
	uint32_t n = 0;

	pthread_mutex_lock(&q->mutex);
	list_for_each_safe (l, next, &q->waiting) {
		struct request *request = list_entry(l, struct request, link);

		if (n == max)
			break;
		if (!is_alike(like, request, deadline_nsec))
			continue;
		list_remove(&request->link);
		q->length--;
		request->running = true;
		request->started_nsec = now;
		ret[n++] = request;
	}
	pthread_mutex_unlock(&q->mutex);
	return n;
}

void queue_finish_alike(struct queue *q, struct request *request, int result)
{
	set_result(request, result);
	pthread_mutex_lock(&q->mutex);
	request->running = false;
	list_append(&q->finished, &request->link);
	signal_finished(q);
	pthread_mutex_unlock(&q->mutex);
}

bool queue_run_here(struct queue *q, struct request *request)
{
	bool idle;

	pthread_mutex_lock(&q->mutex);
	idle = !q->running && list_empty(&q->waiting);
	if (idle)
		q->running = true;
	pthread_mutex_unlock(&q->mutex);
	if (!idle)
		return false;
	request->submitted_nsec = clock_now_nsec();
	run_request(q, request);
	pthread_mutex_lock(&q->mutex);
	q->running = false;
	pthread_mutex_unlock(&q->mutex);
	return true;
}

bool queue_cancel(struct queue *q, struct request *request)
{
	bool waiting = false;

	pthread_mutex_lock(&q->mutex);
	list_for_each (l, &q->waiting)
		waiting |= l == &request->link;
	if (waiting) {
		list_remove(&request->link);
		q->length--;
	}
	pthread_mutex_unlock(&q->mutex);
	return waiting;
}

bool queue_is_idle(struct queue *q)
{
	bool idle;

	pthread_mutex_lock(&q->mutex);
	idle = !q->running && list_empty(&q->waiting) && list_empty(&q->finished);
	pthread_mutex_unlock(&q->mutex);
	return idle;
}

uint32_t queue_length(struct queue *q)
{
	uint32_t length;

	pthread_mutex_lock(&q->mutex);
	length = q->length;
	pthread_mutex_unlock(&q->mutex);
	return length;
}

void queue_set_length_max(struct queue *q, uint32_t length_max)
{
	q->length_max = length_max;
}

static int attach(struct queue *q, sd_event *event)
{
	int r;

	r = sd_event_add_io(event, &q->finished_source, q->event_fd, EPOLLIN, on_finished, q);
	if (r < 0)
		return r;
	r = sd_event_add_time(event, &q->timer, CLOCK_MONOTONIC, 0, 100, on_timer, q);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
}

int queue_new(
	struct queue **ret, sd_event *event, queue_run_fn *run, void *device, uint32_t length_max)
{
	_cleanup_(queue_freep) struct queue *q = NULL;
	int r;

	q = calloc(1, sizeof *q);
	if (!q)
		return -ENOMEM;
	q->event_fd = -1;
	q->run = run;
	q->device = device;
	q->length_max = length_max;
	q->timer_nsec = UINT64_MAX;
	list_init(&q->waiting);
	list_init(&q->finished);
	(void) pthread_mutex_init(&q->mutex, NULL);
	(void) pthread_cond_init(&q->wake, NULL);
	q->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->event_fd < 0)
		return -errno;
	if (event) {
		r = attach(q, event);
		if (r < 0)
			return r;
	}
	r = pthread_create(&q->thread, NULL, device_thread, q);
	if (r != 0)
		return -r;
	q->started = true;
	*ret = take_ptr(q);
	return 0;
}

void queue_finish(struct queue *q)
{
	if (!q || !q->started)
		return;
	pthread_mutex_lock(&q->mutex);
	q->stop = true;
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->mutex);
	(void) pthread_join(q->thread, NULL);
	q->started = false;
	queue_drain(q);
}

struct queue *queue_free(struct queue *q)
{
	if (!q)
		return NULL;
	queue_finish(q);
	(void) sd_event_source_disable_unref(q->finished_source);
	(void) sd_event_source_disable_unref(q->timer);
	(void) pthread_cond_destroy(&q->wake);
	(void) pthread_mutex_destroy(&q->mutex);
	close_fdp(&q->event_fd);
	free(q);
	return NULL;
}
