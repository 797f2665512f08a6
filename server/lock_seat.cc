#include "server/lock_seat.h"

#include <utility>

#include "kvs/lock_wire.h"
#include "kvs/wire.h"
#include "transport/wire_bytes.h"

namespace acre::server {
namespace {

Task<absl::Status> Answer(absl::Status status) { co_return status; }

}  // namespace

LockSeat::~LockSeat() {
  if (lock_id_ != 0) context_.home->Leave(lock_id_);
}

Task<absl::Status> LockSeat::Handle(transport::RpcContext* context) {
  switch (static_cast<kvs::Method>(context->method)) {
    case kvs::Method::kLockIntents:
      return Answer(Intents(context));
    case kvs::Method::kLockRegions:
      return Answer(Regions(context));
    case kvs::Method::kLockPeer:
      return Answer(Peer(context));
    case kvs::Method::kLockPeerLost:
      return Answer(PeerLost(context));
    default:
      return next_->Handle(context);
  }
}

absl::Status LockSeat::Intents(transport::RpcContext* context) {
  if (absl::Status status = context_.check_view(context->view); !status.ok()) return status;
  const auto request = kvs::ParseLockKeysRequest(context->request);
  if (!request.ok()) return request.status();
  if (context_.home == nullptr || context_.regions.empty()) {
    return absl::FailedPreconditionError("nobody who comes on this fabric writes by himself");
  }
  if (lock_id_ != 0) return absl::FailedPreconditionError("this connection sits already");
  const auto intents = context_.home->Sit(*request, context_.close);
  if (!intents.ok()) return intents.status();
  lock_id_ = request->lock_id;
  const auto key = queue_pair_->Grant(**intents, transport::kRightWrite);
  if (!key.ok()) return key.status();
  context->response.clear();
  transport::AppendWire(&context->response, kvs::LockIntentsAnswer{key->bits});
  return absl::OkStatus();
}

absl::Status LockSeat::Regions(transport::RpcContext* context) {
  if (absl::Status status = CheckSeat(*context); !status.ok()) return status;
  const auto request = kvs::ParseLockKeysRequest(context->request);
  if (!request.ok()) return request.status();
  if (request->lock_id != lock_id_) {
    return absl::FailedPreconditionError("this connection sits for another participant");
  }
  LockRegionKeys regions;
  for (const transport::MemoryRegion* const region : context_.regions) {
    const auto key = queue_pair_->Grant(*region, transport::kRightsAll);
    if (!key.ok()) return key.status();
    regions.emplace_back(region->region_id(), *key);
  }
  // Before the keys are known: from here on it may take locks.
  if (absl::Status status = context_.home->Arm(lock_id_, queue_pair_->peer_pid()); !status.ok()) {
    return status;
  }
  context->response = kvs::EncodeLockRegions(regions);
  return absl::OkStatus();
}

absl::Status LockSeat::CheckSeat(const transport::RpcContext& context) const {
  if (absl::Status status = context_.check_view(context.view); !status.ok()) return status;
  if (lock_id_ != 0) return absl::OkStatus();
  return absl::FailedPreconditionError("this connection takes no locks by itself");
}

absl::Status LockSeat::Peer(transport::RpcContext* context) {
  if (absl::Status status = CheckSeat(*context); !status.ok()) return status;
  const absl::StatusOr<uint32_t> lock_id = kvs::ParseLockPeer(context->request);
  if (!lock_id.ok()) return lock_id.status();
  absl::StatusOr<std::string> endpoint = context_.home->EndpointOf(*lock_id);
  if (!endpoint.ok()) return endpoint.status();
  context->response = *std::move(endpoint);
  return absl::OkStatus();
}

absl::Status LockSeat::PeerLost(transport::RpcContext* context) {
  if (absl::Status status = CheckSeat(*context); !status.ok()) return status;
  const absl::StatusOr<uint32_t> lock_id = kvs::ParseLockPeer(context->request);
  if (!lock_id.ok()) return lock_id.status();
  context_.home->OnUnreachable(lock_id_, *lock_id);
  context->response.clear();
  return absl::OkStatus();
}

}  // namespace acre::server
