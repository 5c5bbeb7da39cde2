/* Libraries for registry_test.cc, one per value of KIND: a good one, one of another ABI, one
 * without the symbol, one that cannot be linked. */
#include <weir/plugin/abi.h>

#define TEXT(text) \
  { text, sizeof(text) - 1 }

extern void nobody_defines_this(void);

static weir_code Create(const weir_params* params, void** self) {
  (void)params;
  (void)self;
#if KIND_UNLINKED
  nobody_defines_this();
#endif
  return WEIR_OK;
}

static void Destroy(void* self) { (void)self; }

static weir_code Score(void* self, const weir_call* call, const weir_request* request,
                       const weir_batch* batch, double* score) {
  (void)self;
  (void)call;
  (void)request;
  for (uint32_t i = 0; i < batch->count; ++i) score[i] = 1;
  return WEIR_OK;
}

static const weir_scorer kScorer = {sizeof(weir_scorer), 0, Score};
static const weir_interface kInterface = {sizeof(weir_interface), 0, TEXT(WEIR_INTERFACE_SCORER),
                                          &kScorer};
static const weir_interface* const kInterfaces[] = {&kInterface};
static const weir_plugin kPlugin = {.struct_size = sizeof(weir_plugin),
                                    .stability = WEIR_STABILITY_STABLE,
                                    .type = TEXT("loaded-scorer"),
                                    .interfaces = kInterfaces,
                                    .interface_count = 1,
                                    .create = Create,
                                    .destroy = Destroy};
static const weir_plugin* const kPlugins[] = {&kPlugin};
static const weir_module kModule = {.struct_size = sizeof(weir_module),
#if KIND_OTHER_ABI
                                    .abi_major = 2,
                                    .abi_minor = 1,
#else
                                    .abi_major = WEIR_ABI_MAJOR,
                                    .abi_minor = WEIR_ABI_MINOR,
#endif
                                    .plugins = kPlugins,
                                    .plugin_count = 1};

#if KIND_NO_SYMBOL
#define SYMBOL another_function
#else
#define SYMBOL weir_plugin_module
#endif

__attribute__((visibility("default"))) const weir_module* SYMBOL(void) { return &kModule; }
