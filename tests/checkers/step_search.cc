#include "tests/checkers/step_search.h"

#include <algorithm>
#include <tuple>

#include "glog/logging.h"
#include "runtime/random.h"

namespace acre::checkers {
namespace {

constexpr uint64_t kNobody = ~uint64_t{0};

}  // namespace

StepSearch::StepSearch(absl::Span<const Step> steps)
    : steps_(steps), is_taken_(steps.size()), hashes_(steps.size()) {
  Random random(steps.size());
  int32_t values_max = kAbsent;
  for (const Step& step : steps_) values_max = std::max({values_max, step.needs, step.writes});
  needs_left_.resize(static_cast<size_t>(values_max) + 1);
  writes_left_.resize(needs_left_.size());
  wanted_by_.resize(needs_left_.size(), kNobody);
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    hashes_[i] = {random.Next(), random.Next()};
    if (step.needs >= 0) ++needs_left_[static_cast<size_t>(step.needs)];
    if (step.needs == kPresent) ++present_needs_;
    if (step.writes >= 0) ++writes_left_[static_cast<size_t>(step.writes)];
    if (!step.optional) {
      ++mandatory_left_;
      continue;
    }
    CHECK(step.needs == kAnything && step.writes >= 0);
    optional_.push_back(i);
  }
  std::sort(optional_.begin(), optional_.end(),
            [this](size_t a, size_t b) { return steps_[a].from < steps_[b].from; });
  LinkEvents();
}

void StepSearch::LinkEvents() {
  struct Event {
    uint64_t at;
    size_t node;
  };
  std::vector<Event> events;
  events.reserve(2 * mandatory_left_);
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].optional) continue;
    events.push_back({steps_[i].from, FromNode(i)});
    events.push_back({steps_[i].to, FromNode(i) + 1});
  }
  // At one moment intervals begin before others end: they overlap.
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return std::make_tuple(a.at, !IsFrom(a.node), a.node) <
           std::make_tuple(b.at, !IsFrom(b.node), b.node);
  });
  next_.assign(2 * steps_.size() + 1, 0);
  previous_.assign(2 * steps_.size() + 1, 0);
  size_t last = 0;
  for (const Event& event : events) {
    next_[last] = event.node;
    previous_[event.node] = last;
    last = event.node;
  }
  next_[last] = 0;
  previous_[0] = last;
}

void StepSearch::Unlink(size_t node) {
  next_[previous_[node]] = next_[node];
  previous_[next_[node]] = previous_[node];
}

void StepSearch::Relink(size_t node) {
  next_[previous_[node]] = node;
  previous_[next_[node]] = node;
}

bool StepSearch::IsSatisfied(int32_t needs) const {
  return needs == kAnything || needs == state_ || (needs == kPresent && state_ != kAbsent);
}

void StepSearch::Take(size_t index) {
  const Step& step = steps_[index];
  is_taken_[index] = true;
  taken_.push_back(index);
  hash_.first ^= hashes_[index].first;
  hash_.second ^= hashes_[index].second;
  latest_from_ = std::max(latest_from_, step.from);
  if (step.needs >= 0) --needs_left_[static_cast<size_t>(step.needs)];
  if (step.writes >= 0) {
    --writes_left_[static_cast<size_t>(step.writes)];
    state_ = step.writes;
  }
  if (step.optional) return;
  --mandatory_left_;
  Unlink(FromNode(index));
  Unlink(FromNode(index) + 1);
}

// State and latest_from_ come back with the Choice.
void StepSearch::Untake() {
  const size_t index = taken_.back();
  const Step& step = steps_[index];
  taken_.pop_back();
  is_taken_[index] = false;
  hash_.first ^= hashes_[index].first;
  hash_.second ^= hashes_[index].second;
  if (step.needs >= 0) ++needs_left_[static_cast<size_t>(step.needs)];
  if (step.writes >= 0) ++writes_left_[static_cast<size_t>(step.writes)];
  if (step.optional) return;
  ++mandatory_left_;
  Relink(FromNode(index) + 1);
  Relink(FromNode(index));
}

// Up to the first end of an interval every step may come next. A read that is taken takes its end
// away too, so one pass sees all that become possible.
void StepSearch::TakeReads() {
  size_t before = 0;
  for (size_t node = next_[0]; node != 0 && IsFrom(node); node = next_[before]) {
    ++work_;
    const Step& step = steps_[StepOf(node)];
    if (step.writes == kNothing && IsSatisfied(step.needs)) {
      Take(StepOf(node));
    } else {
      before = node;
    }
  }
}

void StepSearch::AddCandidates() {
  const size_t state = static_cast<size_t>(state_);
  // It would be lost for good. (Where people are to follow, go on till that is seen.)
  if (needs_left_[state] > 0 && writes_left_[state] == 0 && !keep_longest_) return;
  const size_t begin = candidates_.size();
  bool is_any_wanted = state_ == kAbsent && present_needs_ > 0;
  size_t node = next_[0];
  for (; node != 0 && IsFrom(node); node = next_[node]) {
    ++work_;
    const Step& step = steps_[StepOf(node)];
    if (!IsSatisfied(step.needs)) {
      if (step.needs < 0) continue;
      // Who waits for a value: the end of the interval that ends first.
      uint64_t& wanted_by = wanted_by_[static_cast<size_t>(step.needs)];
      wanted_by = std::min(wanted_by, step.to);
      is_any_wanted = true;
    } else if (step.writes != kNothing) {
      candidates_.push_back(StepOf(node));
    }
  }
  if (is_any_wanted) AddOptionalCandidates(steps_[StepOf(node)].to);
  DropDominated(begin);
  // The most urgent one first, and a value is as urgent as those who wait for it.
  const auto urgency = [this](size_t index) {
    const Step& step = steps_[index];
    return std::min(step.to, wanted_by_[static_cast<size_t>(step.writes)]);
  };
  std::sort(candidates_.begin() + static_cast<ptrdiff_t>(begin), candidates_.end(),
            [&](size_t a, size_t b) {
              return std::make_tuple(urgency(a), steps_[a].to, a) <
                     std::make_tuple(urgency(b), steps_[b].to, b);
            });
  for (node = next_[0]; node != 0 && IsFrom(node); node = next_[node]) {
    const int32_t needs = steps_[StepOf(node)].needs;
    if (needs >= 0) wanted_by_[static_cast<size_t>(needs)] = kNobody;
  }
}

// `first_to`: the end of the first interval among the mandatory steps that are not taken.
void StepSearch::AddOptionalCandidates(uint64_t first_to) {
  for (const size_t index : optional_) {
    const Step& step = steps_[index];
    if (step.from > first_to) break;
    ++work_;
    if (is_taken_[index] || step.to < latest_from_) continue;
    const bool is_wanted = wanted_by_[static_cast<size_t>(step.writes)] != kNobody;
    const bool makes_present = state_ == kAbsent && step.writes != kAbsent && present_needs_ > 0;
    if (is_wanted || makes_present) candidates_.push_back(index);
  }
}

// Of candidates with the same effect, a stands for b if its interval ends no later, and if a history
// that does without a could as well do without b.
void StepSearch::DropDominated(size_t begin) {
  const auto first = candidates_.begin() + static_cast<ptrdiff_t>(begin);
  std::sort(first, candidates_.end(), [this](size_t a, size_t b) {
    const Step& x = steps_[a];
    const Step& y = steps_[b];
    return std::make_tuple(x.writes, x.needs, x.to, x.optional, a) <
           std::make_tuple(y.writes, y.needs, y.to, y.optional, b);
  });
  auto kept = first;
  for (auto candidate = first; candidate != candidates_.end(); ++candidate) {
    const Step& step = steps_[*candidate];
    bool is_dominated = false;
    for (auto other = kept; other != first && !is_dominated;) {
      const Step& earlier = steps_[*--other];
      if (earlier.writes != step.writes || earlier.needs != step.needs) break;
      is_dominated = !earlier.optional || step.optional;
    }
    if (!is_dominated) *kept++ = *candidate;
  }
  candidates_.erase(kept, candidates_.end());
}

// Goes back to the last choice that has another candidate, and takes it. false: there is none.
bool StepSearch::NextChoice() {
  while (!choices_.empty()) {
    Choice& choice = choices_.back();
    while (taken_.size() > choice.taken_count) Untake();
    state_ = choice.state;
    latest_from_ = choice.latest_from;
    if (choice.next < choice.end) {
      Take(candidates_[choice.next++]);
      return true;
    }
    candidates_.resize(choice.begin);
    choices_.pop_back();
  }
  return false;
}

Verdict StepSearch::Run(uint64_t work_max) {
  do {
    if (work_ > work_max) return Verdict::kTooHard;
    TakeReads();
    if (keep_longest_ && (taken_.size() > longest_.size() || longest_.empty())) {
      longest_ = taken_;
    }
    if (mandatory_left_ == 0) return Verdict::kOk;
    const size_t begin = candidates_.size();
    if (seen_.insert({hash_, state_}).second) AddCandidates();
    choices_.push_back({begin, begin, candidates_.size(), taken_.size(), state_, latest_from_});
  } while (NextChoice());
  return Verdict::kViolation;
}

}  // namespace acre::checkers
