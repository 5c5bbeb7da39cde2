/* weir/c/weir.h: weir in a program of any language. C11, and C++17 or newer. Link weir::c, the
 * shared library libweir, which exports these functions and nothing else.
 *
 *   weir_router_options options = weir_router_options_init();
 *   weir_router* router = NULL;
 *   weir_router_create(&options, &router, &error);          give it endpoints:  weir_pool_upsert
 *   weir_decision decision = {0};
 *   weir_decide(router, &query, &decision, &error);         or from HTTP bytes: weir_intake_decide
 *   weir_flight flight = {0};
 *   weir_begin(&decision, 0, &flight, &error);              the request goes to its endpoint
 *   weir_flight_first_token(&flight); weir_flight_finish(&flight, &usage);
 *   weir_decision_release(&decision); weir_router_destroy(&router);
 *
 * Errors. Functions return a weir_code, WEIR_OK on success; a text for people goes into `error`,
 * which may be null, and is left alone on success. A null pointer where one is needed, a wrong
 * struct_size, an unknown flag, and a text with a size but no data are WEIR_INVALID_ARGUMENT
 * everywhere, named in the text; memory that ran out is WEIR_RESOURCE_EXHAUSTED. No exception
 * crosses, nothing prints, nothing aborts.
 *
 * Memory. Everything passed in is borrowed until the call returns, and copied if weir keeps it.
 * Memory is freed by the side that allocated it. Handles may be released in any order: decisions,
 * flights and intakes keep what they need of their router.
 *
 * Threads. Functions on a weir_router may run in any number of threads at once. A decision, a
 * flight and an intake belong to one thread at a time; functions that take a const weir_decision
 * may run in several. weir starts no thread and reads no clock but CLOCK_MONOTONIC or yours. After
 * fork() a router serves parent and child apart, if no other thread was inside weir at that moment;
 * unless a seed was given, each has draws of its own.
 *
 * Versions. Structs that start with struct_size grow at their end within a major version; set the
 * size with the init functions, which also fill in defaults. Structs marked "frozen" never change.
 * A program built for a newer minor than the library's, or another major, is refused by
 * weir_router_create with both numbers. Exported symbols and offsets are frozen by tests/abi.
 *
 * Tags, as in weir/plugin/abi.h: [control] may allocate and block for a short time. [hot] per
 * request: allocates nothing in steady state, never blocks; errors' texts aside. */
#pragma once

#include <string.h>

#include "weir/plugin/abi.h"

#define WEIR_C_API_MAJOR 1u
#define WEIR_C_API_MINOR 0u

#if defined(__GNUC__)
#define WEIR_C_API __attribute__((visibility("default")))
#else
#define WEIR_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Values of weir_code that plugins have no use for. */
enum { WEIR_OUT_OF_RANGE = 11 };

/* ---- Texts and errors --------------------------------------------------------------------- */

/* The text of a C string, which is borrowed; empty for null. */
static inline weir_str weir_text(const char* text) {
  weir_str result = {text, 0};
  if (text != NULL) result.size = strlen(text);
  return result;
}

/* Memory of the caller's that weir writes a text into. Frozen.
 *
 * weir stores up to capacity - 1 bytes and a final 0, and in size how long the whole text is
 * without the 0: it was cut (at a byte, not a character) if size >= capacity. data may be null if
 * capacity is 0. A function whose purpose is the text returns WEIR_RESOURCE_EXHAUSTED when it cut;
 * an error's text is just cut, 256 bytes hold nearly all. */
typedef struct weir_buffer {
  char* data;
  uint64_t capacity;
  uint64_t size;
} weir_buffer;

/* The library's version, "0.1.0". Lives forever. [control, concurrent] */
WEIR_C_API const char* weir_version(void);
/* The library's WEIR_C_API_MAJOR << 16 | WEIR_C_API_MINOR. [control, concurrent] */
WEIR_C_API uint32_t weir_c_api_version(void);
/* "resource_exhausted" for WEIR_RESOURCE_EXHAUSTED; "unknown" for a number that is no code. Ends
 * with a 0 and lives forever. [hot, concurrent] */
WEIR_C_API weir_str weir_code_name(weir_code code);

/* ---- The router --------------------------------------------------------------------------- */

/* One engine: a pipeline, a pool of endpoints, counters. */
typedef struct weir_router weir_router;

enum {
  WEIR_ROUTER_EXPERIMENTAL_PLUGINS = 1, /* plugins of stability alpha may be used */
  /* Endpoints that were never sampled count as idle; else as loaded as the worst sampled one. */
  WEIR_ROUTER_UNSCRAPED_IDLE = 2,
  /* Load columns stay as sampled; else requests begun since the sample are added. */
  WEIR_ROUTER_SAMPLES_ONLY = 4
};

typedef struct weir_router_options {
  uint32_t struct_size;
  uint32_t api_major; /* WEIR_C_API_MAJOR and MINOR of the program */
  uint32_t api_minor;
  uint32_t flags; /* WEIR_ROUTER_... */
  /* The pipeline: a file, or a text (and a name that stands for a file in errors); neither: the
   * default pipeline. Both are an error. YAML or JSON, an EndpointPickerConfig. */
  weir_str config_path;
  weir_str config_text;
  weir_str config_name;
  uint64_t seed;             /* of all draws; 0: taken from the clock */
  int64_t sample_age_ns_max; /* older samples count as none; 0: no limit */
  const weir_str* plugin_files;
  uint64_t plugin_file_count;
  uint32_t decisions_kept; /* by weir_decision_record, 0..1024; default 64 */
  uint32_t reserved;       /* 0 */
  /* A monotonic clock in nanoseconds, for simulations; null: CLOCK_MONOTONIC. Called by any thread
   * that calls weir, at the same time too; must not call weir. It and its context, as those of log,
   * live until the last handle of the router is released. [hot, concurrent] */
  int64_t (*now_ns)(void* context);
  void* now_context;
  /* Receives warnings of configuration and plugins; null: they are dropped. level is WEIR_LOG_...;
   * text is borrowed until return. Called by any thread that calls weir. [control, concurrent] */
  void (*log)(void* context, uint32_t level, weir_str text);
  void* log_context;
} weir_router_options;

static inline weir_router_options weir_router_options_init(void) {
  weir_router_options options;
  memset(&options, 0, sizeof(options));
  options.struct_size = (uint32_t)sizeof(options);
  options.api_major = WEIR_C_API_MAJOR;
  options.api_minor = WEIR_C_API_MINOR;
  options.decisions_kept = 64;
  return options;
}

/* Makes a router and stores it in *router, or null there on failure. Errors: WEIR_NOT_FOUND (file),
 * WEIR_INVALID_ARGUMENT (configuration: file, line, field, value and what was expected, one mistake
 * per line), WEIR_FAILED_PRECONDITION (another version of this API, or of the plugin ABI).
 * [control] */
WEIR_C_API weir_code weir_router_create(const weir_router_options* options, weir_router** router,
                                        weir_buffer* error);
/* Gives up *router and sets it to null; no other call on it is running or follows. Its memory goes
 * when the last decision, flight and intake of it has gone. Null is fine. [control] */
WEIR_C_API void weir_router_destroy(weir_router** router);

/* The pipeline as it runs, one line each: producers, profiles with filters, scorers and weights,
 * plugins that were added. [control, concurrent] */
WEIR_C_API weir_code weir_router_describe(const weir_router* router, weir_buffer* text);

/* Counters since creation. Each is exact; together they are not one instant. */
typedef struct weir_stats {
  uint32_t struct_size;
  uint32_t endpoint_count;
  uint64_t decisions;
  uint64_t decisions_no_endpoint; /* the pool was empty */
  uint64_t decisions_all_dropped; /* filters left nothing */
  uint64_t flights_begun;
  uint64_t flights_ended;
  uint64_t flights_refused; /* above the limit of flights, or without memory */
  uint64_t memory_bytes;    /* held for decisions, with their scratch memory, and flights */
} weir_stats;

static inline weir_stats weir_stats_init(void) {
  weir_stats stats;
  memset(&stats, 0, sizeof(stats));
  stats.struct_size = (uint32_t)sizeof(stats);
  return stats;
}

/* [control, concurrent] */
WEIR_C_API weir_code weir_router_stats(const weir_router* router, weir_stats* stats);
/* The counters, those of each plugin too, as a page in Prometheus' text form; the families are
 * weir_... of docs/metrics.md. [control, concurrent] */
WEIR_C_API weir_code weir_router_metrics(const weir_router* router, weir_buffer* page);
/* Explanations of the recorded decisions, newest first, as a JSON array. [control, concurrent] */
WEIR_C_API weir_code weir_router_recent_decisions(const weir_router* router, weir_buffer* json);

/* ---- Endpoints ---------------------------------------------------------------------------- */

/* One incarnation of an endpoint: removing and adding again gives another. Frozen. */
typedef struct weir_endpoint_id {
  uint32_t slot;
  uint32_t generation;
} weir_endpoint_id;

/* Which members of weir_metrics hold a value. */
enum {
  WEIR_METRIC_WAITING_REQUESTS = 1,
  WEIR_METRIC_RUNNING_REQUESTS = 2,
  WEIR_METRIC_KV_USED_RATIO = 4,
  WEIR_METRIC_KV_BLOCKS = 8, /* kv_block_tokens and kv_block_count */
  WEIR_METRIC_ADAPTERS = 16  /* all of the adapters' members */
};

/* What a model server says about its load. A value that is not present keeps its last one. */
typedef struct weir_metrics {
  uint32_t struct_size;
  uint32_t present;                /* WEIR_METRIC_... */
  uint32_t waiting_requests;       /* queued in the engine */
  uint32_t running_requests;       /* in the engine's batch */
  double kv_used_ratio;            /* of the KV cache; kept within 0..1 */
  uint32_t kv_block_tokens;        /* tokens per KV block */
  uint32_t kv_block_count;         /* blocks of the KV cache */
  const weir_str* active_adapters; /* LoRA adapters that are loaded and used */
  uint64_t active_adapter_count;
  const weir_str* waiting_adapters; /* that requests wait for */
  uint64_t waiting_adapter_count;
  uint32_t adapters_max; /* how many fit at once */
  uint32_t reserved;     /* 0 */
} weir_metrics;

static inline weir_metrics weir_metrics_init(void) {
  weir_metrics metrics;
  memset(&metrics, 0, sizeof(metrics));
  metrics.struct_size = (uint32_t)sizeof(metrics);
  return metrics;
}

/* A label of an endpoint. Frozen. */
typedef struct weir_label {
  weir_str key;
  weir_str value;
} weir_label;

/* A model server. name is unique with namespace_name. */
typedef struct weir_endpoint {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  weir_str name;
  weir_str namespace_name; /* without a slash; empty: "default" */
  weir_str address;        /* "10.0.0.1:8000", "[fd00::1]:8000" or "host:8000" */
  const weir_label* labels;
  uint64_t label_count;
  const weir_metrics* metrics; /* null: none yet */
} weir_endpoint;

static inline weir_endpoint weir_endpoint_init(void) {
  weir_endpoint endpoint;
  memset(&endpoint, 0, sizeof(endpoint));
  endpoint.struct_size = (uint32_t)sizeof(endpoint);
  return endpoint;
}

/* A sample of one endpoint's metrics. */
typedef struct weir_sample {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  weir_endpoint_id id;
  const weir_metrics* metrics;
} weir_sample;

static inline weir_sample weir_sample_init(void) {
  weir_sample sample;
  memset(&sample, 0, sizeof(sample));
  sample.struct_size = (uint32_t)sizeof(sample);
  return sample;
}

/* Adds the endpoint, or replaces address, labels and present metrics of the one with its name. id
 * may be null. Each call publishes a new snapshot, O(endpoints). Errors: WEIR_INVALID_ARGUMENT
 * (field named), WEIR_RESOURCE_EXHAUSTED at 4,096 endpoints. [control, concurrent] */
WEIR_C_API weir_code weir_pool_upsert(weir_router* router, const weir_endpoint* endpoint,
                                      weir_endpoint_id* id, weir_buffer* error);
/* Decisions that name the endpoint stay valid. An empty namespace_name is "default". Errors:
 * WEIR_NOT_FOUND. [control, concurrent] */
WEIR_C_API weir_code weir_pool_remove(weir_router* router, weir_str name, weir_str namespace_name,
                                      weir_buffer* error);
/* Makes the pool hold exactly these. Invalid ones are skipped; the error lists each, the others are
 * in use. [control, concurrent] */
WEIR_C_API weir_code weir_pool_replace(weir_router* router, const weir_endpoint* const* endpoints,
                                       uint64_t count, weir_buffer* error);
/* Which metrics the pipeline reads, WEIR_METRIC_...: others need not be sampled. 0 for null.
 * [control, concurrent] */
WEIR_C_API uint32_t weir_router_needs(const weir_router* router);
/* Says that a sample of this endpoint is being taken now: requests begun before are known to it.
 * Optional; without it a sample counts as taken when it is applied. [control, concurrent] */
WEIR_C_API weir_code weir_pool_sample_started(weir_router* router, weir_endpoint_id id);
/* Applies samples and publishes once. Unknown ids are ignored; if one of the samples is malformed,
 * none is applied. [control, concurrent] */
WEIR_C_API weir_code weir_pool_apply_samples(weir_router* router, const weir_sample* const* samples,
                                             uint64_t count, weir_buffer* error);
/* Requests begun on this endpoint and not ended; 0 for an unknown id. [hot, concurrent] */
WEIR_C_API uint32_t weir_pool_in_flight(const weir_router* router, weir_endpoint_id id);

/* ---- Decisions ---------------------------------------------------------------------------- */

/* Where a request goes, in the caller's memory: all zeros when empty. May be moved by copying its
 * bytes, if only one copy is used from then on. Release it, or decide into it again. Frozen. */
typedef struct weir_decision {
  void* opaque[2];
} weir_decision;

enum {
  WEIR_QUERY_STREAM = 1,       /* the client asked for an event stream */
  WEIR_QUERY_SUBSET = 2,       /* only endpoints of subset may serve it, none if that is empty */
  WEIR_QUERY_IF_AVAILABLE = 4, /* refuse unless the first target holds a part of the prompt */
  WEIR_QUERY_ANY_ENDPOINT = 8  /* skip scorers, draw among what filters leave */
};

/* A request that is already parsed: token ids, texts or media. */
typedef struct weir_query {
  uint32_t struct_size;
  uint32_t api;   /* WEIR_API_... */
  uint32_t flags; /* WEIR_QUERY_... */
  int32_t priority;
  weir_str id; /* x-request-id */
  weir_str model;
  weir_str cache_salt;
  weir_str objective;
  weir_str fairness_id;
  weir_str subset;           /* "10.0.0.1:8000,10.0.0.2": addresses with a port, or for all ports */
  int64_t max_output_tokens; /* -1: the client gave none */
  uint64_t size_bytes;       /* of the body */
  const weir_header* headers; /* names in lower case; at most 128 */
  uint64_t header_count;
  const weir_prompt* prompts; /* no heap for up to 8 of them with 32 parts together */
  uint64_t prompt_count;      /* at most 2,048, with 16,384 parts together */
} weir_query;

static inline weir_query weir_query_init(void) {
  weir_query query;
  memset(&query, 0, sizeof(query));
  query.struct_size = (uint32_t)sizeof(query);
  query.max_output_tokens = -1;
  return query;
}

/* A prompt of token ids, or of one text part; what it points to is borrowed. */
static inline weir_prompt weir_prompt_of_tokens(const uint32_t* tokens, uint64_t token_count) {
  weir_prompt prompt = {NULL, 0, tokens, token_count};
  return prompt;
}
static inline weir_prompt weir_prompt_of_parts(const weir_part* parts, uint64_t part_count) {
  weir_prompt prompt = {parts, part_count, NULL, 0};
  return prompt;
}
static inline weir_part weir_part_of_text(weir_str text) {
  weir_part part = {WEIR_PART_TEXT, 0, text};
  return part;
}

/* Chooses endpoints for the request. What *decision held is released first; it is empty on failure.
 * Plugins see headers and prompts during this call only. Errors: WEIR_UNAVAILABLE (empty pool or
 * subset), WEIR_RESOURCE_EXHAUSTED (filters left nothing, or too much scratch memory),
 * WEIR_FAILED_PRECONDITION (WEIR_QUERY_IF_AVAILABLE, and nothing of the prompt is held),
 * WEIR_OUT_OF_RANGE (more headers, prompts or parts than weir takes), WEIR_INTERNAL (plugin). Their
 * texts may be shown to clients. [hot, concurrent] */
WEIR_C_API weir_code weir_decide(const weir_router* router, const weir_query* query,
                                 weir_decision* decision, weir_buffer* error);

/* weir_decide for queries[i] into decisions[i], in order. codes[i] says how each went; errors is
 * null, or one buffer for each. Returns the first code that is not WEIR_OK; the others are decided
 * all the same. A null array is refused before anything is written. [hot, concurrent] */
WEIR_C_API weir_code weir_decide_batch(const weir_router* router, const weir_query* const* queries,
                                       uint64_t count, weir_decision* decisions, weir_code* codes,
                                       weir_buffer* errors);

/* How a request was admitted: the codes and texts of weir_decide. error is borrowed until return.
 */
typedef void (*weir_admitted)(void* context, weir_code code, weir_str error);

/* weir_decide through flow control. If this returns WEIR_OK, `admitted` is called exactly once,
 * then or later: it may run before this returns, and in another thread that calls weir. query with
 * all it points to, and decision, must stay where they are until then. In this version nothing
 * waits: it runs before this returns. [hot, concurrent] */
WEIR_C_API weir_code weir_admit(const weir_router* router, const weir_query* query,
                                weir_decision* decision, weir_admitted admitted, void* context,
                                weir_buffer* error);

/* One chosen endpoint. Texts live as long as the decision. Frozen. */
typedef struct weir_target {
  weir_endpoint_id id;
  weir_str name; /* "namespace/name" */
  weir_str address;
} weir_target;

/* Stores up to capacity targets, the primary first, then fallbacks, best first, and in *count how
 * many there are: at most 16. An empty decision has 0. [hot, concurrent] */
WEIR_C_API weir_code weir_decision_targets(const weir_decision* decision, weir_target* targets,
                                           uint64_t capacity, uint64_t* count);
/* The same with the headers that the request to the endpoint should carry,
 * x-gateway-destination-endpoint first. They live as long as the decision. [hot, concurrent] */
WEIR_C_API weir_code weir_decision_headers(const weir_decision* decision, weir_header* headers,
                                           uint64_t capacity, uint64_t* count);
/* Why it came out so: for each endpoint what filters, scorers and picker said. As JSON, or as a
 * table. WEIR_FAILED_PRECONDITION for an empty decision. [control, concurrent] */
WEIR_C_API weir_code weir_decision_json(const weir_decision* decision, weir_buffer* json);
WEIR_C_API weir_code weir_decision_text(const weir_decision* decision, weir_buffer* text);
/* Moves it to those that weir_router_recent_decisions shows; *decision is empty then.
 * WEIR_FAILED_PRECONDITION for an empty one. [hot] */
WEIR_C_API weir_code weir_decision_record(weir_decision* decision);
/* Lets go of it; *decision is empty then. An empty one or null is fine. [hot] */
WEIR_C_API void weir_decision_release(weir_decision* decision);

/* ---- Requests as they arrive over HTTP ----------------------------------------------------- */

/* Reads requests with the parsers, objectives and model rewrites of one router. One thread at a
 * time: make one for each thread. */
typedef struct weir_intake weir_intake;

/* seed: of the draws among weighted rewrites; 0: from the router's clock. [control] */
WEIR_C_API weir_code weir_intake_create(const weir_router* router, uint64_t seed,
                                        weir_intake** intake, weir_buffer* error);
/* Null is fine; *intake is null then. [control] */
WEIR_C_API void weir_intake_destroy(weir_intake** intake);

enum {
  WEIR_HTTP_HEADERS_ONLY = 1,   /* no body: any endpoint that subset and filters leave will do */
  WEIR_HTTP_MODEL_OPTIONAL = 2, /* a body that names no model is fine */
  WEIR_HTTP_SUBSET = 4          /* as WEIR_QUERY_SUBSET */
};

typedef struct weir_http_request {
  uint32_t struct_size;
  uint32_t flags; /* WEIR_HTTP_... */
  /* "/v1/chat/completions"; empty: the header ":path", or "/v1/completions" without one. */
  weir_str path;
  const weir_header* headers; /* names in lower case; of one name the last counts */
  uint64_t header_count;
  weir_str body;
  uint64_t padding_bytes; /* that may be read after the body; with 64 or more it is not copied */
  weir_str subset;
} weir_http_request;

static inline weir_http_request weir_http_request_init(void) {
  weir_http_request request;
  memset(&request, 0, sizeof(request));
  request.struct_size = (uint32_t)sizeof(request);
  return request;
}

enum {
  WEIR_HTTP_STREAM = 1,       /* the client asked for an event stream */
  WEIR_HTTP_BODY_CHANGED = 2, /* body is not the original */
};

/* What was found out. Texts point into the request or the intake, until its next call. */
typedef struct weir_http_result {
  uint32_t struct_size;
  uint32_t flags;          /* WEIR_HTTP_STREAM, WEIR_HTTP_BODY_CHANGED */
  weir_str parser;         /* type that read the body, "openai-parser" */
  weir_str incoming_model; /* as in the body */
  weir_str target_model;   /* that the upstream is asked for */
  weir_str body[3];        /* what goes upstream, these pieces in this order */
} weir_http_result;

static inline weir_http_result weir_http_result_init(void) {
  weir_http_result result;
  memset(&result, 0, sizeof(result));
  result.struct_size = (uint32_t)sizeof(result);
  return result;
}

/* Reads the request and decides. result may be null; it is filled when the body could be read, also
 * if there is no decision. Errors: those of weir_decide, and WEIR_INVALID_ARGUMENT with a text for
 * the client (no parser for the path, malformed body, missing field), WEIR_OUT_OF_RANGE (body above
 * 64 MiB, too many prompts). [hot] */
WEIR_C_API weir_code weir_intake_decide(weir_intake* intake, const weir_http_request* request,
                                        weir_decision* decision, weir_http_result* result,
                                        weir_buffer* error);

/* ---- Requests in flight ------------------------------------------------------------------- */

/* A request on its way, in the caller's memory: all zeros when empty. Moved as a decision. Frozen.
 */
typedef struct weir_flight {
  void* opaque[2];
} weir_flight;

/* Counts the request as in flight on a target of the decision: 0 for the primary, another if a
 * fallback took over. A flight that *flight held ends as WEIR_END_FAILED first. The decision may be
 * released any time after. Errors: WEIR_FAILED_PRECONDITION (empty decision), WEIR_OUT_OF_RANGE
 * (no such target), WEIR_RESOURCE_EXHAUSTED (1,048,576 in flight; serve the request uncounted).
 * [hot] */
WEIR_C_API weir_code weir_begin(const weir_decision* decision, uint32_t target_index,
                                weir_flight* flight, weir_buffer* error);
/* The first token, or the first byte of the response's body, came. Later calls do nothing.
 * WEIR_FAILED_PRECONDITION for an empty flight. [hot] */
WEIR_C_API weir_code weir_flight_first_token(weir_flight* flight);

static inline weir_usage weir_usage_init(void) {
  weir_usage usage = {(uint32_t)sizeof(weir_usage), 0, -1, -1, -1};
  return usage;
}

/* Ends the flight: usage->end is WEIR_END_..., null: completed, token counts unknown. *flight is
 * empty then. WEIR_FAILED_PRECONDITION for one that is empty. [hot] */
WEIR_C_API weir_code weir_flight_finish(weir_flight* flight, const weir_usage* usage);

#ifdef __cplusplus
}
#endif
