/* SPDX-License-Identifier: Apache-2.0 */
#include "service/quarantine.h"

#include <errno.h>
#include <pthread.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/replacement.h"

struct banned {
	char device[WORKER_TEXT], driver[WORKER_TEXT], kernel[WORKER_NAME], reason[WORKER_TEXT];
};

struct quarantine {
	pthread_mutex_t mutex;
	char *file;
	struct banned entries[QUARANTINE_MAX];
	uint32_t n;
};

/* Tabs and line ends are the file's own. */
static void copy(char *to, size_t size, const char *from)
{
	(void) snprintf(to, size, "%s", from);
	for (char *p = to; *p; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
}

static bool is_of(const struct banned *b, const char *device, const char *driver)
{
	return strcmp(b->device, device) == 0 && strcmp(b->driver, driver) == 0;
}

static struct banned *append(struct quarantine *q)
{
	/* Full: the oldest goes. */
	if (q->n == QUARANTINE_MAX)
		memmove(&q->entries[0], &q->entries[1], --q->n * sizeof q->entries[0]);
	return &q->entries[q->n++];
}

static void read_line(struct quarantine *q, char *line)
{
	char *fields[4], *rest = line;
	struct banned *b;

	line[strcspn(line, "\n")] = '\0';
	for (int i = 0; i < 4; i++) {
		fields[i] = strsep(&rest, "\t");
		if (!fields[i] || (i < 3 && !fields[i][0]))
			return;
	}
	b = append(q);
	copy(b->device, sizeof b->device, fields[0]);
	copy(b->driver, sizeof b->driver, fields[1]);
	copy(b->kernel, sizeof b->kernel, fields[2]);
	copy(b->reason, sizeof b->reason, fields[3]);
}

static void read_file(struct quarantine *q)
{
	char line[1024];
	FILE *f = fopen(q->file, "re");

	for (uint32_t i = 0; f && i < 4 * QUARANTINE_MAX && fgets(line, sizeof line, f); i++)
		read_line(q, line);
	if (f)
		(void) fclose(f);
}

int quarantine_new(struct quarantine **ret, const char *file)
{
	_cleanup_(quarantine_freep) struct quarantine *q = calloc(1, sizeof *q);

	if (!q)
		return -ENOMEM;
	(void) pthread_mutex_init(&q->mutex, NULL);
	if (file) {
		q->file = strdup(file);
		if (!q->file)
			return -ENOMEM;
		read_file(q);
	}
	*ret = take_ptr(q);
	return 0;
}

struct quarantine *quarantine_free(struct quarantine *q)
{
	if (!q)
		return NULL;
	(void) pthread_mutex_destroy(&q->mutex);
	free(q->file);
	free(q);
	return NULL;
}

static int write_all(const struct quarantine *q, int fd)
{
	for (uint32_t i = 0; i < q->n; i++) {
		const struct banned *b = &q->entries[i];

		if (dprintf(fd, "%s\t%s\t%s\t%s\n", b->device, b->driver, b->kernel, b->reason) < 0)
			return -EIO;
	}
	return 0;
}

/* Whole or not at all: a power cut must not lift it. */
static int save(const struct quarantine *q)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	int r;

	if (!q->file)
		return 0;
	r = replacement_begin(&file, AT_FDCWD, q->file, 0666);
	if (r >= 0)
		r = write_all(q, file.fd);
	return r < 0 ? r : replacement_finish(&file);
}

/* Entries of this device under drivers that it does not have any more. */
static void drop_stale(struct quarantine *q, const char *device, const char *driver)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < q->n; i++)
		if (strcmp(q->entries[i].device, device) != 0 ||
			strcmp(q->entries[i].driver, driver) == 0)
			q->entries[kept++] = q->entries[i];
	q->n = kept;
}

static struct banned *find(
	struct quarantine *q, const char *device, const char *driver, const char *kernel)
{
	for (uint32_t i = 0; i < q->n; i++)
		if (is_of(&q->entries[i], device, driver) &&
			strcmp(q->entries[i].kernel, kernel) == 0)
			return &q->entries[i];
	return NULL;
}

int quarantine_add(struct quarantine *q, const char *device, const char *driver, const char *kernel,
	const char *reason)
{
	struct banned *b;
	int r = 0;

	(void) pthread_mutex_lock(&q->mutex);
	if (!find(q, device, driver, kernel)) {
		drop_stale(q, device, driver);
		b = append(q);
		copy(b->device, sizeof b->device, device);
		copy(b->driver, sizeof b->driver, driver);
		copy(b->kernel, sizeof b->kernel, kernel);
		copy(b->reason, sizeof b->reason, reason);
		r = save(q);
	}
	(void) pthread_mutex_unlock(&q->mutex);
	return r;
}

bool quarantine_find(struct quarantine *q, const char *device, const char *driver, const char *kernel,
	char ret_reason[WORKER_TEXT])
{
	const struct banned *b;

	(void) pthread_mutex_lock(&q->mutex);
	b = find(q, device, driver, kernel);
	if (b)
		copy(ret_reason, WORKER_TEXT, b->reason);
	(void) pthread_mutex_unlock(&q->mutex);
	return b != NULL;
}

uint32_t quarantine_list(struct quarantine *q, const char *device, const char *driver,
	struct worker_test *test)
{
	(void) pthread_mutex_lock(&q->mutex);
	for (uint32_t i = 0; i < q->n && test->n_banned < WORKER_KERNELS; i++)
		if (is_of(&q->entries[i], device, driver) &&
			strcmp(q->entries[i].kernel, QUARANTINE_ALL) != 0)
			(void) snprintf(test->banned[test->n_banned++], WORKER_NAME, "%s",
				q->entries[i].kernel);
	(void) pthread_mutex_unlock(&q->mutex);
	return test->n_banned;
}

uint32_t quarantine_lift(struct quarantine *q)
{
	uint32_t n;

	(void) pthread_mutex_lock(&q->mutex);
	n = q->n;
	q->n = 0;
	(void) save(q);
	(void) pthread_mutex_unlock(&q->mutex);
	return n;
}
