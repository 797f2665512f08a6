#include "client/isolation/cycles.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace acre::isolation {
namespace {

constexpr EdgeKinds kProcess = Set(EdgeKind::kProcess);
constexpr EdgeKinds kWw = Set(EdgeKind::kWw) | Set(EdgeKind::kTimeWw);
constexpr EdgeKinds kWr = Set(EdgeKind::kWr);
constexpr EdgeKinds kRw = Set(EdgeKind::kRw) | Set(EdgeKind::kTimeRw);
constexpr EdgeKinds kData = Set(EdgeKind::kWw) | kWr | Set(EdgeKind::kRw);
constexpr EdgeKinds kAll = kWw | kWr | kRw | kProcess;

// Nodes between transactions vanish: an edge that led to them leads on.
std::vector<Step> WithoutPasses(const std::vector<Step>& steps) {
  std::vector<Step> kept;
  for (const Step& step : steps) {
    if (step.edge.kind == EdgeKind::kPass) {
      kept.back().edge.to = step.edge.to;
    } else {
      kept.push_back(step);
    }
  }
  return kept;
}

size_t CountRw(const std::vector<Step>& steps) {
  return static_cast<size_t>(std::count_if(steps.begin(), steps.end(),
                                           [](const Step& step) { return IsRw(step.edge.kind); }));
}

bool HasRwInARow(const std::vector<Step>& steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (IsRw(steps[i].edge.kind) && IsRw(steps[(i + 1) % steps.size()].edge.kind)) return true;
  }
  return false;
}

// Cuts a closed walk down to one that meets no transaction twice. Of the two walks between the meetings one has
// no two anti-dependencies in a row, if the whole had none: only one of them can join two where it is closed.
std::vector<Step> Simple(std::vector<Step> steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    for (size_t j = i + 1; j < steps.size(); ++j) {
      if (steps[i].from != steps[j].from) continue;
      const auto begin = steps.begin();
      std::vector<Step> inner(begin + static_cast<ptrdiff_t>(i), begin + static_cast<ptrdiff_t>(j));
      std::vector<Step> outer = steps;
      outer.erase(outer.begin() + static_cast<ptrdiff_t>(i),
                  outer.begin() + static_cast<ptrdiff_t>(j));
      return Simple(HasRwInARow(inner) && !HasRwInARow(outer) ? std::move(outer)
                                                              : std::move(inner));
    }
  }
  return steps;
}

Cycle Classified(std::vector<Step> steps) {
  Cycle cycle;
  cycle.steps = std::move(steps);
  const size_t rw_count = CountRw(cycle.steps);
  bool has_wr = false;
  for (const Step& step : cycle.steps) {
    const EdgeKind kind = step.edge.kind;
    has_wr |= kind == EdgeKind::kWr;
    if (kind == EdgeKind::kProcess) cycle.time = std::max(cycle.time, Time::kProcess);
    if (kind == EdgeKind::kRealTime || kind == EdgeKind::kTimeWw || kind == EdgeKind::kTimeRw) {
      cycle.time = Time::kRealTime;
    }
  }
  if (rw_count == 0) {
    cycle.anomaly = has_wr ? Anomaly::kCircularFlow : Anomaly::kDirtyWrite;
  } else if (rw_count == 1) {
    cycle.anomaly = Anomaly::kSingle;
  } else {
    cycle.anomaly = HasRwInARow(cycle.steps) ? Anomaly::kItem : Anomaly::kNonadjacent;
  }
  return cycle;
}

class CycleFinder {
 public:
  CycleFinder(const History& history, const DependencyGraph& graph, uint64_t work_max,
              uint64_t* work)
      : history_(history), graph_(graph), work_max_(work_max), work_(work), search_(graph, work) {}

  std::vector<Cycle> Run() {
    const Rule all{kAll, RwRule::kAny};
    const Parts parts = PartsOf(graph_, all);
    const bool is_against_time = !StartsAgainstTime(all, parts, FirstReturns(all, parts)).empty();
    if (parts.CyclicCount() == 0 && !is_against_time) return {};
    if (!FindInParts(kData)) {
      FindInParts(kData | kProcess);
      FindInParts(kAll);
      if (is_against_time) FindAgainstTime();
    }
    return std::move(cycles_);
  }

 private:
  // A walk that a cycle may begin with.
  struct Start {
    Step first;
    uint32_t state = 0;  // Behind it.
  };

  // Cycles of edges of these kinds. Returns whether there are any.
  bool FindInParts(EdgeKinds kinds) {
    const Rule any{kinds, RwRule::kAny};
    const Parts parts = PartsOf(graph_, any);
    if (parts.CyclicCount() == 0) return false;
    FindThrough({kinds & (kWw | kProcess), RwRule::kAny}, kinds & (kWw | kProcess));
    FindThrough({kinds & (kWw | kWr | kProcess), RwRule::kAny}, kWr);
    // That one anti-dependency suffices is not seen by parts, and without it nobody's verdict changes: those of
    // which no two are in a row are.
    if (!FindSingle({kinds, RwRule::kOnce}, parts))
      FindThrough({kinds, RwRule::kApart}, kinds & kRw);
    FindThrough(any, kinds & kRw);
    return true;
  }

  // The shortest of the cycles by `rule` through an edge of `first_kinds`.
  void FindThrough(const Rule& rule, EdgeKinds first_kinds) {
    const Parts parts = PartsOf(graph_, rule);
    if (parts.CyclicCount() == 0) return;
    std::vector<Start> starts;
    for (uint32_t node = 0; node < graph_.nodes(); ++node) {
      const uint32_t state = rule.State(node, 0);
      if (parts.SizeOf(parts.part_of[state]) == 1) continue;
      for (const Edge& edge : graph_.From(node)) {
        if ((Set(edge.kind) & first_kinds) == 0) continue;
        const uint32_t to = rule.Next(state, edge);
        if (parts.part_of[to] == parts.part_of[state]) starts.push_back({{node, edge}, to});
      }
    }
    const auto search = [&](const Start& start, size_t steps_max) {
      const uint32_t end = rule.State(start.first.from, 0);
      return search_.Shortest(
          rule, start.state, steps_max,
          [&](uint32_t state) { return parts.part_of[state] == parts.part_of[end]; },
          [end](uint32_t state) { return state == end; });
    };
    Keep(ShortestOf(starts, search, /*must_be=*/true));
  }

  // A cycle with one anti-dependency, within the given parts. False: none was found.
  bool FindSingle(const Rule& rule, const Parts& parts) {
    std::vector<Start> starts;
    for (uint32_t node = 0; node < graph_.nodes(); ++node) {
      if (parts.SizeOf(parts.part_of[node]) == 1) continue;
      for (const Edge& edge : graph_.From(node)) {
        if (!IsRw(edge.kind) || (Set(edge.kind) & rule.kinds) == 0) continue;
        if (parts.part_of[edge.to] != parts.part_of[node]) continue;
        starts.push_back({{node, edge}, rule.State(edge.to, 1)});
      }
    }
    const auto search = [&](const Start& start, size_t steps_max) {
      const uint32_t end = start.first.from;
      return search_.Shortest(
          rule, start.state, steps_max,
          [&](uint32_t state) { return parts.part_of[rule.NodeOf(state)] == parts.part_of[end]; },
          [&](uint32_t state) { return rule.NodeOf(state) == end; });
    };
    const std::vector<Step> cycle = ShortestOf(starts, search, /*must_be=*/false);
    Keep(cycle);
    return !cycle.empty();
  }

  // By walks of up to 1, 2, 4, ... steps, since the shortest is mostly short. Empty: there is none, or (unless one
  // must be there) the work was too much.
  template <typename Search>
  std::vector<Step> ShortestOf(const std::vector<Start>& starts, const Search& search,
                               bool must_be) {
    const uint64_t work_end = *work_ + work_max_;
    std::vector<Step> best;
    size_t best_count = std::numeric_limits<size_t>::max();  // Of the steps behind the first.
    for (size_t steps_max = 1; best.empty(); steps_max *= 2) {
      for (const Start& start : starts) {
        if (*work_ > work_end && !(must_be && best.empty() && steps_max > graph_.nodes())) break;
        const auto rest = search(start, std::min(steps_max, best_count - 1));
        if (!rest.has_value()) continue;
        best.assign(1, start.first);
        best.insert(best.end(), rest->begin(), rest->end());
        best = WithoutPasses(best);
        best_count = best.size() - 1;
        if (best_count <= 1) return best;
      }
      if (steps_max > graph_.nodes()) break;
      if (*work_ > work_end && best.empty()) {
        if (!must_be) break;
        steps_max = graph_.nodes();  // Any will do: the next round finds one.
      }
    }
    return best;
  }

  void Keep(const std::vector<Step>& steps) {
    if (steps.empty()) return;
    Cycle cycle = Classified(Simple(steps));
    const bool is_known = std::any_of(cycles_.begin(), cycles_.end(), [&](const Cycle& known) {
      return known.anomaly == cycle.anomaly && known.time == cycle.time;
    });
    if (!is_known) cycles_.push_back(std::move(cycle));
  }

  // See "Real time without edges" in docs/isolation.md.
  void FindAgainstTime() {
    for (const Rule& rule :
         {Rule{kWw | kProcess, RwRule::kAny}, Rule{kWw | kWr | kProcess, RwRule::kAny},
          Rule{kAll, RwRule::kOnce}, Rule{kAll, RwRule::kApart}, Rule{kAll, RwRule::kAny}}) {
      FindAgainstTime(rule);
    }
  }

  // The shortest walk by `rule` from a transaction to one that had returned before the first was invoked.
  void FindAgainstTime(const Rule& rule) {
    const Parts parts = PartsOf(graph_, rule);
    const std::vector<uint64_t> first_return = FirstReturns(rule, parts);
    const std::vector<Start> starts = StartsAgainstTime(rule, parts, first_return);
    if (starts.empty()) return;
    // Those within a process have been found before.
    const bool is_across = std::any_of(cycles_.begin(), cycles_.end(), [](const Cycle& cycle) {
      return cycle.time == Time::kProcess;
    });
    const auto search = [&](const Start& start, size_t steps_max) {
      const Transaction& first = history_.transactions[start.first.from];
      return search_.Shortest(
          rule, start.state, steps_max,
          [&](uint32_t state) { return first_return[parts.part_of[state]] < first.invoked_at; },
          [&](uint32_t state) {
            const uint32_t node = rule.NodeOf(state);
            return ReturnOf(node) < first.invoked_at &&
                   !(is_across && history_.transactions[node].process == first.process);
          });
    };
    std::vector<Step> steps = ShortestOf(starts, search, /*must_be=*/!is_across);
    if (steps.empty()) return;
    // Its first step stood in for the last: back to the beginning, through time.
    Step back = steps.front();
    steps.erase(steps.begin());
    back.from = steps.back().edge.to;
    steps.push_back(back);
    Keep(steps);
  }

  std::vector<Start> StartsAgainstTime(const Rule& rule, const Parts& parts,
                                       const std::vector<uint64_t>& first_return) const {
    std::vector<Start> starts;
    for (uint32_t i = 0; i < graph_.transactions(); ++i) {
      const uint32_t state = rule.State(i, 0);
      if (first_return[parts.part_of[state]] >= history_.transactions[i].invoked_at) continue;
      Edge stand_in;
      stand_in.to = i;
      stand_in.kind = EdgeKind::kRealTime;
      starts.push_back({{i, stand_in}, state});
    }
    return starts;
  }

  uint64_t ReturnOf(uint32_t node) const {
    if (!graph_.IsTransaction(node)) return kNever;
    const Transaction& transaction = history_.transactions[node];
    return transaction.outcome == Outcome::kUnknown ? kNever : transaction.returned_at;
  }

  // Of each part: the first return of a transaction that is in it or that a walk from it leads to.
  std::vector<uint64_t> FirstReturns(const Rule& rule, const Parts& parts) const {
    std::vector<uint64_t> first(parts.count(), kNever);
    for (uint32_t part = 0; part < parts.count(); ++part) {
      for (size_t i = parts.begins[part]; i < parts.begins[part + 1]; ++i) {
        const uint32_t state = parts.states[i];
        const uint32_t node = rule.NodeOf(state);
        first[part] = std::min(first[part], ReturnOf(node));
        for (const Edge& edge : graph_.From(node)) {
          const uint32_t to = rule.Next(state, edge);
          if (to == Rule::kNoState) continue;
          first[part] = std::min(first[part], first[parts.part_of[to]]);
        }
      }
    }
    return first;
  }

  const History& history_;
  const DependencyGraph& graph_;
  const uint64_t work_max_;
  uint64_t* const work_;
  WalkSearch search_;
  std::vector<Cycle> cycles_;
};

}  // namespace

std::vector<Cycle> FindCycles(const History& history, const DependencyGraph& graph,
                              uint64_t work_max, uint64_t* work) {
  return CycleFinder(history, graph, work_max, work).Run();
}

}  // namespace acre::isolation
