// LockAcceptor: the passive side of a process of bench/locks: accepts the queue pairs of all threads of all processes,
// grants them what they need, and polls what arrives on them (tcp executes requests there), on a thread that its owner
// gives it.
//
// Threads:   Open() and the destructor on one thread, Serve() on a thread of its own, the rest on any.
// Ownership: owns the accepted queue pairs. Borrows the fabric; what `grant` names outlives it.

#ifndef ACRE_BENCH_LOCK_ACCEPTOR_H_
#define ACRE_BENCH_LOCK_ACCEPTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/lock_load.h"
#include "bench/lock_worker.h"
#include "runtime/mutex.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::bench {

class LockAcceptor {
 public:
  // What thread `thread` may use, over its queue pair to us. Called by Serve().
  using Grant =
      std::function<absl::StatusOr<LockKeys>(transport::QueuePair* queue_pair, uint32_t thread)>;

  LockAcceptor(const LockLoadOptions* load, transport::Fabric* fabric, Grant grant);
  ~LockAcceptor();
  LockAcceptor(const LockAcceptor&) = delete;
  LockAcceptor& operator=(const LockAcceptor&) = delete;

  // Errors: the fabric's.
  absl::Status Open();
  // Till Stop(), once, when it is open. Returns before the destructor is called.
  void Serve() { scheduler_.Run(); }
  void Stop() { scheduler_.Stop(); }
  // Where threads connect to. Requires: open.
  std::string endpoint() const { return listener_->endpoint(); }
  // The keys by thread, once all threads of the load have come; till then empty. Errors: one could not be accepted.
  absl::StatusOr<std::vector<LockKeys>> Keys();

 private:
  void AcceptAll();
  absl::Status Accept(transport::ConnectionRequest* request);

  const LockLoadOptions& load_;
  transport::Fabric* const fabric_;
  const Grant grant_;
  Scheduler scheduler_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<transport::Listener> listener_;
  std::vector<std::unique_ptr<transport::QueuePair>> queue_pairs_;  // Of Serve()'s thread.

  Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<uint32_t, LockKeys>> granted_ ABSL_GUARDED_BY(mutex_);  // By thread.
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_ACCEPTOR_H_
