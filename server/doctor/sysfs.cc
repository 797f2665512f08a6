#include "server/doctor/sysfs.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace acre::doctor {

absl::optional<std::string> ReadText(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::nullopt;
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return absl::nullopt;
  return std::string(absl::StripAsciiWhitespace(text));
}

absl::optional<int64_t> ReadInteger(const std::string& path) {
  const absl::optional<std::string> text = ReadText(path);
  int64_t number;
  if (!text.has_value() || !absl::SimpleAtoi(*text, &number)) return absl::nullopt;
  return number;
}

std::vector<std::string> ListFolder(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::optional<std::string> ReadField(const std::string& path, absl::string_view name) {
  const absl::optional<std::string> text = ReadText(path);
  if (!text.has_value()) return absl::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, name) || !absl::ConsumePrefix(&line, ":")) continue;
    return std::string(absl::StripAsciiWhitespace(line));
  }
  return absl::nullopt;
}

}  // namespace acre::doctor
