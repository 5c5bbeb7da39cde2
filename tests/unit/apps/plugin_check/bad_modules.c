/* Libraries whose description breaks a rule; WEIR_BAD_... says which. */
#include "weir/plugin/abi.h"

#define TEXT(literal) \
  { literal, sizeof(literal) - 1 }

static weir_code create(const weir_params* params, void** self) {
  (void)params;
  *self = 0;
  return WEIR_OK;
}
static void destroy(void* self) { (void)self; }
#ifndef WEIR_BAD_NULL_SLOT
static weir_code score(void* self, const weir_call* call, const weir_request* request,
                       const weir_batch* batch, double* out) {
  (void)self, (void)call, (void)request, (void)batch, (void)out;
  return WEIR_OK;
}
#else
#define score 0
#endif

static const weir_scorer table = {sizeof(weir_scorer), 0, score};
static const weir_interface scorer = {sizeof(weir_interface), 0,
#ifdef WEIR_BAD_INTERFACE
                                      TEXT("weir.juggler/1"),
#else
                                      TEXT(WEIR_INTERFACE_SCORER),
#endif
#ifdef WEIR_BAD_NULL_TABLE
                                      0};
#else
                                      &table};
#endif
static const weir_interface* const interfaces[] = {&scorer};
static const weir_plugin plugin = {
    .struct_size = sizeof(weir_plugin),
    .stability = WEIR_STABILITY_STABLE,
#ifdef WEIR_BAD_TYPE
    .type = TEXT("Bad Type"),
#else
    .type = TEXT("bad"),
#endif
    .interfaces = interfaces,
    .interface_count = 1,
    .create = create,
    .destroy = destroy,
};
static const weir_plugin* const plugins[] = {&plugin};
static const weir_module module = {
#ifdef WEIR_BAD_STRUCT_SIZE
    .struct_size = 8,
#else
    .struct_size = sizeof(weir_module),
#endif
#ifdef WEIR_BAD_MAJOR
    .abi_major = WEIR_ABI_MAJOR + 1,
    .abi_minor = 3,
#else
    .abi_major = WEIR_ABI_MAJOR,
    .abi_minor = WEIR_ABI_MINOR,
#endif
    .plugins = plugins,
    .plugin_count = 1,
};

#ifdef WEIR_BAD_UNDEFINED
void no_such_function_anywhere(void);
#endif

#ifdef WEIR_BAD_NO_SYMBOL
#define weir_plugin_module some_other_name
#endif
__attribute__((visibility("default"))) const weir_module* weir_plugin_module(void);
const weir_module* weir_plugin_module(void) {
#ifdef WEIR_BAD_UNDEFINED
  no_such_function_anywhere();
#endif
#ifdef WEIR_BAD_NULL_MODULE
  return 0;
#elif defined(WEIR_BAD_CRASH)
  __builtin_trap();
#else
  return &module;
#endif
}
#ifdef WEIR_BAD_EXPORT
__attribute__((visibility("default"))) int second_export(void);
int second_export(void) { return 1; }
#endif
