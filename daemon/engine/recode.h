/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fewer planes that are not a prefix of the file's (methods D4.3): slower to have than lower.h's, and better. In
 * three steps, so that the long one can run where it holds nobody up:
 *
 *	recode_new()	takes the planes of the file		may read the file, locks its store
 *	recode_run()	new planes and scales			seconds; touches nothing but its own memory
 *	recode_network()	a network of what has come out	locks
 *
 * or recode_load() in place of the first two.
 *
 * It is for files whose widths nobody has measured. Where an export has fitted scales or corrections of a width to
 * what the network computes (alpha_at, gain_at, bias_at), its prefix is better than anything that weights alone can
 * tell, and stays: ResNet-20 at 2 bits, 82.6 against 73.4 %; without corrections 21.1 against 63.2 %.
 *
 * Two things take the place of corrections (methods D4.6). The sum of each group stays, so that no mean of an output
 * moves. And what a least-squares fit says is too small by V / (V - E), V the group's variance and E the fit's error:
 * the rest of V is noise to the next layer. Rows are scaled up by that, about the means of their groups.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "engine/model.h"

struct recode;

/** recode_helps() - has the network planes to lose, and widths that nobody has measured? */
bool recode_helps(const struct network *network, uint32_t planes);

/**
 * recode_new() - of @network to @planes, 1 .. planes_max - 1
 *
 * Return: 0; -ERANGE unless recode_helps(); -ENOMEM; as plane_acquire(). Any thread.
 */
int recode_new(struct recode **ret, struct network *network, uint32_t planes, struct error *reterr);

/** recode_run() - Return: 0, -ENOMEM, -ECANCELED once @cancel is set. Any thread */
int recode_run(struct recode *r, const atomic_bool *cancel);

/**
 * recode_network() - of which model_build() makes one model, of so many bits as there are planes. Once
 *
 * Return: 0, -ENOMEM or an errno of sealing. Any thread.
 */
int recode_network(struct recode *r, struct network **ret, struct error *reterr);

struct recode *recode_free(struct recode *r);
DEFINE_CLEANUP(struct recode *, recode_free)

#define RECODE_KEY_SIZE 65

/**
 * recode_key() - what the result depends on, as 64 digits: scales and checksums of the planes
 * @owner: whose model it is: no user can leave a file that another one's model takes
 *
 * Return: 0 or -ENOMEM.
 */
int recode_key(char ret[RECODE_KEY_SIZE], const struct network *network, uint32_t planes, uint32_t owner);

/**
 * recode_save() - after recode_run(), before recode_network(), as a file of the folder @folder_fd
 *
 * In whole or not at all, whatever happens meanwhile. Return: 0 or errno
 */
int recode_save(const struct recode *r, int folder_fd, const char *key);

/** recode_load() - Return: 0; -ENOENT; -EBADMSG for a file that is not what it should be; -ERANGE; -ENOMEM; an errno */
int recode_load(struct recode **ret, struct network *network, uint32_t planes, int folder_fd, const char *key);
