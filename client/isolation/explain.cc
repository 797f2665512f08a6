#include "client/isolation/explain.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

namespace acre::isolation {
namespace {

constexpr size_t kElementsShown = 8;
constexpr size_t kStepsShown = 20;  // Nobody follows more of them.

bool Has(const Op& read, int64_t value) {
  if (read.seen == Seen::kValue) return read.value == value;
  return std::find(read.list.begin(), read.list.end(), value) != read.list.end();
}

class Explainer {
 public:
  Explainer(const History& history, const Deduction& deduction)
      : history_(history), deduction_(deduction) {}

  std::string Sentence(const Step& step) {
    a_ = step.from;
    b_ = step.edge.to;
    key_ = step.edge.key;
    switch (step.edge.kind) {
      case EdgeKind::kWr:
        return Wr();
      case EdgeKind::kWw:
        return Ww();
      case EdgeKind::kRw:
        return Rw();
      case EdgeKind::kProcess:
        return absl::StrCat(Name(a_), " had returned in process ", Of(a_).process, " before ",
                            Name(b_), " was invoked there.");
      case EdgeKind::kRealTime:
        return absl::StrCat(Name(a_), " had returned (at ", Of(a_).returned_at, ") before ",
                            Name(b_), " was invoked (at ", Of(b_).invoked_at, ").");
      case EdgeKind::kTimeWw:
      case EdgeKind::kTimeRw:
        return InTime(step.edge.kind == EdgeKind::kTimeRw);
      case EdgeKind::kPass:
        break;
    }
    return "";
  }

 private:
  const Transaction& Of(size_t transaction) const { return history_.transactions[transaction]; }
  std::string Name(size_t transaction) const {
    return absl::StrCat("T", Of(transaction).invoked_at);
  }
  std::string Shown(const Op* op) const {
    return op == nullptr ? "?" : ToText(history_, *op, kElementsShown);
  }

  template <typename Predicate>
  const Op* First(size_t transaction, const Predicate& predicate) const {
    for (const Op& op : Of(transaction).ops) {
      if (op.key == key_ && predicate(op)) return &op;
    }
    return nullptr;
  }
  // The last write to the key, but those that `reader` did not see, if it is given.
  const Op* LastWrite(size_t transaction, const Op* reader = nullptr) const {
    const Op* last = nullptr;
    for (const Op& op : Of(transaction).ops) {
      if (op.key != key_ || op.kind == OpKind::kRead) continue;
      if (reader == nullptr || Has(*reader, op.value)) last = &op;
    }
    return last;
  }

  std::string Wr() const {
    const Op* read = First(b_, [this](const Op& op) {
      return op.kind == OpKind::kRead && LastWrite(a_, &op) != nullptr;
    });
    return absl::StrCat(Name(b_), " saw ", Shown(read), ", and so what ", Name(a_),
                        " did: ", Shown(read == nullptr ? nullptr : LastWrite(a_, read)), ".");
  }

  std::string Ww() const {
    const Read* witness = deduction_.WitnessOf(key_);
    const Op* seen = witness == nullptr ? nullptr : &Of(witness->transaction).ops[witness->op];
    const Op* before = LastWrite(a_, seen);
    const Op* after = First(b_, [seen](const Op& op) {
      return op.kind != OpKind::kRead && seen != nullptr && Has(*seen, op.value);
    });
    if (witness == nullptr || before == nullptr) before = LastWrite(a_);
    if (after != nullptr) {
      return absl::StrCat(Shown(after), " of ", Name(b_), " stands behind ", Shown(before), " of ",
                          Name(a_), " in what ", Name(witness->transaction), " saw: ", Shown(seen),
                          ".");
    }
    return absl::StrCat("nobody saw ", Shown(LastWrite(b_)), " of ", Name(b_),
                        ", so it came after all that was seen, ", Shown(before), " of ", Name(a_),
                        " included.");
  }

  std::string Rw() const {
    const Op* write = nullptr;
    const Op* read = First(a_, [&](const Op& op) {
      if (op.kind != OpKind::kRead || op.seen == Seen::kUntold) return false;
      write = First(b_, [&op](const Op& other) {
        return other.kind != OpKind::kRead && !Has(op, other.value);
      });
      return write != nullptr;
    });
    const bool is_list = write != nullptr && write->kind == OpKind::kAppend;
    if (is_list) {
      return absl::StrCat(Name(a_), " saw ", Shown(read), ", not yet ", Shown(write), " of ",
                          Name(b_), ".");
    }
    if (read != nullptr && read->seen == Seen::kAbsent) {
      return absl::StrCat(Name(a_), " saw ", Shown(read), ", so it came before all writes, ",
                          Shown(LastWrite(b_)), " of ", Name(b_), " included.");
    }
    return absl::StrCat(Name(a_), " saw ", Shown(read), "; ", Name(b_),
                        " saw it, too, and wrote over it: ", Shown(LastWrite(b_)), ".");
  }

  // The version of a register that `transaction` met first or left last: written there or seen.
  const Op* Met(size_t transaction, bool last) const {
    const Op* met = nullptr;
    for (const Op& op : Of(transaction).ops) {
      if (op.key != key_ || op.seen == Seen::kAbsent) continue;
      if (op.kind == OpKind::kRead && op.seen == Seen::kUntold) continue;
      if (op.kind != OpKind::kRead && deduction_.StandingOf(transaction) != Standing::kCommitted) {
        continue;
      }
      // What comes first is a read; writes before the last are seen by nobody.
      if (met == nullptr || last || met->kind != OpKind::kRead) met = &op;
    }
    return met;
  }

  std::string InTime(bool is_rw) const {
    const Op* later = LastWrite(b_);
    const Op* earlier = LastWrite(a_);
    if (is_rw) {
      earlier = First(a_, [](const Op& op) { return op.seen == Seen::kValue; });
    }
    std::string text = absl::StrCat(Name(a_), is_rw ? " saw " : " did ", Shown(earlier), ", ",
                                    Name(b_), " did ", Shown(later));
    if (earlier == nullptr || later == nullptr) return text + ".";
    // Who shows their order: the first to return that met the one, the last to be invoked that met the other.
    size_t first = a_;
    size_t last = b_;
    for (size_t i = 0; i < history_.transactions.size(); ++i) {
      if (deduction_.StandingOf(i) == Standing::kOut) continue;
      const Op* left = Met(i, true);
      if (left != nullptr && left->value == earlier->value && ReturnOf(i) < ReturnOf(first)) {
        first = i;
      }
      const Op* met = Met(i, false);
      if (met != nullptr && met->value == later->value && Of(i).invoked_at > Of(last).invoked_at) {
        last = i;
      }
    }
    absl::StrAppend(&text, "; the latter came later, since ", Name(first), " with ",
                    Shown(Met(first, true)), " had returned (at ", Of(first).returned_at,
                    ") before ", Name(last), " with ", Shown(Met(last, false)), " was invoked (at ",
                    Of(last).invoked_at, ").");
    return text;
  }

  uint64_t ReturnOf(size_t transaction) const {
    return Of(transaction).outcome == Outcome::kUnknown ? kNever : Of(transaction).returned_at;
  }

  const History& history_;
  const Deduction& deduction_;
  size_t a_ = 0;
  size_t b_ = 0;
  uint32_t key_ = 0;
};

absl::string_view NameOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCommitted:
      return "committed";
    case Outcome::kAborted:
      return "aborted";
    case Outcome::kUnknown:
      return "unknown";
  }
  return "";
}

}  // namespace

std::string Introduce(const History& history, absl::Span<const size_t> transactions) {
  std::string text;
  for (const size_t i : transactions.subspan(0, kStepsShown)) {
    const Transaction& transaction = history.transactions[i];
    absl::StrAppend(&text, "  T", transaction.invoked_at, "  process ", transaction.process,
                    ", from ", transaction.invoked_at, " to ");
    if (transaction.returned_at == kNever) {
      text += "no end";
    } else {
      absl::StrAppend(&text, transaction.returned_at);
    }
    absl::StrAppend(&text, ", ", NameOf(transaction.outcome), ": ",
                    ToText(history, transaction.ops, kElementsShown), "\n");
  }
  if (transactions.size() > kStepsShown) {
    absl::StrAppend(&text, "  and ", transactions.size() - kStepsShown, " more\n");
  }
  return text;
}

std::string Explain(const History& history, const Deduction& deduction, const Cycle& cycle) {
  Explainer explainer(history, deduction);
  std::string text;
  const auto name = [&history](uint32_t transaction) {
    return absl::StrCat("T", history.transactions[transaction].invoked_at);
  };
  for (const Step& step : absl::MakeConstSpan(cycle.steps).subspan(0, kStepsShown)) {
    absl::StrAppend(&text, "  ", name(step.from), " before ", name(step.edge.to), ": ",
                    explainer.Sentence(step), "\n");
  }
  if (cycle.steps.size() > kStepsShown) {
    absl::StrAppend(&text, "  and so on, in ", cycle.steps.size(), " steps in all.\n");
  }
  absl::StrAppend(&text, "  So ", name(cycle.steps.front().from), " came before itself.\n");
  return text;
}

}  // namespace acre::isolation
