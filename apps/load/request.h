// load/request.h: from an item of a source to the bytes of a request, and where they go.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "load/source.h"

namespace weir::load {

struct RequestShape {
  Api api = Api::kChat;
  std::string model;
  bool streaming = true;
  bool include_usage = true;  // ask a stream to end with its token counts
  bool ignore_eos = false;    // ask engines that know it to fill max_tokens
  // More members of the body, without braces, for example "\"temperature\":0".
  std::string extra_members;
};

// Appends the JSON body of one request.
void AppendBody(const RequestShape& shape, const Source& source, const Item& item,
                std::string& out);

// Takes the braces off a JSON object given on the command line.
// Errors: kInvalidArgument if it is none.
absl::StatusOr<std::string> MembersOf(std::string_view object);

inline constexpr size_t kTargetsMax = 1024;

struct Target {
  std::string authority;  // host:port, also the server's name where answers do not give one
  std::string host;       // without brackets
  uint16_t port = 0;
  bool tls = false;
  std::string path;  // of the requests, for example "/v1/chat/completions"
};

// Reads "http://host:8000", "https://host/prefix" or "http://host:8000/v1"; without a path under
// /v1 the usual one of the API is appended.
// Errors: kInvalidArgument, naming the text and what was expected.
absl::StatusOr<Target> ParseTarget(std::string_view url, Api api);

}  // namespace weir::load
