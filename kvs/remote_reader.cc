#include "kvs/remote_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/object.h"
#include "runtime/planted_bug.h"
#include "transport/region_header.h"

namespace acre::kvs {
namespace {

using transport::CompletionStatus;

// A landing holds the first collect of a pair, and behind it the second one, or a bucket of the
// chain.
constexpr size_t kSecondOffset = kPairBytes;
constexpr size_t kLandingBytes = 2 * kPairBytes;
constexpr size_t kLandingsCount = 64;
constexpr size_t kObjectLandingsCount = 4;
constexpr size_t kObjectLandingBytes = (kObjectBytesMax + kLineBytes - 1) / kLineBytes * kLineBytes;
constexpr size_t kValidationReadsMax = kLandingBytes / kWordBytes;
constexpr int kRetriesBeforeYield = 16;

const BucketCopy* BucketsAt(const LandingPool::Landing& landing, size_t offset_bytes) {
  return reinterpret_cast<const BucketCopy*>(landing.landed(offset_bytes));
}

// What a READ of buckets from that offset says of the slot that was found in them.
ReadMark MarkOf(const SegmentLayout& layout, const BucketCopy* buckets, uint64_t offset_bytes,
                const SlotCopy& slot) {
  const uint64_t offset = offset_bytes + (reinterpret_cast<const char*>(&slot) -
                                          reinterpret_cast<const char*>(buckets));
  return ReadMark::OfHit(
      GlobalAddress(static_cast<uint32_t>(layout.identity >> 32), static_cast<uint32_t>(offset)),
      slot.first());
}

absl::Status WriterAtWork() { return absl::AbortedError("a writer is at work on the record"); }

}  // namespace

Task<absl::StatusOr<std::unique_ptr<RemoteReader>>> RemoteReader::Create(
    transport::Fabric* fabric, transport::Port* port, transport::QueuePair* queue_pair,
    std::vector<RegionEntry> directory, uint32_t region_id, uint64_t deadline_ns, KeyShare share) {
  std::unique_ptr<RemoteReader> reader(new RemoteReader(port, queue_pair, share));
  absl::StatusOr<std::unique_ptr<LandingPool>> landings =
      LandingPool::Create(fabric, port, region_id, kLandingsCount, kLandingBytes);
  if (!landings.ok()) co_return landings.status();
  reader->landings_ = *std::move(landings);
  absl::StatusOr<std::unique_ptr<LandingPool>> objects =
      LandingPool::Create(fabric, port, region_id + 1, kObjectLandingsCount, kObjectLandingBytes);
  if (!objects.ok()) co_return objects.status();
  reader->object_landings_ = *std::move(objects);

  auto read = co_await RemoteDirectory::Read(port, queue_pair, reader->landings_.get(),
                                             std::move(directory), share, deadline_ns);
  if (!read.ok()) co_return read.status();
  reader->directory_ = *std::move(read);
  reader->segments_ = reader->directory_->segments();
  reader->validation_reads_max_ =
      std::min<size_t>(kValidationReadsMax, fabric->device().send_queue_depth_max);
  reader->usual_request_.local_region = reader->landings_->region();
  reader->usual_request_.length_bytes = kPairBytes;
  reader->stats_ = {};
  co_return reader;
}

RemoteReader::Target RemoteReader::TargetOf(absl::string_view key, uint64_t deadline_ns) const {
  const LookupKey lookup(key);
  const RemoteSegment* const segment = &segments_[share_.SegmentOf(lookup.hash, segments_.size())];
  return {lookup, segment, HomeBucket(lookup.hash, segment->layout.buckets_count), deadline_ns};
}

transport::WorkRequest RemoteReader::ReadRequest(const RemoteSegment& segment,
                                                 uint64_t offset_bytes, uint32_t length_bytes,
                                                 SharedWord* to,
                                                 const transport::MemoryRegion* region) const {
  transport::WorkRequest request;
  request.opcode = transport::Opcode::kRead;
  request.local = to;
  request.local_region = region;
  request.length_bytes = length_bytes;
  request.remote_key = segment.key;
  request.remote_offset_bytes = offset_bytes;
  return request;
}

Task<absl::Status> RemoteReader::Read(const RemoteSegment* segment, uint64_t offset_bytes,
                                      uint32_t length_bytes, const LandingPool* pool,
                                      Landing* landing, size_t at_bytes, uint64_t deadline_ns) {
  const transport::WorkRequest request =
      ReadRequest(*segment, offset_bytes, length_bytes, landing->words(at_bytes), pool->region());
  ++stats_.reads;
  return ReadUntil(port_, queue_pair_, request, deadline_ns);
}

const SlotCopy* RemoteReader::FindByTags(const BucketCopy* pair, const Target& target) {
  const uint64_t identity = target.segment->layout.identity;
  if (pair[0].identity != identity || pair[1].identity != identity) return nullptr;
  for (uint64_t match = MatchTags(pair[0].tags, TagOf(target.key.hash)); match != 0;
       match &= match - 1) {
    const SlotCopy& slot = SlotAt(pair, PositionOf(match));
    if (slot.IsConsistent() && target.key.words.IsInlineIn(slot) && slot.InlineFits()) return &slot;
  }
  return nullptr;
}

// Looks at every slot, whatever the tags say: lines of one READ may be sampled in any order, so
// tags and slots may be of different moments.
RemoteReader::Verdict RemoteReader::Search(const BucketCopy* buckets, size_t buckets_count,
                                           const Target& target, size_t* position) {
  for (size_t i = 0; i < buckets_count; ++i) {
    if (buckets[i].identity != target.segment->layout.identity) return Verdict::kStale;
  }
  bool is_torn = false;
  for (size_t i = 0; i < buckets_count * kSlotsPerBucket; ++i) {
    const SlotCopy& slot = SlotAt(buckets, i);
    if (!slot.IsConsistent()) {
      is_torn = true;  // Also before *position: it may be the key's.
    } else if (i >= *position &&
               (target.key.words.IsInlineIn(slot) || MayBeObjectOf(slot, target.key))) {
      *position = i;
      return Verdict::kFound;
    }
  }
  return is_torn ? Verdict::kTorn : Verdict::kAbsent;
}

// The double collect: nothing of what decides about the keys of this home differs. The slots of the
// first collect are consistent, so equal first words mean equal slots.
bool RemoteReader::StoodStill(const BucketCopy* before, const BucketCopy* after) {
  bool same = before->structure_version % 2 == 0 &&
              before->structure_version == after->structure_version &&
              before->overflow == after->overflow;
  if (IsPlanted(PlantedBug::kMissAfterHeaderAgain)) return same;
  for (size_t i = 0; i < kNeighbourhood; ++i) {
    same = same && SlotAt(before, i).IsConsistent() &&
           SlotAt(before, i).first() == SlotAt(after, i).first();
  }
  return same;
}

transport::WorkRequest RemoteReader::PairRequest(const Target& target,
                                                 const Landing& landing) const {
  return ReadRequest(*target.segment, target.segment->layout.BucketOffset(target.home), kPairBytes,
                     landing.words(), landings_->region());
}

bool RemoteReader::TakeUsual(const Landing& landing, const Target& target, std::string* value) {
  const absl::string_view key = target.key.words.key();
  if (!IsAlignedKey(key)) {
    const SlotCopy* const found = FindByTags(BucketsAt(landing, 0), target);
    if (found != nullptr) AssignInlineValue(*found, value);
    return found != nullptr;
  }
  // As a mapped lookup takes it (kvs/segment_view.h): the copy has the layout of what was copied.
  const auto* const pair = reinterpret_cast<const Bucket*>(landing.words());
  const auto relaxed = std::memory_order_relaxed;  // Private memory by now.
  const uint64_t identity = target.segment->layout.identity;
  if (((pair[0].identity.Load(relaxed) ^ identity) | (pair[1].identity.Load(relaxed) ^ identity)) !=
      0) [[unlikely]] {
    return false;
  }
  const uint64_t match = MatchTags(pair[0].tags.Load(relaxed), TagOf(target.key.hash));
  if (match == 0) [[unlikely]]
    return false;
  return MatchAlignedInline(FirstMatch(pair, match), key, value);
}

bool RemoteReader::TakeUsualMarked(const Landing& landing, const Target& target, std::string* value,
                                   ReadMark* mark) {
  const BucketCopy* const pair = BucketsAt(landing, 0);
  const SlotCopy* const found = FindByTags(pair, target);
  if (found == nullptr) return false;
  AssignInlineValue(*found, value);
  const SegmentLayout& layout = target.segment->layout;
  *mark = MarkOf(layout, pair, layout.BucketOffset(target.home), *found);
  return true;
}

RemoteReader::Progress RemoteReader::GetAtOnce(const Target& target, const Landing& landing,
                                               std::string* value, absl::Status* status) {
  if (!landing) [[unlikely]]
    return Progress::kNothing;
  // The rest of it is the same each time.
  usual_request_.local = landing.words();
  usual_request_.remote_key = target.segment->key;
  usual_request_.remote_offset_bytes = target.segment->layout.BucketOffset(target.home);
  CompletionStatus read;
  if (!queue_pair_->ReadAtOnce(usual_request_, &read)) return Progress::kNothing;
  ++stats_.reads;
  if (read != CompletionStatus::kOk) [[unlikely]] {
    *status = ReadStatus(read);
    return Progress::kAnswered;
  }
  if (!TakeUsual(landing, target, value)) [[unlikely]]
    return ChainAtOnce(target, landing, value, status);
  *status = absl::OkStatus();
  return Progress::kAnswered;
}

// One key in sixteen is here when a table is 90 % full, too many for a coroutine each.
RemoteReader::Progress RemoteReader::ChainAtOnce(const Target& target, const Landing& landing,
                                                 std::string* value, absl::Status* status) {
  const BucketCopy* const home = BucketsAt(landing, 0);
  // A tag that matches may stand for an object: no READ that may not be needed.
  if (home->overflow == 0 || MatchTags(home->tags, TagOf(target.key.hash)) != 0 ||
      !OverflowIsInBounds(home->overflow, target.segment->layout)) {
    return Progress::kRead;
  }
  const transport::WorkRequest request =
      ReadRequest(*target.segment, GlobalAddress::FromBits(home->overflow).offset_bytes(),
                  kBucketBytes, landing.words(kSecondOffset), landings_->region());
  CompletionStatus read;
  if (!queue_pair_->ReadAtOnce(request, &read)) return Progress::kRead;
  ++stats_.reads;
  if (read != CompletionStatus::kOk) {
    *status = ReadStatus(read);
    return Progress::kAnswered;
  }
  const BucketCopy* const bucket = BucketsAt(landing, kSecondOffset);
  if (bucket->identity != target.segment->layout.identity || bucket->floor_or_home != target.home) {
    return Progress::kReadChain;  // Finish() says what that means.
  }
  for (const SlotCopy& slot : bucket->slots) {
    if (slot.IsConsistent() && target.key.words.IsInlineIn(slot) && slot.InlineFits()) {
      AssignInlineValue(slot, value);
      *status = absl::OkStatus();
      return Progress::kAnswered;
    }
  }
  return Progress::kReadChain;
}

// Flattened: fewer instructions between the misses of two calls (docs/lookup.md).
__attribute__((flatten)) Task<absl::Status> RemoteReader::StartGet(absl::string_view key,
                                                                   std::string* value,
                                                                   uint64_t timeout_ns,
                                                                   absl::Status* status) {
  if (key.empty() || key.size() > kKeyBytesMax) [[unlikely]] {
    *status = CheckKey(key);
    return {};
  }
  ++stats_.gets;
  Target target = TargetOf(key, 0);
  Landing landing = landings_->TryTake();
  const Progress progress = GetAtOnce(target, landing, value, status);
  if (progress == Progress::kAnswered) [[likely]]
    return {};
  target.deadline_ns = port_->scheduler()->NowNs() + timeout_ns;
  return GoOn(target, std::move(landing), progress, value);
}

Task<absl::Status> RemoteReader::Get(absl::string_view key, std::string* value,
                                     uint64_t deadline_ns) {
  absl::Status status = CheckKey(key);
  if (!status.ok()) co_return status;
  ++stats_.gets;
  const Target target = TargetOf(key, deadline_ns);
  Landing landing = landings_->TryTake();
  const Progress progress = GetAtOnce(target, landing, value, &status);
  if (progress != Progress::kAnswered) {
    Task<absl::Status> rest = GoOn(target, std::move(landing), progress, value);
    status = co_await std::move(rest);
  }
  co_return status;
}

Task<absl::Status> RemoteReader::GoOn(Target target, Landing landing, Progress progress,
                                      std::string* value) {
  if (!landing) {
    absl::StatusOr<Landing> waited =
        co_await TakeLandingUntil(landings_.get(), port_->scheduler(), target.deadline_ns);
    if (!waited.ok()) co_return waited.status();
    landing.Swap(&*waited);
  }
  if (progress == Progress::kNothing) {
    transport::WorkRequest request = PairRequest(target, landing);
    ++stats_.reads;
    const absl::optional<CompletionStatus> status =
        co_await port_->ExecuteUntil(queue_pair_, absl::MakeSpan(&request, 1), target.deadline_ns);
    if (status != CompletionStatus::kOk) co_return ReadStatus(status);
    // The usual case needs no further frame: one READ, and the record is there.
    if (TakeUsual(landing, target, value)) co_return absl::OkStatus();
  }
  absl::Status answer = co_await Finish(&target, &landing, progress == Progress::kReadChain, value,
                                        /*mark=*/nullptr);
  co_return answer;
}

Task<absl::Status> RemoteReader::Finish(const Target* target, Landing* landing, bool chain_landed,
                                        std::string* value, ReadMark* mark) {
  for (int retries = 0;; ++retries) {
    absl::Status status = co_await FinishOnce(target, landing, chain_landed, value, mark);
    chain_landed = false;
    if (!absl::IsAborted(status)) {
      if (absl::IsNotFound(status)) {
        // A hit proves itself; a miss counts only where the key would be if it were anywhere.
        if (!share_.Holds(target->key.hash)) co_return NotOurKey(share_, target->key.hash);
        ++stats_.misses;
      }
      co_return status;
    }
    ++stats_.retries;
    if (retries >= kRetriesBeforeYield) {
      if (port_->scheduler()->NowNs() > target->deadline_ns) {
        co_return absl::UnavailableError(
            "the record stayed locked until the deadline: a server thread has stalled; try again");
      }
      co_await port_->scheduler()->Yield();
    }
    status = co_await Read(target->segment, target->segment->layout.BucketOffset(target->home),
                           kPairBytes, landings_.get(), landing, 0, target->deadline_ns);
    if (!status.ok()) co_return status;
  }
}

Task<absl::Status> RemoteReader::FinishOnce(const Target* target, Landing* landing,
                                            bool chain_landed, std::string* value, ReadMark* mark) {
  const BucketCopy* const first = BucketsAt(*landing, 0);
  const SegmentLayout& layout = target->segment->layout;
  absl::Status answer =
      co_await SearchAndAnswer(target, first, 2, layout.BucketOffset(target->home), value, mark);
  if (!absl::IsNotFound(answer)) co_return answer;
  if (first->structure_version % 2 != 0) co_return WriterAtWork();
  if (first->overflow != 0) {
    answer = co_await Chain(target, landing, first->overflow, chain_landed, value, mark);
    if (!absl::IsNotFound(answer)) co_return answer;
  }
  // Even; worth something if it is found again.
  if (mark != nullptr) {
    *mark = ReadMark::OfMiss(layout, target->key.hash, first->structure_version);
  }
  if (IsPlanted(PlantedBug::kMissAfterOneRead)) co_return absl::NotFoundError("no such record");
  const absl::Status status = co_await ReadPairAgain(target, landing);
  if (!status.ok()) co_return status;
  if (!StoodStill(first, BucketsAt(*landing, kSecondOffset))) co_return WriterAtWork();
  co_return absl::NotFoundError("no such record");
}

Task<absl::Status> RemoteReader::Chain(const Target* target, Landing* landing, uint64_t address,
                                       bool first_landed, std::string* value, ReadMark* mark) {
  const SegmentLayout& layout = target->segment->layout;
  for (size_t steps = 0; address != 0; ++steps) {
    if (!OverflowIsInBounds(address, layout)) {
      co_return absl::DataLossError(
          "a chain of the server's table leads outside of its memory: give the server up");
    }
    if (steps == kChainBucketsMax) {
      absl::Status judged = co_await JudgeLongChain(target, landing);
      co_return judged;
    }
    const uint32_t offset = GlobalAddress::FromBits(address).offset_bytes();
    if (steps > 0 || !first_landed) {
      const absl::Status status =
          co_await Read(target->segment, offset, kBucketBytes, landings_.get(), landing,
                        kSecondOffset, target->deadline_ns);
      if (!status.ok()) co_return status;
    }
    const BucketCopy* const bucket = BucketsAt(*landing, kSecondOffset);
    // Freed since, and maybe taken by another home: then this home's structure version has moved.
    if (bucket->floor_or_home != target->home) co_return WriterAtWork();
    absl::Status answer = co_await SearchAndAnswer(target, bucket, 1, offset, value, mark);
    if (!absl::IsNotFound(answer)) co_return answer;
    address = bucket->overflow;
  }
  co_return absl::NotFoundError("no such record");
}

// A chain that changes under our feet may lead in a circle; one that stood still must not be so long.
Task<absl::Status> RemoteReader::JudgeLongChain(const Target* target, Landing* landing) {
  const absl::Status status = co_await ReadPairAgain(target, landing);
  if (!status.ok()) co_return status;
  if (!StoodStill(BucketsAt(*landing, 0), BucketsAt(*landing, kSecondOffset))) {
    co_return WriterAtWork();
  }
  co_return absl::DataLossError(
      "a chain of the server's table is longer than any may be: give the server up");
}

Task<absl::Status> RemoteReader::ReadPairAgain(const Target* target, Landing* landing) {
  return Read(target->segment, target->segment->layout.BucketOffset(target->home), kPairBytes,
              landings_.get(), landing, kSecondOffset, target->deadline_ns);
}

Task<absl::Status> RemoteReader::SearchAndAnswer(const Target* target, const BucketCopy* buckets,
                                                 size_t buckets_count, uint64_t offset_bytes,
                                                 std::string* value, ReadMark* mark) {
  // More than one slot may look like the key's: two keys out of line may have the same hash.
  for (size_t position = 0;; ++position) {
    switch (Search(buckets, buckets_count, *target, &position)) {
      case Verdict::kAbsent:
        co_return absl::NotFoundError("not in these buckets");
      case Verdict::kTorn:
        co_return WriterAtWork();
      case Verdict::kStale:
        co_return absl::UnavailableError(
            "the server's memory belongs to another incarnation of it: connect again");
      case Verdict::kFound:
        break;
    }
    const SlotCopy& slot = SlotAt(buckets, position);
    absl::Status answer = co_await Answer(target, &slot, value);
    // The object's checksum was that copy's, too.
    if (answer.ok() && mark != nullptr) {
      *mark = MarkOf(target->segment->layout, buckets, offset_bytes, slot);
    }
    if (!absl::IsNotFound(answer)) co_return answer;
  }
}

Task<absl::Status> RemoteReader::Answer(const Target* target, const SlotCopy* slot,
                                        std::string* value) {
  if (slot->first().kind() == SlotKind::kInline) {
    if (!slot->InlineFits()) co_return absl::DataLossError("a slot's lengths exceed the slot");
    AssignInlineValue(*slot, value);
    co_return absl::OkStatus();
  }
  if (!ObjectIsInBounds(*slot, target->segment->layout)) {
    co_return absl::DataLossError(
        "a slot of the server's table names a place outside of its memory: give the server up");
  }
  const size_t bytes = ObjectBytes(slot->object_key_bytes(), slot->object_value_bytes());
  absl::StatusOr<Landing> landing =
      co_await TakeLandingUntil(object_landings_.get(), port_->scheduler(), target->deadline_ns);
  if (!landing.ok()) co_return landing.status();
  const absl::Status status = co_await Read(target->segment, slot->object_address().offset_bytes(),
                                            static_cast<uint32_t>(bytes), object_landings_.get(),
                                            &*landing, 0, target->deadline_ns);
  if (!status.ok()) co_return status;
  const ObjectView object = ParseObject(landing->landed(), slot->object_key_bytes(),
                                        slot->object_value_bytes(), slot->object_checksum());
  // Freed, and its memory reused, since the slot was READ: the slot has changed by now.
  if (!object.valid) co_return WriterAtWork();
  if (object.key != target->key.words.key()) co_return absl::NotFoundError("another key's");
  value->assign(object.value.data(), object.value.size());
  co_return absl::OkStatus();
}

Task<absl::StatusOr<uint64_t>> RemoteReader::ServerEpoch() {
  Landing landing = co_await landings_->Take();
  const absl::Status status = co_await Read(&segments_[0], offsetof(transport::RegionHeader, epoch),
                                            kWordBytes, landings_.get(), &landing, 0,
                                            /*deadline_ns=*/UINT64_MAX);
  if (!status.ok()) co_return status;
  co_return landing.landed()[0];
}

}  // namespace acre::kvs
