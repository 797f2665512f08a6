#include "client/isolation/history.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "runtime/whole_file.h"

namespace acre::isolation {
namespace {

struct Event {
  uint64_t place = 0;
  bool is_return = false;
  size_t transaction = 0;
};

std::vector<Event> EventsOf(const History& history) {
  std::vector<Event> events;
  events.reserve(2 * history.transactions.size());
  for (size_t i = 0; i < history.transactions.size(); ++i) {
    const Transaction& transaction = history.transactions[i];
    events.push_back({transaction.invoked_at, false, i});
    if (transaction.returned_at != kNever) events.push_back({transaction.returned_at, true, i});
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return std::tie(a.place, a.is_return, a.transaction) <
           std::tie(b.place, b.is_return, b.transaction);
  });
  return events;
}

absl::string_view TypeOf(const Event& event, Outcome outcome) {
  if (!event.is_return) return ":invoke";
  switch (outcome) {
    case Outcome::kCommitted:
      return ":ok";
    case Outcome::kAborted:
      return ":fail";
    case Outcome::kUnknown:
      return ":info";
  }
  return "";
}

// What the invocation asked for: nothing is seen yet.
std::vector<Op> Asked(std::vector<Op> ops) {
  for (Op& op : ops) {
    if (op.kind != OpKind::kRead) continue;
    op.seen = Seen::kUntold;
    op.list.clear();
  }
  return ops;
}

void AppendSeen(const Op& op, size_t elements_max, std::string* text) {
  switch (op.seen) {
    case Seen::kUntold:
    case Seen::kAbsent:
      *text += "nil";
      return;
    case Seen::kValue:
      absl::StrAppend(text, op.value);
      return;
    case Seen::kList:
      break;
  }
  *text += '[';
  size_t i = 0;
  if (op.list.size() > elements_max) {
    i = op.list.size() - elements_max;
    absl::StrAppend(text, "... ", i, " more ... ");
  }
  for (const char* gap = ""; i < op.list.size(); ++i, gap = " ") {
    absl::StrAppend(text, gap, op.list[i]);
  }
  *text += ']';
}

void AppendOp(const History& history, const Op& op, size_t elements_max, std::string* text) {
  absl::StrAppend(text,
                  op.kind == OpKind::kRead    ? "[:r "
                  : op.kind == OpKind::kWrite ? "[:w "
                                              : "[:append ",
                  history.keys[op.key], " ");
  if (op.kind == OpKind::kRead) {
    AppendSeen(op, elements_max, text);
  } else {
    absl::StrAppend(text, op.value);
  }
  *text += ']';
}

void AppendOps(const History& history, const std::vector<Op>& ops, size_t elements_max,
               std::string* text) {
  *text += '[';
  const char* gap = "";
  for (const Op& op : ops) {
    *text += gap;
    AppendOp(history, op, elements_max, text);
    gap = " ";
  }
  *text += ']';
}

}  // namespace

KeyNames::KeyNames(History* history) : history_(history) {
  for (size_t i = 0; i < history->keys.size(); ++i) {
    numbers_.emplace(history->keys[i], static_cast<uint32_t>(i));
  }
}

uint32_t KeyNames::NumberOf(absl::string_view name) {
  const auto found = numbers_.find(name);
  if (found != numbers_.end()) return found->second;
  const auto number = static_cast<uint32_t>(history_->keys.size());
  history_->keys.emplace_back(name);
  numbers_.emplace(name, number);
  return number;
}

void OrderByTime(History* history) {
  for (Transaction& transaction : history->transactions) {
    transaction.invoked_at = static_cast<uint64_t>(transaction.invoked_ns);
    if (transaction.returned_at != kNever) {
      transaction.returned_at = static_cast<uint64_t>(transaction.returned_ns);
    }
  }
  uint64_t place = 0;
  for (const Event& event : EventsOf(*history)) {
    Transaction& transaction = history->transactions[event.transaction];
    (event.is_return ? transaction.returned_at : transaction.invoked_at) = place++;
  }
}

std::string ToText(const History& history, const Op& op, size_t elements_max) {
  std::string text;
  AppendOp(history, op, elements_max, &text);
  return text;
}

std::string ToText(const History& history, const std::vector<Op>& ops, size_t elements_max) {
  std::string text;
  AppendOps(history, ops, elements_max, &text);
  return text;
}

std::string ToText(const History& history) {
  std::string text;
  for (const Event& event : EventsOf(history)) {
    const Transaction& transaction = history.transactions[event.transaction];
    absl::StrAppend(&text, "{:index ", event.place, ", :type ", TypeOf(event, transaction.outcome),
                    ", :process ", transaction.process, ", :time ",
                    event.is_return ? transaction.returned_ns : transaction.invoked_ns,
                    ", :f :txn, :value ");
    AppendOps(history, event.is_return ? transaction.ops : Asked(transaction.ops), ~size_t{0},
              &text);
    text += "}\n";
  }
  return text;
}

absl::Status SaveHistory(const History& history, const std::string& path) {
  return WriteWholeFile(path, ToText(history));
}

absl::StatusOr<History> LoadHistory(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadWholeFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<History> history = ParseHistory(*text);
  if (history.ok()) return history;
  return absl::InvalidArgumentError(absl::StrCat(path, ", ", history.status().message()));
}

}  // namespace acre::isolation
