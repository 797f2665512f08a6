// LockHome: a server's part in the locks of its buckets that clients take by themselves (docs/updates.md): who these
// clients are, their intents, and what happens when one of them dies: fence, repair of the data, repair of the
// queues (docs/alock.md).
//
// A client joins on a control connection, which its service thread answers whatever its other threads do; then the
// connection of the thread that takes locks sits down in its name. From then on the client is one participant: when
// either connection breaks, when it does not answer, or when a queue stands still behind it (kStandstillLooks), it is
// dead for this home. What it has to do to take part again: join anew, under a new lock id.
//
// On shm a participant is a process that we may kill, and a fence kills it, unless it has said farewell
// (kvs/lock_wire.h): closing its queue pairs is not enough where its own CPU executes its requests. The whole
// process: that is what a client gives for the right to write by itself.
//
// Threads:   confined to the scheduler's, but where it says so. Made by the thread that hands the scheduler over.
// Ownership: owns the intents, the control connections and a queue pair to itself. Borrows all that Options names.
//            Goes after all connections that sit here.

#ifndef ACRE_SERVER_LOCK_HOME_H_
#define ACRE_SERVER_LOCK_HOME_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvs/lock_wire.h"
#include "kvs/slot_repair.h"
#include "kvs/table.h"
#include "lock/lock_keeper.h"
#include "lock/lock_repair.h"
#include "lock/remote_repair.h"
#include "runtime/mutex.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"
#include "server/lock_control.h"
#include "server/process_hold.h"
#include "transport/bootstrap_server.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::server {

class LockHome final : private LockSurvivors, private LockKeeper::Fence {
 public:
  // How often queues are looked at, and in how many looks in a row one that is awaited may be found as it was, before
  // the one behind whom it stands still counts as dead: 2 s. Looks, not a time: while the home itself stands still
  // nobody is late.
  static constexpr uint64_t kLookNs = 250'000'000;
  static constexpr uint32_t kStandstillLooks = 8;
  // How long a control connection may take to join.
  static constexpr uint64_t kJoinNsMax = 5'000'000'000;
  // How long a participant may take to answer a question while a queue is repaired.
  static constexpr uint64_t kAnswerNsMax = 1'000'000'000;
  static constexpr size_t kParticipantsMax = 1024;

  struct Options {
    Scheduler* scheduler = nullptr;
    transport::Fabric* fabric =
        nullptr;  // That made the regions: all atomics on them come through it.
    std::vector<transport::MemoryRegion*> regions;
    kvs::Table* table = nullptr;
    std::function<uint32_t()> next_region_id;  // 0: there is none left.
    std::function<void(absl::Span<uint8_t>)> fill_random;
    uint64_t view = 0;  // Of the server's cluster.
  };
  // The errors of Fabric's functions.
  static absl::StatusOr<std::unique_ptr<LockHome>> Create(Options options);
  ~LockHome() override;
  LockHome(const LockHome&) = delete;
  LockHome& operator=(const LockHome&) = delete;

  // Ends all that is under way, and the control connections; nothing is repaired any more. The scheduler does
  // not run any more.
  void Stop();

  // A control connection has come. One too many is turned away.
  void AddControl(transport::ArrivingPeer peer);

  // ---- Any thread.

  // Closes the connection that sits, on its own thread, then calls `closed`: nothing that came on it takes effect
  // any more. Called on the home's thread, at most once; not if the connection has left by then.
  using CloseConnection = std::function<void(std::function<void()> closed)>;
  // The connection sits for this participant from now on: once for each. Gives the participant's intents, WRITE for
  // that peer.
  // Errors: NotFound - no such participant, or no more. PermissionDenied - a wrong ticket. FailedPrecondition - another
  // one sits there.
  absl::StatusOr<const transport::MemoryRegion*> Sit(const kvs::LockKeysRequest& who,
                                                     CloseConnection close);
  // It is about to be told the keys of the memory. `pid`: of its peer, 0: not of this machine. On shm a fence kills
  // that process from now on, unless it has said farewell, which it can by now.
  // Errors: NotFound - it is no participant any more. Those of ProcessHold::Open.
  absl::Status Arm(uint32_t lock_id, int pid);
  // The connection that sat there is gone, or going: nothing that came on it takes effect any more.
  void Leave(uint32_t lock_id);
  // Where other clients reach a participant. NotFound: there is none of that id, or no more.
  absl::StatusOr<std::string> EndpointOf(uint32_t lock_id) const;
  // `reporter` cannot reach `other`. If that one is here and answers, it is the reporter who has to go: its place in
  // some queue is known to nobody.
  void OnUnreachable(uint32_t reporter, uint32_t other);

  struct Counts {
    uint64_t participants = 0;  // Now.
    uint64_t joined = 0;        // Since the start; likewise:
    uint64_t fenced = 0;
    uint64_t killed = 0;  // Of the fenced: processes.
    uint64_t queues_repaired = 0;
  };
  Counts counts() const;

 private:
  struct Participant;
  // How a queue was found, and in how many looks in a row.
  struct Standstill {
    std::vector<RemoteWord> queue;
    uint32_t looks = 0;
    size_t left_count = 0;  // Of those nearest to the head, who have said that they have left.
  };

  explicit LockHome(Options options);
  // Makes the queue pair to itself, anew if there was one: it breaks with the network of a card.
  Task<absl::Status> ConnectToItself();
  absl::StatusOr<std::unique_ptr<transport::MemoryRegion>> MakeRegion(uint32_t region_id,
                                                                      size_t bytes,
                                                                      uint32_t peer_rights,
                                                                      absl::string_view name);
  absl::StatusOr<LockRegionKeys> OwnKeys();
  absl::Status MakeRepair();

  Task<void> Welcome(transport::ArrivingPeer peer);
  bool MayJoin(const transport::QueuePair& queue_pair) const;
  absl::StatusOr<kvs::JoinAnswer> Join(LockControlConnection* control,
                                       const kvs::JoinRequest& request);
  void OnControlGone(const LockControlConnection* control);
  // Connections that broke, or whose participant is buried. Not from inside a call of one.
  void DropGone();
  Task<void> OnUnreachableTask(uint32_t reporter, uint32_t other);
  // Null: none. The pointer is good on the home's thread till ForgetDead().
  Participant* Find(uint32_t lock_id) const;
  bool IsHere(uint32_t lock_id) const;

  // What is done now and then: forgets the dead that no queue leads to, buries those behind whom queues stand still.
  Task<void> Watch();
  void DropIdleControls();
  void ForgetDead();
  Task<void> LookForStandstills();
  // The one behind whom it stands still is given up; or it is known of one more that he has left.
  Task<void> JudgeStandstill(uint64_t lock);

  // LockKeeper::Fence.
  Task<void> Close(uint32_t lock_id) override;
  Task<absl::Status> MendHome() override;
  Task<void> KillUnlessGone(Participant* participant);
  // LockSurvivors.
  Task<absl::StatusOr<bool>> StandBy(RemoteWord word, absl::Span<const uint32_t> dead) override;
  Task<absl::Status> SetSuccessor(RemoteWord word, RemoteWord successor) override;
  Task<absl::StatusOr<bool>> HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) override;
  Task<absl::Status> GrantLeadership(RemoteWord word) override;
  Task<absl::StatusOr<bool>> HasLeft(RemoteWord word);
  Task<absl::StatusOr<bool>> Ask(kvs::LockControl question, RemoteWord word, RemoteWord other,
                                 absl::Span<const uint32_t> dead);

  const Options options_;
  Scheduler* const scheduler_;
  kvs::LockTicket ticket_{};
  std::unique_ptr<transport::CompletionQueue> completion_queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<transport::MemoryRegion> landing_;
  std::unique_ptr<transport::QueuePair> loopback_;  // To ourselves,
  std::unique_ptr<transport::QueuePair> accepted_;  // and its other end.
  std::unique_ptr<RemoteRepair> repair_;
  std::unique_ptr<kvs::SlotRepair> slots_;
  std::unique_ptr<LockKeeper> keeper_;
  std::list<std::unique_ptr<LockControlConnection>> controls_;
  std::list<SpawnHandle> tasks_;  // And some that have ended.
  std::map<uint64_t, Standstill>
      standstills_;  // By lock. Forgotten whenever somebody died: queues move then.

  // Entries are added and erased on the home's thread; what it alone touches of them is not guarded.
  mutable Mutex mutex_;
  std::map<uint32_t, std::unique_ptr<Participant>> participants_ ABSL_GUARDED_BY(mutex_);
  // Loaded by any thread, stored by the home's.
  SharedWord joined_;
  SharedWord fenced_;
  SharedWord killed_;
  SharedWord queues_repaired_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_LOCK_HOME_H_
