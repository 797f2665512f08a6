#include "tests/kill/client_role.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::tests {
namespace {

constexpr int kCoroutines = 4;
constexpr int64_t kTimeoutMs = 400;
constexpr int64_t kLookForServerUs = 3'000;
constexpr uint64_t kBurstMax = 40;
// That the first answer may take once all is well: a machine with busy neighbours.
constexpr uint64_t kPatienceNs = 20'000'000'000;

// What the parent asks for. Blocked in all threads: taken when looked for.
class Signals {
 public:
  enum class Ask { kNothing, kPark, kEnd };

  Signals() {
    sigemptyset(&stop_);
    sigaddset(&stop_, SIGUSR1);
    sigaddset(&stop_, SIGTERM);
    sigemptyset(&resume_);
    sigaddset(&resume_, SIGUSR2);
    sigaddset(&resume_, SIGTERM);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &stop_, nullptr), 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &resume_, nullptr), 0);
  }

  // What is asked for by now, or within `timeout_us`. Stays, till it was waited for the word to go on.
  Ask Look(int64_t timeout_us = 0) {
    if (ask_ != Ask::kNothing) return ask_;
    const timespec timeout = {.tv_sec = 0, .tv_nsec = timeout_us * 1'000};
    switch (sigtimedwait(&stop_, nullptr, &timeout)) {
      case SIGUSR1:
        ask_ = Ask::kPark;
        break;
      case SIGTERM:
        ask_ = Ask::kEnd;
        break;
      default:
        break;
    }
    return ask_;
  }
  void WaitToGoOn() {
    int number = 0;
    CHECK_EQ(sigwait(&resume_, &number), 0);
    ask_ = number == SIGTERM ? Ask::kEnd : Ask::kNothing;
  }

 private:
  sigset_t stop_;
  sigset_t resume_;
  Ask ask_ = Ask::kNothing;
};

// One of the two forms of the client.
class Form {
 public:
  virtual ~Form() = default;
  virtual absl::Status Connect(const ClientOptions& options) = 0;
  // Requires: no step under way.
  virtual void Close() = 0;
  // Records that this client has written by itself.
  virtual uint64_t Updates() const = 0;
  // Steps, with pauses, till a signal asks for something.
  virtual void WorkTillAsked() = 0;
  // One step. Whether it was answered.
  virtual bool OneStep() = 0;
};

class Blocking final : public Form {
 public:
  Blocking(int64_t pause_us_max, Work* work, Signals* signals)
      : pause_us_max_(static_cast<uint64_t>(pause_us_max)), work_(*work), signals_(*signals) {}

  absl::Status Connect(const ClientOptions& options) override {
    auto client = Client::Connect(options);
    if (client.ok()) client_ = *std::move(client);
    return client.status();
  }
  void Close() override { client_.reset(); }
  uint64_t Updates() const override { return client_->writer_stats().updates; }
  void WorkTillAsked() override {
    int64_t pause_us = 0;
    while (signals_.Look(pause_us) == Signals::Ask::kNothing) {
      uint64_t burst = 1 + work_.random().Uniform(kBurstMax);
      while (burst > 0 && OneStep()) --burst;
      pause_us = static_cast<int64_t>(work_.random().Uniform(pause_us_max_));
    }
  }
  bool OneStep() override {
    Step step = work_.Begin();
    const std::string& key = step.keys[0];
    switch (step.kind) {
      case checkers::OperationKind::kPut:
        step.statuses[0] = client_->Put(key, step.values[0]);
        break;
      case checkers::OperationKind::kDelete:
        step.statuses[0] = client_->Delete(key);
        break;
      case checkers::OperationKind::kGet:
        if (step.keys.size() == 1) {
          step.statuses[0] = client_->Get(key, &step.values[0]);
          break;
        }
        const std::vector<absl::string_view> keys(step.keys.begin(), step.keys.end());
        client_->MultiGet(keys, absl::MakeSpan(step.values), absl::MakeSpan(step.statuses));
        break;
    }
    return work_.End(std::move(step));
  }

 private:
  const uint64_t pause_us_max_;
  Work& work_;
  Signals& signals_;
  std::unique_ptr<Client> client_;
};

class Coroutines final : public Form {
 public:
  Coroutines(int64_t pause_us_max, Work* work, Signals* signals, Clock* clock)
      : pause_us_max_(static_cast<uint64_t>(pause_us_max)),
        work_(*work),
        signals_(*signals),
        scheduler_({.clock = clock, .name = "client"}) {}
  ~Coroutines() override { client_.reset(); }

  absl::Status Connect(const ClientOptions& options) override {
    auto client = scheduler_.RunUntilDone(AsyncClient::Connect(&scheduler_, options));
    if (client.ok()) client_ = *std::move(client);
    return client.status();
  }
  void Close() override { client_.reset(); }
  uint64_t Updates() const override { return client_->writer_stats().updates; }
  void WorkTillAsked() override { scheduler_.RunUntilDone(WorkAll()); }
  bool OneStep() override { return scheduler_.RunUntilDone(DoStep()); }

 private:
  Task<void> WorkAll() {
    std::vector<SpawnHandle> workers;
    for (int i = 0; i < kCoroutines; ++i) workers.push_back(scheduler_.Spawn(WorkAlone()));
    for (SpawnHandle& worker : workers) co_await worker.Join();
  }
  Task<void> WorkAlone() {
    while (signals_.Look() == Signals::Ask::kNothing) {
      uint64_t burst = 1 + work_.random().Uniform(kBurstMax);
      bool is_answered = true;
      for (; burst > 0 && is_answered; --burst) is_answered = co_await DoStep();
      co_await scheduler_.SleepFor(work_.random().Uniform(pause_us_max_ * 1'000));
    }
  }
  Task<bool> DoStep() {
    Step step = work_.Begin();
    const std::string& key = step.keys[0];
    switch (step.kind) {
      case checkers::OperationKind::kPut:
        step.statuses[0] = co_await client_->Put(key, step.values[0]);
        break;
      case checkers::OperationKind::kDelete:
        step.statuses[0] = co_await client_->Delete(key);
        break;
      case checkers::OperationKind::kGet:
        if (step.keys.size() == 1) {
          step.statuses[0] = co_await client_->Get(key, &step.values[0]);
          break;
        }
        const std::vector<absl::string_view> keys(step.keys.begin(), step.keys.end());
        co_await client_->MultiGet(keys, absl::MakeSpan(step.values),
                                   absl::MakeSpan(step.statuses));
        break;
    }
    const bool is_answered = work_.End(std::move(step));
    co_return is_answered;
  }

  const uint64_t pause_us_max_;
  Work& work_;
  Signals& signals_;
  Scheduler scheduler_;
  std::unique_ptr<AsyncClient> client_;
};

// Till there is a server. One that is being restarted may be met at any stage of that.
absl::Status ConnectToIt(const ClientOptions& options, Signals* signals, Clock* clock, Form* form) {
  uint64_t asked_at_ns = 0;
  for (;;) {
    const absl::Status status = form->Connect(options);
    if (status.ok()) return status;
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
      return absl::InternalError(absl::StrCat("cannot connect: ", status.ToString()));
    }
    const Signals::Ask ask = signals->Look(kLookForServerUs);
    if (ask == Signals::Ask::kEnd) return absl::CancelledError("asked to end");
    if (ask == Signals::Ask::kNothing) continue;
    if (asked_at_ns == 0) asked_at_ns = clock->NowNs();
    if (clock->NowNs() - asked_at_ns > kPatienceNs) {
      return absl::InternalError(
          absl::StrCat("it never connected to a server that runs: ", status.ToString()));
    }
  }
}

// All is well now: the next steps are answered, whichever server they are for.
absl::Status ShowProgress(Work* work, Form* form, Clock* clock) {
  const uint64_t begin_ns = clock->NowNs();
  work->ForgetAnswers();
  while (!form->OneStep() || !work->HaveAllHomesAnswered()) {
    if (clock->NowNs() - begin_ns > kPatienceNs) {
      return absl::InternalError(
          absl::StrCat("no progress, though all servers run and nothing is wrong; the last error: ",
                       work->last_error()));
    }
  }
  return absl::OkStatus();
}

absl::Status WorkTillEnd(const ClientOptions& options, bool closes_to_park, Work* work,
                         Signals* signals, Clock* clock, Form* form) {
  for (int parks = 1;; ++parks) {
    // It stands still as yet.
    if (parks == 1 || closes_to_park) {
      const absl::Status status = ConnectToIt(options, signals, clock, form);
      if (absl::IsCancelled(status)) return absl::OkStatus();
      if (!status.ok()) return status;
    }
    form->WorkTillAsked();
    if (!work->finding().empty()) return absl::InternalError(work->finding());
    if (signals->Look() == Signals::Ask::kEnd) return absl::OkStatus();
    if (absl::Status status = ShowProgress(work, form, clock); !status.ok()) return status;
    const uint64_t updates = form->Updates();
    if (closes_to_park) form->Close();
    printf("%s %llu operations, %llu answered%s%llu\n", ParkedMark(parks).c_str(),
           static_cast<unsigned long long>(work->operations()),
           static_cast<unsigned long long>(work->answered()), kUpdatesMark,
           static_cast<unsigned long long>(updates));
    fflush(stdout);
    signals->WaitToGoOn();
    if (signals->Look() == Signals::Ask::kEnd) return absl::OkStatus();
  }
}

}  // namespace

const char kUpdatesMark[] = ", written by itself: ";

std::string ParkedMark(int parks) { return absl::StrCat("parked ", parks, ":"); }

absl::Status RunClientRole(const ClientRole& role) {
  PCHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
  Signals signals;
  RealClock clock;
  auto journal = checkers::Journal::Open(role.journal);
  if (!journal.ok()) return journal.status();
  Work work(role.number, static_cast<uint32_t>(role.servers.size()), role.seed, role.plant,
            *std::move(journal), &clock);
  std::unique_ptr<Form> form;
  if (role.coroutines) {
    form = std::make_unique<Coroutines>(role.pause_us_max, &work, &signals, &clock);
  } else {
    form = std::make_unique<Blocking>(role.pause_us_max, &work, &signals);
  }
  ClientOptions options;
  options.servers = role.servers;
  options.fabric = role.fabric;
  options.secret_file = role.secret_file;
  options.path = role.path;
  options.put_path = role.put_path;
  options.connect_timeout_ms = kTimeoutMs;
  options.operation_timeout_ms = kTimeoutMs;
  return WorkTillEnd(options, role.closes_to_park, &work, &signals, &clock, form.get());
}

}  // namespace acre::tests
