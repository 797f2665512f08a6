#include "server/transaction_handler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/counter.h"

namespace acre::server {
namespace {

using Answer = kvs::TransactionVote::Answer;
using Method = kvs::Method;

Task<absl::Status> Ready(absl::Status status) { co_return status; }

kvs::TransactionVote VoteOf(Answer answer, absl::Status status) {
  kvs::TransactionVote vote;
  vote.answer = answer;
  vote.status = std::move(status);
  return vote;
}

// Adds up to "never".
uint64_t Later(uint64_t now_ns, uint64_t wait_ns) {
  return wait_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + wait_ns;
}

}  // namespace

Task<absl::Status> TransactionHandler::Handle(transport::RpcContext* context) {
  const auto method = static_cast<Method>(context->method);
  switch (method) {
    case Method::kTransactionLock:
    case Method::kTransactionAtOnce:
      return Ready(Lock(method, context));
    case Method::kTransactionHold:
      return Hold(context);
    case Method::kTransactionPromise:
      return Promise(context);
    case Method::kTransactionResolve:
      return Resolve(context, /*is_operator=*/false);
    case Method::kTransactionEnd:
      return Resolve(context, /*is_operator=*/true);
    case Method::kTransactionClose:
      return Close(context);
    case Method::kTransactions:
      return List(context);
    default:
      return context_.next->Handle(context);
  }
}

std::vector<TransactionHandler::Coordinator>::iterator TransactionHandler::FindOwn(
    const kvs::TransactionThread& thread) {
  return std::find_if(coordinators_.begin(), coordinators_.end(),
                      [&](const Coordinator& own) { return own.thread == thread; });
}

absl::Status TransactionHandler::Admit(const kvs::TransactionThread& thread,
                                       Coordinator** coordinator) {
  if (last_ < coordinators_.size() && coordinators_[last_].thread == thread) [[likely]] {
    *coordinator = &coordinators_[last_];
    return absl::OkStatus();
  }
  if (thread.process_id != context_.process_id || thread.view != context_.check_view.view()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a coordinator of process ", thread.process_id, ", view ", thread.view,
                     ", on a connection of process ", context_.process_id));
  }
  if (const auto own = FindOwn(thread); own != coordinators_.end()) {
    last_ = static_cast<size_t>(own - coordinators_.begin());
    *coordinator = &*own;
    return absl::OkStatus();
  }
  if (coordinators_.size() == kCoordinatorsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kCoordinatorsMax, " coordinators on one connection"));
  }
  absl::Status status = context_.worker->Bind(thread, context_.connection);
  if (!status.ok()) return status;
  last_ = coordinators_.size();
  coordinators_.push_back({thread});
  *coordinator = &coordinators_[last_];
  return absl::OkStatus();
}

absl::Status TransactionHandler::Truncate(const kvs::TransactionId& id, uint64_t finished_below,
                                          Coordinator* coordinator) {
  absl::Status status = context_.worker->home()->Truncate(id.coordinator, {}, finished_below);
  if (!status.ok()) return status;
  WorkerTransactions::Shown& shown = coordinator->shown;
  shown.finished_below = std::max(shown.finished_below, finished_below);
  shown.highest = std::max(shown.highest, id.sequence);
  return absl::OkStatus();
}

absl::Status TransactionHandler::Parse(const transport::RpcContext& context) {
  if (absl::Status status = context_.check_view(context.view); !status.ok()) return status;
  kvs::TransactionRequest* const request = context_.worker->scratch();
  if (absl::Status status = kvs::ParseTransaction(context.request, request); !status.ok()) {
    return status;
  }
  const bool is_at_once = context.method == static_cast<uint16_t>(Method::kTransactionAtOnce);
  if (is_at_once && request->participants.size() > 1) {
    return absl::InvalidArgumentError("transactions: all at once, and other homes");
  }
  if (!is_at_once && !request->reads.empty()) {
    return absl::InvalidArgumentError("transactions: a LOCK with reads");
  }
  return absl::OkStatus();
}

absl::Status TransactionHandler::JudgeHomes(
    absl::Span<const kvs::TransactionParticipant> homes) const {
  const size_t servers_count = context_.service->servers_count();
  for (size_t i = 0; i < homes.size(); ++i) {
    const bool is_twice =
        std::any_of(homes.begin(), homes.begin() + static_cast<ptrdiff_t>(i),
                    [&](const auto& home) { return home.server_index == homes[i].server_index; });
    // A server alone knows of no others.
    const bool is_unknown = servers_count > 1 && homes[i].server_index >= servers_count;
    if (is_unknown || is_twice) {
      return absl::InvalidArgumentError("the transaction's homes are no servers of the cluster");
    }
  }
  if (std::find(homes.begin(), homes.end(), context_.worker->self()) != homes.end()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "the transaction does not name this server among its homes, as it runs now: the server was "
      "started anew, and what was read of the one before is lost");
}

kvs::TransactionVote TransactionHandler::Vote(Method method) {
  const kvs::TransactionRequest& request = *context_.worker->scratch();
  const bool is_at_once = method == Method::kTransactionAtOnce;
  // Of one that has no other home nobody asks.
  const bool may_be_silent = is_at_once && request.participants.empty();
  absl::Status judged = may_be_silent ? absl::OkStatus() : JudgeHomes(request.participants);
  if (!judged.ok()) {
    const kvs::TransactionVote vote = VoteOf(Answer::kInvalid, std::move(judged));
    context_.worker->CountVote(vote);
    return vote;
  }
  return is_at_once ? context_.worker->CommitAtOnce(request) : context_.worker->Lock(request);
}

absl::Status TransactionHandler::Lock(Method method, transport::RpcContext* context) {
  if (absl::Status status = Parse(*context); !status.ok()) return status;
  const kvs::TransactionRequest& request = *context_.worker->scratch();
  Coordinator* coordinator = nullptr;
  if (absl::Status status = Admit(request.id.coordinator, &coordinator); !status.ok()) {
    if (!absl::IsFailedPrecondition(status)) return status;
    const kvs::TransactionVote over = VoteOf(Answer::kOver, std::move(status));
    context_.worker->CountVote(over);
    kvs::EncodeVote(over, &context->response);
    return absl::OkStatus();
  }
  absl::Status truncated = Truncate(request.id, request.finished_below, coordinator);
  if (!truncated.ok()) return truncated;
  kvs::EncodeVote(Vote(method), &context->response);
  return absl::OkStatus();
}

Task<absl::Status> TransactionHandler::Hold(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) co_return status;
  const absl::StatusOr<kvs::HoldRequest> request = kvs::ParseHold(context->request);
  if (!request.ok()) co_return request.status();
  Coordinator* coordinator = nullptr;
  if (absl::Status status = Admit(request->thread, &coordinator); !status.ok()) co_return status;
  const uint64_t deadline_ns = Later(context_.worker->scheduler()->NowNs(), request->wait_ns);
  absl::Status status = co_await context_.worker->home()->Hold(request->thread, request->number,
                                                               request->keys, deadline_ns);
  if (status.ok()) AddToCounter(&context_.worker->counters()->holds);
  co_return status;
}

Task<absl::Status> TransactionHandler::Promise(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) co_return status;
  const absl::StatusOr<kvs::TransactionId> id = kvs::ParseId(context->request);
  if (!id.ok()) co_return id.status();
  kvs::TransactionOutcome outcome;
  if (FindOwn(id->coordinator) != coordinators_.end()) {
    // Who asks on its own connection has nothing under way behind this: no fence, which would take the answer, too.
    outcome = context_.worker->PromiseUnfenced(*id);
  } else {
    outcome = co_await context_.service->Promise(context_.worker->scheduler(), *id);
  }
  context->response = kvs::EncodeOutcome(outcome);
  co_return absl::OkStatus();
}

Task<absl::Status> TransactionHandler::Resolve(transport::RpcContext* context, bool is_operator) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) co_return status;
  const absl::StatusOr<kvs::ResolveRequest> request = kvs::ParseResolve(context->request);
  if (!request.ok()) co_return request.status();
  Scheduler* const here = context_.worker->scheduler();
  absl::Status status;
  if (is_operator) {
    status = co_await context_.service->End(here, request->id, request->commit);
  } else {
    status = co_await context_.service->Resolve(here, request->id, request->commit,
                                                /*is_asked=*/true);
  }
  context->response.clear();
  co_return status;
}

Task<absl::Status> TransactionHandler::Close(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) co_return status;
  const absl::StatusOr<kvs::TransactionId> id = kvs::ParseId(context->request);
  if (!id.ok()) co_return id.status();
  if (id->sequence != 0) co_return absl::InvalidArgumentError("transactions: Close of a sequence");
  absl::Status status =
      co_await context_.service->Close(context_.worker->scheduler(), id->coordinator);
  context->response.clear();
  if (!status.ok()) co_return status;
  const auto own = FindOwn(id->coordinator);
  if (own != coordinators_.end()) {
    const WorkerTransactions::Shown shown = own->shown;
    coordinators_.erase(own);
    last_ = 0;
    context_.worker->OnConnectionEnd(id->coordinator, shown);
  }
  co_return absl::OkStatus();
}

Task<absl::Status> TransactionHandler::List(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) co_return status;
  std::string text = co_await context_.service->Text(context_.worker->scheduler());
  context->response = std::move(text);
  co_return absl::OkStatus();
}

absl::Status TransactionHandler::OnNotice(uint16_t method, uint64_t view,
                                          absl::string_view notice) {
  if (absl::Status status = context_.check_view(view); !status.ok()) return status;
  const auto kind = static_cast<Method>(method);
  if (kind == Method::kTransactionContended) {
    if (notice.empty() || notice.size() > kvs::kContendedKeyBytesMax) {
      return absl::DataLossError(absl::StrCat("notice: a key of ", notice.size(), " B"));
    }
    context_.service->contended()->Report(notice);
    return absl::OkStatus();
  }
  if (kind != Method::kTransactionCommit && kind != Method::kTransactionAbort &&
      kind != Method::kTransactionRelease) {
    return absl::DataLossError(absl::StrCat("notice: of no known method: ", method));
  }
  const absl::StatusOr<kvs::ParsedNotice> parsed = kvs::ParseNotice(notice);
  if (!parsed.ok()) return absl::DataLossError(parsed.status().message());
  const kvs::TransactionId& id = parsed->id;
  SharedWord* const refused = &context_.worker->counters()->refused;
  // Bound by this too: an ABORT without its LOCK, which was dropped, is to be remembered.
  Coordinator* coordinator = nullptr;
  if (!Admit(id.coordinator, &coordinator).ok()) {
    AddToCounter(refused);
    return absl::OkStatus();
  }
  if (!Truncate(id, parsed->finished_below, coordinator).ok()) AddToCounter(refused);
  if (kind == Method::kTransactionRelease) {
    context_.worker->home()->Release(id.coordinator, id.sequence);
  } else if (kind == Method::kTransactionCommit) {
    context_.worker->Commit(id);
  } else {
    context_.worker->Abort(id);
  }
  return absl::OkStatus();
}

void TransactionHandler::OnEnd() {
  for (const Coordinator& coordinator : coordinators_) {
    context_.worker->OnConnectionEnd(coordinator.thread, coordinator.shown);
  }
  coordinators_.clear();
}

}  // namespace acre::server
