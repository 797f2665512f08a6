#include "kvs/transaction_link.h"

#include <algorithm>
#include <utility>

#include "runtime/deadline.h"

namespace acre::kvs {
namespace {

// How long a read waits for a lock. Locks of transactions are held for a few round trips: who finds one that lasts
// does better to give up, and let go of what it holds itself.
constexpr uint64_t kMappedPatienceNs = 1'000'000;
constexpr uint64_t kRemotePatienceNs = 10'000'000;

}  // namespace

Task<void> TransactionLink::Read(absl::Span<MarkedGet> gets, uint64_t deadline_ns) {
  const uint64_t now_ns = scheduler_->NowNs();
  if (mapped_ == nullptr) {
    co_await remote_->MultiGetMarked(gets, std::min(deadline_ns, now_ns + kRemotePatienceNs));
    co_return;
  }
  mapped_->MultiGetMarked(gets, /*patience_ns=*/0);
  const uint64_t till_ns = std::min(deadline_ns, now_ns + kMappedPatienceNs);
  for (MarkedGet& get : gets) {
    while (absl::IsUnavailable(get.status) && mapped_->IsLive() && scheduler_->NowNs() < till_ns) {
      // Others of the thread in between: it may be locked for one of them.
      co_await scheduler_->Yield();
      get.status = mapped_->GetMarked(get.key, get.value, &get.mark, /*patience_ns=*/0);
    }
  }
}

bool TransactionLink::ReadNow(absl::Span<MarkedGet> gets) {
  mapped_->MultiGetMarked(gets, /*patience_ns=*/0);
  return std::none_of(gets.begin(), gets.end(),
                      [](const MarkedGet& get) { return absl::IsUnavailable(get.status); });
}

Task<absl::Status> TransactionLink::Validate(absl::Span<const ReadMark> marks,
                                             absl::optional<size_t>* changed,
                                             uint64_t deadline_ns) {
  if (mapped_ != nullptr) co_return ValidateNow(marks, changed);
  absl::Status status = co_await remote_->Validate(marks, changed, deadline_ns);
  co_return status;
}

absl::Status TransactionLink::ValidateNow(absl::Span<const ReadMark> marks,
                                          absl::optional<size_t>* changed) {
  return mapped_->Validate(marks, changed);
}

GlobalAddress TransactionLink::StructureWord(uint64_t hash) const {
  return mapped_ != nullptr ? mapped_->StructureWord(hash) : remote_->StructureWord(hash);
}

Task<absl::Status> TransactionLink::Call(Method method, absl::string_view request,
                                         std::string* response, uint64_t deadline_ns) {
  Task<absl::Status> call = rpc_->Call(static_cast<uint16_t>(method), request, "", response);
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(call));
  co_return status;
}

Task<absl::Status> TransactionLink::Reserve(Room* room, uint64_t deadline_ns) {
  for (;;) {
    absl::StatusOr<Room> reserved = rpc_->ReserveNotice();
    if (reserved.ok()) {
      *room = *std::move(reserved);
      co_return absl::OkStatus();
    }
    // Full of others' records: the home takes them one after the other.
    if (!absl::IsResourceExhausted(reserved.status())) co_return reserved.status();
    if (scheduler_->NowNs() >= deadline_ns) {
      co_return absl::DeadlineExceededError("the ring to the server is full");
    }
    co_await scheduler_->Yield();
  }
}

Task<absl::Status> TransactionLink::Notify(Method method, Room room, std::string notice) {
  absl::Status status =
      co_await rpc_->Notify(std::move(room), static_cast<uint16_t>(method), notice);
  co_return status;
}

Task<absl::Status> TransactionLink::Notify(Method method, std::string notice) {
  absl::Status status = co_await rpc_->Notify(static_cast<uint16_t>(method), notice);
  co_return status;
}

}  // namespace acre::kvs
