#include "client/verify/judge.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace acre::verify {
namespace {

using isolation::History;
using isolation::kNever;
using isolation::Op;
using isolation::OpKind;
using isolation::Outcome;
using isolation::Seen;
using isolation::Transaction;

// Above all that an epoch gets to.
constexpr uint32_t kKeysMax = 1 << 26;

absl::Status Mismatch() { return absl::DataLossError("journals go against each other"); }

void CountFailure(const Ending& ending, Counts* counts) {
  if (ending.code == absl::StatusCode::kAborted) {
    ++counts->aborts[ending.phase];
  } else {
    ++counts->errors[ending.code];
  }
}

}  // namespace

void Counts::Add(const Counts& other) {
  transactions += other.transactions;
  committed += other.committed;
  failed += other.failed;
  unknown += other.unknown;
  operations += other.operations;
  for (size_t i = 0; i < aborts.size(); ++i) aborts[i] += other.aborts[i];
  for (const auto& [code, count] : other.errors) errors[code] += count;
}

HistoryBuilder::HistoryBuilder(Epoch epoch) : epoch_(std::move(epoch)) {}

absl::Status HistoryBuilder::Add(absl::Span<const uint32_t> journal) {
  JournalReader reader(journal);
  JournalEvent event;
  while (true) {
    const absl::StatusOr<bool> is_there = reader.Next(&event);
    if (!is_there.ok()) return is_there.status();
    if (!*is_there) return absl::OkStatus();
    absl::Status status = event.is_return ? Return(event) : Invoke(event);
    if (!status.ok()) return status;
  }
}

uint32_t HistoryBuilder::NumberOf(const KeyId& key) {
  std::vector<uint32_t>& numbers = numbers_[static_cast<size_t>(key.family)];
  if (key.number >= numbers.size()) numbers.resize(key.number + 1);
  uint32_t& number = numbers[key.number];
  if (number == 0) {
    history_.keys.push_back(absl::StrCat("\"", KeyName(epoch_, key), "\""));
    number = static_cast<uint32_t>(history_.keys.size());
  }
  return number - 1;
}

absl::Status HistoryBuilder::Invoke(const JournalEvent& event) {
  const bool is_new = under_way_.emplace(event.process, history_.transactions.size()).second;
  if (!is_new) return Mismatch();
  Transaction& transaction = history_.transactions.emplace_back();
  transaction.process = event.process;
  transaction.invoked_ns = static_cast<int64_t>(event.time_ns);
  transaction.ops.reserve(event.ops.size());
  for (const PlannedOp& planned : event.ops) {
    if (planned.key.number >= kKeysMax) return Mismatch();
    Op& op = transaction.ops.emplace_back();
    op.kind = planned.kind;
    op.key = NumberOf(planned.key);
    if (op.kind != OpKind::kRead) op.value = planned.value;
  }
  ++counts_.transactions;
  counts_.operations += event.ops.size();
  return absl::OkStatus();
}

absl::Status HistoryBuilder::Return(const JournalEvent& event) {
  const auto found = under_way_.find(event.process);
  if (found == under_way_.end()) return Mismatch();
  Transaction& transaction = history_.transactions[found->second];
  under_way_.erase(found);
  if (transaction.ops.size() != event.told.size()) return Mismatch();
  transaction.outcome = event.ending.outcome;
  transaction.returned_at = 0;  // OrderByTime() gives it its place.
  transaction.returned_ns = static_cast<int64_t>(event.time_ns);
  for (size_t i = 0; i < transaction.ops.size(); ++i) {
    Op& op = transaction.ops[i];
    const Told& told = event.told[i];
    if (op.kind != OpKind::kRead) continue;
    op.seen = told.seen;
    // In the form of Elle what did not commit tells of no absent register.
    if (op.seen == Seen::kAbsent && transaction.outcome != Outcome::kCommitted) {
      op.seen = Seen::kUntold;
    }
    if (op.seen == Seen::kValue) op.value = told.numbers.front();
    if (op.seen == Seen::kList) op.list.assign(told.numbers.begin(), told.numbers.end());
  }
  switch (transaction.outcome) {
    case Outcome::kCommitted:
      ++counts_.committed;
      break;
    case Outcome::kAborted:
      ++counts_.failed;
      CountFailure(event.ending, &counts_);
      break;
    case Outcome::kUnknown:
      ++counts_.unknown;
      break;
  }
  return absl::OkStatus();
}

History HistoryBuilder::Take(uint64_t first_place) {
  counts_.unknown += under_way_.size();
  isolation::OrderByTime(&history_);
  for (Transaction& transaction : history_.transactions) {
    transaction.invoked_at += first_place;
    if (transaction.returned_at != kNever) transaction.returned_at += first_place;
  }
  return std::move(history_);
}

absl::StatusOr<std::vector<KeyId>> KeysUnderWay(absl::Span<const uint32_t> journal) {
  absl::flat_hash_map<uint32_t, std::vector<PlannedOp>> under_way;
  JournalReader reader(journal);
  JournalEvent event;
  while (true) {
    const absl::StatusOr<bool> is_there = reader.Next(&event);
    if (!is_there.ok()) return is_there.status();
    if (!*is_there) break;
    if (event.is_return) {
      under_way.erase(event.process);
    } else {
      under_way[event.process] = event.ops;
    }
  }
  std::vector<KeyId> keys;
  for (const auto& [process, ops] : under_way) {
    for (const PlannedOp& op : ops) {
      if (std::find(keys.begin(), keys.end(), op.key) == keys.end()) keys.push_back(op.key);
    }
  }
  return keys;
}

History Excerpt(const History& history, const std::vector<size_t>& transactions) {
  // What was seen, as pairs of a key and a value.
  absl::flat_hash_set<std::pair<uint32_t, int64_t>> seen;
  for (const size_t index : transactions) {
    for (const Op& op : history.transactions[index].ops) {
      if (op.seen == Seen::kValue) seen.emplace(op.key, op.value);
      for (const int64_t element : op.list) seen.emplace(op.key, element);
    }
  }
  const absl::flat_hash_set<size_t> chosen(transactions.begin(), transactions.end());
  History excerpt;
  excerpt.keys = history.keys;
  for (size_t i = 0; i < history.transactions.size(); ++i) {
    const std::vector<Op>& ops = history.transactions[i].ops;
    const bool is_seen = std::any_of(ops.begin(), ops.end(), [&seen](const Op& op) {
      return op.kind != OpKind::kRead && seen.contains(std::make_pair(op.key, op.value));
    });
    if (is_seen || chosen.contains(i)) excerpt.transactions.push_back(history.transactions[i]);
  }
  return excerpt;
}

}  // namespace acre::verify
