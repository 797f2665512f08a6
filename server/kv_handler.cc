#include "server/kv_handler.h"

#include <utility>
#include <vector>

#include "kvs/wire.h"
#include "server/counter.h"
#include "transport/server_place.h"

namespace acre::server {

KvHandler::KvHandler(kvs::TableWriter* writer, OperationCounters* counters,
                     std::function<std::string()> stats, ClusterFacts cluster)
    : writer_(writer),
      counters_(counters),
      stats_(std::move(stats)),
      cluster_(std::move(cluster)) {}

absl::Status KvHandler::CheckView(uint64_t view) {
  if (view == cluster_.view) [[likely]]
    return absl::OkStatus();
  AddToCounter(&counters_->views_refused);
  return transport::OtherView(cluster_.view, view);
}

Task<absl::Status> KvHandler::Handle(transport::RpcContext* context) {
  if (absl::Status status = CheckView(context->view); !status.ok()) co_return status;
  switch (static_cast<kvs::Method>(context->method)) {
    case kvs::Method::kGet: {
      AddToCounter(&counters_->gets_rpc);
      co_return writer_->Get(context->request, &context->response);
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
    case kvs::Method::kMultiGet:
      co_return MultiGet(context);
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
      break;  // The connection's LockHandler answers these.
  }
  co_return absl::UnimplementedError("the server knows no such method: is it an older release?");
}

absl::Status KvHandler::MultiGet(transport::RpcContext* context) {
  const auto keys = kvs::ParseMultiGet(context->request);
  if (!keys.ok()) return keys.status();
  kvs::MultiGetResponse response(&context->response);
  for (absl::string_view key : *keys) {
    const absl::Status status = writer_->Get(key, &value_);
    if (!response.Add(status.code(), value_)) break;  // The client asks again for the rest.
    AddToCounter(&counters_->gets_rpc);
  }
  return absl::OkStatus();
}

absl::Status KvHandler::Cluster(uint64_t view, std::string* answer) {
  if (view != 0) {  // 0: whatever there is.
    if (absl::Status status = CheckView(view); !status.ok()) return status;
  }
  *answer = cluster_.answer;
  return absl::OkStatus();
}

absl::Status KvHandler::Get(absl::string_view key, std::string* value) {
  AddToCounter(&counters_->gets_socket);
  return writer_->Get(key, value);
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
