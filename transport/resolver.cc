#include "transport/resolver.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "runtime/mutex.h"
#include "runtime/quiet_thread.h"
#include "runtime/wait_queue.h"

namespace acre::transport {

using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

// One question, shared by the resolver, the tasks that ask it and the thread that looks it up: whoever
// goes first leaves it to the others.
class Resolver::Question {
 public:
  Question(HostPort host_port, ResolveFunction resolve, Scheduler* scheduler)
      : host_port_(std::move(host_port)), resolve_(std::move(resolve)), scheduler_(scheduler) {}

  // The resolver, on the scheduler's thread.

  // Whether somebody who asks this now may wait for the answer that is on its way.
  bool IsUnderWay() const {
    const MutexLock lock(&mutex_);
    return !answer_.has_value();
  }
  bool IsOf(const HostPort& host_port) const {
    return host_port.host == host_port_.host && host_port.port == host_port_.port;
  }
  // The resolver goes, and maybe the scheduler: neither is touched from here on.
  void Abandon() {
    const MutexLock lock(&mutex_);
    scheduler_ = nullptr;
  }

  // Those who ask, on the scheduler's thread. After Leave() nothing of them is touched.

  void Enter(Event* answered) {
    const MutexLock lock(&mutex_);
    askers_.push_back(answered);
  }
  void Leave(Event* answered) {
    const MutexLock lock(&mutex_);
    askers_.erase(std::find(askers_.begin(), askers_.end(), answered));
  }
  Addresses Answer() const {
    const MutexLock lock(&mutex_);
    return *answer_;
  }

  // The thread. `self` keeps the question for the function that is posted.
  static void LookUp(const std::shared_ptr<Question>& self) {
    Addresses answer = self->resolve_(self->host_port_);
    // Held while it posts: the resolver goes before the scheduler, and Abandon() waits for this.
    const MutexLock lock(&self->mutex_);
    self->answer_ = std::move(answer);
    if (self->scheduler_ == nullptr) return;
    self->scheduler_->Post([self] { self->Announce(); });
  }

 private:
  void Announce() {
    const MutexLock lock(&mutex_);
    for (Event* const answered : askers_) answered->Set();
  }

  const HostPort host_port_;
  const ResolveFunction resolve_;
  mutable Mutex mutex_;
  Scheduler* scheduler_ ABSL_GUARDED_BY(mutex_);        // Null: the resolver has gone.
  std::vector<Event*> askers_ ABSL_GUARDED_BY(mutex_);  // The scheduler's thread sets them.
  absl::optional<Addresses> answer_ ABSL_GUARDED_BY(mutex_);
};

// Joins a question to a task's frame.
class Resolver::Asking {
 public:
  Asking(Scheduler* scheduler, std::shared_ptr<Question> question)
      : answered_(scheduler), question_(std::move(question)) {
    question_->Enter(&answered_);
  }
  ~Asking() { question_->Leave(&answered_); }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  Task<void> Wait() { co_await answered_.Wait(); }
  Addresses Answer() const { return question_->Answer(); }

 private:
  Event answered_;
  const std::shared_ptr<Question> question_;
};

Resolver::Resolver(Scheduler* scheduler, ResolveFunction resolve)
    : scheduler_(scheduler), resolve_(std::move(resolve)) {}

Resolver::~Resolver() {
  for (const std::shared_ptr<Question>& question : under_way_) question->Abandon();
}

absl::StatusOr<std::shared_ptr<Resolver::Question>> Resolver::Ask(HostPort host_port) {
  // An answer that nobody waits for any more is not kept: names may move.
  under_way_.erase(std::remove_if(under_way_.begin(), under_way_.end(),
                                  [](const auto& question) { return !question->IsUnderWay(); }),
                   under_way_.end());
  for (const std::shared_ptr<Question>& question : under_way_) {
    if (question->IsOf(host_port)) return question;
  }
  if (under_way_.size() == kNamesMax) {
    return absl::UnavailableError(absl::StrCat("no thread to look up host \"", host_port.host,
                                               "\": ", kNamesMax,
                                               " other names have found no answer yet"));
  }
  auto question = std::make_shared<Question>(std::move(host_port), resolve_, scheduler_);
  const absl::StatusOr<pthread_t> thread =
      StartQuietThread([question] { Question::LookUp(question); });
  if (!thread.ok()) return absl::UnavailableError(thread.status().message());
  CHECK_EQ(pthread_detach(*thread), 0);
  under_way_.push_back(question);
  return question;
}

Task<Addresses> Resolver::ResolveUntil(HostPort host_port, uint64_t deadline_ns) {
  if (absl::optional<SocketAddress> number = ParseAddress(host_port); number.has_value()) {
    co_return std::vector<SocketAddress>{*number};
  }
  const std::string host = host_port.host;
  absl::StatusOr<std::shared_ptr<Question>> question = Ask(std::move(host_port));
  if (!question.ok()) co_return question.status();
  Asking asking(scheduler_, *std::move(question));
  Task<void> wait = asking.Wait();
  const absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(wait));
  if (!status.ok()) {
    co_return absl::DeadlineExceededError(
        absl::StrCat("the address of host \"", host, "\" could not be found out in time"));
  }
  co_return asking.Answer();
}

Task<Addresses> ResolveUntil(Scheduler* scheduler, HostPort host_port, uint64_t deadline_ns,
                             ResolveFunction resolve) {
  Resolver resolver(scheduler, std::move(resolve));
  Task<Addresses> task = resolver.ResolveUntil(std::move(host_port), deadline_ns);
  Addresses addresses = co_await std::move(task);
  co_return addresses;
}

}  // namespace acre::transport
