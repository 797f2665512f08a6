// ParseHistory: first the words of each event, then what it means after the events before it.

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "client/isolation/edn.h"
#include "client/isolation/history.h"

namespace acre::isolation {
namespace {

enum class EventType : uint8_t { kInvoke, kOk, kFail, kInfo };

// One map. What is missing is empty.
struct Event {
  size_t line = 0;
  absl::optional<EventType> type;
  bool has_process = false;
  absl::optional<int64_t> process;  // Empty if it has one that is no integer.
  absl::optional<uint64_t> index;
  absl::optional<int64_t> time_ns;
  absl::string_view f;
  absl::optional<EdnReader> value;  // In front of it; its meaning depends on the other entries.
};

class Parser {
 public:
  explicit Parser(absl::string_view text) : reader_(text), names_(&history_) {}

  absl::StatusOr<History> Run() {
    absl::string_view closing;
    if (reader_.Peek().Is(WordKind::kOpen, "[") || reader_.Peek().Is(WordKind::kOpen, "(")) {
      closing = reader_.Next().text == "[" ? "]" : ")";
    }
    while (mistake_.empty()) {
      const Word word = reader_.Next();
      if (word.kind == WordKind::kEnd && closing.empty()) break;
      if (!closing.empty() && word.Is(WordKind::kClose, closing)) {
        if (reader_.Peek().kind != WordKind::kEnd) Refuse("there is more behind the history's end");
        break;
      }
      if (word.Is(WordKind::kOpen, "{")) {
        ParseEvent();
      } else {
        RefuseWord(word, "an event's {");
      }
    }
    if (mistake_.empty() && !has_events_) {
      return absl::InvalidArgumentError("line 1: no history: it is empty");
    }
    if (!mistake_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", mistake_line_, ": ", mistake_));
    }
    return std::move(history_);
  }

 private:
  // The first mistake sticks.
  void RefuseAt(size_t line, absl::string_view what) {
    if (!mistake_.empty()) return;
    mistake_ = std::string(what);
    mistake_line_ = line;
  }
  void Refuse(absl::string_view what) { RefuseAt(reader_.line(), what); }
  void RefuseWord(const Word& word, absl::string_view wanted) {
    RefuseWordAt(reader_.line(), word, wanted);
  }
  void RefuseWordAt(size_t line, const Word& word, absl::string_view wanted) {
    if (word.kind == WordKind::kMistake) return RefuseAt(line, word.text);
    if (word.kind == WordKind::kEnd) {
      return RefuseAt(line, absl::StrCat("the text ends where ", wanted, " belongs"));
    }
    RefuseAt(line, absl::StrCat("`", word.text.substr(0, 40), "` where ", wanted, " belongs"));
  }

  template <typename Number>
  absl::optional<Number> TakeInteger(EdnReader* reader, absl::string_view what) {
    const Word word = reader->Next();
    Number number = 0;
    if (word.kind == WordKind::kInteger && absl::SimpleAtoi(word.text, &number)) return number;
    RefuseWordAt(reader->line(), word, absl::StrCat(what, ", an integer of 64 bits,"));
    return absl::nullopt;
  }

  void ParseEvent() {
    Event event;
    event.line = reader_.line();
    while (mistake_.empty()) {
      const Word name = reader_.Next();
      if (name.Is(WordKind::kClose, "}")) return Take(event);
      if (name.kind != WordKind::kKeyword) return RefuseWord(name, "the name of an event's entry");
      ParseEntry(name.text, &event);
    }
  }

  void ParseEntry(absl::string_view name, Event* event) {
    bool is_twice = false;
    if (name == ":type") {
      is_twice = event->type.has_value();
      event->type = ParseType();
    } else if (name == ":process") {
      is_twice = event->has_process;
      event->has_process = true;
      if (reader_.Peek().kind == WordKind::kInteger) {
        event->process = TakeInteger<int64_t>(&reader_, ":process");
      } else if (!reader_.SkipForm()) {
        Refuse(":process has no value");
      }
    } else if (name == ":index") {
      is_twice = event->index.has_value();
      event->index = TakeInteger<uint64_t>(&reader_, ":index");
    } else if (name == ":time") {
      is_twice = event->time_ns.has_value();
      event->time_ns = TakeInteger<int64_t>(&reader_, ":time");
    } else {
      const EdnReader before = reader_;
      if (!reader_.SkipForm()) return Refuse(absl::StrCat(name, " has no value that ends"));
      if (name == ":f") {
        is_twice = !event->f.empty();
        event->f = EdnReader(before).Next().text;
      } else if (name == ":value") {
        is_twice = event->value.has_value();
        event->value = before;
      }
    }
    if (is_twice) Refuse(absl::StrCat(name, " stands there twice"));
  }

  absl::optional<EventType> ParseType() {
    const Word word = reader_.Next();
    if (word.text == ":invoke") return EventType::kInvoke;
    if (word.text == ":ok") return EventType::kOk;
    if (word.text == ":fail") return EventType::kFail;
    if (word.text == ":info") return EventType::kInfo;
    RefuseWord(word, ":invoke, :ok, :fail or :info");
    return absl::nullopt;
  }

  void Take(const Event& event) {
    if (!event.has_process) return RefuseAt(event.line, "an event without a :process");
    TakePlace(event);
    if (!event.process.has_value()) return;
    if (!event.type.has_value()) return RefuseAt(event.line, "an event without a :type");
    if (!event.f.empty() && event.f != ":txn") {
      return RefuseAt(event.line, absl::StrCat("its :f is ", event.f, " and not :txn"));
    }
    if (*event.type == EventType::kInvoke) {
      Invoke(event);
    } else {
      Return(event);
    }
  }

  void TakePlace(const Event& event) {
    if (!has_events_) has_indices_ = event.index.has_value();
    if (event.index.has_value() != has_indices_) {
      return RefuseAt(event.line, "some events have an :index, and some have none");
    }
    const uint64_t place = has_indices_ ? *event.index : has_events_ ? place_ + 1 : 0;
    if (has_events_ && place <= place_) RefuseAt(event.line, "its :index does not rise");
    if (place == kNever) RefuseAt(event.line, "its :index is too large");
    place_ = place;
    has_events_ = true;
  }

  void Invoke(const Event& event) {
    Transaction transaction;
    transaction.process = *event.process;
    transaction.invoked_at = place_;
    transaction.invoked_ns = event.time_ns.value_or(0);
    if (!event.value.has_value()) return RefuseAt(event.line, "an :invoke without a :value");
    transaction.ops = ParseOps(*event.value, EventType::kInvoke);
    const auto [under_way, is_new] =
        under_way_.emplace(*event.process, history_.transactions.size());
    if (!is_new) {
      return RefuseAt(event.line, absl::StrCat("process ", *event.process,
                                               " begins another one before it has returned"));
    }
    history_.transactions.push_back(std::move(transaction));
  }

  void Return(const Event& event) {
    const auto under_way = under_way_.find(*event.process);
    if (under_way == under_way_.end()) {
      return RefuseAt(event.line, absl::StrCat("process ", *event.process,
                                               " returns and has not invoked anything"));
    }
    Transaction& transaction = history_.transactions[under_way->second];
    under_way_.erase(under_way);
    transaction.returned_at = place_;
    transaction.returned_ns = event.time_ns.value_or(0);
    if (*event.type == EventType::kOk) transaction.outcome = Outcome::kCommitted;
    if (*event.type == EventType::kFail) transaction.outcome = Outcome::kAborted;
    const bool has_value = event.value.has_value() && EdnReader(*event.value).Next().text != "nil";
    if (!has_value && *event.type != EventType::kOk) return;
    if (!has_value) return RefuseAt(event.line, "an :ok without a :value");
    std::vector<Op> ops = ParseOps(*event.value, *event.type);
    if (!mistake_.empty()) return;
    if (!AreSame(transaction.ops, ops)) {
      return RefuseAt(event.line, "its operations are not those of its invocation");
    }
    transaction.ops = std::move(ops);
  }

  static bool AreSame(const std::vector<Op>& asked, const std::vector<Op>& told) {
    if (asked.size() != told.size()) return false;
    for (size_t i = 0; i < asked.size(); ++i) {
      if (asked[i].kind != told[i].kind || asked[i].key != told[i].key) return false;
      if (asked[i].kind != OpKind::kRead && asked[i].value != told[i].value) return false;
    }
    return true;
  }

  std::vector<Op> ParseOps(EdnReader reader, EventType type) {
    std::vector<Op> ops;
    Word word = reader.Next();
    if (!word.Is(WordKind::kOpen, "[") && !word.Is(WordKind::kOpen, "(")) {
      RefuseWordAt(reader.line(), word, "the [ of a :value");
    }
    while (mistake_.empty()) {
      word = reader.Next();
      if (word.kind == WordKind::kClose) break;
      if (!word.Is(WordKind::kOpen, "[")) {
        RefuseWordAt(reader.line(), word, "the [ of an operation");
        break;
      }
      ops.push_back(ParseOp(&reader, type));
    }
    return ops;
  }

  Op ParseOp(EdnReader* reader, EventType type) {
    Op op;
    const Word kind = reader->Next();
    if (kind.text == ":append") {
      op.kind = OpKind::kAppend;
    } else if (kind.text == ":w") {
      op.kind = OpKind::kWrite;
    } else if (kind.text != ":r") {
      RefuseWordAt(reader->line(), kind, ":r, :w or :append");
    }
    const Word key = reader->Next();
    if (key.kind == WordKind::kMistake || key.kind == WordKind::kOpen ||
        key.kind == WordKind::kClose || key.kind == WordKind::kEnd || key.text == "nil") {
      RefuseWordAt(reader->line(), key, "a key");
      return op;
    }
    op.key = names_.NumberOf(key.text);
    if (op.kind == OpKind::kRead) {
      ParseSeen(reader, type, &op);
    } else if (const auto value = TakeInteger<int64_t>(reader, "a value")) {
      op.value = *value;
    }
    const Word end = reader->Next();
    if (!end.Is(WordKind::kClose, "]")) RefuseWordAt(reader->line(), end, "an operation's ]");
    // What an invocation says of reads is nobody's observation.
    if (type == EventType::kInvoke) {
      op.seen = Seen::kUntold;
      op.list.clear();
      if (op.kind == OpKind::kRead) op.value = 0;
    }
    return op;
  }

  void ParseSeen(EdnReader* reader, EventType type, Op* op) {
    const Word word = reader->Peek();
    if (word.text == "nil") {
      (void)reader->Next();
      op->seen = type == EventType::kOk ? Seen::kAbsent : Seen::kUntold;
    } else if (word.Is(WordKind::kOpen, "[") || word.Is(WordKind::kOpen, "(")) {
      (void)reader->Next();
      op->seen = Seen::kList;
      while (mistake_.empty() && reader->Peek().kind != WordKind::kClose) {
        if (const auto element = TakeInteger<int64_t>(reader, "an element")) {
          op->list.push_back(*element);
        }
      }
      (void)reader->Next();
    } else if (const auto value = TakeInteger<int64_t>(reader, "a read's value")) {
      op->seen = Seen::kValue;
      op->value = *value;
    }
  }

  EdnReader reader_;
  History history_;
  KeyNames names_;
  absl::flat_hash_map<int64_t, size_t> under_way_;  // Of each process: its transaction.
  bool has_events_ = false;
  bool has_indices_ = false;
  uint64_t place_ = 0;  // Of the last event.
  std::string mistake_;
  size_t mistake_line_ = 0;
};

}  // namespace

absl::StatusOr<History> ParseHistory(absl::string_view text) { return Parser(text).Run(); }

}  // namespace acre::isolation
