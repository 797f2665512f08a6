// PeerLinks: one thread's connections to the others that take locks of the same home, made when somebody stands
// beside it in a queue (RemoteCohort, A4 and R3). They lead to the others' doors: lock/peer_door.h.
//
// Threads:    confined to the port's.
// Ownership:  borrows all that Options names. Outlives whoever awaits Find(). Close() it before the RemoteLockers
//             that use it go, so that no request of theirs is under way any more.
// Invariants: a peer has at most one connection, and at most one attempt at one is under way.
// Limits:     an attempt takes attempt_ns_max at most.

#ifndef ACRE_LOCK_PEER_LINKS_H_
#define ACRE_LOCK_PEER_LINKS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lock/peer_wire.h"
#include "lock/remote_cohort.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

class PeerLinks final : public LockPeers, private transport::CompletionSink {
 public:
  // Both may be lambdas that are coroutines: they stay where they are as long as their tasks run, which is till
  // Close() at most.
  //
  // Where the door of a participant is: asks the home. Errors: it takes no part any more, or the home is gone.
  using FindEndpoint = std::function<Task<absl::StatusOr<std::string>>(uint32_t lock_id)>;
  // Tells the home of a neighbour that cannot be reached. Ends when the home has heard of it.
  using ReportUnreachable = std::function<Task<void>(uint32_t lock_id)>;

  struct Options {
    transport::Fabric* fabric = nullptr;  // That of the port.
    transport::Port* port = nullptr;
    uint32_t lock_id = 0;  // Ours.
    PeerTicket ticket = {};
    FindEndpoint find_endpoint;
    ReportUnreachable report_unreachable;
    uint64_t attempt_ns_max = 2'000'000'000;
  };

  explicit PeerLinks(Options options);
  // As Close().
  ~PeerLinks() override;

  // The queue pair is good till the task next suspends, or as long as a request on it is awaited (Port::Execute).
  // Unavailable: says why.
  Task<absl::StatusOr<Peer>> Find(uint32_t lock_id) override;
  // Reports it, one report on one peer at a time: what comes while one is under way makes one more behind it, all
  // together. None on those of CloseTo().
  void OnUnreachable(uint32_t lock_id) override;

  // Closes the connections with the dead, who are not found any more. Who awaits something on them gets kFlushed.
  void CloseTo(absl::Span<const uint32_t> dead);
  // Closes all, and ends what is under way: Find() is Unavailable from now on. Does not use the port afterwards.
  void Close();

  size_t links_count() const { return links_.size(); }  // With attempts.

 private:
  // A connection, or an attempt at one. Shared by links_, the attempt's task and those who await its end.
  struct Link {
    explicit Link(Scheduler* scheduler) : settled(scheduler) {}
    std::unique_ptr<transport::QueuePair> queue_pair;  // Null: not yet, or not any more.
    KeyPieces pieces;
    Event settled;        // The attempt has succeeded, or the link has ended:
    absl::Status status;  // then why.
    SpawnHandle attempt;
  };
  struct Report {
    bool once_more = false;
    SpawnHandle task;
  };

  // The peer, if it is connected. A connection that has broken ends here, if not before.
  absl::optional<Peer> FindConnected(uint32_t lock_id);
  Task<void> Attempt(uint32_t lock_id, std::shared_ptr<Link> link);
  Task<absl::Status> Connect(uint32_t lock_id, Link* link);
  // Closes it, if it is there, and tells those who await it.
  void End(uint32_t lock_id, absl::Status status);
  Task<void> RunReport(uint32_t lock_id);
  void OnCompletion(const transport::Completion& completion) override;

  const Options options_;
  Scheduler* const scheduler_;
  absl::flat_hash_map<uint32_t, std::shared_ptr<Link>> links_;
  absl::flat_hash_map<uint32_t, Report> reports_;  // Under way.
  absl::flat_hash_set<uint32_t> dead_;
  bool is_closed_ = false;
};

}  // namespace acre

#endif  // ACRE_LOCK_PEER_LINKS_H_
