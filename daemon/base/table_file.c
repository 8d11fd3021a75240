/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "base/sha256.h"

#define FILE_BYTES_MAX ((size_t) 1 << 20)
#define LAST_BYTES (sizeof "sha256 \n" - 1 + 64)

static void make_last(const char *text, size_t size, char ret[LAST_BYTES + 1])
{
	char hex[65];

	sha256_hex((const uint8_t *) text, size, hex);
	(void) snprintf(ret, LAST_BYTES + 1, "sha256 %s\n", hex);
}

/* A FIFO must not make us wait, nor a link lead elsewhere. */
static int read_text(int folder, const char *name, uint32_t age_max_sec, char **ret, size_t *ret_size,
	struct error *reterr)
{
	_cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t) FILE_BYTES_MAX)
		return error_set(reterr, -EBADMSG, "it is no file of a table");
	if (age_max_sec > 0 && st.st_mtime + (time_t) age_max_sec < time(NULL))
		return -ENOENT;
	text = malloc((size_t) st.st_size + 1);
	if (!text)
		return -ENOMEM;
	r = fd_read_at(fd, text, (size_t) st.st_size, 0);
	if (r < 0)
		return r;
	*ret_size = (size_t) st.st_size;
	text[*ret_size] = '\0';
	*ret = take_ptr(text);
	return 0;
}

static int check(const char *text, size_t size, const char *head, struct error *reterr)
{
	char last[LAST_BYTES + 1];
	size_t n = strlen(head);

	if (size < n + LAST_BYTES || memcmp(text, head, n) != 0)
		return error_set(reterr, -EBADMSG, "it is not of this device and build");
	make_last(text, size - LAST_BYTES, last);
	if (memcmp(text + size - LAST_BYTES, last, LAST_BYTES) != 0)
		return error_set(reterr, -EBADMSG, "its checksum is wrong");
	return 0;
}

int table_file_read(int folder, const char *name, const char *head, uint32_t age_max_sec,
	bool (*row)(void *userdata, char *line), void *userdata, struct error *reterr)
{
	_cleanup_free_ char *text = NULL;
	char *line, *save = NULL;
	uint32_t number = 0;
	size_t size = 0;
	int r = read_text(folder, name, age_max_sec, &text, &size, reterr);

	if (r >= 0)
		r = check(text, size, head, reterr);
	if (r < 0)
		return r;
	text[size - LAST_BYTES] = '\0';
	for (const char *p = head; *p; p++)
		number += *p == '\n';
	for (line = strtok_r(text + strlen(head), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		number++;
		if (!row(userdata, line))
			return error_set(reterr, -EBADMSG, "line %u is no measurement", number);
	}
	return 0;
}

int table_file_write(int folder, const char *name, const char *head, const char *rows, mode_t mode)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	_cleanup_free_ char *text = NULL;
	char last[LAST_BYTES + 1];
	int r, size = asprintf(&text, "%s%s", head, rows);

	if (size < 0) {
		text = NULL;
		return -ENOMEM;
	}
	make_last(text, (size_t) size, last);
	r = replacement_begin(&file, folder, name, mode);
	if (r >= 0 && fchmod(file.fd, mode) < 0)
		r = -errno;
	if (r >= 0)
		r = fd_write_all(file.fd, text, (size_t) size);
	if (r >= 0)
		r = fd_write_all(file.fd, last, LAST_BYTES);
	return r < 0 ? r : replacement_finish(&file);
}
