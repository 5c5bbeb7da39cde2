// weir/intake.h: from the bytes of an HTTP request to a Request that is ready for Router::Decide,
// and to what goes upstream. Start at Intake.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "weir/request.h"
#include "weir/response_format.h"
#include "weir/router.h"
#include "weir/status.h"

namespace weir {

// A request as it arrived. Everything is borrowed.
struct IntakeInput {
  // Names are lower case; pseudo headers may be among them. If a name repeats, the last one counts.
  std::span<const Header> headers;
  // Empty: the first of the headers ":path", "x-original-path" and "x-forwarded-path" that is not
  // empty, else "/v1/completions".
  std::string_view path;
  std::string_view body;
  size_t padding_bytes = 0;  // that may be read after the body; with 64 or more no copy is made
  // A body that names no model, where no rewrite gives one, goes on as it is: its server may have
  // but one. Else it is refused.
  bool model_optional = false;
  // See Request::subset.
  std::optional<std::span<const std::string_view>> subset;
};

// What Intake found out besides the request.
struct IntakeResult {
  std::string_view parser;          // type that read the body, "openai-parser"; empty without body
  std::string_view incoming_model;  // as in the body, empty if it names none
  std::string_view target_model;    // that the upstream is asked for; empty if not known
  ResponseFormat response_format = ResponseFormat::kNone;
  bool stream = false;         // the client asked for an event stream
  bool skip_response = false;  // nothing of the response needs to be seen
  bool can_rewrite = false;    // this parser writes models into bodies
  bool body_changed = false;   // body is not the original
  // What goes upstream as the body: these pieces in this order. Unchanged: the original and two
  // empty ones. Else what stands before the model's value, the new value, and what follows.
  std::array<std::string_view, 3> body;

  uint64_t body_bytes() const noexcept { return body[0].size() + body[1].size() + body[2].size(); }
};

// Reads requests of all APIs with the parsers and resources of one router: chooses the parser by
// path, reads body and headers, looks up the objective, rewrites the model. Keeps its buffers from
// call to call, so that steady traffic allocates nothing. One thread at a time: one for each.
class Intake {
 public:
  // Equal seeds draw equal models from weighted rewrites; 0: seeded by the router's clock.
  explicit Intake(const Router& router, uint64_t seed = 0);
  ~Intake();
  Intake(Intake&&) noexcept;
  Intake& operator=(Intake&&) noexcept;

  // Fills *request and *result. Their views point into `input` and into this intake; the latter are
  // valid until the next call. What may stay is told by Decision::ReleaseRequest. [hot, serial]
  // Errors: kInvalidArgument with a text for the client (no parser for the path, malformed body,
  // missing field, no model), kOutOfRange above kRequestBodyBytesMax, kPromptsMax or
  // kPromptPartsMax. The fields that headers decide are filled then, too.
  absl::Status Read(const IntakeInput& input, Request* request, IntakeResult* result);

  // The same for a request that ends with its headers: no parser is asked, any endpoint that the
  // subset and the filters leave will do. Never fails. [hot, serial]
  void ReadHeadersOnly(const IntakeInput& input, Request* request, IntakeResult* result);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weir
