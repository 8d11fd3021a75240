/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fake_driver.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/test.h"

static char control[128];

void fake_driver_fail(const char *fault, uint32_t one_in)
{
	char text[64], temporary[160];
	int fd;

	(void) snprintf(temporary, sizeof temporary, "%s.new", control);
	(void) snprintf(text, sizeof text, "%s %u", fault, one_in);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CU_ASSERT_FATAL(fd >= 0 && write(fd, text, strlen(text)) > 0);
	(void) close(fd);
	CU_ASSERT_EQUAL_FATAL(rename(temporary, control), 0);
}

/* The library of the first driver that the system names. */
static void find_real(char *to, size_t size)
{
	DIR *d = opendir("/etc/OpenCL/vendors");
	char path[512], line[512] = "";

	to[0] = '\0';
	for (struct dirent *e; d && !to[0] && (e = readdir(d));) {
		FILE *f;

		(void) snprintf(path, sizeof path, "/etc/OpenCL/vendors/%s", e->d_name);
		f = strstr(e->d_name, "pocl.icd") ? fopen(path, "r") : NULL;
		if (f && fscanf(f, "%500s", line) == 1)
			(void) snprintf(to, size, "%s", line);
		if (f)
			(void) fclose(f);
	}
	if (d)
		(void) closedir(d);
}

void fake_driver_install(const char *folder)
{
	char path[256], real[512];
	FILE *f;

	find_real(real, sizeof real);
	if (!real[0])
		test_skip("no pocl on this machine");
	(void) snprintf(path, sizeof path, "%s/fake.icd", folder);
	f = fopen(path, "w");
	CU_ASSERT_FATAL(f && fputs(TEST_FAKE_ICD, f) >= 0 && fclose(f) == 0);
	(void) snprintf(control, sizeof control, "%s/control", folder);
	fake_driver_fail("none", 1);
	(void) setenv("OCL_ICD_VENDORS", folder, 1);
	(void) setenv("BITSHED_FAKE_REAL", real, 1);
	(void) setenv("BITSHED_FAKE_CONTROL", control, 1);
}
