#include "server/lock_handler.h"

#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/wire.h"
#include "transport/wire_bytes.h"

namespace acre::server {
namespace {

constexpr size_t kListBytesMax = 256 * 1024;

Task<absl::Status> Answer(absl::Status status) { co_return status; }

}  // namespace

absl::Status LockHandler::CheckName(absl::string_view name) const {
  if (absl::Status status = kvs::CheckKey(name); !status.ok()) return status;
  const uint64_t hash = kvs::HashKey(name);
  return context_.share.Holds(hash) ? absl::OkStatus() : kvs::NotOurKey(context_.share, hash);
}

Task<absl::Status> LockHandler::Handle(transport::RpcContext* context) {
  switch (static_cast<kvs::Method>(context->method)) {
    case kvs::Method::kLock:
      return Lock(context);
    case kvs::Method::kUnlock:
      return Answer(Unlock(context));
    case kvs::Method::kLocks:
      return Answer(List(context));
    case kvs::Method::kForceUnlock:
      return Answer(Force(context));
    default:
      return context_.next->Handle(context);
  }
}

Task<absl::Status> LockHandler::Lock(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) co_return status;
  const absl::StatusOr<kvs::LockRequest> request = kvs::ParseLock(context->request);
  if (!request.ok()) co_return request.status();
  if (absl::Status status = CheckName(request->name); !status.ok()) co_return status;
  const absl::StatusOr<uint64_t> token =
      co_await session_.Lock(request->name, request->header.ticket, request->header.wait_ns);
  if (!token.ok()) co_return token.status();
  context->response.clear();
  transport::AppendWire(&context->response, kvs::LockAnswer{*token});
  co_return absl::OkStatus();
}

absl::Status LockHandler::Unlock(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) return status;
  const absl::StatusOr<kvs::UnlockRequest> request = kvs::ParseUnlock(context->request);
  if (!request.ok()) return request.status();
  return session_.Unlock(request->ticket);
}

absl::Status LockHandler::List(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) return status;
  // One lock more than fills it fits, too: its name and one who waits are some KiB.
  static_assert(kListBytesMax + 64 * 1024 < transport::kRpcBytesMax);
  context->response = context_.locks->List(kListBytesMax);
  return absl::OkStatus();
}

absl::Status LockHandler::Force(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) return status;
  const absl::StatusOr<kvs::ForceUnlockRequest> request = kvs::ParseForceUnlock(context->request);
  if (!request.ok()) return request.status();
  if (absl::Status status = CheckName(request->name); !status.ok()) return status;
  return context_.locks->Force(request->name, request->header.token);
}

}  // namespace acre::server
