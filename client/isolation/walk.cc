#include "client/isolation/walk.h"

#include <algorithm>
#include <utility>

namespace acre::isolation {
namespace {

class Tarjan {
 public:
  Tarjan(const DependencyGraph& graph, const Rule& rule)
      : graph_(graph), rule_(rule), low_(rule.States(graph), kUnseen) {
    parts_.part_of.assign(low_.size(), kUnseen);
    parts_.states.reserve(low_.size());
    parts_.begins.push_back(0);
  }

  Parts Run() {
    for (uint32_t state = 0; state < low_.size(); ++state) {
      if (low_[state] != kUnseen) continue;
      Enter(state);
      while (!calls_.empty()) Continue();
    }
    return std::move(parts_);
  }

 private:
  static constexpr uint32_t kUnseen = ~uint32_t{0};
  struct Call {
    uint32_t state = 0;
    uint32_t number = 0;  // In the order of entering.
    uint32_t next_edge = 0;
  };

  void Enter(uint32_t state) {
    low_[state] = entered_;
    calls_.push_back({state, entered_++, 0});
    open_.push_back(state);
  }

  // One step of the innermost call: an edge, or its end.
  void Continue() {
    Call& call = calls_.back();
    const absl::Span<const Edge> edges = graph_.From(rule_.NodeOf(call.state));
    while (call.next_edge < edges.size()) {
      const uint32_t to = rule_.Next(call.state, edges[call.next_edge++]);
      if (to == Rule::kNoState || parts_.part_of[to] != kUnseen) continue;
      if (low_[to] == kUnseen) return Enter(to);
      low_[call.state] = std::min(low_[call.state], low_[to]);
    }
    const Call done = call;
    calls_.pop_back();
    if (!calls_.empty()) {
      uint32_t& low = low_[calls_.back().state];
      low = std::min(low, low_[done.state]);
    }
    if (low_[done.state] == done.number) Close(done.state);
  }

  void Close(uint32_t root) {
    const auto part = static_cast<uint32_t>(parts_.begins.size() - 1);
    uint32_t state = kUnseen;
    do {
      state = open_.back();
      open_.pop_back();
      parts_.part_of[state] = part;
      parts_.states.push_back(state);
    } while (state != root);
    parts_.begins.push_back(parts_.states.size());
  }

  const DependencyGraph& graph_;
  const Rule rule_;
  std::vector<uint32_t> low_;  // The earliest entered that is known to be reached and open.
  uint32_t entered_ = 0;
  std::vector<Call> calls_;
  std::vector<uint32_t> open_;  // Entered, and not yet in a part.
  Parts parts_;
};

}  // namespace

size_t Parts::CyclicCount() const {
  size_t cyclic = 0;
  for (uint32_t part = 0; part < count(); ++part) cyclic += SizeOf(part) > 1;
  return cyclic;
}

Parts PartsOf(const DependencyGraph& graph, const Rule& rule) { return Tarjan(graph, rule).Run(); }

WalkSearch::WalkSearch(const DependencyGraph& graph, uint64_t* work) : graph_(graph), work_(work) {}

absl::optional<std::vector<Step>> WalkSearch::Shortest(const Rule& rule, uint32_t start,
                                                       size_t steps_max,
                                                       absl::FunctionRef<bool(uint32_t)> is_allowed,
                                                       absl::FunctionRef<bool(uint32_t)> is_end) {
  if (visits_.size() < rule.States(graph_)) visits_.resize(rule.States(graph_));
  ++search_;
  visits_[start].search = search_;
  now_.assign(1, start);
  next_.clear();
  for (size_t steps = 0; !now_.empty(); ++steps) {
    // First all that is no further, so that nobody is taken for further than it is.
    absl::optional<uint32_t> end = Advance(rule, /*passes=*/true, is_allowed, is_end);
    if (!end.has_value() && steps < steps_max) {
      end = Advance(rule, /*passes=*/false, is_allowed, is_end);
    }
    if (end.has_value()) return PathTo(rule, start, *end);
    std::swap(now_, next_);
    next_.clear();
  }
  return absl::nullopt;
}

absl::optional<uint32_t> WalkSearch::Advance(const Rule& rule, bool passes,
                                             absl::FunctionRef<bool(uint32_t)> is_allowed,
                                             absl::FunctionRef<bool(uint32_t)> is_end) {
  for (size_t i = 0; i < now_.size(); ++i) {  // It grows on the way, if `passes`.
    const uint32_t state = now_[i];
    const absl::Span<const Edge> edges = graph_.From(rule.NodeOf(state));
    if (!passes) *work_ += edges.size();
    for (const Edge& edge : edges) {
      if ((edge.kind == EdgeKind::kPass) != passes) continue;
      const uint32_t to = rule.Next(state, edge);
      if (to == Rule::kNoState || visits_[to].search == search_ || !is_allowed(to)) continue;
      visits_[to].search = search_;
      visits_[to].from = state;
      visits_[to].edge = edge;
      if (is_end(to)) return to;
      (passes ? now_ : next_).push_back(to);
    }
  }
  return absl::nullopt;
}

std::vector<Step> WalkSearch::PathTo(const Rule& rule, uint32_t start, uint32_t end) const {
  std::vector<Step> steps;
  for (uint32_t state = end; state != start; state = visits_[state].from) {
    steps.push_back({rule.NodeOf(visits_[state].from), visits_[state].edge});
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

}  // namespace acre::isolation
