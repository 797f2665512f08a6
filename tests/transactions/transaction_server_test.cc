// Transactions as a server serves them: a whole server in the test's process, and coordinators that say what they like over a
// connection of their own, on shm and on tcp.

#include <sys/random.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/fabric_set.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "kvs/transaction_wire.h"
#include "kvs/wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "server/server.h"
#include "transport/bootstrap_peer.h"
#include "transport/completion_sink.h"
#include "transport/port.h"
#include "transport/rpc.h"

namespace acre::tests {
namespace {

using kvs::Method;
using kvs::TransactionId;
using kvs::TransactionOutcome;
using kvs::TransactionParticipant;
using kvs::TransactionThread;
using kvs::TransactionVote;
using kvs::TransactionWrite;
using server::Server;
using server::ServerOptions;
using Answer = TransactionVote::Answer;

std::unique_ptr<Server> StartServer(Clock* clock) {
  ServerOptions options;
  options.listen = {"127.0.0.1", 0};
  options.threads = 2;
  options.memory_bytes = uint64_t{16} << 20;
  options.huge_pages = transport::HugePages::kOff;
  options.lease_ms = 5000;  // Under tsan, on a busy machine, threads may stall.
  options.state_dir = testing::TempDir() + "/state";
  options.clock = clock;
  options.wall_ns = [] { return uint64_t{1}; };
  options.fill_random = [](absl::Span<uint8_t> bytes) {
    PCHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  };
  auto server = Server::Start(std::move(options));
  CHECK(server.ok()) << server.status();
  return *std::move(server);
}

// A connection, and what is said on it. Each call drives the scheduler till it is done.
class Connection final : public transport::CompletionSink {
 public:
  Connection(Scheduler* scheduler, FabricSet* fabrics, const std::string& address,
             uint32_t process_id = 0, uint64_t generation = 0)
      : scheduler_(scheduler) {
    transport::ConnectOptions connect;
    connect.server = transport::ParseHostPort(address).value();
    connect.layout_version = kvs::kLayoutVersion;
    connect.process_id = process_id;
    connect.process_id_generation = generation;
    connect.fabrics = fabrics->Open().value();
    connect.channel.region_id = FabricSet::TakeRegionIds(1);
    connect.deadline_ns = scheduler->NowNs() + 60'000'000'000;
    auto peer = scheduler->RunUntilDone(transport::ConnectPeer(std::move(connect)));
    CHECK(peer.ok()) << peer.status();
    peer_ = *std::move(peer);
    rpc_.emplace(scheduler, peer_.link.channel(), /*handler=*/nullptr);
    peer_.local.port->SetSink(peer_.link.queue_pair(), this);
    scheduler_->AddPoller(&*rpc_);
  }
  ~Connection() override {
    scheduler_->RemovePoller(&*rpc_);
    peer_.local.port->SetSink(peer_.link.queue_pair(), nullptr);
  }

  void OnCompletion(const transport::Completion& completion) override {
    peer_.link.channel()->OnCompletion(completion);
  }

  uint32_t process_id() const { return peer_.process_id; }
  uint64_t generation() const { return peer_.generation; }
  TransactionParticipant server() const { return {0, peer_.generation}; }
  TransactionThread Thread(uint32_t thread = 1) const { return {0, process_id(), thread}; }

  absl::Status Call(Method method, absl::string_view request, std::string* response) {
    return scheduler_->RunUntilDone(
        rpc_->Call(static_cast<uint16_t>(method), request, "", response));
  }
  absl::StatusOr<std::string> Call(Method method, absl::string_view request) {
    std::string response;
    absl::Status status = Call(method, request, &response);
    if (!status.ok()) return status;
    return response;
  }
  absl::Status Notify(Method method, const TransactionId& id, uint64_t finished_below = 0) {
    return NotifyBytes(method, kvs::EncodeNotice(id, finished_below));
  }
  absl::Status NotifyBytes(Method method, const std::string& notice) {
    return scheduler_->RunUntilDone(rpc_->Notify(static_cast<uint16_t>(method), notice));
  }

  // Puts these keys, blindly, with their own names as values.
  absl::StatusOr<TransactionVote> Ask(Method method, const TransactionId& id,
                                      std::vector<TransactionParticipant> homes,
                                      const std::vector<std::string>& keys,
                                      absl::optional<uint64_t> hold = absl::nullopt) {
    std::vector<TransactionWrite> writes;
    for (const std::string& key : keys) {
      TransactionWrite& write = writes.emplace_back();
      write.key = key;
      write.value = key;
    }
    std::string request;
    CHECK(kvs::EncodeTransaction(id, /*finished_below=*/0, hold, homes, {}, {}, writes, &request));
    const auto response = Call(method, request);
    if (!response.ok()) return response.status();
    return kvs::ParseVote(*response);
  }
  absl::StatusOr<TransactionVote> Lock(const TransactionId& id,
                                       const std::vector<std::string>& keys,
                                       absl::optional<uint64_t> hold = absl::nullopt) {
    return Ask(Method::kTransactionLock, id, {server()}, keys, hold);
  }
  // One that has another home, too: nobody is there.
  absl::StatusOr<TransactionVote> LockOfTwo(const TransactionId& id,
                                            const std::vector<std::string>& keys) {
    return Ask(Method::kTransactionLock, id, {server(), {1, 4711}}, keys);
  }
  absl::StatusOr<TransactionOutcome> Promise(const TransactionId& id) {
    const auto response = Call(Method::kTransactionPromise, kvs::EncodeId(id));
    if (!response.ok()) return response.status();
    return kvs::ParseOutcome(*response);
  }
  absl::Status Resolve(Method method, const TransactionId& id, bool commit) {
    return Call(method, kvs::EncodeResolve({id, commit})).status();
  }
  absl::StatusOr<std::string> Get(const std::string& key) { return Call(Method::kGet, key); }
  absl::Status Put(const std::string& key, const std::string& value) {
    std::string request;
    kvs::EncodePutHead(key, value, &request);
    return Call(Method::kPut, request + value).status();
  }
  uint64_t Stat(absl::string_view name) {
    const std::string stats = Call(Method::kStats, "").value();
    for (const absl::string_view line : absl::StrSplit(stats, '\n')) {
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      uint64_t value;
      if (words.size() == 2 && words[0] == name && absl::SimpleAtoi(words[1], &value)) return value;
    }
    LOG(FATAL) << "no " << name << " in " << stats;
  }
  void WaitForStat(absl::string_view name, uint64_t value) {
    while (Stat(name) != value) {
    }
  }

 private:
  Scheduler* const scheduler_;
  transport::ConnectedPeer peer_;
  absl::optional<transport::RpcPeer> rpc_;  // Goes before the link.
};

class TransactionServerTest : public testing::TestWithParam<const char*> {
 protected:
  TransactionServerTest() : server_(StartServer(&clock_)), scheduler_({.clock = &clock_}) {
    fabrics_ = FabricSet::Create(&scheduler_, {.name = GetParam()}).value();
    other_ = Connect();
  }

  std::unique_ptr<Connection> Connect() {
    return std::make_unique<Connection>(&scheduler_, fabrics_.get(), server_->address());
  }
  // Of the same process.
  std::unique_ptr<Connection> ConnectAs(const Connection& other) {
    return std::make_unique<Connection>(&scheduler_, fabrics_.get(), server_->address(),
                                        other.process_id(), other.generation());
  }

  RealClock clock_;
  std::unique_ptr<Server> server_;
  Scheduler scheduler_;
  std::unique_ptr<FabricSet> fabrics_;
  std::unique_ptr<Connection> other_;  // Another client than the test's.
};
INSTANTIATE_TEST_SUITE_P(All, TransactionServerTest, testing::Values("shm", "tcp"));

bool IsYes(const absl::StatusOr<TransactionVote>& vote) { return vote.ok() && vote->is_yes(); }
// -1: no vote.
int AnswerOf(const absl::StatusOr<TransactionVote>& vote) {
  return vote.ok() ? static_cast<int>(vote->answer) : -1;
}
constexpr int kOver = static_cast<int>(Answer::kOver);
constexpr int kInvalid = static_cast<int>(Answer::kInvalid);
constexpr int kLocked = static_cast<int>(Answer::kLocked);

TEST_P(TransactionServerTest, CommitInstallsAndAbortUndoes) {
  const auto mine = Connect();
  const TransactionId first = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->Lock(first, {"a", "b"})));
  EXPECT_EQ(mine->Stat("transactions_open"), 1u);
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, first).ok());
  EXPECT_EQ(mine->Get("a").value(), "a");
  EXPECT_EQ(mine->Get("b").value(), "b");

  const TransactionId second = {mine->Thread(), 2};
  ASSERT_TRUE(IsYes(mine->Lock(second, {"c"})));
  ASSERT_TRUE(mine->Notify(Method::kTransactionAbort, second, /*finished_below=*/2).ok());
  EXPECT_TRUE(absl::IsNotFound(mine->Get("c").status()));

  const TransactionId third = {mine->Thread(), 3};
  ASSERT_TRUE(IsYes(mine->Ask(Method::kTransactionAtOnce, third, {}, {"d"})));
  EXPECT_EQ(mine->Get("d").value(), "d");
  EXPECT_EQ(mine->Stat("transactions_committed"), 2u);
  EXPECT_EQ(mine->Stat("transactions_aborted"), 1u);
  EXPECT_EQ(mine->Stat("transactions_open"), 0u);
  EXPECT_EQ(mine->Stat("transactions_refused"), 0u);
}

TEST_P(TransactionServerTest, WhoLosesIsToldToWhom) {
  const auto mine = Connect();
  const TransactionId id = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->Lock(id, {"a key"})));
  const auto vote = other_->Lock({other_->Thread(), 1}, {"a key"});
  ASSERT_EQ(AnswerOf(vote), kLocked);
  EXPECT_EQ(vote->winner, absl::optional<TransactionId>(id));
  EXPECT_EQ(other_->Stat("votes_locked"), 1u);
  EXPECT_TRUE(
      absl::StrContains(other_->Call(Method::kStats, "").value(), "\ncontended_key a\\x20key 1\n"));
}

// Goal: the end of a connection ends what has no other home, before anybody has to ask.
TEST_P(TransactionServerTest, WhatHasNoOtherHomeEndsWithTheConnection) {
  auto mine = Connect();
  const TransactionId id = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->Lock(id, {"a"})));
  mine.reset();
  EXPECT_TRUE(other_->Put("a", "after").ok());
  EXPECT_EQ(other_->Stat("transactions_aborted"), 1u);
  EXPECT_EQ(other_->Stat("coordinators_lost"), 1u);
  EXPECT_EQ(other_->Stat("transactions_open"), 0u);
}

TEST_P(TransactionServerTest, WhatHasAnotherHomeWaitsForADecision) {
  auto mine = Connect();
  const TransactionId id = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->LockOfTwo(id, {"a", "b"})));
  EXPECT_TRUE(absl::IsFailedPrecondition(other_->Resolve(Method::kTransactionEnd, id, true)))
      << "its coordinator is connected";
  EXPECT_TRUE(absl::StrContains(other_->Call(Method::kTransactions, "").value(),
                                "waits for its coordinator, which is connected"));
  mine.reset();
  other_->WaitForStat("coordinators_lost", 1);
  EXPECT_EQ(other_->Stat("transactions_open"), 1u);
  const std::string text = other_->Call(Method::kTransactions, "").value();
  EXPECT_TRUE(absl::StrContains(text, absl::StrCat(id.ToString(), ": "))) << text;
  EXPECT_TRUE(absl::StrContains(
      text, absl::StrCat("s, 2 keys, at ", server_->address(), ",?, waits for an operator")))
      << text;
  ASSERT_TRUE(other_->Resolve(Method::kTransactionEnd, id, true).ok());
  EXPECT_EQ(other_->Get("a").value(), "a");
  EXPECT_TRUE(absl::IsFailedPrecondition(other_->Resolve(Method::kTransactionEnd, id, false)));
  EXPECT_EQ(other_->Stat("transactions_resolved"), 1u);
  EXPECT_EQ(other_->Call(Method::kTransactions, "").value(), "");
}

// Goal: COMMITs that were told to be placed count, whatever ends the connection right after.
TEST_P(TransactionServerTest, WhatWasPlacedIsTaken) {
  auto mine = Connect();
  for (uint64_t sequence = 1; sequence <= 20; ++sequence) {
    const TransactionId id = {mine->Thread(static_cast<uint32_t>(sequence)), 1};
    ASSERT_TRUE(IsYes(mine->LockOfTwo(id, {absl::StrCat("key", sequence)})));
    ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, id).ok());
    mine = Connect();
  }
  other_->WaitForStat("coordinators_lost", 20);
  EXPECT_EQ(other_->Stat("transactions_committed"), 20u);
  EXPECT_EQ(other_->Stat("transactions_open"), 0u);
}

TEST_P(TransactionServerTest, APromiseFencesWhoHasItLocked) {
  auto mine = Connect();
  const TransactionId id = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->LockOfTwo(id, {"a"})));
  EXPECT_EQ(other_->Promise(id).value(), TransactionOutcome::kPromised);
  EXPECT_FALSE(mine->Notify(Method::kTransactionCommit, id).ok()) << "its connection has ended";
  EXPECT_EQ(other_->Stat("transactions_open"), 1u);
  EXPECT_EQ(other_->Stat("transactions_promised"), 1u);
  ASSERT_TRUE(other_->Resolve(Method::kTransactionResolve, id, false).ok());
  EXPECT_TRUE(absl::IsNotFound(other_->Get("a").status()));
  EXPECT_EQ(other_->Promise(id).value(), TransactionOutcome::kAborted);
}

TEST_P(TransactionServerTest, OutcomesAreToldWhenTheConnectionIsGone) {
  auto mine = Connect();
  const TransactionId at_once = {mine->Thread(1), 1};
  const TransactionId of_two = {mine->Thread(2), 1};
  ASSERT_TRUE(IsYes(mine->Ask(Method::kTransactionAtOnce, at_once, {mine->server()}, {"a"})));
  ASSERT_TRUE(IsYes(mine->LockOfTwo(of_two, {"b"})));
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, of_two).ok());
  EXPECT_EQ(other_->Promise(at_once).value(), TransactionOutcome::kCommitted);
  EXPECT_EQ(other_->Promise(of_two).value(), TransactionOutcome::kCommitted);
  mine.reset();
  other_->WaitForStat("coordinators_lost", 1);
  EXPECT_EQ(other_->Promise(at_once).value(), TransactionOutcome::kCommitted);
  EXPECT_EQ(other_->Promise(of_two).value(), TransactionOutcome::kCommitted);
  // That one never came.
  EXPECT_EQ(other_->Promise({at_once.coordinator, 2}).value(), TransactionOutcome::kPromised);
}

TEST_P(TransactionServerTest, WhoIsPromisedAwayBeforeItComesIsNotTaken) {
  const auto mine = Connect();
  const TransactionId id = {mine->Thread(), 7};
  EXPECT_EQ(other_->Promise(id).value(), TransactionOutcome::kPromised);
  EXPECT_EQ(AnswerOf(mine->Lock(id, {"a"})), kOver);
  EXPECT_EQ(AnswerOf(mine->Lock({mine->Thread(), 8}, {"a"})), kOver) << "its coordinator is closed";
  EXPECT_TRUE(IsYes(mine->Lock({mine->Thread(2), 1}, {"a"})));
  EXPECT_EQ(other_->Stat("votes_over"), 2u);
}

// Goal: another home's decision contradicts what is known here, not what is known no more.
TEST_P(TransactionServerTest, OnlyAKnownOutcomeContradictsADecision) {
  const auto mine = Connect();
  const TransactionId known = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->LockOfTwo(known, {"a"})));
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, known).ok());
  EXPECT_EQ(mine->Get("a").value(), "a");
  const auto resolve = [this](const TransactionId& id, bool commit) {
    return other_->Resolve(Method::kTransactionResolve, id, commit);
  };
  EXPECT_TRUE(resolve(known, true).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(resolve(known, false)));
  ASSERT_TRUE(mine->Notify(Method::kTransactionAbort, {mine->Thread(), 2}, 2).ok());
  EXPECT_EQ(mine->Get("a").value(), "a");
  EXPECT_EQ(other_->Promise(known).value(), TransactionOutcome::kUnknown) << "it is truncated";
  EXPECT_TRUE(resolve(known, true).ok());
  EXPECT_TRUE(resolve(known, false).ok());
  // One that is not known at all, and one of which it is known that it never locks anything.
  const TransactionId never = {mine->Thread(2), 1};
  EXPECT_TRUE(resolve(never, true).ok());
  EXPECT_EQ(other_->Promise(never).value(), TransactionOutcome::kPromised);
  EXPECT_TRUE(absl::IsFailedPrecondition(resolve(never, true)));
  EXPECT_TRUE(resolve(never, false).ok());
  EXPECT_EQ(other_->Get("a").value(), "a");
  EXPECT_EQ(other_->Stat("transactions_resolved"), 0u);
}

TEST_P(TransactionServerTest, CloseIsOkOnceNothingIsOpen) {
  const auto mine = Connect();
  const TransactionId id = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->LockOfTwo(id, {"a"})));
  const std::string request = kvs::EncodeId({mine->Thread(), 0});
  EXPECT_TRUE(
      absl::IsFailedPrecondition(other_->Call(Method::kTransactionClose, request).status()));
  EXPECT_EQ(AnswerOf(mine->Lock({mine->Thread(), 2}, {"b"})), kOver);
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, id).ok()) << "what was locked may commit";
  EXPECT_EQ(mine->Get("a").value(), "a");
  EXPECT_TRUE(other_->Call(Method::kTransactionClose, request).ok());
  EXPECT_TRUE(
      absl::IsInvalidArgument(other_->Call(Method::kTransactionClose, kvs::EncodeId(id)).status()));
}

TEST_P(TransactionServerTest, ACoordinatorBelongsToOneConnection) {
  auto mine = Connect();
  const auto twin = ConnectAs(*mine);
  ASSERT_EQ(twin->process_id(), mine->process_id());
  ASSERT_TRUE(IsYes(mine->LockOfTwo({mine->Thread(), 1}, {"a"})));
  EXPECT_EQ(AnswerOf(twin->Lock({mine->Thread(), 2}, {"b"})), kOver);
  EXPECT_TRUE(absl::IsInvalidArgument(other_->Lock({mine->Thread(), 2}, {"b"}).status()))
      << "another process";
  mine.reset();
  twin->WaitForStat("coordinators_lost", 1);
  EXPECT_EQ(AnswerOf(twin->Lock({twin->Thread(), 2}, {"b"})), kOver) << "its connection has ended";
  std::string hold;
  kvs::EncodeHold(twin->Thread(), 1, 1'000'000, {"b"}, &hold);
  EXPECT_TRUE(absl::IsFailedPrecondition(twin->Call(Method::kTransactionHold, hold).status()));
  EXPECT_TRUE(IsYes(twin->Lock({twin->Thread(2), 1}, {"b"})));
}

TEST_P(TransactionServerTest, AConnectionHasSoManyCoordinators) {
  const auto mine = Connect();
  for (uint32_t thread = 1; thread <= 64; ++thread) {
    ASSERT_TRUE(IsYes(mine->Ask(Method::kTransactionAtOnce, {mine->Thread(thread), 1}, {}, {"a"})));
  }
  const auto ask_of_another = [&] {
    return mine->Ask(Method::kTransactionAtOnce, {mine->Thread(65), 1}, {}, {"a"});
  };
  EXPECT_TRUE(absl::IsResourceExhausted(ask_of_another().status()));
  ASSERT_TRUE(mine->Call(Method::kTransactionClose, kvs::EncodeId({mine->Thread(3), 0})).ok());
  EXPECT_EQ(AnswerOf(mine->Lock({mine->Thread(3), 2}, {"b"})), kOver);
  EXPECT_TRUE(IsYes(ask_of_another())) << "at a time";
}

TEST_P(TransactionServerTest, AServerThatWasStartedAnewIsAnotherOne) {
  const auto mine = Connect();
  const auto vote = mine->Ask(Method::kTransactionLock, {mine->Thread(), 1},
                              {{0, mine->generation() + 1}}, {"a"});
  ASSERT_EQ(AnswerOf(vote), kInvalid);
  EXPECT_TRUE(absl::IsFailedPrecondition(vote->status)) << vote->status;
  EXPECT_EQ(mine->Stat("votes_invalid"), 1u);
}

TEST_P(TransactionServerTest, NoticesThatComeTooLateAreCounted) {
  const auto mine = Connect();
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, {mine->Thread(), 1}).ok());
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, {other_->Thread(), 1}).ok());
  EXPECT_EQ(mine->Stat("transactions_refused"), 2u);
}

TEST_P(TransactionServerTest, BytesThatMakeNoSenseHarmTheirSenderAlone) {
  auto mine = Connect();
  for (const Method method :
       {Method::kTransactionLock, Method::kTransactionAtOnce, Method::kTransactionHold,
        Method::kTransactionPromise, Method::kTransactionResolve, Method::kTransactionClose,
        Method::kTransactionEnd}) {
    for (const char* bytes : {"", "x", "a request that has some bytes, and says nothing at all"}) {
      EXPECT_TRUE(absl::IsInvalidArgument(mine->Call(method, bytes).status()));
    }
  }
  EXPECT_TRUE(absl::IsUnimplemented(mine->Call(Method::kTransactionCommit, "").status()))
      << "a notice is no call";
  ASSERT_TRUE(IsYes(mine->Lock({mine->Thread(), 1}, {"a"}))) << "the connection goes on";
  // Whatever it is told of the notice itself.
  (void)mine->NotifyBytes(Method::kTransactionCommit, "too short");
  EXPECT_TRUE(absl::IsUnavailable(mine->Get("a").status()));
  EXPECT_TRUE(other_->Put("a", "after").ok());
  mine = Connect();
  (void)mine->Notify(Method::kGet, {mine->Thread(), 1});
  EXPECT_TRUE(absl::IsUnavailable(mine->Get("a").status())) << "no notice of that number";
}

TEST_P(TransactionServerTest, HoldsKeepOthersOutTillTheyAreReleased) {
  const auto mine = Connect();
  std::string request;
  kvs::EncodeHold(mine->Thread(), 1, 1'000'000'000, {"a"}, &request);
  ASSERT_TRUE(mine->Call(Method::kTransactionHold, request).ok());
  EXPECT_EQ(AnswerOf(other_->Lock({other_->Thread(), 1}, {"a"})), kLocked);
  ASSERT_TRUE(mine->Notify(Method::kTransactionRelease, {mine->Thread(), 1}).ok());
  // On the same connection, so behind it.
  EXPECT_TRUE(absl::IsNotFound(mine->Get("a").status()));
  EXPECT_TRUE(IsYes(other_->Lock({other_->Thread(), 2}, {"a"})));
  ASSERT_TRUE(other_->Notify(Method::kTransactionAbort, {other_->Thread(), 2}).ok());
  kvs::EncodeHold(mine->Thread(), 2, 1'000'000'000, {"a"}, &request);
  ASSERT_TRUE(mine->Call(Method::kTransactionHold, request).ok());
  const TransactionId id = {mine->Thread(), 1};
  ASSERT_TRUE(IsYes(mine->Lock(id, {"a"}, /*hold=*/2)));
  ASSERT_TRUE(mine->Notify(Method::kTransactionCommit, id).ok());
  EXPECT_EQ(mine->Get("a").value(), "a");
  EXPECT_EQ(mine->Stat("holds"), 2u);
}

// Goal: a process that is stopped with its locks does not keep others out for good, though its connection stands.
TEST_P(TransactionServerTest, WhoLetsATransactionLieIsGivenUp) {
  const auto mine = Connect();
  ASSERT_TRUE(IsYes(mine->Lock({mine->Thread(), 1}, {"a"})));
  // Unavailable as long as the lock is waited for in vain.
  absl::Status put;
  do {
    put = other_->Put("a", "after");
    ASSERT_TRUE(put.ok() || absl::IsUnavailable(put)) << put;
  } while (!put.ok());
  EXPECT_TRUE(absl::IsUnavailable(mine->Get("a").status())) << "its connection was ended";
}

// Goal: a server stops with open transactions, holds and waiting writers.
TEST_P(TransactionServerTest, StopsWithAllThatIsOpen) {
  const auto mine = Connect();
  ASSERT_TRUE(IsYes(mine->Lock({mine->Thread(), 1}, {"a"})));
  ASSERT_TRUE(IsYes(mine->LockOfTwo({mine->Thread(), 2}, {"b"})));
  std::string request;
  kvs::EncodeHold(mine->Thread(), 1, 1'000'000'000, {"c"}, &request);
  ASSERT_TRUE(mine->Call(Method::kTransactionHold, request).ok());
  EXPECT_EQ(server_->Stop(), absl::OkStatus());
}

}  // namespace
}  // namespace acre::tests
