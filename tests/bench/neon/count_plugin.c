/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin of qemu-aarch64: counts the instructions that a program executes and prints them at its end.
 * The declarations are those of the interface's version 1; Debian ships no header of it.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define VISIBLE __attribute__((visibility("default")))
#define ADD_U64 0

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*fn)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id id, void (*fn)(plugin_id, void *), void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *at, uint64_t add);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
VISIBLE int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

extern VISIBLE int qemu_plugin_version;
int qemu_plugin_version = 1;
static uint64_t count;

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &count, qemu_plugin_tb_n_insns(tb));
}

static void at_end(plugin_id id, void *userdata)
{
	fprintf(stderr, "instructions %" PRIu64 "\n", count);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, at_end, NULL);
	return 0;
}
