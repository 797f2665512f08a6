#include "server/size.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace acre::server {

absl::StatusOr<uint64_t> ParseSize(absl::string_view text) {
  const auto bad = [text](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is no size: ", why, "; write a number with K, M or G, for example 512M"));
  };
  absl::string_view digits = text;
  int shift = 0;
  if (!digits.empty()) {
    switch (absl::ascii_toupper(static_cast<unsigned char>(digits.back()))) {
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
      default:
        break;
    }
    if (shift != 0) digits.remove_suffix(1);
  }
  uint64_t number;
  // SimpleAtoi would take blanks and signs.
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos) {
    return bad("there must be digits and no more than one letter");
  }
  if (!absl::SimpleAtoi(digits, &number) ||
      number > std::numeric_limits<uint64_t>::max() >> shift) {
    return bad("it is too large");
  }
  return number << shift;
}

std::string FormatSize(uint64_t bytes) {
  struct Unit {
    int shift;
    const char* name;
  };
  for (const Unit unit : {Unit{30, "GiB"}, Unit{20, "MiB"}, Unit{10, "KiB"}}) {
    if (bytes >> unit.shift == 0) continue;
    const uint64_t whole = uint64_t{1} << unit.shift;
    if (bytes % whole == 0) return absl::StrCat(bytes >> unit.shift, " ", unit.name);
    return absl::StrFormat("%.1f %s", static_cast<double>(bytes) / static_cast<double>(whole),
                           unit.name);
  }
  return absl::StrCat(bytes, " B");
}

}  // namespace acre::server
