#include "bench/lock_memory.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "lock/lock_intent.h"
#include "transport/region_header.h"

namespace acre::bench {
namespace {

// A thread has one lock at a time, and descriptors of three kinds of lock for each node.
constexpr uint32_t kDescriptorsOfThread = 8;
// It uses some in turn (LockThread).
constexpr uint32_t kLocalDescriptorsOfThread = 8;

constexpr uint32_t kDescriptorsRegion = 1;
constexpr uint32_t kArenaRegion = 2;
constexpr uint32_t kIntentsRegionFirst = 10'000;    // And up: plus the process's number.
constexpr uint32_t kWorkerRegionFirst = 1'000'000;  // And up, kRegionsMax for each.

}  // namespace

absl::StatusOr<std::unique_ptr<LockMemory>> LockMemory::Create(const LockLoadOptions* load,
                                                               uint32_t number,
                                                               transport::Fabric* fabric) {
  auto memory = absl::WrapUnique(new LockMemory(load, number, fabric));
  auto descriptors =
      RemoteDescriptors::Create(fabric, kDescriptorsRegion, number + 1, memory->DescriptorsCount());
  if (!descriptors.ok()) return descriptors.status();
  memory->descriptors_ = *std::move(descriptors);
  const absl::Status status = memory->is_home() ? memory->MakeHome() : absl::OkStatus();
  if (!status.ok()) return status;
  return memory;
}

uint32_t LockMemory::DescriptorsCount() const {
  return std::min(RemoteWord::kDescriptorsMax, load_.threads * load_.nodes * kDescriptorsOfThread);
}

absl::Status LockMemory::MakeRegion(uint32_t region_id, size_t size_bytes, uint32_t peer_rights,
                                    const std::string& name,
                                    std::unique_ptr<transport::MemoryRegion>* region) {
  auto made = fabric_->CreateRegion(
      {.region_id = region_id, .size_bytes = size_bytes, .peer_rights = peer_rights, .name = name});
  if (!made.ok()) return made.status();
  *region = *std::move(made);
  return absl::OkStatus();
}

absl::Status LockMemory::MakeHome() {
  absl::Status status = MakeRegion(kLockRegionFirst + node_, TableRegionBytes(load_),
                                   transport::kRightsAll, "locks", &locks_);
  // The first descriptor is never used.
  const size_t arena_bytes =
      transport::kRegionHeaderBytes +
      (size_t{load_.processes} * load_.threads * kLocalDescriptorsOfThread + 1) * kLineBytes;
  if (status.ok()) {
    status = MakeRegion(kArenaRegion, arena_bytes, transport::kRightRead | transport::kRightWrite,
                        "local descriptors", &arena_);
  }
  intents_.resize(load_.processes_count());
  for (uint32_t process = 0; process < intents_.size() && status.ok(); ++process) {
    status = MakeRegion(kIntentsRegionFirst + process, LockIntentsBytes(DescriptorsCount()),
                        transport::kRightWrite, "intents", &intents_[process]);
  }
  return status;
}

absl::StatusOr<LockKeys> LockMemory::GrantTo(transport::QueuePair* queue_pair,
                                             uint32_t thread) const {
  LockKeys keys;
  absl::Status status;
  const auto grant = [&](const transport::MemoryRegion& region, uint32_t rights,
                         transport::RemoteKey* key) {
    if (!status.ok()) return;
    const absl::StatusOr<transport::RemoteKey> granted = queue_pair->Grant(region, rights);
    status = granted.status();
    if (status.ok()) *key = *granted;
  };
  const uint32_t process = load_.ProcessOfThread(thread);
  grant(descriptors_->region(), transport::kRightWrite, &keys.descriptors);
  if (is_home()) {
    grant(*locks_, transport::kRightsAll, &keys.locks);
    grant(*intents_[process], transport::kRightWrite, &keys.intents);
    if (load_.NodeOfProcess(process) == node_ && process != number_) {
      grant(*arena_, transport::kRightRead | transport::kRightWrite, &keys.arena);
    }
  }
  if (!status.ok()) return status;
  return keys;
}

LockWorker::Options LockMemory::WorkerOptions(uint32_t i) const {
  LockWorker::Options options;
  options.load = &load_;
  options.number = number_ * load_.threads + i;
  options.fabric = fabric_;
  options.descriptors = descriptors_.get();
  options.region_id_first = kWorkerRegionFirst + i * LockWorker::kRegionsMax;
  options.locks = locks_.get();
  options.arena = arena_.get();
  return options;
}

absl::StatusOr<std::vector<uint64_t>> LockMemory::Count() const {
  std::vector<uint64_t> counted(load_.counts ? LockIndexesCount(load_) : 0);
  if (is_home()) {
    for (size_t i = 0; i < kTableLocksCount; ++i) {
      const absl::Status status = CountTable(static_cast<TableLock>(i), &counted);
      if (!status.ok()) return status;
    }
  }
  return counted;
}

absl::Status LockMemory::CountTable(TableLock kind, std::vector<uint64_t>* counted) const {
  for (uint32_t i = 0; i < load_.LocksOfNode(node_, load_.locks_max); ++i) {
    const GlobalAddress address = TableLockAddress(load_, kind, node_, i);
    const SharedWord* const words = locks_->words() + address.offset_bytes() / kWordBytes;
    const auto& lock = *reinterpret_cast<const LockWords*>(words);
    // A ticket lock's words are counts.
    if (kind != TableLock::kTicket && (lock.local_tail.Load(std::memory_order_acquire) != 0 ||
                                       lock.remote_tail.Load(std::memory_order_acquire) != 0)) {
      return absl::InternalError(absl::StrCat("lock ", i, " of node ", node_, ", of kind ",
                                              TableLockName(kind), ", is not free at the end"));
    }
    if (load_.counts) {
      (*counted)[LockIndex(load_, kind, node_, i)] =
          words[kGuardedOffsetBytes / kWordBytes].Load(std::memory_order_acquire);
    }
  }
  return absl::OkStatus();
}

std::vector<uint64_t> TakenBy(absl::Span<const std::unique_ptr<LockWorker>> workers) {
  std::vector<uint64_t> taken;
  for (const auto& worker : workers) {
    taken.resize(worker->taken().size());
    for (size_t i = 0; i < taken.size(); ++i) taken[i] += worker->taken()[i];
  }
  return taken;
}

}  // namespace acre::bench
