// Walks over a dependency graph that obey a rule on their edges: which parts are strongly connected by them, and
// the shortest of them.

#ifndef ACRE_CLIENT_ISOLATION_WALK_H_
#define ACRE_CLIENT_ISOLATION_WALK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/optional.h"
#include "client/isolation/graph.h"

namespace acre::isolation {

// How many anti-dependencies (kRw, kTimeRw) a walk may have.
enum class RwRule : uint8_t {
  kAny,
  kOnce,   // At most one.
  kApart,  // No two in a row.
};

constexpr bool IsRw(EdgeKind kind) { return kind == EdgeKind::kRw || kind == EdgeKind::kTimeRw; }

// A walk is in a state: at a node, with a bit of memory (kOnce: it has had its one; kApart: the last edge was
// one). States are numbered.
struct Rule {
  EdgeKinds kinds = 0;  // That it may take. kPass is always among them.
  RwRule rw = RwRule::kAny;

  size_t bits() const { return rw == RwRule::kAny ? 1 : 2; }
  size_t States(const DependencyGraph& graph) const { return graph.nodes() * bits(); }
  uint32_t State(size_t node, size_t bit) const {
    return static_cast<uint32_t>(node * bits() + (rw == RwRule::kAny ? 0 : bit));
  }
  uint32_t NodeOf(uint32_t state) const { return static_cast<uint32_t>(state / bits()); }
  size_t BitOf(uint32_t state) const { return state % bits(); }

  static constexpr uint32_t kNoState = ~uint32_t{0};
  // Where `edge` leads from a state; kNoState: it may not be taken there.
  uint32_t Next(uint32_t state, const Edge& edge) const {
    if (edge.kind == EdgeKind::kPass) return State(edge.to, BitOf(state));
    if ((kinds & Set(edge.kind)) == 0) return kNoState;
    const size_t bit = BitOf(state);
    if (!IsRw(edge.kind)) return State(edge.to, rw == RwRule::kOnce ? bit : 0);
    if (bit == 1) return kNoState;
    return State(edge.to, 1);
  }
};

// The strongly connected parts of the states, each before all parts that lead to it.
struct Parts {
  std::vector<uint32_t> part_of;  // Each state's.
  std::vector<uint32_t> states;   // By part.
  std::vector<size_t> begins;     // Of each part's states; one more than there are parts.

  size_t SizeOf(uint32_t part) const { return begins[part + 1] - begins[part]; }
  size_t count() const { return begins.size() - 1; }
  // Those of more than one state: there is a cycle in each.
  size_t CyclicCount() const;
};
// Tarjan 1972, without recursion: time and memory linear in states and edges.
Parts PartsOf(const DependencyGraph& graph, const Rule& rule);

struct Step {
  uint32_t from = 0;  // A node.
  Edge edge;
};

// Looks for short walks, again and again in the same graph.
class WalkSearch {
 public:
  // Both outlive it. Counts looks at edges in *work.
  WalkSearch(const DependencyGraph& graph, uint64_t* work);

  // The shortest walk from `start` by `rule` to a state that `is_end`, over states that `is_allowed` only, with at
  // most `steps_max` edges (those of kPass do not count, and are among the steps). The start itself is no end.
  absl::optional<std::vector<Step>> Shortest(const Rule& rule, uint32_t start, size_t steps_max,
                                             absl::FunctionRef<bool(uint32_t)> is_allowed,
                                             absl::FunctionRef<bool(uint32_t)> is_end);

 private:
  struct Visit {
    uint32_t search = 0;  // That came here last.
    uint32_t from = 0;    // A state.
    Edge edge;
  };

  // Follows the edges of kPass, or all others, from the states in now_. The end, if it is met.
  absl::optional<uint32_t> Advance(const Rule& rule, bool passes,
                                   absl::FunctionRef<bool(uint32_t)> is_allowed,
                                   absl::FunctionRef<bool(uint32_t)> is_end);
  std::vector<Step> PathTo(const Rule& rule, uint32_t start, uint32_t end) const;

  const DependencyGraph& graph_;
  uint64_t* const work_;
  uint32_t search_ = 0;
  std::vector<Visit> visits_;   // Of each state.
  std::vector<uint32_t> now_;   // The states that are so many steps away.
  std::vector<uint32_t> next_;  // Those that are one more away.
};

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_WALK_H_
