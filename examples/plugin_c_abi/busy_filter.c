/* The same border without C++: a filter that drops endpoints with too long a queue, on the raw
 * tables of weir/plugin/abi.h. */
#include <stdlib.h>
#include <string.h>
#include <weir/plugin/abi.h>

#define TEXT(literal) \
  { literal, sizeof(literal) - 1 }

typedef struct busy_filter {
  uint32_t waiting_max;
} busy_filter;

static weir_code create(const weir_params* params, void** self) {
  const weir_str path = TEXT("waitingMax");
  int64_t waiting_max = 128;
  params->host->param_integer(params, path, &waiting_max);
  if (waiting_max < 0 || waiting_max > UINT32_MAX) {
    const weir_str text = TEXT("waitingMax: out of range, expected 0 to 4294967295");
    params->host->param_fail(params, text);
    return WEIR_INVALID_ARGUMENT;
  }
  busy_filter* filter = malloc(sizeof(*filter));
  if (filter == NULL) return WEIR_RESOURCE_EXHAUSTED;
  filter->waiting_max = (uint32_t)waiting_max;
  *self = filter;
  return WEIR_OK;
}

static void destroy(void* self) { free(self); }

static weir_code apply(void* self, const weir_call* call, const weir_request* request,
                       const weir_batch* batch, uint64_t* keep) {
  const uint32_t waiting_max = ((const busy_filter*)self)->waiting_max;
  (void)call;
  (void)request;
  for (uint32_t i = 0; i < batch->count; ++i) {
    if (batch->waiting_requests[i] > waiting_max) keep[i / 64] &= ~((uint64_t)1 << (i % 64));
  }
  return WEIR_OK;
}

static const weir_filter table = {sizeof(weir_filter), 0, apply};
static const weir_interface filter_interface = {sizeof(weir_interface), 0,
                                                TEXT(WEIR_INTERFACE_FILTER), &table};
static const weir_interface* const interfaces[] = {&filter_interface};

static const weir_plugin plugin = {
    .struct_size = sizeof(weir_plugin),
    .stability = WEIR_STABILITY_STABLE,
    .type = TEXT("busy-filter"),
    .params_schema =
        TEXT("{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
             "\"waitingMax\": {\"type\": \"integer\", \"minimum\": 0, \"default\": 128,"
             " \"description\": \"Longest queue that an endpoint may have.\"}}}"),
    .interfaces = interfaces,
    .interface_count = 1,
    .create = create,
    .destroy = destroy,
};
static const weir_plugin* const plugins[] = {&plugin};

static const weir_module module = {
    .struct_size = sizeof(weir_module),
    .abi_major = WEIR_ABI_MAJOR,
    .abi_minor = WEIR_ABI_MINOR,
    .abi_minor_min = 0,
    .name = TEXT("busy-filter example"),
    .version = TEXT("1.0"),
    .plugins = plugins,
    .plugin_count = 1,
};

__attribute__((visibility("default"))) const weir_module* weir_plugin_module(void);
const weir_module* weir_plugin_module(void) { return &module; }
