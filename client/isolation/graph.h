// DependencyGraph: what must have come before what, and why.

#ifndef ACRE_CLIENT_ISOLATION_GRAPH_H_
#define ACRE_CLIENT_ISOLATION_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace acre::isolation {

// Of an edge from a to b: why a comes before b. See "Real time without edges" in docs/isolation.md.
enum class EdgeKind : uint8_t {
  kPass,      // From or to a node between transactions: goes on as the edge that led there.
  kWw,        // b wrote over what a had written.
  kWr,        // b read what a had written.
  kRw,        // b wrote over what a had read.
  kProcess,   // a returned in its process before b was invoked.
  kTimeWw,    // As kWw, in an order of versions that is known by real time.
  kTimeRw,    // As kRw, likewise.
  kRealTime,  // a returned before b was invoked. Never in a graph, only in a cycle that is found.
};
using EdgeKinds = uint32_t;  // A set of them.
constexpr EdgeKinds Set(EdgeKind kind) { return EdgeKinds{1} << static_cast<unsigned>(kind); }

struct Edge {
  static constexpr uint32_t kKeysMax = 1u << 28;

  uint32_t to = 0;
  EdgeKind kind : 4 = EdgeKind::kPass;
  uint32_t key : 28 = 0;
};
static_assert(sizeof(Edge) == 8);

// Nodes are transactions, by their index in the history, and behind them nodes that stand for nothing and save
// edges: where each of many comes before each of many others, all meet there.
//
// Threads: one at a time. Edges are added first, then Finish(), then they are read.
class DependencyGraph {
 public:
  explicit DependencyGraph(size_t transactions)
      : transactions_(transactions), nodes_(transactions) {}

  // From a transaction to itself: there is no edge.
  void Add(uint32_t from, uint32_t to, EdgeKind kind, uint32_t key);

  struct Source {
    uint32_t transaction = 0;
    EdgeKind kind = EdgeKind::kRw;
  };
  // Each of `sources` comes before each of `targets` but itself. Targets are different from each other.
  void AddAll(absl::Span<const Source> sources, absl::Span<const uint32_t> targets, uint32_t key);

  void Finish();

  size_t transactions() const { return transactions_; }
  size_t nodes() const { return nodes_; }
  size_t edges() const { return edges_.size(); }
  bool IsTransaction(size_t node) const { return node < transactions_; }
  absl::Span<const Edge> From(size_t node) const {
    return absl::MakeConstSpan(edges_).subspan(begins_[node], begins_[node + 1] - begins_[node]);
  }

 private:
  const size_t transactions_;
  size_t nodes_;
  std::vector<std::pair<uint32_t, Edge>> added_;
  std::vector<Edge> edges_;
  std::vector<size_t> begins_;  // Of each node's edges; one more than there are nodes.
};

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_GRAPH_H_
