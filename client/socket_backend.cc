#include "client/socket_backend.h"

#include <algorithm>
#include <utility>

#include "runtime/deadline.h"

namespace acre {

SocketBackend::SocketBackend(Scheduler* scheduler, std::unique_ptr<SocketClient> client)
    : scheduler_(scheduler), client_(std::move(client)) {}

Task<absl::Status> SocketBackend::Get(absl::string_view key, std::string* value,
                                      uint64_t deadline_ns) {
  return WithDeadline(*scheduler_, deadline_ns, client_->Get(key, value));
}

Task<absl::Status> SocketBackend::Put(absl::string_view key, absl::string_view value,
                                      uint64_t deadline_ns) {
  return WithDeadline(*scheduler_, deadline_ns, client_->Put(key, value));
}

Task<absl::Status> SocketBackend::Delete(absl::string_view key, uint64_t deadline_ns) {
  return WithDeadline(*scheduler_, deadline_ns, client_->Delete(key));
}

Task<void> SocketBackend::MultiGet(absl::Span<const absl::string_view> keys,
                                   absl::Span<std::string> values,
                                   absl::Span<absl::Status> statuses, uint64_t deadline_ns) {
  Task<void> all = client_->MultiGet(keys, values, statuses);
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(all));
  if (!status.ok()) std::fill(statuses.begin(), statuses.end(), status);
}

Task<absl::StatusOr<std::string>> SocketBackend::Stats(uint64_t deadline_ns) {
  return WithDeadline(*scheduler_, deadline_ns, client_->Stats());
}

Task<absl::StatusOr<kvs::ClusterAnswer>> SocketBackend::Cluster(uint64_t deadline_ns) {
  return WithDeadline(*scheduler_, deadline_ns, client_->Cluster(/*view=*/0));
}

}  // namespace acre
