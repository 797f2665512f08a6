// What each transaction saw, held against itself: its own writes and its own earlier reads.

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/isolation/deduction.h"

namespace acre::isolation {

class Deduction::InternalScan {
 public:
  explicit InternalScan(Deduction* deduction)
      : deduction_(*deduction), keys_(deduction->history_.keys.size()) {}

  void Scan(uint32_t transaction) {
    transaction_ = transaction;
    const std::vector<Op>& ops = this->ops();
    for (uint32_t i = 0; i < ops.size(); ++i) {
      KeyState& key = StateOf(ops[i].key);
      if (ops[i].kind != OpKind::kRead) {
        key.own.push_back(ops[i].value);
        key.own_op = i;
      } else if (ops[i].seen != Seen::kUntold) {
        if (deduction_.writes_.IsList(ops[i].key)) {
          ScanList(i, &key);
        } else {
          ScanRegister(i, &key);
        }
        key.last_read = i;
        key.own_at_last_read = key.own.size();
      }
    }
  }

  std::vector<std::pair<uint32_t, Read>> TakeReads() { return std::move(reads_); }

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};

  // Of one key, in the transaction that is scanned.
  struct KeyState {
    uint32_t transaction = kNone;
    uint32_t last_read = kNone;  // An op.
    uint32_t own_op = kNone;     // The last write.
    size_t own_at_last_read = 0;
    std::vector<int64_t> own;  // Written so far.
  };

  const std::vector<Op>& ops() const { return deduction_.history_.transactions[transaction_].ops; }

  KeyState& StateOf(uint32_t key) {
    KeyState& state = keys_[key];
    if (state.transaction != transaction_) {
      state.transaction = transaction_;
      state.last_read = state.own_op = kNone;
      state.own_at_last_read = 0;
      state.own.clear();
    }
    return state;
  }

  static bool EndsWith(const std::vector<int64_t>& list, absl::Span<const int64_t> end) {
    return list.size() >= end.size() &&
           absl::MakeConstSpan(list).subspan(list.size() - end.size()) == end;
  }

  void ScanList(uint32_t op, KeyState* key) {
    const std::vector<int64_t>& list = ops()[op].list;
    const absl::Span<const int64_t> since =
        absl::MakeConstSpan(key->own).subspan(key->own_at_last_read);
    const bool sees_own = EndsWith(list, key->own);
    if (key->last_read == kNone) {
      if (!sees_own) FoundOwnMissing(op, *key);
    } else {
      const std::vector<int64_t>& before = ops()[key->last_read].list;
      const bool is_as_before =
          list.size() == before.size() + since.size() && EndsWith(list, since) &&
          absl::MakeConstSpan(list).subspan(0, before.size()) == absl::MakeConstSpan(before);
      if (is_as_before && since.empty()) return;  // Nothing new is learnt.
      if (!is_as_before && !sees_own) {
        FoundOwnMissing(op, *key);
      } else if (!is_as_before) {
        FoundUnrepeatable(op, *key);
      }
    }
    Keep(op, sees_own ? static_cast<uint32_t>(key->own.size()) : 0, *key);
  }

  void ScanRegister(uint32_t op, KeyState* key) {
    const Op& read = ops()[op];
    const auto is = [&read](const Op& other) {
      return other.kind == OpKind::kRead && other.seen == Seen::kAbsent
                 ? read.seen == Seen::kAbsent
                 : read.seen == Seen::kValue && read.value == other.value;
    };
    if (key->own.size() > key->own_at_last_read) {
      if (is(ops()[key->own_op])) return;
      FoundOwnMissing(op, *key);
    } else if (key->last_read != kNone) {
      if (is(ops()[key->last_read])) return;
      if (key->own_op == kNone) {
        FoundUnrepeatable(op, *key);
      } else if (!is(ops()[key->own_op])) {
        FoundOwnMissing(op, *key);
      }
    }
    Keep(op, 0, *key);
  }

  void Keep(uint32_t op, uint32_t own_count, const KeyState& key) {
    Read read;
    read.transaction = transaction_;
    read.op = op;
    read.own_count = own_count;
    read.is_before_own = key.own.empty();
    reads_.emplace_back(ops()[op].key, read);
  }

  void FoundOwnMissing(uint32_t op, const KeyState& key) {
    deduction_.Found(Anomaly::kInternal, transaction_, {}, [&] {
      return absl::StrCat(deduction_.Name(transaction_), " did ",
                          deduction_.Shown(transaction_, key.own_op), " and then saw ",
                          deduction_.Shown(transaction_, op), ".");
    });
  }

  void FoundUnrepeatable(uint32_t op, const KeyState& key) {
    deduction_.Found(Anomaly::kUnrepeatable, transaction_, {}, [&] {
      return absl::StrCat(deduction_.Name(transaction_), " saw ",
                          deduction_.Shown(transaction_, key.last_read), " and then ",
                          deduction_.Shown(transaction_, op), ", and not by its own writes.");
    });
  }

  Deduction& deduction_;
  uint32_t transaction_ = 0;
  std::vector<KeyState> keys_;
  std::vector<std::pair<uint32_t, Read>> reads_;  // With their keys.
};

void Deduction::ScanReads() {
  InternalScan scan(this);
  for (uint32_t i = 0; i < standings_.size(); ++i) {
    if (standings_[i] != Standing::kOut) scan.Scan(i);
  }
  const std::vector<std::pair<uint32_t, Read>> reads = scan.TakeReads();
  begins_.assign(history_.keys.size() + 1, 0);
  for (const auto& [key, read] : reads) ++begins_[key + 1];
  for (size_t i = 0; i < history_.keys.size(); ++i) begins_[i + 1] += begins_[i];
  reads_.resize(reads.size());
  std::vector<size_t> next(begins_.begin(), begins_.end() - 1);
  for (const auto& [key, read] : reads) reads_[next[key]++] = read;
}

}  // namespace acre::isolation
