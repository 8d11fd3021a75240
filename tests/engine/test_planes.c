/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/planes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "engine/lower.h"
#include "support/network.h"
#include "support/test.h"

static const struct test_network_options options = {.seed = 1};

static size_t open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (d && readdir(d))
		n++;
	(void) closedir(d);
	return n;
}

static void test_planes_are_sealed_and_mapped_read_only(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	struct plane *p = NULL;
	const int wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int seals;

	CU_ASSERT_EQUAL_FATAL(plane_acquire(&p, n, 0, NULL, NULL), 0);
	seals = fcntl(p->fd, F_GET_SEALS);
	CU_ASSERT_EQUAL(seals & wanted, wanted);
	CU_ASSERT_EQUAL(p->bytes, n->plane_bytes[0]);
	CU_ASSERT_EQUAL(mprotect((void *) p->words, p->bytes, PROT_READ), 0);
	CU_ASSERT_EQUAL(pwrite(p->fd, "x", 1, 0), -1);
	p = plane_unref(p);
}

static void test_shared_while_alive_closed_with_the_last(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	struct plane *a = NULL, *b = NULL, *c = NULL;
	size_t before = open_fds();

	CU_ASSERT_EQUAL_FATAL(plane_acquire(&a, n, 1, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plane_acquire(&b, n, 1, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plane_acquire(&c, n, 2, NULL, NULL), 0);
	CU_ASSERT_PTR_EQUAL(a, b);
	CU_ASSERT_PTR_NOT_EQUAL(a, c);
	CU_ASSERT_EQUAL(open_fds(), before + 2);
	(void) plane_unref(a);
	CU_ASSERT_EQUAL(open_fds(), before + 2);
	(void) plane_unref(b);
	(void) plane_unref(c);
	CU_ASSERT_EQUAL(open_fds(), before);
}

static void test_bytes_are_those_of_the_file(void)
{
	_cleanup_(test_network_done) struct test_network t = {0};
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	_cleanup_(model_unrefp) struct model *m = NULL;

	test_network_make(&t, &options);
	CU_ASSERT_EQUAL_FATAL(model_build(&m, n, 4, NULL), 0);
	for (uint32_t i = 0; i < n->n_matrices; i++)
		for (uint32_t p = 0; p < n->matrices[i].planes; p++)
			CU_ASSERT_EQUAL(memcmp(m->layers[i].plane[p], t.planes[i][p],
				8 * bits_plane_words(n->matrices[i].rows, n->matrices[i].row_bits)), 0);
}

static void test_a_part_holds_just_its_matrices(void)
{
	_cleanup_(test_network_done) struct test_network t = {0};
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	bool used[5] = {false, false, true, false, false};
	struct plane *part = NULL, *whole = NULL;

	test_network_make(&t, &options);
	CU_ASSERT_EQUAL_FATAL(plane_acquire(&whole, n, 2, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plane_acquire(&part, n, 2, used, NULL), 0);
	CU_ASSERT_PTR_NOT_EQUAL(part, whole);
	CU_ASSERT_TRUE(part->bytes < whole->bytes);
	CU_ASSERT_EQUAL(part->matrix_word[1], UINT64_MAX);
	CU_ASSERT_EQUAL(memcmp(part->words + part->matrix_word[2], t.planes[2][2],
		8 * bits_plane_words(n->matrices[2].rows, n->matrices[2].row_bits)), 0);
	(void) plane_unref(part);
	(void) plane_unref(whole);
}

static void test_a_changed_plane_is_refused(void)
{
	_cleanup_close_ int fd = test_network_memfd(&options);
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *m = NULL;
	struct plane *p = NULL;
	struct error e = {0};

	CU_ASSERT_EQUAL_FATAL(network_open(&n, fd, NULL), 0);
	CU_ASSERT_EQUAL(pwrite(fd, "bitshed", 7, (off_t) n->plane_offset[3]), 7);
	CU_ASSERT_EQUAL(plane_acquire(&p, n, 3, NULL, &e), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "plane 4: the checksum is"));
	CU_ASSERT_EQUAL(model_build(&m, n, 4, NULL), -EBADMSG);
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t) n->plane_offset[2]), 0);
	CU_ASSERT_EQUAL(plane_acquire(&p, n, 2, NULL, &e), -EBADMSG);
	CU_ASSERT_PTR_NULL(p);
}

static void test_models_leave_nothing_behind(void)
{
	size_t before = open_fds();
	struct network *n = test_network_open(&options);
	struct model *four = NULL, *two = NULL, *average = NULL;

	CU_ASSERT_EQUAL_FATAL(model_build(&four, n, 4, NULL), 0);
	CU_ASSERT_EQUAL(open_fds(), before + 1 + 5);
	CU_ASSERT_EQUAL_FATAL(model_build(&two, n, 2, NULL), 0);
	CU_ASSERT_EQUAL(open_fds(), before + 1 + 5);
	CU_ASSERT_PTR_EQUAL(four->planes[1], two->planes[1]);
	four = model_unref(four);
	CU_ASSERT_EQUAL(open_fds(), before + 1 + 3);
	CU_ASSERT_EQUAL_FATAL(model_build(&average, n, 2.5, NULL), 0);
	CU_ASSERT_EQUAL(open_fds(), before + 1 + 4);
	two = model_unref(two);
	average = model_unref(average);
	n = network_unref(n);
	CU_ASSERT_EQUAL(open_fds(), before);
}

/* Widths that come and go on several threads share planes and close each exactly once. */
static void *build_widths(void *userdata)
{
	struct network *n = userdata;

	for (int i = 0; i < 60; i++) {
		_cleanup_(model_unrefp) struct model *m = NULL;

		if (model_build(&m, n, 1 + i % 7 * 0.5, NULL) < 0)
			return n;
	}
	return NULL;
}

static void test_threads_may_build_at_once(void)
{
	size_t before = open_fds();
	struct network *n = test_network_open(&options);
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, build_widths, n), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *failed = n;

		CU_ASSERT_EQUAL(pthread_join(threads[i], &failed), 0);
		CU_ASSERT_PTR_NULL(failed);
	}
	CU_ASSERT_EQUAL(open_fds(), before + 1);
	n = network_unref(n);
	CU_ASSERT_EQUAL(open_fds(), before);
}

static void test_an_offer_is_taken_instead_of_the_file(void)
{
	_cleanup_(network_unrefp) struct network *n = test_network_open(&options);
	_cleanup_(network_unrefp) struct network *other = test_network_open(&options);
	struct plane *p = NULL, *q = NULL;
	struct stat a, b;
	uint32_t layout;

	CU_ASSERT_EQUAL_FATAL(plane_acquire(&p, n, 0, NULL, NULL), 0);
	layout = plane_layout(p, n);
	CU_ASSERT_EQUAL(plane_offer(other, 1, layout, p->bytes, dup(p->fd)), 0);
	CU_ASSERT_EQUAL(plane_offer(other, 0, layout + 1, p->bytes, dup(p->fd)), 0);
	CU_ASSERT_EQUAL(plane_offer(other, 0, layout, p->bytes + 1, dup(p->fd)), -EPERM);
	CU_ASSERT_EQUAL(plane_offer(other, 0, layout, p->bytes, dup(n->fd)), -EPERM);
	CU_ASSERT_EQUAL(plane_offer(other, 0, layout, p->bytes, dup(p->fd)), 0);
	CU_ASSERT_EQUAL_FATAL(plane_acquire(&q, other, 0, NULL, NULL), 0);
	CU_ASSERT_TRUE(fstat(p->fd, &a) == 0 && fstat(q->fd, &b) == 0 && a.st_ino == b.st_ino);
	CU_ASSERT_EQUAL(memcmp(p->words, q->words, p->bytes), 0);
	CU_ASSERT_EQUAL(plane_offers_drop(other), 2);
	(void) plane_unref(p);
	(void) plane_unref(q);
}

static void test_a_head_opens_without_the_file(void)
{
	_cleanup_close_ int file = test_network_memfd(&options), head = -1;
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *m = NULL;
	struct error why = {};

	CU_ASSERT_EQUAL_FATAL(network_head(&head, file, &why), 0);
	CU_ASSERT_EQUAL(pwrite(head, "x", 1, 0), -1);
	/* Nobody reads more than planes from it now. */
	CU_ASSERT_EQUAL(pwrite(file, "broken", 6, 0), 6);
	CU_ASSERT_EQUAL_FATAL(network_open_head(&n, head, file, &why), 0);
	CU_ASSERT_EQUAL(model_build(&m, n, 2.5, &why), 0);
	CU_ASSERT_EQUAL(network_head(&head, file, &why), -EBADMSG);
}

TEST_MAIN("planes", TEST(planes_are_sealed_and_mapped_read_only),
	TEST(shared_while_alive_closed_with_the_last), TEST(bytes_are_those_of_the_file),
	TEST(a_part_holds_just_its_matrices), TEST(a_changed_plane_is_refused),
	TEST(models_leave_nothing_behind), TEST(an_offer_is_taken_instead_of_the_file),
	TEST(a_head_opens_without_the_file),
	TEST(threads_may_build_at_once))
