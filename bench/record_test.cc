#include "bench/record.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "runtime/random.h"

namespace acre::bench {
namespace {

TEST(KeyWriterTest, KeysAreThePaddedNumbers) {
  KeyWriter writer(16);
  Random random(1);
  for (uint64_t number = 0; number < 20'000; ++number) {
    ASSERT_EQ(writer.Write(number), absl::StrFormat("user%012d", number));
  }
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t number = random.Uniform(uint64_t{1} << random.Uniform(40));
    ASSERT_EQ(writer.Write(number), absl::StrFormat("user%012d", number));
  }
  ASSERT_EQ(writer.Write(999'999'999'999), "user999999999999");
  ASSERT_EQ(writer.Write(0), "user000000000000");
}

TEST(KeyWriterTest, OtherLengths) {
  EXPECT_EQ(KeyWriter(12).Write(12345678), "user12345678");
  EXPECT_EQ(KeyWriter(13).Write(123456789), "user123456789");
  EXPECT_EQ(KeyWriter(100).Write(42), absl::StrCat("user", std::string(94, '0'), "42"));
  EXPECT_EQ(KeysCountMax(12), 100'000'000u);
  EXPECT_EQ(KeysCountMax(4096), 10'000'000'000'000'000'000u);
}

TEST(ValueTest, WrittenValuesAreRecognized) {
  for (size_t bytes = kRecordValueBytesMin; bytes < 100; ++bytes) {
    std::string value(bytes, '\0');
    WriteValue(7, 1000 + bytes, value.data(), bytes);
    EXPECT_TRUE(IsValueOf(7, value)) << bytes;
    EXPECT_FALSE(IsValueOf(8, value)) << bytes;
  }
}

TEST(ValueTest, EveryFlippedBitIsNoticed) {
  for (const size_t bytes : {16, 32, 37}) {
    std::string value(bytes, '\0');
    WriteValue(3, 99, value.data(), bytes);
    for (size_t bit = 0; bit < bytes * 8; ++bit) {
      value[bit / 8] = static_cast<char>(value[bit / 8] ^ (1 << (bit % 8)));
      EXPECT_FALSE(IsValueOf(3, value)) << bytes << " B, bit " << bit;
      value[bit / 8] = static_cast<char>(value[bit / 8] ^ (1 << (bit % 8)));
    }
    EXPECT_TRUE(IsValueOf(3, value));
  }
}

// Goal: a value put together from two writes of the same record is not taken for either.
TEST(ValueTest, TornValuesAreNoticed) {
  std::string first(32, '\0');
  std::string second(32, '\0');
  WriteValue(3, 1, first.data(), 32);
  WriteValue(3, 2, second.data(), 32);
  for (size_t cut = 8; cut < 32; cut += 8) {
    EXPECT_FALSE(IsValueOf(3, first.substr(0, cut) + second.substr(cut)));
    EXPECT_FALSE(IsValueOf(3, second.substr(0, cut) + first.substr(cut)));
  }
}

TEST(ValueTest, ShortValuesAreNotRecognized) {
  EXPECT_FALSE(IsValueOf(0, ""));
  EXPECT_FALSE(IsValueOf(0, std::string(15, 'x')));
}

}  // namespace
}  // namespace acre::bench
