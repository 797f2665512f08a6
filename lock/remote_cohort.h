// The remote cohort of an ALock, step by step: how a thread that does not have the lock mapped takes its place in
// the queue and leaves it, with READs, WRITEs and COMPARE_SWAPs through the fabric. The names of the steps are
// those of docs/alock.md and of the Promela models beside this file.
//
// The two kinds of lock that ALock is measured against are parts of it (LockKind): without the other cohort a
// plain RDMA MCS lock; without the queue, too, an RDMA spin lock, whose tail is who holds it. Threads of the home
// take those through the fabric like everybody else.
//
// Threads:   confined to the port's. The descriptors are WRITTEN by peers meanwhile.
// Ownership: borrows all that Options names. Who drives the steps, and gives places up: lock/remote_locker.h.

#ifndef ACRE_LOCK_REMOTE_COHORT_H_
#define ACRE_LOCK_REMOTE_COHORT_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "lock/lock_intent.h"
#include "lock/lock_regions.h"
#include "lock/lock_words.h"
#include "lock/pause.h"
#include "lock/remote_descriptors.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/address.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

// A home as one remote thread reaches it.
struct RemoteHome {
  transport::QueuePair* queue_pair = nullptr;
  LockRegionKeys regions;
  // Of this process's intents there, a key to WRITE. Empty: that home keeps none, its locks are not repaired.
  absl::optional<transport::RemoteKey> intents;
};

// The processes that wait for locks of the same home, as one thread reaches them.
class LockPeers {
 public:
  struct Peer {
    transport::QueuePair* queue_pair = nullptr;  // Of the thread's port.
    transport::RemoteKey descriptors;            // Its RemoteDescriptors for that home: WRITE.
  };
  virtual ~LockPeers() = default;
  // Connects where need be. Unavailable: it cannot be reached.
  virtual Task<absl::StatusOr<Peer>> Find(uint32_t process_id) = 0;
  // A link or a grant did not reach that process, which stands beside us in a queue. If it is dead, the home repairs
  // the queue. If it lives, and only the way between us broke, nobody would: so tell the home, which fences one of
  // us two.
  virtual void OnUnreachable(uint32_t process_id) = 0;
};

enum class LockKind : uint8_t {
  kALock,
  kMcs,  // No order between who is local and who is not: one queue.
  kSpin,  // No order at all. Unlocks by COMPARE_SWAP: with kHca a WRITE may be undone by one that fails.
};

class RemoteCohort {
 public:
  struct Options {
    transport::Port* port = nullptr;
    const RemoteHome* home = nullptr;
    LockPeers* peers = nullptr;
    RemoteDescriptors* descriptors = nullptr;
    LockKind kind = LockKind::kALock;
    uint32_t budget = LockBudgets{}.remote;
  };
  // Where a place is on its way. Set before the requests of a step are posted to what is to be done when
  // they have completed, so that anybody can go on from there.
  enum class Phase : uint8_t {
    kOutside,     // In no queue. A2, A3 are to be done.
    kEnqueued,    // A3 was posted: did it succeed?
    kLinking,     // A4 is to be done.
    kWaiting,     // A5.
    kAsking,      // Granted leadership: B1 with a READ of its own.
    kLeading,     // The line has landed: B1.
    kContending,  // It has landed again, behind B2: B3.
    kHeld,
    kLeaving,    // R1 is to be done.
    kLeft,       // R1's COMPARE_SWAP was posted: did it succeed?
    kFlushing,   // A successor is known, and data may be under way: R3 once they have completed.
    kAwaitNext,  // R2.
    kHandingOn,  // R3 is to be done.
    kLost,       // The home is gone, or has given us up.
  };
  // What a place is to become.
  enum class Goal : uint8_t {
    kHold,
    kTry,  // kHeld, or kOutside if somebody is there.
    kLeave,
  };
  // The words of a place that requests read and write: private memory of the process that only completes with
  // them. One for each descriptor, in `landing_region`.
  struct Landing {
    SharedWord line[3];  // Of the lock: where READs land.
    SharedWord old;      // Of COMPARE_SWAPs. kNoAnswer till one has completed.
    SharedWord out;      // What a WRITE of one word takes along.
    SharedWord reserved[3];
    SharedWord intent[4];
    SharedWord reserved2[4];
  };
  static_assert(sizeof(Landing) == 2 * kLineBytes);
  // The word of no descriptor: process ids are smaller.
  static constexpr uint64_t kNoAnswer = UINT64_MAX;

  struct Place {
    RemoteWord word;  // Of this acquisition; between two of them, of the last one.
    Landing* landing = nullptr;
    const transport::MemoryRegion* landing_region = nullptr;
    GlobalAddress lock;
    transport::RemoteKey lock_key;
    Phase phase = Phase::kOutside;
    Goal goal = Goal::kHold;
    RemoteWord expected;    // E.
    uint32_t budget = 0;    // Held: its budget. Leaving: what its successor gets.
    bool gives_up = false;  // Leaving: a leader that did not enter. B2 comes first.
    Pause pause;
  };

  explicit RemoteCohort(const Options& options);

  // A1. `place` has its word and its memory. Unavailable: `lock` is in no region that the home has named.
  absl::Status Prepare(Place* place, GlobalAddress lock, Goal goal);

  // A2, A3, B1, once: from kOutside to kHeld, or to what is to be done next. Its requests use the place's landing
  // only: if the task is destroyed while they are under way, `phase` and the landing say how to go on.
  Task<void> Enqueue(Place* place);
  // R1, for a place that is held: from kHeld to kOutside, or to what is to be done next. Likewise; `data` is
  // posted before, and outlives the requests.
  Task<void> Leave(Place* place, absl::Span<const transport::WorkRequest> data);
  // Drives the place until its goal is reached, which may change meanwhile, or it is lost. Not destroyed before
  // its end, unless the home is given up altogether.
  Task<void> Run(Place* place);

  bool home_is_lost() const;

 private:
  // One step. Returns when there is something to decide on again.
  Task<void> Step(Place* place);
  Task<void> Link(Place* place);
  Task<void> HandOn(Place* place);
  // WRITEs one word into the descriptor of another process. False: it may not have got there, and OnUnreachable()
  // has been called.
  Task<bool> Tell(Place* place, RemoteWord peer, uint64_t offset_bytes, uint64_t value);
  // Posts to the home. A failure makes the place kLost.
  Task<void> Execute(Place* place, absl::Span<transport::WorkRequest> batch);
  // READs the line, after WRITING victim if so.
  Task<void> ReadLine(Place* place, bool become_victim);

  void JudgeEnqueue(Place* place);
  void JudgeLine(Place* place);
  void JudgeLeave(Place* place);
  void JudgeGrant(Place* place);
  void AwaitNext(Place* place);
  void Enter(Place* place, uint32_t budget);
  void StartLeaving(Place* place, uint32_t grant);
  // The same of a leader that does not enter.
  void GiveUpLead(Place* place);

  transport::WorkRequest Request(const Place& place, transport::Opcode opcode, SharedWord* local,
                                 uint32_t words, uint64_t offset_bytes) const;
  transport::WorkRequest BecomeVictim(const Place& place) const;
  transport::WorkRequest CompareSwapTail(const Place& place, uint64_t compare, uint64_t swap) const;

  const Options options_;
  Scheduler* const scheduler_;
};

}  // namespace acre

#endif  // ACRE_LOCK_REMOTE_COHORT_H_
