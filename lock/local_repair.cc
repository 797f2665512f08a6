#include "lock/local_repair.h"

#include <utility>

#include "glog/logging.h"

namespace acre {
namespace {

using Steps = LocalCohort<SharedWord>;

}  // namespace

LocalRepair::LocalRepair(Scheduler* scheduler, LocalArena* arena, LockRegions regions,
                         GuardedData* data)
    : scheduler_(scheduler), arena_(arena), regions_(std::move(regions)), data_(data) {
  scheduler_->AddPoller(this);
}

LocalRepair::~LocalRepair() { scheduler_->RemovePoller(this); }

absl::optional<LocalRepair::Entry> LocalRepair::Read(LocalWord word) const {
  const LocalDescriptor& descriptor = *arena_->Find(word);
  Entry entry;
  // Its owner changes `word` before the others (A1): if it is the same at the end, they belong to it. Each acquire,
  // so that `word` is loaded last.
  entry.lock = descriptor.lock.Load(std::memory_order_acquire);
  entry.pred = LocalWord::FromBits(descriptor.pred.Load(std::memory_order_acquire));
  entry.has_left = Steps::Granted(descriptor, word).has_value();
  if (descriptor.word.Load(std::memory_order_acquire) != word.bits()) return absl::nullopt;
  return entry;
}

bool LocalRepair::IsInQueue(const LockWords& lock, GlobalAddress address, LocalWord word) const {
  LocalWord at = LocalWord::FromBits(lock.local_tail.Load(std::memory_order_acquire));
  // No queue is longer than the arena; words that somebody broke may lead in circles.
  for (uint32_t i = 0; i < arena_->descriptors_count() && !at.is_null(); ++i) {
    if (at == word) return true;
    const absl::optional<Entry> entry = Read(at);
    // It has left: nobody stands before it any more.
    if (!entry.has_value() || entry->lock != address.bits() || entry->has_left) return false;
    at = entry->pred;
  }
  return false;
}

void LocalRepair::Adopt(uint32_t process_id) {
  const uint32_t end = arena_->claimed_end();
  for (uint32_t index = 1; index < end; ++index) {
    const LocalDescriptor& descriptor = *arena_->Find(LocalWord(index, 0));
    // Relaxed: its owner is dead, and was seen to be.
    if (descriptor.owner.Load(std::memory_order_relaxed) != process_id) continue;
    const LocalWord word = LocalWord::FromBits(descriptor.word.Load(std::memory_order_relaxed));
    const GlobalAddress address =
        GlobalAddress::FromBits(descriptor.lock.Load(std::memory_order_relaxed));
    LockWords* const lock = FindLock(regions_, address);
    if (word.index() != index || lock == nullptr || !IsInQueue(*lock, address, word)) {
      arena_->Free(LocalWord(index, word.sequence()));
      continue;
    }
    ++adopted_count_;
    orphans_.push_back({.word = word, .address = address, .lock = lock});
  }
}

bool LocalRepair::Step(const Orphan& orphan) {
  LocalDescriptor* const mine = arena_->Find(orphan.word);
  if (!Steps::Granted(*mine, orphan.word).has_value()) {
    // L1. It had not left. Nobody of this cohort enters before it does.
    const LocalWord pred = LocalWord::FromBits(mine->pred.Load(std::memory_order_relaxed));
    if (!pred.is_null() && !Steps::Granted(*arena_->Find(pred), pred).has_value()) return false;
    data_->RepairLocal(orphan.address, orphan.word);
    Steps::Grant(mine, orphan.word, 0);
  }
  Steps::LeaveEmpty(orphan.lock, orphan.word);  // L2.
  return true;
}

bool LocalRepair::Poll() {
  std::erase_if(orphans_, [this](const Orphan& orphan) {
    if (!Step(orphan)) return false;
    // Free() keeps the word: a successor that has not looked yet finds the grant, or that it has moved on.
    arena_->Free(orphan.word);
    return true;
  });
  return !orphans_.empty();
}

}  // namespace acre
