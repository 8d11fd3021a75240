/* SPDX-License-Identifier: Apache-2.0 */
/* Words, sizes and errors of the command bitshed. */
#include <errno.h>
#include <string.h>

#include "cmd.h"

void json_string(const char *s)
{
	(void) putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char) *s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20)
			printf("\\u%04x", c);
		else
			(void) putchar(c);
	}
	(void) putchar('"');
}

const char *size_text(char to[16], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double) bytes;
	size_t i = 0;

	for (; v >= 1024 && i < 4; i++)
		v /= 1024;
	(void) snprintf(to, 16, i > 0 && v < 100 ? "%.1f %s" : "%.0f %s", v, units[i]);
	return to;
}

const char *time_text(char to[16], uint64_t nsec)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	double v = (double) nsec;
	size_t i = 0;

	for (; v >= 1000 && i < 3; i++)
		v /= 1000;
	(void) snprintf(to, 16, i > 0 && v < 100 ? "%.1f %s" : "%.0f %s", v, units[i]);
	if (nsec == 0)
		(void) snprintf(to, 16, "-");
	return to;
}

static void hint_models(struct command *c)
{
	struct bitshed_model **models;
	int n = bitshed_list_models(c->bus, &models, NULL);

	if (n < 0)
		return;
	(void) fprintf(stderr, n > 0 ? "There are:" : "None is loaded; see 'bitshed load'.");
	for (int i = 0; i < n; i++)
		(void) fprintf(stderr, " %s", models[i]->name);
	(void) fputc('\n', stderr);
	bitshed_models_free(models);
}

static int exit_code_of(int r)
{
	switch (-r) {
	case ECONNREFUSED:
	case ECONNRESET:
		return EXIT_CODE_NO_DAEMON;
	case EACCES:
	case EPERM:
		return EXIT_CODE_DENIED;
	case EBUSY:
	case ETIMEDOUT:
	case ERANGE:
	case EDQUOT:
	case EAGAIN:
		return EXIT_CODE_REFUSED;
	default:
		return EXIT_CODE_FAILED;
	}
}

int complain(struct command *c, int r, const struct bitshed_error *e, const char *model)
{
	int code = exit_code_of(r);
	bool unknown_model = model && strcmp(e->name, "org.bitshed.Error.NoSuchModel") == 0;

	(void) fflush(stdout);
	(void) fprintf(stderr, "bitshed: %s\n", e->text);
	if (unknown_model) {
		hint_models(c);
		return EXIT_CODE_NO_SUCH_MODEL;
	}
	if (code == EXIT_CODE_NO_DAEMON)
		(void) fprintf(stderr, "Try 'systemctl start bitshedd', or name its bus with "
				       "--bus=ADDRESS|session.\n");
	else if (code == EXIT_CODE_DENIED)
		(void) fprintf(stderr, "A model that a user loaded is changed by that user or an "
				       "administrator; see the permissions in bitshedd(8).\n");
	else if (strcmp(e->name, "org.bitshed.Error.Exists") == 0)
		(void) fprintf(
			stderr, "Use another name, or 'bitshed unload' the old one first.\n");
	else if (strcmp(e->name, "org.bitshed.Error.PrecisionUnavailable") == 0)
		(void) fprintf(
			stderr, "'bitshed models' shows the widths, 'bitshed bits' sets one.\n");
	return code;
}
