/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Better planes for a model that stays at a low width (engine/recode.h), while it serves:
 *
 *	loop: low for a while --> builder: in the cache? else take planes --> thread at idle priority: recode_run()
 *	  ^                                      | yes                                         |
 *	  +--- swap, as any plan <--- builder: save, build the plan <--- loop <-- eventfd -----+
 *
 * The thread at idle priority holds no lock that anybody waits for: what it works on is its own. A width that changes
 * meanwhile cancels it.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

struct entry;
struct manager;
struct recoding;

/**
 * struct recoder - part of an entry
 * @timer: runs while the model has been low, and may become better
 * @recoding: under way, or NULL
 * @planes_tried: a width at which it did not work, until another one is active
 * @at_once: an earlier process had it: do not wait, and let nobody see the daemon before it is back, unless that
 *	takes long
 */
struct recoder {
	sd_event_source *timer;
	struct recoding *recoding;
	unsigned int planes_tried;
	bool at_once;
};

/** recoder_follow() - after each change of the entry's width or state. Thread: loop, as everything here */
void recoder_follow(struct entry *e);

/** recoder_is_used() - is what serves now a re-encoding? */
bool recoder_is_used(const struct entry *e);

/** recoder_forget() - the entry goes */
void recoder_forget(struct entry *e);

/** recoders_stop() - before the builder ends: cancel all, wait for their threads */
void recoders_stop(struct manager *m);
