// LockWorker: one thread of bench/locks, with a loop, a completion queue and queue pairs of its own: one to each
// process, its own among them (the locks that ALock is measured against take a node's own locks through the network,
// too, as in the paper).
//
// Threads:   confined to one at a time, for each call.
// Ownership: owns its connections. Borrows what Options names.

#ifndef ACRE_BENCH_LOCK_WORKER_H_
#define ACRE_BENCH_LOCK_WORKER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bench/lock_load.h"
#include "lock/local_arena.h"
#include "lock/local_lock.h"
#include "lock/locker.h"
#include "lock/remote_cohort.h"
#include "lock/remote_descriptors.h"
#include "lock/remote_locker.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::bench {

// What a process has granted to one thread of another. Keys that are none are 0.
struct LockKeys {
  transport::RemoteKey descriptors;
  // Of a home.
  transport::RemoteKey locks;
  transport::RemoteKey intents;  // Of the thread's process.
  transport::RemoteKey arena;    // To processes of its node only.
};

class LockWorker final : private LockPeers {
 public:
  struct Options {
    const LockLoadOptions* load = nullptr;
    uint32_t number = 0;  // Of the thread.
    transport::Fabric* fabric = nullptr;
    RemoteDescriptors* descriptors = nullptr;  // Of the process.
    uint32_t region_id_first = 0;              // For regions of its own, kRegionsMax of them.
    // In the home's own process, else null.
    transport::MemoryRegion* locks = nullptr;
    transport::MemoryRegion* arena = nullptr;
  };
  static constexpr uint32_t kRegionsMax = 1 << 12;

  explicit LockWorker(const Options& options);
  ~LockWorker() override;
  LockWorker(const LockWorker&) = delete;
  LockWorker& operator=(const LockWorker&) = delete;

  // Connects to every process; its number is what it tells them. Errors: the fabric's.
  absl::Status Connect(absl::Span<const std::string> endpoints);
  // Makes ready to take locks, with what each process has granted. Errors: the fabric's.
  absl::Status Attach(absl::Span<const LockKeys> keys);

  // The slice, on the calling thread. Errors: Unavailable - a process is gone.
  absl::StatusOr<LockTotal> Run(const LockSlice& slice);

  // How often it took each lock so far where holders count, in the order of LockIndex(); else empty.
  const std::vector<uint64_t>& taken() const { return taken_; }

 private:
  // A lock that was picked.
  struct Pick {
    uint32_t node = 0;
    uint32_t number = 0;
  };
  // The locks of a node, through the network.
  struct Home {
    RemoteHome recorded;  // With intents.
    RemoteHome plain;
    std::unique_ptr<RemoteLocker> lockers[3];  // By TableLock.
  };

  Task<absl::StatusOr<Peer>> Find(uint32_t process_id) override;
  // A node that dies ends the run.
  void OnUnreachable(uint32_t /*process_id*/) override {}
  absl::Status AttachOwnNode(const LockKeys& keys);
  absl::StatusOr<std::unique_ptr<RemoteLocker>> MakeLocker(uint32_t node, TableLock kind,
                                                           const RemoteHome* home);

  Pick PickLock(const LockTask& task);
  MappedLock Mapped(TableLock kind, Pick pick) const;
  Task<absl::Status> Load(LockSlice slice, LockTotal* total);
  // An operation. Both return the tick at which it had the lock.
  uint64_t TakeCpuLock(TableLock kind, Pick pick);
  Task<absl::StatusOr<uint64_t>> TakeThroughFabric(TableLock kind, Pick pick);
  // What the holder of a mapped lock does.
  void UseMapped(TableLock kind, Pick pick);
  void Hold();
  // Counts what was posted since the last call for the side of that; from now on it is `next_side`.
  void SettleVerbs(LockSide next_side, LockTotal* total);
  // Waits till nothing is handed on in the background.
  Task<void> Drain();

  const Options options_;
  const LockLoadOptions& load_;
  const uint32_t node_;
  Scheduler scheduler_;
  const TickClock ticks_;
  const uint64_t hold_ticks_;
  Random random_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  std::vector<std::unique_ptr<transport::QueuePair>> queue_pairs_;  // By process.
  std::vector<Peer> peers_;                                         // Likewise.
  std::vector<Home> homes_;                                         // By node.
  std::unique_ptr<transport::MemoryRegion> counter_;  // Where it reads and writes guarded ones.
  uint32_t next_region_id_ = 0;
  SharedWord* own_locks_ = nullptr;  // The region of the own node's locks, where it is mapped.
  std::unique_ptr<LocalArena> arena_;
  std::unique_ptr<LockThread> lock_thread_;
  std::vector<uint64_t> taken_;
  transport::VerbCounters verbs_;  // Of all queue pairs, up to the last SettleVerbs().
  LockSide verbs_side_ = kOwnLock;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_WORKER_H_
