// Inserts of the load generator's processes, against a kv_server process: records of all of them have numbers
// without gaps or doubles, reads find them, and a process that is killed in the midst of it ends the run.

#include <errno.h>
#include <signal.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/record.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/or_die.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

constexpr uint64_t kLoaded = 2000;

// What a run reports.
struct Report {
  nlohmann::json rows;
  uint64_t records_count;  // That are there after it, the first ones without a gap.
};

class YcsbInsertsTest : public testing::Test {
 protected:
  YcsbInsertsTest()
      : server_(StartOrDie({.memory = "256M"})),
        client_(ConnectOrDie(server_->address(), Path::kMapped)) {
    auto loading = Start({"--load"});
    const Outcome loaded = loading->Wait();
    CHECK_EQ(loaded.exit_code, 0) << loaded.stderr_text;
  }

  std::unique_ptr<Process> Start(const std::vector<std::string>& flags) {
    std::vector<std::string> command = {"bench/ycsb", absl::StrCat("--records=", kLoaded),
                                        absl::StrCat("--servers=", server_->address())};
    command.insert(command.end(), flags.begin(), flags.end());
    auto process = Process::Start(command);
    CHECK(process.ok()) << process.status();
    return *std::move(process);
  }
  // Runs without a warm-up, so that all operations are counted. Nothing failed.
  Report Run(std::vector<std::string> flags) {
    const std::string file = absl::StrCat(testing::TempDir(), "/rows.json");
    flags.push_back("--warmup=0");
    flags.push_back(absl::StrCat("--json=", file));
    const Outcome outcome = Start(flags)->Wait();
    CHECK_EQ(outcome.exit_code, 0) << outcome.stderr_text;
    std::ifstream stream(file);
    Report report = {nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false), 0};
    for (const nlohmann::json& row : report.rows) EXPECT_EQ(row["errors"], 0) << row["path"];
    const std::vector<std::string> parts = absl::StrSplit(outcome.stdout_text, "--records=");
    CHECK_EQ(parts.size(), 2u) << outcome.stdout_text;
    CHECK(absl::SimpleAtoi(parts[1].substr(0, parts[1].find(' ')), &report.records_count))
        << outcome.stdout_text;
    return report;
  }

  uint64_t RecordsCount() { return StatOf(client_.get(), "records"); }
  // Records 0 to count - 1 are there, with values of theirs.
  void ExpectRecords(uint64_t count) {
    bench::KeyWriter key(16);
    std::string value;
    for (uint64_t record = 0; record < count; ++record) {
      ASSERT_TRUE(client_->Get(key.Write(record), &value).ok()) << record << " of " << count;
      ASSERT_TRUE(bench::IsValueOf(record, value)) << record;
    }
  }

  std::unique_ptr<KvServer> server_;
  std::unique_ptr<Client> client_;
};

uint64_t OperationsOf(const Report& report) {
  uint64_t operations = 0;
  for (const nlohmann::json& row : report.rows) operations += row["operations"].get<uint64_t>();
  return operations;
}

std::string WriteInsertsOnly(uint64_t operations) {
  const std::string path = absl::StrCat(testing::TempDir(), "/inserts.properties");
  std::ofstream(path) << "recordcount=" << kLoaded << "\noperationcount=" << operations
                      << "\nreadproportion=0\nupdateproportion=0\ninsertproportion=1\n"
                         "requestdistribution=latest\nfieldcount=1\nfieldlength=32\n";
  return path;
}

// Goal: YCSB's own workload with inserts, on every path: nothing that is read is not there yet, and one in
// twenty operations has added a record.
TEST_F(YcsbInsertsTest, ProcessesReadTheLatestOfAll) {
  uint64_t records = kLoaded;
  for (const char* processes : {"2", "3"}) {
    const Report report =
        Run({"--workload=d", absl::StrCat("--records=", records),
             absl::StrCat("--processes=", processes), "--path=mapped,one_sided,rpc,tcp",
             "--batch=4", "--connections=2", "--seconds=0.3"});
    ASSERT_EQ(report.rows.size(), 4u);
    const auto operations = static_cast<double>(OperationsOf(report));
    const auto inserted = static_cast<double>(report.records_count - records);
    EXPECT_GT(operations, 1000);
    // Six deviations. Numbers that two processes took would be missing here.
    EXPECT_NEAR(inserted, operations * 0.05, 6 * std::sqrt(operations * 0.05 * 0.95));
    records = report.records_count;
    EXPECT_EQ(RecordsCount(), records);
    ExpectRecords(records);
  }
}

// Goal: where all operations are inserts, there are as many records more, to the last one.
TEST_F(YcsbInsertsTest, EveryInsertAddsARecord) {
  uint64_t records = kLoaded;
  for (const char* processes : {"2", "3"}) {
    const Report report =
        Run({absl::StrCat("--workload=", WriteInsertsOnly(1200)),
             absl::StrCat("--records=", records), absl::StrCat("--processes=", processes),
             "--threads=2", "--path=one_sided,rpc,tcp", "--batch=8", "--connections=2"});
    ASSERT_EQ(report.rows.size(), 3u);
    EXPECT_EQ(OperationsOf(report), 3 * 1200u);
    records += 3 * 1200;
    EXPECT_EQ(report.records_count, records);
    EXPECT_EQ(RecordsCount(), records);
    ExpectRecords(records);
  }
}

// Goal: in an open loop a process draws an insert and gives its number back when the slice ends before its
// time; whoever comes next takes it.
TEST_F(YcsbInsertsTest, OpenLoopReadsTheLatestOfAllToo) {
  const Report report = Run({"--workload=d", "--processes=3", "--path=mapped,rpc,tcp", "--batch=4",
                             "--connections=2", "--target_ops=1K,3K", "--seconds=0.4"});
  ASSERT_EQ(report.rows.size(), 6u);
  EXPECT_GT(report.records_count, kLoaded);
  // There may be gaps (docs/benchmarks.md), and records behind the first.
  EXPECT_LE(report.records_count, RecordsCount());
  ExpectRecords(report.records_count);
}

// Goal: a process that is killed while inserts of it are under way, which will never end, ends the run: with
// an error that names it, and nobody hangs or stays behind. The store is whole.
TEST_F(YcsbInsertsTest, ProcessKilledInMidInsertEndsTheRun) {
  const std::unique_ptr<Process> process =
      Start({absl::StrCat("--workload=", WriteInsertsOnly(1'000'000'000)), "--processes=3",
             "--path=rpc", "--batch=16"});
  const absl::StatusOr<std::string> line = process->WaitForOutput("load processes:");
  ASSERT_TRUE(line.ok()) << line.status();
  std::vector<pid_t> pids;
  for (const absl::string_view word : absl::StrSplit(*line, ' ')) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(word, &pid)) pids.push_back(pid);
  }
  ASSERT_EQ(pids.size(), 3u);
  while (RecordsCount() < kLoaded + 100) {
    ASSERT_FALSE(process->HasEnded()) << process->Wait().stderr_text;
  }
  // From here on each has sixteen inserts under way, but for moments.
  ASSERT_EQ(kill(pids[1], SIGKILL), 0);
  const Outcome outcome = process->Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("load process 2 of 3"));
  EXPECT_THAT(outcome.stderr_text, HasSubstr("signal 9"));
  for (const pid_t pid : pids) {
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_EQ(errno, ESRCH);
  }
  // Others insert the same records, and read none that was lost.
  const Report report = Run({"--workload=d", "--processes=2", "--seconds=0.2"});
  EXPECT_GT(report.records_count, kLoaded);
  ExpectRecords(report.records_count);
}

}  // namespace
}  // namespace acre::tests
