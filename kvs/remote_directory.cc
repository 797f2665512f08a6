#include "kvs/remote_directory.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/deadline.h"

namespace acre::kvs {

absl::Status ReadStatus(absl::optional<transport::CompletionStatus> status) {
  if (!status.has_value()) {
    return absl::DeadlineExceededError("a READ of the server's memory is held up");
  }
  if (*status == transport::CompletionStatus::kOk) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "a READ of the server's memory failed (", transport::CompletionStatusName(*status),
      "): the server is gone, or its lease is over; connect again"));
}

Task<absl::Status> ReadUntil(transport::Port* port, transport::QueuePair* queue_pair,
                             transport::WorkRequest request, uint64_t deadline_ns) {
  transport::CompletionStatus read;
  if (queue_pair->ReadAtOnce(request, &read)) co_return ReadStatus(read);
  const absl::optional<transport::CompletionStatus> status =
      co_await port->ExecuteUntil(queue_pair, absl::MakeSpan(&request, 1), deadline_ns);
  co_return ReadStatus(status);
}

Task<absl::StatusOr<LandingPool::Landing>> TakeLandingUntil(LandingPool* pool, Scheduler* scheduler,
                                                            uint64_t deadline_ns) {
  Task<LandingPool::Landing> take = pool->Take();
  absl::StatusOr<LandingPool::Landing> landing =
      co_await WithDeadline(*scheduler, deadline_ns, std::move(take));
  if (!landing.ok()) {
    co_return absl::DeadlineExceededError("all places to READ into stayed taken by other reads");
  }
  co_return landing;
}

Task<absl::StatusOr<std::shared_ptr<const RemoteDirectory>>> RemoteDirectory::Read(
    transport::Port* port, transport::QueuePair* queue_pair, LandingPool* landings,
    std::vector<RegionEntry> regions, KeyShare share, uint64_t deadline_ns) {
  if (regions.empty()) co_return absl::DataLossError("the server's directory names no region");
  std::shared_ptr<RemoteDirectory> directory(new RemoteDirectory(share));
  for (const RegionEntry& region : regions) {
    absl::StatusOr<LandingPool::Landing> landing =
        co_await TakeLandingUntil(landings, port->scheduler(), deadline_ns);
    if (!landing.ok()) co_return landing.status();
    transport::WorkRequest request;
    request.opcode = transport::Opcode::kRead;
    request.local = landing->words();
    request.local_region = landings->region();
    request.length_bytes = sizeof(SegmentHeader);
    request.remote_key = region.key;
    request.remote_offset_bytes = kSegmentHeaderOffset;
    const absl::Status status = co_await ReadUntil(port, queue_pair, request, deadline_ns);
    if (!status.ok()) co_return status;
    uint64_t words[sizeof(SegmentHeader) / kWordBytes];
    std::copy_n(landing->landed(), std::size(words), words);
    absl::StatusOr<SegmentLayout> layout =
        SegmentLayout::Parse(words, region.region_id, region.size_bytes);
    if (!layout.ok()) co_return layout.status();
    directory->segments_.push_back({region.region_id, region.key, *layout});
  }
  co_return std::shared_ptr<const RemoteDirectory>(std::move(directory));
}

}  // namespace acre::kvs
