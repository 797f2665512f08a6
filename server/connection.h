// Connection: what a server thread keeps for a client on the fabric, and the set of them that it polls.
//
// Ownership: a connection owns its link; both borrow what ConnectionContext names, which outlives them.
// Threads:   confined to the scheduler's.

#ifndef ACRE_SERVER_CONNECTION_H_
#define ACRE_SERVER_CONNECTION_H_

#include <list>
#include <memory>

#include "kvs/epoch.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "server/counter.h"
#include "server/lock_handler.h"
#include "server/lock_seat.h"
#include "server/transaction_handler.h"
#include "transport/bootstrap_peer.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/rpc.h"

namespace acre::server {

// What the server's queue pairs were asked to do (transport::VerbCounters), those of closed ones too. Loaded by any
// thread, stored by the connections' alone; a moment late.
struct VerbTotals {
  SharedWord reads;
  SharedWord writes;
  SharedWord atomics;
  SharedWord doorbells;
};

struct ConnectionContext {
  uint64_t id = 0;  // Among those of one set, never the same twice.
  Scheduler* scheduler = nullptr;
  transport::Port* port = nullptr;
  kvs::EpochClock* epochs = nullptr;
  LockHandlerContext handler;  // `next`: for all that is not about locks.
  LockSeatContext seat;
  TransactionHandlerContext transactions;  // All but `next`.
  // Connections that exist: whoever sees one fewer finds nothing of it left. Loaded by any thread, stored by this
  // one alone.
  SharedWord* open_count = nullptr;
  VerbTotals* verbs = nullptr;  // Null: nobody wants to know.
};

// Destroying it disconnects the client, takes what that had placed before ("Placed" in docs/rings.md), and frees all that it
// had here.
class Connection final : public transport::CompletionSink {
 public:
  // `process_id`: which the client says it has.
  Connection(const ConnectionContext& context, transport::Link link, uint32_t process_id);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void OnCompletion(const transport::Completion& completion) override;
  bool Poll();
  bool IsBroken() const;
  uint64_t id() const { return context_.id; }

 private:
  // Counts while it lives.
  class OpenCount {
   public:
    explicit OpenCount(SharedWord* count) : count_(count) { AddToCounter(count_, 1); }
    ~OpenCount() { SubtractFromCounter(count_); }
    OpenCount(const OpenCount&) = delete;
    OpenCount& operator=(const OpenCount&) = delete;

   private:
    SharedWord* const count_;
  };

  static TransactionHandlerContext InFront(TransactionHandlerContext transactions,
                                           transport::RpcHandler* next);
  void CountVerbs();

  const ConnectionContext context_;
  const OpenCount open_;  // Goes after all that the connection has.
  LockSeat seat_;         // Goes after the queue pair.
  transport::Link link_;
  LockHandler handler_;
  TransactionHandler transactions_;  // In front of seat_, and that of handler_.
  transport::RpcPeer rpc_;  // Goes before the others: it cancels handlers and borrows the channel.
  const SharedWord* const epoch_word_;
  transport::VerbCounters counted_;  // In context_.verbs.
};

// Polls the rings of all connections, and buries the broken ones.
class ConnectionSet final : public Poller {
 public:
  explicit ConnectionSet(Scheduler* scheduler);
  ~ConnectionSet() override;

  void Add(std::unique_ptr<Connection> connection);
  // Destroys that one, if it is there still. Not from inside a call of it.
  void Close(uint64_t id);
  bool Poll() override;

 private:
  Scheduler* const scheduler_;
  std::list<std::unique_ptr<Connection>> connections_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_CONNECTION_H_
