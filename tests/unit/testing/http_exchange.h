// testing/http_exchange.h: a client that sends bytes and reads all that comes back.
#pragma once

#include <sys/socket.h>

#include <string>

#include "weir/io/loop/socket.h"
#include "weir/io/loop/unique_fd.h"

namespace weir {

// Connects, sends `request`, reads to the end of the connection. Blocks.
inline std::string Exchange(const io::SocketAddress& address, const std::string& request) {
  const io::UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  if (::connect(socket.get(), address.raw(), address.raw_size()) != 0) return "cannot connect";
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "cannot send";
  std::string answer;
  char bytes[4096];
  for (ssize_t count; (count = ::recv(socket.get(), bytes, sizeof bytes, 0)) > 0;) {
    answer.append(bytes, static_cast<size_t>(count));
  }
  return answer;
}

}  // namespace weir
