#include "server/doctor/pair_wire.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "transport/bootstrap_wire.h"
#include "transport/wire_bytes.h"

namespace acre::doctor {
namespace {

// A boot id is 36 characters.
constexpr size_t kIntroductionBytesMax = 512;

bool IsWord(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char character) {
    return (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9') ||
           character == '-';
  });
}

template <class Wire>
absl::StatusOr<Wire> ParseExactly(absl::string_view bytes, absl::string_view name) {
  Wire wire;
  if (!transport::TakeWire(&bytes, &wire) || !bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " of a wrong size"));
  }
  return wire;
}

}  // namespace

std::string EncodeIntroduction(const Introduction& introduction) {
  return absl::StrCat(introduction.boot_id, " ", absl::StrJoin(introduction.fabrics, ","));
}

absl::StatusOr<Introduction> ParseIntroduction(absl::string_view bytes) {
  const auto nonsense = [](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("an introduction with ", why));
  };
  if (bytes.size() > kIntroductionBytesMax) return nonsense("too many bytes");
  const std::vector<std::string> words = absl::StrSplit(bytes, ' ');
  if (words.size() != 2 || !IsWord(words[0])) return nonsense("no boot id and fabrics");
  Introduction introduction;
  introduction.boot_id = words[0];
  introduction.fabrics = absl::StrSplit(words[1], ',');
  if (introduction.fabrics.size() > transport::kBootstrapFabricsMax) {
    return nonsense("too many fabrics");
  }
  for (const std::string& fabric : introduction.fabrics) {
    if (!IsWord(fabric)) return nonsense("a fabric that is no name");
  }
  return introduction;
}

absl::StatusOr<AreaWire> ParseArea(absl::string_view bytes) {
  absl::StatusOr<AreaWire> area = ParseExactly<AreaWire>(bytes, "an area");
  if (area.ok() && (area->key == 0 || area->offset_bytes % kWordBytes != 0)) {
    return absl::InvalidArgumentError("an area without a key, or not of words");
  }
  return area;
}

absl::StatusOr<TrialWire> ParseTrial(absl::string_view bytes) {
  return ParseExactly<TrialWire>(bytes, "a trial");
}

}  // namespace acre::doctor
