#include "client/isolation/write_table.h"

#include "absl/strings/str_cat.h"
#include "client/isolation/graph.h"

namespace acre::isolation {
namespace {

absl::Status Refusal(const Transaction& transaction, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the transaction invoked at ", transaction.invoked_at, " ", what));
}

}  // namespace

absl::Status WriteTable::Add(const History& history, uint32_t number) {
  const Transaction& transaction = history.transactions[number];
  if (transaction.returned_at == kNever && transaction.outcome != Outcome::kUnknown) {
    return Refusal(transaction, "has an outcome and never returned");
  }
  if (transaction.returned_at <= transaction.invoked_at) {
    return Refusal(transaction, "returns before it begins");
  }
  for (uint32_t i = 0; i < transaction.ops.size(); ++i) {
    const Op& op = transaction.ops[i];
    if (op.key >= history.keys.size()) return Refusal(transaction, "has a key without a name");
    const bool is_read = op.kind == OpKind::kRead;
    if (!is_read || op.seen == Seen::kValue || op.seen == Seen::kList) {
      const int8_t is_list = op.kind == OpKind::kAppend || (is_read && op.seen == Seen::kList);
      if (is_list_[op.key] == 1 - is_list) {
        return Refusal(transaction,
                       absl::StrCat("takes key ", history.keys[op.key], " for a ",
                                    is_list != 0 ? "list" : "register", ", and others do not"));
      }
      is_list_[op.key] = is_list;
    }
    if (is_read) continue;
    const auto write = static_cast<uint32_t>(writes_.size());
    if (!numbers_.emplace(std::make_pair(op.key, op.value), write).second) {
      return Refusal(transaction,
                     absl::StrCat("writes ", op.value, " to key ", history.keys[op.key],
                                  " again: a reader could not know whose write it saw"));
    }
    uint32_t& last = last_of_key_[op.key];
    Write& added = writes_.emplace_back();
    added.transaction = number;
    added.op = i;
    if (last != kNoWrite && writes_[last].transaction == number) {
      writes_[last].is_last = false;
      added.prior = last;
    }
    last = write;
  }
  return absl::OkStatus();
}

absl::StatusOr<WriteTable> WriteTable::Of(const History& history) {
  if (history.keys.size() >= Edge::kKeysMax || history.transactions.size() >= kNoWrite / 8) {
    return absl::InvalidArgumentError("the history has too many keys or transactions");
  }
  WriteTable table;
  table.is_list_.assign(history.keys.size(), -1);
  table.last_of_key_.assign(history.keys.size(), kNoWrite);
  size_t writes = 0;
  for (const Transaction& transaction : history.transactions) {
    for (const Op& op : transaction.ops) writes += op.kind != OpKind::kRead;
  }
  table.writes_.reserve(writes);
  table.numbers_.reserve(writes);
  for (uint32_t i = 0; i < history.transactions.size(); ++i) {
    const absl::Status status = table.Add(history, i);
    if (!status.ok()) return status;
  }
  table.last_of_key_ = {};
  table.begins_.assign(history.keys.size() + 1, 0);
  const auto key_of = [&](const Write& write) {
    return history.transactions[write.transaction].ops[write.op].key;
  };
  for (const Write& write : table.writes_) ++table.begins_[key_of(write) + 1];
  for (size_t i = 0; i < history.keys.size(); ++i) table.begins_[i + 1] += table.begins_[i];
  table.by_key_.resize(table.writes_.size());
  std::vector<size_t> next(table.begins_.begin(), table.begins_.end() - 1);
  for (uint32_t i = 0; i < table.writes_.size(); ++i) {
    table.by_key_[next[key_of(table.writes_[i])]++] = i;
  }
  return table;
}

}  // namespace acre::isolation
