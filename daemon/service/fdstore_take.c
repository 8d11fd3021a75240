/* SPDX-License-Identifier: Apache-2.0 */
/* At the start: what the process before has left. Everything is checked before it is believed. */
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
#include "service/manager.h"

#define WAIT_NSEC (5 * NSEC_PER_SEC)

/** struct received - @fds: [n], -1: used; @names: [n] */
struct received {
	int n, *fds;
	char **names;
};

static void received_done(struct received *r)
{
	for (int i = 0; i < r->n; i++) {
		close_fdp(&r->fds[i]);
		free(r->names[i]);
	}
	free(r->fds);
	free(r->names);
}

static int receive(struct received *ret)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	if (n <= 0)
		return n;
	ret->fds = malloc((size_t) n * sizeof *ret->fds);
	for (int i = 0; ret->fds && i < n; i++)
		ret->fds[i] = SD_LISTEN_FDS_START + i;
	ret->names = names;
	ret->n = ret->fds ? n : 0;
	return ret->fds ? n : -ENOMEM;
}

/* Return: the index of KIND.NAME, -1: not there, -2: there more than once */
static int find(const struct received *r, const char *kind, const char *name)
{
	char wanted[96];
	int found = -1;

	(void) snprintf(wanted, sizeof wanted, "%s.%s", kind, name);
	for (int i = 0; i < r->n; i++)
		if (r->fds[i] >= 0 && strcmp(r->names[i], wanted) == 0)
			found = found == -1 ? i : -2;
	return found;
}

/*
 * Return: 0 with the file that the state means; -ENOENT it is not there; -ESTALE another one is.
 * @sealed: of exactly this size, and never to change
 */
static int take_file(struct received *r, const struct fdstore_state *s, const char *kind,
	const struct fdstore_file *wanted, bool sealed, int *ret)
{
	struct fdstore_file is;
	int i = find(r, kind, s->name);

	if (i == -1)
		return -ENOENT;
	if (i < 0 || fdstore_describe_file(r->fds[i], &is, NULL) < 0 || is.dev != wanted->dev
		|| is.ino != wanted->ino)
		return -ESTALE;
	if (sealed && !memfd_is_read_only(r->fds[i], wanted->bytes))
		return -ESTALE;
	*ret = take_fd(&r->fds[i]);
	return 0;
}

static int take_planes(
	struct received *r, const struct fdstore_state *s, int *taken, struct error *reterr)
{
	char kind[16];
	int k;

	for (uint32_t i = 0; i < FDSTORE_PLANES; i++) {
		if (s->planes[i].ino == 0)
			continue;
		(void) fdstore_plane_kind(kind, sizeof kind, i);
		k = take_file(r, s, kind, &s->planes[i], true, &taken[i]);
		/* A full store drops descriptors: the file has the plane. */
		if (k == -ENOENT)
			log_notice("model %s: %s was not kept, it is read again", s->name, kind);
		else if (k < 0)
			return error_set(reterr, k, "%s is not the one that was stored", kind);
	}
	return 0;
}

static const struct config_model *find_configured(
	const struct config_model *models, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(models[i].name, name) == 0)
			return &models[i];
	return NULL;
}

/* An operator who has changed the configuration or replaced the file wants that one. */
static int check_configured(struct manager *m, const struct manager_options *options,
	const struct fdstore_state *s, struct error *reterr)
{
	const struct config_model *c = find_configured(options->models, options->n_models, s->name);
	struct stat st;

	if (!c)
		c = find_configured(m->config->models, m->config->n_models, s->name);
	if (!c)
		return error_set(reterr, -ESTALE, "it is not configured any more");
	/* A file that has gone cannot be loaded: what we have is better than nothing. */
	if (stat(c->path, &st) < 0)
		return 0;
	if (st.st_dev != s->file.dev || st.st_ino != s->file.ino
		|| (uint64_t) st.st_size != s->file.bytes
		|| st.st_mtim.tv_sec * (int64_t) NSEC_PER_SEC + st.st_mtim.tv_nsec != s->mtime_nsec)
		return error_set(reterr, -ESTALE, "its file is another one now");
	return 0;
}

static int read_state(int fd, const char *name, struct fdstore_state *ret, struct error *reterr)
{
	if (!memfd_is_read_only(fd, sizeof *ret) || fd_read_at(fd, ret, sizeof *ret, 0) < 0
		|| !fdstore_state_valid(ret))
		return error_set(reterr, -ESTALE, "another version of bitshedd stored it");
	if (strcmp(ret->name, name) != 0)
		return error_set(reterr, -ESTALE, "it was stored as %s", ret->name);
	return 0;
}

static int add(struct manager *m, struct received *r, const struct fdstore_state *s,
	struct fdstore_entry *f, struct error *reterr)
{
	_cleanup_close_ int file = -1;
	struct entry *e;
	int k;

	k = take_file(r, s, "file", &s->file, false, &file);
	if (k >= 0)
		k = take_file(r, s, "head", &s->head, true, &f->head);
	if (k < 0)
		return error_set(reterr, k, "its file or head is not the one that was stored");
	k = take_planes(r, s, f->taken, reterr);
	if (k < 0)
		return k;
	f->state = *s;
	k = catalog_return(m, file, f, &e, reterr);
	if (k >= 0) {
		e->configured = s->configured;
		e->recoder.at_once = s->recoded;
	}
	return k;
}

static void take_model(struct manager *m, const struct manager_options *options,
	struct received *r, const char *name, int state)
{
	struct fdstore_state s;
	struct fdstore_entry f = {};
	struct error why = {};
	int k;

	fdstore_entry_init(&f);
	k = read_state(state, name, &s, &why);
	if (k >= 0 && s.configured)
		k = check_configured(m, options, &s, &why);
	if (k >= 0)
		k = add(m, r, &s, &f, &why);
	if (k >= 0)
		return;
	log_warning("model %.63s: not taken back: %s", name, error_text(&why, k));
	fdstore_entry_done(&f);
	fdstore_remove_all(name);
}

static bool returning(const struct manager *m)
{
	list_for_each (l, &m->entries)
		if (list_entry(l, struct entry, link)->state == ENTRY_LOADING ||
			list_entry(l, struct entry, link)->recoder.at_once)
			return true;
	return false;
}

/* So that whoever sees our name on the bus can be served at once. */
static void wait_for_models(struct manager *m)
{
	uint64_t end = clock_now_nsec() + WAIT_NSEC;
	int code;

	while (returning(m) && clock_now_nsec() < end
		&& sd_event_get_exit_code(m->event, &code) == -ENODATA)
		if (sd_event_run(m->event, WAIT_NSEC / NSEC_PER_USEC / 10) < 0)
			break;
}

/* A model that cannot be had in this way may still be loaded from its file. */
static void drop_failed(struct manager *m)
{
	list_for_each_safe (l, n, &m->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (e->state == ENTRY_FAILED)
			catalog_unload(e);
	}
}

static void drop_rest(const struct received *r)
{
	for (int i = 0; i < r->n; i++)
		if (r->fds[i] >= 0) {
			log_debug("nobody needs the stored file %.80s", r->names[i]);
			(void) sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", r->names[i]);
		}
}

void fdstore_take(struct manager *m, const struct manager_options *options)
{
	_cleanup_(received_done) struct received r = {};
	int k = receive(&r);

	if (k < 0)
		log_warning("nothing taken back from the fd store: %s", strerror(-k));
	for (int i = 0; i < r.n; i++) {
		_cleanup_close_ int state = -1;

		if (r.fds[i] < 0 || strncmp(r.names[i], "state.", strlen("state.")) != 0)
			continue;
		state = take_fd(&r.fds[i]);
		take_model(m, options, &r, r.names[i] + strlen("state."), state);
	}
	if (r.n > 0)
		drop_rest(&r);
	wait_for_models(m);
	drop_failed(m);
}
