// SocketConnection: the client's end of one connection of the socket baseline, requests pipelined.
//
// It knows no scheduler: whoever owns it decides when to wait for its descriptor. Requests are
// queued, sent together by Flush(), and answered in their order:
//
//   connection->QueueGet("a");
//   connection->QueueGet("b");
//   status = connection->Flush();                    // One system call for both.
//   status = connection->Receive(&drained);          // When the descriptor is readable.
//   while (connection->Next(&response)) Use(response);
//
// Ownership:  owns the socket.
// Threads:    confined to one.
// Errors:     Unavailable from Flush(), Receive() or Next() - the server went, or answered what
//             makes no sense: the connection is broken for good, requests without an answer may or
//             may not have happened. A server that refuses the connection gives the error that it
//             says, PermissionDenied for instance. Sticky: every later call gives it too.
// Limits:     keys and values as in kvs/limits.h, judged by the caller (CHECKed here). Nothing is
//             allocated but for buffers and the queue of what is outstanding, which grow and are
//             kept.

#ifndef ACRE_CLIENT_SOCKET_CONNECTION_H_
#define ACRE_CLIENT_SOCKET_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvs/socket_buffer.h"
#include "kvs/socket_wire.h"
#include "runtime/scoped_fd.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre {

struct SocketResponse {
  kvs::SocketOpcode opcode;
  absl::StatusCode code;
  absl::string_view payload;  // The value, or the error's message. Valid until the next Receive().

  absl::Status ToStatus() const { return absl::Status(code, payload); }
};

class SocketConnection {
 public:
  // Connects, blocking, to the first of the host's addresses that answers. With a secret the two
  // sides prove it first. Errors: InvalidArgument - `server` is no HOST:PORT; Unavailable - nobody
  // listens there, or not within the time; those of transport::ConnectProven().
  static absl::StatusOr<std::unique_ptr<SocketConnection>> Connect(
      absl::string_view server, int64_t timeout_ms, transport::Credentials credentials = {});
  // Takes over a connected socket on which nothing was said for this purpose yet.
  static std::unique_ptr<SocketConnection> Adopt(ScopedFd fd, absl::string_view server);
  // The same in steps, for who must not block: start to connect to one of the addresses of `server`
  // (named in messages); when fd() is writable, FinishConnect() tells what came of it. Requests may
  // be queued at once.
  static absl::StatusOr<std::unique_ptr<SocketConnection>> StartConnect(
      const transport::SocketAddress& address, absl::string_view server);
  absl::Status FinishConnect();
  SocketConnection(const SocketConnection&) = delete;
  SocketConnection& operator=(const SocketConnection&) = delete;

  // Non-blocking, TCP_NODELAY.
  int fd() const { return fd_.get(); }

  void QueueGet(absl::string_view key) { Queue(kvs::SocketOpcode::kGet, key, {}); }
  void QueuePut(absl::string_view key, absl::string_view value) {
    Queue(kvs::SocketOpcode::kPut, key, value);
  }
  void QueueDelete(absl::string_view key) { Queue(kvs::SocketOpcode::kDelete, key, {}); }
  void QueueStats() { Queue(kvs::SocketOpcode::kStats, {}, {}); }
  void QueueCluster(uint64_t view) {
    const absl::string_view bytes(reinterpret_cast<const char*>(&view), sizeof(view));
    Queue(kvs::SocketOpcode::kCluster, {}, bytes);
  }

  // Sends what is queued, as much as the kernel takes; has_unsent() tells whether some is left,
  // then call it again when fd() is writable. Keep receiving meanwhile: a server that cannot get
  // rid of its answers stops reading.
  absl::Status Flush();
  bool has_unsent() const { return !output_.empty(); }

  // Reads what has arrived, once. `*drained` is false when there may be more: call it again. With
  // edge-triggered events: tell NoteEvents() what was reported first, or the end of the stream is
  // missed when it was reported together with the last bytes.
  absl::Status Receive(bool* drained);
  void NoteEvents(uint32_t epoll_events);
  // The next answer that is complete, or false. False for ever after an answer that makes no sense:
  // the next Flush() or Receive() tells.
  bool Next(SocketResponse* response);

  // Requests queued or sent, and not answered yet.
  size_t outstanding() const { return outstanding_count_; }
  // OK, or why the connection broke.
  const absl::Status& status() const { return status_; }

 private:
  SocketConnection(ScopedFd fd, std::string server);
  void Queue(kvs::SocketOpcode opcode, absl::string_view key, absl::string_view value);
  void GrowOutstanding();
  bool TakeRefusal(const kvs::SocketResponseHeader& header, absl::string_view bytes);
  absl::Status Break(absl::string_view why);

  const ScopedFd fd_;
  const std::string server_;  // For messages.
  absl::Status status_;
  kvs::SocketBuffer input_;
  kvs::SocketBuffer output_;
  bool end_reported_ = false;
  size_t wanted_bytes_ = 0;  // What the answer that has begun still lacks.
  // Opcodes of the outstanding requests: a ring, its size a power of two.
  std::vector<kvs::SocketOpcode> outstanding_;
  size_t outstanding_first_ = 0;
  size_t outstanding_count_ = 0;
};

}  // namespace acre

#endif  // ACRE_CLIENT_SOCKET_CONNECTION_H_
