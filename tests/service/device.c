/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bitshed/protocol.h"
#include "support/bus.h"
#include "support/test.h"

#define WAIT_STEPS 6000 /* of 20 ms */

static char folder[] = "/tmp/bitshed-device-XXXXXX";
static bool made;
static char selected[64] = BITSHED_PATH "/device/opencl";

static void remove_folder(void)
{
	char command[64];

	(void) snprintf(command, sizeof command, "rm -rf %s", folder);
	(void) !system(command);
}

static void make_folder(const char *variable, const char *name)
{
	char path[128];

	(void) snprintf(path, sizeof path, "%s/%s", folder, name);
	(void) mkdir(path, 0700);
	(void) setenv(variable, path, 1);
}

static bool have_driver(void)
{
	int status = system(TEST_WORKER " --check --probe >/dev/null 2>&1");

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *device_folder(void)
{
	if (made)
		return folder;
	if (!mkdtemp(folder))
		exit(1);
	made = true;
	(void) atexit(remove_folder);
	make_folder("STATE_DIRECTORY", "state");
	make_folder("CACHE_DIRECTORY", "cache");
	if (!have_driver())
		test_skip("no OpenCL driver on this machine");
	return folder;
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void) snprintf(path, sizeof path, "%s/%s", device_folder(), name);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		exit(1);
}

void device_configure(const char *config)
{
	write_file("bitshed.yaml", config ? config : "");
}

pid_t device_daemon_with(const char *config, const char *rules)
{
	char file[160], policy[160];
	const char *args[] = {"--worker=" TEST_WORKER, "--log-level=info", file, rules ? policy : NULL, NULL};

	device_configure(config);
	(void) snprintf(file, sizeof file, "--config=%s/bitshed.yaml", device_folder());
	if (rules)
		write_file("policy", rules);
	(void) snprintf(policy, sizeof policy, "--policy=%s/policy", device_folder());
	return test_daemon_start(args);
}

pid_t device_daemon(const char *config)
{
	return device_daemon_with(config, NULL);
}

void device_select(const char *name)
{
	(void) snprintf(selected, sizeof selected, "%s/device/%s", BITSHED_PATH, name);
}

const char *device_text(sd_bus *bus, const char *property)
{
	static char text[512];
	char *value = NULL;

	text[0] = '\0';
	if (sd_bus_get_property_string(bus, BITSHED_BUS_NAME, selected,
		    BITSHED_DEVICE_INTERFACE, property, NULL, &value) >= 0)
		(void) snprintf(text, sizeof text, "%s", value);
	free(value);
	return text;
}

uint64_t device_number(sd_bus *bus, const char *property)
{
	uint64_t n = 0;
	uint32_t u = 0;

	if (sd_bus_get_property_trivial(bus, BITSHED_BUS_NAME, selected,
		    BITSHED_DEVICE_INTERFACE, property, NULL, 't', &n) >= 0)
		return n;
	(void) sd_bus_get_property_trivial(bus, BITSHED_BUS_NAME, selected,
		BITSHED_DEVICE_INTERFACE, property, NULL, 'u', &u);
	return u;
}

bool device_wait(sd_bus *bus, const char *state)
{
	for (int i = 0; i < WAIT_STEPS; i++) {
		if (strcmp(device_text(bus, "State"), state) == 0)
			return true;
		(void) usleep(20000);
	}
	fprintf(stderr, "the device is %s, ", device_text(bus, "State"));
	fprintf(stderr, "%s\n", device_text(bus, "StateReason"));
	return false;
}

bool device_wait_number(sd_bus *bus, const char *property, uint64_t least)
{
	for (int i = 0; i < WAIT_STEPS; i++) {
		if (device_number(bus, property) >= least)
			return true;
		(void) usleep(20000);
	}
	return false;
}

static bool is_worker_of(const char *pid, pid_t daemon)
{
	char path[64], line[512] = "", name[64] = "";
	int parent = 0;
	FILE *f;

	(void) snprintf(path, sizeof path, "/proc/%.16s/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	(void) !fgets(line, sizeof line, f);
	(void) fclose(f);
	return sscanf(line, "%*d (%63[^)]) %*c %d", name, &parent) == 2 && parent == daemon &&
	       strcmp(name, "bitshed-worker") == 0;
}

pid_t device_worker_pid(pid_t daemon)
{
	DIR *d = opendir("/proc");
	pid_t found = 0;

	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_worker_of(e->d_name, daemon))
			found = (pid_t) atoi(e->d_name);
	(void) closedir(d);
	return found;
}
