// Transactions over the cluster that a Router knows: what kvs/coordinator.h wants of it.

#include <utility>

#include "client/router.h"
#include "runtime/system_random.h"

namespace acre {

std::unique_ptr<AsyncTransaction> Router::Begin() { return coordinator_.Begin(); }

Task<absl::Status> Router::RunTransaction(const AsyncTransactionFunction& function,
                                          RunOptions options) {
  absl::Status status = co_await coordinator_.Run(function, options);
  co_return status;
}

TransactionStats Router::transaction_stats() const { return coordinator_.stats(); }

uint32_t Router::NewThreadNumber() {
  uint32_t number = 0;
  FillSystemRandom(absl::MakeSpan(reinterpret_cast<uint8_t*>(&number), sizeof(number)));
  return number;
}

std::shared_ptr<kvs::TransactionLink> Router::LinkNow(size_t server) {
  return cores_[server] == nullptr ? nullptr : cores_[server]->transactions_now();
}

Task<absl::StatusOr<std::shared_ptr<kvs::TransactionLink>>> Router::Link(size_t server,
                                                                         uint64_t deadline_ns) {
  const uint64_t map_number = maps_count_;
  const std::shared_ptr<ClientCore> core = CoreAt(server);
  absl::StatusOr<std::shared_ptr<kvs::TransactionLink>> link =
      co_await core->Transactions(deadline_ns);
  if (link.ok()) co_return link;
  absl::Status status = link.status();
  // With another map the transaction finds that out, and who runs it begins anew.
  (void)co_await LearnFrom(&status, map_number, /*is_read=*/true, deadline_ns);
  co_return status;
}

}  // namespace acre
