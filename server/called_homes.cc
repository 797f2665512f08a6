#include "server/called_homes.h"

#include "absl/strings/str_cat.h"
#include "kvs/transaction_wire.h"

namespace acre::server {
namespace {

using kvs::TransactionId;
using kvs::TransactionOutcome;
using kvs::TransactionParticipant;
using kvs::TransactionThread;

// What a home's handler said that is no answer to the question.
absl::Status NotNowBecause(const absl::Status& status, bool answered) {
  if (answered && absl::IsDataLoss(status)) return status;
  return CalledHomes::NotNow(status);
}

}  // namespace

absl::Status CalledHomes::NotNow(const absl::Status& status) {
  if (absl::IsUnavailable(status)) return status;
  return absl::UnavailableError(status.message());
}

Task<absl::StatusOr<TransactionOutcome>> CalledHomes::Promise(TransactionParticipant participant,
                                                              TransactionId id) {
  const std::string request = kvs::EncodeId(id);
  std::string response;
  bool answered = false;
  const absl::Status status =
      co_await Ask(participant, kvs::Method::kTransactionPromise, request, &response, &answered);
  if (!status.ok()) {
    // Of a handler FailedPrecondition would not mean that it is gone.
    if (!answered && absl::IsFailedPrecondition(status)) co_return status;
    absl::Status not_now = NotNowBecause(status, answered);
    co_return not_now;
  }
  const absl::StatusOr<TransactionOutcome> outcome = kvs::ParseOutcome(response);
  if (!outcome.ok()) {
    absl::Status damaged = absl::DataLossError(outcome.status().message());
    co_return damaged;
  }
  co_return *outcome;
}

Task<absl::Status> CalledHomes::Resolve(TransactionParticipant participant, TransactionId id,
                                        bool commit) {
  const std::string request = kvs::EncodeResolve({id, commit});
  std::string response;
  bool answered = false;
  const absl::Status status =
      co_await Ask(participant, kvs::Method::kTransactionResolve, request, &response, &answered);
  if (status.ok()) co_return status;
  if (absl::IsFailedPrecondition(status)) {
    absl::Status has_another_outcome =
        absl::DataLossError(absl::StrCat(NameOf(participant), ": ", status.message()));
    co_return answered ? has_another_outcome : status;
  }
  absl::Status not_now = NotNowBecause(status, answered);
  co_return not_now;
}

Task<absl::Status> CalledHomes::Close(TransactionParticipant participant,
                                      TransactionThread thread) {
  const std::string request = kvs::EncodeId({thread, 0});
  std::string response;
  bool answered = false;
  const absl::Status status =
      co_await Ask(participant, kvs::Method::kTransactionClose, request, &response, &answered);
  if (status.ok()) co_return status;
  // Answered: something is open there.
  if (!answered && absl::IsFailedPrecondition(status)) co_return status;
  absl::Status not_now = NotNow(status);
  co_return not_now;
}

}  // namespace acre::server
