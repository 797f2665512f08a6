// Transactions over the cluster that a Router knows: what kvs/coordinator.h wants of it.

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "client/router.h"
#include "kvs/transaction_wire.h"
#include "kvs/wire.h"
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

// ---- For operators.

Task<absl::StatusOr<std::string>> Router::Transactions(std::string server) {
  const absl::StatusOr<std::shared_ptr<ClientCore>> core = CoreNamed(server);
  if (!core.ok()) co_return core.status();
  std::string text;
  const absl::Status status =
      co_await (*core)->Call(kvs::Method::kTransactions, "", &text, OperationDeadlineNs());
  if (!status.ok()) co_return status;
  co_return text;
}

Task<absl::Status> Router::EndTransaction(std::string id, bool commit) {
  const absl::optional<kvs::TransactionId> parsed = kvs::ParseTransactionName(id);
  if (!parsed.has_value()) {
    co_return absl::InvalidArgumentError(
        absl::StrCat("\"", id, "\" is no transaction: they look like 0.16777217.1.42"));
  }
  // What is known already decides. Who promises takes no COMMIT any more: so it is not decided behind our back.
  const kvs::TransactionOutcome contrary =
      commit ? kvs::TransactionOutcome::kAborted : kvs::TransactionOutcome::kCommitted;
  for (size_t i = 0; i < cores_.size(); ++i) {
    const std::shared_ptr<ClientCore> core = CoreAt(i);
    std::string response;
    const absl::Status asked = co_await core->Call(
        kvs::Method::kTransactionPromise, kvs::EncodeId(*parsed), &response, OperationDeadlineNs());
    if (!asked.ok()) continue;  // Gone, perhaps for good: that is what operators decide for.
    const absl::StatusOr<kvs::TransactionOutcome> outcome = kvs::ParseOutcome(response);
    if (outcome.ok() && *outcome == contrary) {
      co_return absl::FailedPreconditionError(
          absl::StrCat(id, commit ? " was aborted at server " : " was committed at server ",
                       core->server().ToString(), ": nothing was changed; end it likewise"));
    }
  }
  const std::string request = kvs::EncodeResolve({*parsed, commit});
  bool was_open = false;
  absl::Status no_answer;
  for (size_t i = 0; i < cores_.size(); ++i) {
    const std::shared_ptr<ClientCore> core = CoreAt(i);
    std::string response;
    const absl::Status status = co_await core->Call(kvs::Method::kTransactionEnd, request,
                                                    &response, OperationDeadlineNs());
    if (absl::IsFailedPrecondition(status) || absl::IsOutOfRange(status)) co_return status;
    if (status.ok()) was_open = true;
    if (!status.ok() && !absl::IsNotFound(status)) no_answer = status;
  }
  if (was_open) co_return absl::OkStatus();
  if (!no_answer.ok()) co_return no_answer;
  co_return absl::NotFoundError("no server has this transaction open");
}

}  // namespace acre
