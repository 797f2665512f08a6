#include "tests/checkers/history.h"

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/checkers/recorder.h"

namespace acre::checkers {
namespace {

// Every kind of operation with every outcome, from the recorder.
History RecordAll() {
  Recorder recorder;
  ClientLog* const first = recorder.AddClient();
  ClientLog* const second = recorder.AddClient();
  const std::string odd_bytes("\0 \"\\\n\xff# \t1", 10);
  const size_t put = first->StartPut(10, odd_bytes, odd_bytes + "2", 7);
  const size_t get = second->StartGet(11, odd_bytes, 7);
  second->EndGet(get, 12, absl::nullopt);
  first->EndPut(put, 13);
  second->EndGet(second->StartGet(14, odd_bytes, 7), 14, odd_bytes + "2");
  second->EndGet(second->StartGet(15, "k"), 16, "");
  first->EndFailed(first->StartPut(17, "k", ""), 18);
  first->EndUnknown(first->StartPut(19, "k", "x"), 20);
  first->EndUnknown(first->StartGet(21, "k"), 22);
  first->EndDelete(first->StartDelete(23, "k"), 24);
  first->EndDelete(first->StartDelete(25, "k"), 26, true);
  first->EndDelete(first->StartDelete(27, "k"), 28, false);
  first->EndFailed(first->StartDelete(29, "k"), 30);
  (void)first->StartDelete(31, "k");  // Never ends.
  recorder.AddCut(7, 32);
  return recorder.Take();
}

TEST(HistoryTest, TextSaysAllThereIs) {
  const History history = RecordAll();
  ASSERT_EQ(history.operations.size(), 12u);
  const absl::StatusOr<History> again = ParseHistory(ToText(history));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->operations, history.operations);
  EXPECT_EQ(again->cuts, history.cuts);
  EXPECT_EQ(history.operations.back().outcome, Outcome::kUnknown);
  EXPECT_EQ(history.operations.back().returned_at, kNever);
}

TEST(HistoryTest, LinesReadAsDocumented) {
  const absl::StatusOr<History> history = ParseHistory(
      "acre-history 1\n"
      "# a comment\n"
      "\n"
      "c3 h0 100 200 ok put \"key\" \"value\"   # another\n"
      "c3 h1 210 - unknown put \"k\\\"\" \"\\x01\"\r\n"
      "  c4 h0 235 240 ok delete \"key\" missing\n"
      "c4 h0 250 260 unknown delete \"key\" crossing\n"
      "c4 h0 270 280 ok delete \"key\" found crossing # so\n"
      "c4 h0 290 - unknown put \"key\" \"v\" crossing\n"
      "cut h2 1000\n");
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_EQ(history->operations.size(), 6u);
  EXPECT_EQ(history->operations[0].client, 3u);
  EXPECT_EQ(history->operations[0].returned_at, 200u);
  EXPECT_EQ(history->operations[0].value, "value");
  EXPECT_EQ(history->operations[1].key, "k\"");
  EXPECT_EQ(history->operations[1].value, "\x01");
  EXPECT_EQ(history->operations[1].home, 1u);
  EXPECT_EQ(history->operations[2].found, false);
  EXPECT_FALSE(history->operations[2].crossing);
  for (size_t i = 3; i < 6; ++i) EXPECT_TRUE(history->operations[i].crossing) << i;
  EXPECT_EQ(history->operations[4].found, true);
  // And the way back.
  EXPECT_EQ(ParseHistory(ToText(*history))->operations, history->operations);
  EXPECT_EQ(history->cuts, std::vector<Cut>({{2, 1000}}));
}

TEST(HistoryTest, WrongLinesAreRefusedByNumber) {
  const std::string wrong[] = {
      "c3",
      "h0 c3 1 2 ok get \"k\" absent",
      "c99999999999 h0 1 2 ok get \"k\" absent",
      "c3 h0 1 x ok get \"k\" absent",
      "c3 h0 1 2 ok get \"k\" absent crossing",
      "c3 h0 1 2 ok put \"k\" \"v\" found",
      "c3 h0 1 2 ok delete \"k\" crossing found",
      "c3 h0 1 2 unknown delete \"k\" missing",
      "c3 h0 2 1 ok get \"k\" absent",
      "c3 h0 1 - ok get \"k\" absent",
      "c3 h0 1 - failed put \"k\" \"v\"",
      "c3 h0 1 2 well get \"k\" absent",
      "c3 h0 1 2 ok get \"k\"",
      "c3 h0 1 2 ok get \"k\" present",
      "c3 h0 1 2 ok get \"k",
      "c3 h0 1 2 ok get k absent",
      "c3 h0 1 2 ok get \"k\\",
      "c3 h0 1 2 ok put \"k\"",
      "c3 h0 1 2 ok delete \"k\" gone",
      "c3 h0 1 2 ok delete \"k\" found twice",
      "c3 h0 1 2 ok take \"k\"",
      "cut h0",
      "cut 7 h0",
  };
  for (const std::string& line : wrong) {
    const absl::StatusOr<History> history = ParseHistory(absl::StrCat("acre-history 1\n", line));
    EXPECT_EQ(history.status().code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_NE(history.status().message().find("line 2: "), std::string::npos) << history.status();
  }
  EXPECT_FALSE(ParseHistory("").ok());
  EXPECT_FALSE(ParseHistory("c3 h0 1 2 ok get \"k\" absent").ok());
}

TEST(HistoryTest, FilesKeepHistories) {
  const History history = RecordAll();
  const std::string path = absl::StrCat(testing::TempDir(), "/history");
  ASSERT_TRUE(SaveHistory(history, path).ok());
  const absl::StatusOr<History> again = LoadHistory(path);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->operations, history.operations);
  EXPECT_FALSE(LoadHistory(path + "-none").ok());
  EXPECT_FALSE(SaveHistory(history, path + "-none/file").ok());
}

// Goal: clients on threads of their own, merged by time.
TEST(HistoryTest, RecorderMergesThreads) {
  constexpr int kThreads = 4;
  constexpr uint64_t kOperations = 1000;
  Recorder recorder;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&recorder] {
      ClientLog* const log = recorder.AddClient();
      for (uint64_t now = 0; now < kOperations; ++now) {
        log->EndPut(log->StartPut(now, "key", "value"), now);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const History history = recorder.Take();
  ASSERT_EQ(history.operations.size(), kThreads * kOperations);
  std::vector<uint64_t> of_client(kThreads);
  for (size_t i = 0; i < history.operations.size(); ++i) {
    EXPECT_EQ(history.operations[i].invoked_at, i / kThreads);
    EXPECT_EQ(history.operations[i].outcome, Outcome::kOk);
    ++of_client[history.operations[i].client];
  }
  EXPECT_EQ(of_client, std::vector<uint64_t>(kThreads, kOperations));
  EXPECT_TRUE(recorder.Take().operations.empty());
}

}  // namespace
}  // namespace acre::checkers
