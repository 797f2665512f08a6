#include "bench/rates.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseRatesTest, ListsWithLettersAreUnderstood) {
  EXPECT_THAT(ParseRates("50000").value(), ElementsAre(50'000));
  EXPECT_THAT(ParseRates("100K,200k,1.5M,1G,0.5").value(), ElementsAre(1e5, 2e5, 1.5e6, 1e9, 0.5));
}

TEST(ParseRatesTest, WhatIsNoRateIsNamed) {
  for (const char* item : {"", "0", "0K", "-1", "+1", "x", "K", "1KK", "1T", "2G", " 1", "inf",
                           "nan", "0x10", "1e6", "1.2.3"}) {
    for (const std::string& list : {std::string(item), "100K," + std::string(item) + ",1M"}) {
      EXPECT_THAT(ParseRates(list).status().message(), HasSubstr("\"" + std::string(item) + "\""))
          << list;
    }
  }
}

TEST(ParseNumbersTest, ListsAreReadAndWhatIsWrongIsNamed) {
  EXPECT_THAT(ParseNumbers("--bytes", "16,4,100", 4, 100).value(), ElementsAre(16, 4, 100));
  for (const char* item : {"", "x", "3", "101", "-5", "5.5"}) {
    EXPECT_THAT(ParseNumbers("--bytes", "16," + std::string(item), 4, 100).status().message(),
                HasSubstr("--bytes: \"" + std::string(item) + "\""));
  }
  EXPECT_THAT(ParseNumbers("--bytes", "16,16", 4, 100).status().message(),
              HasSubstr("16 stands there twice"));
}

}  // namespace
}  // namespace acre::bench
