#include "client/isolation/edn.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace acre::isolation {
namespace {

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)) || c == ','; }

bool EndsAtom(char c) {
  return IsSpace(c) || c == '{' || c == '}' || c == '[' || c == ']' || c == '(' || c == ')' ||
         c == '"' || c == ';';
}

bool IsInteger(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
}

}  // namespace

void EdnReader::SkipSpaces() {
  for (; place_ < text_.size(); ++place_) {
    if (text_[place_] == ';') {
      while (place_ < text_.size() && text_[place_] != '\n') ++place_;
      if (place_ == text_.size()) return;
    }
    if (!IsSpace(text_[place_])) return;
    if (text_[place_] == '\n') ++line_;
  }
}

Word EdnReader::Mistake(absl::string_view what) {
  mistake_ = what;
  return {WordKind::kMistake, what};
}

Word EdnReader::TakeString() {
  const size_t begin = place_;
  const size_t first_line = line_;
  for (++place_; place_ < text_.size() && text_[place_] != '"'; ++place_) {
    if (text_[place_] == '\\') ++place_;
    if (At(place_) == '\n') ++line_;
  }
  if (place_ >= text_.size()) {
    line_ = first_line;
    return Mistake("a string does not end");
  }
  ++place_;
  return {WordKind::kString, text_.substr(begin, place_ - begin)};
}

Word EdnReader::TakeAtom() {
  const size_t begin = place_;
  if (At(place_) == '\\') ++place_;  // A character, which may be a bracket.
  ++place_;
  while (place_ < text_.size() && !EndsAtom(text_[place_])) ++place_;
  place_ = std::min(place_, text_.size());
  const absl::string_view atom = text_.substr(begin, place_ - begin);
  if (IsInteger(atom)) return {WordKind::kInteger, atom};
  return {atom[0] == ':' ? WordKind::kKeyword : WordKind::kSymbol, atom};
}

Word EdnReader::Next() {
  if (!mistake_.empty()) return {WordKind::kMistake, mistake_};
  while (true) {
    SkipSpaces();
    if (place_ >= text_.size()) return {};
    const char c = text_[place_];
    if (c == '{' || c == '[' || c == '(') return {WordKind::kOpen, text_.substr(place_++, 1)};
    if (c == '}' || c == ']' || c == ')') return {WordKind::kClose, text_.substr(place_++, 1)};
    if (c == '"') return TakeString();
    if (c != '#') return TakeAtom();
    if (At(place_ + 1) == '{') {
      place_ += 2;
      return {WordKind::kOpen, text_.substr(place_ - 2, 2)};
    }
    if (At(place_ + 1) == '_') {
      place_ += 2;
      // What is dropped may itself begin with a drop; a text of nothing else must not fill the stack.
      if (++drops_ > kDepthMax) return Mistake("too many forms are dropped within each other");
      const bool is_dropped = SkipForm();
      --drops_;
      if (!is_dropped) return Mistake("#_ drops nothing");
      continue;
    }
    (void)TakeAtom();
  }
}

Word EdnReader::Peek() const {
  EdnReader ahead = *this;
  return ahead.Next();
}

bool EdnReader::SkipForm() {
  int depth = 0;
  char closing[kDepthMax];
  do {
    const Word word = Next();
    if (word.kind == WordKind::kEnd || word.kind == WordKind::kMistake) return false;
    if (word.kind == WordKind::kOpen) {
      if (depth == kDepthMax) return false;
      const char opened = word.text.back();
      closing[depth++] = opened == '{' ? '}' : opened == '[' ? ']' : ')';
    }
    if (word.kind == WordKind::kClose && (depth == 0 || closing[--depth] != word.text[0])) {
      return false;
    }
  } while (depth > 0);
  return true;
}

}  // namespace acre::isolation
