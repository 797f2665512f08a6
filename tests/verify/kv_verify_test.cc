// kv_verify as users run it, against kv_server processes; and what judges for it, against clients
// that use no transactions.

#include <signal.h>

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/client.h"
#include "client/isolation/checker.h"
#include "client/isolation/history.h"
#include "client/verify/journal.h"
#include "client/verify/judge.h"
#include "client/verify/plan.h"
#include "client/verify/session.h"
#include "client/verify/store.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "tests/test_cluster.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Told {
  Outcome outcome;
  nlohmann::json json;
};

Told Verify(const std::vector<std::string>& servers, std::vector<std::string> flags) {
  const std::string file = absl::StrCat(testing::TempDir(), "/verdict.json");
  std::ofstream(file) << "";
  std::vector<std::string> command = {"client/kv_verify", "--seed=7", "--json=" + file,
                                      "--servers=" + absl::StrJoin(servers, ",")};
  command.insert(command.end(), flags.begin(), flags.end());
  auto process = Process::Start(command);
  CHECK(process.ok()) << process.status();
  Told told;
  told.outcome = (*process)->Wait();
  std::ifstream stream(file);
  told.json = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  return told;
}

uint64_t Records(const std::string& address) {
  const std::unique_ptr<Client> client = ConnectOrDie(address);
  return StatOf(client.get(), address, "records");
}

void ExpectPass(const Told& told) {
  ASSERT_EQ(told.outcome.exit_code, 0) << told.outcome.stdout_text << told.outcome.stderr_text;
  EXPECT_THAT(told.outcome.stdout_text, StartsWith("PASS: opaque: "));
  EXPECT_EQ(told.json["verdict"], "pass");
  EXPECT_GT(told.json["ok"], 100);
  EXPECT_EQ(told.json["transactions"].get<uint64_t>(), told.json["ok"].get<uint64_t>() +
                                                           told.json["fail"].get<uint64_t>() +
                                                           told.json["info"].get<uint64_t>());
  EXPECT_TRUE(told.json["errors"].empty()) << told.json["first_error"];
  EXPECT_EQ(told.json["findings"].size(), 0u);
}

// How a run reaches its cluster.
struct ClusterCase {
  size_t servers;
  const char* fabric;
};

class KvVerifyTest : public testing::TestWithParam<ClusterCase> {};

TEST_P(KvVerifyTest, LiveClusterPassesAndIsLeftAsItWas) {
  TestCluster cluster(GetParam().servers);
  const std::string fabric = absl::StrCat("--fabric=", GetParam().fabric);
  for (const char* workload : {"list_append", "register", "both"}) {
    // Several epochs.
    const Told told = Verify(cluster.addresses, {fabric, "--seconds=1.2", "--epoch_seconds=0.4",
                                                 absl::StrCat("--workload=", workload)});
    ExpectPass(told);
    EXPECT_GE(told.json["epochs"], 3);
    EXPECT_EQ(told.json["info"], 0);
    EXPECT_THAT(told.json["way"].get<std::string>(), HasSubstr(GetParam().fabric));
  }
  for (const std::string& address : cluster.addresses) EXPECT_EQ(Records(address), 0u) << address;
}

// Goal: whoever dies in the middle of anything leaves nothing half done and no lock.
TEST_P(KvVerifyTest, KilledClientsLeaveNothing) {
  TestCluster cluster(GetParam().servers);
  const Told told = Verify(cluster.addresses,
                           {absl::StrCat("--fabric=", GetParam().fabric), "--seconds=3", "--kill",
                            "--kill_every=0.3", "--threads=2", "--recovery_seconds=30"});
  ExpectPass(told);
  EXPECT_GE(told.json["kills"], 1);
  EXPECT_GT(told.json["info"], 0);
  EXPECT_GT(told.json["slowest_recovery_ms"], 0);
  for (const std::string& address : cluster.addresses) EXPECT_EQ(Records(address), 0u) << address;
}

INSTANTIATE_TEST_SUITE_P(All, KvVerifyTest,
                         testing::Values(ClusterCase{1, "shm"}, ClusterCase{1, "tcp"},
                                         ClusterCase{2, "shm"}, ClusterCase{2, "tcp"}),
                         [](const testing::TestParamInfo<ClusterCase>& cluster) {
                           return absl::StrCat(cluster.param.servers, "Servers_",
                                               cluster.param.fabric);
                         });

// Goal: the file is the history that was judged, in epochs, and whoever judges it again says the
// same.
TEST(KvVerifyFilesTest, HistoryIsWrittenAndCanBeJudged) {
  const auto server = StartOrDie();
  const std::string file = absl::StrCat(testing::TempDir(), "/whole.edn");
  const Told told = Verify({server->address()}, {"--seconds=1", "--epoch_transactions=500",
                                                 "--keep", "--history=" + file});
  ExpectPass(told);
  const auto history = isolation::LoadHistory(file);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->transactions.size(), told.json["transactions"].get<uint64_t>());
  const auto report = isolation::Check(*history);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->Keeps(isolation::Level::kOpaque));
  EXPECT_GT(told.json["epochs"], 1);
  EXPECT_GT(Records(server->address()), 0u);
}

TEST(KvVerifyFilesTest, WrongUseIsOneClearLine) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"--processes=0", "--processes"},
      {"--seconds=0", "--seconds"},
      {"--workload=bank", "bank"},
      {"--level=perfect", "perfect"},
      {"--path=rpc", "no transactions"},
      {"--writes_per_key=5000", "1024"},
      {"--servers=127.0.0.1:1", "127.0.0.1:1"},
      {"--history=/no/such/folder/h", "/no/such/folder"},
      {"word", "word"}};
  for (const auto& [flag, why] : cases) {
    auto process = Process::Start({"client/kv_verify", "--seconds=0.1", flag});
    ASSERT_TRUE(process.ok());
    const Outcome outcome = (*process)->Wait();
    EXPECT_EQ(outcome.exit_code, 2) << flag;
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << flag;
    EXPECT_EQ(outcome.stdout_text, "") << flag;
  }
}

// Goal: an interrupted run has a verdict, and leaves no process and no key.
TEST(KvVerifyFilesTest, InterruptEndsItInOrder) {
  const auto server = StartOrDie();
  auto process = Process::Start({"client/kv_verify", "--seconds=3000", "--epoch_transactions=200",
                                 "--processes=3", "--servers=" + server->address()});
  ASSERT_TRUE(process.ok());
  // Keys are there while it runs.
  while (Records(server->address()) == 0) {
    ASSERT_FALSE((*process)->HasEnded());
  }
  (*process)->Signal(SIGINT);
  const Outcome outcome = (*process)->Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  EXPECT_THAT(outcome.stdout_text, StartsWith("PASS"));
  EXPECT_EQ(Records(server->address()), 0u);
}

// Goal: a violation ends the run, with an example in words and the history. A server that has lost its records has broken
// what its clients were told.
TEST(KvVerifyFilesTest, LostRecordsAreAViolationWithAnExample) {
  const auto server = StartOrDie();
  const std::string file = absl::StrCat(testing::TempDir(), "/violation.edn");
  auto process = Process::Start({"client/kv_verify", "--seconds=3000", "--epoch_seconds=3000",
                                 "--epoch_transactions=1000000", "--history=" + file,
                                 "--servers=" + server->address()});
  ASSERT_TRUE(process.ok());
  const auto wait_for_records = [&] {
    while (Records(server->address()) == 0) ASSERT_FALSE((*process)->HasEnded());
  };
  wait_for_records();
  server->Kill();
  ASSERT_TRUE(server->StartAgain().ok());
  wait_for_records();
  (*process)->Signal(SIGTERM);
  const Outcome outcome = (*process)->Wait();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.stderr_text;
  EXPECT_THAT(outcome.stdout_text, HasSubstr("\nFAIL: not opaque: "));
  EXPECT_THAT(outcome.stdout_text, HasSubstr("It breaks: "));
  EXPECT_THAT(outcome.stdout_text, HasSubstr(file));
  for (const std::string& path : {file, file + ".excerpt"}) {
    const auto history = isolation::LoadHistory(path);
    ASSERT_TRUE(history.ok()) << history.status();
    const auto report = isolation::Check(*history);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->Keeps(isolation::Level::kOpaque)) << path;
  }
}

// ---- Clients that read, and then write what they have made of it, without transactions.

class PlainTransaction : public verify::StoreTransaction {
 public:
  explicit PlainTransaction(AsyncClient* client) : client_(client) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    if (const auto own = writes_.find(std::string(key)); own != writes_.end()) {
      *value = own->second;
      co_return absl::OkStatus();
    }
    const absl::Status status = co_await client_->Get(key, value);
    co_return status;
  }
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override {
    return client_->MultiGet(keys, values, statuses);
  }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    writes_[std::string(key)] = std::string(value);
    return absl::OkStatus();
  }
  absl::Status Delete(absl::string_view) override { return absl::OkStatus(); }
  Task<absl::Status> Commit() override {
    for (const auto& [key, value] : writes_) {
      absl::Status status = co_await client_->Put(key, value);
      if (!status.ok()) co_return status;
    }
    co_return absl::OkStatus();
  }
  uint8_t abort_phase() const override { return 0; }
  bool is_outcome_unknown() const override { return false; }

 private:
  AsyncClient* const client_;
  std::map<std::string, std::string> writes_;
};

class PlainStore : public verify::Store {
 public:
  explicit PlainStore(AsyncClient* client) : client_(client) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    return client_->Get(key, value);
  }
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override {
    return client_->Put(key, value);
  }
  std::unique_ptr<verify::StoreTransaction> Begin() override {
    return std::make_unique<PlainTransaction>(client_);
  }
  Task<absl::Status> RunTransaction(const verify::StoreFunction& function) override {
    PlainTransaction transaction(client_);
    absl::Status status = co_await function(&transaction);
    if (status.ok()) status = co_await transaction.Commit();
    co_return status;
  }

 private:
  AsyncClient* const client_;
};

// Goal: what a real store does to those who go without transactions is found, with an example in
// words.
TEST(PlainClientsTest, TheirLostUpdatesAreFound) {
  const auto server = StartOrDie();
  RealClock clock;
  Scheduler scheduler({.clock = &clock, .seed = 1});
  ClientOptions client_options;
  client_options.servers = {server->address()};
  auto client = scheduler.RunUntilDone(AsyncClient::Connect(&scheduler, client_options));
  ASSERT_TRUE(client.ok()) << client.status();
  PlainStore store(client->get());

  verify::PlanOptions plan = {.registers = false, .keys = 2};
  std::vector<SharedWord> words(verify::KeyCounters::WordsFor(plan.keys));
  verify::KeyCounters counters(plan, absl::MakeSpan(words));
  verify::PlanSource plans(plan, &counters, /*seed=*/3);
  std::vector<uint32_t> room(4 << 20);
  SharedWord length{}, next_process{}, begun{}, stopped_epoch{};
  verify::JournalWriter journal(&length, absl::MakeSpan(room));
  const verify::Epoch epoch = {.prefix = "plain", .number = 1};
  verify::Session session(
      &scheduler, &store, &plans, &journal, {&next_process, &begun, &stopped_epoch},
      {.plan = plan, .epoch = epoch, .outstanding = 8, .transactions_max = 2000});
  scheduler.RunUntilDone(session.Run());
  EXPECT_TRUE(session.first_error().ok()) << session.first_error();

  verify::HistoryBuilder builder(epoch);
  const auto written = absl::MakeConstSpan(room).first(length.Load(std::memory_order_acquire));
  ASSERT_TRUE(builder.Add(written).ok());
  const isolation::History history = builder.Take(/*first_place=*/0);
  const auto report = isolation::Check(history);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->Keeps(isolation::Level::kSnapshotIsolation));
  EXPECT_TRUE(report->Find("lost-update") != nullptr ||
              report->Find("incompatible-order") != nullptr);
  EXPECT_THAT(report->findings.front().text, HasSubstr("plain/1/l"));
  EXPECT_LE(report->findings.front().transactions.size(), 4u);
}

}  // namespace
}  // namespace acre::tests
