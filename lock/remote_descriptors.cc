#include "lock/remote_descriptors.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "glog/logging.h"

namespace acre {

absl::StatusOr<std::unique_ptr<RemoteDescriptors>> RemoteDescriptors::Create(
    transport::Fabric* fabric, uint32_t region_id, uint32_t process_id,
    uint32_t descriptors_count) {
  CHECK_NE(process_id, 0u);
  CHECK(descriptors_count >= 1 && descriptors_count <= RemoteWord::kDescriptorsMax);
  transport::RegionOptions options;
  options.region_id = region_id;
  options.size_bytes =
      transport::kRegionHeaderBytes + size_t{descriptors_count} * sizeof(RemoteDescriptor);
  options.peer_rights = transport::kRightWrite;
  options.name = "lock descriptors";
  auto region = fabric->CreateRegion(options);
  if (!region.ok()) return region.status();
  return absl::WrapUnique(new RemoteDescriptors(*std::move(region), process_id, descriptors_count));
}

RemoteDescriptors::RemoteDescriptors(std::unique_ptr<transport::MemoryRegion> region,
                                     uint32_t process_id, uint32_t count)
    : region_(std::move(region)),
      process_id_(process_id),
      count_(count),
      sides_(std::make_unique<Side[]>(count)) {
  free_.reserve(count_);
  for (uint32_t index = count_; index-- > 0;) free_.emplace_back(process_id_, index, 1);
}

RemoteWord RemoteDescriptors::Claim() {
  MutexLock lock(&mutex_);
  if (free_.empty()) return RemoteWord();
  const RemoteWord word = free_.back();
  free_.pop_back();
  return word;
}

void RemoteDescriptors::Free(RemoteWord word) {
  MutexLock lock(&mutex_);
  free_.push_back(word.Next());
}

void RemoteDescriptors::Spoil(RemoteWord word) {
  Side* const side = Find(word);
  MutexLock lock(&side->mutex);
  side->is_spoilt = true;
}

bool RemoteDescriptors::IsSpoilt(RemoteWord word) {
  Side* const side = Find(word);
  MutexLock lock(&side->mutex);
  return side->is_spoilt;
}

RemoteDescriptor* RemoteDescriptors::DescriptorOf(RemoteWord word) const {
  return reinterpret_cast<RemoteDescriptor*>(region_->words() + GrantOffset(word) / kWordBytes);
}

RemoteDescriptors::Side* RemoteDescriptors::Find(RemoteWord word) {
  if (word.process_id() != process_id_ || word.index() >= count_) return nullptr;
  return &sides_[word.index()];
}

// ---- The acquisition's own thread.

void RemoteDescriptors::Begin(RemoteWord word) {
  Side* const side = Find(word);
  CHECK(side != nullptr);
  MutexLock lock(&side->mutex);
  CHECK(side->stage == Stage::kLeft);
  side->word = word;
  side->stage = Stage::kQueued;
  side->stands_by = side->try_again = false;
  side->ignored_next = 0;
  side->told_next = RemoteWord();
  // Nobody WRITEs here before A3 publishes the word: who wrote for the last acquisition has had a completion
  // before that could end, or was fenced.
  RemoteDescriptor* const mine = DescriptorOf(word);
  mine->grant.Store(LockGrant::Wait(word.sequence()).bits(), std::memory_order_relaxed);
  mine->next.Store(0, std::memory_order_release);
}

void RemoteDescriptors::SetGranted(RemoteWord word) {
  Side* const side = Find(word);
  MutexLock lock(&side->mutex);
  side->stage = Stage::kGranted;
}

absl::optional<uint32_t> RemoteDescriptors::TakeGrant(RemoteWord word) {
  // WRITTEN by the predecessor, whose data have completed before (R3). Acquire: what one of our own process
  // stored. Without the mutex at first: most looks find nothing.
  const SharedWord& mine = DescriptorOf(word)->grant;
  const LockGrant grant = LockGrant::FromBits(mine.Load(std::memory_order_acquire));
  if (!grant.IsFor(word.sequence())) return absl::nullopt;
  SetGranted(word);
  return grant.budget();
}

RemoteWord RemoteDescriptors::SuccessorOf(const Side& side) const {
  if (side.stands_by) return RemoteWord();
  if (!side.told_next.is_null()) return side.told_next;
  const uint64_t next = DescriptorOf(side.word)->next.Load(std::memory_order_acquire);
  return next == side.ignored_next ? RemoteWord() : RemoteWord::FromBits(next);
}

RemoteWord RemoteDescriptors::Successor(RemoteWord word, bool* try_again) {
  Side* const side = Find(word);
  MutexLock lock(&side->mutex);
  *try_again = std::exchange(side->try_again, false);
  return SuccessorOf(*side);
}

RemoteWord RemoteDescriptors::TakeSuccessor(RemoteWord word) {
  Side* const side = Find(word);
  MutexLock lock(&side->mutex);
  const RemoteWord successor = SuccessorOf(*side);
  if (!successor.is_null()) side->stage = Stage::kLeft;
  return successor;
}

void RemoteDescriptors::SetLeft(RemoteWord word) {
  Side* const side = Find(word);
  MutexLock lock(&side->mutex);
  side->stage = Stage::kLeft;
}

void RemoteDescriptors::Link(RemoteWord to, RemoteWord successor) {
  Side* const side = Find(to);
  if (side == nullptr) return;
  MutexLock lock(&side->mutex);
  if (side->word != to || side->stage == Stage::kLeft) return;
  DescriptorOf(to)->next.Store(successor.bits(), std::memory_order_release);
}

void RemoteDescriptors::Grant(RemoteWord to, LockGrant grant) {
  Side* const side = Find(to);
  if (side == nullptr) return;
  MutexLock lock(&side->mutex);
  if (side->word != to || side->stage != Stage::kQueued) return;
  // Release: what was done under the lock.
  DescriptorOf(to)->grant.Store(grant.bits(), std::memory_order_release);
}

// ---- Answers to the home.

bool RemoteDescriptors::StandBy(RemoteWord word, absl::Span<const uint32_t> dead) {
  Side* const side = Find(word);
  if (side == nullptr) return false;
  MutexLock lock(&side->mutex);
  if (side->word != word || side->stage == Stage::kLeft) return false;
  const auto is_dead = [dead](RemoteWord of) {
    return std::find(dead.begin(), dead.end(), of.process_id()) != dead.end();
  };
  side->stands_by = true;
  // A repair that began again: whoever it had named may be dead by now.
  if (is_dead(side->told_next)) side->told_next = RemoteWord();
  // The dead are fenced: what stands here of them is all that will.
  const uint64_t next = DescriptorOf(word)->next.Load(std::memory_order_acquire);
  if (next != 0 && is_dead(RemoteWord::FromBits(next))) side->ignored_next = next;
  return true;
}

void RemoteDescriptors::SetSuccessor(RemoteWord word, RemoteWord successor) {
  Side* const side = Find(word);
  if (side == nullptr) return;
  MutexLock lock(&side->mutex);
  if (side->word != word || side->stage == Stage::kLeft) return;
  side->stands_by = false;
  side->told_next = successor;
  if (successor.is_null()) side->try_again = true;
}

bool RemoteDescriptors::HasGrant(const Side& side, RemoteWord word) const {
  if (side.word != word || side.stage != Stage::kQueued) return true;
  return LockGrant::FromBits(DescriptorOf(word)->grant.Load(std::memory_order_acquire))
      .IsFor(word.sequence());
}

bool RemoteDescriptors::HasGrant(RemoteWord word) {
  Side* const side = Find(word);
  if (side == nullptr) return true;
  MutexLock lock(&side->mutex);
  return HasGrant(*side, word);
}

bool RemoteDescriptors::HasLeft(RemoteWord word) {
  Side* const side = Find(word);
  if (side == nullptr) return true;
  MutexLock lock(&side->mutex);
  return side->word != word || side->stage == Stage::kLeft;
}

void RemoteDescriptors::GrantLeadership(RemoteWord word) {
  Side* const side = Find(word);
  if (side == nullptr) return;
  MutexLock lock(&side->mutex);
  if (HasGrant(*side, word)) return;
  side->is_spoilt = true;
  DescriptorOf(word)->grant.Store(LockGrant::Of(word.sequence(), 0).bits(),
                                  std::memory_order_release);
}

}  // namespace acre
