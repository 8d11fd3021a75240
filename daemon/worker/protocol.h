/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bitshedd and bitshed-worker say to each other: one record per SEQPACKET datagram, little-endian,
 * fixed size, no holes. Whoever reads a record checks version, type and size before anything else; what
 * does not fit ends the connection. Neither side believes the other: the worker checks every
 * descriptor, offset and size, the daemon every number and text.
 *
 *	daemon			worker
 *	HELLO		->
 *			<-	WELCOME		which device, or why none
 *	TEST		->			all kernels but those in quarantine
 *			<-	TRYING ...	before each kernel is built or tested: who dies here is known
 *			<-	TESTED ...	each kernel against the scalar rows
 *			<-	READY
 *	REGION + fd	->			memory that tensors lie in: the daemon's own, or a session's
 *	FORGET		->			a session has ended
 *	LOAD + fds	->	LOADED		a model at one width: its head and its planes
 *	RUN		->	DONE		one inference, or a few of the same plan
 *	UNLOAD		->	UNLOADED	buffers of planes that nobody needs are released
 *
 * The daemon sends one record at a time and waits for its answer; REGION and FORGET have none.
 *
 * Inputs are read where clients put them. Outputs go into the daemon's own region: a worker that was too late may
 * still write when the client has its answer from elsewhere, and has asked for another.
 */
#pragma once

#include <stdint.h>

#define WORKER_VERSION 2
#define WORKER_TEXT 192
#define WORKER_NAME 32
#define WORKER_KERNELS 32 /* at most, in the list */
#define WORKER_PLANES 9	  /* eight and the fixed ones */
#define WORKER_FDS (2 + WORKER_PLANES)
#define WORKER_NUMBERS_AT(n_matrices) (((uint64_t) (n_matrices) *4 + 63) & ~UINT64_C(63))
#define WORKER_REGION_BYTES_MAX (UINT64_C(1) << 32)
#define WORKER_REGIONS 64    /* of sessions, that a worker knows at once */
#define WORKER_OWN_REGION 0  /* the daemon's; the only one that is written */
#define WORKER_BATCH 8	     /* inferences that run together, at most */
#define WORKER_DEVICES 4     /* of a machine, each with a worker of its own */

enum worker_type {
	WORKER_HELLO = 1,
	WORKER_WELCOME,
	WORKER_TEST,
	WORKER_TRYING,
	WORKER_TESTED,
	WORKER_READY,
	WORKER_REGION,
	WORKER_FORGET,
	WORKER_LOAD,
	WORKER_LOADED,
	WORKER_UNLOAD,
	WORKER_UNLOADED,
	WORKER_RUN,
	WORKER_DONE,
	_WORKER_TYPE_MAX,
};

enum worker_kind {
	WORKER_KIND_GPU,
	WORKER_KIND_ACCELERATOR,
	WORKER_KIND_CPU,
	_WORKER_KIND_MAX,
};

struct worker_header {
	uint16_t version, type;
	uint32_t size; /* of the whole record */
};

/**
 * struct worker_hello
 * @device: part of the name of the platform or device, empty: any
 * @index: of those that can be used, the most promising one first
 */
struct worker_hello {
	struct worker_header header;
	uint32_t index, reserved;
	char device[WORKER_TEXT];
};

/** struct worker_test - @banned: kernels that must not be built, @n_banned of them */
struct worker_test {
	struct worker_header header;
	uint32_t n_banned, reserved;
	char banned[WORKER_KERNELS][WORKER_NAME];
};

/**
 * struct worker_welcome
 * @result: 0, or a negative errno with @text
 * @shares_memory: buffers over planes need no copy of them, measured
 * @n_devices: that HELLO could have asked for; @first_kind: of the most promising one
 */
struct worker_welcome {
	struct worker_header header;
	int32_t result;
	uint32_t kind, units, shares_memory, n_devices, first_kind;
	uint64_t memory_bytes;
	char text[WORKER_TEXT], platform[WORKER_TEXT], device[WORKER_TEXT], driver[WORKER_TEXT],
		version[WORKER_TEXT];
};

/** struct worker_trying - @test: 0 building, 1 testing */
struct worker_trying {
	struct worker_header header;
	uint32_t test, reserved;
	char kernel[WORKER_NAME];
};

/** struct worker_tested - @result: 0; -EILSEQ wrong numbers; another errno: it cannot be used */
struct worker_tested {
	struct worker_header header;
	int32_t result;
	uint32_t cached;
	char kernel[WORKER_NAME], text[WORKER_TEXT];
};

/** struct worker_ready - @result: 0, or a negative errno: an operation has no kernel left */
struct worker_ready {
	struct worker_header header;
	int32_t result;
	uint32_t reserved;
	uint64_t build_nsec, test_nsec;
	char text[WORKER_TEXT];
};

/**
 * struct worker_region - one descriptor: a memfd of @bytes, size sealed
 * @region: WORKER_OWN_REGION, in place of the former one; else a number that is used once
 */
struct worker_region {
	struct worker_header header;
	uint64_t region, bytes;
};

struct worker_forget {
	struct worker_header header;
	uint64_t region;
};

/** struct worker_plane - as plane_offer() has them; @index: PLANE_FIXED for those that are never shed */
struct worker_plane {
	uint32_t index, layout;
	uint64_t bytes;
};

/**
 * struct worker_load - descriptors: the head of the model file (network_head()), the numbers, then each plane
 *
 * The numbers: planes of each matrix as uint32_t, and from WORKER_NUMBERS_AT on struct model's; a sealed memfd.
 */
struct worker_load {
	struct worker_header header;
	uint64_t plan, numbers_bytes;
	uint32_t n_planes, reserved;
	struct worker_plane planes[WORKER_PLANES];
};

/**
 * struct worker_loaded
 * @bytes: of all buffers on the device
 * @run_nsec: one inference, measured; @batch_nsec: one of WORKER_BATCH that run together
 */
struct worker_loaded {
	struct worker_header header;
	uint64_t plan, bytes, run_nsec, batch_nsec;
	int32_t result;
	uint32_t reserved;
	char text[WORKER_TEXT];
};

struct worker_unload {
	struct worker_header header;
	uint64_t plan;
};

struct worker_unloaded {
	struct worker_header header;
	uint64_t plan, bytes;
};

/** struct worker_item - one inference; @input_at: into @region, @output_at: into WORKER_OWN_REGION */
struct worker_item {
	uint64_t region, input_at, output_at;
};

/** struct worker_run - @input_type: enum input_type; @n: of @items, 1 .. WORKER_BATCH */
struct worker_run {
	struct worker_header header;
	uint64_t plan, cookie;
	uint32_t input_type, n;
	struct worker_item items[WORKER_BATCH];
};

struct worker_done {
	struct worker_header header;
	uint64_t cookie, run_nsec;
	int32_t result;
	uint32_t reserved;
	char text[WORKER_TEXT];
};

/* The largest record of either side. */
union worker_record {
	struct worker_header header;
	struct worker_hello hello;
	struct worker_welcome welcome;
	struct worker_test test;
	struct worker_trying trying;
	struct worker_tested tested;
	struct worker_ready ready;
	struct worker_region region;
	struct worker_forget forget;
	struct worker_load load;
	struct worker_loaded loaded;
	struct worker_unload unload;
	struct worker_unloaded unloaded;
	struct worker_run run;
	struct worker_done done;
};

_Static_assert(sizeof(struct worker_test) == 16 + WORKER_KERNELS * WORKER_NAME, "no holes");
_Static_assert(sizeof(struct worker_load) == 32 + 16 * WORKER_PLANES, "no holes");
_Static_assert(sizeof(struct worker_run) == 32 + 24 * WORKER_BATCH, "no holes");

/** worker_size() - of the record of a type. Return: 0 for an unknown type */
static inline uint32_t worker_size(uint16_t type)
{
	static const uint32_t sizes[_WORKER_TYPE_MAX] = {
		[WORKER_HELLO] = sizeof(struct worker_hello),
		[WORKER_WELCOME] = sizeof(struct worker_welcome),
		[WORKER_TEST] = sizeof(struct worker_test),
		[WORKER_TRYING] = sizeof(struct worker_trying),
		[WORKER_TESTED] = sizeof(struct worker_tested),
		[WORKER_READY] = sizeof(struct worker_ready),
		[WORKER_REGION] = sizeof(struct worker_region),
		[WORKER_FORGET] = sizeof(struct worker_forget),
		[WORKER_LOAD] = sizeof(struct worker_load),
		[WORKER_LOADED] = sizeof(struct worker_loaded),
		[WORKER_UNLOAD] = sizeof(struct worker_unload),
		[WORKER_UNLOADED] = sizeof(struct worker_unloaded),
		[WORKER_RUN] = sizeof(struct worker_run),
		[WORKER_DONE] = sizeof(struct worker_done),
	};

	return type < _WORKER_TYPE_MAX ? sizes[type] : 0;
}

/** worker_header() - of a record of a type */
static inline struct worker_header worker_header(enum worker_type type)
{
	return (struct worker_header){
		WORKER_VERSION, (uint16_t) type, worker_size((uint16_t) type)};
}

/** worker_check() - is what came one of our records? */
static inline int worker_check(const union worker_record *record, uint64_t size)
{
	if (size < sizeof record->header || record->header.version != WORKER_VERSION)
		return 0;
	return record->header.size == size && worker_size(record->header.type) == size;
}
