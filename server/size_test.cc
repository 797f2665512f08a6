#include "server/size.h"

#include "gtest/gtest.h"

namespace acre::server {
namespace {

TEST(SizeTest, NumbersWithAndWithoutLetters) {
  EXPECT_EQ(ParseSize("0").value(), 0u);
  EXPECT_EQ(ParseSize("4096").value(), 4096u);
  EXPECT_EQ(ParseSize("2k").value(), 2048u);
  EXPECT_EQ(ParseSize("16M").value(), uint64_t{16} << 20);
  EXPECT_EQ(ParseSize("3g").value(), uint64_t{3} << 30);
  EXPECT_EQ(ParseSize("17179869183G").value(), uint64_t{17179869183} << 30);
}

TEST(SizeTest, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "G", "1GB", "1.5G", "-1", "+1", " 1", "1 ", "1 G", "0x10", "1T",
                           "17179869184G", "18446744073709551616"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseSize(text).status())) << text;
  }
}

TEST(SizeTest, FormatsForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(4096), "4 KiB");
  EXPECT_EQ(FormatSize(uint64_t{2} << 30), "2 GiB");
  EXPECT_EQ(FormatSize(uint64_t{3} << 29), "1.5 GiB");
}

}  // namespace
}  // namespace acre::server
