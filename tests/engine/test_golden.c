/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "engine/lower.h"
#include "golden/golden.h"
#include "support/test.h"

static char folder[4096];

/* Reads all of a file; a missing one is empty. */
static size_t read_all(const char *path, char *data, size_t room)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, data, room - 1);

	data[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t) n : 0;
}

/* Opens a model file and builds every width. */
static int use(const char *path, struct error *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_(network_unrefp) struct network *n = NULL;
	int r = network_open(&n, fd, e);

	for (double bits = 1; r >= 0 && bits <= n->planes_max; bits += 0.5) {
		_cleanup_(model_unrefp) struct model *m = NULL;

		r = model_build(&m, n, bits, e);
	}
	return r;
}

typedef void file_fn(const char *path);

/* Return: how many files end in @ending */
static unsigned int for_each(const char *root, const char *kind, const char *ending, file_fn *fn)
{
	char path[8192];
	unsigned int count = 0;
	DIR *d;

	(void) snprintf(path, sizeof path, "%s/%s", root, kind);
	d = opendir(path);
	if (!d)
		return 0;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		size_t length = strlen(e->d_name);

		if (length < strlen(ending) || strcmp(e->d_name + length - strlen(ending), ending) != 0)
			continue;
		(void) snprintf(path, sizeof path, "%s/%s/%.255s", root, kind, e->d_name);
		fn(path);
		count++;
	}
	(void) closedir(d);
	return count;
}

static void expect_good(const char *path)
{
	struct error e = {0};
	int r = use(path, &e);

	CU_ASSERT_EQUAL(r, 0);
	if (r < 0)
		printf("%s: %s\n", path, error_text(&e, r));
}

static void expect_words(const char *path)
{
	char words[512], text[8192];
	struct error e = {0};
	int r = use(path, &e);

	(void) snprintf(text, sizeof text, "%.*s.txt", (int) (strlen(path) - strlen(".gguf")), path);
	CU_ASSERT_NOT_EQUAL_FATAL(read_all(text, words, sizeof words), 0);
	CU_ASSERT_TRUE(r == -EBADMSG || r == -ENOTSUP);
	CU_ASSERT_EQUAL(strncmp(e.text, words, strlen(words)), 0);
	if (strncmp(e.text, words, strlen(words)) != 0)
		printf("%s: '%s', not '%s'\n", path, e.text, words);
}

static void test_good_files_are_read(void)
{
	CU_ASSERT_TRUE(for_each(folder, "accept", ".gguf", expect_good) >= 2);
}

static void test_bad_files_are_refused_with_their_words(void)
{
	CU_ASSERT_TRUE(for_each(folder, "refuse", ".gguf", expect_words) >= 20);
}

static void expect_in_tree(const char *path)
{
	static char a[1 << 16], b[1 << 16];
	char stored[8192];
	const char *kind = strstr(path, "/accept/") ?: strstr(path, "/refuse/");
	size_t size = read_all(path, a, sizeof a);

	(void) snprintf(stored, sizeof stored, "%.4000s%.3000s", folder, kind);
	CU_ASSERT_EQUAL(read_all(stored, b, sizeof b), size);
	CU_ASSERT_EQUAL(memcmp(a, b, size), 0);
	if (memcmp(a, b, size) != 0)
		printf("%s is not what make_golden writes\n", stored);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void test_the_tree_has_what_the_generator_writes(void)
{
	char made[] = "/tmp/bitshed-golden-XXXXXX";
	unsigned int files;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(made));
	CU_ASSERT_EQUAL(golden_write(made), 0);
	files = for_each(made, "accept", ".gguf", expect_in_tree);
	CU_ASSERT_EQUAL(files, for_each(folder, "accept", ".gguf", expect_good));
	files = for_each(made, "refuse", ".gguf", expect_in_tree);
	CU_ASSERT_EQUAL(files, for_each(folder, "refuse", ".gguf", expect_words));
	(void) for_each(made, "refuse", ".txt", expect_in_tree);
	CU_ASSERT_EQUAL(nftw(made, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static int find_folder(void)
{
	const char *path = getenv("BITSHED_GOLDEN");

	if (!path)
		test_skip("BITSHED_GOLDEN is not set: no golden files");
	(void) snprintf(folder, sizeof folder, "%s", path);
	return 0;
}

static void test_folder_is_there(void)
{
	CU_ASSERT_EQUAL(find_folder(), 0);
}

TEST_MAIN("golden", TEST(folder_is_there), TEST(good_files_are_read),
	TEST(bad_files_are_refused_with_their_words), TEST(the_tree_has_what_the_generator_writes))
