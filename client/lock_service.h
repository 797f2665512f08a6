// LockService: the service thread of a process whose clients take locks by themselves (docs/updates.md). Whatever
// the application's threads do, it answers what homes ask while they repair queues, and lets other clients in to
// the descriptors that they write to.
//
// One for the process, made when the first client joins a home's locks, gone with the last. What a participant has
// there: client/lock_answerer.h.
//
// Threads:   Shared() and RunThere() on any but its own.

#ifndef ACRE_CLIENT_LOCK_SERVICE_H_
#define ACRE_CLIENT_LOCK_SERVICE_H_

#include <pthread.h>

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre {

class LockService {
 public:
  // The process's, which lives as long as somebody holds it. ResourceExhausted: no thread is to be had.
  static absl::StatusOr<std::shared_ptr<LockService>> Shared();
  // Ends the thread.
  ~LockService();
  LockService(const LockService&) = delete;
  LockService& operator=(const LockService&) = delete;

  // Of its thread.
  Scheduler* scheduler() { return &scheduler_; }
  // Runs `function` there and waits till it has returned.
  void RunThere(const std::function<void()>& function);

 private:
  LockService();

  RealClock clock_;
  Scheduler scheduler_;
  pthread_t thread_ = {};
  bool is_started_ = false;
};

}  // namespace acre

#endif  // ACRE_CLIENT_LOCK_SERVICE_H_
