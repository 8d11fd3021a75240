/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bitshed doctor: from the drivers on this machine to the device that the daemon has, one line for each
 * thing that must be there, and for what is missing what helps. A machine without any is a healthy one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"

#define VENDORS "/etc/OpenCL/vendors"

static void say(const char *what, const char *is, const char *remedy)
{
	printf("%-10s %s\n", what, is);
	if (remedy)
		printf("%-10s -> %s\n", "", remedy);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

static void read_driver(const char *folder, const char *name, char *to, size_t size)
{
	char path[512];
	FILE *f;

	(void) snprintf(path, sizeof path, "%.255s/%.250s", folder, name);
	f = fopen(path, "re");
	to[0] = '\0';
	if (f && fgets(to, (int) size, f))
		to[strcspn(to, "\r\n")] = '\0';
	if (f)
		(void) fclose(f);
}

static int look_at_drivers(void)
{
	const char *folder = getenv("OCL_ICD_VENDORS") ? getenv("OCL_ICD_VENDORS") : VENDORS;
	char library[256], line[640];
	struct dirent *e;
	DIR *d = opendir(folder);
	int n = 0;

	while (d && (e = readdir(d))) {
		if (!ends_with(e->d_name, ".icd"))
			continue;
		read_driver(folder, e->d_name, library, sizeof library);
		(void) snprintf(line, sizeof line, "%.255s, library %s", e->d_name,
			library[0] ? library : "?");
		say("driver", line,
			library[0] ? NULL : "this file names no library: reinstall its package");
		n++;
	}
	if (d)
		(void) closedir(d);
	if (n == 0)
		say("driver", "none is installed",
			"a package that provides opencl-icd, for example mesa-opencl-icd, or "
			"pocl-opencl-icd for the "
			"processor");
	return n;
}

static void look_at_node(const char *path, const char *group)
{
	struct stat st;
	char line[320], remedy[160];
	bool open_to_us = access(path, R_OK | W_OK) == 0;

	if (stat(path, &st) < 0)
		return;
	(void) snprintf(line, sizeof line, "%s, mode %o, %s", path, st.st_mode & 07777,
		open_to_us ? "open to you" : "closed to you");
	(void) snprintf(remedy, sizeof remedy,
		"the worker needs it, not you; \"adduser bitshed-worker %s\" when it says that it "
		"finds no device",
		group);
	say("node", line, open_to_us ? NULL : remedy);
}

static void look_at_nodes(void)
{
	static const char *const others[] = {
		"/dev/mali0", "/dev/kgsl-3d0", "/dev/pvr_sync", "/dev/kfd"};
	char path[300];
	struct dirent *e;
	DIR *d = opendir("/dev/dri");

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, "renderD", strlen("renderD")) != 0)
			continue;
		(void) snprintf(path, sizeof path, "/dev/dri/%s", e->d_name);
		look_at_node(path, "render");
	}
	if (d)
		(void) closedir(d);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		look_at_node(others[i], "video");
}

/* Mesa's driver for many boards does nothing until it is told which hardware it may take. */
static void look_at_rusticl(void)
{
	const char *value = getenv("RUSTICL_ENABLE");

	if (access(VENDORS "/rusticl.icd", F_OK) == 0 && !value)
		say("rusticl", "RUSTICL_ENABLE is not set here",
			"\"systemctl edit bitshed-worker@\" with "
			"Environment=RUSTICL_ENABLE=panfrost, or v3d, freedreno, "
			"iris");
}

static const char *remedy_of(const struct bitshed_device *d, int n_drivers)
{
	if (strcmp(d->state, "ready") == 0)
		return NULL;
	if (strcmp(d->state, "quarantined") == 0)
		return "another driver version lifts it, or \"bitshed devices retry\" after "
		       "\"bitshed-worker --check\" is "
		       "right";
	if (strcmp(d->state, "absent") == 0)
		return n_drivers > 0 ? "\"sudo -u bitshed-worker /usr/libexec/bitshed-worker "
				       "--check\" says what it sees"
				     : "install a driver, then \"bitshed devices retry\"";
	if (strcmp(d->state, "idle") == 0)
		return "it is started with the first model; \"bitshed devices retry\" starts it now";
	return "the processor answers meanwhile";
}

static void look_at_daemon(struct bitshed_device *const *devices, int n, int n_drivers)
{
	char line[512];

	if (n < 2)
		say("worker", "not installed: CPU only, which is fine",
			"the package bitshed-opencl, to use a device");
	for (int i = 0; i < n; i++) {
		const struct bitshed_device *d = devices[i];

		(void) snprintf(line, sizeof line, "%s, %s%s%s%s%s", d->name, d->state,
			d->state_reason[0] ? ": " : "", d->state_reason,
			d->description[0] ? ", " : "", d->description);
		say("device", line, strcmp(d->name, "cpu") == 0 ? NULL : remedy_of(d, n_drivers));
		for (char **p = d->quarantine; *p && strcmp(*p, "*") != 0; p++)
			say("kernel", *p, "in quarantine; others do its work, or the processor");
		if (d->kernels > 0) {
			(void) snprintf(line, sizeof line,
				"%u kernels right, %u of them from the cache", d->kernels,
				d->kernels_cached);
			say("cache", line, NULL);
		}
	}
}

static const char *duration_text(char *text, size_t size, uint64_t nsec)
{
	if (nsec == 0)
		return "not measured";
	(void) snprintf(text, size, "%.2f ms", (double) nsec / 1e6);
	return text;
}

/* What the choice of a device goes by. */
static void look_at_models(struct bitshed_model *const *models, int n, bool has_worker)
{
	char line[320], cpu[32], opencl[32];

	for (int i = 0; i < n; i++) {
		const struct bitshed_model *m = models[i];

		if (m->cpu_nsec == 0 && m->opencl_nsec == 0)
			continue;
		(void) snprintf(line, sizeof line, "%.200s, %g bits: processor %s%s%s", m->name,
			m->bits, duration_text(cpu, sizeof cpu, m->cpu_nsec),
			has_worker ? ", opencl " : "",
			has_worker ? duration_text(opencl, sizeof opencl, m->opencl_nsec) : "");
		say("model", line, NULL);
	}
}

int cmd_doctor(struct command *c)
{
	struct bitshed_device **devices;
	struct bitshed_model **models;
	struct bitshed_error e = {};
	int n_drivers = look_at_drivers(), n;
	bool has_worker;

	look_at_nodes();
	look_at_rusticl();
	n = bitshed_list_devices(c->bus, &devices, &e);
	if (n < 0)
		return complain(c, n, &e, NULL);
	look_at_daemon(devices, n, n_drivers);
	has_worker = n > 1;
	bitshed_devices_free(devices);
	n = bitshed_list_models(c->bus, &models, &e);
	if (n < 0)
		return complain(c, n, &e, NULL);
	look_at_models(models, n, has_worker);
	bitshed_models_free(models);
	return EXIT_CODE_OK;
}
