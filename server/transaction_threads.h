// TransactionThreads: which connection of which worker each coordinator of transactions belongs to (docs/transactions.md,
// "Serving"). One for a server.
//
// A coordinator belongs to the connection that showed it first, for good: when that ends, or when the coordinator was
// closed, nothing of it is taken any more, by whichever connection it comes. So what is known of it lies at one worker, and
// whoever ends it has one connection to fence.
//
// Threads: any. The mutex is taken when a connection shows a coordinator for the first time, when it ends, and by
//          termination; never on the way of a transaction.
// Limits:  of coordinators that are over the last kOverMax are remembered. An older one is taken for one that never came:
//          of a client that was paused while so many others ended, and that comes with it by a connection on which it
//          was not shown before.

#ifndef ACRE_SERVER_TRANSACTION_THREADS_H_
#define ACRE_SERVER_TRANSACTION_THREADS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "runtime/mutex.h"

namespace acre::server {

class TransactionThreads {
 public:
  static constexpr size_t kOverMax = 65'536;
  static constexpr int kNoWorker = -1;

  struct Place {
    int worker = kNoWorker;   // Where it was bound. kNoWorker: it was closed before it ever came.
    uint64_t connection = 0;  // Among the worker's, from 1 on. 0: it has ended.
    bool is_closed = false;   // Nothing more is taken of it.
    bool is_over = false;     // Nor is anything of it kept but this: Forget().
    // Of one that is over, for whoever asks late: those that committed, ascending; below `finished_below` nobody asks.
    std::vector<uint64_t> committed = {};
    uint64_t finished_below = 0;
  };

  // To a connection that shows it. Again: nothing more.
  // FailedPrecondition: it belongs to another one, or its own has ended, or it was closed.
  absl::Status Bind(const kvs::TransactionThread& thread, int worker, uint64_t connection);
  // The place that it has had till now. nullopt: it had not come, and will not be taken when it does.
  absl::optional<Place> Close(const kvs::TransactionThread& thread);
  // Its connection is no more.
  void EndConnection(const kvs::TransactionThread& thread);
  // Nothing of it is kept at its worker any more.
  void Forget(const kvs::TransactionThread& thread, std::vector<uint64_t> committed,
              uint64_t finished_below);
  // What is known of a transaction of one that is over. kPromised: it never committed here, and never will.
  static kvs::TransactionOutcome OutcomeOf(const Place& place, const kvs::TransactionId& id);
  // nullopt: it is not known.
  absl::optional<Place> Find(const kvs::TransactionThread& thread) const;

 private:
  // Remembered from now on among the last kOverMax.
  void AddOver(const kvs::TransactionThread& thread) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  absl::flat_hash_map<kvs::TransactionThread, Place> places_ ABSL_GUARDED_BY(mutex_);
  std::deque<kvs::TransactionThread> over_ ABSL_GUARDED_BY(mutex_);  // The oldest first.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TRANSACTION_THREADS_H_
