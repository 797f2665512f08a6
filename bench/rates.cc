#include "bench/rates.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace acre::bench {
namespace {

// Takes the letter off, if there is one.
double TakeFactor(absl::string_view* word) {
  if (word->empty()) return 1;
  double factor = 1;
  switch (absl::ascii_tolower(static_cast<unsigned char>(word->back()))) {
    case 'k':
      factor = 1e3;
      break;
    case 'm':
      factor = 1e6;
      break;
    case 'g':
      factor = 1e9;
      break;
    default:
      return 1;
  }
  word->remove_suffix(1);
  return factor;
}

}  // namespace

absl::StatusOr<std::vector<double>> ParseRates(absl::string_view text) {
  std::vector<double> rates;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    absl::string_view number = item;
    const double factor = TakeFactor(&number);
    double rate = 0;
    // SimpleAtod takes more than numbers as people write them: spaces, "inf", "0x10".
    const bool is_number = number.find_first_not_of("0123456789.") == absl::string_view::npos &&
                           absl::SimpleAtod(number, &rate);
    rate *= factor;
    if (!is_number || !(rate > 0 && rate <= kRateMax)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", item,
          "\" is no rate: operations per second above 0, at most 1G, as 50000, 100K, 1.5M"));
    }
    rates.push_back(rate);
  }
  return rates;
}

absl::StatusOr<std::vector<uint64_t>> ParseNumbers(absl::string_view flag, absl::string_view text,
                                                   uint64_t min, uint64_t max) {
  std::vector<uint64_t> values;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    uint64_t value = 0;
    if (!absl::SimpleAtoi(item, &value) || value < min || value > max) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": \"", item, "\" is not a number from ", min, " to ", max));
    }
    if (std::find(values.begin(), values.end(), value) != values.end()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": ", value, " stands there twice"));
    }
    values.push_back(value);
  }
  return values;
}

}  // namespace acre::bench
