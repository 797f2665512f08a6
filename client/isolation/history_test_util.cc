#include "client/isolation/history_test_util.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "runtime/random.h"

namespace acre::isolation {
namespace {

// One key of the simulated store: a register is a list of which only the last element shows.
struct Stored {
  std::vector<int64_t> values;
};

class Simulation {
 public:
  Simulation(const SimulatedHistory& options, uint64_t seed) : options_(options), random_(seed) {
    for (uint32_t i = 0; i < options.keys; ++i) NewKey(i);
  }

  History Run() {
    std::vector<uint64_t> free_at(options_.processes);
    for (uint32_t i = 0; i < options_.processes; ++i) process_at_.push_back(i);
    for (uint32_t i = 0; i < options_.transactions; ++i) {
      const size_t process = random_.Uniform(options_.processes);
      Invoke(static_cast<uint32_t>(process), &free_at[process]);
    }
    std::sort(moments_.begin(), moments_.end());
    for (const auto& [at, tie, transaction, op] : moments_) Happen(transaction, op);
    OrderByTime(&history_);
    return std::move(history_);
  }

 private:
  static constexpr size_t kAll = ~size_t{0};        // The whole transaction.
  static constexpr size_t kReads = ~size_t{0} - 1;  // All its reads.
  static constexpr size_t kWrites = ~size_t{0} - 2;

  struct Plan {
    bool happens = true;
    std::map<uint32_t, size_t>
        snapshot;  // Of each key that it writes: how often it had been written.
  };

  bool Percent(uint32_t percent) { return random_.Uniform(100) < percent; }

  void NewKey(uint32_t place) {
    const auto number = static_cast<uint32_t>(history_.keys.size());
    history_.keys.push_back(absl::StrCat(number));
    if (keys_.size() <= place) keys_.resize(place + 1);
    keys_[place] = number;
    is_register_.push_back(Percent(options_.register_percent));
    stored_.emplace_back();
    writes_.push_back(0);
  }

  void Invoke(uint32_t place, uint64_t* free_at) {
    Transaction transaction;
    transaction.process = process_at_[place];
    const uint64_t invoked = *free_at + random_.Uniform(options_.duration_max);
    const uint64_t returned = invoked + 1 + random_.Uniform(options_.duration_max);
    *free_at = returned + 1;
    transaction.invoked_ns = static_cast<int64_t>(invoked);
    transaction.returned_ns = static_cast<int64_t>(returned);
    transaction.returned_at = 0;  // It will get a place.
    for (uint64_t i = 1 + random_.Uniform(options_.ops_max); i > 0; --i) {
      transaction.ops.push_back(NewOp());
    }
    Plan plan;
    uint64_t latest = returned;
    transaction.outcome = Outcome::kCommitted;
    if (Percent(options_.aborted_percent)) {
      transaction.outcome = Outcome::kAborted;
    } else if (Percent(options_.unknown_percent)) {
      transaction.outcome = Outcome::kUnknown;
      plan.happens = Percent(50);
      latest += 5 * options_.duration_max;
      if (Percent(30)) {
        transaction.returned_at = kNever;
        process_at_[place] += options_.processes;  // It is gone, and another takes its place.
      }
    }
    PlanMoments(invoked, latest);
    plans_.push_back(std::move(plan));
    history_.transactions.push_back(std::move(transaction));
  }

  Op NewOp() {
    Op op;
    const auto place = static_cast<uint32_t>(random_.Uniform(options_.keys));
    op.key = keys_[place];
    if (Percent(options_.read_percent)) return op;
    op.kind = is_register_[op.key] ? OpKind::kWrite : OpKind::kAppend;
    op.value = ++writes_[op.key];
    if (writes_[op.key] >= options_.writes_per_key) NewKey(place);
    return op;
  }

  void PlanMoments(uint64_t from, uint64_t to) {
    const size_t transaction = history_.transactions.size();
    const auto moment = [&] { return from + random_.Uniform(to - from + 1); };
    const auto add = [&](uint64_t at, size_t op) {
      moments_.emplace_back(at, random_.Next(), transaction, op);
    };
    const uint64_t a = moment();
    const uint64_t b = moment();
    switch (options_.kind) {
      case StoreKind::kStrict:
        return add(a, kAll);
      case StoreKind::kSnapshot:
        // At one moment the reads might fall behind the writes, so these have moments of their own.
        add(2 * std::min(a, b), kReads);
        return add(2 * std::max(a, b) + 1, kWrites);
      case StoreKind::kCommitted:
        for (size_t i = 0; i < options_.ops_max; ++i) {
          add(2 * (from + random_.Uniform(a - from + 1)), i);
        }
        return add(2 * a + 1, kWrites);
    }
  }

  void Happen(size_t index, size_t what) {
    Transaction& transaction = history_.transactions[index];
    if (what == kAll || what == kReads) {
      for (size_t i = 0; i < transaction.ops.size(); ++i) DoRead(index, i);
    } else if (what < transaction.ops.size()) {
      DoRead(index, what);
    }
    if (what == kAll || what == kWrites) DoWrites(index);
  }

  void DoRead(size_t index, size_t op_index) {
    Transaction& transaction = history_.transactions[index];
    Op& op = transaction.ops[op_index];
    Plan& plan = plans_[index];
    plan.snapshot.emplace(op.key, stored_[op.key].values.size());
    if (op.kind != OpKind::kRead || transaction.outcome == Outcome::kUnknown) return;
    if (transaction.outcome == Outcome::kAborted && !Percent(options_.told_percent)) return;
    std::vector<int64_t> values = stored_[op.key].values;
    for (size_t i = 0; i < op_index; ++i) {
      const Op& own = transaction.ops[i];
      if (own.key != op.key || own.kind == OpKind::kRead) continue;
      // It could not tell where its own writes will go, behind those of others.
      if (options_.kind == StoreKind::kCommitted) return;
      values.push_back(own.value);
    }
    if (!is_register_[op.key]) {
      op.seen = Seen::kList;
      op.list = std::move(values);
    } else if (values.empty()) {
      op.seen = transaction.outcome == Outcome::kCommitted ? Seen::kAbsent : Seen::kUntold;
    } else {
      op.seen = Seen::kValue;
      op.value = values.back();
    }
  }

  void DoWrites(size_t index) {
    Transaction& transaction = history_.transactions[index];
    const Plan& plan = plans_[index];
    if (!plan.happens || transaction.outcome == Outcome::kAborted) return;
    if (options_.kind == StoreKind::kSnapshot) {
      for (const Op& op : transaction.ops) {
        if (op.kind == OpKind::kRead) continue;
        if (plan.snapshot.at(op.key) == stored_[op.key].values.size()) continue;
        // Somebody else was first. Not all get to know.
        if (transaction.outcome == Outcome::kCommitted) transaction.outcome = Outcome::kAborted;
        for (Op& read : transaction.ops) {
          if (read.seen == Seen::kAbsent) read.seen = Seen::kUntold;
        }
        return;
      }
    }
    for (const Op& op : transaction.ops) {
      if (op.kind != OpKind::kRead) stored_[op.key].values.push_back(op.value);
    }
  }

  const SimulatedHistory options_;
  Random random_;
  History history_;
  std::vector<Plan> plans_;
  std::vector<std::tuple<uint64_t, uint64_t, size_t, size_t>> moments_;  // When, a tie's end, what.
  std::vector<int64_t> process_at_;
  std::vector<uint32_t> keys_;     // In use.
  std::vector<bool> is_register_;  // Of each key.
  std::vector<Stored> stored_;
  std::vector<uint32_t> writes_;  // Planned so far, of each key.
};

// One after the other, by the words of history.h and by nothing else.
class Trial {
 public:
  Trial(const History& history, Level level)
      : history_(history), level_(level), is_done_(history.transactions.size()) {}

  bool Run() { return Try(std::vector<std::vector<int64_t>>(history_.keys.size())); }

 private:
  bool IsAborted(size_t i) const { return history_.transactions[i].outcome == Outcome::kAborted; }
  bool Must(size_t i) const {
    return history_.transactions[i].outcome == Outcome::kCommitted ||
           (IsAborted(i) && level_ == Level::kOpaque);
  }

  bool Try(const std::vector<std::vector<int64_t>>& store) {
    bool all_done = true;
    for (size_t i = 0; i < is_done_.size(); ++i) all_done &= is_done_[i] || !Must(i);
    if (all_done) return true;
    for (size_t i = 0; i < is_done_.size(); ++i) {
      if (is_done_[i] || !MayComeNow(i)) continue;
      std::vector<std::vector<int64_t>> after = store;
      if (!Apply(history_.transactions[i], &after)) continue;
      is_done_[i] = true;
      if (Try(IsAborted(i) ? store : after)) return true;
      is_done_[i] = false;
    }
    return false;
  }

  bool MayComeNow(size_t index) const {
    const Transaction& transaction = history_.transactions[index];
    if (IsAborted(index) && !Must(index)) return false;
    for (size_t i = 0; level_ >= Level::kStrictSerializable && i < is_done_.size(); ++i) {
      const Transaction& other = history_.transactions[i];
      if (!is_done_[i] && Must(i) && other.returned_at < transaction.invoked_at) return false;
      // One of unknown outcome that comes early must not be one that was invoked late.
      if (is_done_[i] && Must(index) && transaction.returned_at < other.invoked_at) return false;
    }
    return true;
  }

  static bool Apply(const Transaction& transaction, std::vector<std::vector<int64_t>>* store) {
    for (const Op& op : transaction.ops) {
      std::vector<int64_t>& values = (*store)[op.key];
      if (op.kind != OpKind::kRead) {
        values.push_back(op.value);
        continue;
      }
      if (op.seen == Seen::kAbsent && !values.empty()) return false;
      if (op.seen == Seen::kList && op.list != values) return false;
      if (op.seen == Seen::kValue && (values.empty() || values.back() != op.value)) return false;
    }
    return true;
  }

  const History& history_;
  const Level level_;
  std::vector<bool> is_done_;
};

}  // namespace

History HistoryOf(const std::vector<Told>& told) {
  std::vector<std::pair<int, std::string>> events;
  for (size_t i = 0; i < told.size(); ++i) {
    const Told& one = told[i];
    const int number = static_cast<int>(i);
    const int invoked_at = one.invoked_at == kAuto ? 100 + number : one.invoked_at;
    const int returned_at = one.returned_at == kAuto ? 1000 + number : one.returned_at;
    const std::string rest =
        absl::StrCat(", :f :txn, :process ", one.process == kAuto ? 100 + number : one.process,
                     ", :value ", one.ops, "}");
    const char* type = one.outcome == Outcome::kCommitted ? ":ok"
                       : one.outcome == Outcome::kAborted ? ":fail"
                                                          : ":info";
    events.emplace_back(invoked_at, absl::StrCat("{:index ", invoked_at, ", :type :invoke", rest));
    events.emplace_back(returned_at, absl::StrCat("{:index ", returned_at, ", :type ", type, rest));
  }
  std::sort(events.begin(), events.end());
  std::string text;
  for (const auto& [place, event] : events) absl::StrAppend(&text, event, "\n");
  absl::StatusOr<History> history = ParseHistory(text);
  CHECK(history.ok()) << history.status() << "\n" << text;
  return *std::move(history);
}

std::vector<std::string> NamesOf(const Report& report) {
  std::vector<std::string> names;
  for (const Finding& finding : report.findings) names.push_back(NameOf(finding));
  return names;
}

History Simulate(const SimulatedHistory& options, uint64_t seed) {
  return Simulation(options, seed).Run();
}

bool IsKeptByTrial(const History& history, Level level) { return Trial(history, level).Run(); }

}  // namespace acre::isolation
