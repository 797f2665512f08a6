// Subprocess: another copy of the running program, and messages to and fro over a socket pair.
//
// The copy gets its end of the socket as descriptor kChildSocket, and one more, if there is something that the
// two share, as kChildShared; flags tell it what to be.
//
// Ownership:  a Subprocess owns its process: killed, if it still runs, and reaped when the object goes.
// Threads:    confined to one. Start it before the program makes threads that change descriptors.

#ifndef ACRE_BENCH_SUBPROCESS_H_
#define ACRE_BENCH_SUBPROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scoped_fd.h"

namespace acre::bench {

constexpr int kChildSocket = 3;
constexpr int kChildShared = 4;

// Both ends. Blocking. Unavailable: the other process has gone. A message has at most
// kMessageBytesMax bytes (CHECKed of one's own; a longer one is DataLoss).
constexpr size_t kMessageBytesMax = 64 << 20;
absl::Status SendBytes(int socket, const void* bytes, size_t count);
absl::Status ReceiveBytes(int socket, void* bytes, size_t count);
absl::Status SendMessage(int socket, absl::string_view message);
absl::StatusOr<std::string> ReceiveMessage(int socket);
// Something has arrived, or the other process has gone: waits for that at most so long.
bool CanReceive(int socket, int timeout_ms);

// Answers of a copy that does what its parent says, "WORD ..." in text, and errors as answers: "error", the status's
// code and its message.
std::string ErrorAnswer(const absl::Status& status);
// What stands behind "WORD " or "WORD\n"; the error that the answer tells; or NonsenseError().
absl::StatusOr<std::string> ParseAnswer(absl::string_view word, absl::string_view answer);
// DataLoss: the other process says what it never should.
absl::Status NonsenseError(absl::string_view message);

class Subprocess {
 public:
  // `arguments`: those behind the program's name. `shared`: a descriptor of which the process gets a copy,
  // none if negative. Errors: the kernel's.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(
      const std::vector<std::string>& arguments, int shared = -1);
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }
  int socket() const { return socket_.get(); }
  // Closes the socket, at which the process should end, and waits till it has. Unavailable: it ended by a
  // signal, or with an exit code other than 0; the message says which.
  absl::Status Finish();

 private:
  Subprocess(pid_t pid, ScopedFd socket) : pid_(pid), socket_(std::move(socket)) {}

  pid_t pid_;  // 0: reaped.
  ScopedFd socket_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_SUBPROCESS_H_
