// TCP sockets as the fabric uses them: options, and what send() and recv() may say.
//
// Threads: all functions may be called from any thread. None blocks.

#ifndef ACRE_TRANSPORT_TCP_TCP_STREAM_H_
#define ACRE_TRANSPORT_TCP_TCP_STREAM_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "transport/fabric.h"

namespace acre::transport {

struct StreamResult {
  enum class Kind : uint8_t {
    kMoved,  // Some bytes.
    kLater,  // Nothing now: wait for the socket.
    kEnd,    // The peer closed its side (recv only).
    kBroken,
  };
  Kind kind = Kind::kLater;
  size_t bytes = 0;
  int error = 0;  // With kBroken.
};

StreamResult ReceiveFrom(int fd, void* to, size_t bytes_max);
StreamResult SendTo(int fd, const void* from, size_t bytes);

// No delays, and an end of the connection when the peer has not answered for `unreachable_ms`, whether we
// have something to send or not.
void PrepareStream(int fd, uint32_t unreachable_ms);

// How a connection ended, for people. `result` is kEnd or kBroken.
absl::Status WhyEnded(const StreamResult& result);
// What the first of the requests under way completes with: kRetryExceeded if the peer did not answer.
CompletionStatus FirstStatusAfter(const StreamResult& result);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_STREAM_H_
