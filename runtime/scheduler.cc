// The loop and the tasks. Timers, file descriptors and sleeping: scheduler_wait.cc.

#include "runtime/scheduler.h"

#include <algorithm>
#include <new>

#include "glog/logging.h"
#include "runtime/frame_pool.h"
#include "runtime/this_thread.h"

namespace acre {
namespace {

constexpr uint64_t kFdIntervalIdleNs = 5'000;
constexpr uint64_t kFdIntervalBusyNs = 50'000;
// A thread that makes only calls which never suspend still makes a pass once in so many calls.
constexpr uint32_t kRunsWithoutPassMax = 64;

uint64_t TicksOf(Clock* clock, uint64_t ns) {
  CHECK(clock != nullptr) << "a Scheduler needs a clock";
  return static_cast<uint64_t>(static_cast<double>(ns) * clock->ticks_per_ns());
}

}  // namespace

TaskRoot* TaskRoot::Create(Scheduler* scheduler, Task<void> task) {
  CHECK(task) << "this Task is empty: it was awaited or moved from before";
  const auto handle = task.Release();
  return new (FramePool::Allocate(sizeof(TaskRoot)))
      TaskRoot(scheduler, handle, &handle.promise(), /*owns_frame=*/true);
}

void TaskRoot::Unref() {
  if (--references_ > 0) return;
  this->~TaskRoot();
  FramePool::Free(this, sizeof(TaskRoot));
}

Scheduler::Scheduler(Options options)
    : options_(std::move(options)),
      tick_clock_((CHECK_NOTNULL(options_.clock))->tick_clock()),
      spin_ticks_(TicksOf(options_.clock, options_.spin_ns)),
      fd_interval_idle_ticks_(TicksOf(options_.clock, kFdIntervalIdleNs)),
      fd_interval_busy_ticks_(TicksOf(options_.clock, kFdIntervalBusyNs)),
      random_(options_.seed) {}

Scheduler::~Scheduler() {
  DetachFromThread();  // It ran on a thread that has ended, as a rule.
  CheckThread();
  CHECK(!in_loop_ && running_root_ == nullptr) << "a Scheduler is destroyed from inside its loop";
  while (!roots_.empty()) FinishRoot(roots_.back());
  CHECK(timers_.empty()) << "a timer waits on a Scheduler that is destroyed";
}

void Scheduler::CheckThread() {
  const void* const owner = owner_.load(std::memory_order_relaxed);
  if (owner == ThisThread()) return;
  CHECK(owner == nullptr) << "scheduler " << options_.name << " belongs to another thread";
  owner_.store(ThisThread(), std::memory_order_relaxed);
}

void Scheduler::DetachFromThread() { owner_.store(nullptr, std::memory_order_relaxed); }

void Scheduler::AddPoller(Poller* poller) {
  CheckThread();
  CHECK(poller != nullptr);
  CHECK(std::find(pollers_.begin(), pollers_.end(), poller) == pollers_.end()) << "added twice";
  pollers_.push_back(poller);
  pollers_changed_ = true;
}

void Scheduler::RemovePoller(Poller* poller) {
  CheckThread();
  const auto it = std::find(pollers_.begin(), pollers_.end(), poller);
  CHECK(it != pollers_.end()) << "no such poller";
  if (in_pollers_) {
    *it = nullptr;
  } else {
    pollers_.erase(it);
  }
  pollers_changed_ = true;
}

bool Scheduler::PollPollers() {
  bool worked = false;
  in_pollers_ = true;
  for (size_t i = 0; i < pollers_.size(); ++i) {  // By index: Poll() may add some.
    if (pollers_[i] != nullptr && pollers_[i]->Poll()) worked = true;
  }
  return worked;
}

bool Scheduler::ShouldSpin() {
  bool spins = true;
  for (Poller* const poller : pollers_) {
    if (!poller->ShouldSpin()) spins = false;
  }
  return spins;
}

void Scheduler::ForgetRemovedPollers() {
  in_pollers_ = false;
  if (!pollers_changed_) return;
  std::erase(pollers_, nullptr);
  pollers_changed_ = false;
}

SpawnHandle Scheduler::Spawn(Task<void> task) {
  CheckThread();
  TaskRoot* const root = TaskRoot::Create(this, std::move(task));
  roots_.PushBack(root);
  root->start_.BindTo(root->handle_, root);
  MakeReady(&root->start_);
  return SpawnHandle(root);
}

void Scheduler::RunRootUntilDone(TaskRoot* root) {
  CheckThread();
  CHECK(!in_loop_) << "RunUntilDone is called from inside a task, a poller or a callback";
  roots_.PushBack(root);
  root->start_.BindTo(root->handle_, root);
  in_loop_ = true;
  Resume(&root->start_);
  in_loop_ = false;
  if (root->scheduler_ == nullptr && ++runs_without_pass_ < kRunsWithoutPassMax) return;
  runs_without_pass_ = 0;
  RunOnce();
  while (root->scheduler_ != nullptr) Step();
}

void Scheduler::Resume(Waiter* waiter) {
  const std::coroutine_handle<> handle = waiter->handle_;
  TaskRoot* const root = waiter->root_;
  waiter->ready_ = false;
  running_root_ = root;
  task_internal::ResumeChain(handle);  // The waiter may be gone after this.
  running_root_ = nullptr;
  if (root->handle_.done() || root->cancel_requested_) FinishRoot(root);
}

void Scheduler::FinishRoot(TaskRoot* root) {
  root->scheduler_ = nullptr;  // Whatever the destructors of its frames do: it has ended.
  root->ListLink<RootTag>::Unlink();
  root->start_.Unlink();
  const std::coroutine_handle<> handle = std::exchange(root->handle_, nullptr);
  if (root->owns_frame_) handle.destroy();
  while (!root->joiners_.empty()) MakeReady(root->joiners_.front());
  root->Unref();
}

void Scheduler::CancelRoot(TaskRoot* root) {
  CheckThread();
  if (root == running_root_) {
    root->cancel_requested_ = true;
  } else {
    FinishRoot(root);
  }
}

bool Scheduler::RunReady() {
  if (ready_.empty()) return false;
  batch_.TakeAll(&ready_);
  while (!batch_.empty()) Resume(batch_.PopFront());
  return true;
}

bool Scheduler::RunOnce() {
  CheckThread();
  CHECK(!in_loop_) << "the loop is entered from inside a task, a poller or a callback";
  in_loop_ = true;
  pass_ticks_ = tick_clock_.Ticks();
  bool worked = RunPosted();
  if (pass_ticks_ >= look_at_timers_ticks_ && FireTimers()) worked = true;
  if (PollPollers()) worked = true;
  ForgetRemovedPollers();
  if (!watches_.empty() && pass_ticks_ >= look_at_fds_ticks_ && LookAtFds(!worked)) worked = true;
  if (RunReady()) worked = true;
  in_loop_ = false;
  return worked;
}

void Scheduler::Step() {
  if (RunOnce()) {
    idle_ = false;
    return;
  }
  const bool sleeps = options_.poll_mode == PollMode::kAdaptive && !options_.never_sleep;
  if (!idle_) {
    idle_ = true;
    idle_since_ticks_ = pass_ticks_;
    spins_ = !sleeps || ShouldSpin();
  }
  if (sleeps && (!spins_ || pass_ticks_ - idle_since_ticks_ >= spin_ticks_)) {
    Sleep();
    idle_ = false;
    return;
  }
  PauseThread();
}

void Scheduler::Run() {
  CheckThread();
  // Acquire: what the stopping thread did before Stop() is visible to whoever follows Run().
  while (stop_.Load(std::memory_order_acquire) == 0) Step();
  stop_.Store(0, std::memory_order_relaxed);
}

void Scheduler::Stop() {
  stop_.Store(1, std::memory_order_release);
  Wake();
}

void Scheduler::Post(std::function<void()> function) {
  {
    const MutexLock lock(&posted_mutex_);
    posted_.push_back(std::move(function));
    posted_any_.Store(1, std::memory_order_relaxed);
  }
  Wake();
}

bool Scheduler::RunPosted() {
  // Takes back a Wake() before it looks for what that announced (see "Sleeping" in
  // scheduler_wait.cc). A Wake() counts as work: nobody sleeps before having looked again, also at
  // stop_.
  bool worked = false;
  if (state_.Load(std::memory_order_relaxed) == kWoken) {
    (void)state_.Exchange(kRunning, std::memory_order_seq_cst);
    worked = true;
  }
  if (posted_any_.Load(std::memory_order_relaxed) == 0) return worked;
  {
    const MutexLock lock(&posted_mutex_);
    posted_any_.Store(0, std::memory_order_relaxed);
    posted_running_.swap(posted_);
  }
  for (std::function<void()>& function : posted_running_) function();
  posted_running_.clear();
  return true;
}

}  // namespace acre
