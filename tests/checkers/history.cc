#include "tests/checkers/history.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/whole_file.h"

namespace acre::checkers {
namespace {

constexpr absl::string_view kTitle = "acre-history 1";

absl::string_view NameOf(OperationKind kind) {
  switch (kind) {
    case OperationKind::kGet:
      return "get";
    case OperationKind::kPut:
      return "put";
    case OperationKind::kDelete:
      return "delete";
  }
  return "";
}

absl::string_view NameOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kUnknown:
      return "unknown";
  }
  return "";
}

std::string Quoted(absl::string_view bytes, size_t bytes_max) {
  if (bytes.size() <= bytes_max) return absl::StrCat("\"", absl::CHexEscape(bytes), "\"");
  return absl::StrCat("\"", absl::CHexEscape(bytes.substr(0, bytes_max)), "\"... (", bytes.size(),
                      " bytes)");
}

// The words of one line, one after the other. The first mistake sticks.
class LineReader {
 public:
  explicit LineReader(absl::string_view line) : rest_(line) { SkipSpaces(); }

  const std::string& mistake() const { return mistake_; }
  void Refuse(absl::string_view what) {
    if (mistake_.empty()) mistake_ = std::string(what);
  }
  bool AtEnd() const { return rest_.empty() || rest_[0] == '#'; }

  absl::string_view Word() {
    const absl::string_view word = rest_.substr(0, rest_.find(' '));
    rest_.remove_prefix(word.size());
    SkipSpaces();
    return word;
  }
  uint64_t Number(absl::string_view word, absl::string_view what) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(word, &number)) Refuse(absl::StrCat(what, " is no number"));
    return number;
  }
  uint32_t PrefixedNumber(char prefix, absl::string_view what) {
    absl::string_view word = Word();
    if (word.empty() || word[0] != prefix) {
      Refuse(absl::StrCat(what, " is missing"));
      return 0;
    }
    const uint64_t number = Number(word.substr(1), what);
    if (number > ~uint32_t{0}) Refuse(absl::StrCat(what, " is too large"));
    return static_cast<uint32_t>(number);
  }
  bool NextIs(absl::string_view word) const {
    return rest_.substr(0, rest_.find_first_of(" \r")) == word;
  }
  bool AtQuote() const { return !rest_.empty() && rest_[0] == '"'; }
  std::string Bytes(absl::string_view what) {
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != '"') end += rest_[end] == '\\' ? 2 : 1;
    std::string bytes;
    if (!AtQuote() || end >= rest_.size() ||
        !absl::CUnescape(rest_.substr(1, end - 1), &bytes, nullptr)) {
      Refuse(absl::StrCat(what, " is not in quotes"));
      return "";
    }
    rest_.remove_prefix(end + 1);
    SkipSpaces();
    return bytes;
  }

 private:
  void SkipSpaces() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\r')) rest_.remove_prefix(1);
  }

  absl::string_view rest_;
  std::string mistake_;
};

// The end of a Put's or a Delete's line.
void ParseCrossing(LineReader* line, Operation* operation) {
  if (line->AtEnd()) return;
  operation->crossing = line->Word() == "crossing";
  if (!operation->crossing) line->Refuse("there is more than belongs there");
}

void ParseWhat(LineReader* line, Operation* operation) {
  const absl::string_view kind = line->Word();
  operation->key = line->Bytes("the key");
  const bool is_ok = operation->outcome == Outcome::kOk;
  if (kind == "put") {
    operation->kind = OperationKind::kPut;
    operation->value = line->Bytes("the value");
    ParseCrossing(line, operation);
  } else if (kind == "get") {
    operation->kind = OperationKind::kGet;
    if (!is_ok) return;
    if (line->AtQuote()) {
      operation->value = line->Bytes("the value");
    } else if (line->Word() != "absent") {
      line->Refuse("what the get saw is missing");
    }
  } else if (kind == "delete") {
    operation->kind = OperationKind::kDelete;
    if (line->NextIs("found") || line->NextIs("missing")) {
      operation->found = line->Word() == "found";
      if (!is_ok) line->Refuse("only a delete that is ok has found or missing");
    }
    ParseCrossing(line, operation);
  } else {
    line->Refuse("it is neither a get, a put nor a delete");
  }
}

Operation ParseWords(LineReader* line) {
  Operation operation;
  operation.client = line->PrefixedNumber('c', "the client");
  operation.home = line->PrefixedNumber('h', "the home");
  operation.invoked_at = line->Number(line->Word(), "the time of its invocation");
  const absl::string_view returned = line->Word();
  if (returned != "-") {
    operation.returned_at = line->Number(returned, "the time of its return");
    if (operation.returned_at < operation.invoked_at) line->Refuse("it returns before it begins");
  }
  const absl::string_view outcome = line->Word();
  if (outcome == "ok") {
    operation.outcome = Outcome::kOk;
  } else if (outcome == "failed") {
    operation.outcome = Outcome::kFailed;
  } else if (outcome != "unknown") {
    line->Refuse("its outcome is neither ok, failed nor unknown");
  }
  if (operation.outcome != Outcome::kUnknown && operation.returned_at == kNever) {
    line->Refuse("its outcome is known and it never returned");
  }
  ParseWhat(line, &operation);
  return operation;
}

}  // namespace

std::string ToText(const Operation& operation, size_t value_bytes_max) {
  std::string line =
      absl::StrCat("c", operation.client, " h", operation.home, " ", operation.invoked_at, " ");
  if (operation.returned_at == kNever) {
    line += "-";
  } else {
    absl::StrAppend(&line, operation.returned_at);
  }
  absl::StrAppend(&line, " ", NameOf(operation.outcome), " ", NameOf(operation.kind), " ",
                  Quoted(operation.key, value_bytes_max));
  const bool is_ok = operation.outcome == Outcome::kOk;
  switch (operation.kind) {
    case OperationKind::kGet:
      if (is_ok && !operation.value.has_value()) line += " absent";
      if (is_ok && operation.value.has_value()) {
        absl::StrAppend(&line, " ", Quoted(*operation.value, value_bytes_max));
      }
      break;
    case OperationKind::kPut:
      absl::StrAppend(&line, " ", Quoted(operation.value.value_or(""), value_bytes_max));
      break;
    case OperationKind::kDelete:
      if (is_ok && operation.found.has_value()) line += *operation.found ? " found" : " missing";
      break;
  }
  if (operation.crossing) line += " crossing";
  return line;
}

std::string ToText(const Cut& cut) { return absl::StrCat("cut h", cut.home, " ", cut.at); }

std::string ToText(const History& history) {
  std::string text = absl::StrCat(kTitle, "\n");
  for (const Operation& operation : history.operations) {
    absl::StrAppend(&text, ToText(operation), "\n");
  }
  for (const Cut& cut : history.cuts) absl::StrAppend(&text, ToText(cut), "\n");
  return text;
}

absl::StatusOr<Operation> ParseOperation(absl::string_view text) {
  LineReader line(text);
  Operation operation = ParseWords(&line);
  if (!line.AtEnd()) line.Refuse("there is more than belongs there");
  if (!line.mistake().empty()) return absl::InvalidArgumentError(line.mistake());
  return operation;
}

absl::StatusOr<History> ParseHistory(absl::string_view text) {
  History history;
  bool has_title = false;
  size_t number = 0;
  for (const absl::string_view text_line : absl::StrSplit(text, '\n')) {
    ++number;
    LineReader line(text_line);
    if (line.AtEnd()) continue;
    if (!has_title) {
      has_title = absl::StripSuffix(text_line, "\r") == kTitle;
      if (has_title) continue;
      line.Refuse(absl::StrCat("a history begins with `", kTitle, "`"));
    } else if (absl::StartsWith(text_line, "cut ")) {
      (void)line.Word();
      Cut cut;
      cut.home = line.PrefixedNumber('h', "the home");
      cut.at = line.Number(line.Word(), "the time of the cut");
      history.cuts.push_back(cut);
    } else {
      history.operations.push_back(ParseWords(&line));
    }
    if (!line.AtEnd()) line.Refuse("there is more than belongs there");
    if (!line.mistake().empty()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", line.mistake()));
    }
  }
  if (!has_title) return absl::InvalidArgumentError("no history: it is empty");
  return history;
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

}  // namespace acre::checkers
