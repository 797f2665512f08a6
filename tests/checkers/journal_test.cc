#include "tests/checkers/journal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace acre::checkers {
namespace {

std::string PathFor(const std::string& name) {
  return absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Operation Put(uint64_t at, const std::string& value) {
  Operation put;
  put.kind = OperationKind::kPut;
  put.client = 3;
  put.invoked_at = at;
  put.key = "k\n\"";
  put.value = value;
  put.crossing = true;
  return put;
}

TEST(JournalTest, WhatWasStartedAndEndedIsThere) {
  auto journal = Journal::Open(PathFor("all"));
  ASSERT_TRUE(journal.ok()) << journal.status();
  std::vector<Operation> operations = {Put(1, "a"), Put(2, "b"), Put(3, "c")};
  std::vector<uint64_t> numbers;
  for (const Operation& operation : operations) numbers.push_back(journal->Start(operation));
  // Not in the order of their beginnings; the last never ends.
  for (const size_t i : {1, 0}) {
    operations[i].returned_at = 10 + i;
    operations[i].outcome = Outcome::kOk;
    journal->End(numbers[i], operations[i]);
  }
  const auto read = ParseJournal(ReadFile(PathFor("all")), /*is_torn=*/false);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, operations);
}

// Goal: wherever a record was cut off, it is as if it had not been begun.
TEST(JournalTest, TornEndLeavesWhatStoodBefore) {
  auto journal = Journal::Open(PathFor("torn"));
  ASSERT_TRUE(journal.ok()) << journal.status();
  const Operation first = Put(1, "a");
  Operation second = Put(2, "b");
  (void)journal->Start(first);
  const size_t first_bytes = ReadFile(PathFor("torn")).size();
  const uint64_t number = journal->Start(second);
  const size_t second_bytes = ReadFile(PathFor("torn")).size();
  second.outcome = Outcome::kOk;
  second.returned_at = 9;
  journal->End(number, second);
  const std::string text = ReadFile(PathFor("torn"));
  for (size_t bytes = first_bytes; bytes <= text.size(); ++bytes) {
    const auto read = ParseJournal(text.substr(0, bytes), /*is_torn=*/true);
    ASSERT_TRUE(read.ok()) << bytes << ": " << read.status();
    ASSERT_EQ(read->size(), bytes < second_bytes ? 1u : 2u) << bytes;
    EXPECT_EQ(read->front(), first);
    if (read->size() == 2) {
      EXPECT_EQ(read->back().outcome, bytes < text.size() ? Outcome::kUnknown : Outcome::kOk);
    }
  }
  EXPECT_TRUE(ParseJournal("", /*is_torn=*/true)->empty());
  EXPECT_TRUE(ParseJournal("0 c3 h0", /*is_torn=*/true)->empty());
}

// Goal: a writer that is killed leaves everything that it had written.
TEST(JournalTest, SurvivesAKill) {
  const std::string path = PathFor("killed");
  const pid_t child = fork();
  if (child == 0) {
    auto journal = Journal::Open(path);
    if (!journal.ok()) _exit(1);
    Operation ended = Put(1, std::string(10'000, 'x'));
    const uint64_t number = journal->Start(ended);
    ended.returned_at = 2;
    ended.outcome = Outcome::kOk;
    journal->End(number, ended);
    (void)journal->Start(Put(3, "b"));
    (void)kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto read = ParseJournal(ReadFile(path), /*is_torn=*/true);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(read->front().value->size(), 10'000u);
  EXPECT_EQ(read->back(), Put(3, "b"));
}

// Goal: whoever takes what there is can do so again and again.
TEST(JournalTest, EmptiedFileGoesOn) {
  const std::string path = PathFor("emptied");
  auto journal = Journal::Open(path);
  ASSERT_TRUE(journal.ok()) << journal.status();
  for (uint64_t round = 1; round <= 3; ++round) {
    std::vector<Operation> operations = {Put(10 * round, "a"), Put(10 * round + 1, "b")};
    for (Operation& operation : operations) {
      const uint64_t number = journal->Start(operation);
      operation.outcome = Outcome::kOk;
      operation.returned_at = operation.invoked_at + 1;
      journal->End(number, operation);
    }
    const auto read = ParseJournal(ReadFile(path), /*is_torn=*/false);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, operations);
    ASSERT_EQ(truncate(path.c_str(), 0), 0);
  }
}

TEST(JournalTest, WrongLinesAreRefusedByNumber) {
  const std::string begun = "0 c3 h0 1 - unknown put \"k\" \"v\"\n";
  const std::string ended = "0 c3 h0 1 2 ok put \"k\" \"v\"\n";
  for (const std::string& text :
       {begun + "x\n", begun + "2" + begun.substr(1), begun + "1" + ended.substr(1),
        begun + ended + ended, begun + "1 c3\n", begun + "1\n"}) {
    const auto read = ParseJournal(text, /*is_torn=*/true);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_TRUE(absl::StartsWith(read.status().message(), "line ")) << read.status();
  }
  // Who was not killed tears nothing.
  EXPECT_FALSE(ParseJournal(begun + "1 c3", /*is_torn=*/false).ok());
}

}  // namespace
}  // namespace acre::checkers
