#include "tests/transactions/cluster_sim/coordinator_process.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/transactions/cluster_sim/scene.h"
#include "tests/transactions/cluster_sim/simulated_client.h"

namespace acre::cluster_sim {
namespace {

using isolation::Outcome;

constexpr int kProgressCommits = 3;
constexpr uint64_t kLookNs = 100 * kUs;
constexpr uint64_t kLateNs = 50 * kMs;
constexpr size_t kKeysMax = 4;
constexpr size_t kElementsMax = 200;
constexpr uint64_t kReadAllTimeoutMs = 500;

}  // namespace

CoordinatorProcess::CoordinatorProcess(Scene* scene, sim::Process* process, Purpose purpose)
    : scene_(scene),
      process_(process),
      purpose_(purpose),
      coroutines_(purpose == Purpose::kWork ? scene->plan().coroutines : 1),
      random_(scene->random().Next()) {}

void CoordinatorProcess::Run() {
  {
    SimulatedClient client(scene_, process_, random_.Next());
    scheduler_ = client.scheduler();
    coordinator_ = client.coordinator();
    scheduler_->RunUntilDone(RunAll());
    scene_->CountEvent("runs under holds", coordinator_->stats().fallbacks);
    coordinator_ = nullptr;
    scheduler_ = nullptr;
  }
  has_ended_ = true;
}

std::string CoordinatorProcess::ToText() const {
  return absl::StrCat(process_->name(), ": ", progressed_, " of ", coroutines_,
                      " coroutines progressed, ", ended_, " ended; last: ", last_status_);
}

uint64_t CoordinatorProcess::Now() const { return scene_->world()->NowNs(); }

Task<void> CoordinatorProcess::RunAll() {
  if (purpose_ == Purpose::kReadAll) {
    co_await ReadAll();
    co_return;
  }
  Event all_ended(scheduler_);
  for (int i = 0; i < coroutines_; ++i) scheduler_->Spawn(Work(&all_ended)).Detach();
  co_await all_ended.Wait();
}

Task<void> CoordinatorProcess::Work(Event* all_ended) {
  int64_t process = scene_->told()->NewProcess();
  int commits = 0;
  while (scene_->phase() == Phase::kFaults ||
         (scene_->phase() == Phase::kProgress && commits < kProgressCommits)) {
    const bool was_healed = scene_->phase() == Phase::kProgress;
    const bool committed = co_await OneTransaction(&process);
    if (was_healed && committed) ++commits;
    // Later only to keep at it while somebody is paused.
    const bool is_late = scene_->phase() == Phase::kFaults && Now() > scene_->plan().faults_end_ns;
    co_await scheduler_->SleepFor(random_.Uniform(is_late ? kLateNs : scene_->plan().pause_ns_max) +
                                  (committed ? 0 : random_.Uniform(kLookNs)));
  }
  ++progressed_;
  if (++ended_ == coroutines_) all_ended->Set();
}

// ---- One transaction.

CoordinatorProcess::Script CoordinatorProcess::DrawScript(int64_t process) {
  const std::vector<ClusterPlan::Key>& keys = scene_->plan().keys;
  Script script;
  script.process = process;
  const size_t count = 1 + random_.Uniform(kKeysMax);
  const bool only_reads = random_.Uniform(6) == 0;
  while (script.steps.size() < count) {
    Step step;
    step.key = static_cast<uint32_t>(random_.Uniform(keys.size()));
    const bool is_there = std::any_of(script.steps.begin(), script.steps.end(),
                                      [&](const Step& other) { return other.key == step.key; });
    if (is_there) continue;
    const KeyKind kind = keys[step.key].kind;
    step.writes = !only_reads && random_.Uniform(2) == 0;
    step.deletes = kind == KeyKind::kScratch && step.writes && random_.Uniform(2) == 0;
    // Who appends has read; who overwrites or deletes need not.
    step.reads = kind == KeyKind::kList || !step.writes || random_.Uniform(2) == 0;
    script.steps.push_back(step);
  }
  script.reads_at_once = random_.Uniform(2) == 0;
  script.reads_own = random_.Uniform(8) == 0;
  if (random_.Uniform(3) == 0) script.think_ns = random_.Uniform(scene_->plan().think_ns_max);
  return script;
}

Task<bool> CoordinatorProcess::OneTransaction(int64_t* process) {
  Script script = DrawScript(*process);
  const bool runs = random_.Uniform(100) < static_cast<uint64_t>(scene_->plan().runs_percent);
  Outcome outcome = Outcome::kAborted;
  absl::Status status;
  if (runs) {
    const kvs::AsyncTransactionFunction function = [this, &script](kvs::Transaction* transaction) {
      return Function(transaction, &script);
    };
    kvs::RunOptions options;
    options.attempts_before_locks = 2;
    options.timeout_ms = 1 + static_cast<int64_t>(scene_->plan().timeout_ns / kMs) * 2;
    status = co_await coordinator_->Run(function, options);
    // What its function refuses is not committed.
    if (script.said.ok() && absl::IsUnavailable(status)) outcome = Outcome::kUnknown;
  } else {
    const std::unique_ptr<kvs::Transaction> transaction = coordinator_->Begin();
    status = co_await Function(transaction.get(), &script);
    if (status.ok()) status = co_await transaction->Commit();
    if (transaction->is_outcome_unknown()) outcome = Outcome::kUnknown;
  }
  if (status.ok()) outcome = Outcome::kCommitted;
  EndTold(&script, outcome);
  if (outcome == Outcome::kUnknown) *process = scene_->told()->NewProcess();
  last_status_ = status.ToString();
  Judge(status);
  co_return outcome == Outcome::kCommitted;
}

void CoordinatorProcess::Judge(const absl::Status& status) {
  if (status.ok() || absl::IsAborted(status) || absl::IsUnavailable(status) ||
      absl::IsDeadlineExceeded(status)) {
    return;
  }
  scene_->Report(
      cluster_sim::Judge::kErrors,
      absl::StrCat(process_->name(), " was told what nothing here can cause: ", status.ToString()));
}

void CoordinatorProcess::EndTold(Script* script, Outcome outcome) {
  if (script->told == nullptr) return;
  scene_->told()->End(std::exchange(script->told, nullptr), outcome, Now());
}

Task<absl::Status> CoordinatorProcess::Function(kvs::Transaction* transaction, Script* script) {
  EndTold(script, Outcome::kAborted);  // Run again: the attempt before was aborted.
  script->told = scene_->told()->Begin(script->process, Now());
  std::vector<std::string> values(script->steps.size());
  script->said = co_await ReadSteps(transaction, script, &values);
  if (!script->said.ok()) co_return script->said;
  if (script->think_ns != 0) co_await scheduler_->SleepFor(script->think_ns);
  for (size_t i = 0; i < script->steps.size(); ++i) {
    const Step& step = script->steps[i];
    if (!step.writes) continue;
    script->said = WriteStep(transaction, script, step, values[i]);
    if (!script->said.ok()) co_return script->said;
    if (!script->reads_own) continue;
    std::string own;
    script->said = co_await Get(transaction, script, step.key, &own);
    if (!script->said.ok()) co_return script->said;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> CoordinatorProcess::ReadSteps(kvs::Transaction* transaction, Script* script,
                                                 std::vector<std::string>* values) {
  std::vector<size_t> places;
  std::vector<absl::string_view> keys;
  for (size_t i = 0; i < script->steps.size(); ++i) {
    const Step& step = script->steps[i];
    if (!step.reads) continue;
    if (!script->reads_at_once) {
      absl::Status status = co_await Get(transaction, script, step.key, &(*values)[i]);
      if (!status.ok()) co_return status;
      continue;
    }
    places.push_back(i);
    keys.push_back(scene_->plan().keys[step.key].name);
  }
  if (keys.empty()) co_return absl::OkStatus();
  std::vector<std::string> got(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  co_await transaction->MultiGet(keys, absl::MakeSpan(got), absl::MakeSpan(statuses));
  for (const absl::Status& status : statuses) {
    if (!status.ok() && !absl::IsNotFound(status)) co_return status;
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    TellRead(script, script->steps[places[i]].key, statuses[i], got[i]);
    if (statuses[i].ok()) (*values)[places[i]] = std::move(got[i]);
  }
  co_return absl::OkStatus();
}

Task<absl::Status> CoordinatorProcess::Get(kvs::Transaction* transaction, Script* script,
                                           uint32_t key, std::string* value) {
  absl::Status status = co_await transaction->Get(scene_->plan().keys[key].name, value);
  if (absl::IsNotFound(status)) value->clear();
  if (!status.ok() && !absl::IsNotFound(status)) co_return status;
  TellRead(script, key, status, *value);
  co_return absl::OkStatus();
}

void CoordinatorProcess::TellRead(Script* script, uint32_t key, const absl::Status& status,
                                  const std::string& value) {
  const KeyKind kind = scene_->plan().keys[key].kind;
  if (kind == KeyKind::kScratch) return;
  absl::optional<std::string> seen;
  if (status.ok()) seen = value;
  Told::AddRead(script->told, key, kind, seen);
}

absl::Status CoordinatorProcess::WriteStep(kvs::Transaction* transaction, Script* script,
                                           const Step& step, const std::string& value) {
  const ClusterPlan::Key& key = scene_->plan().keys[step.key];
  if (step.deletes) return transaction->Delete(key.name);
  if (key.kind == KeyKind::kScratch) {
    return transaction->Put(key.name, std::string(random_.Uniform(100), 's'));
  }
  if (key.kind == KeyKind::kList && value.size() / 8 >= kElementsMax) return absl::OkStatus();
  const int64_t written = scene_->told()->NewValue();
  std::string bytes = Appended(key.kind == KeyKind::kList ? value : std::string(), written);
  // Now and then one that does not lie in its slot.
  if (key.kind == KeyKind::kRegister && random_.Uniform(4) == 0) bytes.append(96, 'r');
  Told::AddWrite(script->told, step.key, key.kind, written);
  return transaction->Put(key.name, bytes);
}

// ---- In the end.

Task<void> CoordinatorProcess::ReadAll() {
  const std::vector<ClusterPlan::Key>& keys = scene_->plan().keys;
  std::vector<absl::string_view> names;
  for (const ClusterPlan::Key& key : keys) names.push_back(key.name);
  std::vector<std::string> values(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  Script script;
  script.process = scene_->told()->NewProcess();
  for (;;) {
    const kvs::AsyncTransactionFunction function =
        [&](kvs::Transaction* transaction) -> Task<absl::Status> {
      co_await transaction->MultiGet(names, absl::MakeSpan(values), absl::MakeSpan(statuses));
      for (const absl::Status& status : statuses) {
        if (!status.ok() && !absl::IsNotFound(status)) co_return status;
      }
      co_return absl::OkStatus();
    };
    script.told = scene_->told()->Begin(script.process, Now());
    kvs::RunOptions options;
    options.timeout_ms = kReadAllTimeoutMs;
    const absl::Status status = co_await coordinator_->Run(function, options);
    last_status_ = status.ToString();
    if (status.ok()) break;
    EndTold(&script, Outcome::kAborted);
    co_await scheduler_->SleepFor(kLookNs);
  }
  for (uint32_t key = 0; key < keys.size(); ++key) {
    TellRead(&script, key, statuses[key], values[key]);
    if (statuses[key].ok()) scene_->AddLast(key, values[key]);
  }
  EndTold(&script, Outcome::kCommitted);
  ++progressed_;
  ++ended_;
}

}  // namespace acre::cluster_sim
