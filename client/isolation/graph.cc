#include "client/isolation/graph.h"

#include "absl/container/flat_hash_map.h"

namespace acre::isolation {

void DependencyGraph::Add(uint32_t from, uint32_t to, EdgeKind kind, uint32_t key) {
  if (from == to) return;
  Edge edge;
  edge.to = to;
  edge.kind = kind;
  edge.key = key & (Edge::kKeysMax - 1);
  added_.emplace_back(from, edge);
}

void DependencyGraph::AddAll(absl::Span<const Source> sources, absl::Span<const uint32_t> targets,
                             uint32_t key) {
  constexpr size_t kFew = 64;
  const size_t all = sources.size() * targets.size();
  if (all <= kFew || all <= 4 * (sources.size() + targets.size())) {
    for (const Source& source : sources) {
      for (const uint32_t target : targets) Add(source.transaction, target, source.kind, key);
    }
    return;
  }
  // Two chains of nodes along the targets: one node leads to all targets up to its own, one to all from its own
  // on. A source that is a target itself must not come before itself, so it enters both beside itself.
  const auto up_to = static_cast<uint32_t>(nodes_);
  const auto from = static_cast<uint32_t>(nodes_ + targets.size());
  nodes_ += 2 * targets.size();
  absl::flat_hash_map<uint32_t, uint32_t> place_of;
  for (uint32_t i = 0; i < targets.size(); ++i) {
    place_of.emplace(targets[i], i);
    Add(up_to + i, targets[i], EdgeKind::kPass, key);
    Add(from + i, targets[i], EdgeKind::kPass, key);
    if (i == 0) continue;
    Add(up_to + i, up_to + i - 1, EdgeKind::kPass, key);
    Add(from + i - 1, from + i, EdgeKind::kPass, key);
  }
  const auto last = static_cast<uint32_t>(targets.size() - 1);
  for (const Source& source : sources) {
    const auto own = place_of.find(source.transaction);
    if (own == place_of.end()) {
      Add(source.transaction, up_to + last, source.kind, key);
      continue;
    }
    const uint32_t place = own->second;
    if (place > 0) Add(source.transaction, up_to + place - 1, source.kind, key);
    if (place < last) Add(source.transaction, from + place + 1, source.kind, key);
  }
}

void DependencyGraph::Finish() {
  begins_.assign(nodes_ + 1, 0);
  for (const auto& [from, edge] : added_) ++begins_[from + 1];
  for (size_t i = 0; i < nodes_; ++i) begins_[i + 1] += begins_[i];
  edges_.resize(added_.size());
  std::vector<size_t> next(begins_.begin(), begins_.end() - 1);
  for (const auto& [from, edge] : added_) edges_[next[from]++] = edge;
  added_ = {};
}

}  // namespace acre::isolation
