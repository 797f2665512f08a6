#include "client/command_line.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace acre {
namespace {

struct Escape {
  char letter;
  char byte;
};
constexpr Escape kEscapes[] = {{'n', '\n'}, {'r', '\r'},  {'t', '\t'}, {'b', '\b'},
                               {'a', '\a'}, {'\\', '\\'}, {'"', '"'}};

// Takes the escape that follows a backslash in double quotes off `rest`.
absl::StatusOr<char> TakeEscape(absl::string_view* rest) {
  if (rest->empty()) return absl::InvalidArgumentError("a quote (\") is not closed");
  const char letter = rest->front();
  if (letter == 'x' && rest->size() >= 3 && absl::ascii_isxdigit((*rest)[1]) &&
      absl::ascii_isxdigit((*rest)[2])) {
    const char byte = absl::HexStringToBytes(rest->substr(1, 2))[0];
    rest->remove_prefix(3);
    return byte;
  }
  for (const Escape& escape : kEscapes) {
    if (escape.letter != letter) continue;
    rest->remove_prefix(1);
    return escape.byte;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown escape \\", rest->substr(0, 1), ": use \\xHH, \\n, \\r, \\t, \\b, \\a, \\\\, \\\""));
}

// Takes a quoted word off `rest`, which begins with the quote.
absl::StatusOr<std::string> TakeQuoted(absl::string_view* rest) {
  const char quote = rest->front();
  rest->remove_prefix(1);
  std::string word;
  while (!rest->empty()) {
    const char byte = rest->front();
    rest->remove_prefix(1);
    if (byte == quote) {
      if (rest->empty() || absl::ascii_isspace(rest->front())) return word;
      return absl::InvalidArgumentError(
          absl::StrCat("a space must follow the closing quote, not ", Quote(rest->substr(0, 1))));
    }
    if (byte == '\\' && quote == '"') {
      const absl::StatusOr<char> escaped = TakeEscape(rest);
      if (!escaped.ok()) return escaped.status();
      word += *escaped;
    } else if (byte == '\\' && !rest->empty() && rest->front() == '\'') {
      word += '\'';
      rest->remove_prefix(1);
    } else {
      word += byte;
    }
  }
  return absl::InvalidArgumentError(absl::StrFormat("a quote (%c) is not closed", quote));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitCommandLine(absl::string_view line) {
  std::vector<std::string> words;
  while (true) {
    line = absl::StripLeadingAsciiWhitespace(line);
    if (line.empty()) return words;
    if (line.front() == '"' || line.front() == '\'') {
      absl::StatusOr<std::string> word = TakeQuoted(&line);
      if (!word.ok()) return word.status();
      words.push_back(*std::move(word));
      continue;
    }
    size_t size = 0;
    while (size < line.size() && !absl::ascii_isspace(line[size])) ++size;
    words.emplace_back(line.substr(0, size));
    line.remove_prefix(size);
  }
}

absl::StatusOr<std::string> UnquoteArgument(absl::string_view argument) {
  if (argument.size() < 2 || argument.front() != '"' || argument.back() != '"') {
    return std::string(argument);
  }
  absl::StatusOr<std::string> word = TakeQuoted(&argument);
  if (word.ok() && !argument.empty()) {
    return absl::InvalidArgumentError("something follows the closing quote");
  }
  return word;
}

std::string Quote(absl::string_view bytes) {
  std::string quoted = "\"";
  for (const char byte : bytes) {
    char letter = '\0';
    for (const Escape& escape : kEscapes) {
      if (escape.byte == byte) letter = escape.letter;
    }
    if (letter != '\0') {
      quoted += '\\';
      quoted += letter;
    } else if (absl::ascii_isprint(static_cast<unsigned char>(byte))) {
      quoted += byte;
    } else {
      absl::StrAppendFormat(&quoted, "\\x%02x", static_cast<unsigned char>(byte));
    }
  }
  return quoted + "\"";
}

}  // namespace acre
