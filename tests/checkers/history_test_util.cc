#include "tests/checkers/history_test_util.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "runtime/random.h"

namespace acre::checkers {
namespace {

class Simulation {
 public:
  Simulation(const SimulatedHistory& options, uint64_t seed) : options_(options), random_(seed) {}

  History Run() {
    std::vector<uint64_t> free_at(options_.clients);
    for (uint32_t i = 0; i < options_.operations; ++i) {
      const size_t client = random_.Uniform(options_.clients);
      Invoke(static_cast<uint32_t>(client), &free_at[client]);
    }
    const uint64_t end = *std::max_element(free_at.begin(), free_at.end());
    for (uint32_t home = 0; home < options_.homes; ++home) {
      for (uint32_t i = 0; i < options_.cuts; ++i) {
        history_.cuts.push_back({home, random_.Uniform(end + 1)});
      }
    }
    std::sort(history_.cuts.begin(), history_.cuts.end(),
              [](const Cut& a, const Cut& b) { return a.at < b.at; });
    Apply();
    return std::move(history_);
  }

 private:
  bool Percent(uint32_t percent) { return random_.Uniform(100) < percent; }

  void Invoke(uint32_t client, uint64_t* free_at) {
    Operation operation;
    operation.client = client;
    const uint64_t key = random_.Uniform(options_.keys);
    operation.key = absl::StrCat("key", key);
    operation.home = static_cast<uint32_t>(key % options_.homes);
    operation.invoked_at = *free_at + random_.Uniform(options_.duration_max);
    operation.returned_at = operation.invoked_at + random_.Uniform(options_.duration_max);
    *free_at = operation.returned_at + 1;
    const uint64_t kind = random_.Uniform(100);
    if (kind < options_.delete_percent) {
      operation.kind = OperationKind::kDelete;
    } else if (kind < options_.delete_percent + options_.put_percent) {
      operation.kind = OperationKind::kPut;
      const uint64_t value =
          options_.values == 0 ? history_.operations.size() : random_.Uniform(options_.values);
      operation.value = absl::StrCat("v", value);
    }
    operation.outcome = Outcome::kOk;
    uint64_t happens_at =
        operation.invoked_at + random_.Uniform(operation.returned_at - operation.invoked_at + 1);
    if (Percent(options_.unknown_percent)) {
      operation.outcome = Outcome::kUnknown;
      happens_at = operation.invoked_at + random_.Uniform(10 * options_.duration_max);
      if (Percent(50)) happens_at = kNever;
      if (Percent(30)) operation.returned_at = kNever;
    } else if (Percent(options_.failed_percent)) {
      operation.outcome = Outcome::kFailed;
      happens_at = kNever;
    }
    operation.crossing =
        operation.kind != OperationKind::kGet && Percent(options_.crossing_percent);
    order_.emplace_back(happens_at, random_.Next(), history_.operations.size());
    history_.operations.push_back(std::move(operation));
  }

  void Apply() {
    std::sort(order_.begin(), order_.end());
    size_t cut = 0;
    for (const auto& [happens_at, tie, index] : order_) {
      Operation& operation = history_.operations[index];
      for (; cut < history_.cuts.size() && history_.cuts[cut].at < happens_at; ++cut) {
        std::erase_if(registers_, [&](const auto& entry) {
          return entry.first.first == history_.cuts[cut].home;
        });
      }
      Happen(happens_at, &operation);
    }
  }

  void Happen(uint64_t happens_at, Operation* operation) {
    if (happens_at == kNever) return;
    const std::pair<uint32_t, std::string> name(operation->home, operation->key);
    const auto held = registers_.find(name);
    if (operation->kind == OperationKind::kGet) {
      if (operation->outcome == Outcome::kOk && held != registers_.end()) {
        operation->value = held->second;
      }
      return;
    }
    for (const Cut& cut : history_.cuts) {
      if (cut.home != operation->home || BoundSince(*operation) >= cut.at || happens_at <= cut.at) {
        continue;
      }
      // Its home died over it. A Delete that finds nothing afterwards may say so.
      operation->outcome = Outcome::kUnknown;
      return;
    }
    if (operation->kind == OperationKind::kPut) {
      registers_[name] = *operation->value;
      return;
    }
    if (operation->outcome == Outcome::kOk && !Percent(options_.unsaid_percent)) {
      operation->found = held != registers_.end();
    }
    if (held != registers_.end()) registers_.erase(held);
  }

  const SimulatedHistory options_;
  Random random_;
  History history_;
  // When each operation happens, and in which order at one moment.
  std::vector<std::tuple<uint64_t, uint64_t, size_t>> order_;
  std::map<std::pair<uint32_t, std::string>, std::string> registers_;
};

// All orders of operations and cuts, one after the other, by the words of history.h and of KeyHistory, and
// by nothing else.
class Trial {
 public:
  explicit Trial(const KeyHistory& history)
      : history_(history),
        operations_done_(history.operations.size()),
        cuts_done_(history.cuts.size()) {}

  bool Run() { return Try({}); }

 private:
  bool Try(absl::optional<std::string> held) {
    bool all_done = true;
    for (size_t i = 0; i < operations_done_.size(); ++i) {
      const Operation& operation = history_.operations[i];
      all_done &= operations_done_[i] || !Must(i);
      if (operations_done_[i] || operation.outcome == Outcome::kFailed) continue;
      if (!Must(i) && (operation.kind == OperationKind::kGet || operation.found == false)) continue;
      if (TryOperation(i, held)) return true;
    }
    for (size_t i = 0; i < cuts_done_.size(); ++i) {
      all_done &= cuts_done_[i];
      if (cuts_done_[i] || !CutMayComeNow(history_.cuts[i])) continue;
      cuts_done_[i] = true;
      if (Try({})) return true;
      cuts_done_[i] = false;
    }
    return all_done;
  }

  bool Must(size_t i) const {
    return history_.operations[i].outcome == Outcome::kOk && !history_.IsLeftOut(i);
  }

  bool CutMayComeNow(uint64_t cut) const {
    for (size_t i = 0; i < operations_done_.size(); ++i) {
      const Operation& operation = history_.operations[i];
      if (Must(i) && operation.returned_at <= cut && !operations_done_[i]) return false;
      if (operations_done_[i] && operation.invoked_at > cut) return false;
    }
    for (size_t i = 0; i < cuts_done_.size(); ++i) {
      if (!cuts_done_[i] && history_.cuts[i] < cut) return false;
    }
    return true;
  }

  bool TryOperation(size_t index, const absl::optional<std::string>& held) {
    const Operation& operation = history_.operations[index];
    for (size_t i = 0; i < operations_done_.size(); ++i) {
      const Operation& other = history_.operations[i];
      if (!operations_done_[i] && Must(i) && other.returned_at < operation.invoked_at) {
        return false;
      }
      // One with an unknown outcome that happens must not come before an earlier one; nor this one before
      // what is there already.
      if (operations_done_[i] && operation.outcome == Outcome::kOk &&
          operation.returned_at < other.invoked_at) {
        return false;
      }
    }
    const bool reads = operation.kind == OperationKind::kGet ||
                       (operation.outcome == Outcome::kOk && operation.found == false);
    for (size_t i = 0; i < cuts_done_.size(); ++i) {
      const uint64_t cut = history_.cuts[i];
      const bool is_over = operation.outcome == Outcome::kOk && operation.returned_at <= cut;
      if (cuts_done_[i] && (is_over || (!reads && BoundSince(operation) < cut))) return false;
      if (!cuts_done_[i] && operation.invoked_at > cut) return false;
    }
    absl::optional<std::string> after = held;
    switch (operation.kind) {
      case OperationKind::kGet:
        if (operation.value != held) return false;
        break;
      case OperationKind::kPut:
        after = operation.value;
        break;
      case OperationKind::kDelete:
        if (Must(index) && operation.found.has_value() && *operation.found != held.has_value()) {
          return false;
        }
        after = absl::nullopt;
        break;
    }
    operations_done_[index] = true;
    if (Try(after)) return true;
    operations_done_[index] = false;
    return false;
  }

  const KeyHistory& history_;
  std::vector<bool> operations_done_;
  std::vector<bool> cuts_done_;
};

}  // namespace

History Simulate(const SimulatedHistory& options, uint64_t seed) {
  return Simulation(options, seed).Run();
}

bool IsLinearizableByTrial(const KeyHistory& history) { return Trial(history).Run(); }

}  // namespace acre::checkers
