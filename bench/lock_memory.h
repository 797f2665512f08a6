// LockMemory: the memory of a process of bench/locks that others reach: descriptors of its threads; and of a home the
// locks, what they guard, and what ALocks ask of a home.
//
// Threads:   GrantTo() reads what does not change any more: any one. The rest: the maker's.
// Ownership: borrows the load and the fabric, which outlive it.

#ifndef ACRE_BENCH_LOCK_MEMORY_H_
#define ACRE_BENCH_LOCK_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bench/lock_load.h"
#include "bench/lock_worker.h"
#include "lock/remote_descriptors.h"
#include "transport/fabric.h"

namespace acre::bench {

class LockMemory {
 public:
  // Of process `number`. Errors: the fabric's.
  static absl::StatusOr<std::unique_ptr<LockMemory>> Create(const LockLoadOptions* load,
                                                            uint32_t number,
                                                            transport::Fabric* fabric);

  // What thread `thread` of all may use, over its queue pair to us. Errors: the fabric's.
  absl::StatusOr<LockKeys> GrantTo(transport::QueuePair* queue_pair, uint32_t thread) const;

  // Of the process's i-th thread.
  LockWorker::Options WorkerOptions(uint32_t i) const;

  // The counters that our locks guard, in the order of LockIndex(); 0 for all others. Internal: a lock is not free.
  absl::StatusOr<std::vector<uint64_t>> Count() const;

 private:
  LockMemory(const LockLoadOptions* load, uint32_t number, transport::Fabric* fabric)
      : load_(*load), number_(number), node_(load->NodeOfProcess(number)), fabric_(fabric) {}

  bool is_home() const { return load_.HomeOfNode(node_) == number_; }
  uint32_t DescriptorsCount() const;
  absl::Status MakeRegion(uint32_t region_id, size_t size_bytes, uint32_t peer_rights,
                          const std::string& name,
                          std::unique_ptr<transport::MemoryRegion>* region);
  absl::Status MakeHome();
  absl::Status CountTable(TableLock kind, std::vector<uint64_t>* counted) const;

  const LockLoadOptions& load_;
  const uint32_t number_;
  const uint32_t node_;
  transport::Fabric* const fabric_;
  std::unique_ptr<RemoteDescriptors> descriptors_;
  // Of a home.
  std::unique_ptr<transport::MemoryRegion> locks_;
  std::unique_ptr<transport::MemoryRegion> arena_;
  std::vector<std::unique_ptr<transport::MemoryRegion>> intents_;  // By process.
};

// How often the threads of `workers` took each lock, in the order of LockIndex().
std::vector<uint64_t> TakenBy(absl::Span<const std::unique_ptr<LockWorker>> workers);

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_MEMORY_H_
