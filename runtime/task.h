// Task<T>: a coroutine that computes a T, started when it is awaited, destroyed to cancel it.
//
//   Task<uint64_t> ReadTwice(Reader* reader, GlobalAddress address) {
//     const uint64_t first = co_await reader->Read(address);
//     const uint64_t second = co_await reader->Read(address);
//     co_return first + second;
//   }
//
// Cancellation is structured and has one mechanism: **destroying a suspended Task cancels it**. Its
// frame goes, with it every local variable, every Task that it awaits, and at the end of that chain
// the awaiter on which it waits, which unlinks itself from timer, event or queue in its destructor.
// Nothing runs in a cancelled coroutine but destructors, so what must be undone is undone by an
// object there.
//
// Ownership:  a Task owns its frame until it is awaited, then the awaiting coroutine does.
// Threads:    a Task may be handed to another thread before it is awaited. After that it lives and
//             dies on the thread of the Scheduler that runs it.
// Invariants: awaited at most once. A frame is freed as soon as the full expression of its
//             `co_await` ends. Exceptions end the process.
// Limits:     an await costs 10 to 20 ns and no allocation but the frame (runtime/frame_pool.h). A
//             chain of Tasks awaiting each other may be any length and uses no stack as it runs and
//             returns; cancelling a suspended chain uses some 200 bytes of stack a level.
//
// Traps of g++ 12, all of them met in practice (style.md, rule 8):
// - No `co_await` in a conditional expression, and none among the arguments of a call that also
//   makes temporaries: name the result first. Some such temporaries are copied bytewise or
//   destroyed twice.
// - A lambda that is a coroutine keeps its captures in the lambda object, not in the frame: the
//   object must outlive the Task. Pass what it needs as parameters.
// - Parameters by reference, string_view and Span dangle once the caller's full expression ends,
//   unless the Task is awaited in that very expression. Pass by value, or say that it outlives the
//   call.
// - The frame is 16-byte aligned, `alignas` of a local beyond that is ignored.
// - Symmetric transfer (`await_suspend` that returns a handle) is a tail call only at -O2 without
//   sanitizers; elsewhere a loop over Tasks that complete at once would eat the stack. So
//   await_suspend only names the next coroutine, and the loop in ResumeChain resumes it: 2.5 ns
//   more an await, and the same behaviour in every build.

#ifndef ACRE_RUNTIME_TASK_H_
#define ACRE_RUNTIME_TASK_H_

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

#include "absl/types/optional.h"
#include "glog/logging.h"
#include "runtime/frame_pool.h"

namespace acre {

template <class T>
class Task;

// The task that a Scheduler was given (Spawn, RunUntilDone): the root of a tree of awaits.
class TaskRoot;

namespace task_internal {

// Set by an await_suspend of this file, taken by ResumeChain as soon as that returns: no other code
// of this thread, and no other fiber of it, runs in between.
inline constinit thread_local std::coroutine_handle<> next_in_chain{};

// Runs `handle`, and then whatever it hands over to, till one suspends on something outside.
inline void ResumeChain(std::coroutine_handle<> handle) {
  do {
    handle.resume();
    handle = std::exchange(next_in_chain, nullptr);
  } while (handle);
}

class PromiseBase {
 public:
  PromiseBase() = default;
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;

  static void* operator new(size_t bytes) { return FramePool::Allocate(bytes); }
  static void operator delete(void* frame, size_t bytes) { FramePool::Free(frame, bytes); }

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> finished) noexcept {
      next_in_chain = finished.promise().continuation_;  // Null at a root: the chain ends.
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }

  void unhandled_exception() noexcept { std::terminate(); }

  // Null in a task that no scheduler runs.
  TaskRoot* root() const { return root_; }
  void set_root(TaskRoot* root) { root_ = root; }
  void set_continuation(std::coroutine_handle<> continuation) { continuation_ = continuation; }

 private:
  std::coroutine_handle<> continuation_;
  TaskRoot* root_ = nullptr;
};

template <class T>
class Promise : public PromiseBase {
 public:
  Task<T> get_return_object();
  template <class U>
  requires std::constructible_from<T, U&&>
  void return_value(U&& value) { value_.emplace(std::forward<U>(value)); }
  T TakeValue() { return *std::move(value_); }

 private:
  absl::optional<T> value_;
};

template <>
class Promise<void> : public PromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() {}
  void TakeValue() {}
};

// Only Acre's own coroutines await Tasks and what a Scheduler offers.
template <class P>
concept TaskPromise = std::derived_from<P, PromiseBase>;

// What `co_await` of a Task works with. Owns the frame of the awaited task.
template <class T>
class [[nodiscard]] TaskAwaiter {
 public:
  using Handle = std::coroutine_handle<Promise<T>>;

  explicit TaskAwaiter(Handle handle) : handle_(handle) {}
  TaskAwaiter(const TaskAwaiter&) = delete;
  TaskAwaiter& operator=(const TaskAwaiter&) = delete;
  ~TaskAwaiter() { Reset(); }

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> parent) noexcept {
    handle_.promise().set_continuation(parent);
    handle_.promise().set_root(parent.promise().root());
    next_in_chain = handle_;
  }
  T await_resume() { return handle_.promise().TakeValue(); }

  bool done() const { return handle_.done(); }
  // Destroys the frame: cancels the task if it is suspended.
  void Reset() {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }

 private:
  Handle handle_;
};

}  // namespace task_internal

template <class T = void>
class [[nodiscard]] Task {
 public:
  static_assert(!std::is_reference_v<T>, "return a pointer");
  using promise_type = task_internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;
  using value_type = T;

  // No task: may be assigned to, tested and destroyed.
  Task() = default;
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      Reset();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { Reset(); }

  // False for an empty Task and after the task was awaited or moved from.
  explicit operator bool() const { return handle_ != nullptr; }

  // Destroys the frame, and so cancels the task. Must not be called by the task itself.
  void Reset() {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }

  // `co_await std::move(task)` or `co_await Function()`: runs the task, gives its result.
  // Requires: not empty.
  task_internal::TaskAwaiter<T> operator co_await() && {
    CHECK(handle_) << "this Task is empty: it was awaited or moved from before";
    return task_internal::TaskAwaiter<T>(std::exchange(handle_, nullptr));
  }

  // For schedulers and awaiters only: hands the frame over to the caller.
  [[nodiscard]] Handle Release() { return std::exchange(handle_, nullptr); }

 private:
  friend class task_internal::Promise<T>;
  explicit Task(Handle handle) : handle_(handle) {}

  Handle handle_;
};

namespace task_internal {

template <class T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

}  // namespace task_internal
}  // namespace acre

#endif  // ACRE_RUNTIME_TASK_H_
