#include "tests/transactions/cluster_sim/other_homes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kvs/transaction_wire.h"

namespace acre::cluster_sim {
namespace {

using kvs::TransactionOutcome;
using kvs::TransactionParticipant;

constexpr uint64_t kAskNs = 100'000'000;

absl::Status NotNow(const absl::Status& status) { return absl::UnavailableError(status.message()); }

}  // namespace

Task<absl::StatusOr<TransactionOutcome>> SimulatedOtherHomes::Promise(
    TransactionParticipant participant, kvs::TransactionId id) {
  const std::string request = kvs::EncodeId(id);
  std::string response;
  bool answered = false;
  const absl::Status status =
      co_await Ask(participant, kvs::Method::kTransactionPromise, request, &response, &answered);
  if (!status.ok()) {
    if (!answered && absl::IsFailedPrecondition(status)) co_return status;
    co_return NotNow(status);
  }
  absl::StatusOr<TransactionOutcome> outcome = kvs::ParseOutcome(response);
  co_return outcome;
}

Task<absl::Status> SimulatedOtherHomes::Resolve(TransactionParticipant participant,
                                                kvs::TransactionId id, bool commit) {
  const std::string request = kvs::EncodeResolve({id, commit});
  std::string response;
  bool answered = false;
  const absl::Status status =
      co_await Ask(participant, kvs::Method::kTransactionResolve, request, &response, &answered);
  if (status.ok()) co_return status;
  if (absl::IsFailedPrecondition(status)) {
    co_return answered ? absl::DataLossError(status.message()) : status;
  }
  co_return NotNow(status);
}

Task<absl::Status> SimulatedOtherHomes::Close(TransactionParticipant participant,
                                              kvs::TransactionThread thread) {
  const std::string request = kvs::EncodeId({thread, 0});
  std::string response;
  bool answered = false;
  const absl::Status status =
      co_await Ask(participant, kvs::Method::kTransactionClose, request, &response, &answered);
  if (status.ok()) co_return status;
  if (!answered && absl::IsFailedPrecondition(status)) co_return status;
  co_return NotNow(status);
}

Task<absl::Status> SimulatedOtherHomes::Ask(const TransactionParticipant& participant,
                                            kvs::Method method, const std::string& request,
                                            std::string* response, bool* answered) {
  *answered = false;
  const uint64_t deadline_ns = scheduler_->NowNs() + kAskNs;
  simulation::Connector* const connector = connectors_[participant.server_index].get();
  const std::shared_ptr<FabricBackend> backend = co_await connector->Connection(deadline_ns);
  if (backend == nullptr) co_return absl::UnavailableError("it can not be reached");
  if (connector->generation() != participant.incarnation) {
    co_return absl::FailedPreconditionError("it was started anew since");
  }
  absl::Status status = co_await backend->Call(method, request, response, deadline_ns);
  *answered = !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status);
  co_return status;
}

std::string SimulatedOtherHomes::NameOf(const TransactionParticipant& participant) const {
  return absl::StrCat("home ", participant.server_index);
}

}  // namespace acre::cluster_sim
