#include "client/command_line.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Split(absl::string_view line) { return SplitCommandLine(line).value(); }

TEST(SplitCommandLineTest, WordsAreSeparatedByWhiteSpace) {
  EXPECT_THAT(Split("get key"), ElementsAre("get", "key"));
  EXPECT_THAT(Split("  put\tkey   value \n"), ElementsAre("put", "key", "value"));
  EXPECT_THAT(Split(""), IsEmpty());
  EXPECT_THAT(Split(" \t "), IsEmpty());
}

TEST(SplitCommandLineTest, BareWordsAreTakenAsTheyAre) {
  EXPECT_THAT(Split(R"(get a\nb"c'd)"), ElementsAre("get", R"(a\nb"c'd)"));
  EXPECT_THAT(Split("put k\xc3\xa9y \xff"), ElementsAre("put", "k\xc3\xa9y", "\xff"));
}

TEST(SplitCommandLineTest, EscapesInDoubleQuotes) {
  EXPECT_THAT(Split(R"(put "a b" "\x00\xfF\n\r\t\b\a\\\"'")"),
              ElementsAre("put", "a b", std::string("\0\xff\n\r\t\b\a\\\"'", 10)));
  EXPECT_THAT(Split(R"(put k "")"), ElementsAre("put", "k", ""));
}

TEST(SplitCommandLineTest, SingleQuotesKnowOneEscape) {
  EXPECT_THAT(Split(R"(put 'a\x00"b' 'it\'s' '')"), ElementsAre("put", R"(a\x00"b)", "it's", ""));
}

TEST(SplitCommandLineTest, BadLinesAreRefusedWithTheReason) {
  EXPECT_THAT(SplitCommandLine("get \"k").status().message(), HasSubstr("not closed"));
  EXPECT_THAT(SplitCommandLine("get 'k").status().message(), HasSubstr("not closed"));
  EXPECT_THAT(SplitCommandLine("get \"k\\").status().message(), HasSubstr("not closed"));
  EXPECT_THAT(SplitCommandLine("get \"k\"x").status().message(), HasSubstr("space"));
  EXPECT_THAT(SplitCommandLine(R"(get "\q")").status().message(), HasSubstr(R"(\q)"));
  EXPECT_THAT(SplitCommandLine(R"(get "\x4")").status().message(), HasSubstr(R"(\x)"));
  EXPECT_THAT(SplitCommandLine(R"(get "\xzz")").status().message(), HasSubstr(R"(\x)"));
}

TEST(UnquoteArgumentTest, OnlyQuotedArgumentsAreChanged) {
  EXPECT_EQ(UnquoteArgument("plain").value(), "plain");
  EXPECT_EQ(UnquoteArgument(R"(a\x00)").value(), R"(a\x00)");
  EXPECT_EQ(UnquoteArgument("\"").value(), "\"");
  EXPECT_EQ(UnquoteArgument(R"("a\x00b c")").value(), std::string("a\0b c", 5));
  EXPECT_EQ(UnquoteArgument(R"("")").value(), "");
  EXPECT_FALSE(UnquoteArgument(R"("\q")").ok());
  EXPECT_FALSE(UnquoteArgument(R"("a" "b")").ok());
}

// Goal: what is printed can be typed: every byte, and pairs of them.
TEST(QuoteTest, IsReadBackByTheParser) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_THAT(Split(Quote(all)), ElementsAre(all));
  EXPECT_THAT(Split(Quote("")), ElementsAre(""));
  for (int byte = 0; byte < 256; ++byte) {
    const std::string pair = {static_cast<char>(byte), 'f'};
    EXPECT_THAT(Split(Quote(pair)), ElementsAre(pair));
  }
  EXPECT_EQ(Quote(std::string("a\0\n\"", 4)), R"("a\x00\n\"")");
}

}  // namespace
}  // namespace acre
