/* SPDX-License-Identifier: Apache-2.0 */
#include "live.h"

#include <stdio.h>
#include <stdlib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/bus.h"
#include "support/network.h"

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void write_file(const char *path, const char *head, const void *data, size_t size)
{
	FILE *f = fopen(path, "we");

	must(f && fputs(head, f) >= 0 && fwrite(data, 1, size, f) == size && fclose(f) == 0, path);
}

static void write_network(const char *path)
{
	const struct test_network_options options = {.seed = 3, .planes = 4, .size = LIVE_SIZE};
	int fd = test_network_memfd(&options);
	struct stat st;
	void *data;

	must(fd >= 0 && fstat(fd, &st) == 0, "network");
	data = malloc((size_t) st.st_size);
	must(data && pread(fd, data, (size_t) st.st_size, 0) == st.st_size, "network");
	write_file(path, "", data, (size_t) st.st_size);
	free(data);
	(void) close(fd);
}

void live_start(struct live *l)
{
	uint64_t state = 11;

	(void) snprintf(l->folder, sizeof l->folder, "/tmp/bitshed-client-XXXXXX");
	must(mkdtemp(l->folder) != NULL && chmod(l->folder, 0755) == 0, l->folder);
	(void) snprintf(l->network, sizeof l->network, "%s/net.gguf", l->folder);
	(void) snprintf(l->image, sizeof l->image, "%s/image.ppm", l->folder);
	(void) snprintf(l->raw, sizeof l->raw, "%s/image.raw", l->folder);
	(void) snprintf(l->garbage, sizeof l->garbage, "%s/garbage", l->folder);
	for (size_t i = 0; i < LIVE_PIXELS; i++)
		l->pixels[i] = (uint8_t) test_random(&state);
	write_network(l->network);
	write_file(l->image, "P6\n# drawn\n8 8\n255\n", l->pixels, LIVE_PIXELS);
	write_file(l->raw, "", l->pixels, LIVE_PIXELS);
	write_file(l->garbage, "not a model", l->pixels, LIVE_PIXELS);
	must(setenv("BITSHED_BUS", test_bus_address(), 1) == 0, "setenv");
	l->daemon = test_daemon_start(NULL);
}

void live_stop(struct live *l)
{
	const char *const files[] = {l->network, l->image, l->raw, l->garbage};

	if (l->daemon > 0)
		(void) test_daemon_stop(l->daemon);
	for (size_t i = 0; i < 4; i++)
		(void) unlink(files[i]);
	(void) rmdir(l->folder);
}

void live_load(struct live *l, const char *name)
{
	struct bitshed *b = NULL;
	struct bitshed_error e = {};

	if (bitshed_open(&b, NULL, &e) < 0 || bitshed_load(b, name, l->network, 4, &e) < 0 ||
		bitshed_wait_ready(b, name, -1, &e) < 0) {
		fprintf(stderr, "%s: %s\n", name, e.text);
		exit(1);
	}
	(void) bitshed_close(b);
}

int live_run(const char *command, char *output, size_t size)
{
	char line[1024];
	FILE *f;
	size_t n;
	int status;

	must(snprintf(line, sizeof line, "{ %s; } 2>&1", command) < (int) sizeof line,
		"command line");
	f = popen(line, "re");
	must(f != NULL, command);
	n = fread(output, 1, size - 1, f);
	output[n] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
