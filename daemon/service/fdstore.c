/* SPDX-License-Identifier: Apache-2.0 */
#include "service/fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memfd.h"
#include "service/catalog.h"
#include "service/fdstore_parts.h"

static const char magic[8] = "bitshd2";

const char *fdstore_plane_kind(char *kind, size_t size, uint32_t i)
{
	if (i == 0)
		(void) snprintf(kind, size, "fixed");
	else
		(void) snprintf(kind, size, "plane%u", i);
	return kind;
}

bool fdstore_available(void)
{
	const char *limit = getenv("FDSTORE");

	/* systemd says from version 254 on how many it keeps; before, one has to try. */
	return getenv("NOTIFY_SOCKET") && !(limit && strcmp(limit, "0") == 0);
}

void fdstore_entry_init(struct fdstore_entry *s)
{
	s->head = -1;
	for (uint32_t i = 0; i < FDSTORE_PLANES; i++)
		s->taken[i] = -1;
}

void fdstore_entry_done(struct fdstore_entry *s)
{
	close_fdp(&s->head);
	for (uint32_t i = 0; i < FDSTORE_PLANES; i++)
		close_fdp(&s->taken[i]);
	fdstore_entry_init(s);
}

static void put(const struct entry *e, const char *kind, int fd)
{
	char text[160];
	int r;

	(void) snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s.%s\nFDPOLL=0", kind, e->name);
	r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
	if (r < 0)
		log_warning("model %s: %s not stored for a restart: %s", e->name, kind, strerror(-r));
}

static void remove_one(const char *kind, const char *name)
{
	(void) sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s.%s", kind, name);
}

void fdstore_remove_all(const char *name)
{
	char kind[16];

	remove_one("state", name);
	remove_one("head", name);
	remove_one("file", name);
	for (uint32_t i = 0; i < FDSTORE_PLANES; i++)
		remove_one(fdstore_plane_kind(kind, sizeof kind, i), name);
}

int fdstore_describe_file(int fd, struct fdstore_file *ret, int64_t *ret_mtime_nsec)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct fdstore_file){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.bytes = (uint64_t) st.st_size,
	};
	if (ret_mtime_nsec)
		*ret_mtime_nsec = st.st_mtim.tv_sec * (int64_t) NSEC_PER_SEC + st.st_mtim.tv_nsec;
	return 0;
}

static int describe_plane(const struct entry *e, const struct plane *p, struct fdstore_file *ret)
{
	int r = fdstore_describe_file(p->fd, ret, NULL);

	ret->layout = plane_layout(p, e->network);
	return r;
}

static const struct plane *plane_of(const struct entry *e, uint32_t i)
{
	const struct model *model = e->plan ? e->plan->model : NULL;

	if (!model)
		return NULL; /* parked */
	if (i == 0)
		return model->fixed;
	/* Nobody must take them for planes of the file. */
	if (recoder_is_used(e))
		return NULL;
	return i <= model->n_planes ? model->planes[i - 1] : NULL;
}

static int describe(const struct entry *e, struct fdstore_state *s)
{
	int r;

	memset(s, 0, sizeof *s);
	memcpy(s->magic, magic, sizeof magic);
	memcpy(s->name, e->name, sizeof s->name);
	s->uid = e->uid;
	s->configured = e->configured;
	s->recoded = recoder_is_used(e);
	s->bits_by_hand = e->bits_by_hand;
	r = fdstore_describe_file(e->fdstore.head, &s->head, NULL);
	if (r >= 0)
		r = fdstore_describe_file(e->network->fd, &s->file, &s->mtime_nsec);
	for (uint32_t i = 0; r >= 0 && i < FDSTORE_PLANES; i++)
		if (plane_of(e, i))
			r = describe_plane(e, plane_of(e, i), &s->planes[i]);
	return r;
}

bool fdstore_state_valid(const struct fdstore_state *s)
{
	return memcmp(s->magic, magic, sizeof magic) == 0
	       && memchr(s->name, '\0', sizeof s->name) != NULL;
}

static bool same_file(const struct fdstore_file *a, const struct fdstore_file *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static void put_state(const struct entry *e, const struct fdstore_state *s)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = memfd_new(&fd, NULL, "bitshed-state", sizeof *s);
	if (r >= 0)
		r = fd_write_all(fd, s, sizeof *s);
	if (r >= 0)
		r = memfd_seal_read_only(fd);
	if (r < 0)
		log_warning("model %s: not stored for a restart: %s", e->name, strerror(-r));
	else
		put(e, "state", fd);
}

/* The state goes last: what it names is there. Without one the rest counts for nothing. */
void fdstore_keep(struct entry *e)
{
	struct fdstore_state now, *was = &e->fdstore.state;
	char kind[16];

	if (e->fdstore.head < 0 || (!e->plan && e->state != ENTRY_PARKED) || !fdstore_available() || describe(e, &now) < 0
		|| memcmp(&now, was, sizeof now) == 0)
		return;
	if (was->file.ino == 0) {
		put(e, "file", e->network->fd);
		put(e, "head", e->fdstore.head);
	} else {
		remove_one("state", e->name);
	}
	for (uint32_t i = 0; i < FDSTORE_PLANES; i++) {
		if (same_file(&now.planes[i], &was->planes[i]))
			continue;
		if (was->planes[i].ino)
			remove_one(fdstore_plane_kind(kind, sizeof kind, i), e->name);
		if (now.planes[i].ino)
			put(e, fdstore_plane_kind(kind, sizeof kind, i), plane_of(e, i)->fd);
	}
	put_state(e, &now);
	*was = now;
}

/* A job may still read the head: it is closed with the entry. */
void fdstore_forget(struct entry *e)
{
	if (e->fdstore.state.file.ino)
		fdstore_remove_all(e->name);
	memset(&e->fdstore.state, 0, sizeof e->fdstore.state);
}

void fdstore_offer(struct entry *e)
{
	const struct fdstore_file *f = e->fdstore.state.planes;

	for (uint32_t i = 0; i < FDSTORE_PLANES; i++)
		if (e->fdstore.taken[i] >= 0
			&& plane_offer(e->network, i == 0 ? PLANE_FIXED : i - 1, f[i].layout,
				   f[i].bytes, take_fd(&e->fdstore.taken[i]))
				   < 0)
			log_warning("model %s: a plane of before is of no use", e->name);
}
