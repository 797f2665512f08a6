// Port: a thread's completion queue as a poller, which hands every completion to whoever waits for
// it.
//
// Requests that a coroutine awaits go through Execute(). Everything else (a channel's WRITEs,
// receives, kConnected, kDisconnected) goes to the sink of its queue pair.
//
// Threads:   confined to the scheduler's.
// Ownership: borrows the scheduler and the completion queue. On the scheduler from its making to
//            its end.

#ifndef ACRE_TRANSPORT_PORT_H_
#define ACRE_TRANSPORT_PORT_H_

#include <coroutine>
#include <cstdint>
#include <list>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/spin_judge.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"

namespace acre::transport {

// Owns memory that requests of tasks name as their local buffers, and hands it to other tasks in
// turn: so it must know of a request that is still under way when its task has gone.
//
// Threads: the port's.
class BufferOwner {
 public:
  virtual ~BufferOwner() = default;

  // A task was destroyed with a request on `local` under way, which may still land there. Called
  // from the destruction of the task's await, before that of the locals around it.
  virtual void OnAbandoned(SharedWord* local) = 0;
  // Such a request has ended, or its queue pair is going (Forget). Once for each OnAbandoned().
  virtual void OnAbandonedEnd(SharedWord* local) = 0;
};

class Port : public Poller {
 public:
  Port(Scheduler* scheduler, CompletionQueue* completion_queue);
  ~Port() override;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  CompletionQueue* completion_queue() const { return completion_queue_; }
  Scheduler* scheduler() const { return scheduler_; }

  // From now on the queue pair's other completions go to `sink`. It is called from Poll() only,
  // never from inside a task. Completions that come before there is a sink are dropped.
  void SetSink(QueuePair* queue_pair, CompletionSink* sink);
  // Call it before the queue pair is destroyed: who still awaits something on it gets kFlushed.
  // Buffers of its requests count as free from here on: the queue pair goes before another task
  // runs.
  void Forget(QueuePair* queue_pair);
  // Who is told of requests on buffers of `region` that tasks leave under way. Null: nobody, also
  // not of the ends of those that were left so far.
  void SetBufferOwner(const MemoryRegion* region, BufferOwner* owner);

  class ExecuteAwaiter;
  // co_await port.Execute(queue_pair, batch) posts the batch with its last request signaled, and
  // gives the status of the first request that failed, or kOk, when the last one has completed. It
  // does not suspend if that is so at once. While the send queue is full it waits. Sets `id` and
  // `signaled` of the requests; the span, like all memory that they name, outlives the wait. A task
  // that is destroyed while it waits leaves its requests under way: their local buffers must not be
  // used for anything else before the requests have ended, of which a BufferOwner is told.
  ExecuteAwaiter Execute(QueuePair* queue_pair, absl::Span<WorkRequest> batch);
  class ExecuteUntilAwaiter;
  // The same with a deadline (the scheduler's time): nullopt if that passes first, and then requests
  // are under way, or were never posted, as when the task had been destroyed. The deadline costs
  // nothing when the batch has completed at once.
  ExecuteUntilAwaiter ExecuteUntil(QueuePair* queue_pair, absl::Span<WorkRequest> batch,
                                   uint64_t deadline_ns);

  bool Poll() override;
  // False while batches take long, as they do when many threads share few cores: each that spins then
  // takes its core from those that it waits for. What the sinks wait for has no part in it: with no batch
  // under way it is true.
  bool ShouldSpin() override;
  void Arm() override { completion_queue_->Arm(); }
  void Disarm() override { completion_queue_->Disarm(); }

 private:
  // The tasks that found a queue pair's send queue full, in the order in which they came.
  struct RoomQueue {
    explicit RoomQueue(QueuePair* of) : queue_pair(of) {}
    QueuePair* const queue_pair;
    WaiterList waiters;
  };
  // A batch under way. Taken until its last completion, also when nobody waits for it any more.
  struct Pending {
    ExecuteAwaiter* awaiter = nullptr;
    QueuePair* queue_pair = nullptr;
  };

  // A local buffer of an abandoned batch.
  struct AbandonedBuffer {
    BufferOwner* owner = nullptr;
    SharedWord* local = nullptr;
  };

  uint64_t Take(ExecuteAwaiter* awaiter, QueuePair* queue_pair);
  // The task that awaited a batch under way has gone.
  void Abandon(uint64_t slot, absl::Span<const WorkRequest> batch);
  void EndAbandoned(uint64_t slot);
  void OnOwnCompletion(const Completion& completion);
  // Polls the queue from inside a task: own completions are handed on, others kept for Poll().
  void PollFromTask();
  // Sinks may forget their queue pair meanwhile: takes a copy.
  void ToSink(Completion completion);
  void WaitForRoom(ExecuteAwaiter* awaiter);
  RoomQueue* FindRoomQueue(QueuePair* queue_pair);
  // Posts what waited, as far as there is room. True if it posted something.
  bool PostWaiting();

  Scheduler* const scheduler_;
  CompletionQueue* const completion_queue_;
  std::vector<Pending> pending_;
  std::vector<uint32_t> free_;
  absl::flat_hash_map<const MemoryRegion*, BufferOwner*> buffer_owners_;
  // By the batch's slot in pending_. Of batches that nobody waits for any more.
  absl::flat_hash_map<uint64_t, std::vector<AbandonedBuffer>> abandoned_;
  const TickClock tick_clock_;
  const uint64_t late_ticks_;
  SpinJudge spin_judge_;
  bool is_judging_ = false;  // The thread has begun to spin for a batch that is still under way.
  uint64_t idle_since_ticks_ = 0;  // Then.
  std::vector<Completion> deferred_;
  std::vector<Completion> dispatching_;
  // One for each queue pair that somebody waits for: a peer that takes nothing holds up only those
  // who want something of it.
  std::list<RoomQueue> waiting_for_room_;
  absl::flat_hash_map<QueuePair*, CompletionSink*> sinks_;
};

class [[nodiscard]] Port::ExecuteAwaiter : public Waiter {
 public:
  ExecuteAwaiter(Port* port, QueuePair* queue_pair, absl::Span<WorkRequest> batch)
      : port_(port), queue_pair_(queue_pair), batch_(batch) {}
  ~ExecuteAwaiter();
  ExecuteAwaiter(const ExecuteAwaiter&) = delete;
  ExecuteAwaiter& operator=(const ExecuteAwaiter&) = delete;

  bool await_ready();
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    Bind(handle);
    if (!posted_) port_->WaitForRoom(this);
  }
  CompletionStatus await_resume() const { return status_; }

 protected:
  Scheduler* scheduler() const { return port_->scheduler_; }
  bool done() const { return done_; }

 private:
  friend class Port;
  // False: no room in the send queue.
  bool TryPost();

  Port* const port_;
  QueuePair* const queue_pair_;
  const absl::Span<WorkRequest> batch_;
  uint64_t slot_ = 0;
  bool posted_ = false;
  bool done_ = false;
  CompletionStatus status_ = CompletionStatus::kOk;
};

class [[nodiscard]] Port::ExecuteUntilAwaiter : public ExecuteAwaiter {
 public:
  ExecuteUntilAwaiter(Port* port, QueuePair* queue_pair, absl::Span<WorkRequest> batch,
                      uint64_t deadline_ns)
      : ExecuteAwaiter(port, queue_pair, batch), deadline_ns_(deadline_ns) {}

  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    ExecuteAwaiter::await_suspend(handle);
    timer_.emplace(scheduler());
    timer_->Bind(handle);
    timer_->Start(deadline_ns_);
  }
  absl::optional<CompletionStatus> await_resume() {
    if (timer_.has_value()) Settle();
    if (!done()) return absl::nullopt;
    return ExecuteAwaiter::await_resume();
  }

 private:
  // Only one of the two may resume the task, also when both came in one pass of the loop.
  void Settle() {
    timer_->Stop();
    Unlink();
  }

  const uint64_t deadline_ns_;
  absl::optional<TimerWaiter> timer_;  // Once it waits.
};

inline Port::ExecuteAwaiter Port::Execute(QueuePair* queue_pair, absl::Span<WorkRequest> batch) {
  return ExecuteAwaiter(this, queue_pair, batch);
}
inline Port::ExecuteUntilAwaiter Port::ExecuteUntil(QueuePair* queue_pair,
                                                    absl::Span<WorkRequest> batch,
                                                    uint64_t deadline_ns) {
  return ExecuteUntilAwaiter(this, queue_pair, batch, deadline_ns);
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_PORT_H_
