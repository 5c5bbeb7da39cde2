#include "capi/handles.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weir::capi {

bool Store(std::string_view text, weir_buffer* buffer) noexcept {
  buffer->size = text.size();
  if (buffer->data == nullptr || buffer->capacity == 0) return false;
  const size_t stored = std::min<uint64_t>(text.size(), buffer->capacity - 1);
  if (stored > 0) std::memcpy(buffer->data, text.data(), stored);
  buffer->data[stored] = '\0';
  return stored == text.size();
}

weir_code Fail(weir_buffer* error, weir_code code, std::string_view text) noexcept {
  if (error != nullptr) Store(text, error);
  return code;
}

weir_code Fail(weir_buffer* error, const absl::Status& status) noexcept {
  return Fail(error, static_cast<weir_code>(status.code()),
              {status.message().data(), status.message().size()});
}

weir_code Refuse(weir_buffer* error, std::string_view what, std::string_view problem) noexcept {
  return Guarded(error, [&] {
    return Fail(error, WEIR_INVALID_ARGUMENT, std::string(what).append(": ").append(problem));
  });
}

weir_code RefuseSize(weir_buffer* error, const char* type, uint32_t struct_size,
                     size_t size_bytes) noexcept {
  return Guarded(error, [&] {
    return Fail(error, WEIR_INVALID_ARGUMENT,
                absl::StrCat(type, ".struct_size: ", struct_size, ", expected ", size_bytes,
                             "; set it with ", type, "_init()"));
  });
}

weir_code Answer(std::string_view text, weir_buffer* buffer) noexcept {
  return Store(text, buffer) ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
}

weir_code DecideInto(const weir_router& router, const Request& request, weir_decision& decision,
                     weir_buffer* error) {
  absl::StatusOr<Decision> made = router.router->Decide(request);
  if (!made.ok()) return Fail(error, made.status());
  made->ReleaseRequest();
  Put(*std::move(made), &router, decision);
  return WEIR_OK;
}

}  // namespace weir::capi

using weir::capi::Str;

const char* weir_version(void) { return WEIR_VERSION; }
uint32_t weir_c_api_version(void) { return WEIR_C_API_MAJOR << 16 | WEIR_C_API_MINOR; }
weir_str weir_code_name(weir_code code) {
  return Str(weir::CodeName(static_cast<weir::Code>(code)));
}
