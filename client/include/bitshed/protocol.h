/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What client and daemon agree on beside the D-Bus interfaces: names, errors, and the records on a
 * session's SEQPACKET socket. Records are little-endian, fixed size, one per datagram.
 *
 * A session has n slots in one sealed memfd, each an input and an output area; OpenSession()'s layout says
 * where. The client fills the input of a slot that is its own, sends one request naming the slot, and must
 * not touch the slot until the reply with the same slot comes. Closing the socket ends the session.
 */
#pragma once

#include <stdint.h>

#define BITSHED_BUS_NAME "org.bitshed"
#define BITSHED_PATH "/org/bitshed"
#define BITSHED_MANAGER_INTERFACE "org.bitshed.Manager1"
#define BITSHED_MODEL_INTERFACE "org.bitshed.Model1"
#define BITSHED_SESSION_INTERFACE "org.bitshed.Session1"
#define BITSHED_DEVICE_INTERFACE "org.bitshed.Device1"

/* clang-format off */
/* BITSHED_ERROR(code on the socket, enum, D-Bus name, errno) */
#define BITSHED_ERRORS(E)                                                                 \
	E(1,  NO_SUCH_MODEL,         "org.bitshed.Error.NoSuchModel",          ENOENT)    \
	E(2,  BUSY,                  "org.bitshed.Error.Busy",                 EBUSY)     \
	E(3,  NO_MEMORY,             "org.bitshed.Error.NoMemory",             ENOMEM)    \
	E(4,  DEADLINE,              "org.bitshed.Error.Deadline",             ETIMEDOUT) \
	E(5,  PRECISION_UNAVAILABLE, "org.bitshed.Error.PrecisionUnavailable", ERANGE)    \
	E(6,  DEVICE_LOST,           "org.bitshed.Error.DeviceLost",           ENODEV)    \
	E(7,  INVALID_OPTION,        "org.bitshed.Error.InvalidOption",        EINVAL)    \
	E(8,  NOT_AUTHORIZED,        "org.bitshed.Error.NotAuthorized",        EACCES)    \
	E(9,  INVALID_MODEL,         "org.bitshed.Error.InvalidModel",         EBADMSG)   \
	E(10, INVALID_INPUT,         "org.bitshed.Error.InvalidInput",         EMSGSIZE)  \
	E(11, LIMIT_EXCEEDED,        "org.bitshed.Error.LimitExceeded",        EDQUOT)    \
	E(12, EXISTS,                "org.bitshed.Error.Exists",               EEXIST)    \
	E(13, NOT_READY,             "org.bitshed.Error.NotReady",             EAGAIN)    \
	E(14, FAILED,                "org.bitshed.Error.Failed",               EIO)
/* clang-format on */

enum bitshed_status {
	BITSHED_OK = 0,
#define E(code, name, bus, number) BITSHED_ERROR_##name = code,
	BITSHED_ERRORS(E)
#undef E
};

#define BITSHED_PROTOCOL_VERSION 1

/* enum bitshed_device_choice - where to run; a policy of the operator goes before all but REQUIRE */
enum bitshed_device_choice {
	BITSHED_DEVICE_ANY = 0,     /* whichever is quicker */
	BITSHED_DEVICE_CPU = 1,
	BITSHED_DEVICE_PREFER = 2,  /* OpenCL, or the processor when it is not there */
	BITSHED_DEVICE_REQUIRE = 3  /* OpenCL, or DEVICE_LOST; NOT_READY while it is being prepared */
};

/**
 * struct bitshed_request - client to daemon
 * @cookie: comes back in the reply
 * @min_bits: refuse with PRECISION_UNAVAILABLE when the model is below; 0: any
 * @deadline_ms: from the daemon's reading of this record; 0: the daemon's default
 * @priority: -100 .. 100, higher first
 * @input_type: 0 pixels (u8 RGB NHWC), 1 float32 NHWC
 * @device: enum bitshed_device_choice
 */
struct bitshed_request {
	uint16_t version, input_type;
	uint32_t slot;
	uint64_t cookie;
	float min_bits;
	uint32_t deadline_ms;
	int32_t priority;
	uint16_t device, reserved; /* reserved: 0 */
};

/**
 * struct bitshed_reply - daemon to client; the output lies in the slot when @status is BITSHED_OK
 * @bits: average width that served it; @device: 0 CPU, 1 OpenCL, 2 and more its other devices; @rule: index, see Model1.Rules
 */
struct bitshed_reply {
	uint16_t version, status;
	uint32_t slot;
	uint64_t cookie;
	float bits;
	uint16_t device, rule;
	uint64_t queue_nsec, run_nsec;
};

/**
 * struct bitshed_hold_record - daemon to who holds a precision, on the descriptor of
 * HoldPrecision(): at first and whenever @honoured changes
 * @honoured: 0: a hard limit of the policy is below what is held
 * @bits: what the policy allows now
 */
struct bitshed_hold_record {
	uint16_t version, honoured;
	float bits;
};

_Static_assert(sizeof(struct bitshed_hold_record) == 8, "records have no holes");
_Static_assert(sizeof(struct bitshed_request) == 32, "records have no holes");
_Static_assert(sizeof(struct bitshed_reply) == 40, "records have no holes");
