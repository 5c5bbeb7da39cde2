// weir/io/relay/relay_core.h: what the connections of one relay share. Internal to the relay room.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/io/http/head.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/relay/relay.h"
#include "weir/io/relay/upstream_pool.h"

namespace weir::io {

class RelayClient;

inline constexpr std::string_view kBuffersFullText = "the gateway's buffers are full";

// One per relay, so one per thread: memory that only lives within a callback is shared here and not
// part of every connection. Belongs to one thread, except `counters`.
class RelayCore {
 public:
  // Room in front of a read for the part of a response head that came with earlier reads.
  static constexpr size_t kScratchBytes = kHeadBytesMax + kRelayReadBytesMax;
  static constexpr size_t kHeadScratchBytes = kHeadBytesMax + kRelayAddedHeadBytesMax;

  RelayCore(EventLoop& event_loop, RelayHandler& relay_handler, const RelayOptions& relay_options,
            UpstreamDialer* dialer_or_null) noexcept
      : loop(&event_loop),
        handler(&relay_handler),
        options(relay_options),
        pool(event_loop, dialer_or_null != nullptr ? *dialer_or_null : dialer, options, counters) {}

  void OnDrainDeadline();

  EventLoop* loop;
  RelayHandler* handler;
  RelayOptions options;
  RelayCounters counters;
  SocketDialer dialer;
  UpstreamPool pool;
  const TlsContext* tls = nullptr;
  IntrusiveList<RelayClient> clients;
  Timer drain_deadline = Timer::Calling<&RelayCore::OnDrainDeadline>(*this);
  bool draining = false;
  const RelayClient* driving = nullptr;  // the one that works now, and may use what follows

  // Valid within one callback only.
  RequestHead request_head;
  const RelayClient* request_head_owner = nullptr;  // whose bytes request_head views
  ResponseHead response_head;
  std::string filtered;  // a piece of a response, as its filter wrote it
  std::array<char, kScratchBytes> scratch;
  std::array<char, kHeadScratchBytes> head_scratch;
};

}  // namespace weir::io
