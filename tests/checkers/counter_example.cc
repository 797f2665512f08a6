#include "tests/checkers/counter_example.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "tests/checkers/step_search.h"

namespace acre::checkers {
namespace {

constexpr uint64_t kShrinkingRuns = 20;  // Work of shrinking, in times that of one check.
constexpr size_t kValueBytesShown = 40;

bool IsOk(const Operation& operation) { return operation.outcome == Outcome::kOk; }

// It was told what the key held, and changed nothing.
bool IsRead(const Operation& operation) {
  if (operation.kind == OperationKind::kGet) return true;
  return operation.kind == OperationKind::kDelete && IsOk(operation) && operation.found == false;
}

class Shrinker {
 public:
  Shrinker(const KeyHistory& history, uint64_t work_max)
      : history_(history), work_max_(work_max), work_left_(work_max * kShrinkingRuns) {
    history_.left_out.assign(history_.operations.size(), false);
  }

  KeyHistory Shrink() {
    for (size_t i = 0; i < history_.operations.size(); ++i) {
      const Operation& operation = history_.operations[i];
      const bool says_nothing = IsRead(operation) && !IsOk(operation);
      history_.left_out[i] = operation.outcome == Outcome::kFailed || says_nothing;
    }
    LeaveOutLater();
    size_t kept_before;
    do {
      kept_before = Kept();
      LeaveOut(SingleUnits(OperationKind::kGet));
      LeaveOut(SingleUnits(OperationKind::kDelete));
      LeaveOut(ValueUnits());
    } while (Kept() < kept_before);
    return std::move(history_);
  }

 private:
  // Operations that are left out together.
  using Unit = std::vector<size_t>;

  size_t Kept() const {
    return static_cast<size_t>(
        std::count(history_.left_out.begin(), history_.left_out.end(), false));
  }

  // Leaves out these, if the others are impossible too.
  bool Accept(std::vector<bool> left_out) {
    history_.left_out.swap(left_out);
    uint64_t work = history_.operations.size();
    const Verdict verdict = Judge(history_, std::min(work_max_, work_left_), &work);
    work_left_ -= std::min(work_left_, work);
    if (verdict != Verdict::kViolation) history_.left_out.swap(left_out);
    return verdict == Verdict::kViolation;
  }

  // What was begun, or seen, after the violation was complete.
  void LeaveOutLater() {
    std::vector<uint64_t> ends;
    for (const Operation& operation : history_.operations) {
      if (IsOk(operation)) ends.push_back(operation.returned_at);
    }
    std::sort(ends.begin(), ends.end());
    size_t low = 0;  // The first end that suffices lies in [low, high].
    size_t high = ends.empty() ? 0 : ends.size() - 1;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      std::vector<bool> left_out = history_.left_out;
      for (size_t i = 0; i < left_out.size(); ++i) {
        const Operation& operation = history_.operations[i];
        const uint64_t counts_from =
            IsRead(operation) ? operation.returned_at : operation.invoked_at;
        if (counts_from > ends[middle]) left_out[i] = true;
      }
      if (Accept(std::move(left_out))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
  }

  // First many at once, at last one by one.
  void LeaveOut(std::vector<Unit> units) {
    for (size_t count = units.size(); count > 0; count /= 2) {
      for (size_t begin = 0; begin < units.size() && work_left_ > 0;) {
        const size_t end = std::min(begin + count, units.size());
        std::vector<bool> left_out = history_.left_out;
        for (size_t i = begin; i < end; ++i) {
          for (const size_t operation : units[i]) left_out[operation] = true;
        }
        if (Accept(std::move(left_out))) {
          units.erase(units.begin() + static_cast<ptrdiff_t>(begin),
                      units.begin() + static_cast<ptrdiff_t>(end));
        } else {
          begin = end;
        }
      }
    }
  }

  std::vector<Unit> SingleUnits(OperationKind kind) const {
    std::vector<Unit> units;
    for (size_t i = 0; i < history_.operations.size(); ++i) {
      if (history_.operations[i].kind == kind && !history_.left_out[i]) units.push_back({i});
    }
    return units;
  }

  // The Puts of a value go with the Gets that saw it, so that people see both.
  std::vector<Unit> ValueUnits() const {
    absl::flat_hash_map<absl::string_view, size_t> unit_of;
    std::vector<Unit> units;
    for (size_t i = 0; i < history_.operations.size(); ++i) {
      const Operation& operation = history_.operations[i];
      if (history_.left_out[i] || !operation.value.has_value()) continue;
      const auto [unit, is_new] = unit_of.emplace(*operation.value, units.size());
      if (is_new) units.emplace_back();
      units[unit->second].push_back(i);
    }
    return units;
  }

  KeyHistory history_;
  const uint64_t work_max_;
  uint64_t work_left_;
};

class Explainer {
 public:
  explicit Explainer(const KeyHistory& example)
      : example_(example), steps_(StepsOf(example)), names_(example.operations.size()) {
    StepSearch search(steps_);
    search.KeepLongest();
    (void)search.Run(CheckOptions().work_max_per_key);
    longest_ = search.longest();
    NameOperations();
  }

  std::string Text() const {
    const Operation& any = example_.operations.front();
    std::string text = absl::StrCat("key \"", absl::CHexEscape(any.key), "\" of home ", any.home,
                                    " is not linearizable: ", kept_, " of its ",
                                    example_.operations.size(), " operations cannot all be true\n");
    std::vector<uint64_t> cuts = example_.cuts;
    std::sort(cuts.begin(), cuts.end());
    auto cut =
        std::upper_bound(cuts.begin(), cuts.end(), example_.operations[shown_.front()].invoked_at);
    for (const size_t i : shown_) {
      for (; cut != cuts.end() && *cut < example_.operations[i].invoked_at; ++cut) {
        absl::StrAppend(&text, "      ", ToText(Cut{any.home, *cut}), "\n");
      }
      absl::StrAppend(&text, "  ", names_[i], "  ",
                      ToText(example_.operations[i], kValueBytesShown),
                      example_.IsLeftOut(i) ? "   (may have happened or not)" : "", "\n");
    }
    const std::string why = WhyAlone();
    return text + (why.empty() ? WhyTogether() : why);
  }

 private:
  // Those that are not left out, and those that the longest order makes use of, as they were invoked.
  void NameOperations() {
    std::vector<bool> is_shown(names_.size());
    for (size_t i = 0; i < names_.size(); ++i) is_shown[i] = !example_.IsLeftOut(i);
    kept_ = static_cast<size_t>(std::count(is_shown.begin(), is_shown.end(), true));
    for (const size_t step : longest_) {
      if (steps_[step].source < names_.size()) is_shown[steps_[step].source] = true;
    }
    for (size_t i = 0; i < names_.size(); ++i) {
      if (is_shown[i]) shown_.push_back(i);
    }
    std::stable_sort(shown_.begin(), shown_.end(), [this](size_t a, size_t b) {
      return example_.operations[a].invoked_at < example_.operations[b].invoked_at;
    });
    for (size_t i = 0; i < shown_.size(); ++i) names_[shown_[i]] = absl::StrCat("#", i + 1);
  }

  static std::string Shown(const absl::optional<std::string>& value) {
    if (!value.has_value()) return "absent";
    return absl::StrCat("\"", absl::CHexEscape(value->substr(0, kValueBytesShown)), "\"");
  }

  // A Get that is impossible whatever else happened, by the Puts of its value.
  std::string WhyAlone() const {
    std::string why;
    for (const size_t i : shown_) {
      const Operation& get = example_.operations[i];
      if (get.kind != OperationKind::kGet || !get.value.has_value()) continue;
      bool may_be_true = false;
      const Operation* failed = nullptr;
      const Operation* later = nullptr;
      const Operation* ended = nullptr;
      for (const Operation& put : example_.operations) {
        if (put.kind != OperationKind::kPut || put.value != get.value) continue;
        if (put.outcome == Outcome::kFailed) {
          failed = &put;
        } else if (put.invoked_at > get.returned_at) {
          later = &put;
        } else if (CutBetween(put, get)) {
          ended = &put;
        } else {
          may_be_true = true;
        }
      }
      if (may_be_true) continue;
      absl::StrAppend(&why, "  ", names_[i], " saw ", Shown(get.value));
      if (ended != nullptr) {
        absl::StrAppend(&why, " of an incarnation that had ended before: its Put was ",
                        ToText(*ended, kValueBytesShown), "\n");
      } else if (later != nullptr) {
        absl::StrAppend(&why, " before its Put began: ", ToText(*later, kValueBytesShown), "\n");
      } else if (failed != nullptr) {
        absl::StrAppend(&why, ", but its Put failed: ", ToText(*failed, kValueBytesShown), "\n");
      } else {
        absl::StrAppend(&why, ", which nobody wrote\n");
      }
    }
    return why;
  }

  bool CutBetween(const Operation& put, const Operation& get) const {
    return std::any_of(example_.cuts.begin(), example_.cuts.end(),
                       [&](uint64_t cut) { return BoundSince(put) < cut && cut < get.invoked_at; });
  }

  // How far one can come, and why nothing can come next.
  std::string WhyTogether() const {
    std::vector<bool> is_taken(steps_.size());
    std::vector<std::string> names;
    std::string holds = "absent";
    for (const size_t i : longest_) {
      is_taken[i] = true;
      names.push_back(NameOf(steps_[i]));
      if (steps_[i].writes != kNothing) holds = Written(steps_[i]);
    }
    std::string why = absl::StrCat("  An order that obeys the times comes no further than: ",
                                   names.empty() ? "the start" : absl::StrJoin(names, " "),
                                   ". Then the key holds ", holds, ", and nothing fits next:\n");
    uint64_t first_to = kNever;
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (!is_taken[i] && !steps_[i].optional) first_to = std::min(first_to, steps_[i].to);
    }
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (is_taken[i] || steps_[i].optional || steps_[i].from > first_to) continue;
      absl::StrAppend(&why, "    ", NameOf(steps_[i]), WhyNotNext(steps_[i]), "\n");
    }
    return why;
  }

  std::string NameOf(const Step& step) const {
    return step.source < names_.size() ? names_[step.source] : "the cut";
  }

  std::string Written(const Step& step) const {
    if (step.writes == kAbsent) return "absent";
    return Shown(example_.operations[step.source].value);
  }

  std::string WhyNotNext(const Step& step) const {
    if (step.needs == kAnything) return " leads to no longer order";
    if (step.needs == kPresent) return " found a record";
    return absl::StrCat(" saw ", Shown(example_.operations[step.source].value));
  }

  const KeyHistory& example_;
  const std::vector<Step> steps_;
  std::vector<size_t> longest_;
  std::vector<std::string> names_;  // Of the operations that are shown.
  std::vector<size_t> shown_;
  size_t kept_ = 0;
};

}  // namespace

KeyHistory SmallestExample(const KeyHistory& history, uint64_t work_max) {
  return Shrinker(history, work_max).Shrink();
}

std::string Explain(const KeyHistory& example) { return Explainer(example).Text(); }

}  // namespace acre::checkers
