// What clients and server threads do to the same records in the tests of one-sided updates, and what they are told.
//
// Threads:   an UpdateTask is confined to the thread of whoever runs it; look at it when that is done.
// Ownership: borrows its log and keys.

#ifndef ACRE_TESTS_UPDATES_WORKLOAD_H_
#define ACRE_TESTS_UPDATES_WORKLOAD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kvs/remote_writer_test_util.h"
#include "kvs/table.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "tests/checkers/recorder.h"
#include "transport/fabric.h"

namespace acre::kvs {

// Counts the rounds of clients and of server threads, which do about as many.
class UpdatePace {
 public:
  // Counts a round, unless it is to wait.
  bool ServerIsAhead() { return IsAhead(&server_rounds_, client_rounds_); }
  bool ClientIsAhead() { return IsAhead(&client_rounds_, server_rounds_); }
  // A thread has done all: nobody waits any more.
  void End() { is_over_.store(true, std::memory_order_relaxed); }

 private:
  static constexpr uint64_t kLead = 20;
  // Relaxed, all of it: nothing depends on them.
  bool IsAhead(std::atomic<uint64_t>* ours, const std::atomic<uint64_t>& theirs) {
    if (!is_over_.load(std::memory_order_relaxed) &&
        ours->load(std::memory_order_relaxed) > theirs.load(std::memory_order_relaxed) + kLead) {
      return true;
    }
    ours->fetch_add(1, std::memory_order_relaxed);
    return false;
  }

  std::atomic<uint64_t> client_rounds_{0};
  std::atomic<uint64_t> server_rounds_{0};
  std::atomic<bool> is_over_{false};
};

class UpdateTask {
 public:
  struct Options {
    std::function<uint64_t()> now_ns;  // The history's clock.
    checkers::ClientLog* log = nullptr;
    const std::vector<std::string>* keys = nullptr;
    int number = 0;  // Of this task: values are told apart by it.
    uint64_t seed = 0;
    int rounds = 0;
    // Null: nobody waits. Else real threads keep together, so that they meet.
    UpdatePace* pace = nullptr;
  };
  explicit UpdateTask(Options options) : options_(std::move(options)), random_(options_.seed) {}

  // A server thread's: puts, deletes, gets.
  Task<void> Serve(TableWriter* writer, Scheduler* scheduler) {
    for (int round = 0; round < options_.rounds; ++round) {
      while (options_.pace != nullptr && options_.pace->ServerIsAhead()) {
        co_await scheduler->Yield();
      }
      const std::string key = AnyKey();
      const uint64_t what = random_.Uniform(10);
      if (what < 4) {
        const std::string value = NewValue();
        const size_t put = options_.log->StartPut(options_.now_ns(), key, value);
        const absl::Status status = co_await writer->Put(key, value);
        Expect(status.ok(), "Put", status);
        options_.log->EndPut(put, options_.now_ns());
      } else if (what < 7) {
        const size_t removed = options_.log->StartDelete(options_.now_ns(), key);
        const absl::Status status = co_await writer->Delete(key);
        Expect(status.ok() || absl::IsNotFound(status), "Delete", status);
        options_.log->EndDelete(removed, options_.now_ns(), status.ok());
      } else {
        std::string value;
        const size_t get = options_.log->StartGet(options_.now_ns(), key);
        const absl::Status status = co_await writer->Get(key, &value);
        Expect(status.ok() || absl::IsNotFound(status), "Get", status);
        EndGet(get, status, value);
      }
    }
    is_done_ = true;
  }
  // A client's: one-sided updates and gets, some of the updates with a short time to do them in. Ends early when
  // the home has given it up.
  Task<void> Work(TestClient* client) {
    Scheduler& scheduler = client->node()->scheduler();
    for (int round = 0; round < options_.rounds; ++round) {
      if (client->node()->home_queue_pair()->state() == transport::QueuePairState::kBroken) break;
      while (options_.pace != nullptr && options_.pace->ClientIsAhead()) {
        co_await scheduler.Yield();
      }
      const std::string key = AnyKey();
      if (random_.Uniform(3) == 0) {
        std::string value;
        const size_t get = options_.log->StartGet(options_.now_ns(), key);
        const absl::Status status =
            co_await client->reader()->Get(key, &value, scheduler.NowNs() + 100'000'000);
        Expect(!absl::IsDataLoss(status), "one-sided Get", status);
        EndGet(get, status, value);
        continue;
      }
      const std::string value = NewValue();
      const uint64_t deadline_ns =
          random_.Uniform(5) == 0 ? scheduler.NowNs() + random_.Uniform(100'000) : UINT64_MAX;
      const size_t put = options_.log->StartPut(options_.now_ns(), key, value);
      const absl::StatusOr<bool> updated =
          co_await client->writer()->Update(key, value, deadline_ns);
      EndUpdate(put, updated);
    }
    is_done_ = true;
  }

  bool is_done() const { return is_done_; }
  uint64_t updates_count() const { return updates_count_; }
  // What nobody should have been told. Empty: nothing.
  const std::string& finding() const { return finding_; }

  void EndGet(size_t get, const absl::Status& status, const std::string& value) {
    if (status.ok()) {
      options_.log->EndGet(get, options_.now_ns(), absl::string_view(value));
    } else if (absl::IsNotFound(status)) {
      options_.log->EndGet(get, options_.now_ns(), absl::nullopt);
    } else {
      options_.log->EndUnknown(get, options_.now_ns());
    }
  }

 private:
  std::string NewValue() {
    std::string value = absl::StrCat("t", options_.number, "-", ++values_count_, "-");
    value.append(random_.Uniform(28), 'x');
    return value;
  }
  const std::string& AnyKey() { return (*options_.keys)[random_.Uniform(options_.keys->size())]; }
  void Expect(bool good, absl::string_view what, const absl::Status& status) {
    if (!good && finding_.empty()) finding_ = absl::StrCat(what, ": ", status.ToString());
  }
  void EndUpdate(size_t put, const absl::StatusOr<bool>& updated) {
    Expect(!absl::IsDataLoss(updated.status()), "Update", updated.status());
    if (updated.ok() && *updated) {
      ++updates_count_;
      options_.log->EndPut(put, options_.now_ns());
    } else if (updated.ok() ||
               absl::StrContains(updated.status().message(), "nothing was changed")) {
      options_.log->EndFailed(put, options_.now_ns());
    } else {
      options_.log->EndUnknown(put, options_.now_ns());
    }
  }

  const Options options_;
  Random random_;
  bool is_done_ = false;
  uint64_t values_count_ = 0;
  uint64_t updates_count_ = 0;
  std::string finding_;
};

}  // namespace acre::kvs

#endif  // ACRE_TESTS_UPDATES_WORKLOAD_H_
