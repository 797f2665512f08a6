#include "transport/resolver.h"

#include <pthread.h>

#include <cstring>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "runtime/mutex.h"
#include "runtime/wait_queue.h"

namespace acre::transport {
namespace {

using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

// One question, shared by the task that asks and the thread that looks it up: whoever goes first
// leaves it to the other.
class Question {
 public:
  Question(HostPort host_port, ResolveFunction resolve)
      : host_port_(std::move(host_port)), resolve_(std::move(resolve)) {}

  // The asker, on the scheduler's thread. After Leave() nothing of it is touched.
  void Enter(Scheduler* scheduler, Event* answered) {
    const MutexLock lock(&mutex_);
    scheduler_ = scheduler;
    answered_ = answered;
  }
  void Leave() {
    const MutexLock lock(&mutex_);
    scheduler_ = nullptr;
    answered_ = nullptr;
  }
  Addresses TakeAnswer() {
    const MutexLock lock(&mutex_);
    return *std::move(answer_);
  }

  // The thread. `self` keeps the question for the function that is posted.
  static void LookUp(const std::shared_ptr<Question>& self) {
    Addresses answer = self->resolve_(self->host_port_);
    // Held while it posts: the scheduler's tasks end before it does, and Leave() waits for this.
    const MutexLock lock(&self->mutex_);
    if (self->scheduler_ == nullptr) return;
    self->answer_ = std::move(answer);
    self->scheduler_->Post([self] { self->Announce(); });
  }

 private:
  void Announce() {
    const MutexLock lock(&mutex_);
    if (answered_ != nullptr) answered_->Set();
  }

  const HostPort host_port_;
  const ResolveFunction resolve_;
  Mutex mutex_;
  Scheduler* scheduler_ ABSL_GUARDED_BY(mutex_) = nullptr;  // Null: the asker has gone.
  Event* answered_ ABSL_GUARDED_BY(mutex_) = nullptr;  // Likewise. The scheduler's thread sets it.
  absl::optional<Addresses> answer_ ABSL_GUARDED_BY(mutex_);
};

// Joins a question to a task's frame.
class Asking {
 public:
  Asking(Scheduler* scheduler, std::shared_ptr<Question> question)
      : answered_(scheduler), question_(std::move(question)) {
    question_->Enter(scheduler, &answered_);
  }
  ~Asking() { question_->Leave(); }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  Task<void> Wait() { co_await answered_.Wait(); }

 private:
  Event answered_;
  const std::shared_ptr<Question> question_;
};

void* RunLookUp(void* argument) {
  const std::unique_ptr<std::shared_ptr<Question>> question(
      static_cast<std::shared_ptr<Question>*>(argument));
  Question::LookUp(*question);
  return nullptr;
}

// Not std::thread, which throws when there is none to be had.
absl::Status StartLookUp(const std::shared_ptr<Question>& question) {
  auto argument = std::make_unique<std::shared_ptr<Question>>(question);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, &RunLookUp, argument.get());
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("no thread to look up the host's name (", strerror(error), ")"));
  }
  (void)argument.release();  // The thread's now.
  pthread_detach(thread);
  return absl::OkStatus();
}

}  // namespace

Task<Addresses> ResolveUntil(Scheduler* scheduler, HostPort host_port, uint64_t deadline_ns,
                             ResolveFunction resolve) {
  if (absl::optional<SocketAddress> number = ParseAddress(host_port); number.has_value()) {
    co_return std::vector<SocketAddress>{*number};
  }
  const std::string host = host_port.host;
  auto question = std::make_shared<Question>(std::move(host_port), std::move(resolve));
  Asking asking(scheduler, question);
  absl::Status status = StartLookUp(question);
  if (!status.ok()) co_return status;
  Task<void> wait = asking.Wait();
  status = co_await WithDeadline(*scheduler, deadline_ns, std::move(wait));
  if (!status.ok()) {
    co_return absl::DeadlineExceededError(
        absl::StrCat("the address of host \"", host, "\" could not be found out in time"));
  }
  co_return question->TakeAnswer();
}

}  // namespace acre::transport
