#include "tests/checkers/linearizability.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tests/checkers/counter_example.h"
#include "tests/checkers/zones.h"

namespace acre::checkers {
namespace {

// Moments are even, and a cut lies between its own and the next.
uint64_t Moment(uint64_t at) { return std::min(at, kNever / 2 - 1) * 2; }

// Numbers the values of one key that somebody saw.
class Values {
 public:
  explicit Values(const KeyHistory& history) {
    for (size_t i = 0; i < history.operations.size(); ++i) {
      const Operation& operation = history.operations[i];
      if (operation.kind != OperationKind::kGet || operation.outcome != Outcome::kOk) continue;
      if (history.IsLeftOut(i) || !operation.value.has_value()) continue;
      numbers_.emplace(*operation.value, Next());
    }
  }
  int32_t NumberOf(const std::string& value) const {
    const auto number = numbers_.find(value);
    return number == numbers_.end() ? kUnseenValue : number->second;
  }
  size_t count() const { return numbers_.size() + kUnseenValue + 1; }

 private:
  int32_t Next() const { return static_cast<int32_t>(count()); }
  absl::flat_hash_map<absl::string_view, int32_t> numbers_;
};

class StepsBuilder {
 public:
  explicit StepsBuilder(const KeyHistory& history)
      : history_(history), cuts_(history.cuts), values_(history) {
    std::sort(cuts_.begin(), cuts_.end());
    for (size_t i = 0; i < history_.operations.size(); ++i) {
      const Operation& operation = history_.operations[i];
      needs_present_ |= operation.outcome == Outcome::kOk && operation.found.value_or(false) &&
                        !history_.IsLeftOut(i);
    }
  }

  std::vector<Step> Build() {
    for (size_t i = 0; i < history_.operations.size(); ++i) Add(history_.operations[i], i);
    for (size_t i = 0; i < history_.cuts.size(); ++i) {
      Step step;
      step.from = step.to = Moment(history_.cuts[i]) + 1;
      step.writes = kAbsent;
      step.source = history_.operations.size() + i;
      steps_.push_back(step);
    }
    Tighten();
    return std::move(steps_);
  }

 private:
  void Add(const Operation& operation, size_t source) {
    if (operation.outcome == Outcome::kFailed) return;
    const bool is_unknown = operation.outcome == Outcome::kUnknown;
    Step step;
    step.from = Moment(operation.invoked_at);
    step.to = is_unknown ? kNever : Moment(operation.returned_at);
    step.optional = is_unknown || history_.IsLeftOut(source);
    step.source = source;
    switch (operation.kind) {
      case OperationKind::kGet:
        if (step.optional) return;
        step.needs = operation.value.has_value() ? values_.NumberOf(*operation.value) : kAbsent;
        break;
      case OperationKind::kPut:
        step.writes = values_.NumberOf(operation.value.value_or(""));
        // It may as well never have happened.
        if (step.optional && step.writes == kUnseenValue && !needs_present_) return;
        break;
      case OperationKind::kDelete:
        if (!is_unknown && operation.found == false) {
          if (step.optional) return;
          step.needs = kAbsent;
          break;
        }
        if (!step.optional && operation.found == true) step.needs = kPresent;
        step.writes = kAbsent;
        break;
    }
    if (step.writes != kNothing) EndAtCut(operation, &step);
    steps_.push_back(step);
  }

  // What was under way when its home died took effect before, or never does. (At the very moment of the
  // cut, it may have begun before or after.)
  void EndAtCut(const Operation& operation, Step* step) const {
    const auto cut = std::upper_bound(cuts_.begin(), cuts_.end(), BoundSince(operation));
    if (cut != cuts_.end()) step->to = std::min(step->to, Moment(*cut));
  }

  // A value that is written once was written before anybody saw it, and nobody saw it earlier: so its
  // write ends no later than they do, and must have happened.
  void Tighten() {
    struct Cluster {
      size_t writes = 0;
      size_t write = 0;
      uint64_t first_to = kNever;
      bool is_seen = false;
    };
    std::vector<Cluster> clusters(values_.count());
    for (size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = steps_[i];
      if (step.writes > kUnseenValue) {
        Cluster& cluster = clusters[static_cast<size_t>(step.writes)];
        ++cluster.writes;
        cluster.write = i;
      }
      if (step.needs > kUnseenValue) {
        Cluster& cluster = clusters[static_cast<size_t>(step.needs)];
        cluster.is_seen = true;
        cluster.first_to = std::min(cluster.first_to, step.to);
      }
    }
    for (const Cluster& cluster : clusters) {
      if (cluster.writes != 1 || !cluster.is_seen) continue;
      Step& write = steps_[cluster.write];
      write.optional = false;
      write.to = std::min(write.to, cluster.first_to);
    }
    for (Step& step : steps_) {
      if (step.needs <= kUnseenValue) continue;
      const Cluster& cluster = clusters[static_cast<size_t>(step.needs)];
      if (cluster.writes == 1) step.from = std::max(step.from, steps_[cluster.write].from);
    }
  }

  const KeyHistory& history_;
  std::vector<uint64_t> cuts_;
  const Values values_;
  bool needs_present_ = false;
  std::vector<Step> steps_;
};

// The operations of each key at each home.
using Keys = absl::flat_hash_map<std::pair<uint32_t, absl::string_view>, std::vector<size_t>>;

KeyHistory HistoryOf(const History& history, uint32_t home, absl::Span<const size_t> indices) {
  KeyHistory key_history;
  key_history.operations.reserve(indices.size());
  for (const size_t i : indices) key_history.operations.push_back(history.operations[i]);
  for (const Cut& cut : history.cuts) {
    if (cut.home == home) key_history.cuts.push_back(cut.at);
  }
  return key_history;
}

}  // namespace

std::vector<Step> StepsOf(const KeyHistory& history) { return StepsBuilder(history).Build(); }

Verdict Judge(const KeyHistory& history, uint64_t work_max, uint64_t* work) {
  const std::vector<Step> steps = StepsOf(history);
  if (AreImpossibleByZones(steps)) return Verdict::kViolation;
  StepSearch search(steps);
  const Verdict verdict = search.Run(work_max);
  *work += search.work();
  return verdict;
}

CheckResult CheckLinearizability(const History& history, const CheckOptions& options) {
  Keys keys;
  std::vector<Keys::key_type> order;  // Of their first operations: the same history, the same text.
  for (size_t i = 0; i < history.operations.size(); ++i) {
    const Operation& operation = history.operations[i];
    std::vector<size_t>& indices = keys[{operation.home, operation.key}];
    if (indices.empty()) order.emplace_back(operation.home, operation.key);
    indices.push_back(i);
  }
  CheckResult result;
  result.keys = order.size();
  result.operations = history.operations.size();
  for (const auto& [home, key] : order) {
    const KeyHistory key_history = HistoryOf(history, home, keys[{home, key}]);
    const Verdict verdict = Judge(key_history, options.work_max_per_key, &result.work);
    if (verdict == Verdict::kTooHard) result.keys_too_hard.push_back(std::string(key));
    if (verdict != Verdict::kViolation) continue;
    if (++result.keys_violated > options.violations_max) continue;
    Violation violation;
    violation.home = home;
    violation.key = std::string(key);
    violation.example = SmallestExample(key_history, options.work_max_per_key);
    violation.text = Explain(violation.example);
    result.violations.push_back(std::move(violation));
  }
  if (!result.keys_too_hard.empty()) result.verdict = Verdict::kTooHard;
  if (result.keys_violated != 0) result.verdict = Verdict::kViolation;
  return result;
}

std::string ToText(const CheckResult& result) {
  std::string text;
  for (const Violation& violation : result.violations) absl::StrAppend(&text, violation.text, "\n");
  if (result.keys_violated > result.violations.size()) {
    absl::StrAppend(&text, "and ", result.keys_violated - result.violations.size(),
                    " more keys are not linearizable\n");
  }
  for (const std::string& key : result.keys_too_hard) {
    absl::StrAppend(&text, "too hard, undecided: key \"", absl::CHexEscape(key), "\"\n");
  }
  return text;
}

}  // namespace acre::checkers
