// Keys whose values tell which change made them, and a judge of what readers are told: for tests.

#ifndef ACRE_KVS_KEY_HISTORY_TEST_UTIL_H_
#define ACRE_KVS_KEY_HISTORY_TEST_UTIL_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kvs/hash.h"

namespace acre::kvs {

// What is known of one key. Its writer counts its changes: an odd count is a Put, an even one a
// Delete, or for a key that is always there a Put as well.
struct KeyState {
  std::string key;
  bool is_always_there = false;
  // Stored by the key's writer before it starts change number n, and when it is done. A reader that
  // loads done, reads the record, and loads started has seen a change in [done, started].
  std::atomic<uint64_t> started{0};
  std::atomic<uint64_t> done{0};

  bool IsThereAfter(uint64_t change) const { return is_always_there || change % 2 == 1; }
};

// A value says whose it is and which change made it, and proves that it is whole. Change and key
// decide its length, and so whether it lies inline.
inline std::string ValueOf(const KeyState& state, uint64_t change) {
  const uint64_t mix = (HashKey(state.key) ^ change) * 0x9e3779b97f4a7c15;
  const size_t fill_words = mix >> 60 == 0 ? 40 + (mix >> 50) % 64 : (mix >> 60) % 2;
  std::string value(16 + 8 * fill_words, '\0');
  std::memcpy(value.data(), &change, 8);  // private memory
  for (size_t i = 0; i < fill_words; ++i) {
    const uint64_t word = mix + i;
    std::memcpy(value.data() + 8 + 8 * i, &word, 8);  // private memory
  }
  const uint64_t checksum = HashKey(state.key) ^ HashKey(value.substr(0, value.size() - 8));
  std::memcpy(value.data() + value.size() - 8, &checksum, 8);  // private memory
  return value;
}

// Judges what a reader was told. Why it cannot be, or "".
inline std::string WhyWrong(const KeyState& state, uint64_t done_before, uint64_t started_after,
                            const absl::Status& status, const std::string& value) {
  const std::string between = absl::StrCat(" (changes ", done_before, " to ", started_after, ")");
  if (absl::IsNotFound(status)) {
    for (uint64_t change = done_before; change <= started_after; ++change) {
      if (!state.IsThereAfter(change)) return "";
    }
    return absl::StrCat("missed a key that was there", between);
  }
  if (!status.ok()) return absl::StrCat(status.ToString());
  if (value.size() < 16) return absl::StrCat("a value of ", value.size(), " bytes");
  uint64_t change;
  std::memcpy(&change, value.data(), 8);  // private memory
  if (value != ValueOf(state, change)) return absl::StrCat("torn or foreign", between);
  if (change < done_before) return absl::StrCat("stale: ", change, between);
  if (change > started_after) return absl::StrCat("of the future: ", change, between);
  if (!state.IsThereAfter(change)) return absl::StrCat("never written: ", change);
  return "";
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_KEY_HISTORY_TEST_UTIL_H_
