#include "tests/transactions/ends_scene.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "tests/transactions/ends_home.h"
#include "tests/transactions/marked_read.h"

namespace acre::server {
namespace {

using kvs::OpenTransaction;
using kvs::TransactionWrite;

constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kNsPerMs = 1'000'000;

}  // namespace

// ---- Coordinators.

struct EndsScene::Coordinator {
  Thread thread;
  std::vector<uint64_t> incarnations;  // Of the homes that it is connected to.
  uint64_t next_sequence = 1;
  std::set<uint64_t> unfinished;
  bool is_stopped = false;
  struct Votes {
    size_t yes = 0;
    size_t no = 0;
  };
  std::map<uint64_t, Votes> votes;
  std::vector<SpawnHandle> tasks;

  uint64_t finished_below() const {
    return unfinished.empty() ? next_sequence : *unfinished.begin();
  }
};

EndsScene::EndsScene(const Options& options)
    : options_(options),
      random_(options.seed),
      scheduler_({.clock = &clock_, .seed = options.seed, .never_sleep = true, .name = "scene"}) {
  constexpr double kLosses[] = {0, 0.05, 0.4};
  loss_ = kLosses[random_.Uniform(3)];
  repeats_ = Chance(0.5) ? 0.2 : 0;
  const size_t homes_count = 2 + random_.Uniform(3);
  for (size_t i = 0; i < homes_count; ++i) homes_.push_back(std::make_unique<Home>(this, i));
}

EndsScene::~EndsScene() {
  for (Coordinator& coordinator : coordinators_) {
    for (SpawnHandle& task : coordinator.tasks) task.Cancel();
  }
  for (const auto& home : homes_) home->Stop();
}

// Mostly short, now and then long.
uint64_t EndsScene::SomeNs() {
  const uint64_t most_ns = Chance(0.05)  ? 50 * kNsPerMs
                           : Chance(0.3) ? 2 * kNsPerMs
                                         : 20 * kNsPerUs;
  return random_.Uniform(most_ns);
}

void EndsScene::Find(std::string what) {
  if (finding_.empty()) finding_ = std::move(what);
}

Task<void> EndsScene::Later(std::function<void()> what) {
  co_await scheduler_.SleepFor(SomeNs());
  what();
}

Task<void> EndsScene::Coordinate(Coordinator* coordinator) {
  const uint64_t count = 1 + random_.Uniform(4);
  for (uint64_t i = 0; i < count && !coordinator->is_stopped; ++i) {
    // Now and then others were between, at other homes: more than these keep numbers of.
    if (coordinator->unfinished.empty() && Chance(0.3)) {
      coordinator->next_sequence += kvs::kTransactionWindow + 7;
    }
    const Id id{coordinator->thread, coordinator->next_sequence++};
    coordinator->unfinished.insert(id.sequence);
    co_await RunTransaction(coordinator, id);
  }
}

Task<void> EndsScene::RunTransaction(Coordinator* coordinator, Id id) {
  std::vector<size_t> order(homes_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto shuffle = [&] {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.Uniform(i)]);
  };
  shuffle();
  order.resize(2 + random_.Uniform(order.size() - 1));
  Message message;
  message.id = id;
  for (const size_t home : order) {
    message.participants.push_back({static_cast<uint32_t>(home), coordinator->incarnations[home]});
  }
  message.keys = {absl::StrCat("own ", id.coordinator.process_id, ".", id.sequence)};
  if (Chance(0.3)) message.keys.push_back("hot");
  fates_[{id.coordinator.process_id, id.sequence}].participants = message.participants;
  message.finished_below = coordinator->finished_below();
  size_t placed = 0;
  for (const size_t home : order) {
    co_await scheduler_.SleepFor(SomeNs());
    if (Place(coordinator, home, message)) ++placed;
  }
  const Coordinator::Votes& votes = coordinator->votes[id.sequence];
  const uint64_t patience_end_ns = scheduler_.NowNs() + 30 * kNsPerMs;
  while (votes.yes + votes.no < placed && scheduler_.NowNs() < patience_end_ns) {
    co_await scheduler_.SleepFor(20 * kNsPerUs);
  }
  const bool commit = votes.yes == order.size();
  message.kind = commit ? Message::Kind::kCommit : Message::Kind::kAbort;
  shuffle();
  placed = 0;
  for (const size_t home : order) {
    co_await scheduler_.SleepFor(SomeNs());
    if (Place(coordinator, home, message)) ++placed;
  }
  Fate& fate = fates_[{id.coordinator.process_id, id.sequence}];
  if (!commit) fate.told = false;
  if (placed < order.size()) {
    coordinator->is_stopped =
        true;  // It lost a home: what it begins from now on is of another thread.
    co_return;
  }
  if (commit) fate.told = true;
  coordinator->unfinished.erase(id.sequence);
}

bool EndsScene::Place(Coordinator* coordinator, size_t home, Message message) {
  if (!homes_[home]->is_up() || homes_[home]->incarnation() != coordinator->incarnations[home]) {
    return false;
  }
  if (!homes_[home]->Place(coordinator->thread, std::move(message))) return false;
  scheduler_.Spawn(PollLater(home, coordinator->incarnations[home], coordinator->thread)).Detach();
  return true;
}

Task<void> EndsScene::PollLater(size_t home, uint64_t incarnation, Thread thread) {
  co_await scheduler_.SleepFor(SomeNs());
  if (homes_[home]->is_up() && homes_[home]->incarnation() == incarnation) {
    homes_[home]->PollOne(thread);
  }
}

Task<void> EndsScene::VoteLater(Id id, size_t /*home*/, bool yes) {
  co_await scheduler_.SleepFor(SomeNs());
  for (Coordinator& coordinator : coordinators_) {
    if (coordinator.thread != id.coordinator) continue;
    Coordinator::Votes& votes = coordinator.votes[id.sequence];
    ++(yes ? votes.yes : votes.no);
  }
}

// ---- What goes wrong.

Task<void> EndsScene::LoseLater(size_t home, Thread thread) {
  co_await scheduler_.SleepFor(SomeNs());
  if (homes_[home]->is_up() && homes_[home]->IsBound(thread)) homes_[home]->CloseThread(thread);
}

Task<void> EndsScene::StopLater(Coordinator* coordinator) {
  co_await scheduler_.SleepFor(random_.Uniform(8 * kNsPerMs));
  // It may live on, and one home alone loses it.
  if (Chance(0.5)) {
    scheduler_.Spawn(LoseLater(random_.Uniform(homes_.size()), coordinator->thread)).Detach();
    co_await scheduler_.SleepFor(random_.Uniform(20 * kNsPerMs));
  }
  for (SpawnHandle& task : coordinator->tasks) task.Cancel();
  for (size_t i = 0; i < homes_.size(); ++i) {
    if (Chance(0.8)) scheduler_.Spawn(LoseLater(i, coordinator->thread)).Detach();
  }
}

Task<void> EndsScene::CrashLater() {
  co_await scheduler_.SleepFor(random_.Uniform(30 * kNsPerMs));
  Crash(random_.Uniform(homes_.size()));
}

void EndsScene::Crash(size_t home) {
  if (is_healed_ || !homes_[home]->is_up()) return;
  ended_before_ += homes_[home]->ends().counts().resolved_commit;
  ended_before_ += homes_[home]->ends().counts().resolved_abort;
  asks_before_ += homes_[home]->ends().counts().asks;
  ++crashes_;
  homes_[home]->Stop();
  scheduler_.Spawn(RestartLater(home)).Detach();
}

Task<void> EndsScene::RestartLater(size_t home) {
  co_await scheduler_.SleepFor(random_.Uniform(100 * kNsPerMs));
  if (!homes_[home]->is_up()) homes_[home]->Start(homes_[home]->incarnation() + 1);
}

// ---- A run.

void EndsScene::RunCoordinators() {
  const size_t count = 1 + random_.Uniform(3);
  for (size_t i = 0; i < count; ++i) {
    Coordinator& coordinator = coordinators_.emplace_back();
    coordinator.thread = {1, static_cast<uint32_t>(i + 1), 77};
    for (const auto& home : homes_) coordinator.incarnations.push_back(home->incarnation());
    const size_t at_a_time = 1 + random_.Uniform(3);
    for (size_t j = 0; j < at_a_time; ++j) {
      coordinator.tasks.push_back(scheduler_.Spawn(Coordinate(&coordinator)));
    }
    scheduler_.Spawn(StopLater(&coordinator)).Detach();
  }
  if (options_.homes_crash) {
    const size_t crashes = 1 + random_.Uniform(2);
    for (size_t i = 0; i < crashes; ++i) scheduler_.Spawn(CrashLater()).Detach();
  }
  RunForMs(200);
}

void EndsScene::Heal() {
  is_healed_ = true;
  loss_ = 0;
  for (size_t i = 0; i < homes_.size(); ++i) {
    if (!homes_[i]->is_up()) homes_[i]->Start(homes_[i]->incarnation() + 1);
    for (const Coordinator& coordinator : coordinators_) {
      if (homes_[i]->IsBound(coordinator.thread)) homes_[i]->CloseThread(coordinator.thread);
    }
  }
}

void EndsScene::RunForMs(uint64_t ms) {
  const uint64_t end_ns = clock_.NowNs() + ms * kNsPerMs;
  for (;;) {
    while (scheduler_.RunOnce()) {
    }
    const absl::optional<uint64_t> next_ns = scheduler_.NextTimerNs();
    if (!next_ns.has_value() || *next_ns > end_ns) break;
    if (*next_ns > clock_.NowNs()) clock_.AdvanceToNs(*next_ns);
  }
  clock_.AdvanceToNs(end_ns);
}

void EndsScene::EndByOperator() {
  for (const auto& home : homes_) {
    for (const Coordinator& coordinator : coordinators_) {
      for (const OpenTransaction& open : home->home().OpenOf(coordinator.thread)) {
        Fate& fate = fates_[{open.id.coordinator.process_id, open.id.sequence}];
        if (fate.by_operator) continue;
        // What the home that is gone had made of it is given up.
        fate.by_operator = true;
        const absl::Status status = home->ResolveNow(open.id, /*commit=*/false);
        if (!status.ok()) Find(status.ToString());
      }
    }
  }
}

// ---- Judging.

size_t EndsScene::OpenCount() const {
  size_t count = 0;
  for (const auto& home : homes_) count += home->home().open_count();
  return count;
}

size_t EndsScene::OpenForGoneHomes() const {
  size_t count = 0;
  for (const auto& home : homes_) {
    for (const Coordinator& coordinator : coordinators_) {
      for (const OpenTransaction& open : home->home().OpenOf(coordinator.thread)) {
        count += std::any_of(open.participants.begin(), open.participants.end(),
                             [&](const Participant& participant) {
                               return homes_[participant.server_index]->incarnation() !=
                                      participant.incarnation;
                             });
      }
    }
  }
  return count;
}

std::vector<std::string> EndsScene::WhysOfOpen() const {
  std::vector<std::string> whys;
  for (const auto& home : homes_) {
    for (const Coordinator& coordinator : coordinators_) {
      for (const OpenTransaction& open : home->home().OpenOf(coordinator.thread)) {
        whys.push_back(home->ends().WhyOpen(open.id));
      }
    }
  }
  return whys;
}

void EndsScene::JudgeEnd() {
  if (OpenCount() != 0) return Find(absl::StrCat(OpenCount(), " transactions are open in the end"));
  for (const auto& [name, fate] : fates_) {
    const auto text = absl::StrCat("transaction ", name.first, ".", name.second);
    if (fate.by_operator || !fate.told.has_value()) continue;
    if (*fate.told && !fate.aborted_at.empty()) Find(text + " was told as committed, and aborted");
    if (!*fate.told && !fate.committed_at.empty()) {
      Find(text + " was told as aborted, and committed");
    }
  }
  for (size_t i = 0; i < homes_.size(); ++i) JudgeRecords(i);
  for (const auto& home : homes_) {
    if (home->ends().counts().contradictions != 0) Find("homes have contradicted each other");
    if (home->ends().counts().lost != 0) Find("a home is not done with a lost thread");
    if (home->home().kept_count() != 0) {
      Find(absl::StrCat("a home keeps ", home->home().kept_count(), " records in the end"));
    }
    home->table().segments()[0]->CheckInvariants();
  }
}

void EndsScene::JudgeRecords(size_t home) {
  const Participant self = homes_[home]->self();
  kvs::TransactionId probe{{1, 99, 1}, 1};
  for (const auto& [name, fate] : fates_) {
    const auto& named = fate.participants;
    if (std::find(named.begin(), named.end(), self) == named.end()) continue;
    const std::string key = absl::StrCat("own ", name.first, ".", name.second);
    const auto read = kvs::TryMarkedRead(homes_[home]->table(), key);
    if (!read.has_value()) return Find(key + " is locked in the end");
    const bool commits = !fate.by_operator && !fate.committed_at.empty();
    if (!fate.by_operator && read->found != commits) {
      Find(absl::StrCat(key, read->found ? " is there" : " is not there", " at home ", home,
                        ", and its transaction is ", commits ? "committed" : "not committed"));
    }
  }
  // Nobody holds a lock that it may need.
  for (const auto& [name, fate] : fates_) {
    const std::string key = absl::StrCat("own ", name.first, ".", name.second);
    const std::vector<TransactionWrite> writes = {EndsPut(key)};
    ++probe.sequence;
    if (!homes_[home]->home().Lock(probe, {}, writes, {}).is_yes()) {
      return Find(key + " cannot be locked in the end");
    }
    if (!homes_[home]->home().Abort(probe).ok()) Find("the probe is not aborted");
  }
  if (!homes_[home]->home().ForgetThread(probe.coordinator).ok()) Find("a probe is left");
}

EndsScene::Tally EndsScene::tally() const {
  Tally tally;
  for (const auto& [name, fate] : fates_) {
    tally.committed += !fate.committed_at.empty();
    tally.aborted += fate.committed_at.empty() && !fate.aborted_at.empty();
  }
  tally.ended = ended_before_;
  tally.asks = asks_before_;
  tally.crashes = crashes_;
  for (const auto& home : homes_) {
    const TransactionEnds::Counts counts = home->ends().counts();
    tally.ended += counts.resolved_commit + counts.resolved_abort;
    tally.asks += counts.asks;
  }
  return tally;
}

}  // namespace acre::server
