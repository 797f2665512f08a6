#include "runtime/whole_file.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre {
namespace {

using testing::StartsWith;

TEST(WholeFileTest, WhatIsWrittenIsReadAgainAndReplaced) {
  const std::string path = absl::StrCat(testing::TempDir(), "/whole_file");
  for (const std::string& text :
       {std::string(100'000, 'x'), std::string("a\0\r\n\xff", 5), std::string()}) {
    ASSERT_TRUE(WriteWholeFile(path, text).ok());
    const absl::StatusOr<std::string> again = ReadWholeFile(path);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, text);
  }
}

TEST(WholeFileTest, ErrorsNameTheFile) {
  const absl::Status unread = ReadWholeFile("/no/such/file").status();
  EXPECT_EQ(unread.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(unread.message(), "cannot read /no/such/file: No such file or directory");
  const absl::Status unwritten = WriteWholeFile("/no/such/file", "text");
  EXPECT_EQ(unwritten.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(unwritten.message(), "cannot write /no/such/file: No such file or directory");
  EXPECT_THAT(std::string(WriteWholeFile("/dev/full", std::string(100'000, 'x')).message()),
              StartsWith("cannot write /dev/full: "));
}

}  // namespace
}  // namespace acre
