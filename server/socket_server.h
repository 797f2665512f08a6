// SocketServer: serves the socket baseline (kvs/socket_wire.h) on one worker thread, many
// connections.
//
// Requests of one connection are executed and answered in their order; each time a connection has
// something to say, all complete requests that have arrived are executed and their answers leave
// with one system call. Gets are answered in place; a Put or Delete that has to wait for a lock, and
// a Get that has to wait for a writer, suspends its own connection alone.
//
// Back-pressure: a connection whose client does not take its answers is neither read nor executed
// while more than kOutputBytesMax of them wait. Fairness: after kPassBytesMax a connection lets the
// others have a turn. Bad bytes: an answer that says what is wrong, then that connection is closed,
// and counted. Nothing else is touched.
//
// Ownership:  borrows scheduler and service, which outlive it. Owns the descriptors given to it.
//             Destroying it cancels what is under way and closes all connections.
// Threads:    confined to the scheduler's. The counters may be read from any.
// Limits:     a connection that is idle holds no buffers; one that is not, holds up to one frame
//             in, and kOutputBytesMax and one frame out. As many connections as descriptors.

#ifndef ACRE_SERVER_SOCKET_SERVER_H_
#define ACRE_SERVER_SOCKET_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "kvs/socket_buffer.h"
#include "kvs/socket_wire.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"

namespace acre::server {

// The store as a socket server sees it. Keys and values are within kvs/limits.h.
class SocketService {
 public:
  virtual ~SocketService() = default;
  // Replaces *value, NotFound: true, and *status is the answer. false: it has to wait: ask Get().
  [[nodiscard]] virtual bool GetAtOnce(absl::string_view key, std::string* value,
                                       absl::Status* status) = 0;
  // Arguments outlive the tasks.
  virtual Task<absl::Status> Get(absl::string_view key, std::string* value) = 0;
  virtual Task<absl::Status> Put(absl::string_view key, absl::string_view value) = 0;
  virtual Task<absl::Status> Delete(absl::string_view key) = 0;
  // "name value" lines.
  virtual std::string Stats() = 0;
  // kvs/cluster.h. OutOfRange: `view` is not 0 and not the server's.
  virtual absl::Status Cluster(uint64_t view, std::string* answer) = 0;
};

// Counted from the start. The server's thread alone writes them; any thread may load them, and sees
// a value that each had.
struct SocketServerCounters {
  SharedWord connections_opened;
  SharedWord connections_open;
  SharedWord connections_refused;  // Of those that are closed: because of bytes that make no sense.
  SharedWord requests;
};

class SocketServer {
 public:
  static constexpr size_t kOutputBytesMax = 256 << 10;
  static constexpr size_t kPassBytesMax = 256 << 10;

  SocketServer(Scheduler* scheduler, SocketService* service);
  ~SocketServer();
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;

  // Takes over a connected TCP socket. `already_read` are bytes that were read from it behind
  // kSocketPreamble.
  void AddConnection(int fd, std::string already_read);

  const SocketServerCounters& counters() const { return counters_; }

 private:
  struct Connection {
    int fd = -1;
    bool readable = true;        // recv() may give something.
    bool peer_done = false;      // The kernel told of an end: read till recv() shows it.
    bool end_seen = false;       // Nothing more will come.
    bool refused = false;        // Bad bytes came: what else comes is thrown away.
    bool task_running = false;   // A Continue() has the connection.
    size_t wanted_bytes = 0;     // What the request that has begun still lacks.
    size_t turn_bytes = 0;       // Read since the others last had a turn.
    size_t discarded_bytes = 0;  // Thrown away since `refused`.
    kvs::SocketBuffer input;
    kvs::SocketBuffer output;
    SpawnHandle task;
  };
  // Why a pass over a connection ended.
  enum class Next {
    kEvent,   // Nothing to do until the kernel reports something.
    kChange,  // The next request is complete, and a Put, a Delete, or a Get that has to wait.
    kAgain,   // There is more, but it had its turn.
    kClose,   // Over.
  };

  void OnEvents(Connection* connection, uint32_t events);
  Task<void> Continue(Connection* connection, Next next);
  Next RunPass(Connection* connection);
  Next ExecuteReads(Connection* connection);
  Task<void> ExecuteChange(Connection* connection);
  void Answer(Connection* connection, kvs::SocketOpcode opcode, const absl::Status& status,
              absl::string_view payload);
  void Refuse(Connection* connection, uint8_t opcode, absl::string_view why);
  bool Receive(Connection* connection);
  bool Discard(Connection* connection);
  bool Flush(Connection* connection);
  void TakeBuffers(Connection* connection);
  void ReturnBuffers(Connection* connection);
  void Close(Connection* connection);

  Scheduler* const scheduler_;
  SocketService* const service_;
  SocketServerCounters counters_;
  absl::flat_hash_map<Connection*, std::unique_ptr<Connection>> connections_;
  std::vector<kvs::SocketBuffer> free_buffers_;
  std::string value_;  // Of the Get being answered; its memory is reused.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_SOCKET_SERVER_H_
