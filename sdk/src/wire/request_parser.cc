// Requests without a router: RequestParser and ParseOpenAi.
#include "weir/request.h"

#include <array>

#include "wire/body_reader.h"
#include "wire/parsers.h"

namespace weir {
namespace {

// The APIs of which a path alone tells what the body is.
std::span<const internal::ParserType* const> Parsers() {
  static const std::array<const internal::ParserType*, 3> kParsers = {
      internal::FindParserType("openai-parser"), internal::FindParserType("anthropic-parser"),
      internal::FindParserType("vllmhttp-parser")};
  return kParsers;
}

}  // namespace

struct RequestParser::State {
  internal::BodyReader reader;
};

RequestParser::RequestParser() : state_(std::make_unique<State>()) {}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;
RequestParser& RequestParser::operator=(RequestParser&&) noexcept = default;

absl::Status RequestParser::Parse(std::string_view path, std::string_view body, Request* request,
                                  size_t padding_bytes) {
  const internal::ParserChoice choice =
      internal::ChooseParser(Parsers(), internal::CleanPath(path));
  internal::ModelPlace place;
  return state_->reader.Read(choice.claim.format, choice.claim.api, body, padding_bytes, request,
                             &place);
}

struct Request::Storage {
  RequestParser parser;
};

void Request::StorageDeleter::operator()(Storage* storage) const noexcept { delete storage; }

absl::StatusOr<Request> ParseOpenAi(std::string_view path, std::string_view body) {
  Request request;
  request.storage.reset(new Request::Storage);
  if (absl::Status status = request.storage->parser.Parse(path, body, &request); !status.ok()) {
    return status;
  }
  return request;
}

Api ApiOfPath(std::string_view path) noexcept {
  return internal::ChooseParser(Parsers(), internal::CleanPath(path)).claim.api;
}

std::string_view Request::header(std::string_view name) const noexcept {
  for (const Header& header : headers) {
    if (header.name == name) return header.value;
  }
  return {};
}

}  // namespace weir
