/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/gguf.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "convert/gguf_write.h"
#include "support/test.h"

/* A file of one tensor of 16 bytes and one key of each sort. */
static int make_file(void)
{
	_cleanup_(gguf_writer_done) struct gguf_writer w = {0};
	static char *const texts[] = {"eins", "zwei", ""};
	static const float floats[] = {1, 2, 3};
	static const uint8_t data[16] = {1, 2, 3};
	const uint32_t number = 77;
	int fd = memfd_create("gguf", MFD_CLOEXEC);

	gguf_writer_init(&w);
	gguf_put_scalar(&w, "a.number", GGUF_U32, &number);
	gguf_put_array(&w, "a.floats", GGUF_F32, floats, 3);
	gguf_put_text(&w, "a.text", "gr\xc3\xbc\xc3\x9f");
	gguf_put_texts(&w, "a.texts", texts, 3);
	gguf_put_texts(&w, "a.none", texts, 0);
	CU_ASSERT_EQUAL(gguf_put_tensor(&w, "first", GGUF_TENSOR_F32, sizeof data), 0);
	CU_ASSERT_EQUAL(gguf_put_tensor(&w, "second", GGUF_TENSOR_I8, sizeof data), 4096);
	CU_ASSERT_EQUAL_FATAL(gguf_writer_finish(&w), 0);
	CU_ASSERT_EQUAL(w.size, 4096);
	CU_ASSERT_EQUAL(fd_write_all(fd, w.data, w.size), 0);
	CU_ASSERT_EQUAL(pwrite(fd, data, sizeof data, 4096), 16);
	CU_ASSERT_EQUAL(pwrite(fd, data, sizeof data, 8192), 16);
	return fd;
}

static void test_what_was_written_is_read(void)
{
	_cleanup_close_ int fd = make_file();
	_cleanup_(gguf_done) struct gguf g = {0};
	const uint8_t *data = NULL;
	uint32_t count = 0;
	uint64_t n = 0;
	char **texts = NULL, text[8];

	CU_ASSERT_EQUAL_FATAL(gguf_read(&g, fd, NULL), 0);
	CU_ASSERT_EQUAL(gguf_scalar(&g, "a.number", GGUF_U32, &data, NULL), 0);
	CU_ASSERT_EQUAL(bytes_u32(data), 77);
	CU_ASSERT_EQUAL(gguf_array(&g, "a.floats", GGUF_F32, 3, &data, &n, NULL), 0);
	CU_ASSERT_EQUAL(n, 3);
	CU_ASSERT_EQUAL(bytes_f32(data + 8), 3);
	CU_ASSERT_EQUAL(gguf_text(&g, "a.text", text, sizeof text, NULL), 0);
	CU_ASSERT_STRING_EQUAL(text, "gr\xc3\xbc\xc3\x9f");
	CU_ASSERT_EQUAL(gguf_texts(&g, "a.texts", 3, &texts, &count, NULL), 0);
	CU_ASSERT_EQUAL(count, 3);
	CU_ASSERT_STRING_EQUAL(texts[1], "zwei");
	CU_ASSERT_STRING_EQUAL(texts[2], "");
	free(texts);
	CU_ASSERT_EQUAL(gguf_texts(&g, "a.none", 3, &texts, &count, NULL), 0);
	CU_ASSERT_PTR_NULL(texts);
	CU_ASSERT_EQUAL(gguf_find_tensor(&g, "second")->offset, 8192);
	CU_ASSERT_EQUAL(gguf_find_tensor(&g, "first")->bytes, 16);
	CU_ASSERT_PTR_NULL(gguf_find_tensor(&g, "third"));
}

static void test_getters_say_what_is_wrong(void)
{
	_cleanup_close_ int fd = make_file();
	_cleanup_(gguf_done) struct gguf g = {0};
	const uint8_t *data = NULL;
	uint32_t count = 0;
	uint64_t n = 0;
	struct error e = {0};
	char **texts = NULL, text[4];

	CU_ASSERT_EQUAL_FATAL(gguf_read(&g, fd, NULL), 0);
	CU_ASSERT_EQUAL(gguf_scalar(&g, "a.x", GGUF_U32, &data, &e), -EBADMSG);
	CU_ASSERT_STRING_EQUAL(e.text, "key 'a.x' is missing");
	CU_ASSERT_EQUAL(gguf_scalar(&g, "a.floats", GGUF_F32, &data, &e), -EBADMSG);
	CU_ASSERT_STRING_EQUAL(e.text, "key 'a.floats': expected f32, found array of f32");
	CU_ASSERT_EQUAL(gguf_array(&g, "a.floats", GGUF_F32, 2, &data, &n, &e), -EBADMSG);
	CU_ASSERT_STRING_EQUAL(e.text, "key 'a.floats': 3 elements, at most 2 are allowed");
	CU_ASSERT_EQUAL(gguf_text(&g, "a.text", text, sizeof text, &e), -EBADMSG);
	CU_ASSERT_STRING_EQUAL(e.text, "key 'a.text': a text of 6 bytes, at most 3 are allowed");
	CU_ASSERT_EQUAL(gguf_texts(&g, "a.texts", 2, &texts, &count, &e), -EBADMSG);
	CU_ASSERT_PTR_NULL(data);
}

static void test_unread_keys_are_found(void)
{
	_cleanup_close_ int fd = make_file();
	_cleanup_(gguf_done) struct gguf g = {0};
	const uint8_t *data = NULL;
	struct error e = {0};

	CU_ASSERT_EQUAL_FATAL(gguf_read(&g, fd, NULL), 0);
	CU_ASSERT_EQUAL(gguf_scalar(&g, "a.number", GGUF_U32, &data, NULL), 0);
	CU_ASSERT_EQUAL(gguf_check_used(&g, "b.", &e), 0);
	CU_ASSERT_EQUAL(gguf_check_used(&g, "a.number", &e), 0);
	CU_ASSERT_EQUAL(gguf_check_used(&g, "a.", &e), -ENOTSUP);
	CU_ASSERT_STRING_EQUAL(e.text, "key 'a.floats' is not known");
}

static void test_broken_utf8_is_refused(void)
{
	static char *const wrong[] = {"\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88",
		"\xe2\x82", "a\nb", "\x7f", "\xff"};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_(gguf_writer_done) struct gguf_writer w = {0};
		_cleanup_close_ int fd = memfd_create("gguf", MFD_CLOEXEC);
		_cleanup_(gguf_done) struct gguf g = {0};
		char text[16];

		gguf_writer_init(&w);
		gguf_put_text(&w, "t", wrong[i]);
		CU_ASSERT_EQUAL(gguf_writer_finish(&w), 0);
		CU_ASSERT_EQUAL(fd_write_all(fd, w.data, w.size), 0);
		CU_ASSERT_EQUAL_FATAL(gguf_read(&g, fd, NULL), 0);
		CU_ASSERT_EQUAL(gguf_text(&g, "t", text, sizeof text, NULL), -EBADMSG);
	}
}

/* Longer than what is read at first. */
static void test_long_headers_are_read_whole(void)
{
	_cleanup_(gguf_writer_done) struct gguf_writer w = {0};
	_cleanup_close_ int fd = memfd_create("gguf", MFD_CLOEXEC);
	_cleanup_(gguf_done) struct gguf g = {0};
	_cleanup_free_ uint8_t *big = calloc(1, 3 << 20);
	char key[16];

	gguf_writer_init(&w);
	for (int i = 0; i < 4; i++) {
		(void) snprintf(key, sizeof key, "big.%d", i);
		gguf_put_array(&w, key, GGUF_U8, big, 3 << 20);
	}
	CU_ASSERT_EQUAL(gguf_writer_finish(&w), 0);
	CU_ASSERT_EQUAL(fd_write_all(fd, w.data, w.size), 0);
	CU_ASSERT_EQUAL(gguf_read(&g, fd, NULL), 0);
	CU_ASSERT_EQUAL(g.n_entries, 4);
}

static void test_only_regular_files(void)
{
	_cleanup_(gguf_done) struct gguf g = {0};
	struct error e = {0};
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(gguf_read(&g, ends[0], &e), -EBADMSG);
	CU_ASSERT_STRING_EQUAL(e.text, "not a regular file");
	(void) close(ends[0]);
	(void) close(ends[1]);
	CU_ASSERT_EQUAL(gguf_read(&g, -1, NULL), -EBADF);
}

TEST_MAIN("gguf", TEST(what_was_written_is_read), TEST(getters_say_what_is_wrong),
	TEST(unread_keys_are_found), TEST(broken_utf8_is_refused), TEST(long_headers_are_read_whole),
	TEST(only_regular_files))
