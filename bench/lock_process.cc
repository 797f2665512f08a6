#include "bench/lock_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "bench/lock_acceptor.h"
#include "bench/lock_memory.h"
#include "bench/lock_worker.h"
#include "bench/subprocess.h"
#include "glog/logging.h"
#include "runtime/mutex.h"
#include "transport/providers/providers.h"

namespace acre::bench {
namespace {

constexpr int kLookMs = 1;

std::string SerializeKeys(const LockKeys& keys) {
  return absl::StrCat(keys.descriptors.bits, " ", keys.locks.bits, " ", keys.intents.bits, " ",
                      keys.arena.bits);
}

class LockProcess {
 public:
  LockProcess(const LockLoadOptions& load, uint32_t number, int socket)
      : load_(load), number_(number), node_(load.NodeOfProcess(number)), socket_(socket) {}
  ~LockProcess() {
    if (!acceptor_thread_.joinable()) return;
    acceptor_->Stop();
    acceptor_thread_.join();
  }
  LockProcess(const LockProcess&) = delete;
  LockProcess& operator=(const LockProcess&) = delete;

  // What is to be answered.
  absl::StatusOr<std::string> Do(absl::string_view message) {
    absl::string_view rest = message;
    if (message == "open") return Open();
    if (absl::ConsumePrefix(&rest, "connect\n")) return Connect(rest);
    if (message == "keys") return Keys();
    if (absl::ConsumePrefix(&rest, "attach\n")) return Attach(rest);
    if (absl::ConsumePrefix(&rest, "run ")) return Run(rest);
    if (message == "check") return Check();
    return NonsenseError(message);
  }

 private:
  uint32_t first_thread() const { return number_ * load_.threads; }

  absl::StatusOr<std::string> Open() {
    transport::ProviderOptions options;
    options.clock = load_.clock;
    if (!load_.devices.empty()) options.device = load_.devices[node_ % load_.devices.size()];
    auto fabric = transport::OpenProvider(load_.fabric, options);
    if (!fabric.ok()) return fabric.status();
    fabric_ = *std::move(fabric);
    auto memory = LockMemory::Create(&load_, number_, fabric_.get());
    if (!memory.ok()) return memory.status();
    memory_ = *std::move(memory);
    acceptor_ = std::make_unique<LockAcceptor>(
        &load_, fabric_.get(), [this](transport::QueuePair* queue_pair, uint32_t thread) {
          return memory_->GrantTo(queue_pair, thread);
        });
    const absl::Status status = acceptor_->Open();
    if (!status.ok()) return status;
    acceptor_thread_ = std::thread([this] { acceptor_->Serve(); });
    return absl::StrCat("opened ", acceptor_->endpoint());
  }

  absl::StatusOr<std::string> Connect(absl::string_view text) {
    const std::vector<std::string> endpoints = absl::StrSplit(text, '\n');
    if (endpoints.size() != load_.processes_count()) return NonsenseError(text);
    for (uint32_t i = 0; i < load_.threads; ++i) {
      workers_.push_back(std::make_unique<LockWorker>(memory_->WorkerOptions(i)));
      const absl::Status status = workers_.back()->Connect(endpoints);
      if (!status.ok()) return status;
    }
    return std::string("connected");
  }

  absl::StatusOr<std::string> Keys() {
    std::vector<LockKeys> keys;
    while (keys.empty()) {
      // The last ones may be connected for their side only.
      absl::StatusOr<std::vector<LockKeys>> granted = acceptor_->Keys();
      if (!granted.ok()) return granted.status();
      keys = *std::move(granted);
      if (keys.empty() && CanReceive(socket_, kLookMs)) {
        return absl::UnavailableError("the parent does not wait for the answer");
      }
    }
    std::string text = "keys";
    for (const LockKeys& of_thread : keys) absl::StrAppend(&text, "\n", SerializeKeys(of_thread));
    return text;
  }

  absl::StatusOr<std::string> Attach(absl::string_view text) {
    const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
    const size_t threads = load_.threads_count();
    if (lines.size() != threads * load_.processes_count()) return NonsenseError(text);
    for (uint32_t i = 0; i < load_.threads; ++i) {
      std::vector<LockKeys> keys(load_.processes_count());
      for (size_t process = 0; process < keys.size(); ++process) {
        const std::vector<absl::string_view> words =
            absl::StrSplit(lines[process * threads + first_thread() + i], ' ');
        LockKeys& of = keys[process];
        if (words.size() != 4 || !absl::SimpleAtoi(words[0], &of.descriptors.bits) ||
            !absl::SimpleAtoi(words[1], &of.locks.bits) ||
            !absl::SimpleAtoi(words[2], &of.intents.bits) ||
            !absl::SimpleAtoi(words[3], &of.arena.bits)) {
          return NonsenseError(text);
        }
      }
      const absl::Status status = workers_[i]->Attach(keys);
      if (!status.ok()) return status;
    }
    return std::string("attached");
  }

  absl::StatusOr<std::string> Run(absl::string_view text) {
    const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
    LockSlice slice;
    if (words.size() != 5) return NonsenseError(text);
    const auto kinds = ParseTableLocks(words[0]);
    if (!kinds.ok() || !absl::SimpleAtoi(words[1], &slice.task.locks) ||
        !absl::SimpleAtoi(words[2], &slice.task.locality_percent) ||
        !absl::SimpleAtoi(words[3], &slice.begin_ns) ||
        !absl::SimpleAtoi(words[4], &slice.end_ns)) {
      return NonsenseError(text);
    }
    slice.task.kind = kinds->front();
    const absl::StatusOr<std::vector<LockTotal>> totals = RunThreads(slice);
    if (!totals.ok()) return totals.status();
    std::string answer = "ran";
    for (const LockTotal& total : *totals) absl::StrAppend(&answer, "\n", total.Serialize());
    return answer;
  }

  // The first error of a thread ends the wait for all: others may wait for somebody who is gone.
  absl::StatusOr<std::vector<LockTotal>> RunThreads(const LockSlice& slice) {
    mutex_.Lock();
    results_.clear();
    results_.resize(workers_.size());
    ended_ = 0;
    mutex_.Unlock();
    for (size_t i = 0; i < workers_.size(); ++i) {
      threads_.emplace_back([this, i, slice] {
        absl::StatusOr<LockTotal> total = workers_[i]->Run(slice);
        mutex_.Lock();
        failed_ = failed_ || !total.ok();
        results_[i] = std::move(total);
        ++ended_;
        mutex_.Unlock();
      });
    }
    int wait_ms =
        static_cast<int>((slice.end_ns - std::min(slice.end_ns, load_.clock->NowNs())) / 1'000'000);
    for (bool is_over = false; !is_over; wait_ms = kLookMs) {
      if (CanReceive(socket_, wait_ms)) {
        return absl::UnavailableError("the parent does not wait for the answer");
      }
      mutex_.Lock();
      is_over = failed_ || ended_ == workers_.size();
      mutex_.Unlock();
    }
    std::vector<LockTotal> totals;
    mutex_.Lock();
    absl::Status status;
    for (absl::StatusOr<LockTotal>& result : results_) {
      if (!result.ok() && !absl::IsUnknown(result.status())) status = result.status();
      if (result.ok()) totals.push_back(*std::move(result));
    }
    mutex_.Unlock();
    if (!status.ok()) return status;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return totals;
  }

  absl::StatusOr<std::string> Check() {
    const absl::StatusOr<std::vector<uint64_t>> counted = memory_->Count();
    if (!counted.ok()) return counted.status();
    return absl::StrCat("checked\n", absl::StrJoin(TakenBy(workers_), " "), "\n",
                        absl::StrJoin(*counted, " "));
  }

  const LockLoadOptions& load_;
  const uint32_t number_;
  const uint32_t node_;
  const int socket_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<LockMemory> memory_;
  std::unique_ptr<LockAcceptor> acceptor_;
  std::thread acceptor_thread_;
  std::vector<std::unique_ptr<LockWorker>> workers_;
  std::vector<std::thread> threads_;  // Of a slice that runs.

  Mutex mutex_;
  std::vector<absl::StatusOr<LockTotal>> results_ ABSL_GUARDED_BY(mutex_);  // Unknown: none yet.
  size_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::Status ServeLockProcess(const LockLoadOptions& options, uint32_t number, int socket) {
  // A thread that waits for a lock of somebody who is gone ends no other way.
  PCHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
  LockProcess process(options, number, socket);
  while (true) {
    const absl::StatusOr<std::string> message = ReceiveMessage(socket);
    if (absl::IsUnavailable(message.status())) return absl::OkStatus();  // That was all.
    if (!message.ok()) return message.status();
    const absl::StatusOr<std::string> answer = process.Do(*message);
    if (!SendMessage(socket, answer.ok() ? *answer : ErrorAnswer(answer.status())).ok() ||
        !answer.ok()) {
      // The parent kills us when it has read that, or is gone; threads of ours may wait for ever till then.
      while (ReceiveMessage(socket).ok()) continue;
      kill(getpid(), SIGKILL);
    }
  }
}

}  // namespace acre::bench
