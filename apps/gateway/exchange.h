// exchange.h: what the gateway remembers of one request while it is under way.
#pragma once

#include <array>
#include <string>

#include "weir/decision.h"
#include "weir/flight.h"
#include "weir/io/relay/relay.h"
#include "weir/response_model.h"
#include "weir/response_reader.h"

namespace weir::gateway {

// Upstreams tried for one request at most: the pick and three fallbacks.
inline constexpr uint32_t kRequestTargetsMax = 4;

// Small, because each open stream has one. Reused; its strings keep their memory.
struct Exchange {
  Decision decision;  // until the first byte of the response
  Flight flight;
  ResponseReader response;
  ResponseModelFilter model_filter;  // in use where the model is another than the client's
  std::array<io::UpstreamTarget, kRequestTargetsMax> targets;
  // Of the targets, where the Host header is not the client's. Copies: a route may change
  // meanwhile.
  std::array<std::string, kRequestTargetsMax> hosts;
  std::array<uint32_t, kRequestTargetsMax> decision_targets;  // index in decision.targets()
  std::array<io::HeaderField, 2> request_headers;
  std::array<io::HeaderField, 2> response_headers;
  // The body as the server gets it, where the model is another than the client's.
  std::array<std::string_view, 3> body;
  std::string new_model;    // in body
  std::string destination;  // value of the destination header
  std::string endpoint;     // name of the endpoint in charge, for the response header
  int64_t started_ns = 0;
  bool first_byte_seen = false;
  bool server_failed = false;  // by the response's status: the request was not served
};

}  // namespace weir::gateway
