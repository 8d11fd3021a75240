/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes an entry of the catalog: names, descriptors and sizes of callers are checked here. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "service/bus_objects.h"
#include "service/catalog.h"
#include "service/manager.h"
#include "service/memory.h"

DEFINE_CLEANUP(struct entry *, entry_unref)

static bool name_is_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= sizeof((struct entry *) 0)->name || name[0] == '.' || name[0] == '-')
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
	       == n;
}

/*
 * A descriptor from a client may be anything: only what can be read at any offset and cannot
 * block is taken.
 */
static int check_file(
	const struct config *config, int fd, uint64_t *ret_bytes, struct error *reterr)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (flags & (O_ACCMODE | O_PATH)) == O_WRONLY || (flags & O_PATH))
		return error_set(
			reterr, -EBADMSG, "the model is not a readable regular file or memfd");
	if (st.st_size <= 0)
		return error_set(reterr, -EBADMSG, "the model file is empty");
	if ((uint64_t) st.st_size > config->model_file_bytes_max)
		return error_set(reterr, -EDQUOT,
			"the model file has %" PRIu64 " bytes, %" PRIu64 " are allowed",
			(uint64_t) st.st_size, config->model_file_bytes_max);
	*ret_bytes = (uint64_t) st.st_size;
	return 0;
}

/* Whoever serves such a file can let our read wait for ever, and all other models behind it. */
static int check_file_system(int fd, uid_t uid, struct error *reterr)
{
	struct statfs fs;

	if (uid == 0 || uid == geteuid())
		return 0;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type == FUSE_SUPER_MAGIC)
		return error_set(
			reterr, -EBADMSG, "the model is on a file system of a user: send a memfd");
	return 0;
}

static int check_load(struct manager *m, const char *name, int fd, double bits, uint64_t *ret_bytes,
	struct error *reterr)
{
	struct entry *e;

	if (!name_is_valid(name))
		return error_set(reterr, -EINVAL,
			"a model's name is 1 to 63 letters, digits, \".\", \"_\", \"-\", not "
			"\"%.64s\"",
			name);
	if (!isfinite(bits) || bits < 0)
		return error_set(reterr, -EINVAL, "bits must be 0 or a width, not %g", bits);
	if (catalog_find(m, name, &e, NULL) >= 0)
		return error_set(reterr, -EEXIST, "model \"%s\" exists", name);
	if (m->n_entries >= m->config->models_max)
		return error_set(reterr, -EDQUOT, "there are %u models, %u are allowed",
			m->n_entries, m->config->models_max);
	return check_file(m->config, fd, ret_bytes, reterr);
}

static int new_entry(
	struct manager *m, const char *name, int fd, uid_t uid, double bits, struct entry **ret)
{
	_cleanup_(entry_unrefp) struct entry *e = calloc(1, sizeof *e);
	int r;

	if (!e)
		return -ENOMEM;
	e->refs = 1;
	e->manager = m;
	e->uid = uid;
	e->bits_by_hand = bits;
	list_init(&e->link);
	list_init(&e->waiters);
	serving_init(&e->serving);
	memcpy(e->name, name, strlen(name) + 1);
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (e->fd < 0)
		return -errno;
	e->job.fd = e->fd;
	e->job.head = -1;
	e->job.keep_head = fdstore_available() || m->devices;
	fdstore_entry_init(&e->fdstore);
	r = bus_model_add(e);
	if (r < 0)
		return r;
	*ret = take_ptr(e);
	return 0;
}

/* @taken: may be NULL */
static int add_entry(struct manager *m, const char *name, int fd, uid_t uid, double bits,
	const struct fdstore_entry *taken, struct entry **ret, struct error *reterr)
{
	uint64_t bytes = 0;
	struct entry *e = NULL;
	int r;

	r = check_load(m, name, fd, bits, &bytes, reterr);
	if (r >= 0)
		r = check_file_system(fd, uid, reterr);
	if (r < 0)
		return r;
	r = memory_check_load(m, bytes, reterr);
	if (r >= 0)
		r = limits_charge(
			&m->limits, uid, LIMIT_BYTES, bytes, m->config->bytes_per_user_max, reterr);
	if (r < 0)
		return r;
	r = new_entry(m, name, fd, uid, bits, &e);
	if (r < 0) {
		limits_release(&m->limits, uid, LIMIT_BYTES, bytes);
		return r;
	}
	e->charged_bytes = bytes;
	if (taken) {
		e->fdstore = *taken;
		e->job.head = taken->head;
	}
	list_append(&m->entries, &e->link);
	m->n_entries++;
	bus_model_added(e);
	entry_start_job(e);
	*ret = e;
	return 0;
}

int catalog_load(struct manager *m, const char *name, int fd, uid_t uid, double bits,
	struct entry **ret, struct error *reterr)
{
	return add_entry(m, name, fd, uid, bits, NULL, ret, reterr);
}

int catalog_return(struct manager *m, int fd, const struct fdstore_entry *taken, struct entry **ret,
	struct error *reterr)
{
	const struct fdstore_state *s = &taken->state;

	return add_entry(m, s->name, fd, s->uid, s->bits_by_hand, taken, ret, reterr);
}
