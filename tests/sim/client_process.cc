#include "tests/sim/client_process.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/planted_bug.h"
#include "runtime/scheduler.h"
#include "tests/sim/cluster.h"
#include "tests/sim/connector.h"
#include "transport/port.h"

namespace acre::simulation {
namespace {

constexpr int kProgressOperations = 30;  // Of each coroutine.
constexpr uint64_t kLookNs = 100 * kUs;
// What an operation may take with nothing wrong: some stalls of 20 ms. And how long after the faults nothing is
// wrong: connections that were cut off break within 20 ms and are made anew.
constexpr uint64_t kPatienceNs = 500 * kMs;
constexpr uint64_t kAftermathNs = 100 * kMs;
constexpr uint64_t kRetryNs = 100 * kUs;
constexpr size_t kMultiGetMax = 8;

bool IsAnswer(const absl::Status& status) {
  return status.ok() || status.code() == absl::StatusCode::kNotFound;
}
// The errors that client.h promises when the server, or a link to it, is not there.
bool IsOutage(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded;
}

}  // namespace

ClientProcess::ClientProcess(Cluster* cluster, sim::Process* process, const Plan::Client& plan,
                             Purpose purpose, uint32_t number, checkers::ClientLog* log)
    : cluster_(cluster),
      process_(process),
      plan_(plan),
      purpose_(purpose),
      number_(number),
      log_(log),
      random_(cluster->random().Next()) {
  operations_left_ = cluster->plan().operations_in_all / cluster->plan().clients.size();
}

void ClientProcess::Run() {
  const Plan& plan = cluster_->plan();
  Scheduler scheduler({.clock = process_->machine()->clock(),
                       .seed = random_.Next(),
                       .spin_ns = plan.spin_ns,
                       .name = process_->name()});
  transport::SimFabric::Options options;
  options.device = plan.device;
  auto fabric = transport::SimFabric::Create(cluster_->network(), process_, options);
  CHECK(fabric.ok()) << fabric.status();
  auto queue = (*fabric)->CreateCompletionQueue();
  CHECK(queue.ok()) << queue.status();
  auto port = std::make_unique<transport::Port>(&scheduler, queue->get());
  {
    Connector connector(
        {.path = plan_.path, .ring_bytes = plan.ring_bytes, .timeout_ns = plan.timeout_ns},
        cluster_->door(), process_, cluster_->server_machine(), &scheduler, fabric->get(),
        port.get());
    scheduler_ = &scheduler;
    connector_ = &connector;
    scheduler.RunUntilDone(RunAll());
    connector.Drop();
    cluster_->Count("one-sided and mapped Gets", connector.stats().gets);
    cluster_->Count("retries of readers", connector.stats().retries);
    cluster_->Count("misses of readers", connector.stats().misses);
    connector_ = nullptr;
    scheduler_ = nullptr;
  }
  port.reset();
  queue->reset();
  fabric->reset();
  has_ended_ = true;
}

std::string ClientProcess::ToText() const {
  return absl::StrCat(process_->name(), ": ", progressed_, " of ", plan_.coroutines,
                      " coroutines progressed, ", ended_, " ended",
                      connector_ == nullptr        ? ""
                      : connector_->is_connected() ? ", connected"
                                                   : ", not connected: ",
                      connector_ == nullptr ? "" : connector_->last_attempt().ToString());
}

uint64_t ClientProcess::Now() const { return cluster_->world()->NowNs(); }

Task<void> ClientProcess::RunAll() {
  if (purpose_ == Purpose::kReadAll) {
    co_await ReadAll();
    co_return;
  }
  // No timer here: one that wakes the thread now and then would hide a wake-up that was lost.
  Event all_ended(scheduler_);
  for (int i = 0; i < plan_.coroutines; ++i) scheduler_->Spawn(Work(&all_ended)).Detach();
  co_await all_ended.Wait();
}

Task<void> ClientProcess::Work(Event* all_ended) {
  co_await WorkAmidFaults();
  int done = 0;
  while (done < kProgressOperations) {
    const bool is_answered = co_await Operate();
    if (is_answered) ++done;
    // Mostly long enough for the threads to go to sleep.
    co_await scheduler_->SleepFor(random_.Uniform(kRetryNs));
  }
  ++progressed_;
  while (cluster_->phase() != Phase::kQuiet) {
    (void)co_await Operate();
    co_await scheduler_->SleepFor(kLookNs + random_.Uniform(5 * kMs));
  }
  if (++ended_ == plan_.coroutines) all_ended->Set();
}

// Bursts, and pauses between them as long as needed to make the operations last.
Task<void> ClientProcess::WorkAmidFaults() {
  const Plan& plan = cluster_->plan();
  while (cluster_->phase() == Phase::kFaults) {
    const uint64_t now_ns = Now();
    if (operations_left_ == 0 || now_ns >= plan.faults_end_ns) {
      co_await scheduler_->SleepFor(kLookNs);
      continue;
    }
    const uint64_t burst = 1 + random_.Uniform(plan.burst_max);
    for (uint64_t i = 0; i < burst && cluster_->phase() == Phase::kFaults; ++i) {
      const bool is_answered = co_await Operate();
      if (operations_left_ > 0) --operations_left_;
      if (!is_answered) co_await scheduler_->SleepFor(random_.Uniform(kRetryNs));
      // A mapped Get does not suspend: others want their turn.
      if (random_.Uniform(2) == 0) co_await scheduler_->Yield();
    }
    const uint64_t bursts_left =
        1 + operations_left_ / burst / static_cast<uint64_t>(plan_.coroutines);
    const uint64_t left_ns = plan.faults_end_ns > Now() ? plan.faults_end_ns - Now() : 0;
    const uint64_t share_ns = left_ns / bursts_left;
    const uint64_t taken_ns = Now() - now_ns;
    const uint64_t pause_ns = share_ns > taken_ns ? share_ns - taken_ns : 0;
    co_await scheduler_->SleepFor(random_.Uniform(2 * pause_ns + 1));
  }
}

Task<void> ClientProcess::ReadAll() {
  for (const std::string& key : cluster_->plan().keys) {
    for (;;) {
      std::shared_ptr<FabricBackend> backend =
          co_await connector_->Connection(scheduler_->NowNs() + cluster_->plan().timeout_ns);
      if (backend == nullptr) continue;
      const size_t operation = log_->StartGet(Now(), key);
      std::string value;
      const absl::Status status =
          co_await backend->Get(key, &value, scheduler_->NowNs() + cluster_->plan().timeout_ns);
      EndGet(operation, status, value);
      if (status.ok()) cluster_->AddToModel(key, value);
      if (IsAnswer(status)) break;
    }
  }
  cluster_->OnReaderDone();
}

// ---- Operations.

const std::string& ClientProcess::DrawKey() {
  const std::vector<std::string>& keys = cluster_->plan().keys;
  // Half of them on a quarter of the keys.
  const size_t range = random_.Uniform(2) == 0 ? keys.size() : std::max<size_t>(keys.size() / 4, 1);
  return keys[random_.Uniform(range)];
}

// Never the same twice, and no part of one is a part of another.
std::string ClientProcess::NewValue(size_t key_bytes) {
  const Plan& plan = cluster_->plan();
  std::string value = absl::StrCat(number_, ".", ++values_written_, ".");
  const bool is_large = static_cast<int>(random_.Uniform(100)) < plan.large_values_percent;
  const size_t room = key_bytes < 48 ? 48 - key_bytes : 0;
  const size_t bytes = is_large ? 49 + random_.Uniform(plan.value_bytes_max)
                                : random_.Uniform(std::max<size_t>(room, 1) + 1);
  const size_t head = value.size();
  for (size_t i = head; i < bytes; ++i) {
    value.push_back(static_cast<char>('a' + (values_written_ * 7 + i / head * 3 + i) % 26));
  }
  return value;
}

// Once the faults have stopped there is no reason for one, so an operation that waits for it has a finding
// (EndUnanswered).
uint64_t ClientProcess::DrawTimeout() {
  const Plan& plan = cluster_->plan();
  if (cluster_->phase() != Phase::kFaults) return kPatienceNs;
  const uint64_t one_in = plan.short_timeouts_one_in;
  if (one_in != 0 && random_.Uniform(one_in) == 0) return 1 + random_.Uniform(20 * kUs);
  return plan.timeout_ns;
}

Task<bool> ClientProcess::Operate() {
  const Plan::Mix& mix = plan_.mix;
  const uint64_t timeout_ns = DrawTimeout();
  const std::string* const key = &DrawKey();
  int dice = static_cast<int>(random_.Uniform(100));
  Task<bool> operation;
  if ((dice -= mix.puts_percent) < 0) {
    operation = Put(key, timeout_ns);
  } else if ((dice -= mix.deletes_percent) < 0) {
    operation = Delete(key, timeout_ns);
  } else if ((dice -= mix.multi_gets_percent) < 0) {
    operation = MultiGet(timeout_ns);
  } else if ((dice -= mix.waves_percent) < 0) {
    operation = Wave();
  } else {
    operation = Get(key, timeout_ns);
  }
  const bool is_answered = co_await std::move(operation);
  co_return is_answered;
}

// An operation begins, for the history, once it has a connection: to one incarnation, and to no other one.
Task<bool> ClientProcess::Get(const std::string* key, uint64_t timeout_ns) {
  const uint64_t deadline_ns = scheduler_->NowNs() + timeout_ns;
  std::shared_ptr<FabricBackend> backend = co_await connector_->Connection(deadline_ns);
  if (backend == nullptr) co_return false;
  const size_t operation = log_->StartGet(Now(), *key);
  std::string value;
  const absl::Status status = co_await backend->Get(*key, &value, deadline_ns);
  EndGet(operation, status, value);
  co_return IsAnswer(status);
}

Task<bool> ClientProcess::MultiGet(uint64_t timeout_ns) {
  const uint64_t deadline_ns = scheduler_->NowNs() + timeout_ns;
  std::shared_ptr<FabricBackend> backend = co_await connector_->Connection(deadline_ns);
  if (backend == nullptr) co_return false;
  const size_t count = 1 + random_.Uniform(kMultiGetMax);
  std::vector<absl::string_view> keys;
  std::vector<size_t> operations;
  for (size_t i = 0; i < count; ++i) {
    keys.push_back(DrawKey());
    operations.push_back(log_->StartGet(Now(), keys.back()));
  }
  std::vector<std::string> values(count);
  std::vector<absl::Status> statuses(count);
  co_await backend->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses), deadline_ns);
  bool is_answered = true;
  for (size_t i = 0; i < count; ++i) {
    EndGet(operations[i], statuses[i], values[i]);
    is_answered &= IsAnswer(statuses[i]);
  }
  co_return is_answered;
}

// A Delete in a home's neighbourhood pulls a record out of its chain, and the Puts fill the chain again.
// After the pause, what is in the chain has been there for a while: who misses it then is wrong. Some keys
// may come twice, for a Delete of nothing.
Task<bool> ClientProcess::Wave() {
  const Plan& plan = cluster_->plan();
  co_await scheduler_->SleepFor(random_.Uniform(plan.wave_pause_ns_max));
  const size_t count = 1 + random_.Uniform(plan.wave_keys_max);
  size_t index = random_.Uniform(plan.keys.size());
  const size_t step = 1 + random_.Uniform(plan.keys.size() - 1);
  std::vector<const std::string*> keys;
  for (; keys.size() < count; index += step) keys.push_back(&plan.keys[index % plan.keys.size()]);
  bool is_answered = true;
  for (const std::string* const key : keys) {
    Task<bool> operation = Delete(key, DrawTimeout());
    is_answered &= co_await std::move(operation);
  }
  for (const std::string* const key : keys) {
    Task<bool> operation = Put(key, DrawTimeout());
    is_answered &= co_await std::move(operation);
  }
  co_return is_answered;
}

Task<bool> ClientProcess::Put(const std::string* key, uint64_t timeout_ns) {
  const uint64_t deadline_ns = scheduler_->NowNs() + timeout_ns;
  std::shared_ptr<FabricBackend> backend = co_await connector_->Connection(deadline_ns);
  if (backend == nullptr) co_return false;
  const std::string value = NewValue(key->size());
  const size_t operation = log_->StartPut(Now(), *key, value);
  absl::Status status = co_await backend->Put(*key, value, deadline_ns);
  if (IsPlanted(PlantedBug::kPutSentAgain) && absl::IsUnavailable(status)) {
    backend = co_await connector_->Connection(deadline_ns);
    if (backend != nullptr) status = co_await backend->Put(*key, value, deadline_ns);
  }
  if (status.ok()) {
    log_->EndPut(operation, Now());
    cluster_->CountOperation(/*is_answered=*/true);
    co_return true;
  }
  co_return EndChange(operation, status);
}

Task<bool> ClientProcess::Delete(const std::string* key, uint64_t timeout_ns) {
  const uint64_t deadline_ns = scheduler_->NowNs() + timeout_ns;
  std::shared_ptr<FabricBackend> backend = co_await connector_->Connection(deadline_ns);
  if (backend == nullptr) co_return false;
  const size_t operation = log_->StartDelete(Now(), *key);
  const absl::Status status = co_await backend->Delete(*key, deadline_ns);
  if (IsAnswer(status)) {
    log_->EndDelete(operation, Now(), status.ok());
    cluster_->CountOperation(/*is_answered=*/true);
    co_return true;
  }
  co_return EndChange(operation, status);
}

void ClientProcess::EndGet(size_t operation, const absl::Status& status, const std::string& value) {
  cluster_->CountOperation(IsAnswer(status));
  if (status.ok()) {
    log_->EndGet(operation, Now(), value);
  } else if (status.code() == absl::StatusCode::kNotFound) {
    log_->EndGet(operation, Now(), absl::nullopt);
  } else {
    log_->EndFailed(operation, Now());
    EndUnanswered("a Get", status);
  }
}

// A Put or Delete that was not done, or nobody knows. Whether it was answered.
bool ClientProcess::EndChange(size_t operation, const absl::Status& status) {
  const bool is_refused = status.code() == absl::StatusCode::kResourceExhausted;
  cluster_->CountOperation(is_refused);
  if (is_refused) {
    log_->EndFailed(operation, Now());
    return true;
  }
  log_->EndUnknown(operation, Now());
  EndUnanswered("a Put or Delete", status);
  return false;
}

void ClientProcess::EndUnanswered(absl::string_view what, const absl::Status& status) {
  if (!IsOutage(status)) {
    cluster_->Report(Judge::kErrors,
                     absl::StrCat(process_->name(), " got for ", what,
                                  " what nothing here can cause: ", status.ToString()));
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded &&
      Now() > cluster_->healed_at_ns() + kAftermathNs + kPatienceNs) {
    cluster_->Report(Judge::kLiveness, absl::StrCat("no progress of ", process_->name(), ": ", what,
                                                    " was not answered in ", kPatienceNs / kMs,
                                                    " ms though nothing was wrong any more"));
  }
}

}  // namespace acre::simulation
