#include "tests/transactions/cluster_sim/other_homes.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::cluster_sim {
namespace {

using kvs::TransactionParticipant;

constexpr uint64_t kAskNs = 100'000'000;

}  // namespace

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
