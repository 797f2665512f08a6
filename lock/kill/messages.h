// What a home and its child processes say to each other beside the fabric: who is there, keys, the home's questions
// while it repairs a queue, and their answers.
//
// A child finds its end of a pair of packet sockets as descriptor kControlFd.

#ifndef ACRE_LOCK_KILL_MESSAGES_H_
#define ACRE_LOCK_KILL_MESSAGES_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/scoped_fd.h"

namespace acre::lock_kill {

constexpr int kControlFd = 3;

enum class MessageKind : uint32_t {
  // To a child.
  kSetup,      // process_id, place, word: seed, other: whether it is a local one; text: endpoints.
  kBoardKey,   // word: a key for the board.
  kLockKeys,   // word: a key for the locks; other: for its intents (remote), for the arena (local).
  kPeer,       // A remote child, process_id, has come; text: its endpoint.
  kPeerKey,    // word: process_id's key for its descriptors.
  kDead,       // `dead` are dead and fenced.
  kStop,       // Finish what you are at, and end.
  kStandBy,    // M1 of `word`. Answered, with `sequence`, like all below.
  kHasGrant,   // M5.
  kSuccessor,  // M3, M4: `other`.
  kLeadership,  // M5.
  // To the home.
  kReady,    // text: where a remote child listens.
  kKeyFor,   // word: a key for my descriptors, for process_id.
  kAnswer,   // sequence; word: 1: yes.
  kFinding,  // text: something is wrong.
  kLost,     // The home has given me up, and I have noticed.
};

struct Message {
  static constexpr size_t kDeadMax = 16;
  static constexpr size_t kTextMax = 200;

  MessageKind kind = MessageKind::kStop;
  uint32_t process_id = 0;
  uint32_t place = 0;
  uint32_t dead_count = 0;
  uint64_t sequence = 0;
  uint64_t word = 0;
  uint64_t other = 0;
  uint32_t dead[kDeadMax] = {};
  char text_bytes[kTextMax] = {};  // Ends with a 0.

  std::string text() const { return text_bytes; }
  // Cuts what is too long.
  void SetText(absl::string_view text);
  absl::Span<const uint32_t> dead_ids() const { return {dead, dead_count}; }
  // CHECKs that they fit.
  void SetDead(absl::Span<const uint32_t> ids);
};
static_assert(std::is_trivially_copyable_v<Message>);

// One end.
//
// Threads: any.
class Control {
 public:
  Control() = default;
  explicit Control(ScopedFd fd) : fd_(std::move(fd)) {}
  // The home's end, and the child's.
  static std::pair<Control, ScopedFd> MakePair();

  int fd() const { return fd_.get(); }
  // Never blocks. False: the other one has gone, or has taken nothing for long.
  bool Send(const Message& message) const;
  // False: nothing is there, or the other one has gone, which is for the kernel to tell.
  bool Receive(Message* message) const;
  // Waits for one. False: the other one has gone.
  bool Await(Message* message) const;

 private:
  ScopedFd fd_;
};

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_MESSAGES_H_
