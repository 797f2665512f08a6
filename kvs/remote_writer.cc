#include "kvs/remote_writer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/redo.h"
#include "runtime/deadline.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {
namespace {

using transport::Opcode;
using transport::WorkRequest;

// What a landing holds: the pair, then the slot as it was READ again, then what is WRITTEN.
constexpr size_t kSlotAt = kPairBytes;
constexpr size_t kRedoAt = kSlotAt + sizeof(SlotCopy);
constexpr size_t kMarkAt = kRedoAt + 2 * kLineBytes;
constexpr size_t kBodyAt = kMarkAt + sizeof(SlotCopy);
constexpr size_t kEvenAt = kBodyAt + sizeof(SlotCopy);
constexpr size_t kLandingBytes = kEvenAt + sizeof(SlotCopy);
static_assert(sizeof(Redo) <= kMarkAt - kRedoAt);
constexpr size_t kLandingsCount = 64;
// A record that moves each time that we come to lock it: the server finds it under its home's lock.
constexpr int kMovesMax = 4;

const BucketCopy* PairOf(const LandingPool::Landing& landing) {
  return reinterpret_cast<const BucketCopy*>(landing.landed());
}

SlotCopy WholeSlot(SlotWord word, const uint64_t* body) {
  SlotCopy slot;
  slot.words[0] = slot.words[kSlotWords - 1] = word.bits();
  std::copy_n(body, kSlotBodyWords, slot.words + 1);
  return slot;
}

absl::Status Explain(const absl::Status& status, absl::string_view what) {
  return absl::Status(status.code(), absl::StrCat(status.message(), ": ", what));
}
absl::Status NothingChanged(const absl::Status& status) {
  return Explain(status, "nothing was changed");
}

}  // namespace

absl::StatusOr<std::unique_ptr<RemoteWriter>> RemoteWriter::Create(Options options) {
  CHECK(options.directory != nullptr);
  absl::StatusOr<std::unique_ptr<LandingPool>> landings = LandingPool::Create(
      options.fabric, options.port, options.region_id, kLandingsCount, kLandingBytes);
  if (!landings.ok()) return landings.status();
  return absl::WrapUnique(new RemoteWriter(std::move(options), *std::move(landings)));
}

RemoteWriter::RemoteWriter(Options options, std::unique_ptr<LandingPool> landings)
    : options_(std::move(options)), landings_(std::move(landings)) {}

const transport::RemoteKey* RemoteWriter::RegionKey(uint32_t region_id) const {
  if (!options_.home->intents.has_value()) return nullptr;  // Nobody could finish what we begin.
  for (const auto& [id, key] : options_.home->regions) {
    if (id == region_id) return &key;
  }
  return nullptr;
}

Task<absl::StatusOr<bool>> RemoteWriter::Update(absl::string_view key, absl::string_view value,
                                                uint64_t deadline_ns) {
  if (absl::Status status = CheckKey(key); !status.ok()) co_return status;
  if (absl::Status status = CheckValue(value); !status.ok()) co_return status;
  const LookupKey lookup(key);
  const RemoteSegment* const segment = &options_.directory->SegmentOf(lookup.hash);
  const transport::RemoteKey* const region_key = RegionKey(segment->region_id);
  // A key of another server's is refused by the server that is asked for it.
  if (!FitsInline(key.size(), value.size()) || region_key == nullptr ||
      !options_.directory->share().Holds(lookup.hash)) {
    ++stats_.not_here;
    co_return false;
  }
  const Target target = {lookup,
                         value,
                         segment,
                         *region_key,
                         HomeBucket(lookup.hash, segment->layout.buckets_count),
                         deadline_ns};
  Landing landing = landings_->TryTake();
  if (!landing) {
    absl::StatusOr<Landing> waited =
        co_await TakeLandingUntil(landings_.get(), options_.port->scheduler(), deadline_ns);
    if (!waited.ok()) co_return NothingChanged(waited.status());
    landing.Swap(&*waited);
  }
  for (int moves = 0; moves < kMovesMax; ++moves) {
    const absl::StatusOr<Outcome> outcome = co_await TryOnce(&target, &landing);
    if (!outcome.ok()) co_return outcome.status();
    if (*outcome == Outcome::kDone) {
      ++stats_.updates;
      co_return true;
    }
    if (*outcome == Outcome::kNotHere) break;
    ++stats_.retries;
  }
  ++stats_.not_here;
  co_return false;
}

Task<absl::StatusOr<RemoteWriter::Outcome>> RemoteWriter::TryOnce(const Target* target,
                                                                  const Landing* landing) {
  const absl::StatusOr<absl::optional<size_t>> found = co_await Find(target, landing);
  if (!found.ok()) co_return NothingChanged(found.status());
  if (!found->has_value()) co_return Outcome::kNotHere;
  const size_t position = **found;

  ++stats_.round_trips;
  absl::StatusOr<HeldLock> held =
      co_await options_.locker->AcquireUntil(target->LockOf(position), target->deadline_ns);
  if (absl::IsResourceExhausted(held.status())) co_return Outcome::kNotHere;  // Our own limit.
  if (!held.ok()) co_return NothingChanged(held.status());
  // What the pair said is old. From here on only we change the slot. Sampled behind the lock: a round trip later.
  absl::Status status;
  if (IsPlanted(PlantedBug::kSlotNotReadAgain)) {
    std::copy_n(SlotAt(PairOf(*landing), position).words, kSlotWords,
                reinterpret_cast<uint64_t*>(landing->words(kSlotAt)));
  } else {
    status =
        co_await Read(*target, target->SlotOffsetOf(position), sizeof(SlotCopy), *landing, kSlotAt);
  }
  Outcome outcome = Outcome::kNotHere;
  if (status.ok()) {
    const auto& slot = *reinterpret_cast<const SlotCopy*>(landing->landed(kSlotAt));
    outcome = Judge(slot, *target, position);
    if (outcome == Outcome::kDone) {
      status = co_await WriteAndRelease(target, landing, position, *std::move(held));
      if (status.ok()) co_return Outcome::kDone;
      co_return Explain(status, "the update may or may not have happened");
    }
  }
  const absl::Status released = co_await Release(*std::move(held), {}, target->deadline_ns);
  if (status.ok()) status = released;
  if (!status.ok()) co_return NothingChanged(status);
  co_return outcome;
}

Task<absl::StatusOr<absl::optional<size_t>>> RemoteWriter::Find(const Target* target,
                                                                const Landing* landing) {
  const absl::Status status = co_await Read(
      *target, target->segment->layout.BucketOffset(target->home), kPairBytes, *landing, 0);
  if (!status.ok()) co_return status;
  const BucketCopy* const pair = PairOf(*landing);
  const uint64_t identity = target->segment->layout.identity;
  if (pair[0].identity != identity || pair[1].identity != identity) {
    co_return absl::UnavailableError(
        "the server's memory belongs to another incarnation of it: connect again");
  }
  for (size_t position = 0; position < kNeighbourhood; ++position) {
    const SlotCopy& slot = SlotAt(pair, position);
    if (!slot.IsConsistent() || !target->key.words.IsInlineIn(slot)) continue;
    if (!slot.InlineFits()) co_return absl::DataLossError("a slot's lengths exceed the slot");
    co_return absl::optional<size_t>(position);
  }
  // One that is being written is looked at when its writer has left: what we hold then decides.
  for (uint64_t match = MatchTags(pair[0].tags, TagOf(target->key.hash)); match != 0;
       match &= match - 1) {
    const size_t position = PositionOf(match);
    if (!SlotAt(pair, position).IsConsistent()) co_return absl::optional<size_t>(position);
  }
  co_return absl::optional<size_t>();
}

RemoteWriter::Outcome RemoteWriter::Judge(const SlotCopy& slot, const Target& target,
                                          size_t position) {
  // Half-written, though nobody is at work: what that means is for the server to say.
  if (!slot.IsConsistent()) return Outcome::kNotHere;
  if (!target.key.words.IsInlineIn(slot)) return Outcome::kMoved;
  const bool is_in_next = position >= kSlotsPerBucket;
  if (!slot.InlineFits() || slot.first().home_is_previous() != is_in_next) return Outcome::kNotHere;
  return Outcome::kDone;
}

Task<absl::Status> RemoteWriter::WriteAndRelease(const Target* target, const Landing* landing,
                                                 size_t position, HeldLock held) {
  const SlotCopy old = *reinterpret_cast<const SlotCopy*>(landing->landed(kSlotAt));
  const SlotContent content = SlotContent::Inline(target->key.words.key(), target->value);
  const SlotWord odd = old.first().MadeOdd();
  const SlotWord even = content.Word(old.first().version() + 2, old.first().home_is_previous());
  const uint64_t offset_bytes = target->SlotOffsetOf(position);
  const GlobalAddress address(target->segment->region_id, static_cast<uint32_t>(offset_bytes));
  const RemoteWord word = options_.locker->WordOf(held);
  const Redo redo = Redo::Of(word, address, even, content.body);
  // Each WRITE lands before the next one begins; the words of one land in any order. So the first and the last word
  // are odd from before the body changes until it is whole (kvs/slot.h), and the record of it all is there before.
  const SlotCopy mark = WholeSlot(odd, old.words + 1);
  const SlotCopy body = WholeSlot(odd, content.body);
  const SlotCopy whole = WholeSlot(even, content.body);
  std::array<WorkRequest, 4> batch = {
      Write(*landing, kRedoAt, &redo.word, kRedoWords, *options_.home->intents, RedoOffset(word)),
      Write(*landing, kMarkAt, mark.words, kSlotWords, target->region_key, offset_bytes),
      Write(*landing, kBodyAt, body.words, kSlotWords, target->region_key, offset_bytes),
      Write(*landing, kEvenAt, whole.words, kSlotWords, target->region_key, offset_bytes)};
  if (IsPlanted(PlantedBug::kRedoAfterMark)) std::rotate(&batch[0], &batch[1], &batch[3]);
  stats_.writes += batch.size();
  const absl::Status status = co_await Release(std::move(held), batch, target->deadline_ns);
  co_return status;
}

Task<absl::Status> RemoteWriter::Release(HeldLock held, absl::Span<const WorkRequest> data,
                                         uint64_t deadline_ns) {
  ++stats_.round_trips;
  Task<absl::Status> release = options_.locker->Release(std::move(held), data);
  const absl::Status status =
      co_await WithDeadline(*options_.port->scheduler(), deadline_ns, std::move(release));
  co_return status;
}

Task<absl::Status> RemoteWriter::Read(const Target& target, uint64_t offset_bytes,
                                      uint32_t length_bytes, const Landing& landing,
                                      size_t at_bytes) {
  WorkRequest request;
  request.opcode = Opcode::kRead;
  request.local = landing.words(at_bytes);
  request.local_region = landings_->region();
  request.length_bytes = length_bytes;
  request.remote_key = target.region_key;
  request.remote_offset_bytes = offset_bytes;
  ++stats_.reads;
  ++stats_.round_trips;
  return ReadUntil(options_.port, options_.home->queue_pair, request, target.deadline_ns);
}

WorkRequest RemoteWriter::Write(const Landing& landing, size_t at_bytes, const uint64_t* words,
                                size_t count, transport::RemoteKey key,
                                uint64_t offset_bytes) const {
  WorkRequest request;
  request.opcode = Opcode::kWrite;
  request.local = landing.words(at_bytes);
  CopyToShared(request.local, words, count, CopyOrder::kAscending);
  request.local_region = landings_->region();
  request.length_bytes = static_cast<uint32_t>(count * kWordBytes);
  request.remote_key = key;
  request.remote_offset_bytes = offset_bytes;
  return request;
}

}  // namespace acre::kvs
