// RefusalLog: what became of those who were turned away at the door, counted by reason, and told in
// the log, though never so often that strangers could fill a disk with it.
//
// Threads: Note() on one; Count() on any.

#ifndef ACRE_TRANSPORT_REFUSAL_LOG_H_
#define ACRE_TRANSPORT_REFUSAL_LOG_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/shared_word.h"

namespace acre::transport {

// Why a client was refused. Not those to whom the server said that it has too many clients, or no such fabric: they
// know, and may come again.
enum class RefusalReason {
  kVersion,      // Of another release: handshake or memory layout.
  kNoSecret,     // It showed none, and the server has one.
  kSecret,       // Its proof is wrong: another secret, or a handshake of somebody else's, replayed.
  kNoneToProve,  // It wants a proof of the secret, and the server has none.
  kNonsense,     // Its bytes make no sense.
  kToken,        // It came on a fabric with a token that is nobody's: a guess, or it came too late.
  kCrowd,  // Closed unheard: too many others were at the door. Of many silent ones, or of one that only came
           // at a bad time, nobody can tell which.
};
constexpr size_t kRefusalReasonsCount = 7;

// "version", "no_secret", "secret", "none_to_prove", "nonsense", "token", "crowd": parts of names of counters.
absl::string_view RefusalReasonName(RefusalReason reason);

class RefusalLog {
 public:
  static constexpr uint64_t kLineIntervalNs = 60'000'000'000;

  // `log` takes lines for people; tests give their own. Default: a WARNING.
  explicit RefusalLog(std::function<void(const std::string&)> log = nullptr);
  RefusalLog(const RefusalLog&) = delete;
  RefusalLog& operator=(const RefusalLog&) = delete;

  // Counts, and logs one line per reason and kLineIntervalNs, which says how many it stands for.
  // `peer`: whence it came, for people.
  void Note(RefusalReason reason, absl::string_view peer, const absl::Status& why, uint64_t now_ns);
  // Refusals since the start.
  uint64_t Count(RefusalReason reason) const;

 private:
  struct Entry {
    // Relaxed: a counter orders nothing. Stored by Note()'s thread, loaded by any.
    SharedWord count;
    uint64_t told_count = 0;  // Of those the log has spoken.
    uint64_t next_line_ns = 0;
  };

  const std::function<void(const std::string&)> log_;
  std::array<Entry, kRefusalReasonsCount> entries_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_REFUSAL_LOG_H_
