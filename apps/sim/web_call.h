// One HTTP request and the way to answer it, free of sockets.
#pragma once

#include <string_view>

namespace weir::sim {

// Owned by whoever serves HTTP, who destroys it after Answer(), End() or Abort(), or when the
// client has left. Exactly one of those three ends a call. One thread.
class WebCall {
 public:
  virtual ~WebCall() = default;

  virtual std::string_view method() const = 0;
  virtual std::string_view path() const = 0;  // without the query
  virtual std::string_view body() const = 0;
  // Value of the first header of that name, letter case ignored; empty view if there is none.
  virtual std::string_view header(std::string_view name) const = 0;

  // Adds a header to the response. Before Answer() or Start().
  virtual void AddHeader(std::string_view name, std::string_view value) = 0;
  // The whole response.
  virtual void Answer(int status, std::string_view content_type, std::string_view body) = 0;
  // A response whose body follows in pieces.
  virtual void Start(int status, std::string_view content_type) = 0;
  virtual void Write(std::string_view bytes) = 0;
  virtual void End() = 0;
  // Closes the connection as it is.
  virtual void Abort() = 0;
};

}  // namespace weir::sim
