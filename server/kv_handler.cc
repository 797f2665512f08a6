#include "server/kv_handler.h"

#include <utility>
#include <vector>

#include "kvs/wire.h"
#include "server/counter.h"

namespace acre::server {

KvHandler::KvHandler(kvs::TableWriter* writer, OperationCounters* counters,
                     std::function<std::string()> stats, ClusterFacts cluster)
    : writer_(writer),
      counters_(counters),
      stats_(std::move(stats)),
      cluster_(std::move(cluster)),
      check_view_(cluster_.view, &counters->views_refused) {}

Task<absl::Status> KvHandler::Handle(transport::RpcContext* context) {
  if (absl::Status status = check_view_(context->view); !status.ok()) co_return status;
  switch (static_cast<kvs::Method>(context->method)) {
    case kvs::Method::kGet: {
      AddToCounter(&counters_->gets_rpc);
      absl::Status status;
      if (!writer_->GetAtOnce(context->request, &context->response, &status)) {
        status = co_await writer_->Get(context->request, &context->response);
      }
      co_return status;
    }
    case kvs::Method::kPut: {
      const absl::StatusOr<kvs::PutRequest> request = kvs::ParsePut(context->request);
      if (!request.ok()) co_return request.status();
      absl::Status status = co_await writer_->Put(request->key, request->value);
      AddToCounter(&counters_->puts_rpc);
      co_return status;
    }
    case kvs::Method::kDelete: {
      absl::Status status = co_await writer_->Delete(context->request);
      AddToCounter(&counters_->deletes_rpc);
      co_return status;
    }
    case kvs::Method::kMultiGet: {
      absl::Status status;
      Task<absl::Status> rest = MultiGet(context, &status);
      if (rest) status = co_await std::move(rest);
      co_return status;
    }
    case kvs::Method::kStats: {
      context->response = stats_();
      co_return absl::OkStatus();
    }
    case kvs::Method::kCluster: {
      context->response = cluster_.answer;
      co_return absl::OkStatus();
    }
    case kvs::Method::kLock:
    case kvs::Method::kUnlock:
    case kvs::Method::kLocks:
    case kvs::Method::kForceUnlock:
    case kvs::Method::kLockIntents:
    case kvs::Method::kLockRegions:
    case kvs::Method::kLockPeer:
    case kvs::Method::kLockPeerLost:
    case kvs::Method::kTransactionLock:
    case kvs::Method::kTransactionAtOnce:
    case kvs::Method::kTransactionHold:
    case kvs::Method::kTransactionPromise:
    case kvs::Method::kTransactionResolve:
    case kvs::Method::kTransactionClose:
    case kvs::Method::kTransactions:
    case kvs::Method::kTransactionEnd:
    case kvs::Method::kTransactionCommit:
    case kvs::Method::kTransactionAbort:
    case kvs::Method::kTransactionRelease:
    case kvs::Method::kTransactionContended:
      break;  // The connection's LockHandler, LockSeat and TransactionHandler answer these, or nobody does.
  }
  co_return absl::UnimplementedError("the server knows no such method: is it an older release?");
}

Task<absl::Status> KvHandler::MultiGet(transport::RpcContext* context, absl::Status* status) {
  auto keys = kvs::ParseMultiGet(context->request);
  *status = keys.status();
  if (!keys.ok()) return {};
  kvs::MultiGetResponse response(&context->response);
  for (size_t i = 0; i < keys->size(); ++i) {
    absl::Status of_key;
    if (!writer_->GetAtOnce((*keys)[i], &value_, &of_key)) {
      return MultiGetOn(*std::move(keys), i, response);
    }
    if (!response.Add(of_key.code(), value_)) break;  // The client asks again for the rest.
    AddToCounter(&counters_->gets_rpc);
  }
  return {};
}

Task<absl::Status> KvHandler::MultiGetOn(std::vector<absl::string_view> keys, size_t next,
                                         kvs::MultiGetResponse response) {
  std::string value;  // Others use value_ meanwhile.
  for (; next < keys.size(); ++next) {
    const absl::Status status = co_await writer_->Get(keys[next], &value);
    if (!response.Add(status.code(), value)) break;
    AddToCounter(&counters_->gets_rpc);
  }
  co_return absl::OkStatus();
}

absl::Status KvHandler::Cluster(uint64_t view, std::string* answer) {
  if (view != 0) {  // 0: whatever there is.
    if (absl::Status status = check_view_(view); !status.ok()) return status;
  }
  *answer = cluster_.answer;
  return absl::OkStatus();
}

bool KvHandler::GetAtOnce(absl::string_view key, std::string* value, absl::Status* status) {
  if (!writer_->GetAtOnce(key, value, status)) return false;
  AddToCounter(&counters_->gets_socket);
  return true;
}

Task<absl::Status> KvHandler::Get(absl::string_view key, std::string* value) {
  absl::Status status = co_await writer_->Get(key, value);
  AddToCounter(&counters_->gets_socket);
  co_return status;
}

Task<absl::Status> KvHandler::Put(absl::string_view key, absl::string_view value) {
  absl::Status status = co_await writer_->Put(key, value);
  AddToCounter(&counters_->puts_socket);
  co_return status;
}

Task<absl::Status> KvHandler::Delete(absl::string_view key) {
  absl::Status status = co_await writer_->Delete(key);
  AddToCounter(&counters_->deletes_socket);
  co_return status;
}

}  // namespace acre::server
