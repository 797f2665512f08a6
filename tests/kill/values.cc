#include "tests/kill/values.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/random.h"

namespace acre::tests {
namespace {

constexpr size_t kValueBytesMax = size_t{1} << 20;

}  // namespace

std::string MakeValue(uint32_t client, uint64_t sequence, size_t bytes) {
  std::string value = absl::StrCat(client, ".", sequence, ".", bytes, "|");
  Random random(uint64_t{client} << 40 ^ sequence);
  while (value.size() < bytes) value.push_back(static_cast<char>('a' + random.Uniform(26)));
  return value;
}

std::string NameOfValue(absl::string_view value) {
  const absl::string_view name = value.substr(0, value.find('|'));
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
  uint32_t client = 0;
  uint64_t sequence = 0;
  uint64_t bytes = 0;
  if (parts.size() == 3 && absl::SimpleAtoi(parts[0], &client) &&
      absl::SimpleAtoi(parts[1], &sequence) && absl::SimpleAtoi(parts[2], &bytes) &&
      bytes <= kValueBytesMax && MakeValue(client, sequence, bytes) == value) {
    return std::string(name);
  }
  return absl::StrCat("?", value);
}

}  // namespace acre::tests
