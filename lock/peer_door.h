// PeerDoor: where those who take locks of the same home come to write into this process's descriptors (a link in
// A4, a grant in R3: docs/alock.md). Whoever shows the ticket of a home, and names us as we are known there, is let
// in: it gets a right to WRITE on our RemoteDescriptors for that home, and is told the key (lock/peer_wire.h). The
// other side: lock/peer_links.h.
//
// A process that takes part at several homes serves them all at one door. The ids of a process at its homes differ:
// an id has its home's number in it.
//
// Threads:    confined to the port's: a process's service thread, which also answers what homes ask of it.
// Ownership:  borrows the fabric, the port, and what Serve() is given, till Unserve().
// Invariants: after CloseTo() nothing that those dead have posted lands in the descriptors, as far as the fabric
//             goes: on shm, where whoever posts executes, and between processes whose threads share queue pairs
//             (verbs), who is fenced must also have been killed.
// Limits:     connections_max of each participation. Strangers cost only their own connection, and are counted.

#ifndef ACRE_LOCK_PEER_DOOR_H_
#define ACRE_LOCK_PEER_DOOR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "lock/peer_wire.h"
#include "lock/remote_descriptors.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

// Why somebody was not let in, or was shown out.
enum class PeerRefusal : uint8_t {
  kNonsense,   // Its bytes make no sense: of another release, or a stranger. Also once it is in.
  kNotServed,  // It wants somebody who takes no part here, or not any more.
  kTicket,     // It does not have the home's ticket.
  kDead,       // Its home has said that it is dead.
  kCrowd,      // Too many are in.
};
constexpr size_t kPeerRefusalsCount = 5;

class PeerDoor final : private transport::CompletionSink {
 public:
  struct Options {
    transport::Fabric* fabric = nullptr;  // That of the descriptors.
    transport::Port* port = nullptr;
    // Of one participation: of each process that takes part, one for each of its threads.
    size_t connections_max = 1024;
    // Where to listen, as Fabric::ListenAt() has it: the network of the home. "": as Listen().
    std::string host = {};
  };
  // Listens from now on. The errors of Fabric::Listen and Scheduler::WatchFd.
  static absl::StatusOr<std::unique_ptr<PeerDoor>> Create(const Options& options);
  // Closes all connections.
  ~PeerDoor() override;

  // Where others connect, and the same for those who have reached this machine at `host` (Listener).
  std::string endpoint() const { return listener_->endpoint(); }
  std::string EndpointFor(absl::string_view host) const { return listener_->EndpointFor(host); }

  // Lets in whoever takes part at the home that gave us `ticket`, and there knows us as descriptors->process_id().
  // AlreadyExists: that id is served (another home gave the same, or it came back and Unserve() is to be called).
  [[nodiscard]] absl::Status Serve(RemoteDescriptors* descriptors, const PeerTicket& ticket);
  // No more: closes what connections there are, forgets who is dead. The descriptors may go. No effect if it is not
  // served.
  void Unserve(uint32_t lock_id);

  // For our part as `lock_id`: closes the connections of the dead, for good: they are not let in any more. When it
  // returns nothing of theirs lands any more (see above), so that what the home asks about them (M1, M5) can be
  // answered. No effect if it is not served.
  void CloseTo(uint32_t lock_id, absl::Span<const uint32_t> dead);

  // Who is in, as `lock_id`: connections.
  size_t connections_count(uint32_t lock_id) const;
  uint64_t refusals_count(PeerRefusal why) const { return refusals_[static_cast<size_t>(why)]; }

 private:
  struct Connection {
    uint32_t from_lock_id;
    std::unique_ptr<transport::QueuePair> queue_pair;
  };
  struct Participation {
    RemoteDescriptors* descriptors;
    PeerTicket ticket;
    std::vector<Connection> connections;
    absl::flat_hash_set<uint32_t> dead;
  };

  PeerDoor(const Options& options, std::unique_ptr<transport::Listener> listener);

  void OnListener();
  // Why it must not come in; else *into is where to.
  absl::optional<PeerRefusal> Judge(absl::string_view private_data, PeerHello* hello,
                                    Participation** into);
  void LetIn(transport::ConnectionRequest* request, uint32_t from_lock_id, Participation* into);
  // Of one of ours.
  void OnCompletion(const transport::Completion& completion) override;
  void Refuse(PeerRefusal why) { ++refusals_[static_cast<size_t>(why)]; }
  Participation* Find(uint32_t lock_id);
  // Closes all connections of `of` that `is_meant` says.
  template <class IsMeant>
  void CloseIf(Participation* of, const IsMeant& is_meant);

  const Options options_;
  const std::unique_ptr<transport::Listener> listener_;
  std::vector<std::unique_ptr<Participation>> participations_;  // One for each home: few.
  std::array<uint64_t, kPeerRefusalsCount> refusals_ = {};
};

}  // namespace acre

#endif  // ACRE_LOCK_PEER_DOOR_H_
