// Whatever bytes a server sends, in whatever pieces, a client takes the answers among them in
// order, each within its limits, and breaks the connection at what makes no sense.
//
// An input: one byte, how large the pieces are; one byte, how many requests were sent; then the
// server's bytes.

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "client/socket_connection.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "runtime/scoped_fd.h"

namespace acre {
namespace {

void QueueOne(SocketConnection* connection, size_t number) {
  switch (number % 4) {
    case 0:
      return connection->QueueGet("key");
    case 1:
      return connection->QueuePut("key", "value");
    case 2:
      return connection->QueueDelete("key");
    default:
      return connection->QueueStats();
  }
}

void RunOne(size_t piece_bytes, size_t requests_count, absl::string_view bytes) {
  int ends[2];
  PCHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  const ScopedFd server(ends[1]);
  const std::unique_ptr<SocketConnection> connection =
      SocketConnection::Adopt(ScopedFd(ends[0]), "a fuzzer");
  for (size_t i = 0; i < requests_count; ++i) QueueOne(connection.get(), i);

  size_t answered = 0;
  while (connection->status().ok()) {
    const size_t wanted = std::min(piece_bytes, bytes.size());
    if (bytes.empty()) {
      shutdown(server.get(), SHUT_WR);
    } else {
      const ssize_t sent = send(server.get(), bytes.data(), wanted, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    }
    bool drained = false;
    while (!drained && connection->Receive(&drained).ok()) {
      SocketResponse response;
      while (connection->Next(&response)) {
        CHECK_EQ(static_cast<size_t>(response.opcode), answered % 4 + 1);
        CHECK_LE(response.payload.size(), kvs::kValueBytesMax);
        uint8_t sum = 0;
        for (const char c : response.payload) sum = static_cast<uint8_t>(sum + c);
        volatile uint8_t all_was_read = sum;
        (void)all_was_read;
        ++answered;
        CHECK_EQ(connection->outstanding(), requests_count - answered);
      }
    }
  }
  CHECK_LE(answered, requests_count);
}

}  // namespace
}  // namespace acre

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  acre::RunOne(size_t{data[0]} * data[0] + 1, data[1],
               {reinterpret_cast<const char*>(data) + 2, size - 2});
  return 0;
}
