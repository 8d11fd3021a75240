/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbitshed: run neural networks through the bitshed daemon.
 *
 * The easy way is bitshed_open() and bitshed_infer(): one call on the bus each. The fast way is a
 * session: its tensors lie in memory shared with the daemon and a request is one small record on a
 * socket.
 *
 * Returns. Every int is 0 or a useful positive number, or a negative errno. The last parameter
 * takes the D-Bus name of the error and words for a person; it may be NULL and is written on
 * failure only. Errors that any call on the bus may return beside its own: -ECONNREFUSED the daemon
 * or the bus is not there, -EACCES the bus does not let this user talk to the daemon, -ETIMEDOUT no
 * answer came, -ENOMEM.
 *
 * Ownership. What a function returns through its first parameter belongs to the caller on success
 * and is untouched on failure. Arguments are only read during the call. Every *_free() and
 * *_close() takes NULL.
 *
 * Threads. A struct bitshed is used by one thread at a time. A struct bitshed_session, once open,
 * is independent of its connection's thread, and is itself used by one thread at a time. Results,
 * models and devices are plain memory. There is no global state. After fork() the child must not
 * use any of it.
 */
#ifndef BITSHED_BITSHED_H
#define BITSHED_BITSHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BITSHED_API __attribute__((visibility("default")))

/** struct bitshed - a connection to a bus with a daemon on it; opaque */
struct bitshed;
/** struct bitshed_session - one model, its shared memory and its socket; opaque */
struct bitshed_session;

/**
 * struct bitshed_error - why a call failed
 * @name: D-Bus name, "org.bitshed.Error.Busy"; @text: words for a person; both always terminated
 */
struct bitshed_error {
	char name[64];
	char text[256];
};

enum bitshed_input {
	BITSHED_INPUT_DEFAULT, /* what the model takes: pixels, or floats when it takes none */
	BITSHED_INPUT_PIXELS,  /* bytes: red, green, blue of each pixel, row by row */
	BITSHED_INPUT_FLOATS   /* float of the same order, preprocessed by the caller */
};

/** enum bitshed_choice - where one request runs; rules of the operator go before all but the last */
enum bitshed_choice {
	BITSHED_CHOICE_ANY,    /* whichever is quicker */
	BITSHED_CHOICE_CPU,
	BITSHED_CHOICE_PREFER, /* OpenCL, or the processor when it is not there */
	BITSHED_CHOICE_REQUIRE /* OpenCL, or -ENODEV; -EAGAIN while it is being prepared */
};

/**
 * struct bitshed_options - how to treat one request; all zero, or NULL instead of it: the defaults
 * @min_bits: fail with -ERANGE rather than run at less
 * @deadline_ms: fail with -ETIMEDOUT when not answered by then; 0: the daemon's default
 * @priority: -100 to 100, higher first
 */
struct bitshed_options {
	double min_bits;
	uint32_t deadline_ms;
	int32_t priority;
	enum bitshed_input input;
	enum bitshed_choice device;
	uint32_t reserved[2]; /* 0 */
};

/**
 * struct bitshed_result - how a request was served
 * @slot: BITSHED_NO_SLOT outside of sessions; @cookie: of bitshed_session_submit(), else 0
 * @bits: average width of the weights that computed it
 * @queue_nsec: waited; @run_nsec: computed
 * @rule: what decided the width, one of the model's rules
 */
struct bitshed_result {
	uint32_t slot;
	uint32_t reserved;
	uint64_t cookie;
	double bits;
	uint64_t queue_nsec, run_nsec;
	char device[32];
	char rule[32];
};
#define BITSHED_NO_SLOT UINT32_MAX

struct bitshed_accuracy {
	double bits, top1_percent, top5_percent;
	uint32_t images;
};

/**
 * struct bitshed_model - a model as it was when asked; read only, later versions append members
 * @state: "loading", "ready" or "failed", with @state_reason; @progress: of loading, 0 to 1
 * @bits: width that new requests run with; @bits_by_hand: set by bitshed_set_bits(), 0: the policy
 * decides
 * @rule: what decided @bits, one of @rules; @rule_text: the same for a person
 * @input_shape: height, width, channels; @output_shape likewise
 * @run_nsec, @latency_nsec: means over the last requests
 * @cpu_nsec, @opencl_nsec: computing by the processor, by the OpenCL device; 0: nothing is known
 * @statistics_known: false where the model is another user's: then requests, failures and means are 0
 */
struct bitshed_model {
	char *name, *state, *state_reason, *rule, *rule_text, *input_type, *method, *source_hash;
	double progress, bits, bits_by_hand, bits_max;
	uint64_t resident_bytes, requests, failures, run_nsec, latency_nsec;
	uint32_t input_shape[3], output_shape[3];
	char **rules, **labels; /* end with NULL */
	size_t n_rules, n_labels;
	struct bitshed_accuracy *accuracy;
	size_t n_accuracy;
	bool statistics_known;
	char **why; /* for a person; ends with NULL */
	uint64_t rule_since_nsec, switches; /* since: CLOCK_MONOTONIC */
	double joules;			    /* of one inference at @bits, 0: not known */
	char *energy_source;		    /* "measured", "modelled", "" */
	uint64_t cpu_nsec, opencl_nsec;
};

/** struct bitshed_device - a device as it was when asked; read only, later versions append members
 */
struct bitshed_device {
	char *name, *kind;
	uint32_t threads, queue_length;
	char *description, *state, *state_reason, *platform, *driver, *version;
	char **quarantine; /* kernels that are not used, "*": none is; ends with NULL */
	uint32_t plans, kernels, kernels_cached;
	uint64_t buffer_bytes, answered, retried, checked, wrong, starts, build_nsec, test_nsec,
		together;
};

/** struct bitshed_daemon - the daemon as it was when asked; read only, later versions append
 * members */
struct bitshed_daemon {
	char *version, *profile;
	uint32_t n_sessions, n_models, n_devices;
	char *configuration_error; /* why the last reload changed nothing; empty: it did */
};

/**
 * bitshed_open() - connect to a bus
 * @ret: to be closed with bitshed_close()
 * @address: "system", "session", a D-Bus address, or NULL: what BITSHED_BUS in the environment
 * says, else the system bus
 *
 * The daemon need not run yet, and may be restarted later: each call finds the one that is there.
 * Return: 0; -EINVAL for an address that is none.
 */
BITSHED_API int bitshed_open(
	struct bitshed **ret, const char *address, struct bitshed_error *reterr);

/** bitshed_close() - end the connection, and on the daemon's side its sessions. Return: NULL */
BITSHED_API struct bitshed *bitshed_close(struct bitshed *b);

/**
 * bitshed_load() - load a model file
 * @name: 1 to 63 of [A-Za-z0-9._-], not beginning with "." or "-"
 * @path: opened by this process: the daemon needs no right to the folder
 * @bits: width to set by hand from the start; 0: the policy decides
 *
 * Returns before the model is ready; see bitshed_wait_ready().
 * Return: 0; -EEXIST the name is taken; -EBADMSG not a model file; -EDQUOT a limit; -EINVAL the
 * name or
 * @bits; an errno of open().
 */
BITSHED_API int bitshed_load(struct bitshed *b, const char *name, const char *path, double bits,
	struct bitshed_error *reterr);

/** bitshed_load_fd() - the same from an open regular file or memfd; @fd stays the caller's in any
 * case */
BITSHED_API int bitshed_load_fd(
	struct bitshed *b, const char *name, int fd, double bits, struct bitshed_error *reterr);

/**
 * bitshed_wait_ready() - wait until a model has been loaded
 * @timeout_ms: negative: as long as it takes
 *
 * Return: 0 ready; -EBADMSG it failed, with the cause; -ENOENT no such model; -ETIMEDOUT.
 */
BITSHED_API int bitshed_wait_ready(
	struct bitshed *b, const char *name, int timeout_ms, struct bitshed_error *reterr);

/** bitshed_unload() - forget a model; its sessions end. Return: 0; -ENOENT; -EACCES */
BITSHED_API int bitshed_unload(struct bitshed *b, const char *name, struct bitshed_error *reterr);

/**
 * bitshed_set_bits() - set the width of a model by hand
 * @bits: 1 to the model's maximum, also in between (2.5); 0 gives it back to the policy
 *
 * New requests run at the new width when this returns.
 * Return: 0; -ENOENT no such model; -EAGAIN not ready; -ERANGE no such width; -EACCES.
 */
BITSHED_API int bitshed_set_bits(
	struct bitshed *b, const char *model, double bits, struct bitshed_error *reterr);

/** bitshed_get_profile() - @ret: "power-saver", "balanced" or "performance", for free(). Return: 0
 */
BITSHED_API int bitshed_get_profile(struct bitshed *b, char **ret, struct bitshed_error *reterr);

/** bitshed_set_profile() - Return: 0; -EINVAL no such profile; -EACCES */
BITSHED_API int bitshed_set_profile(
	struct bitshed *b, const char *profile, struct bitshed_error *reterr);

/** bitshed_get_daemon() - @ret: for bitshed_daemon_free(). Return: 0 */
BITSHED_API int bitshed_get_daemon(
	struct bitshed *b, struct bitshed_daemon **ret, struct bitshed_error *reterr);
BITSHED_API void bitshed_daemon_free(struct bitshed_daemon *d);

/** bitshed_get_model() - @ret: for bitshed_model_free(). Return: 0; -ENOENT */
BITSHED_API int bitshed_get_model(struct bitshed *b, struct bitshed_model **ret, const char *name,
	struct bitshed_error *reterr);
BITSHED_API void bitshed_model_free(struct bitshed_model *m);

/**
 * bitshed_list_models() - every model of the daemon, by name
 * @ret: ends with NULL, for bitshed_models_free(); on success never NULL itself
 *
 * Return: how many.
 */
BITSHED_API int bitshed_list_models(
	struct bitshed *b, struct bitshed_model ***ret, struct bitshed_error *reterr);
BITSHED_API void bitshed_models_free(struct bitshed_model **models);

/** bitshed_list_devices() - like bitshed_list_models(). Return: how many */
BITSHED_API int bitshed_list_devices(
	struct bitshed *b, struct bitshed_device ***ret, struct bitshed_error *reterr);
BITSHED_API void bitshed_devices_free(struct bitshed_device **devices);

/** bitshed_retry_devices() - lift the quarantine of devices, look for them again. Return: kernels that were in it;
 * -ENODEV no worker is installed; -EACCES */
BITSHED_API int bitshed_retry_devices(struct bitshed *b, struct bitshed_error *reterr);

/**
 * struct bitshed_power_input - what the policy knows of the board
 * @source: who says it; @known: false: nobody does
 * @value: in @unit; truths are 0 or 1; @text: the value, where it is a word
 * @since_nsec: CLOCK_MONOTONIC, when it became so
 */
struct bitshed_power_input {
	char *name, *source, *unit, *text;
	bool known;
	double value;
	uint64_t since_nsec;
};

/** bitshed_list_power_inputs() - for bitshed_power_inputs_free(). Return: how many, or negative errno */
BITSHED_API int bitshed_list_power_inputs(
	struct bitshed *b, struct bitshed_power_input **ret, struct bitshed_error *reterr);
BITSHED_API void bitshed_power_inputs_free(struct bitshed_power_input *inputs, size_t n);

/**
 * bitshed_hold() - keep @model from running at less than @min_bits
 * @min_bits: 1 to the model's maximum; @reason: for a person, 1 to 256 bytes
 *
 * Ends with the last close of the descriptor, with the process, or with the daemon.
 * Return: a descriptor, for bitshed_hold_wait() and close(); -ENOENT no such model; -ERANGE no such
 * width; -EACCES; -EDQUOT too many holds.
 */
BITSHED_API int bitshed_hold(struct bitshed *b, const char *model, double min_bits,
	const char *reason, struct bitshed_error *reterr);

/**
 * bitshed_hold_wait() - is the hold honoured? A hard limit of the policy goes before it
 * @fd: of bitshed_hold(); poll() for POLLIN
 * @timeout_ms: 0: only what is there; negative: as long as it takes
 * @ret_bits: what the policy allows now
 *
 * Return: 1 there is news, told at first and after each change; 0 none in time; -ECONNRESET the
 * daemon has gone, and the hold with it; -EPROTO. Any thread, one at a time.
 */
BITSHED_API int bitshed_hold_wait(int fd, int timeout_ms, bool *ret_honoured, double *ret_bits,
	struct bitshed_error *reterr);

/** struct bitshed_hold_info - who keeps which model at which width; @owner: unique name on the bus */
struct bitshed_hold_info {
	char *model, *reason, *owner;
	uint32_t uid;
	double bits;
	bool honoured;
};

/** bitshed_list_holds() - for bitshed_holds_free(). Return: how many, or negative errno */
BITSHED_API int bitshed_list_holds(
	struct bitshed *b, struct bitshed_hold_info **ret, struct bitshed_error *reterr);
BITSHED_API void bitshed_holds_free(struct bitshed_hold_info *holds, size_t n);

/**
 * bitshed_infer() - one inference over the bus, the easy way
 * @input: @input_bytes bytes, see enum bitshed_input
 * @options: may be NULL
 * @ret_output: *@ret_count floats, for free(); never NULL on success
 * @ret_result: may be NULL
 *
 * Return: 0; -ENOENT no such model; -EAGAIN not ready; -EMSGSIZE @input is not of the model's size;
 * -ERANGE below options->min_bits; -ETIMEDOUT; -EBUSY too many wait; -EDQUOT larger than the bus
 * takes. When a daemon that has served this connection is being restarted, it is waited for, up to
 * 5 seconds.
 */
BITSHED_API int bitshed_infer(struct bitshed *b, const char *model, const void *input,
	size_t input_bytes, const struct bitshed_options *options, float **ret_output,
	size_t *ret_count, struct bitshed_result *ret_result, struct bitshed_error *reterr);

/**
 * bitshed_session_open() - the fast way: memory shared with the daemon
 * @ret: for bitshed_session_close()
 * @slots: requests that may be on their way at once; 1 will do for one after the other
 *
 * The session ends with its connection @b; calls then fail with -ECONNRESET.
 *
 * When the daemon is restarted, the call that notices waits for the next one, up to 5 seconds, even
 * with a time-out of 0, and the session goes on there: pointers stay valid, inputs and outputs keep
 * their contents, requests on their way are sent again, and the number of bitshed_session_fd() stays
 * (epoll must be told of it anew). A session ends for good, with -ECONNRESET, when no daemon comes,
 * when the model has been unloaded, or when it has come back with tensors of other sizes: then it is
 * to be closed, with its pointers, and a new one opened.
 * Return: 0; -ENOENT no such model; -EAGAIN not ready; -EDQUOT a limit; -EPROTO the daemon's memory
 * is not what it says.
 */
BITSHED_API int bitshed_session_open(struct bitshed_session **ret, struct bitshed *b,
	const char *model, uint32_t slots, struct bitshed_error *reterr);

/** bitshed_session_close() - requests on their way are dropped; its pointers end here. Return: NULL
 */
BITSHED_API struct bitshed_session *bitshed_session_close(struct bitshed_session *s);

BITSHED_API uint32_t bitshed_session_slots(const struct bitshed_session *s);

/**
 * bitshed_session_input() - where the input of @slot goes
 *
 * The caller writes here before submitting and must not touch it until the reply.
 * Return: valid until the session is closed; NULL when there is no such slot.
 */
BITSHED_API void *bitshed_session_input(struct bitshed_session *s, uint32_t slot);

/** bitshed_session_output() - where the answer of @slot lies after its reply. Return: as the input
 */
BITSHED_API const float *bitshed_session_output(const struct bitshed_session *s, uint32_t slot);

/** bitshed_session_input_bytes() - Return: bytes of one input of that kind; 0 when the model takes
 * none */
BITSHED_API size_t bitshed_session_input_bytes(
	const struct bitshed_session *s, enum bitshed_input input);

/** bitshed_session_output_count() - Return: floats of one output */
BITSHED_API size_t bitshed_session_output_count(const struct bitshed_session *s);

/**
 * bitshed_session_infer() - submit @slot and wait for its reply
 * @options, @ret_result: may be NULL
 *
 * Replies of other slots that come meanwhile are kept for bitshed_session_wait().
 * Return: 0; -EBUSY @slot is on its way, or too many wait; -ERANGE; -ETIMEDOUT; -EINVAL;
 * -ECONNRESET the session has ended.
 */
BITSHED_API int bitshed_session_infer(struct bitshed_session *s, uint32_t slot,
	const struct bitshed_options *options, struct bitshed_result *ret_result,
	struct bitshed_error *reterr);

/**
 * bitshed_session_submit() - hand @slot to the daemon without waiting
 * @cookie: comes back in the result
 *
 * Return: 0; -EAGAIN the socket is full, wait for a reply first; -EBUSY @slot is on its way;
 * -EINVAL; -ECONNRESET. On failure the slot is still the caller's.
 */
BITSHED_API int bitshed_session_submit(struct bitshed_session *s, uint32_t slot,
	const struct bitshed_options *options, uint64_t cookie, struct bitshed_error *reterr);

/**
 * bitshed_session_wait() - the next reply of any slot
 * @timeout_ms: 0: only what is there; negative: as long as it takes
 * @ret_result: its slot says whose reply it is, also when that request failed
 *
 * Return: 1 a request was served; 0 no reply in time; or negative: with ret_result->slot a slot,
 * that request failed and the slot is the caller's again; with BITSHED_NO_SLOT, -ECONNRESET the
 * session has ended, -EINVAL nothing is on its way, -EPROTO the daemon sent something else.
 */
BITSHED_API int bitshed_session_wait(struct bitshed_session *s, int timeout_ms,
	struct bitshed_result *ret_result, struct bitshed_error *reterr);

/** bitshed_session_fd() - for poll() with POLLIN, then bitshed_session_wait() with 0. Stays the
 * session's */
BITSHED_API int bitshed_session_fd(const struct bitshed_session *s);

enum bitshed_event_type {
	BITSHED_EVENT_ADDED,   /* object */
	BITSHED_EVENT_REMOVED, /* object */
	BITSHED_EVENT_CHANGED, /* object, property, value */
	BITSHED_EVENT_STARTED, /* the daemon */
	BITSHED_EVENT_STOPPED  /* the daemon; its objects are gone without an event each */
};

/**
 * struct bitshed_event - one change
 * @kind: "daemon", "model", "session" or "device"; @name: of the object
 * @property, @value: of BITSHED_EVENT_CHANGED, the value as text, else NULL
 */
struct bitshed_event {
	enum bitshed_event_type type;
	const char *kind, *name, *property, *value;
};

/** bitshed_event_fn - called inside of bitshed_process(); what @event points to ends with the call
 */
typedef void (*bitshed_event_fn)(const struct bitshed_event *event, void *userdata);

/**
 * bitshed_monitor() - hear of changes from now on; the last @fn given is the one called, NULL stops
 *
 * Return: 0.
 */
BITSHED_API int bitshed_monitor(
	struct bitshed *b, bitshed_event_fn fn, void *userdata, struct bitshed_error *reterr);

/**
 * bitshed_process() - call back for what has come
 * @timeout_ms: wait so long for something to come; negative: as long as it takes
 *
 * Return: 1 something was worked on; 0 nothing came; -ECONNRESET the bus has gone.
 */
BITSHED_API int bitshed_process(struct bitshed *b, int timeout_ms, struct bitshed_error *reterr);

/** bitshed_fd() - for poll() with POLLIN, then bitshed_process() with 0. Stays the connection's */
BITSHED_API int bitshed_fd(struct bitshed *b);

/** bitshed_version() - of the library. Return: never NULL */
BITSHED_API const char *bitshed_version(void);

#ifdef __cplusplus
}
#endif

#endif
