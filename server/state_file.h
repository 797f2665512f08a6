// StateFile: how a server learns whether the one before it on the same address stopped cleanly or died.
//
// A reader that has a server's memory mapped could go on reading it after the server died. Where the
// kernel marks the memory of the dead there is nothing to wait for; elsewhere readers go on till the
// lease is over (docs/leases.md), so after a death the next server on the address waits out that lease
// before it listens; after a clean stop, which closes the regions, or a start of the machine, it need
// not. One small text file for each address tells which:
//
//   acre-state 1
//   state running        or: clean
//   boot_id 5c1c54d8-...
//   incarnation 81a9...  of the server that wrote it, hexadecimal
//   lease_ms 500         0: its readers needed none, a death was marked at once
//
// Locked (flock) as long as its server lives: the kernel gives the lock up with the process. Two servers
// that race for one address meet here.
//
// Where: /run/acre for root, /tmp/acre-UID for others (or where /run cannot be written). Not
// $XDG_RUNTIME_DIR: it differs between a user's sessions and goes with the last one, a server may stay.
// The folder must belong to this user and nobody else may write to it; the file is opened without
// following links, and must be a plain file of this user with one name. Servers of different users on
// one address know nothing of each other: see "Weaknesses" in docs/handshake.md.
//
// Ownership:  owns the descriptor and the lock.
// Threads:    one at a time.

#ifndef ACRE_SERVER_STATE_FILE_H_
#define ACRE_SERVER_STATE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scoped_fd.h"

namespace acre::server {

// Shorter ones would be over before readers, whose clock may be some ticks late, see them renewed.
constexpr int64_t kLeaseMsMin = 200;
constexpr int64_t kLeaseMsMax = 10'000;

class StateFile {
 public:
  // What the file says of the server before.
  enum class Before {
    kNone,   // There was none, or the machine has been started since.
    kClean,  // It stopped cleanly.
    kDied,   // It was killed, or crashed.
  };

  // Where the files lie. Makes the folder. `override_path`: where the user wants them, or "".
  // Errors: PermissionDenied - the folder is not safe; the message says why and what to do.
  static absl::StatusOr<std::string> Folder(absl::string_view override_path);

  // Opens and locks the file of `address` (numeric HOST:PORT).
  // Errors: AlreadyExists - a server with this address runs. PermissionDenied - the file is not safe.
  static absl::StatusOr<std::unique_ptr<StateFile>> Open(absl::string_view folder,
                                                         absl::string_view address,
                                                         absl::string_view boot_id);

  Before before() const { return before_; }
  // After kDied: how long its readers may go on, 0 for not at all. kLeaseMsMax if the file makes no sense.
  int64_t lease_ms_before() const { return lease_ms_before_; }
  const std::string& path() const { return path_; }

  // Before the first client may come. `lease_ms`: 0, or kLeaseMsMin to kLeaseMsMax.
  absl::Status WriteRunning(uint64_t incarnation, int64_t lease_ms);
  // After the regions were closed.
  absl::Status WriteClean();

 private:
  StateFile() = default;
  void ParseBefore(absl::string_view text);
  absl::Status Write(absl::string_view state);

  ScopedFd fd_;
  std::string path_;
  std::string boot_id_;
  Before before_ = Before::kNone;
  int64_t lease_ms_before_ = 0;
  uint64_t incarnation_ = 0;
  int64_t lease_ms_ = 0;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_STATE_FILE_H_
