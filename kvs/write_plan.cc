#include "kvs/write_plan.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/limits.h"
#include "runtime/planted_bug.h"
#include "runtime/shared_word.h"

namespace acre::kvs {
namespace {

using Vote = TransactionVote;

Vote No(Vote::Answer answer, size_t index, absl::Status status) {
  Vote vote;
  vote.answer = answer;
  vote.index = index;
  vote.status = std::move(status);
  return vote;
}

Vote Changed(size_t index) {
  return No(Vote::Answer::kChanged, index,
            absl::AbortedError("what the transaction read has changed since: run it again"));
}

Vote NoMemory(size_t index) {
  return No(Vote::Answer::kNoMemory, index,
            absl::ResourceExhaustedError(
                "the server has no memory left for this record (or thousands of keys collide with "
                "its key); delete others, or start the server with more --memory (or another "
                "--index_percent)"));
}

Vote Invalid(size_t index, absl::Status status) {
  return No(Vote::Answer::kInvalid, index, std::move(status));
}

}  // namespace

WritePlan::~WritePlan() {
  // Under a hold there may be marks without any lock of its own.
  if (!held_.empty() || is_marked_) Undo();
}

TransactionVote WritePlan::Lock(const TransactionId& id, std::shared_ptr<TransactionHold> hold,
                                absl::Span<const TransactionWrite> writes,
                                absl::Span<const ReadMark> misses) {
  CHECK(held_.empty() && steps_.empty() && hold_ == nullptr) << "a plan is of one transaction";
  id_ = id;
  hold_ = std::move(hold);
  if (hold_ != nullptr) hold_->SetLent(true);
  Vote vote = Judge(writes);
  // Memory first: objects are not written while others wait.
  steps_.reserve(targets_.size());
  for (size_t i = 0; i < targets_.size() && vote.is_yes(); ++i) {
    const TransactionWrite& write = writes[targets_[i].index];
    Step& step = steps_.emplace_back();
    step.hash = targets_[i].hash;
    if (write.kind != TransactionWrite::Kind::kPut) continue;
    step.record.emplace(table_, targets_[i].segment, step.hash, write.key, write.value);
    if (!step.record->has_memory()) vote = NoMemory(targets_[i].index);
  }
  for (size_t i = 0; i < targets_.size() && vote.is_yes(); ++i) {
    vote = Take(targets_[i], writes[targets_[i].index], &steps_[i]);
  }
  for (size_t i = 0; i < misses.size() && vote.is_yes(); ++i) {
    vote = JudgeMiss(misses[i], writes.size() + i);
  }
  targets_.clear();  // Their keys are the caller's.
  if (vote.is_yes()) {
    Mark();
  } else {
    Undo();
  }
  return vote;
}

TransactionVote WritePlan::Judge(absl::Span<const TransactionWrite> writes) {
  if (writes.empty() || writes.size() > kTransactionWritesMax) {
    return Invalid(0, absl::InvalidArgumentError(
                          absl::StrCat("a transaction writes 1 to ", kTransactionWritesMax,
                                       " keys of a server, not ", writes.size())));
  }
  targets_.reserve(writes.size());
  for (size_t i = 0; i < writes.size(); ++i) {
    const TransactionWrite& write = writes[i];
    if (write.kind > TransactionWrite::Kind::kDelete ||
        write.expect > TransactionWrite::Expect::kAbsent) {
      return Invalid(i, absl::InvalidArgumentError("a write of no kind that is known here"));
    }
    if (absl::Status status = CheckKey(write.key); !status.ok()) return Invalid(i, status);
    if (absl::Status status = CheckValue(write.value); !status.ok()) return Invalid(i, status);
    const uint64_t hash = HashKey(write.key);
    if (!table_->share().Holds(hash)) return Invalid(i, NotOurKey(table_->share(), hash));
    Segment* const segment = &table_->SegmentOf(hash);
    const uint64_t home = HomeBucket(hash, segment->layout().buckets_count);
    targets_.push_back({segment, home, hash, i, write.key});
  }
  const auto order = [](const Target& target) {
    return std::make_tuple(target.segment->region_id(), target.home, target.key);
  };
  std::sort(targets_.begin(), targets_.end(),
            [&](const Target& a, const Target& b) { return order(a) < order(b); });
  const auto twice =
      std::adjacent_find(targets_.begin(), targets_.end(),
                         [&](const Target& a, const Target& b) { return order(a) == order(b); });
  if (twice != targets_.end()) {
    return Invalid(twice->index,
                   absl::InvalidArgumentError("a transaction writes each of its keys once"));
  }
  return {};
}

TransactionVote WritePlan::Take(const Target& target, const TransactionWrite& write, Step* step) {
  Segment::Place place;
  if (Vote vote = Find(target, &place); !vote.is_yes()) return vote;
  step->home = HomeOf(target.segment, target.home);
  if (place.found()) {
    SlotCopy old;
    LoadSlot(*place.slot, &old);
    if (!old.IsConsistent()) return Invalid(target.index, HalfWritten());
    step->slot = place.slot;
    step->position = place.position;
    step->old_word = old.first();
    step->replaced = Segment::ObjectOf(old);
  }
  if (!MeetsExpectation(*step, write)) return Changed(target.index);
  const bool is_put = write.kind == TransactionWrite::Kind::kPut;
  if (is_put && !place.found() && !Reserve(step)) return NoMemory(target.index);
  if (is_put) {
    step->kind = place.found() ? Step::Kind::kUpdate : Step::Kind::kInsert;
  } else if (place.found()) {
    step->kind = Step::Kind::kDelete;
  }
  if (step->kind == Step::Kind::kInsert || step->kind == Step::Kind::kDelete) {
    homes_[step->home].changes = true;
  }
  return {};
}

TransactionVote WritePlan::Find(const Target& target, Segment::Place* place) {
  Segment* const segment = target.segment;
  if (auto vote = Acquire(segment, target.home, target.index)) return *vote;
  const bool holds_next = Holds(segment->LockOf(target.home + 1).address);
  *place = segment->Find(target.home, target.hash, target.key, holds_next);
  if (!holds_next && !place->is_damaged && (place->is_busy || place->in_next())) {
    if (auto vote = Acquire(segment, target.home + 1, target.index)) return *vote;
    // Whoever was at work has left: now it can be told what is there.
    *place = segment->Find(target.home, target.hash, target.key, /*holds_next=*/true);
  }
  if (place->is_damaged) return Invalid(target.index, HalfWritten());
  return {};
}

bool WritePlan::MeetsExpectation(const Step& step, const TransactionWrite& write) const {
  const Home& home = homes_[step.home];
  switch (write.expect) {
    case TransactionWrite::Expect::kNothing:
      return true;
    case TransactionWrite::Expect::kFound: {
      if (step.slot == nullptr) return false;
      const uint64_t offset =
          static_cast<uint64_t>(reinterpret_cast<const char*>(step.slot) -
                                reinterpret_cast<const char*>(home.segment->words()));
      return write.mark.word ==
                 GlobalAddress(home.segment->region_id(), static_cast<uint32_t>(offset)) &&
             write.mark.IsStill(step.old_word.bits());
    }
    case TransactionWrite::Expect::kAbsent:
      return step.slot == nullptr &&
             write.mark.word == ReadMark::StructureWord(home.segment->layout(), home.index) &&
             write.mark.IsStill(home.bucket->structure_version.Load(std::memory_order_relaxed));
  }
  LOG(FATAL) << "unreachable: Judge() knows them";
}

TransactionVote WritePlan::JudgeMiss(const ReadMark& miss, size_t index) const {
  for (const Home& home : homes_) {
    if (miss.word != ReadMark::StructureWord(home.segment->layout(), home.index)) continue;
    const uint64_t now = home.bucket->structure_version.Load(std::memory_order_relaxed);
    return miss.IsStill(now) ? Vote() : Changed(index);
  }
  return Invalid(
      index, absl::InvalidArgumentError("a miss of a home that the transaction does not write to"));
}

size_t WritePlan::HomeOf(Segment* segment, uint64_t index) {
  // Writes come in the order of their homes.
  if (homes_.empty() || homes_.back().segment != segment || homes_.back().index != index) {
    Home& home = homes_.emplace_back();
    home.segment = segment;
    home.index = index;
    home.bucket = segment->BucketAt(index);
  }
  return homes_.size() - 1;
}

bool WritePlan::Holds(GlobalAddress lock) const {
  if (hold_ != nullptr && hold_->Holds(lock)) return true;
  return std::any_of(held_.begin(), held_.end(),
                     [&](const Held& held) { return held.lock == lock; });
}

absl::optional<TransactionVote> WritePlan::Acquire(Segment* segment, uint64_t bucket,
                                                   size_t write_index) {
  const MappedLock lock = segment->LockOf(bucket);
  if (Holds(lock.address)) return absl::nullopt;
  LockThread::Place* const place = locks_->TryStart(lock);
  if (place == nullptr) {
    Vote vote = No(Vote::Answer::kLocked, write_index,
                   absl::AbortedError("another writer is at work on the record: try again"));
    vote.winner = holders_->Find(lock.address);
    return vote;
  }
  held_.push_back({place, lock.address});
  holders_->Set(lock.address, id_);
  return absl::nullopt;
}

bool WritePlan::IsReserved(const Slot& slot) const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [&](const Step& step) { return step.slot == &slot; });
}

Slot* WritePlan::FreeSlotOf(Bucket* bucket) const {
  for (Slot& slot : bucket->slots) {
    if (slot.first().kind() == SlotKind::kEmpty && !IsReserved(slot)) return &slot;
  }
  return nullptr;
}

// Displaces nothing: what moved would stay moved after an abort. What finds no place in its neighbourhood
// goes into the chain, out of which a delete pulls it again.
bool WritePlan::Reserve(Step* step) {
  const Home& home = homes_[step->home];
  Bucket* const next = home.bucket + 1;
  step->slot = FreeSlotOf(home.bucket);
  if (step->slot != nullptr) {
    step->position = static_cast<size_t>(step->slot - home.bucket->slots);
    return true;
  }
  // The first look is without the lock, for who need not take it.
  if (FreeSlotOf(next) != nullptr && !Acquire(home.segment, home.index + 1, 0).has_value()) {
    step->slot = FreeSlotOf(next);
    if (step->slot != nullptr) {
      step->position = kSlotsPerBucket + static_cast<size_t>(step->slot - next->slots);
      return true;
    }
  }
  return ReserveInChain(step);
}

bool WritePlan::ReserveInChain(Step* step) {
  Home& home = homes_[step->home];
  step->position = kNeighbourhood;
  size_t buckets = home.new_overflow.size();
  uint64_t address = home.bucket->overflow.Load(std::memory_order_relaxed);
  for (; address != 0; ++buckets) {
    Bucket* const overflow = home.segment->OverflowAt(address);
    step->slot = FreeSlotOf(overflow);
    if (step->slot != nullptr) return true;
    address = overflow->overflow.Load(std::memory_order_relaxed);
  }
  if (!home.new_overflow.empty()) step->slot = FreeSlotOf(home.new_overflow.back());
  if (step->slot != nullptr) return true;
  if (buckets >= kChainBucketsMax) return false;
  const absl::optional<uint64_t> offset = home.segment->heap().AllocateOverflowBucket();
  if (!offset.has_value()) return false;
  auto* const added = reinterpret_cast<Bucket*>(home.segment->words() + *offset / kWordBytes);
  home.new_overflow.push_back(added);
  step->slot = &added->slots[0];
  return true;
}

void WritePlan::Mark() {
  for (const Step& step : steps_) {
    if (IsPlanted(PlantedBug::kSlotsNotMarkedAtLock)) break;
    if (step.kind == Step::Kind::kUpdate || step.kind == Step::Kind::kDelete) StartSlot(step.slot);
  }
  for (const Home& home : homes_) {
    if (!home.changes) continue;
    const uint64_t version = home.bucket->structure_version.Load(std::memory_order_relaxed);
    CHECK_EQ(version % 2, 0u) << "two changes of one home at once";
    // Readers that find it odd do not believe a miss.
    home.bucket->structure_version.Store(version + 1, std::memory_order_release);
  }
  is_marked_ = true;
  // Against whoever marks, then validates what we write: see Lock().
  if (!IsPlanted(PlantedBug::kMarkWithoutBarrier)) StoreLoadBarrier();
}

void WritePlan::Install() {
  CHECK(is_marked_) << "installed without its locks";
  if (IsPlanted(PlantedBug::kReleaseBeforeInstall)) ReleaseLocks();
  for (Step& step : steps_) {
    if (step.kind == Step::Kind::kUpdate) InstallUpdate(&step);
  }
  for (const Home& home : homes_) LinkNewOverflow(home);
  for (Step& step : steps_) {
    if (step.kind == Step::Kind::kInsert) InstallInsert(&step);
  }
  for (const Home& home : homes_) {
    if (home.new_overflow.empty()) continue;
    // Behind the stores of all that is in the chain's new beginning: a reader that sees it sees these.
    home.bucket->overflow.Store(home.segment->AddressOf(home.new_overflow.back()),
                                std::memory_order_release);
  }
  for (Step& step : steps_) {
    if (step.kind == Step::Kind::kDelete) InstallDelete(&step);
  }
  // From here on no slot of ours is odd: what lies in chains can move.
  for (const Home& home : homes_) {
    if (!home.changes) continue;
    TidyChain(home);
    const uint64_t version = home.bucket->structure_version.Load(std::memory_order_relaxed);
    home.bucket->structure_version.Store(version + 1, std::memory_order_release);
  }
  is_marked_ = false;
  RetireReplaced();
  Forget();
  ReleaseLocks();
}

void WritePlan::InstallUpdate(Step* step) {
  const SlotContent& content = step->record->content();
  const SlotWord word =
      content.Word(step->old_word.version() + 2, step->old_word.home_is_previous());
  WriteSlot(step->slot, word, content.body, content.body_words);
  step->record->Published();
}

// Makes new overflow buckets a chain in front of the home's, which does not begin with them yet.
void WritePlan::LinkNewOverflow(const Home& home) {
  uint64_t behind = home.bucket->overflow.Load(std::memory_order_relaxed);
  for (Bucket* const overflow : home.new_overflow) {
    // A reader with an old pointer to it may look on: it sees another home's number, or this home's
    // odd version.
    overflow->identity.Store(home.segment->layout().identity, std::memory_order_release);
    overflow->floor_or_home.Store(home.index, std::memory_order_release);
    overflow->overflow.Store(behind, std::memory_order_release);
    behind = home.segment->AddressOf(overflow);
  }
}

void WritePlan::InstallInsert(Step* step) {
  const Home& home = homes_[step->home];
  const bool in_chain = step->position == kNeighbourhood;
  const bool home_is_previous = !in_chain && step->position >= kSlotsPerBucket;
  const SlotContent& content = step->record->content();
  WriteSlot(step->slot,
            content.Word(home.segment->NewVersion(*step->slot, *home.bucket), home_is_previous),
            content.body, content.body_words);
  step->record->Published();
  home.segment->records_.fetch_add(1, std::memory_order_relaxed);
  if (in_chain) return;
  const uint64_t tags = home.bucket->tags.Load(std::memory_order_relaxed);
  home.bucket->tags.Store(WithTag(tags, step->position, TagOf(step->hash)),
                          std::memory_order_release);
}

void WritePlan::InstallDelete(Step* step) {
  const Home& home = homes_[step->home];
  const uint64_t floor = home.bucket->floor_or_home.Load(std::memory_order_relaxed);
  if (!IsPlanted(PlantedBug::kDeleteForgetsFloor)) {
    home.bucket->floor_or_home.Store(std::max(floor, step->old_word.version()),
                                     std::memory_order_release);
  }
  FinishSlot(step->slot, SlotWord(step->old_word.version() + 2, SlotKind::kEmpty, false, 0, 0));
  home.segment->records_.fetch_sub(1, std::memory_order_relaxed);
  if (step->position == kNeighbourhood) return;
  const uint64_t tags = home.bucket->tags.Load(std::memory_order_relaxed);
  home.bucket->tags.Store(WithTag(tags, step->position, 0), std::memory_order_release);
}

// Within the structure change of a home: no empty bucket stays in its chain, and what is in it fills the
// places that deletes left.
void WritePlan::TidyChain(const Home& home) {
  RemoveEmptyOverflow(home);
  for (const Step& step : steps_) {
    if (step.kind != Step::Kind::kDelete || &homes_[step.home] != &home) continue;
    if (step.position < kNeighbourhood) home.segment->PullFromChain(home.bucket, step.position);
  }
}

void WritePlan::RemoveEmptyOverflow(const Home& home) {
  Segment* const segment = home.segment;
  Bucket* before = nullptr;
  Bucket* overflow = segment->OverflowAt(home.bucket->overflow.Load(std::memory_order_relaxed));
  while (overflow != nullptr) {
    // Loaded first: an unlinked bucket may be used again at once.
    Bucket* const behind = segment->OverflowAt(overflow->overflow.Load(std::memory_order_relaxed));
    if (Segment::IsEmpty(*overflow)) {
      segment->Unlink(home.bucket, overflow, before);
    } else {
      before = overflow;
    }
    overflow = behind;
  }
}

void WritePlan::RetireReplaced() {
  for (const Step& step : steps_) {
    if (step.kind != Step::Kind::kUpdate && step.kind != Step::Kind::kDelete) continue;
    if (step.replaced.bytes == 0) continue;
    homes_[step.home].segment->heap().Retire(step.replaced.offset, step.replaced.bytes);
  }
}

void WritePlan::Undo() {
  if (is_marked_) {
    for (const Step& step : steps_) {
      if (step.kind == Step::Kind::kUpdate || step.kind == Step::Kind::kDelete) {
        FinishSlot(step.slot, step.old_word);
      }
    }
    for (const Home& home : homes_) {
      if (!home.changes) continue;
      const uint64_t version = home.bucket->structure_version.Load(std::memory_order_relaxed);
      home.bucket->structure_version.Store(version - 1, std::memory_order_release);
    }
    is_marked_ = false;
  }
  for (const Home& home : homes_) {
    for (const Bucket* const overflow : home.new_overflow) {
      const uint64_t address = home.segment->AddressOf(overflow);
      home.segment->heap().FreeOverflowBucket(GlobalAddress::FromBits(address).offset_bytes());
    }
  }
  Forget();
  ReleaseLocks();
}

void WritePlan::Forget() {
  steps_.clear();
  homes_.clear();
}

void WritePlan::ReleaseLocks() {
  // Newest first, as in a LockSet.
  for (; !held_.empty(); held_.pop_back()) {
    holders_->Clear(held_.back().lock, id_);
    locks_->Release(held_.back().place);
  }
  if (hold_ != nullptr) {
    hold_->SetLent(false);
    hold_.reset();
  }
}

}  // namespace acre::kvs
