/* weir/plugin/abi.h: the border between weir and its plugins. C11 and C++17.
 *
 * A plugin library exports one function, weir_plugin_module, which returns a constant description
 * of the plugin types in it. Built-in plugins come through the same tables.
 *
 * Rules: every struct that may grow starts with struct_size; members are only appended, never
 * reordered or reused; a reader checks WEIR_HAS for everything newer than ABI 1.0. Value structs
 * (marked "frozen") never change. A pointer is borrowed until the call returns unless its comment
 * says otherwise. Memory is freed by the side that allocated it. No C++ type and no exception
 * crosses. Offsets are frozen by tests/abi.
 *
 * Tags: [control] configuration time, serial per object, may allocate and block. [hot] per request:
 * no allocation, no lock, no I/O, no clock. "concurrent": may run in several threads at once on one
 * object; "serial": may not. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WEIR_ABI_MAJOR 1u
#define WEIR_ABI_MINOR 2u

/* True if the struct that p points to is new enough to have the member: its writer knew it,
 * and so did the compiler that built this line. */
#define WEIR_HAS(type, p, member) ((p)->struct_size >= offsetof(type, member) + sizeof((p)->member))

#ifdef __cplusplus
extern "C" {
#endif

/* An absl::StatusCode value; 0 is ok. */
typedef int32_t weir_code;
enum {
  WEIR_OK = 0,
  WEIR_INVALID_ARGUMENT = 3,
  WEIR_NOT_FOUND = 5,
  WEIR_RESOURCE_EXHAUSTED = 8,
  WEIR_FAILED_PRECONDITION = 9,
  WEIR_UNIMPLEMENTED = 12,
  WEIR_INTERNAL = 13,
  WEIR_UNAVAILABLE = 14
};

/* UTF-8 text without a final 0. data may be null when size is 0. Frozen. */
typedef struct weir_str {
  const char* data;
  uint64_t size;
} weir_str;

/* ---- The request ------------------------------------------------------------------------- */

/* A request header. The name is lower case. Frozen. */
typedef struct weir_header {
  weir_str name;
  weir_str value;
} weir_header;

enum { WEIR_PART_TEXT = 0, WEIR_PART_IMAGE = 1, WEIR_PART_VIDEO = 2, WEIR_PART_AUDIO = 3 };

/* A piece of a prompt: decoded text, or the URL or base64 data of a media asset. Frozen. */
typedef struct weir_part {
  uint32_t kind;
  uint32_t reserved;
  weir_str bytes;
} weir_part;

/* One prompt. Text of a first and only text part is 4-byte aligned and followed by zero bytes up to
 * the next multiple of 4. tokens is null until a token producer has run, and again, with its count
 * kept, in an observer's begin after the request's memory is gone. Frozen. */
typedef struct weir_prompt {
  const weir_part* parts;
  uint64_t part_count;
  const uint32_t* tokens;
  uint64_t token_count;
} weir_prompt;

enum {
  WEIR_API_OTHER = 0,
  WEIR_API_COMPLETIONS = 1,
  WEIR_API_CHAT_COMPLETIONS = 2,
  WEIR_API_EMBEDDINGS = 3,
  WEIR_API_RESPONSES = 4,
  WEIR_API_MESSAGES = 5,
  WEIR_API_CONVERSATIONS = 6,
  WEIR_API_GENERATE = 7, /* token ids, as vLLM's and SGLang's own interfaces take them */
  WEIR_API_IMAGES = 8
};

enum { WEIR_REQUEST_STREAM = 1 };

typedef struct weir_request {
  uint32_t struct_size;
  uint32_t api;   /* WEIR_API_... */
  uint32_t flags; /* WEIR_REQUEST_... */
  int32_t priority;
  weir_str id;
  weir_str model;
  weir_str cache_salt;
  weir_str fairness_id;
  int64_t max_output_tokens; /* the client's limit, -1 if it gave none */
  uint64_t size_bytes;       /* of the body */
  const weir_header* headers;
  uint64_t header_count;
  const weir_prompt* prompts;
  uint64_t prompt_count;
} weir_request;

/* ---- The endpoints ----------------------------------------------------------------------- */

/* sample_age_ms of an endpoint whose metrics were never read. */
#define WEIR_AGE_NEVER UINT32_MAX

/* A label value that no endpoint carries, and the label of an endpoint that has none. */
#define WEIR_LABEL_ABSENT 0u
#define WEIR_LABEL_UNKNOWN UINT32_MAX

/* Candidate endpoints as columns: each array has `count` elements, one per endpoint, in pool order.
 * A filter and a producer see all candidates; a scorer and a picker see those that the filters
 * left. Load columns already hold what weir has sent since the last sample. [hot] */
typedef struct weir_batch {
  uint32_t struct_size;
  uint32_t count;        /* 1 .. endpoints_max */
  uint64_t pool_epoch;   /* changes when endpoints, addresses or labels change */
  const uint32_t* slots; /* small integers below endpoints_max, stable while the endpoint lives */
  const weir_str* names;
  const weir_str* addresses;        /* "ip:port", "[ipv6]:port" or "host:port" */
  const uint32_t* waiting_requests; /* queued in the engine */
  const uint32_t* running_requests; /* in the engine's batch */
  const float* kv_used_ratio;       /* 0..1 of the KV cache */
  const uint32_t* sample_age_ms;    /* age of these numbers, or WEIR_AGE_NEVER */
  const uint32_t* kv_block_tokens;  /* the engine's KV block size, 0 if unknown */
  const uint32_t* kv_block_count;   /* the engine's KV blocks, 0 if unknown */
  /* One entry per attribute the plugin declared, in its order: the column, or null if nobody
   * produces it. Elements have the declared size. A plugin is not asked, and that counts as a
   * failure of it, while a column it requires is missing because its producer failed; only an
   * observer's begin may then find null there. */
  const void* const* columns;
} weir_batch;

/* ---- Attributes -------------------------------------------------------------------------- */

/* Element types that several plugins share. Frozen. */
typedef struct weir_prefix_match { /* type "weir.prefix_match/1" */
  uint32_t matched_blocks;         /* leading blocks of the prompt that the endpoint holds */
  uint32_t total_blocks;           /* blocks of the prompt */
  uint32_t block_tokens;
  uint32_t reserved;
} weir_prefix_match;

typedef struct weir_in_flight_load { /* type "weir.in_flight_load/1" */
  int64_t requests;
  int64_t tokens;
} weir_in_flight_load;

/* A scraped value of an endpoint has the type "f64"; NaN where the endpoint never gave one. */

/* What an endpoint says about one LoRA adapter, since ABI 1.1. Frozen. */
enum { WEIR_ADAPTER_ABSENT = 0, WEIR_ADAPTER_ACTIVE = 1, WEIR_ADAPTER_WAITING = 2 };
typedef struct weir_adapter {
  uint32_t state;        /* WEIR_ADAPTER_...; waiting: requests wait for it to be loaded */
  uint32_t used;         /* adapters that are active, and that are waited for */
  uint32_t adapters_max; /* how many fit at once, 0 if the engine did not say */
  uint32_t reserved;
} weir_adapter;

enum {
  WEIR_ATTRIBUTE_READ = 1,     /* required: somebody must produce it */
  WEIR_ATTRIBUTE_OPTIONAL = 2, /* with READ: a null column is fine */
  WEIR_ATTRIBUTE_WRITE = 4,    /* this plugin is a producer of it */
  WEIR_ATTRIBUTE_REQUEST = 8   /* belongs to the request (prompt tokens): an order, not a column */
};

/* A column of one value per endpoint that travels from a producer to its readers. The key is
 * (name, producer instance); a reader's producer is the one that its parameter names, else the only
 * instance of the pipeline that writes `name`, else `default_producer`, which weir adds. */
typedef struct weir_attribute {
  uint32_t struct_size;
  uint32_t flags; /* WEIR_ATTRIBUTE_... */
  weir_str name;  /* as in the configuration language, e.g. "PrefixCacheMatchInfoDataKey" */
  weir_str type;  /* reader and writer must agree, e.g. "weir.prefix_match/1", "f64" */
  uint32_t element_bytes;
  uint32_t reserved;
  weir_str default_producer;   /* plugin type, may be empty */
  weir_str producer_parameter; /* string parameter of the reader that names it, may be empty */
} weir_attribute;

/* ---- Services of the host ---------------------------------------------------------------- */

typedef struct weir_host weir_host;
typedef struct weir_call weir_call;
typedef struct weir_params weir_params;
typedef struct weir_plugin weir_plugin;

enum { WEIR_LOG_DEBUG = 0, WEIR_LOG_INFO = 1, WEIR_LOG_WARNING = 2, WEIR_LOG_ERROR = 3 };

struct weir_host {
  uint32_t struct_size;
  uint32_t abi_minor; /* of the host */
#define WEIR_SLOT(result, name, arguments) result(*name) arguments;
#include "weir/plugin/host_slots.h"
#undef WEIR_SLOT
};

/* One decision in progress; the first argument of every hot call. [hot] */
struct weir_call {
  uint32_t struct_size;
  uint32_t reserved;
  const weir_host* host;
  int64_t now_ns; /* injected monotonic time of this decision */
};

/* The parameters of one plugin instance, at create; read them through the host's param_ slots.
 * [control] */
struct weir_params {
  uint32_t struct_size;
  uint32_t reserved;
  const weir_host* host;
  weir_str instance_name;
  weir_str json; /* the whole object, "{}" if the configuration has none */
  /* Since 1.2. The type whose create is called, so that types made at run time may share one. */
  const weir_plugin* plugin;
};

/* ---- Interfaces -------------------------------------------------------------------------- */

#define WEIR_INTERFACE_FILTER "weir.filter/1"
typedef struct weir_filter {
  uint32_t struct_size;
  uint32_t flags; /* 0 */
  /* keep has one bit per endpoint of the batch, bit i in word i / 64, and is preset with the
   * endpoints that earlier filters left. Clears bit i for each endpoint that must not serve the
   * request; a bit it sets is ignored and counted. On another code than 0 the host ignores this
   * filter for this request and counts the failure. [hot, concurrent] */
  weir_code (*apply)(void* self, const weir_call* call, const weir_request* request,
                     const weir_batch* batch, uint64_t* keep);
} weir_filter;

#define WEIR_INTERFACE_SCORER "weir.scorer/1"
typedef struct weir_scorer {
  uint32_t struct_size;
  uint32_t flags; /* 0 */
  /* Writes score[i], higher is better, for each endpoint of the batch. The host presets 0, clamps
   * to 0..1, takes NaN for 0 and counts it, then adds score times weight. On another code than 0
   * the scorer counts as 0 for all. [hot, concurrent] */
  weir_code (*score)(void* self, const weir_call* call, const weir_request* request,
                     const weir_batch* batch, double* score);
} weir_scorer;

#define WEIR_INTERFACE_PICKER "weir.picker/1"
typedef struct weir_picker {
  uint32_t struct_size;
  uint32_t flags; /* 0 */
  /* Writes up to index_max distinct indices below batch->count, best first, and their number to
   * *index_count; the first serves the request, the rest are fallbacks. score[i] is the weighted
   * sum. No index means that the profile failed. An index that repeats or is too large is dropped
   * and counted. [hot, concurrent] */
  weir_code (*pick)(void* self, const weir_call* call, const weir_request* request,
                    const weir_batch* batch, const double* score, uint32_t* index,
                    uint32_t index_max, uint32_t* index_count);
} weir_picker;

enum { WEIR_PROFILE_NOT_RUN = 0, WEIR_PROFILE_PICKED = 1, WEIR_PROFILE_FAILED = 2 };

/* What a profile handler sees: the profiles in the order of the configuration. */
typedef struct weir_profiles {
  uint32_t struct_size;
  uint32_t count; /* 1 .. 16 */
  const weir_str* names;
  const uint32_t* states;        /* WEIR_PROFILE_... */
  const uint32_t* primary_slots; /* slot of the first pick; only where PICKED */
} weir_profiles;

#define WEIR_INTERFACE_PROFILE_HANDLER "weir.profile_handler/1"
typedef struct weir_profile_handler {
  uint32_t struct_size;
  uint32_t profiles_max; /* how many profiles it can handle, 0 for no limit of its own */
  /* Sets bit i of *run for each profile to run now; called again after they ran, until it sets
   * none. A profile that ran is not run again. [hot, concurrent] */
  weir_code (*next)(void* self, const weir_call* call, const weir_request* request,
                    const weir_profiles* profiles, uint64_t* run);
  /* Writes the index of the profile whose first pick serves the request. Another code than 0 means
   * that the request cannot be placed. [hot, concurrent] */
  weir_code (*finish)(void* self, const weir_call* call, const weir_request* request,
                      const weir_profiles* profiles, uint32_t* primary);
} weir_profile_handler;

#define WEIR_INTERFACE_PRODUCER "weir.producer/1"
typedef struct weir_producer {
  uint32_t struct_size;
  uint32_t flags; /* 0 */
  /* Fills columns[i], batch->count elements preset with zero bytes, for each attribute i that the
   * plugin declared with WEIR_ATTRIBUTE_WRITE; columns[i] is null for the others. Producers run in
   * the order of their attributes, ties in the order of the configuration. On another code than 0
   * its columns count as not produced. request_state points to request_state_bytes of zeros,
   * 8-byte aligned, that the plugin's observer gets back in begin. [hot, concurrent] */
  weir_code (*produce)(void* self, const weir_call* call, const weir_request* request,
                       const weir_batch* batch, void* const* columns, void* request_state);
  uint64_t request_state_bytes;
} weir_producer;

/* Which endpoints a decision chose. */
typedef struct weir_choice {
  uint32_t struct_size;
  uint32_t count;                /* of profiles that picked; the primary profile is element 0 */
  const uint32_t* slots;         /* first pick of each */
  const uint32_t* batch_indices; /* the same as indices into the batch that produce saw */
  const weir_str* profile_names;
} weir_choice;

enum { WEIR_END_COMPLETED = 0, WEIR_END_CLIENT_GONE = 1, WEIR_END_FAILED = 2 };

/* How a request ended. */
typedef struct weir_usage {
  uint32_t struct_size;
  uint32_t end;          /* WEIR_END_... */
  int64_t prompt_tokens; /* -1 where the engine did not say */
  int64_t cached_tokens;
  int64_t output_tokens;
} weir_usage;

/* Feedback. A slot that is null is not called. */
#define WEIR_INTERFACE_OBSERVER "weir.observer/1"
typedef struct weir_observer {
  uint32_t struct_size;
  uint32_t flight_state_bytes; /* at most 64 */
  /* The request goes to choice now. flight_state is flight_state_bytes of zeros, 8-byte aligned,
   * that live until end. request and batch are those that produce saw; request_state is null if the
   * plugin is no producer or its produce failed. [hot, concurrent] */
  void (*begin)(void* self, const weir_call* call, const weir_request* request,
                const weir_batch* batch, const weir_choice* choice, const void* request_state,
                void* flight_state);
  /* At most once, before end, in any thread, never beside another call for the same request.
   * [hot, concurrent] */
  void (*first_token)(void* self, void* flight_state);
  /* Exactly once for each begin, on every path. [hot, concurrent] */
  void (*end)(void* self, void* flight_state, const weir_usage* usage);
  /* The endpoint of this slot is gone and no request on it is in flight; the slot may be given to
   * another endpoint afterwards. [control, concurrent with hot calls] */
  void (*endpoint_removed)(void* self, uint32_t slot);
} weir_observer;

/* ---- The description of a library ---------------------------------------------------------- */

typedef struct weir_interface {
  uint32_t struct_size;
  uint32_t reserved;
  weir_str id;       /* WEIR_INTERFACE_... */
  const void* table; /* of the struct that the id names */
} weir_interface;

enum { WEIR_STABILITY_ALPHA = 0, WEIR_STABILITY_BETA = 1, WEIR_STABILITY_STABLE = 2 };

/* Which load columns a plugin reads, so that only those are scraped. 0: it did not say, all are. */
enum {
  WEIR_LOAD_DECLARED = 1,
  WEIR_LOAD_WAITING_REQUESTS = 2,
  WEIR_LOAD_RUNNING_REQUESTS = 4,
  WEIR_LOAD_KV_USED_RATIO = 8,
  WEIR_LOAD_KV_BLOCKS = 16,
  WEIR_LOAD_ADAPTERS = 32
};

/* One plugin type. All pointers live forever. */
struct weir_plugin {
  uint32_t struct_size;
  uint32_t stability;     /* WEIR_STABILITY_...; alpha needs allow_experimental_plugins */
  weir_str type;          /* as in the configuration, e.g. "queue-scorer" */
  weir_str replaced_by;   /* not empty: this type is deprecated, use that one */
  weir_str params_schema; /* JSON Schema of the parameters; empty: the keys that create reads */
  const weir_interface* const* interfaces;
  uint64_t interface_count;
  const weir_attribute* const* attributes;
  uint64_t attribute_count;
  /* Makes an instance. Parameters that the schema or the reads do not know are an error of the
   * host's, before or after this call. On failure calls params->host->param_fail with a text.
   * [control] */
  weir_code (*create)(const weir_params* params, void** self);
  /* No call on self is running or follows. [control] */
  void (*destroy)(void* self);
  uint64_t load_columns; /* WEIR_LOAD_... */
};

typedef struct weir_module {
  uint32_t struct_size;
  uint32_t abi_major;     /* WEIR_ABI_MAJOR at build time */
  uint32_t abi_minor;     /* WEIR_ABI_MINOR at build time */
  uint32_t abi_minor_min; /* the oldest host minor it can work with */
  weir_str name;
  weir_str version;
  const weir_plugin* const* plugins;
  uint64_t plugin_count;
} weir_module;

/* The one exported symbol. Pure: no I/O, no thread, no registration; the result lives forever.
 * [control, concurrent] */
#define WEIR_PLUGIN_SYMBOL_NAME "weir_plugin_module"
typedef const weir_module* (*weir_plugin_module_fn)(void);

#ifdef __cplusplus
}
#endif
