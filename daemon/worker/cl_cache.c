/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl_cache.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "worker/cl.h"

#define MAGIC "bitshed\1"
#define SUFFIX ".clbin"
#define ENTRIES_MAX 4096

struct key {
	char text[1024], file[512];
};

struct head {
	char magic[8];
	uint32_t key_bytes, crc;
	uint64_t bytes;
};

static uint64_t hash(const char *text)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *text; text++)
		h = (h ^ (unsigned char) *text) * UINT64_C(1099511628211);
	return h;
}

/*
 * Which file the driver is: through the loader every object of OpenCL begins with a pointer to the table of
 * the driver's functions.
 */
static void describe_driver(const struct cl *cl, char *text, size_t size)
{
	void *const *const *dispatch = (void *const *const *) (const void *) cl->platform;
	Dl_info info;
	struct stat st;

	*text = '\0';
	if (dladdr((*dispatch)[0], &info) == 0 || !info.dli_fname || stat(info.dli_fname, &st) < 0)
		return;
	(void) snprintf(text, size, "%.200s %" PRIu64 " %" PRId64 ".%09ld", info.dli_fname,
		(uint64_t) st.st_size, (int64_t) st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void make_key(const char *folder, const struct cl *cl, const struct kernel_cl *k,
	const char *options, struct key *ret)
{
	char driver[256];

	describe_driver(cl, driver, sizeof driver);
	(void) snprintf(ret->text, sizeof ret->text,
		"%s %s %016" PRIx64 " %zu\n%s\n%s\n%s\n%s\n%s\n%s\n", BITSHED_VERSION, k->name,
		hash(k->source), strlen(k->source), options, cl->platform_name, cl->name,
		cl->driver, cl->version, driver);
	(void) snprintf(ret->file, sizeof ret->file, "%.400s/%s-%016" PRIx64 SUFFIX, folder,
		k->name, hash(ret->text));
}

static uint32_t checksum(const void *data, size_t bytes)
{
	return (uint32_t) crc32(0, data, (uInt) bytes);
}

static int read_entry(int fd, const struct key *key, void **ret, size_t *ret_bytes)
{
	_cleanup_free_ void *binary = NULL;
	char text[sizeof key->text];
	struct head head;
	int r;

	r = fd_read_at(fd, &head, sizeof head, 0);
	if (r < 0)
		return r;
	if (memcmp(head.magic, MAGIC, sizeof head.magic) != 0 ||
		head.key_bytes != strlen(key->text) || head.bytes == 0 ||
		head.bytes > CL_CACHE_ENTRY_BYTES_MAX)
		return -EBADMSG;
	r = fd_read_at(fd, text, head.key_bytes, sizeof head);
	if (r < 0)
		return r;
	if (memcmp(text, key->text, head.key_bytes) != 0)
		return -EBADMSG;
	binary = malloc(head.bytes);
	if (!binary)
		return -ENOMEM;
	r = fd_read_at(fd, binary, head.bytes, sizeof head + head.key_bytes);
	if (r < 0)
		return r;
	if (checksum(binary, head.bytes) != head.crc)
		return -EBADMSG;
	*ret = take_ptr(binary);
	*ret_bytes = head.bytes;
	return 0;
}

int cl_cache_read(const char *folder, const struct cl *cl, const struct kernel_cl *k,
	const char *options, void **ret, size_t *ret_bytes)
{
	_cleanup_close_ int fd = -1;
	struct key key;
	int r;

	make_key(folder, cl, k, options, &key);
	fd = open(key.file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = read_entry(fd, &key, ret, ret_bytes);
	if (r < 0) {
		(void) unlink(key.file);
		return r;
	}
	(void) futimens(fd, NULL); /* used now: the last to go */
	return 0;
}

/* Removes the oldest entries until there is room for @bytes. */
static void make_room(const char *folder, size_t bytes)
{
	for (int turn = 0; turn < ENTRIES_MAX; turn++) {
		struct timespec oldest_time = {INT64_MAX, 0};
		char oldest[256] = "";
		uint64_t all = bytes;
		DIR *d = opendir(folder);

		if (!d)
			return;
		for (struct dirent *e; (e = readdir(d));) {
			size_t n = strlen(e->d_name);
			struct stat st;

			if (n < strlen(SUFFIX) ||
				strcmp(e->d_name + n - strlen(SUFFIX), SUFFIX) != 0 ||
				fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
				continue;
			all += (uint64_t) st.st_size;
			if (st.st_mtim.tv_sec < oldest_time.tv_sec ||
				(st.st_mtim.tv_sec == oldest_time.tv_sec &&
					st.st_mtim.tv_nsec < oldest_time.tv_nsec)) {
				oldest_time = st.st_mtim;
				memcpy(oldest, e->d_name, n + 1);
			}
		}
		if (all > CL_CACHE_BYTES_MAX && oldest[0])
			(void) unlinkat(dirfd(d), oldest, 0);
		else
			turn = ENTRIES_MAX;
		(void) closedir(d);
	}
}

static int write_entry(int fd, const struct key *key, const void *binary, size_t bytes)
{
	struct head head = {
		.magic = MAGIC,
		.key_bytes = (uint32_t) strlen(key->text),
		.crc = checksum(binary, bytes),
		.bytes = bytes,
	};
	int r = fd_write_all(fd, &head, sizeof head);

	if (r >= 0)
		r = fd_write_all(fd, key->text, head.key_bytes);
	return r >= 0 ? fd_write_all(fd, binary, bytes) : r;
}

int cl_cache_write(const char *folder, const struct cl *cl, const struct kernel_cl *k,
	const char *options, const void *binary, size_t bytes)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	struct key key;
	int r;

	make_key(folder, cl, k, options, &key);
	make_room(folder, bytes);
	r = replacement_begin(&file, AT_FDCWD, key.file, 0600);
	if (r >= 0)
		r = write_entry(file.fd, &key, binary, bytes);
	return r < 0 ? r : replacement_finish(&file);
}
