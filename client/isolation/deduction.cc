#include "client/isolation/deduction.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace acre::isolation {

Deduction::Deduction(const History& history, const WriteTable& writes, bool with_uncommitted)
    : history_(history),
      writes_(writes),
      with_uncommitted_(with_uncommitted),
      graph_(history.transactions.size()),
      standings_(history.transactions.size(), Standing::kOut),
      witnesses_(history.keys.size()) {}

void Deduction::Run() {
  DecideStandings();
  ScanReads();
  DeduceLists();
  DeduceRegisters();
  AddProcessEdges();
  graph_.Finish();
}

void Deduction::Found(Anomaly anomaly, uint32_t culprit, std::vector<size_t> others,
                      absl::FunctionRef<std::string()> text) {
  if (with_uncommitted_ && IsCommitted(culprit)) return;
  Finding& finding = findings_[anomaly];
  if (!finding.text.empty()) {
    ++finding.count;
    return;
  }
  finding.anomaly = anomaly;
  finding.is_of_uncommitted = with_uncommitted_;
  finding.transactions = {culprit};
  for (const size_t other : others) {
    const auto& named = finding.transactions;
    if (std::find(named.begin(), named.end(), other) == named.end()) {
      finding.transactions.push_back(other);
    }
  }
  finding.text = text();
}

std::string Deduction::Name(uint32_t transaction) const {
  return absl::StrCat("T", history_.transactions[transaction].invoked_at);
}

std::string Deduction::Shown(uint32_t transaction, uint32_t op) const {
  constexpr size_t kElementsShown = 8;
  return ToText(history_, history_.transactions[transaction].ops[op], kElementsShown);
}

void Deduction::DecideStandings() {
  for (size_t i = 0; i < standings_.size(); ++i) {
    const Transaction& transaction = history_.transactions[i];
    if (transaction.outcome == Outcome::kCommitted) {
      standings_[i] = Standing::kCommitted;
    } else if (with_uncommitted_ &&
               std::any_of(transaction.ops.begin(), transaction.ops.end(),
                           [](const Op& op) { return op.seen != Seen::kUntold; })) {
      standings_[i] = Standing::kReader;
    }
  }
  SpreadCommitment();
}

// Whoever was seen by one that counts did commit, and then what it saw counts, too.
void Deduction::SpreadCommitment() {
  absl::flat_hash_map<std::pair<uint32_t, int64_t>, uint32_t> unsure;
  std::vector<bool> has_unsure(history_.keys.size());
  for (uint32_t i = 0; i < standings_.size(); ++i) {
    if (history_.transactions[i].outcome != Outcome::kUnknown) continue;
    for (const Op& op : history_.transactions[i].ops) {
      if (op.kind == OpKind::kRead) continue;
      unsure.emplace(std::make_pair(op.key, op.value), i);
      has_unsure[op.key] = true;
    }
  }
  if (unsure.empty()) return;
  std::vector<uint32_t> to_look_at;
  for (uint32_t i = 0; i < standings_.size(); ++i) {
    if (standings_[i] != Standing::kOut) to_look_at.push_back(i);
  }
  while (!to_look_at.empty()) {
    const uint32_t reader = to_look_at.back();
    to_look_at.pop_back();
    const auto look = [&](uint32_t key, int64_t value) {
      const auto seen = unsure.find({key, value});
      if (seen == unsure.end() || seen->second == reader || IsCommitted(seen->second)) return;
      if (standings_[seen->second] == Standing::kOut) to_look_at.push_back(seen->second);
      standings_[seen->second] = Standing::kCommitted;
    };
    for (const Op& op : history_.transactions[reader].ops) {
      if (op.kind != OpKind::kRead || !has_unsure[op.key]) continue;
      if (op.seen == Seen::kValue) look(op.key, op.value);
      for (const int64_t element : op.list) look(op.key, element);
    }
  }
}

void Deduction::AddProcessEdges() {
  std::vector<uint32_t> order(standings_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [this](uint32_t a, uint32_t b) {
    return history_.transactions[a].invoked_at < history_.transactions[b].invoked_at;
  });
  absl::flat_hash_map<int64_t, uint32_t> last_of;
  for (const uint32_t i : order) {
    if (!IsCommitted(i)) continue;
    const Transaction& transaction = history_.transactions[i];
    const auto [last, is_first] = last_of.emplace(transaction.process, i);
    const Transaction& before = history_.transactions[last->second];
    const bool is_after =
        before.outcome == Outcome::kCommitted && before.returned_at < transaction.invoked_at;
    if (!is_first && is_after) graph_.Add(last->second, i, EdgeKind::kProcess, 0);
    // One of unknown outcome may have taken effect late: nothing is known to come after it.
    if (is_first || transaction.outcome == Outcome::kCommitted) last->second = i;
  }
}

}  // namespace acre::isolation
