#include "transport/refusal_log.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "transport/socket.h"

namespace acre::transport {
namespace {

SocketAddress Peer() { return *ParseAddress({"10.0.0.1", 99}); }

TEST(RefusalLogTest, CountsEachReasonApart) {
  RefusalLog log([](const std::string&) {});
  const absl::Status why = absl::PermissionDeniedError("no");
  for (int i = 0; i < 3; ++i) log.Note(RefusalReason::kSecret, Peer().ToString(), why, 0);
  log.Note(RefusalReason::kVersion, Peer().ToString(), why, 0);
  EXPECT_EQ(log.Count(RefusalReason::kSecret), 3u);
  EXPECT_EQ(log.Count(RefusalReason::kVersion), 1u);
  EXPECT_EQ(log.Count(RefusalReason::kNonsense), 0u);
}

TEST(RefusalLogTest, EachReasonHasANameOfItsOwn) {
  std::set<absl::string_view> names;
  for (size_t i = 0; i < kRefusalReasonsCount; ++i) {
    names.insert(RefusalReasonName(static_cast<RefusalReason>(i)));
  }
  EXPECT_EQ(names.size(), kRefusalReasonsCount);
  EXPECT_TRUE(names.contains("crowd"));
}

// Goal: a flood of strangers costs one line a minute for each reason, and the next line tells how
// many they were.
TEST(RefusalLogTest, AFloodIsOneLineAMinute) {
  std::vector<std::string> lines;
  RefusalLog log([&lines](const std::string& line) { lines.push_back(line); });
  const absl::Status why = absl::PermissionDeniedError("the secret is another");
  uint64_t now_ns = 5;
  for (int i = 0; i < 1000; ++i) log.Note(RefusalReason::kSecret, Peer().ToString(), why, now_ns++);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(absl::StrContains(lines[0], "10.0.0.1:99")) << lines[0];
  EXPECT_TRUE(absl::StrContains(lines[0], "the secret is another")) << lines[0];
  log.Note(RefusalReason::kNonsense, Peer().ToString(), why, now_ns);
  EXPECT_EQ(lines.size(), 2u) << "another reason has a line of its own";
  log.Note(RefusalReason::kSecret, Peer().ToString(), why, 5 + RefusalLog::kLineIntervalNs);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(absl::StrContains(lines[2], "and 999 like it before")) << lines[2];
  log.Note(RefusalReason::kSecret, Peer().ToString(), why, 5 + 2 * RefusalLog::kLineIntervalNs);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_FALSE(absl::StrContains(lines[3], "like it")) << lines[3];
}

TEST(RefusalLogTest, APeerThatHasGoneIsNamedAsSuch) {
  std::vector<std::string> lines;
  RefusalLog log([&lines](const std::string& line) { lines.push_back(line); });
  log.Note(RefusalReason::kNonsense, SocketAddress().ToString(),
           absl::InvalidArgumentError("rubbish"), 1);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(absl::StrContains(lines[0], "(no address)")) << lines[0];
}

}  // namespace
}  // namespace acre::transport
