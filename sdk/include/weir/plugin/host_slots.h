/* weir/plugin/host_slots.h: services the host gives to plugins. No include guard: included several
 * times, each time with another WEIR_SLOT(result, name, (arguments)). Order and signatures are
 * frozen inside a major; append at the end and raise WEIR_ABI_MINOR. */

/* Text for the host's log, at most 1 KiB, cut beyond. Not for hot calls. [control, concurrent] */
WEIR_SLOT(void, log, (const weir_host* host, uint32_t level, weir_str text))

/* Parameters. A path is keys and array indices joined with '/', e.g. "matchExpressions/0/key"; in a
 * key, '~' is written ~0 and '/' is written ~1, as in JSON Pointer.
 * Getters return 1 and store the value, or return 0 and leave *value alone if the path is absent or
 * null; a value of another type also returns 0 and makes create fail with a text that names it.
 * [control] */
WEIR_SLOT(int32_t, param_number, (const weir_params* params, weir_str path, double* value))
WEIR_SLOT(int32_t, param_integer, (const weir_params* params, weir_str path, int64_t* value))
WEIR_SLOT(int32_t, param_boolean, (const weir_params* params, weir_str path, int32_t* value))
WEIR_SLOT(int32_t, param_string, (const weir_params* params, weir_str path, weir_str* value))
/* Elements of the array or members of the object at path, 0 if absent. "" is the whole object. */
WEIR_SLOT(uint64_t, param_count, (const weir_params* params, weir_str path))
/* Name of member `index` of the object at path. */
WEIR_SLOT(int32_t, param_key,
          (const weir_params* params, weir_str path, uint64_t index, weir_str* key))
/* The error text of a create that fails, e.g. "threshold: -1, expected >= 0". */
WEIR_SLOT(void, param_fail, (const weir_params* params, weir_str text))

/* Memory until the decision and its explanation are gone, 16-byte aligned, not cleared; null when
 * the decision's limit is reached, and in an observer's begin. [hot] */
WEIR_SLOT(void*, allocate, (const weir_call* call, uint64_t bytes))
/* The next uniform number in [0, 1) of this decision's seed; an observer's begin has numbers of its
 * own. [hot] */
WEIR_SLOT(double, uniform, (const weir_call* call))
/* One interned label value per endpoint of the batch for a label key, WEIR_LABEL_ABSENT where the
 * endpoint has none, and for all when the decision's limit of memory is reached. Never null. Valid
 * until the call returns. [hot] */
WEIR_SLOT(const uint32_t*, labels, (const weir_call* call, const weir_batch* batch, weir_str key))
/* The interned number of a label value, WEIR_LABEL_UNKNOWN if no endpoint has it. [hot] */
WEIR_SLOT(uint32_t, intern, (const weir_call* call, weir_str value))
/* Gives prompt `prompt` of the request its tokens, which must live as long as `allocate` memory.
 * Only for a producer that declared to write "TokenizedPrompt". [hot] */
WEIR_SLOT(weir_code, set_tokens,
          (const weir_call* call, uint64_t prompt, const uint32_t* tokens, uint64_t token_count))
/* Adds to a counter of this plugin instance that the host publishes; `counter` is one of at most 8
 * numbers that the plugin chose. [hot] */
WEIR_SLOT(void, count, (const weir_call* call, uint32_t counter, uint64_t delta))

/* Since 1.1. */

/* What each endpoint of the batch says about the LoRA adapter of this name; null when the
 * decision's limit of memory is reached, and in an observer's begin. Valid until the call returns.
 * [hot] */
WEIR_SLOT(const weir_adapter*, adapters,
          (const weir_call* call, const weir_batch* batch, weir_str name))
