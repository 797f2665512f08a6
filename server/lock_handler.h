// LockHandler: what one connection asks about locks by name; all else goes on to the worker's handler.
//
// Threads:   confined to the worker's.
// Ownership: borrows all but its session, whose locks go with it.

#ifndef ACRE_SERVER_LOCK_HANDLER_H_
#define ACRE_SERVER_LOCK_HANDLER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "kvs/key_share.h"
#include "lock/local_lock.h"
#include "runtime/task.h"
#include "server/named_locks.h"
#include "server/view_check.h"
#include "transport/rpc.h"

namespace acre::server {

struct LockHandlerContext {
  NamedLocks* locks = nullptr;
  LockThread* thread = nullptr;
  transport::RpcHandler* next = nullptr;
  ViewCheck check_view;
  kvs::KeyShare share;  // The names that are this server's.
};

class LockHandler final : public transport::RpcHandler {
 public:
  // `client`: who it is, for people.
  LockHandler(const LockHandlerContext& context, std::string client)
      : context_(context), session_(context.locks, context.thread, std::move(client)) {}

  // Errors: kvs/wire.h and LockSession; OutOfRange - a frame of another view, a name of another server.
  Task<absl::Status> Handle(transport::RpcContext* context) override;

 private:
  absl::Status CheckName(absl::string_view name) const;
  Task<absl::Status> Lock(transport::RpcContext* context);
  absl::Status Unlock(transport::RpcContext* context);
  absl::Status List(transport::RpcContext* context);
  absl::Status Force(transport::RpcContext* context);

  const LockHandlerContext context_;
  LockSession session_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_LOCK_HANDLER_H_
