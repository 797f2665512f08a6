// What the records of a benchmark look like: key and value are functions of the record's number, so
// a value that is torn, stale beyond repair or another record's is noticed.
//
// Key:   "user" and the number in decimal, padded with zeros to key_bytes.
// Value: 8 B of sequence (whatever the writer likes, differing from write to write), then words
//        that follow from number and sequence. Every byte behind the sequence is a checksum of it.

#ifndef ACRE_BENCH_RECORD_H_
#define ACRE_BENCH_RECORD_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "glog/logging.h"

namespace acre::bench {

constexpr absl::string_view kKeyPrefix("user", 4);
constexpr size_t kRecordKeyBytesMin = 12;    // Of the prefix and eight digits.
constexpr size_t kRecordValueBytesMin = 16;  // Of the sequence and one word of check.

// How many different keys of that length there are.
constexpr uint64_t KeysCountMax(size_t key_bytes) {
  uint64_t count = 1;
  for (size_t i = kKeyPrefix.size(); i < key_bytes && count <= UINT64_MAX / 10; ++i) count *= 10;
  return count;
}

// Writes keys into memory of its own, a few nanoseconds each.
class KeyWriter {
 public:
  // Requires: key_bytes >= kRecordKeyBytesMin.
  explicit KeyWriter(size_t key_bytes) : key_(key_bytes, '0') {
    CHECK_GE(key_bytes, kRecordKeyBytesMin);
    std::memcpy(key_.data(), kKeyPrefix.data(), kKeyPrefix.size());
  }

  // The key of record `number`. Valid until the next call. Requires: number < KeysCountMax().
  absl::string_view Write(uint64_t number) {
    uint64_t high = 0;
    if (number >= kEightDigits) {
      high = number / kEightDigits;
      number %= kEightDigits;
    }
    const uint64_t low = EightDigits(static_cast<uint32_t>(number));
    std::memcpy(key_.data() + key_.size() - 8, &low, 8);
    if (high != high_) WriteHigh(high);
    return key_;
  }

 private:
  static constexpr uint64_t kEightDigits = 100'000'000;

  // The eight decimal digits of `number` as characters, the first in the lowest byte. Splits it
  // into lanes of a word: two of four digits, four of two, eight of one.
  static uint64_t EightDigits(uint32_t number) {
    const uint64_t fours = (number / 10000) | (uint64_t{number % 10000} << 32);
    // x / 100 is x * 5243 >> 19 for x < 10000; x / 10 is x * 103 >> 10 for x < 100.
    const uint64_t hundreds = ((fours * 5243) >> 19) & 0x0000007f'0000007f;
    const uint64_t twos = hundreds | ((fours - 100 * hundreds) << 16);
    const uint64_t tens = ((twos * 103) >> 10) & 0x000f000f'000f000f;
    const uint64_t ones = tens | ((twos - 10 * tens) << 8);
    return ones | 0x30303030'30303030;
  }

  [[gnu::noinline, gnu::cold]] void WriteHigh(uint64_t high) {
    high_ = high;
    for (size_t i = key_.size() - 8; i > kKeyPrefix.size(); --i) {
      key_[i - 1] = static_cast<char>('0' + high % 10);
      high /= 10;
    }
    CHECK_EQ(high, 0u) << "the number has too many digits for the key";
  }

  std::string key_;
  uint64_t high_ = 0;  // The digits above the eight that stand in key_.
};

namespace record_internal {

// Two values of which number or sequence differ have different bases, so all their words differ.
inline uint64_t Base(uint64_t number, uint64_t sequence) {
  uint64_t base = (number + 1) * 0x9e3779b97f4a7c15 + sequence;
  base = (base ^ (base >> 32)) * 0xd6e8feb86659fd93;
  base = (base ^ (base >> 32)) * 0xd6e8feb86659fd93;
  return base ^ (base >> 32);
}
// The word at that offset: the offsets of one value differ, so its words do.
inline uint64_t Word(uint64_t base, uint64_t offset) { return base + offset * 0xd1b54a32d192ed03; }

}  // namespace record_internal

// Fills `bytes` bytes at `value`. Requires: bytes >= kRecordValueBytesMin.
inline void WriteValue(uint64_t number, uint64_t sequence, char* value, size_t bytes) {
  const uint64_t base = record_internal::Base(number, sequence);
  std::memcpy(value, &sequence, 8);
  size_t at = 8;
  for (; at + 8 <= bytes; at += 8) {
    const uint64_t word = record_internal::Word(base, at);
    std::memcpy(value + at, &word, 8);
  }
  if (at < bytes) {
    const uint64_t word = record_internal::Word(base, at);
    std::memcpy(value + at, &word, bytes - at);
  }
}

// `value` is what WriteValue() makes for this record, whatever the sequence and the length.
inline bool IsValueOf(uint64_t number, absl::string_view value) {
  if (value.size() < kRecordValueBytesMin) return false;
  uint64_t sequence;
  std::memcpy(&sequence, value.data(), 8);
  const uint64_t base = record_internal::Base(number, sequence);
  uint64_t difference = 0;
  size_t at = 8;
  for (; at + 8 <= value.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, value.data() + at, 8);
    difference |= word ^ record_internal::Word(base, at);
  }
  if (at < value.size()) {
    const uint64_t word = record_internal::Word(base, at);
    if (std::memcmp(value.data() + at, &word, value.size() - at) != 0) return false;
  }
  return difference == 0;
}

}  // namespace acre::bench

#endif  // ACRE_BENCH_RECORD_H_
