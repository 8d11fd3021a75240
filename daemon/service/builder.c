/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: builder_push() -> [waiting] -> builder's thread -> [finished] -> eventfd -> loop: done().
 * While a job is here, only its network, device and file may be used by the thread; the object
 * around it stays the loop's.
 */
#include "service/builder.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "engine/lower.h"

struct builder {
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_t thread;
	bool started;
	struct list waiting, finished; /* under the mutex, as stop */
	bool stop;
	int event_fd;
	sd_event_source *source;
};

static int build(struct job *job)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	int r;

	r = model_build(&model, job->network, job->bits, &job->error);
	if (r < 0)
		return r;
	return device_plan(job->device, model, &job->plan, &job->error);
}

/*
 * Without memory for a head the model is served all the same; what is wrong with the file is said by
 * network_open().
 */
static int open_network(struct job *job)
{
	if (job->head < 0 && job->keep_head && network_head(&job->head, job->fd, NULL) < 0)
		job->head = -1;
	if (job->head < 0)
		return network_open(&job->network, job->fd, &job->error);
	return network_open_head(&job->network, job->head, job->fd, &job->error);
}

static void *builder_thread(void *userdata)
{
	struct builder *b = userdata;
	uint64_t one = 1;

	pthread_mutex_lock(&b->mutex);
	for (;;) {
		struct job *job;

		while (!b->stop && list_empty(&b->waiting))
			pthread_cond_wait(&b->wake, &b->mutex);
		if (b->stop)
			break;
		job = list_entry(b->waiting.next, struct job, link);
		list_remove(&job->link);
		pthread_mutex_unlock(&b->mutex);
		job->result = job->work ? job->work(job) : job->network ? build(job) : open_network(job);
		pthread_mutex_lock(&b->mutex);
		list_append(&b->finished, &job->link);
		(void) !write(b->event_fd, &one, sizeof one);
	}
	pthread_mutex_unlock(&b->mutex);
	return NULL;
}

static struct job *take_first(struct builder *b, struct list *list)
{
	struct job *job = NULL;

	pthread_mutex_lock(&b->mutex);
	if (!list_empty(list)) {
		job = list_entry(list->next, struct job, link);
		list_remove(&job->link);
	}
	pthread_mutex_unlock(&b->mutex);
	return job;
}

static int on_finished(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct builder *b = userdata;
	struct job *job;
	uint64_t count;

	(void) !read(fd, &count, sizeof count);
	while ((job = take_first(b, &b->finished)))
		job->done(job, job->userdata);
	return 0;
}

void builder_push(struct builder *b, struct job *job)
{
	pthread_mutex_lock(&b->mutex);
	list_append(&b->waiting, &job->link);
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->mutex);
}

int builder_new(struct builder **ret, sd_event *event)
{
	_cleanup_(builder_freep) struct builder *b = NULL;
	int r;

	b = calloc(1, sizeof *b);
	if (!b)
		return -ENOMEM;
	b->event_fd = -1;
	list_init(&b->waiting);
	list_init(&b->finished);
	(void) pthread_mutex_init(&b->mutex, NULL);
	(void) pthread_cond_init(&b->wake, NULL);
	b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->event_fd < 0)
		return -errno;
	r = sd_event_add_io(event, &b->source, b->event_fd, EPOLLIN, on_finished, b);
	if (r < 0)
		return r;
	r = pthread_create(&b->thread, NULL, builder_thread, b);
	if (r != 0)
		return -r;
	b->started = true;
	*ret = take_ptr(b);
	return 0;
}

struct builder *builder_free(struct builder *b)
{
	struct job *job;

	if (!b)
		return NULL;
	pthread_mutex_lock(&b->mutex);
	b->stop = true;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->mutex);
	if (b->started)
		(void) pthread_join(b->thread, NULL);
	while ((job = take_first(b, &b->waiting)) || (job = take_first(b, &b->finished))) {
		job->result = -ECANCELED;
		job->done(job, job->userdata);
	}
	(void) sd_event_source_disable_unref(b->source);
	(void) pthread_cond_destroy(&b->wake);
	(void) pthread_mutex_destroy(&b->mutex);
	close_fdp(&b->event_fd);
	free(b);
	return NULL;
}
