// TransactionHandler: what one connection asks, and tells, about transactions (kvs/transaction_wire.h); all else goes on to the
// next handler. See "Serving" in docs/transactions.md.
//
// A coordinator of transactions belongs to the connection that showed it first (server/transaction_threads.h), and goes with
// it. The rest is the home's: kvs/transaction_home.h.
//
// Threads:   confined to the worker's.
// Ownership: borrows all that its context names, which outlives it. OnEnd() once, before it is destroyed.

#ifndef ACRE_SERVER_TRANSACTION_HANDLER_H_
#define ACRE_SERVER_TRANSACTION_HANDLER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kvs/transaction_id.h"
#include "kvs/transaction_wire.h"
#include "kvs/wire.h"
#include "runtime/task.h"
#include "server/transaction_service.h"
#include "server/view_check.h"
#include "server/worker_transactions.h"
#include "transport/rpc.h"

namespace acre::server {

struct TransactionHandlerContext {
  WorkerTransactions* worker = nullptr;
  TransactionService* service = nullptr;
  transport::RpcHandler* next = nullptr;
  ViewCheck check_view;
  uint32_t process_id = 0;  // That the client came by.
  uint64_t connection = 0;  // Among the worker's, from 1 on.
};

class TransactionHandler final : public transport::RpcHandler {
 public:
  // Coordinators of one connection at a time: a client has one for each of its threads that share it.
  static constexpr size_t kCoordinatorsMax = 64;

  explicit TransactionHandler(const TransactionHandlerContext& context) : context_(context) {}
  TransactionHandler(const TransactionHandler&) = delete;
  TransactionHandler& operator=(const TransactionHandler&) = delete;

  // Errors: OutOfRange - a frame of another view. InvalidArgument - bytes that make no sense, or another process's
  // coordinator. ResourceExhausted - a coordinator too many. FailedPrecondition - a hold of one that is over, or another
  // connection's; whose LOCKs get kOver. Those of TransactionService and TransactionHome::Hold().
  Task<absl::Status> Handle(transport::RpcContext* context) override;
  // DataLoss: bytes that make no sense. A notice that does, but comes too late or from the wrong one, is counted, no more.
  absl::Status OnNotice(uint16_t method, uint64_t view, absl::string_view notice) override;
  // The connection is at its end, and what its client had placed has been taken.
  void OnEnd();

 private:
  struct Coordinator {
    kvs::TransactionThread thread;
    WorkerTransactions::Shown shown = {};
  };

  // Of those that are bound to this connection; the end: it is none.
  std::vector<Coordinator>::iterator FindOwn(const kvs::TransactionThread& thread);
  // Whether it may ask here, from now on. InvalidArgument, ResourceExhausted; FailedPrecondition: it is over, or
  // another connection's.
  absl::Status Admit(const kvs::TransactionThread& thread, Coordinator** coordinator);
  // Of each request and notice of a transaction, before it is looked at. FailedPrecondition: something below is locked.
  absl::Status Truncate(const kvs::TransactionId& id, uint64_t finished_below,
                        Coordinator* coordinator);
  // Of a LOCK or AtOnce; OK: what it asks is in the worker's scratch.
  absl::Status Parse(const transport::RpcContext& context);
  // Of what is to be ended by asking them, if its coordinator does not.
  absl::Status JudgeHomes(absl::Span<const kvs::TransactionParticipant> homes) const;
  kvs::TransactionVote Vote(kvs::Method method);
  absl::Status Lock(kvs::Method method, transport::RpcContext* context);
  Task<absl::Status> Hold(transport::RpcContext* context);
  Task<absl::Status> Promise(transport::RpcContext* context);
  Task<absl::Status> Resolve(transport::RpcContext* context, bool is_operator);
  Task<absl::Status> Close(transport::RpcContext* context);
  Task<absl::Status> List(transport::RpcContext* context);

  const TransactionHandlerContext context_;
  std::vector<Coordinator> coordinators_;  // Bound to this connection.
  size_t last_ = 0;                        // The one that came last, if there are any.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TRANSACTION_HANDLER_H_
