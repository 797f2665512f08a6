// WaitQueue and Event: tasks of one thread waiting for other tasks of it.
//
// Ownership:  borrow the scheduler.
// Threads:    confined to the scheduler's thread. From another thread: Scheduler::Post.
// Invariants: waiters are woken first come, first served. A wait that is cancelled leaves the
//             queue; if NotifyOne had chosen it already, the next waiter is woken instead: no
//             wake-up is lost.
// Limits:     no allocation. Nobody waits in a queue that is destroyed (CHECKed).

#ifndef ACRE_RUNTIME_WAIT_QUEUE_H_
#define ACRE_RUNTIME_WAIT_QUEUE_H_

#include <coroutine>

#include "runtime/scheduler.h"

namespace acre {

struct NotifiedTag;

//   while (!condition) co_await queue.Wait();
//
// Between the notification and the moment the task runs, another task may run: look again.
class WaitQueue {
 public:
  class Awaiter;

  explicit WaitQueue(Scheduler* scheduler) : scheduler_(scheduler) {}
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // co_await queue.Wait(): suspends till notified.
  Awaiter Wait();
  // Wakes the one that has waited longest. No effect when nobody waits: nothing is remembered.
  void NotifyOne();
  void NotifyAll();
  bool empty() const { return waiters_.empty(); }

 private:
  Scheduler* const scheduler_;
  WaiterList waiters_;
  // Chosen by NotifyOne, not run yet.
  IntrusiveList<Awaiter, NotifiedTag> notified_;
};

class [[nodiscard]] WaitQueue::Awaiter : public Waiter, public ListLink<NotifiedTag> {
 public:
  explicit Awaiter(WaitQueue* queue) : queue_(queue) {}
  ~Awaiter() {
    if (!ListLink<NotifiedTag>::linked()) return;
    ListLink<NotifiedTag>::Unlink();  // Cancelled with a wake-up in hand: hand it on.
    queue_->NotifyOne();
  }
  bool await_ready() const { return false; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    queue_->waiters_.PushBack(this);
  }
  void await_resume() { ListLink<NotifiedTag>::Unlink(); }

 private:
  WaitQueue* const queue_;
};

inline WaitQueue::Awaiter WaitQueue::Wait() { return Awaiter(this); }

inline WaitQueue::~WaitQueue() {
  CHECK(waiters_.empty()) << "a WaitQueue is destroyed under its waiters";
  while (!notified_.empty()) notified_.PopFront();
}

inline void WaitQueue::NotifyOne() {
  if (waiters_.empty()) return;
  auto* const waiter = static_cast<Awaiter*>(waiters_.front());
  scheduler_->MakeReady(waiter);
  notified_.PushBack(waiter);
}

inline void WaitQueue::NotifyAll() {
  while (!waiters_.empty()) scheduler_->MakeReady(waiters_.front());
}

// Something that happens once, till it is Reset: Wait() returns at once when it has happened.
class Event {
 public:
  class Awaiter;

  explicit Event(Scheduler* scheduler) : scheduler_(scheduler) {}
  ~Event() { CHECK(waiters_.empty()) << "an Event is destroyed under its waiters"; }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // Wakes all that wait. A Reset before they run does not take that back.
  void Set() {
    set_ = true;
    while (!waiters_.empty()) scheduler_->MakeReady(waiters_.front());
  }
  void Reset() { set_ = false; }
  bool is_set() const { return set_; }
  // co_await event.Wait()
  Awaiter Wait();

 private:
  Scheduler* const scheduler_;
  bool set_ = false;
  WaiterList waiters_;
};

class [[nodiscard]] Event::Awaiter : public Waiter {
 public:
  explicit Awaiter(Event* event) : event_(event) {}
  bool await_ready() const { return event_->set_; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    event_->waiters_.PushBack(this);
  }
  void await_resume() {}

 private:
  Event* const event_;
};

inline Event::Awaiter Event::Wait() { return Awaiter(this); }

}  // namespace acre

#endif  // ACRE_RUNTIME_WAIT_QUEUE_H_
