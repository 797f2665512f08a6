// VerbsEvents: what a card says of itself by its own (libibverbs calls them asynchronous events): a port lost its
// link, the card failed or was taken away, a queue broke.
//
// They are told to people, each in a line that says what happened, where, and what to do, and counted. What a peer can
// bring about (errors of queue pairs) is told the first time and then whenever there were twice as many, so that
// nobody fills a disk with it. Nothing here ends a connection: queue pairs learn of their end from their completions.
//
// Whoever watches fd() calls Take(), or TakeFor(), when it is readable. Several may: each event comes to one of them.
//
// Ownership:  borrows the card's context, whose queue of events there is one of in a process and card, librdmacm's
//             doing: of several fabrics on a card any may take an event, and tell and count it.
// Threads:    any.
// Limits:     no call blocks. The context's descriptor becomes non-blocking: a program that has a reader of its own
//             for the same card's events shares them with us.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_EVENTS_H_
#define ACRE_TRANSPORT_VERBS_VERBS_EVENTS_H_

#include <infiniband/verbs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "runtime/mutex.h"

namespace acre::transport {

// What events mean to us. In this order in counts.
enum class VerbsEventKind : uint8_t {
  kPortDown,
  kPortUp,
  kPortChanged,            // Addresses, partitions, the subnet's manager.
  kCardFailed,             // Or taken away: all on it is dead.
  kQueuePairFailed,        // Also by a peer's request that it may not make.
  kCompletionQueueFailed,  // Overflowed, or the card failed with it.
  kUnremarkable,           // Part of a connection's ordinary life; not told.
};
constexpr size_t kVerbsEventKindsCount = 7;

VerbsEventKind KindOf(ibv_event_type type);

// For people, of an event of card `card`: "card mlx5_0, port 1: ...; what to do".
std::string VerbsEventText(absl::string_view card, const ibv_async_event& event);

class VerbsEvents {
 public:
  enum class Level : uint8_t { kNote, kWarning };
  // Takes a line for people. Called under a lock: must not come back here.
  using Log = std::function<void(Level, const std::string&)>;

  // `context` outlives this. `log`: tests give their own; default: INFO and WARNING.
  explicit VerbsEvents(ibv_context* context, Log log = nullptr);
  VerbsEvents(const VerbsEvents&) = delete;
  VerbsEvents& operator=(const VerbsEvents&) = delete;

  // Readable: there are events. Non-blocking.
  int fd() const { return context_->async_fd; }

  // Takes what there is, at most a few at a time (fd() stays readable), acknowledges, counts and tells it.
  // False: nothing more will ever come, since the card was taken away, and fd() would report that for ever: whoever
  // watches it stops.
  bool Take();

  // The same for who watches fd() in an epoll set: takes it out of there when nothing more will ever come.
  void TakeFor(int epoll_fd);

  // How many were taken.
  uint64_t Count(VerbsEventKind kind) const;

  // Counts and tells one. For Take(), and for tests that have no card.
  void Note(const ibv_async_event& event);

 private:
  ibv_context* const context_;
  const std::string card_;
  const Log log_;
  mutable Mutex mutex_;
  std::array<uint64_t, kVerbsEventKindsCount> counts_ ABSL_GUARDED_BY(mutex_) = {};
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_EVENTS_H_
