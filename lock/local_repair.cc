#include "lock/local_repair.h"

#include <utility>

#include "glog/logging.h"

namespace acre {

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
  entry.next = LocalCohort<SharedWord>::Successor(descriptor, word);
  entry.is_granted = LocalCohort<SharedWord>::Granted(descriptor, word).has_value();
  if (descriptor.word.Load(std::memory_order_acquire) != word.bits()) return absl::nullopt;
  return entry;
}

bool LocalRepair::IsInQueue(const LockWords& lock, GlobalAddress address, LocalWord word) const {
  LocalWord at = LocalWord::FromBits(lock.local_tail.Load(std::memory_order_acquire));
  // No queue is longer than the arena; words that somebody broke may lead in circles.
  for (uint32_t i = 0; i < arena_->descriptors_count() && !at.is_null(); ++i) {
    if (at == word) return true;
    const absl::optional<Entry> entry = Read(at);
    // It has left, or is at the head: nobody that is still in the queue stands before it.
    if (!entry.has_value() || entry->lock != address.bits() || entry->is_granted) return false;
    at = entry->pred;
  }
  return false;
}

void LocalRepair::Adopt(uint32_t process_id) {
  for (uint32_t index = 1; index < arena_->descriptors_count(); ++index) {
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

bool LocalRepair::Step(Orphan* orphan) {
  LocalDescriptor* const mine = arena_->Find(orphan->word);
  if (!orphan->leaves) {
    const LocalWord pred = LocalWord::FromBits(mine->pred.Load(std::memory_order_relaxed));
    if (!pred.is_null()) {
      if (!LocalCohort<SharedWord>::Granted(*mine, orphan->word).has_value()) {
        // L1. It fails if the link was made, or if that one has left, which it cannot before it has granted us.
        uint64_t none = pred.bits();
        (void)arena_->Find(pred)->next.CompareExchange(&none, orphan->word.bits(),
                                                       std::memory_order_release);
        return false;  // L2.
      }
    }
    // L3. The dead one may have been inside, or have led: nobody else of this cohort enters before it leaves.
    data_->RepairLocal(orphan->address, orphan->word);
    orphan->leaves = true;
  }
  if (LocalCohort<SharedWord>::LeaveEmpty(orphan->lock, orphan->word)) return true;
  const LocalWord next = LocalCohort<SharedWord>::Successor(*mine, orphan->word);
  if (next.is_null()) return false;
  // Fails if it had been granted already. Release: the repaired data. Acquire: nothing.
  uint64_t wait = LockGrant::Wait(next.sequence()).bits();
  (void)arena_->Find(next)->grant.CompareExchange(&wait, LockGrant::Of(next.sequence(), 0).bits(),
                                                  std::memory_order_acq_rel);
  return true;
}

bool LocalRepair::Poll() {
  for (size_t i = 0; i < orphans_.size();) {
    if (!Step(&orphans_[i])) {
      ++i;
      continue;
    }
    arena_->Free(orphans_[i].word);
    orphans_[i] = orphans_.back();
    orphans_.pop_back();
  }
  return !orphans_.empty();
}

}  // namespace acre
