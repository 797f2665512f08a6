#include "tests/transactions/cluster_sim/step_scene.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/transaction_wire.h"
#include "tests/transactions/cluster_sim/home_process.h"

namespace acre::cluster_sim {
namespace {

using isolation::Outcome;
using kvs::Method;

constexpr uint64_t kSeed = 7;
constexpr int kBesideCount = 3;
// Homes find a death out in some ms.
constexpr uint64_t kScriptNs = 2'000 * kMs;
constexpr uint64_t kGoOnNs = 500 * kMs;
constexpr uint64_t kAgainNs = 100 * kUs;
// More than one name of the victim gets to.
constexpr uint64_t kSequences = 10;

ClusterPlan PlanOf(const StepOptions& options) {
  ClusterPlan plan;
  plan.device = options.device;
  plan.is_mapped = options.is_mapped;
  plan.stalls = false;
  plan.homes = options.homes;
  plan.coordinators = 3;  // The victim, its successor, and who says what it said again.
  plan.spin_ns = 2 * kUs;
  plan.ring_bytes = 4'096;
  plan.lease_ns = 100 * kMs;
  plan.timeout_ns = 20 * kMs;
  Random random(kSeed);
  plan.DrawKeys(&random);
  return plan;
}

}  // namespace

StepScene::StepScene(const StepOptions& options)
    : options_(options), scene_(kSeed, PlanOf(options), options.trace_lines_max) {}

uint32_t StepScene::KeyOf(size_t home, size_t list) const {
  return static_cast<uint32_t>(home * kKeysOfHome + list);
}

sim::Process* StepScene::Start(const char* name, void (StepScene::*body)(sim::Process*),
                               size_t machine) {
  sim::Process* const process =
      scene_.world()->AddProcess(scene_.coordinator_machine(machine), name);
  process->Spawn("main", [this, body, process] { (this->*body)(process); });
  return process;
}

RunResult StepScene::Run() {
  if (!scene_.OpenHomes()) return scene_.Judged();
  victim_ = Start("victim", &StepScene::RunVictim, 0);
  if (!scene_.RunUntil([this] { return victim_->is_dead() || victim_has_ended_; }, kScriptNs,
                       "the script does not end")) {
    return scene_.Judged();
  }
  // At once, while homes still end what it has left.
  (void)Start("successor", &StepScene::RunSuccessor, 1);
  const bool goes_on = scene_.RunUntil([this] { return successor_has_ended_; }, kGoOnNs,
                                       "another coordinator does not get on with the same keys");
  if (!goes_on || !scene_.RunUntil([this] { return scene_.IsAllOver(); }, kGoOnNs,
                                   "a transaction or hold of its is not ended")) {
    return scene_.Judged();
  }
  (void)Start("replayer", &StepScene::RunReplayer, 2);
  if (scene_.RunUntil([this] { return replayer_has_ended_; }, kScriptNs,
                      "what comes again is not answered")) {
    (void)scene_.ReadLast();
  }
  return scene_.Judged();
}

// ---- Processes.

void StepScene::OnStep() {
  if (++steps_ != options_.step) return;
  if (options_.harm == Harm::kKill) victim_->Kill();  // It does not return.
  scene_.world()->After(0, [this] { scene_.home(1)->GiveUp(victim_->id()); });
}

void StepScene::RunVictim(sim::Process* process) {
  SimulatedClient client(&scene_, process, kSeed);
  client.homes()->set_numbers(&numbers_);
  client.scheduler()->RunUntilDone(Script(&client));
  scene_.CountEvent("runs under holds", client.coordinator()->stats().fallbacks);
  victim_has_ended_ = true;
}

void StepScene::RunSuccessor(sim::Process* process) {
  SimulatedClient client(&scene_, process, kSeed + 1);
  client.scheduler()->RunUntilDone(Succeed(&client));
  successor_has_ended_ = true;
}

void StepScene::RunReplayer(sim::Process* process) {
  SimulatedClient client(&scene_, process, kSeed + 2, /*claimed_id=*/victim_->id());
  client.scheduler()->RunUntilDone(Replay(&client));
  replayer_has_ended_ = true;
}

// ---- The script.

Task<void> StepScene::Script(SimulatedClient* client) {
  for (size_t home = 0; home < options_.homes; ++home) {
    const auto link = co_await client->homes()->Link(home, UINT64_MAX);
    CHECK(link.ok()) << link.status();
  }
  victim_->WatchSteps([this] { OnStep(); });
  Event beside_ended(client->scheduler());
  client->scheduler()->Spawn(Beside(client, &beside_ended)).Detach();
  const size_t last = options_.homes - 1;
  const Keys none;
  const Keys at_one = {KeyOf(0, 0), KeyOf(0, 1)};
  const Keys at_two = {KeyOf(0, 0), KeyOf(1, 0)};
  const Keys read = {last == 1 ? KeyOf(1, 1) : KeyOf(2, 0)};
  (void)co_await Append(client, at_one, none);
  co_await RunRefusedOnce(client, at_two, read);
  (void)co_await Append(client, at_two, read);
  co_await beside_ended.Wait();
  victim_->WatchSteps(nullptr);
}

Task<void> StepScene::Beside(SimulatedClient* client, Event* ended) {
  const Keys none;
  const Keys keys = {KeyOf(0, 2), KeyOf(options_.homes - 1, 2)};
  for (int count = 0; count < kBesideCount; ++count) (void)co_await Append(client, keys, none);
  ended->Set();
}

Task<void> StepScene::Succeed(SimulatedClient* client) {
  Keys all;
  const Keys none;
  for (size_t home = 0; home < options_.homes; ++home) {
    for (size_t list = 0; list < kListsOfHome; ++list) all.push_back(KeyOf(home, list));
  }
  for (;;) {
    const bool committed = co_await Append(client, all, none);
    if (committed) co_return;
    co_await client->scheduler()->SleepFor(kAgainNs);
  }
}

void StepScene::End(isolation::Transaction* told, const absl::Status& status, bool is_unknown) {
  const Outcome outcome = status.ok()  ? Outcome::kCommitted
                          : is_unknown ? Outcome::kUnknown
                                       : Outcome::kAborted;
  scene_.told()->End(told, outcome, scene_.world()->NowNs());
}

Task<absl::Status> StepScene::ReadAndAppend(kvs::Transaction* transaction,
                                            isolation::Transaction* told,
                                            absl::Span<const uint32_t> written,
                                            absl::Span<const uint32_t> read,
                                            SimulatedClient* rival) {
  Keys all(written.begin(), written.end());
  all.insert(all.end(), read.begin(), read.end());
  std::vector<absl::string_view> names;
  for (const uint32_t key : all) names.push_back(scene_.plan().keys[key].name);
  std::vector<std::string> values(all.size());
  std::vector<absl::Status> statuses(all.size());
  co_await transaction->MultiGet(names, absl::MakeSpan(values), absl::MakeSpan(statuses));
  for (const absl::Status& status : statuses) {
    if (!status.ok() && !absl::IsNotFound(status)) co_return status;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    absl::optional<std::string> seen;
    if (statuses[i].ok()) seen = values[i];
    Told::AddRead(told, all[i], KeyKind::kList, seen);
  }
  if (rival != nullptr) {
    const Keys between = {written[0], KeyOf(0, 1)};
    const Keys none;
    (void)co_await Append(rival, between, none);
  }
  for (size_t i = 0; i < written.size(); ++i) {
    const int64_t element = scene_.told()->NewValue();
    Told::AddWrite(told, written[i], KeyKind::kList, element);
    absl::Status put = transaction->Put(names[i], Appended(values[i], element));
    if (!put.ok()) co_return put;
  }
  co_return absl::OkStatus();
}

Task<bool> StepScene::Append(SimulatedClient* client, Keys written, Keys read) {
  Told* const all = scene_.told();
  isolation::Transaction* const told = all->Begin(all->NewProcess(), scene_.world()->NowNs());
  const std::unique_ptr<kvs::Transaction> transaction = client->coordinator()->Begin();
  absl::Status status = co_await ReadAndAppend(transaction.get(), told, written, read, nullptr);
  if (status.ok()) status = co_await transaction->Commit();
  End(told, status, transaction->is_outcome_unknown());
  co_return status.ok();
}

Task<void> StepScene::RunRefusedOnce(SimulatedClient* client, Keys written, Keys read) {
  Told* const all = scene_.told();
  const int64_t process = all->NewProcess();
  isolation::Transaction* told = nullptr;
  int attempts = 0;
  const kvs::AsyncTransactionFunction function =
      [&](kvs::Transaction* transaction) -> Task<absl::Status> {
    if (told != nullptr) End(told, absl::AbortedError("it runs again"), /*is_unknown=*/false);
    told = all->Begin(process, scene_.world()->NowNs());
    // What it read does not stand: a rival's change of the first key comes between.
    SimulatedClient* const rival = attempts++ == 0 ? client : nullptr;
    absl::Status said = co_await ReadAndAppend(transaction, told, written, read, rival);
    co_return said;
  };
  kvs::RunResult result;
  kvs::RunOptions options;
  options.attempts_before_locks = 1;
  options.result = &result;
  const absl::Status status = co_await client->coordinator()->Run(function, options);
  End(told, status, result.is_outcome_unknown);
}

// ---- What comes again.

Task<void> StepScene::Replay(SimulatedClient* client) {
  for (size_t home = 0; home < options_.homes; ++home) {
    for (const uint32_t number : numbers_) {
      const kvs::TransactionThread thread{kView, victim_->id(), number};
      // Of one that has heard nothing of it this would be no repetition.
      if (!scene_.home(home)->Knows(thread)) continue;
      co_await ReplayAt(client, home, thread);
    }
  }
}

Task<void> StepScene::ReplayAt(SimulatedClient* client, size_t home,
                               kvs::TransactionThread thread) {
  const auto link = co_await client->homes()->Link(home, UINT64_MAX);
  CHECK(link.ok()) << link.status();
  kvs::TransactionWrite write;
  write.key = scene_.plan().keys[KeyOf(home, 0)].name;
  write.value = "nonsense";
  const size_t other = home == 0 ? 1 : 0;
  for (uint64_t sequence = 1; sequence <= kSequences; ++sequence) {
    const kvs::TransactionId id{thread, sequence};
    for (const Method method : {Method::kTransactionLock, Method::kTransactionAtOnce}) {
      std::vector<kvs::TransactionParticipant> homes = {scene_.home(home)->self()};
      if (method == Method::kTransactionLock) homes.push_back(scene_.home(other)->self());
      std::string request;
      CHECK(kvs::EncodeTransaction(id, 0, absl::nullopt, homes, {}, {}, {&write, 1}, &request));
      std::string response;
      const uint64_t deadline_ns = client->scheduler()->NowNs() + scene_.plan().timeout_ns;
      const absl::Status called = co_await (*link)->Call(method, request, &response, deadline_ns);
      const auto vote = kvs::ParseVote(response);
      scene_.CountEvent("requests again");
      if (called.ok() && vote.ok() && vote->answer == kvs::TransactionVote::Answer::kOver) continue;
      scene_.Report(Judge::kAgreement,
                    absl::StrCat("home ", home, " was to refuse ", id.ToString(), ", and says ",
                                 called.ToString(), ", ", vote.ok() && vote->is_yes()));
    }
    const std::string notice = kvs::EncodeNotice(id, 0);
    for (const Method method : {Method::kTransactionCommit, Method::kTransactionAbort}) {
      const absl::Status told = co_await (*link)->Notify(method, notice);
      if (!told.ok()) scene_.Report(Judge::kErrors, told.ToString());
    }
  }
}

}  // namespace acre::cluster_sim
