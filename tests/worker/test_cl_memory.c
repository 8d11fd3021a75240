/* SPDX-License-Identifier: Apache-2.0 */
/* Which way of sharing memory a device is found to have, by drivers that say one thing and do another. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memfd.h"
#include "support/fake_driver.h"
#include "support/test.h"
#include "worker/cl.h"
#include "worker/regions.h"

#define BYTES ((size_t) 4096)

static char folder[] = "/tmp/bitshed-cl-memory-XXXXXX";

static void remove_folder(void)
{
	char command[64];

	(void) snprintf(command, sizeof command, "rm -rf %s", folder);
	(void) !system(command);
}

static void install(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) atexit(remove_folder);
	(void) setenv("POCL_CACHE_DIR", folder, 1);
	fake_driver_install(folder);
}

/* What the device reads of @map through a buffer over it. */
static uint8_t read_back(struct cl *cl, const struct cl_buffer *b)
{
	uint8_t byte = 0;

	CU_ASSERT_EQUAL(clEnqueueReadBuffer(cl->queue, b->mem, CL_TRUE, BYTES - 1, 1, &byte, 0, NULL, NULL),
		CL_SUCCESS);
	return byte;
}

static void check(const char *behaviour, enum cl_sharing expected)
{
	_cleanup_(cl_closep) struct cl *cl = NULL;
	struct cl_buffer b;
	struct error why = {};
	uint8_t *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	install();
	(void) setenv("BITSHED_FAKE_MEMORY", behaviour, 1);
	CU_ASSERT_EQUAL_FATAL(cl_open(&cl, NULL, &why), 0);
	CU_ASSERT_EQUAL(cl->sharing, expected);
	CU_ASSERT_FATAL(map != MAP_FAILED);
	map[BYTES - 1] = 7;
	CU_ASSERT_EQUAL_FATAL(cl_buffer_new(cl, map, BYTES, true, &b, &why), 0);
	CU_ASSERT_EQUAL(b.shared, expected != CL_SHARING_NONE);
	CU_ASSERT_EQUAL(cl->bytes, BYTES);
	map[BYTES - 1] = 8;
	CU_ASSERT_EQUAL(read_back(cl, &b), expected == CL_SHARING_NONE ? 7 : 8);
	cl_buffer_done(cl, &b);
	CU_ASSERT_EQUAL(cl->bytes, 0);
	(void) munmap(map, BYTES);
}

static void test_a_pointer_is_used_where_it_is_no_copy(void)
{
	check("real", CL_SHARING_HOST_PTR);
}

static void test_a_driver_that_copies_gets_one_copy(void)
{
	check("copy", CL_SHARING_NONE);
}

static void test_memory_is_imported_where_pointers_are_copied(void)
{
	check("import", CL_SHARING_IMPORT);
}

/* Named and not there, there and failing, or reading something else: all the same. */
static void test_an_import_that_does_not_work_is_not_used(void)
{
	check("import-missing", CL_SHARING_NONE);
	check("import-fails", CL_SHARING_NONE);
	check("import-lies", CL_SHARING_NONE);
}

static int make_region(struct regions *r, uint64_t id, size_t bytes, size_t said)
{
	struct worker_region m = {.header = worker_header(WORKER_REGION), .region = id, .bytes = said};
	_cleanup_close_ int fd = -1;

	CU_ASSERT_EQUAL_FATAL(memfd_new(&fd, NULL, "region", bytes), 0);
	return regions_take(r, &m, fd);
}

static void test_regions_are_what_they_say(void)
{
	struct worker_region m = {.header = worker_header(WORKER_REGION), .region = 3, .bytes = BYTES};
	struct regions r = {};
	_cleanup_close_ int unsealed = memfd_create("unsealed", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(ftruncate(unsealed, BYTES), 0);
	CU_ASSERT_EQUAL(regions_take(&r, &m, unsealed), -EPROTO);
	CU_ASSERT_EQUAL(make_region(&r, 3, BYTES, BYTES + 4), -EPROTO);
	CU_ASSERT_EQUAL(make_region(&r, 3, BYTES, 0), -EPROTO);
	CU_ASSERT_EQUAL(make_region(&r, 3, BYTES, BYTES), 0);
	CU_ASSERT_EQUAL(make_region(&r, 3, BYTES, BYTES), -EPROTO); /* used once */
	CU_ASSERT_PTR_NULL(regions_at(&r, WORKER_OWN_REGION, 0, 4));
	CU_ASSERT_EQUAL(make_region(&r, WORKER_OWN_REGION, BYTES, BYTES), 0);
	CU_ASSERT_PTR_NOT_NULL(regions_at(&r, WORKER_OWN_REGION, BYTES - 4, 4));
	CU_ASSERT_PTR_NOT_NULL(regions_at(&r, 3, 0, BYTES));
	CU_ASSERT_PTR_NULL(regions_at(&r, 3, 4, BYTES));
	CU_ASSERT_PTR_NULL(regions_at(&r, 3, 2, 4));
	CU_ASSERT_PTR_NULL(regions_at(&r, 3, UINT64_MAX - 3, 8));
	CU_ASSERT_PTR_NULL(regions_at(&r, 4, 0, 4));
	regions_forget(&r, 3);
	regions_forget(&r, 3);
	CU_ASSERT_PTR_NULL(regions_at(&r, 3, 0, 4));
	regions_done(&r);
}

static void test_there_are_no_more_regions_than_room(void)
{
	struct regions r = {};

	for (uint64_t i = 1; i <= WORKER_REGIONS; i++)
		CU_ASSERT_EQUAL(make_region(&r, i, BYTES, BYTES), 0);
	CU_ASSERT_EQUAL(make_region(&r, WORKER_REGIONS + 1, BYTES, BYTES), -EPROTO);
	regions_forget(&r, 5);
	CU_ASSERT_EQUAL(make_region(&r, WORKER_REGIONS + 1, BYTES, BYTES), 0);
	CU_ASSERT_PTR_NOT_NULL(regions_at(&r, WORKER_REGIONS, 0, 4));
	regions_done(&r);
}

TEST_MAIN("cl_memory", TEST(a_pointer_is_used_where_it_is_no_copy), TEST(a_driver_that_copies_gets_one_copy),
	TEST(memory_is_imported_where_pointers_are_copied), TEST(an_import_that_does_not_work_is_not_used),
	TEST(regions_are_what_they_say), TEST(there_are_no_more_regions_than_room))
