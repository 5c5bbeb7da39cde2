/* c_layout.h: the frozen layout of the C API 1.0. A line that fails here means that a program which
 * was built before would read the wrong bytes: append at the end of a struct instead, and add a
 * line. 64-bit targets. */
#pragma once

#include "layout.h"
#include "weir/c/weir.h"

WEIR_ASSERT(WEIR_C_API_MAJOR == 1);
/* A new minor adds lines below and changes this number. */
WEIR_ASSERT(WEIR_C_API_MINOR == 0);

/* Frozen: never another size. */
WEIR_SIZE(weir_buffer, 24);
WEIR_AT(weir_buffer, data, 0);
WEIR_AT(weir_buffer, capacity, 8);
WEIR_AT(weir_buffer, size, 16);
WEIR_SIZE(weir_endpoint_id, 8);
WEIR_AT(weir_endpoint_id, slot, 0);
WEIR_AT(weir_endpoint_id, generation, 4);
WEIR_SIZE(weir_label, 32);
WEIR_AT(weir_label, key, 0);
WEIR_AT(weir_label, value, 16);
WEIR_SIZE(weir_target, 40);
WEIR_AT(weir_target, id, 0);
WEIR_AT(weir_target, name, 8);
WEIR_AT(weir_target, address, 24);
WEIR_SIZE(weir_decision, 16);
WEIR_AT(weir_decision, opaque, 0);
WEIR_SIZE(weir_flight, 16);
WEIR_AT(weir_flight, opaque, 0);

/* Growable: members stay where they are; sizes are those of 1.0 or more. */

WEIR_ASSERT(sizeof(weir_router_options) >= 136);
WEIR_AT(weir_router_options, struct_size, 0);
WEIR_AT(weir_router_options, api_major, 4);
WEIR_AT(weir_router_options, api_minor, 8);
WEIR_AT(weir_router_options, flags, 12);
WEIR_AT(weir_router_options, config_path, 16);
WEIR_AT(weir_router_options, config_text, 32);
WEIR_AT(weir_router_options, config_name, 48);
WEIR_AT(weir_router_options, seed, 64);
WEIR_AT(weir_router_options, sample_age_ns_max, 72);
WEIR_AT(weir_router_options, plugin_files, 80);
WEIR_AT(weir_router_options, plugin_file_count, 88);
WEIR_AT(weir_router_options, decisions_kept, 96);
WEIR_AT(weir_router_options, now_ns, 104);
WEIR_AT(weir_router_options, now_context, 112);
WEIR_AT(weir_router_options, log, 120);
WEIR_AT(weir_router_options, log_context, 128);

WEIR_ASSERT(sizeof(weir_stats) >= 64);
WEIR_AT(weir_stats, struct_size, 0);
WEIR_AT(weir_stats, endpoint_count, 4);
WEIR_AT(weir_stats, decisions, 8);
WEIR_AT(weir_stats, decisions_no_endpoint, 16);
WEIR_AT(weir_stats, decisions_all_dropped, 24);
WEIR_AT(weir_stats, flights_begun, 32);
WEIR_AT(weir_stats, flights_ended, 40);
WEIR_AT(weir_stats, flights_refused, 48);
WEIR_AT(weir_stats, memory_bytes, 56);

WEIR_ASSERT(sizeof(weir_metrics) >= 72);
WEIR_AT(weir_metrics, struct_size, 0);
WEIR_AT(weir_metrics, present, 4);
WEIR_AT(weir_metrics, waiting_requests, 8);
WEIR_AT(weir_metrics, running_requests, 12);
WEIR_AT(weir_metrics, kv_used_ratio, 16);
WEIR_AT(weir_metrics, kv_block_tokens, 24);
WEIR_AT(weir_metrics, kv_block_count, 28);
WEIR_AT(weir_metrics, active_adapters, 32);
WEIR_AT(weir_metrics, active_adapter_count, 40);
WEIR_AT(weir_metrics, waiting_adapters, 48);
WEIR_AT(weir_metrics, waiting_adapter_count, 56);
WEIR_AT(weir_metrics, adapters_max, 64);

WEIR_ASSERT(sizeof(weir_endpoint) >= 80);
WEIR_AT(weir_endpoint, struct_size, 0);
WEIR_AT(weir_endpoint, name, 8);
WEIR_AT(weir_endpoint, namespace_name, 24);
WEIR_AT(weir_endpoint, address, 40);
WEIR_AT(weir_endpoint, labels, 56);
WEIR_AT(weir_endpoint, label_count, 64);
WEIR_AT(weir_endpoint, metrics, 72);

WEIR_ASSERT(sizeof(weir_sample) >= 24);
WEIR_AT(weir_sample, struct_size, 0);
WEIR_AT(weir_sample, id, 8);
WEIR_AT(weir_sample, metrics, 16);

WEIR_ASSERT(sizeof(weir_query) >= 160);
WEIR_AT(weir_query, struct_size, 0);
WEIR_AT(weir_query, api, 4);
WEIR_AT(weir_query, flags, 8);
WEIR_AT(weir_query, priority, 12);
WEIR_AT(weir_query, id, 16);
WEIR_AT(weir_query, model, 32);
WEIR_AT(weir_query, cache_salt, 48);
WEIR_AT(weir_query, objective, 64);
WEIR_AT(weir_query, fairness_id, 80);
WEIR_AT(weir_query, subset, 96);
WEIR_AT(weir_query, max_output_tokens, 112);
WEIR_AT(weir_query, size_bytes, 120);
WEIR_AT(weir_query, headers, 128);
WEIR_AT(weir_query, header_count, 136);
WEIR_AT(weir_query, prompts, 144);
WEIR_AT(weir_query, prompt_count, 152);

WEIR_ASSERT(sizeof(weir_http_request) >= 80);
WEIR_AT(weir_http_request, struct_size, 0);
WEIR_AT(weir_http_request, flags, 4);
WEIR_AT(weir_http_request, path, 8);
WEIR_AT(weir_http_request, headers, 24);
WEIR_AT(weir_http_request, header_count, 32);
WEIR_AT(weir_http_request, body, 40);
WEIR_AT(weir_http_request, padding_bytes, 56);
WEIR_AT(weir_http_request, subset, 64);

WEIR_ASSERT(sizeof(weir_http_result) >= 104);
WEIR_AT(weir_http_result, struct_size, 0);
WEIR_AT(weir_http_result, flags, 4);
WEIR_AT(weir_http_result, parser, 8);
WEIR_AT(weir_http_result, incoming_model, 24);
WEIR_AT(weir_http_result, target_model, 40);
WEIR_AT(weir_http_result, body, 56);

/* Values that are compiled into programs. */
WEIR_ASSERT(WEIR_OUT_OF_RANGE == 11);
WEIR_ASSERT(WEIR_ROUTER_EXPERIMENTAL_PLUGINS == 1 && WEIR_ROUTER_UNSCRAPED_IDLE == 2);
WEIR_ASSERT(WEIR_ROUTER_SAMPLES_ONLY == 4);
WEIR_ASSERT(WEIR_METRIC_WAITING_REQUESTS == 1 && WEIR_METRIC_RUNNING_REQUESTS == 2);
WEIR_ASSERT(WEIR_METRIC_KV_USED_RATIO == 4 && WEIR_METRIC_KV_BLOCKS == 8);
WEIR_ASSERT(WEIR_METRIC_ADAPTERS == 16);
WEIR_ASSERT(WEIR_QUERY_STREAM == 1 && WEIR_QUERY_SUBSET == 2 && WEIR_QUERY_IF_AVAILABLE == 4);
WEIR_ASSERT(WEIR_QUERY_ANY_ENDPOINT == 8);
WEIR_ASSERT(WEIR_HTTP_HEADERS_ONLY == 1 && WEIR_HTTP_MODEL_OPTIONAL == 2 && WEIR_HTTP_SUBSET == 4);
WEIR_ASSERT(WEIR_HTTP_STREAM == 1 && WEIR_HTTP_BODY_CHANGED == 2);
