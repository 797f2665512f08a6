// SocketBackend: Path::kTcp, a connection of the socket baseline.

#ifndef ACRE_CLIENT_SOCKET_BACKEND_H_
#define ACRE_CLIENT_SOCKET_BACKEND_H_

#include <memory>
#include <string>

#include "client/backend.h"
#include "client/socket_client.h"
#include "runtime/scheduler.h"

namespace acre {

class SocketBackend final : public Backend {
 public:
  SocketBackend(Scheduler* scheduler, std::unique_ptr<SocketClient> client);

  absl::Status status() const override { return client_->status(); }
  Task<absl::Status> Get(absl::string_view key, std::string* value, uint64_t deadline_ns) override;
  Task<absl::Status> Put(absl::string_view key, absl::string_view value,
                         uint64_t deadline_ns) override;
  Task<absl::Status> Delete(absl::string_view key, uint64_t deadline_ns) override;
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses, uint64_t deadline_ns) override;
  Task<absl::StatusOr<std::string>> Stats(uint64_t deadline_ns) override;
  Task<absl::StatusOr<kvs::ClusterAnswer>> Cluster(uint64_t deadline_ns) override;
  Path path() const override { return Path::kTcp; }
  std::string fabric() const override { return "socket"; }

 private:
  Scheduler* const scheduler_;
  const std::unique_ptr<SocketClient> client_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_SOCKET_BACKEND_H_
