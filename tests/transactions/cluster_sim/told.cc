#include "tests/transactions/cluster_sim/told.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::cluster_sim {

using isolation::Op;
using isolation::OpKind;
using isolation::Outcome;
using isolation::Seen;

std::vector<int64_t> ListOf(const std::string& value) {
  std::vector<int64_t> list(value.size() / 8);
  std::memcpy(list.data(), value.data(), 8 * list.size());  // private memory
  return list;
}

std::string Appended(std::string value, int64_t element) {
  value.append(reinterpret_cast<const char*>(&element), 8);
  return value;
}

isolation::Transaction* Told::Begin(int64_t process, uint64_t now_ns) {
  isolation::Transaction& transaction = transactions_.emplace_back();
  transaction.process = process;
  transaction.invoked_at = events_++;
  transaction.invoked_ns = static_cast<int64_t>(now_ns);
  return &transaction;
}

void Told::End(isolation::Transaction* transaction, Outcome outcome, uint64_t now_ns) {
  transaction->outcome = outcome;
  const uint64_t place = events_++;
  if (outcome != Outcome::kUnknown) transaction->returned_at = place;
  transaction->returned_ns = static_cast<int64_t>(now_ns);
}

void Told::AddRead(isolation::Transaction* transaction, uint32_t key, KeyKind kind,
                   const absl::optional<std::string>& value) {
  Op op;
  op.key = key;
  if (kind == KeyKind::kList) {
    op.seen = Seen::kList;
    if (value.has_value()) op.list = ListOf(*value);
  } else if (value.has_value()) {
    op.seen = Seen::kValue;
    op.value = ListOf(*value).at(0);
  } else {
    op.seen = Seen::kAbsent;
  }
  transaction->ops.push_back(std::move(op));
}

void Told::AddWrite(isolation::Transaction* transaction, uint32_t key, KeyKind kind,
                    int64_t value) {
  Op op;
  op.kind = kind == KeyKind::kList ? OpKind::kAppend : OpKind::kWrite;
  op.key = key;
  op.value = value;
  transaction->ops.push_back(std::move(op));
}

isolation::History Told::ToHistory(const ClusterPlan& plan, const std::vector<bool>& lost) const {
  isolation::History history;
  for (const ClusterPlan::Key& key : plan.keys) {
    history.keys.push_back(absl::StrCat("\"", key.name, "\""));
  }
  for (const isolation::Transaction& told : transactions_) {
    isolation::Transaction kept = told;
    std::erase_if(kept.ops, [&](const Op& op) { return lost[plan.keys[op.key].home]; });
    if (!kept.ops.empty()) history.transactions.push_back(std::move(kept));
  }
  return history;
}

uint64_t Told::CountOf(Outcome outcome) const {
  return static_cast<uint64_t>(
      std::count_if(transactions_.begin(), transactions_.end(),
                    [outcome](const auto& told) { return told.outcome == outcome; }));
}

std::string Told::WhyTorn(const ClusterPlan& plan, const std::vector<bool>& lost,
                          const std::vector<std::vector<int64_t>>& last) const {
  for (const isolation::Transaction& told : transactions_) {
    size_t appended = 0;
    size_t found = 0;
    std::string where;
    for (const Op& op : told.ops) {
      if (op.kind != OpKind::kAppend || lost[plan.keys[op.key].home]) continue;
      const std::vector<int64_t>& list = last[op.key];
      const bool is_there = std::find(list.begin(), list.end(), op.value) != list.end();
      ++appended;
      if (is_there) ++found;
      absl::StrAppend(&where, " ", op.value, " to ", plan.keys[op.key].name,
                      is_there ? " (there)" : " (not there)");
    }
    const char* why = nullptr;
    if (told.outcome == Outcome::kCommitted && found < appended) why = "committed";
    if (told.outcome == Outcome::kAborted && found > 0) why = "aborted";
    if (told.outcome == Outcome::kUnknown && found > 0 && found < appended) why = "unknown";
    if (why == nullptr) continue;
    return absl::StrCat("a transaction told as ", why, " at ", told.returned_ns, ", begun at ",
                        told.invoked_ns, ", appended", where);
  }
  return "";
}

}  // namespace acre::cluster_sim
