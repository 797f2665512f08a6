// Scheduler: the loop of one thread. It polls what completes (completion queues, rings, sockets),
// keeps timers, and resumes coroutines.
//
//   RealClock clock;
//   Scheduler scheduler({.clock = &clock, .seed = 1});
//   scheduler.AddPoller(&port);
//   const absl::Status status = scheduler.RunUntilDone(client.Put(key, value));
//
// One pass of the loop: posted functions, timers that are due, each poller once, file descriptors
// if it is time to look at them, and then each coroutine that was ready when this last step began.
// So a coroutine that yields forever starves nobody. The order is the same in every run: the
// simulator's runs repeat.
//
// Waiting (PollMode::kAdaptive): after `spin_ns` without work, or at once if a poller asks for that
// (Poller::ShouldSpin), the thread goes to sleep in its clock's Sleeper (one epoll_wait for all its
// sources). Before that it arms every poller and polls each once more; whoever brings something
// after that sees the poller armed and wakes the thread, through a watched file descriptor or
// through Wake(). An idle scheduler uses no CPU.
//
// Ownership:  owns the tasks given to Spawn. Borrows the clock and the pollers. What the tasks
//             refer to must outlive them: destroy the scheduler, or Cancel the tasks, first.
// Threads:    confined to one thread (CHECKed): the first that calls a function of it, until
//             DetachFromThread. Exceptions: Post, Wake and Stop may be called from any thread
//             during the scheduler's life.
// Invariants: a task, once suspended, is resumed only from the loop, never from inside a Notify, a
//             Poll or another task. Ready tasks run in the order in which they became ready.
// Limits:     no allocation per wait; Spawn takes one block from the FramePool. A deadline is met
//             when the loop comes by: not before it, and as late as the longest step of any task or
//             poller, plus the kernel's timer slack (50 us) out of a sleep.
//
// Awaitables to build on: runtime/wait_queue.h (WaitQueue, Event), runtime/deadline.h
// (WithDeadline). A new one derives from Waiter, below.

#ifndef ACRE_RUNTIME_SCHEDULER_H_
#define ACRE_RUNTIME_SCHEDULER_H_

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "runtime/clock.h"
#include "runtime/intrusive_list.h"
#include "runtime/mutex.h"
#include "runtime/random.h"
#include "runtime/shared_word.h"
#include "runtime/sleeper.h"
#include "runtime/task.h"

namespace acre {

class Scheduler;
class SpawnHandle;

// kAdaptive sleeps when idle. kBusy never does: for benchmarks, on a core of its own.
enum class PollMode : uint8_t { kAdaptive, kBusy };

// Something that a scheduler polls: a completion queue, a set of rings, a socket server.
//
// All calls come from the scheduler's thread, none from inside a task.
class Poller {
 public:
  virtual ~Poller() = default;

  // One bounded step. True when it did some work. Does not block.
  virtual bool Poll() = 0;

  // The loop has just run out of work. False: what this poller waits for will hardly come within
  // spin_ns, so the thread had better sleep at once.
  virtual bool ShouldSpin() { return true; }

  // Called when the thread is about to sleep; one more Poll() follows. From now on whoever brings
  // work wakes the thread, through an fd watched with WatchFd or Scheduler::Wake. So that no
  // wake-up is lost there is a full fence (a seq_cst exchange, StoreLoadBarrier) between what Arm()
  // publishes and the loads of that Poll(), and one on the other side between the work and the look
  // whether to wake.
  virtual void Arm() {}

  // Called after the sleep, or when there was none after all: once for each Arm(), unless the
  // poller was removed in between.
  virtual void Disarm() {}
};

struct WaiterTag;
struct RootTag;

// One coroutine that waits for something: the base of every awaiter that suspends outside of Tasks.
//
// An awaiter that derives from it calls Bind() in await_suspend and leaves its address with what it
// waits for, which calls Scheduler::MakeReady(waiter) once. Its destructor must take back the
// address (the wait was cancelled); what a Waiter is linked on, it leaves by itself.
//
// Threads: confined to the scheduler's thread.
class Waiter : public ListLink<WaiterTag> {
 public:
  Waiter() = default;

  template <task_internal::TaskPromise P>
  void Bind(std::coroutine_handle<P> handle) {
    BindTo(handle, handle.promise().root());
  }
  // Takes back MakeReady, or leaves the list of those that wait.
  void Unlink() {
    ListLink<WaiterTag>::Unlink();
    ready_ = false;
  }
  // MakeReady was called, the coroutine was not resumed yet.
  bool ready() const { return ready_; }

 private:
  friend class Scheduler;

  void BindTo(std::coroutine_handle<> handle, TaskRoot* root) {
    CHECK(root != nullptr) << "only a task that a Scheduler runs can wait";
    handle_ = handle;
    root_ = root;
  }

  std::coroutine_handle<> handle_;
  TaskRoot* root_ = nullptr;
  bool ready_ = false;
};
using WaiterList = IntrusiveList<Waiter, WaiterTag>;

// A Waiter that a deadline makes ready.
class TimerWaiter : public Waiter {
 public:
  explicit TimerWaiter(Scheduler* scheduler) : scheduler_(scheduler) {}
  ~TimerWaiter() { Stop(); }

  // Requires: bound, not started.
  void Start(uint64_t deadline_ns);
  // No effect when it is not started. A deadline that has just passed does not resume any more.
  void Stop();

 private:
  friend class Scheduler;
  static constexpr size_t kNotInHeap = SIZE_MAX;

  Scheduler* const scheduler_;
  size_t heap_index_ = kNotInHeap;
};

class Scheduler {
 public:
  struct Options {
    Clock* clock = nullptr;  // Required. Outlives the scheduler.
    uint64_t seed = 0;
    PollMode poll_mode = PollMode::kAdaptive;
    uint64_t spin_ns = 20'000;  // How long adaptive polling goes on without work before it sleeps.
    bool never_sleep = false;   // For ManualClock: no system call, ever.
    std::string name = {};      // For messages.
  };

  explicit Scheduler(Options options);
  // Destroys all tasks, the youngest first. Not from inside a task; no other thread uses it any
  // more.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  const std::string& name() const { return options_.name; }
  PollMode poll_mode() const { return options_.poll_mode; }
  // The clock's time, read anew at each call (30 ns).
  uint64_t NowNs() { return options_.clock->NowNs(); }
  Clock* clock() { return options_.clock; }
  Random& random() { return random_; }

  // Adds a poller, behind those that are there; it takes part from the next pass on at the latest.
  // Both may be called from anywhere on the thread, also from inside Poll().
  void AddPoller(Poller* poller);
  void RemovePoller(Poller* poller);

  // Calls `on_ready` with the epoll events whenever `fd` has some of `epoll_events`.
  // Level-triggered unless EPOLLET is among them. While events keep coming, fds are looked at in
  // every pass, otherwise every 5 us (idle) to 50 us (busy). `on_ready` may watch and unwatch any
  // fd, also this one. Requires: not never_sleep. Errors: the kernel's, e.g. AlreadyExists for an
  // fd watched twice.
  [[nodiscard]] absl::Status WatchFd(int fd, uint32_t epoll_events,
                                     std::function<void(uint32_t)> on_ready);
  // Other events from now on. Requires: watched.
  void ModifyFd(int fd, uint32_t epoll_events);
  // No callback after this, also none for events that the kernel reported already. Call it before
  // close(). No effect when it is not watched.
  void UnwatchFd(int fd);

  // Owns and runs `task`, from the next pass on. The handle may be dropped: the task goes on.
  SpawnHandle Spawn(Task<void> task);

  // Drives the loop on this thread till the task is done. It runs at once; when it does not
  // suspend, most calls return without a pass of the loop (one in 64 makes one). Not from inside a
  // task, a poller or a callback. Goes on in spite of Stop().
  template <class T>
  T RunUntilDone(Task<T> task);

  // Drives the loop till Stop().
  void Run();
  // One pass; never sleeps. True when there was work.
  bool RunOnce();
  // When the next timer is due, if there is one: whither a test turns its clock.
  absl::optional<uint64_t> NextTimerNs() const;
  // How often the thread went to sleep.
  uint64_t sleeps_count() const { return sleeps_count_; }
  // No task is ready to run now.
  bool nothing_ready() const { return ready_.empty() && batch_.empty(); }

  // Any thread. Run(), this one or the next, returns after its current pass.
  void Stop();
  // Any thread. Runs `function` on the scheduler's thread, in the loop, in the order of the calls
  // of each thread. A function that has not run when the scheduler is destroyed never runs.
  void Post(std::function<void()> function);
  // Any thread. The loop makes a pass that begins after this call, also out of a sleep.
  void Wake();

  // Lets the next thread that calls take over. For a scheduler made on one thread and run on
  // another.
  void DetachFromThread();

  class YieldAwaiter;
  class SleepAwaiter;
  // co_await scheduler.Yield(): lets pollers, timers and other tasks have a pass.
  YieldAwaiter Yield();
  // co_await scheduler.SleepUntil(deadline_ns): suspends in any case, also when that has passed.
  SleepAwaiter SleepUntil(uint64_t deadline_ns);
  SleepAwaiter SleepFor(uint64_t ns);

  // For awaiters: resumes the waiter's coroutine in this pass or the next. Takes it off the list it
  // is on. No effect when it is ready already.
  void MakeReady(Waiter* waiter);

 private:
  friend class SpawnHandle;
  friend class TaskRoot;
  friend class TimerWaiter;

  // The thread as Wake() sees it.
  enum State : uint64_t { kRunning, kSleeping, kWoken };

  struct Timer {
    uint64_t deadline_ns;
    uint64_t sequence;  // Equal deadlines fire in the order in which they were set.
    TimerWaiter* waiter;

    bool Before(const Timer& other) const {
      return deadline_ns != other.deadline_ns ? deadline_ns < other.deadline_ns
                                              : sequence < other.sequence;
    }
  };
  struct Watch {
    bool active = true;
    std::function<void(uint32_t)> on_ready;
  };

  void RunRootUntilDone(TaskRoot* root);

  void CheckThread();
  void Step();
  bool RunPosted();
  bool FireTimers();
  bool PollPollers();
  // Asks all pollers.
  bool ShouldSpin();
  void ForgetRemovedPollers();
  bool RunReady();
  void Resume(Waiter* waiter);
  void FinishRoot(TaskRoot* root);
  void CancelRoot(TaskRoot* root);

  void OpenSleeper();
  void Sleep();
  uint64_t SleepNs();
  bool DispatchEvents(absl::Span<const epoll_event> events);
  bool LookAtFds(bool idle);

  void StartTimer(TimerWaiter* waiter, uint64_t deadline_ns);
  void StopTimer(TimerWaiter* waiter);
  void PlaceTimer(size_t index, const Timer& timer);
  void SiftUp(size_t index, const Timer& timer);
  void SiftDown(size_t index, const Timer& timer);
  void LookAtTimersAt(uint64_t deadline_ns);

  const Options options_;
  const TickClock tick_clock_;
  const uint64_t spin_ticks_;
  const uint64_t fd_interval_idle_ticks_;
  const uint64_t fd_interval_busy_ticks_;
  Random random_;

  // Which thread it is confined to; null: the next that calls. Written by that thread, read by any
  // that calls by mistake: an atomic so that the mistake ends in the CHECK.
  std::atomic<const void*> owner_{nullptr};
  bool in_loop_ = false;

  // What runs now: null outside of tasks.
  TaskRoot* running_root_ = nullptr;
  WaiterList ready_;  // To run in the next pass,
  WaiterList batch_;  // and what is left of this pass.
  IntrusiveList<TaskRoot, RootTag> roots_;
  uint32_t runs_without_pass_ = 0;

  std::vector<Poller*> pollers_;  // Null: removed during a round over them.
  bool pollers_changed_ = false;  // Since the last ForgetRemovedPollers.
  bool in_pollers_ = false;       // In a round over them: indices must stay.

  // Heap, the earliest first. A waiter knows its index.
  std::vector<Timer> timers_;
  uint64_t timers_sequence_ = 0;
  // When the loop next looks at the timers: not after the first is due. An earlier look is
  // harmless, so it is not set back when the first timer is stopped: a deadline set and stopped at
  // each call costs no conversion to ticks.
  uint64_t look_at_timers_ns_ = UINT64_MAX;
  uint64_t look_at_timers_ticks_ = UINT64_MAX;

  uint64_t pass_ticks_ = 0;
  uint64_t idle_since_ticks_ = 0;
  bool idle_ = false;
  bool spins_ = true;  // While it is idle, before it sleeps.
  uint64_t sleeps_count_ = 0;

  // Null till it is needed. Wakers read it only after they saw kSleeping in state_.
  std::unique_ptr<Sleeper> sleeper_;
  std::unordered_map<int, std::unique_ptr<Watch>> watches_;
  std::vector<std::unique_ptr<Watch>> retired_watches_;  // Till no reported event points to them.
  uint64_t look_at_fds_ticks_ = 0;

  // The protocol: top of scheduler_wait.cc. Written by the scheduler's thread and by wakers.
  SharedWord state_;
  static_assert(kRunning == 0);
  // 1: stop. Set by Stop on any thread, read and reset by Run. Wake() follows, so a pass sees it.
  SharedWord stop_;
  // Not 0: there may be posted functions. Set under the mutex before Wake(), read in each pass: who
  // reads 0 although a function was just posted will be woken by that Wake() for another pass.
  SharedWord posted_any_;
  Mutex posted_mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(posted_mutex_);
  std::vector<std::function<void()>> posted_running_;
};

// A task that a scheduler runs, and what its handle refers to. Not for use outside of this header.
class TaskRoot : public ListLink<RootTag> {
 private:
  friend class Scheduler;
  friend class SpawnHandle;

  TaskRoot(Scheduler* scheduler, std::coroutine_handle<> handle,
           task_internal::PromiseBase* promise, bool owns_frame)
      : scheduler_(scheduler), handle_(handle), owns_frame_(owns_frame) {
    promise->set_root(this);
  }
  ~TaskRoot() = default;
  static TaskRoot* Create(Scheduler* scheduler, Task<void> task);
  void Unref();

  Scheduler* scheduler_;            // Null once it is done.
  std::coroutine_handle<> handle_;  // Null once it is done.
  const bool owns_frame_;           // RunUntilDone keeps the frame for its result.
  bool cancel_requested_ = false;
  uint32_t references_ = 2;  // The scheduler's, and that of the handle or of RunUntilDone.
  Waiter start_;
  WaiterList joiners_;
};

// What Spawn gives: a hold on a task. Dropping it lets the task go on. Empty when default-made.
//
// Threads: the scheduler's. May outlive the scheduler.
class [[nodiscard]] SpawnHandle {
 public:
  SpawnHandle() = default;
  SpawnHandle(SpawnHandle&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  SpawnHandle& operator=(SpawnHandle&& other) noexcept {
    if (this != &other) {
      Detach();
      root_ = std::exchange(other.root_, nullptr);
    }
    return *this;
  }
  ~SpawnHandle() { Detach(); }

  // Drops the hold; the task goes on.
  void Detach() {
    if (root_ != nullptr) std::exchange(root_, nullptr)->Unref();
  }
  // The task has ended: returned or cancelled. True for an empty handle.
  bool done() const { return root_ == nullptr || root_->scheduler_ == nullptr; }
  // Destroys the task, with all that it awaits, before it returns. A task that cancels itself goes
  // when it next suspends. No effect when it is done.
  void Cancel() {
    if (!done()) root_->scheduler_->CancelRoot(root_);
  }

  // co_await handle.Join(): till the task has ended. The handle outlives the wait.
  class JoinAwaiter;
  JoinAwaiter Join();

 private:
  friend class Scheduler;
  explicit SpawnHandle(TaskRoot* root) : root_(root) {}

  TaskRoot* root_ = nullptr;
};

class [[nodiscard]] SpawnHandle::JoinAwaiter : public Waiter {
 public:
  explicit JoinAwaiter(const SpawnHandle* handle) : spawned_(handle) {}
  bool await_ready() const { return spawned_->done(); }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    spawned_->root_->joiners_.PushBack(this);
  }
  void await_resume() {}

 private:
  const SpawnHandle* const spawned_;
};
inline SpawnHandle::JoinAwaiter SpawnHandle::Join() { return JoinAwaiter(this); }

class [[nodiscard]] Scheduler::YieldAwaiter : public Waiter {
 public:
  explicit YieldAwaiter(Scheduler* scheduler) : scheduler_(scheduler) {}
  bool await_ready() const { return false; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    scheduler_->MakeReady(this);
  }
  void await_resume() {}

 private:
  Scheduler* const scheduler_;
};

class [[nodiscard]] Scheduler::SleepAwaiter : public TimerWaiter {
 public:
  SleepAwaiter(Scheduler* scheduler, uint64_t deadline_ns)
      : TimerWaiter(scheduler), deadline_ns_(deadline_ns) {}
  bool await_ready() const { return false; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    Start(deadline_ns_);
  }
  void await_resume() {}

 private:
  const uint64_t deadline_ns_;
};

inline Scheduler::YieldAwaiter Scheduler::Yield() { return YieldAwaiter(this); }
inline Scheduler::SleepAwaiter Scheduler::SleepUntil(uint64_t deadline_ns) {
  return SleepAwaiter(this, deadline_ns);
}
inline Scheduler::SleepAwaiter Scheduler::SleepFor(uint64_t ns) {
  const uint64_t now_ns = NowNs();
  return SleepAwaiter(this, ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + ns);
}

inline void TimerWaiter::Start(uint64_t deadline_ns) { scheduler_->StartTimer(this, deadline_ns); }
inline void TimerWaiter::Stop() {
  if (heap_index_ != kNotInHeap) scheduler_->StopTimer(this);
  Unlink();
}

inline void Scheduler::MakeReady(Waiter* waiter) {
  if (waiter->ready_) return;
  waiter->Unlink();
  waiter->ready_ = true;
  ready_.PushBack(waiter);
}

template <class T>
T Scheduler::RunUntilDone(Task<T> task) {
  CHECK(task) << "this Task is empty: it was awaited or moved from before";
  const auto handle = task.Release();
  task_internal::TaskAwaiter<T> frame(handle);  // Owns it till the value is taken.
  TaskRoot root(this, handle, &handle.promise(), /*owns_frame=*/false);
  RunRootUntilDone(&root);
  return frame.await_resume();
}

}  // namespace acre

#endif  // ACRE_RUNTIME_SCHEDULER_H_
