/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of fake_icd.c in place of the machine's own. */
#pragma once

#include <stdint.h>

/** fake_driver_install() - for this process and its children. @folder: a place for files. Skips without pocl */
void fake_driver_install(const char *folder);

/** fake_driver_fail() - from now on one call in @one_in goes wrong like this; "none" */
void fake_driver_fail(const char *fault, uint32_t one_in);
