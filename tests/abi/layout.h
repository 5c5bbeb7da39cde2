/* layout.h: the frozen layout of ABI 1.2. A line that fails here means that an old plugin would
 * read the wrong bytes: append at the end of a struct instead, and add a line. 64-bit targets. */
#pragma once

#include "weir/plugin/abi.h"

#ifdef __cplusplus
#define WEIR_ASSERT(condition) static_assert(condition, #condition)
#else
#define WEIR_ASSERT(condition) _Static_assert(condition, #condition)
#endif
#define WEIR_AT(type, member, offset) WEIR_ASSERT(offsetof(type, member) == (offset))
#define WEIR_SIZE(type, size) WEIR_ASSERT(sizeof(type) == (size))

WEIR_ASSERT(WEIR_ABI_MAJOR == 1);
/* A new minor adds lines below and changes this number. */
WEIR_ASSERT(WEIR_ABI_MINOR == 2);

/* Frozen: never another size. */
WEIR_SIZE(weir_code, 4);
WEIR_SIZE(weir_str, 16);
WEIR_AT(weir_str, data, 0);
WEIR_AT(weir_str, size, 8);
WEIR_SIZE(weir_header, 32);
WEIR_AT(weir_header, name, 0);
WEIR_AT(weir_header, value, 16);
WEIR_SIZE(weir_part, 24);
WEIR_AT(weir_part, kind, 0);
WEIR_AT(weir_part, bytes, 8);
WEIR_SIZE(weir_prompt, 32);
WEIR_AT(weir_prompt, parts, 0);
WEIR_AT(weir_prompt, part_count, 8);
WEIR_AT(weir_prompt, tokens, 16);
WEIR_AT(weir_prompt, token_count, 24);
WEIR_SIZE(weir_prefix_match, 16);
WEIR_AT(weir_prefix_match, matched_blocks, 0);
WEIR_AT(weir_prefix_match, total_blocks, 4);
WEIR_AT(weir_prefix_match, block_tokens, 8);
WEIR_SIZE(weir_in_flight_load, 16);
WEIR_AT(weir_in_flight_load, requests, 0);
WEIR_AT(weir_in_flight_load, tokens, 8);
WEIR_SIZE(weir_adapter, 16);
WEIR_AT(weir_adapter, state, 0);
WEIR_AT(weir_adapter, used, 4);
WEIR_AT(weir_adapter, adapters_max, 8);

/* Growable: members stay where they are; sizes are those of 1.0 or more. */

WEIR_ASSERT(sizeof(weir_request) >= 128);
WEIR_AT(weir_request, struct_size, 0);
WEIR_AT(weir_request, api, 4);
WEIR_AT(weir_request, flags, 8);
WEIR_AT(weir_request, priority, 12);
WEIR_AT(weir_request, id, 16);
WEIR_AT(weir_request, model, 32);
WEIR_AT(weir_request, cache_salt, 48);
WEIR_AT(weir_request, fairness_id, 64);
WEIR_AT(weir_request, max_output_tokens, 80);
WEIR_AT(weir_request, size_bytes, 88);
WEIR_AT(weir_request, headers, 96);
WEIR_AT(weir_request, header_count, 104);
WEIR_AT(weir_request, prompts, 112);
WEIR_AT(weir_request, prompt_count, 120);

WEIR_ASSERT(sizeof(weir_batch) >= 96);
WEIR_AT(weir_batch, struct_size, 0);
WEIR_AT(weir_batch, count, 4);
WEIR_AT(weir_batch, pool_epoch, 8);
WEIR_AT(weir_batch, slots, 16);
WEIR_AT(weir_batch, names, 24);
WEIR_AT(weir_batch, addresses, 32);
WEIR_AT(weir_batch, waiting_requests, 40);
WEIR_AT(weir_batch, running_requests, 48);
WEIR_AT(weir_batch, kv_used_ratio, 56);
WEIR_AT(weir_batch, sample_age_ms, 64);
WEIR_AT(weir_batch, kv_block_tokens, 72);
WEIR_AT(weir_batch, kv_block_count, 80);
WEIR_AT(weir_batch, columns, 88);

WEIR_ASSERT(sizeof(weir_attribute) >= 80);
WEIR_AT(weir_attribute, struct_size, 0);
WEIR_AT(weir_attribute, flags, 4);
WEIR_AT(weir_attribute, name, 8);
WEIR_AT(weir_attribute, type, 24);
WEIR_AT(weir_attribute, element_bytes, 40);
WEIR_AT(weir_attribute, default_producer, 48);
WEIR_AT(weir_attribute, producer_parameter, 64);

WEIR_ASSERT(sizeof(weir_host) >= 120);
WEIR_AT(weir_host, struct_size, 0);
WEIR_AT(weir_host, abi_minor, 4);
WEIR_AT(weir_host, log, 8);
WEIR_AT(weir_host, param_number, 16);
WEIR_AT(weir_host, param_integer, 24);
WEIR_AT(weir_host, param_boolean, 32);
WEIR_AT(weir_host, param_string, 40);
WEIR_AT(weir_host, param_count, 48);
WEIR_AT(weir_host, param_key, 56);
WEIR_AT(weir_host, param_fail, 64);
WEIR_AT(weir_host, allocate, 72);
WEIR_AT(weir_host, uniform, 80);
WEIR_AT(weir_host, labels, 88);
WEIR_AT(weir_host, intern, 96);
WEIR_AT(weir_host, set_tokens, 104);
WEIR_AT(weir_host, count, 112);
WEIR_AT(weir_host, adapters, 120); /* since 1.1 */

WEIR_ASSERT(sizeof(weir_call) >= 24);
WEIR_AT(weir_call, struct_size, 0);
WEIR_AT(weir_call, host, 8);
WEIR_AT(weir_call, now_ns, 16);

WEIR_ASSERT(sizeof(weir_params) >= 48);
WEIR_AT(weir_params, struct_size, 0);
WEIR_AT(weir_params, host, 8);
WEIR_AT(weir_params, instance_name, 16);
WEIR_AT(weir_params, json, 32);
WEIR_AT(weir_params, plugin, 48); /* since 1.2 */

WEIR_ASSERT(sizeof(weir_filter) >= 16);
WEIR_AT(weir_filter, struct_size, 0);
WEIR_AT(weir_filter, flags, 4);
WEIR_AT(weir_filter, apply, 8);

WEIR_ASSERT(sizeof(weir_scorer) >= 16);
WEIR_AT(weir_scorer, struct_size, 0);
WEIR_AT(weir_scorer, flags, 4);
WEIR_AT(weir_scorer, score, 8);

WEIR_ASSERT(sizeof(weir_picker) >= 16);
WEIR_AT(weir_picker, struct_size, 0);
WEIR_AT(weir_picker, flags, 4);
WEIR_AT(weir_picker, pick, 8);

WEIR_ASSERT(sizeof(weir_profiles) >= 32);
WEIR_AT(weir_profiles, struct_size, 0);
WEIR_AT(weir_profiles, count, 4);
WEIR_AT(weir_profiles, names, 8);
WEIR_AT(weir_profiles, states, 16);
WEIR_AT(weir_profiles, primary_slots, 24);

WEIR_ASSERT(sizeof(weir_profile_handler) >= 24);
WEIR_AT(weir_profile_handler, struct_size, 0);
WEIR_AT(weir_profile_handler, profiles_max, 4);
WEIR_AT(weir_profile_handler, next, 8);
WEIR_AT(weir_profile_handler, finish, 16);

WEIR_ASSERT(sizeof(weir_producer) >= 24);
WEIR_AT(weir_producer, struct_size, 0);
WEIR_AT(weir_producer, flags, 4);
WEIR_AT(weir_producer, produce, 8);
WEIR_AT(weir_producer, request_state_bytes, 16);

WEIR_ASSERT(sizeof(weir_choice) >= 32);
WEIR_AT(weir_choice, struct_size, 0);
WEIR_AT(weir_choice, count, 4);
WEIR_AT(weir_choice, slots, 8);
WEIR_AT(weir_choice, batch_indices, 16);
WEIR_AT(weir_choice, profile_names, 24);

WEIR_ASSERT(sizeof(weir_usage) >= 32);
WEIR_AT(weir_usage, struct_size, 0);
WEIR_AT(weir_usage, end, 4);
WEIR_AT(weir_usage, prompt_tokens, 8);
WEIR_AT(weir_usage, cached_tokens, 16);
WEIR_AT(weir_usage, output_tokens, 24);

WEIR_ASSERT(sizeof(weir_observer) >= 40);
WEIR_AT(weir_observer, struct_size, 0);
WEIR_AT(weir_observer, flight_state_bytes, 4);
WEIR_AT(weir_observer, begin, 8);
WEIR_AT(weir_observer, first_token, 16);
WEIR_AT(weir_observer, end, 24);
WEIR_AT(weir_observer, endpoint_removed, 32);

WEIR_ASSERT(sizeof(weir_interface) >= 32);
WEIR_AT(weir_interface, struct_size, 0);
WEIR_AT(weir_interface, id, 8);
WEIR_AT(weir_interface, table, 24);

WEIR_ASSERT(sizeof(weir_plugin) >= 112);
WEIR_AT(weir_plugin, struct_size, 0);
WEIR_AT(weir_plugin, stability, 4);
WEIR_AT(weir_plugin, type, 8);
WEIR_AT(weir_plugin, replaced_by, 24);
WEIR_AT(weir_plugin, params_schema, 40);
WEIR_AT(weir_plugin, interfaces, 56);
WEIR_AT(weir_plugin, interface_count, 64);
WEIR_AT(weir_plugin, attributes, 72);
WEIR_AT(weir_plugin, attribute_count, 80);
WEIR_AT(weir_plugin, create, 88);
WEIR_AT(weir_plugin, destroy, 96);
WEIR_AT(weir_plugin, load_columns, 104);

WEIR_ASSERT(sizeof(weir_module) >= 64);
WEIR_AT(weir_module, struct_size, 0);
WEIR_AT(weir_module, abi_major, 4);
WEIR_AT(weir_module, abi_minor, 8);
WEIR_AT(weir_module, abi_minor_min, 12);
WEIR_AT(weir_module, name, 16);
WEIR_AT(weir_module, version, 32);
WEIR_AT(weir_module, plugins, 48);
WEIR_AT(weir_module, plugin_count, 56);

/* Values that are compiled into plugins. */
WEIR_ASSERT(WEIR_OK == 0 && WEIR_INVALID_ARGUMENT == 3 && WEIR_NOT_FOUND == 5);
WEIR_ASSERT(WEIR_RESOURCE_EXHAUSTED == 8 && WEIR_FAILED_PRECONDITION == 9);
WEIR_ASSERT(WEIR_UNIMPLEMENTED == 12 && WEIR_INTERNAL == 13 && WEIR_UNAVAILABLE == 14);
WEIR_ASSERT(WEIR_PART_TEXT == 0 && WEIR_PART_IMAGE == 1 && WEIR_PART_VIDEO == 2);
WEIR_ASSERT(WEIR_PART_AUDIO == 3 && WEIR_REQUEST_STREAM == 1);
WEIR_ASSERT(WEIR_API_OTHER == 0 && WEIR_API_COMPLETIONS == 1 && WEIR_API_CHAT_COMPLETIONS == 2);
WEIR_ASSERT(WEIR_API_EMBEDDINGS == 3 && WEIR_API_RESPONSES == 4 && WEIR_API_MESSAGES == 5);
WEIR_ASSERT(WEIR_API_CONVERSATIONS == 6 && WEIR_API_GENERATE == 7 && WEIR_API_IMAGES == 8);
WEIR_ASSERT(WEIR_AGE_NEVER == 0xffffffffu && WEIR_LABEL_UNKNOWN == 0xffffffffu);
WEIR_ASSERT(WEIR_LABEL_ABSENT == 0);
WEIR_ASSERT(WEIR_ATTRIBUTE_READ == 1 && WEIR_ATTRIBUTE_OPTIONAL == 2);
WEIR_ASSERT(WEIR_ATTRIBUTE_WRITE == 4 && WEIR_ATTRIBUTE_REQUEST == 8);
WEIR_ASSERT(WEIR_PROFILE_NOT_RUN == 0 && WEIR_PROFILE_PICKED == 1 && WEIR_PROFILE_FAILED == 2);
WEIR_ASSERT(WEIR_END_COMPLETED == 0 && WEIR_END_CLIENT_GONE == 1 && WEIR_END_FAILED == 2);
WEIR_ASSERT(WEIR_STABILITY_ALPHA == 0 && WEIR_STABILITY_BETA == 1 && WEIR_STABILITY_STABLE == 2);
WEIR_ASSERT(WEIR_LOG_DEBUG == 0 && WEIR_LOG_INFO == 1);
WEIR_ASSERT(WEIR_LOG_WARNING == 2 && WEIR_LOG_ERROR == 3);
