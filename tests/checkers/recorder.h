// Recorder: how a test's clients write a History while they work.
//
// Threads:   AddClient() from any thread. A ClientLog is confined to its client's thread, so that
//            recording orders nothing that would not be ordered without it. Take() when all of them
//            are done, on a thread that has joined them.
// Ownership: the recorder owns the logs, so a client that is killed in the middle of an operation
//            leaves it behind with outcome unknown.

#ifndef ACRE_TESTS_CHECKERS_RECORDER_H_
#define ACRE_TESTS_CHECKERS_RECORDER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/mutex.h"
#include "tests/checkers/history.h"

namespace acre::checkers {

// The operations of one client. Any number of them may be under way at once. `now` never falls.
class ClientLog {
 public:
  explicit ClientLog(uint32_t client) : client_(client) {}
  ClientLog(const ClientLog&) = delete;
  ClientLog& operator=(const ClientLog&) = delete;

  // Call it before anything of the operation can take effect. Gives its name for End*().
  size_t StartGet(uint64_t now, absl::string_view key, uint32_t home = 0);
  size_t StartPut(uint64_t now, absl::string_view key, absl::string_view value, uint32_t home = 0);
  size_t StartDelete(uint64_t now, absl::string_view key, uint32_t home = 0);

  // The answer is here. What never ends has outcome unknown.
  void EndGet(size_t operation, uint64_t now, absl::optional<absl::string_view> seen);
  void EndPut(size_t operation, uint64_t now);
  void EndDelete(size_t operation, uint64_t now, absl::optional<bool> found = absl::nullopt);
  // An error that says that nothing happened, and nothing will.
  void EndFailed(size_t operation, uint64_t now);
  // Any other error.
  void EndUnknown(size_t operation, uint64_t now);

 private:
  friend class Recorder;
  size_t Start(OperationKind kind, uint64_t now, absl::string_view key, uint32_t home);
  Operation& End(size_t operation, uint64_t now, Outcome outcome);

  const uint32_t client_;
  std::vector<Operation> operations_;
};

class Recorder {
 public:
  // Lives as long as the recorder.
  ClientLog* AddClient();
  // The home died: history.h says when. Any thread.
  void AddCut(uint32_t home, uint64_t at);
  // All of it, by the times of invocation. The recorder is as new afterwards, its logs are gone.
  History Take();

 private:
  Mutex mutex_;
  std::vector<std::unique_ptr<ClientLog>> logs_ ABSL_GUARDED_BY(mutex_);
  std::vector<Cut> cuts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_RECORDER_H_
