// RemoteReader: what it does for many keys at once, and for transactions.

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "kvs/remote_reader.h"

namespace acre::kvs {
namespace {

using transport::CompletionStatus;

constexpr size_t kDoorbellReadsMax = 16;

// What a MultiGet gets, in the form in which it was asked for.
struct PlainGets {
  static constexpr bool kAreMarked = false;
  size_t size() const { return keys.size(); }
  absl::string_view key(size_t i) const { return keys[i]; }
  std::string* value(size_t i) const { return &values[i]; }
  absl::Status* status(size_t i) const { return &statuses[i]; }
  ReadMark* mark(size_t /*i*/) const { return nullptr; }

  absl::Span<const absl::string_view> keys;
  absl::Span<std::string> values;
  absl::Span<absl::Status> statuses;
};
struct MarkedGets {
  static constexpr bool kAreMarked = true;
  size_t size() const { return gets.size(); }
  absl::string_view key(size_t i) const { return gets[i].key; }
  std::string* value(size_t i) const { return gets[i].value; }
  absl::Status* status(size_t i) const { return &gets[i].status; }
  ReadMark* mark(size_t i) const { return &gets[i].mark; }

  absl::Span<MarkedGet> gets;
};

}  // namespace

Task<void> RemoteReader::MultiGet(absl::Span<const absl::string_view> keys,
                                  absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                                  uint64_t deadline_ns) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  return MultiGetOf(PlainGets{keys, values, statuses}, deadline_ns);
}

Task<void> RemoteReader::MultiGetMarked(absl::Span<MarkedGet> gets, uint64_t deadline_ns) {
  return MultiGetOf(MarkedGets{gets}, deadline_ns);
}

template <class Gets>
Task<void> RemoteReader::MultiGetOf(Gets gets, uint64_t deadline_ns) {
  for (size_t begin = 0; begin < gets.size();) {
    absl::InlinedVector<Landing, kDoorbellReadsMax> landings;
    absl::InlinedVector<Target, kDoorbellReadsMax> targets;
    std::array<transport::WorkRequest, kDoorbellReadsMax> requests;
    const size_t room = std::min(kDoorbellReadsMax, gets.size() - begin);
    while (targets.size() < room) {
      const absl::string_view key = gets.key(begin + targets.size());
      if (!CheckKey(key).ok()) break;
      Landing landing = landings_->TryTake();
      if (!landing) break;
      targets.push_back(TargetOf(key, deadline_ns));
      requests[landings.size()] = PairRequest(targets.back(), landing);
      landings.push_back(std::move(landing));
    }
    if (targets.empty()) {
      // A bad key, or no landing is free: one at a time, then.
      Task<absl::Status> one;
      if constexpr (Gets::kAreMarked) {
        one = GetMarkedSingly(gets.key(begin), gets.value(begin), gets.mark(begin), deadline_ns);
      } else {
        one = Get(gets.key(begin), gets.value(begin), deadline_ns);
      }
      *gets.status(begin) = co_await std::move(one);
      ++begin;
      continue;
    }
    const size_t count = targets.size();
    stats_.gets += count;
    stats_.reads += count;
    const absl::optional<CompletionStatus> status = co_await port_->ExecuteUntil(
        queue_pair_, absl::MakeSpan(requests.data(), count), deadline_ns);
    if (!status.has_value()) {
      // Further READs would be held up behind these.
      for (size_t i = begin; i < gets.size(); ++i) {
        *gets.status(i) = CheckKey(gets.key(i));
        if (gets.status(i)->ok()) *gets.status(i) = ReadStatus(status);
      }
      co_return;
    }
    for (size_t i = 0; i < count; ++i, ++begin) {
      if (status != CompletionStatus::kOk) {
        *gets.status(begin) = ReadStatus(status);
        continue;
      }
      bool is_taken = false;
      if constexpr (Gets::kAreMarked) {
        is_taken = TakeUsualMarked(landings[i], targets[i], gets.value(begin), gets.mark(begin));
      } else {
        is_taken = TakeUsual(landings[i], targets[i], gets.value(begin));
      }
      if (is_taken) {
        *gets.status(begin) = absl::OkStatus();
        continue;
      }
      Task<absl::Status> rest = Finish(&targets[i], &landings[i], /*chain_landed=*/false,
                                       gets.value(begin), gets.mark(begin));
      *gets.status(begin) = co_await std::move(rest);
    }
  }
}

Task<absl::Status> RemoteReader::GetMarkedSingly(absl::string_view key, std::string* value,
                                                 ReadMark* mark, uint64_t deadline_ns) {
  absl::Status status = CheckKey(key);
  if (!status.ok()) co_return status;
  ++stats_.gets;
  const Target target = TargetOf(key, deadline_ns);
  absl::StatusOr<Landing> landing =
      co_await TakeLandingUntil(landings_.get(), port_->scheduler(), deadline_ns);
  if (!landing.ok()) co_return landing.status();
  status = co_await Read(target.segment, target.segment->layout.BucketOffset(target.home),
                         kPairBytes, landings_.get(), &*landing, 0, deadline_ns);
  if (!status.ok()) co_return status;
  if (TakeUsualMarked(*landing, target, value, mark)) co_return absl::OkStatus();
  status = co_await Finish(&target, &*landing, /*chain_landed=*/false, value, mark);
  co_return status;
}

Task<absl::Status> RemoteReader::Validate(absl::Span<const ReadMark> marks,
                                          absl::optional<size_t>* changed, uint64_t deadline_ns) {
  changed->reset();
  if (marks.empty()) co_return absl::OkStatus();
  absl::StatusOr<Landing> landing =
      co_await TakeLandingUntil(landings_.get(), port_->scheduler(), deadline_ns);
  if (!landing.ok()) co_return landing.status();
  absl::InlinedVector<transport::WorkRequest, kDoorbellReadsMax> requests;
  for (size_t begin = 0; begin < marks.size(); begin += requests.size()) {
    requests.clear();
    for (const ReadMark& mark : marks.subspan(begin, validation_reads_max_)) {
      const size_t index =
          SegmentOfMark(mark, segments_.size(),
                        [this](size_t i) -> const SegmentLayout& { return segments_[i].layout; });
      requests.push_back(ReadRequest(segments_[index], mark.word.offset_bytes(), kWordBytes,
                                     landing->words(requests.size() * kWordBytes),
                                     landings_->region()));
    }
    stats_.validations += requests.size();
    // Posted when the reads that are validated have completed: what they bring was sampled before these words are.
    const absl::optional<CompletionStatus> status =
        co_await port_->ExecuteUntil(queue_pair_, absl::MakeSpan(requests), deadline_ns);
    if (status != CompletionStatus::kOk) co_return ReadStatus(status);
    for (size_t i = 0; i < requests.size(); ++i) {
      if (marks[begin + i].IsStill(landing->landed()[i])) continue;
      *changed = begin + i;
      co_return absl::OkStatus();
    }
  }
  co_return absl::OkStatus();
}

GlobalAddress RemoteReader::StructureWord(uint64_t hash) const {
  const SegmentLayout& layout = directory_->SegmentOf(hash).layout;
  return ReadMark::StructureWord(layout, HomeBucket(hash, layout.buckets_count));
}

}  // namespace acre::kvs
