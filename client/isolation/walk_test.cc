// Graphs and walks, held against the plainest code that gives the same answers.

#include "client/isolation/walk.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "client/isolation/graph.h"
#include "gtest/gtest.h"
#include "runtime/random.h"

namespace acre::isolation {
namespace {

// The transactions that `node` comes before, by an edge and what lies between transactions.
std::multiset<std::pair<uint32_t, EdgeKind>> Followers(const DependencyGraph& graph,
                                                       uint32_t node) {
  std::multiset<std::pair<uint32_t, EdgeKind>> followers;
  std::vector<Edge> to_follow(graph.From(node).begin(), graph.From(node).end());
  while (!to_follow.empty()) {
    const Edge edge = to_follow.back();
    to_follow.pop_back();
    if (graph.IsTransaction(edge.to)) {
      followers.emplace(edge.to, edge.kind);
      continue;
    }
    for (Edge next : graph.From(edge.to)) {
      EXPECT_EQ(next.kind, EdgeKind::kPass);
      next.kind = edge.kind;
      to_follow.push_back(next);
    }
  }
  return followers;
}

TEST(DependencyGraphTest, ManyBeforeManyIsEachBeforeEachOther) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const uint32_t transactions = 100;
    std::vector<DependencyGraph::Source> sources;
    std::vector<uint32_t> targets;
    const uint64_t source_percent = 1 + random.Uniform(99);
    const uint64_t target_percent = 1 + random.Uniform(99);
    for (uint32_t i = 0; i < transactions; ++i) {
      const EdgeKind kind = random.Uniform(2) == 0 ? EdgeKind::kWw : EdgeKind::kRw;
      if (random.Uniform(100) < source_percent) sources.push_back({i, kind});
      if (random.Uniform(100) < target_percent) targets.push_back(i);
    }
    DependencyGraph graph(transactions);
    graph.AddAll(sources, targets, 7);
    graph.Finish();
    EXPECT_LE(graph.edges(), 64 + 6 * (sources.size() + targets.size()));
    for (const DependencyGraph::Source& source : sources) {
      std::multiset<std::pair<uint32_t, EdgeKind>> expected;
      for (const uint32_t target : targets) {
        if (target != source.transaction) expected.emplace(target, source.kind);
      }
      ASSERT_EQ(Followers(graph, source.transaction), expected) << "seed " << seed;
    }
  }
}

DependencyGraph RandomGraph(Random* random) {
  const auto nodes = static_cast<uint32_t>(2 + random->Uniform(9));
  DependencyGraph graph(nodes);
  const EdgeKind kinds[] = {EdgeKind::kPass, EdgeKind::kWw, EdgeKind::kWr, EdgeKind::kRw,
                            EdgeKind::kTimeRw};
  for (uint64_t i = random->Uniform(3 * nodes); i > 0; --i) {
    graph.Add(static_cast<uint32_t>(random->Uniform(nodes)),
              static_cast<uint32_t>(random->Uniform(nodes)), kinds[random->Uniform(5)], 0);
  }
  graph.Finish();
  return graph;
}

Rule RandomRule(Random* random) {
  Rule rule;
  rule.kinds = static_cast<EdgeKinds>(random->Uniform(256));
  rule.rw = static_cast<RwRule>(random->Uniform(3));
  return rule;
}

constexpr size_t kFar = 1'000'000;

// Of each pair of states: the steps of the shortest walk (Floyd and Warshall). From a state to itself: 0.
std::vector<std::vector<size_t>> Distances(const DependencyGraph& graph, const Rule& rule) {
  const size_t states = rule.States(graph);
  std::vector<std::vector<size_t>> steps(states, std::vector<size_t>(states, kFar));
  for (uint32_t i = 0; i < states; ++i) {
    steps[i][i] = 0;
    for (const Edge& edge : graph.From(rule.NodeOf(i))) {
      const uint32_t to = rule.Next(i, edge);
      if (to == Rule::kNoState) continue;
      steps[i][to] = std::min<size_t>(steps[i][to], edge.kind == EdgeKind::kPass ? 0 : 1);
    }
  }
  for (size_t via = 0; via < states; ++via) {
    for (size_t i = 0; i < states; ++i) {
      for (size_t j = 0; j < states; ++j) {
        steps[i][j] = std::min(steps[i][j], steps[i][via] + steps[via][j]);
      }
    }
  }
  return steps;
}

TEST(WalkTest, PartsAreWhatReachesEachOtherAndComeBeforeWhatLeadsToThem) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Random random(seed);
    const DependencyGraph graph = RandomGraph(&random);
    const Rule rule = RandomRule(&random);
    const Parts parts = PartsOf(graph, rule);
    const std::vector<std::vector<size_t>> steps = Distances(graph, rule);
    ASSERT_EQ(parts.states.size(), steps.size());
    for (size_t i = 0; i < steps.size(); ++i) {
      for (size_t j = 0; j < steps.size(); ++j) {
        const bool there = steps[i][j] < kFar;
        const bool back = steps[j][i] < kFar;
        ASSERT_EQ(parts.part_of[i] == parts.part_of[j], there && back) << "seed " << seed;
        if (there && !back) {
          ASSERT_GT(parts.part_of[i], parts.part_of[j]) << "seed " << seed;
        }
      }
    }
  }
}

TEST(WalkTest, TheShortestWalkIsFoundAndIsOne) {
  uint64_t found = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Random random(seed);
    const DependencyGraph graph = RandomGraph(&random);
    const Rule rule = RandomRule(&random);
    const std::vector<std::vector<size_t>> steps = Distances(graph, rule);
    uint64_t work = 0;
    WalkSearch search(graph, &work);
    for (int i = 0; i < 10; ++i) {
      const auto start = static_cast<uint32_t>(random.Uniform(steps.size()));
      const auto end = static_cast<uint32_t>(random.Uniform(steps.size()));
      if (start == end) continue;
      const size_t steps_max = random.Uniform(8);
      const auto walk = search.Shortest(
          rule, start, steps_max, [](uint32_t) { return true; },
          [end](uint32_t state) { return state == end; });
      ASSERT_EQ(walk.has_value(), steps[start][end] <= steps_max) << "seed " << seed;
      if (!walk.has_value()) continue;
      ++found;
      uint32_t state = start;
      size_t count = 0;
      for (const Step& step : *walk) {
        ASSERT_EQ(step.from, rule.NodeOf(state));
        state = rule.Next(state, step.edge);
        ASSERT_NE(state, Rule::kNoState);
        count += step.edge.kind == EdgeKind::kPass ? 0 : 1;
      }
      EXPECT_EQ(state, end);
      EXPECT_EQ(count, steps[start][end]) << "seed " << seed;
    }
  }
  EXPECT_GT(found, 1000u);
}

}  // namespace
}  // namespace acre::isolation
