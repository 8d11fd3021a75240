/* SPDX-License-Identifier: Apache-2.0 */
/* Where the limits of this process's control groups are written. */
#pragma once

typedef void control_group_fn(void *userdata, const char *folder);

/**
 * control_group_visit() - call @fn with the folder of this process's group, and of each one above it
 * @root: what goes in front of /proc and /sys: "" but in tests
 * @controller: "cpu", "memory"
 *
 * A group's limit holds for all groups below it, so all count. Files of version 1 and 2 have different
 * names: whoever reads tries both. A folder that does not exist is visited too: in a container the path
 * may be that of the host.
 */
void control_group_visit(
	const char *root, const char *controller, control_group_fn *fn, void *userdata);
