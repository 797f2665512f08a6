#include "client/shell.h"

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre {
namespace {

using testing::HasSubstr;

class FakeStore : public ShellStore {
 public:
  absl::StatusOr<std::string> Get(absl::string_view key) override {
    if (!failure.ok()) return failure;
    const auto found = records.find(std::string(key));
    if (found == records.end()) return absl::NotFoundError("no such record");
    return found->second;
  }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    if (failure.ok()) records[std::string(key)] = std::string(value);
    return failure;
  }
  absl::Status Delete(absl::string_view key) override {
    if (records.erase(std::string(key)) > 0) return absl::OkStatus();
    return absl::NotFoundError("no such record");
  }
  std::vector<absl::StatusOr<std::string>> MultiGet(
      absl::Span<const absl::string_view> keys) override {
    std::vector<absl::StatusOr<std::string>> values;
    for (const absl::string_view key : keys) values.push_back(Get(key));
    return values;
  }
  absl::StatusOr<std::string> Stats(const std::string& server) override {
    if (server == down) return absl::UnavailableError(server + " is down");
    return "records of " + server + "\n";
  }
  std::vector<std::string> Servers() override { return servers; }
  absl::StatusOr<uint64_t> Lock(const std::string& name, int64_t timeout_ms) override {
    if (locks.contains(name)) return absl::DeadlineExceededError(std::to_string(timeout_ms));
    locks[name] = 700;
    return 700;
  }
  absl::Status Unlock(const std::string& name) override {
    return locks.erase(name) > 0 ? absl::OkStatus() : absl::NotFoundError("not held");
  }
  absl::StatusOr<std::string> Locks(const std::string& server) override {
    return "locks of " + server + "\n";
  }
  absl::Status ForceUnlock(const std::string& name, uint64_t token) override {
    if (locks[name] != token) return absl::FailedPreconditionError("another holder by now");
    return Unlock(name);
  }

  absl::StatusOr<std::string> Transactions(const std::string& server) override {
    return "transactions of " + server + "\n";
  }
  absl::Status EndTransaction(const std::string& id, bool commit) override {
    if (id != "0.1.2.3") return absl::NotFoundError("no such transaction");
    ended = commit ? "committed" : "aborted";
    return absl::OkStatus();
  }

  std::string ended;
  std::map<std::string, uint64_t> locks;
  std::map<std::string, std::string> records;
  absl::Status failure;
  std::vector<std::string> servers = {"a:1"};
  std::string down;
};

class ShellTest : public testing::Test {
 protected:
  Shell::Outcome Run(const std::vector<std::string>& words,
                     ValueFormat format = ValueFormat::kQuoted) {
    out_.str("");
    errors_.str("");
    Shell shell(&store_, format, &out_, &errors_);
    return shell.Run(words);
  }

  FakeStore store_;
  std::ostringstream out_;
  std::ostringstream errors_;
};

using Outcome = Shell::Outcome;

TEST_F(ShellTest, LocksAreTakenListedAndForced) {
  EXPECT_EQ(Run({"lock", "l"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "token 700\n");
  EXPECT_EQ(Run({"lock", "l", "250"}), Outcome::kFailed);
  EXPECT_THAT(errors_.str(), HasSubstr("250"));
  EXPECT_EQ(Run({"lock", "l", "soon"}), Outcome::kUsage);
  EXPECT_EQ(Run({"locks"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "locks of a:1\n");
  EXPECT_EQ(Run({"force-unlock", "l", "699"}), Outcome::kFailed);
  EXPECT_THAT(errors_.str(), HasSubstr("another holder"));
  EXPECT_EQ(Run({"force-unlock", "l", "x"}), Outcome::kUsage);
  EXPECT_EQ(Run({"force-unlock", "l", "700"}), Outcome::kOk);
  EXPECT_EQ(Run({"unlock", "l"}), Outcome::kFailed);
  store_.servers = {"a:1", "b:2"};
  EXPECT_EQ(Run({"locks"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "[server 1 a:1]\nlocks of a:1\n[server 2 b:2]\nlocks of b:2\n");
}

TEST_F(ShellTest, TransactionsAreListed) {
  store_.servers = {"a:1", "b:2"};
  EXPECT_EQ(Run({"transactions"}), Outcome::kOk);
  EXPECT_EQ(out_.str(),
            "[server 1 a:1]\ntransactions of a:1\n[server 2 b:2]\ntransactions of b:2\n");
  EXPECT_EQ(Run({"transactions", "b:2"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "transactions of b:2\n");
}

TEST_F(ShellTest, WhoResolvesIsToldWhatThatGivesUp) {
  EXPECT_EQ(Run({"resolve", "0.1.2.3", "commit"}), Outcome::kUsage);
  EXPECT_THAT(errors_.str(), HasSubstr("happened in part"));
  EXPECT_THAT(errors_.str(), HasSubstr("resolve 0.1.2.3 commit anyway\n"));
  EXPECT_EQ(store_.ended, "");
  EXPECT_EQ(Run({"resolve", "0.1.2.3", "maybe", "anyway"}), Outcome::kUsage);
  EXPECT_EQ(Run({"resolve", "0.1.2.3", "commit", "please"}), Outcome::kUsage);
  EXPECT_EQ(store_.ended, "");
  EXPECT_EQ(Run({"resolve", "0.1.2.3", "commit", "anyway"}), Outcome::kOk);
  EXPECT_EQ(store_.ended, "committed");
  EXPECT_EQ(Run({"resolve", "0.1.2.3", "abort", "anyway"}), Outcome::kOk);
  EXPECT_EQ(store_.ended, "aborted");
  EXPECT_EQ(Run({"resolve", "9.9.9.9", "abort", "anyway"}), Outcome::kFailed);
}

TEST_F(ShellTest, PutGetDelete) {
  EXPECT_EQ(Run({"put", "k", std::string("a\0b", 3)}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "OK\n");
  EXPECT_EQ(Run({"get", "k"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "\"a\\x00b\"\n");
  EXPECT_EQ(Run({"del", "k"}), Outcome::kOk);
  EXPECT_EQ(Run({"del", "k"}), Outcome::kFailed);
  EXPECT_EQ(errors_.str(), "(not found)\n");
}

TEST_F(ShellTest, RawFormatsGiveTheBytes) {
  store_.records["k"] = std::string("a\0b", 3);
  Run({"get", "k"}, ValueFormat::kRaw);
  EXPECT_EQ(out_.str(), std::string("a\0b", 3));
  Run({"get", "k"}, ValueFormat::kRawLine);
  EXPECT_EQ(out_.str(), std::string("a\0b\n", 4));
  Run({"put", "k", "v"}, ValueFormat::kRaw);
  EXPECT_EQ(out_.str(), "");
}

TEST_F(ShellTest, NotFoundIsNoOutputButAFailure) {
  EXPECT_EQ(Run({"get", "k"}), Outcome::kFailed);
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(errors_.str(), "(not found)\n");
}

TEST_F(ShellTest, ErrorsAreTold) {
  store_.failure = absl::ResourceExhaustedError("the server is full");
  EXPECT_EQ(Run({"put", "k", "v"}), Outcome::kFailed);
  EXPECT_THAT(errors_.str(), HasSubstr("the server is full (RESOURCE_EXHAUSTED)"));
}

TEST_F(ShellTest, MultiGetPrintsALineForEachKey) {
  store_.records["a"] = "1";
  store_.records["c"] = "line\nend";
  EXPECT_EQ(Run({"mget", "a", "b", "c"}, ValueFormat::kRaw), Outcome::kFailed);
  EXPECT_EQ(out_.str(), "\"1\"\n(not found)\n\"line\\nend\"\n");
  EXPECT_EQ(Run({"mget", "a", "c"}), Outcome::kOk);
}

TEST_F(ShellTest, WrongUseIsToldAndNotSent) {
  EXPECT_EQ(Run({"put", "k"}), Outcome::kUsage);
  EXPECT_THAT(errors_.str(), HasSubstr("usage: put KEY VALUE"));
  EXPECT_EQ(Run({"put", "k", "two", "words"}), Outcome::kUsage);
  EXPECT_THAT(errors_.str(), HasSubstr("quotes"));
  EXPECT_EQ(Run({"gte", "k"}), Outcome::kUsage);
  EXPECT_THAT(errors_.str(), HasSubstr("\"gte\""));
  EXPECT_EQ(Run({"mget"}), Outcome::kUsage);
  EXPECT_TRUE(store_.records.empty());
}

TEST_F(ShellTest, StatsAndServersNameEachServer) {
  store_.servers = {"a:1", "b:2"};
  EXPECT_EQ(Run({"stats"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "[server 1 a:1]\nrecords of a:1\n[server 2 b:2]\nrecords of b:2\n");
  EXPECT_EQ(Run({"stats", "b:2"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "records of b:2\n");
  EXPECT_EQ(Run({"servers"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "1 a:1 answers\n2 b:2 answers\n");

  store_.down = "a:1";
  EXPECT_EQ(Run({"stats"}), Outcome::kFailed);
  EXPECT_EQ(out_.str(), "[server 1 a:1]\n[server 2 b:2]\nrecords of b:2\n") << "the others too";
  EXPECT_THAT(errors_.str(), HasSubstr("a:1 is down"));
  EXPECT_EQ(Run({"servers"}), Outcome::kFailed);
  EXPECT_EQ(out_.str(), "1 a:1 does not answer\n2 b:2 answers\n");
}

TEST_F(ShellTest, StatsHelpAndQuit) {
  EXPECT_EQ(Run({"stats"}), Outcome::kOk);
  EXPECT_EQ(out_.str(), "records of a:1\n") << "a single server needs no heading";
  EXPECT_EQ(Run({"help"}), Outcome::kOk);
  for (const ShellCommand& command : ShellCommands()) {
    EXPECT_THAT(out_.str(), HasSubstr(std::string(command.name)));
  }
  EXPECT_EQ(Run({"quit"}), Outcome::kQuit);
  EXPECT_EQ(Run({"exit"}), Outcome::kQuit);
  EXPECT_EQ(Run({}), Outcome::kOk);
}

}  // namespace
}  // namespace acre
