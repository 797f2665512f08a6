#include "client/transaction.h"

#include <utility>

#include "client/blocking_calls.h"

namespace acre {

Transaction::Transaction(BlockingCalls* calls, std::unique_ptr<AsyncTransaction> owned)
    : calls_(calls), owned_(std::move(owned)), transaction_(owned_.get()) {}

Transaction::Transaction(BlockingCalls* calls, AsyncTransaction* borrowed)
    : calls_(calls), transaction_(borrowed) {}

absl::StatusOr<std::string> Transaction::Get(absl::string_view key) {
  std::string value;
  if (absl::Status status = Get(key, &value); !status.ok()) return status;
  return value;
}

absl::Status Transaction::Get(absl::string_view key, std::string* value) {
  return calls_->Run(transaction_->Get(key, value));
}

void Transaction::MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                           absl::Span<absl::Status> statuses) {
  calls_->Run(transaction_->MultiGet(keys, values, statuses));
}

absl::Status Transaction::Commit() { return calls_->Run(transaction_->Commit()); }

}  // namespace acre
