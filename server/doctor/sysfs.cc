#include "server/doctor/sysfs.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace acre::doctor {
namespace {

// More than any kernel has: a list that says otherwise is nonsense.
constexpr int kCpusMax = 1 << 16;

}  // namespace

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

std::set<int> ParseCpuList(absl::string_view text) {
  std::set<int> cpus;
  for (absl::string_view range : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(range, absl::MaxSplits('-', 1));
    int first = 0, last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) continue;
    last = first;
    if (!ends.second.empty() && !absl::SimpleAtoi(ends.second, &last)) continue;
    if (first < 0 || last >= kCpusMax) continue;
    for (int cpu = first; cpu <= last; ++cpu) cpus.insert(cpu);
  }
  return cpus;
}

}  // namespace acre::doctor
