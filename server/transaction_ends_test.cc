#include "server/transaction_ends.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::server {
namespace {

using kvs::OpenTransaction;
using kvs::TransactionId;
using kvs::TransactionOutcome;
using kvs::TransactionParticipant;
using kvs::TransactionThread;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr TransactionParticipant kSelf{0, 100};
constexpr TransactionParticipant kOne{1, 101};
constexpr TransactionParticipant kTwo{2, 102};

TransactionThread Thread(uint32_t process_id = 7) { return {1, process_id, 3}; }
TransactionId Id(uint64_t sequence = 1, uint32_t process_id = 7) {
  return {Thread(process_id), sequence};
}

// A home whose transactions are what the test says.
class FakeHome final : public LocalHome {
 public:
  void Open(const TransactionId& id, std::vector<TransactionParticipant> participants) {
    named_[id.coordinator.process_id] = participants;
    open_[{id.coordinator.process_id, id.sequence}] = {id, false, std::move(participants)};
  }
  // By another home, or an operator.
  void End(const TransactionId& id) { open_.erase({id.coordinator.process_id, id.sequence}); }
  bool IsOpen(const TransactionId& id) const {
    return open_.count({id.coordinator.process_id, id.sequence}) != 0;
  }

  Task<TransactionOutcome> Promise(TransactionId id) override {
    ++promises;
    if (!IsOpen(id)) co_return outcome_of_ended;
    co_return TransactionOutcome::kPromised;
  }
  Task<absl::Status> Resolve(TransactionId id, bool commit) override {
    events->push_back(absl::StrCat("here ", commit ? "commit" : "abort"));
    open_.erase({id.coordinator.process_id, id.sequence});
    co_return absl::OkStatus();
  }
  Task<std::vector<OpenTransaction>> OpenOf(TransactionThread thread) override {
    std::vector<OpenTransaction> open;
    for (const auto& [name, transaction] : open_) {
      if (name.first == thread.process_id) open.push_back(transaction);
    }
    co_return open;
  }
  Task<std::vector<TransactionParticipant>> ParticipantsOf(TransactionThread thread) override {
    co_return named_[thread.process_id];
  }
  Task<absl::Status> Forget(TransactionThread thread) override {
    if (!forget.ok()) co_return forget;
    named_.erase(thread.process_id);
    events->push_back(absl::StrCat("forget ", thread.process_id));
    co_return absl::OkStatus();
  }

  absl::Status forget;
  std::vector<std::string>* events = nullptr;
  TransactionOutcome outcome_of_ended = TransactionOutcome::kCommitted;
  int promises = 0;

 private:
  std::map<std::pair<uint32_t, uint64_t>, OpenTransaction> open_;
  std::map<uint32_t, std::vector<TransactionParticipant>> named_;
};

// Others, which answer as the test says, by server_index.
class FakeOthers final : public OtherHomes {
 public:
  explicit FakeOthers(Scheduler* scheduler) : scheduler_(scheduler) {}

  Task<absl::StatusOr<TransactionOutcome>> Promise(TransactionParticipant participant,
                                                   TransactionId /*id*/) override {
    co_await Ask(absl::StrCat("promise ", participant.server_index));
    co_return promise(participant);
  }
  Task<absl::Status> Resolve(TransactionParticipant participant, TransactionId /*id*/,
                             bool commit) override {
    co_await Ask(absl::StrCat("tell ", participant.server_index, commit ? " commit" : " abort"));
    co_return absl::OkStatus();
  }
  Task<absl::Status> Close(TransactionParticipant participant,
                           TransactionThread /*thread*/) override {
    co_await Ask(absl::StrCat("close ", participant.server_index));
    co_return close(participant);
  }
  std::string NameOf(const TransactionParticipant& participant) const override {
    return absl::StrCat("server ", participant.server_index + 1, " at host:7");
  }

  std::vector<std::string> events;
  std::function<absl::StatusOr<TransactionOutcome>(const TransactionParticipant&)> promise =
      [](const auto&) { return TransactionOutcome::kPromised; };
  std::function<absl::Status(const TransactionParticipant&)> close = [](const auto&) {
    return absl::OkStatus();
  };
  uint64_t takes_ns = 1000;
  int under_way = 0;
  int under_way_max = 0;

 private:
  Task<void> Ask(std::string event) {
    events.push_back(std::move(event));
    under_way_max = std::max(under_way_max, ++under_way);
    co_await scheduler_->SleepFor(takes_ns);
    --under_way;
  }

  Scheduler* const scheduler_;
};

class TransactionEndsTest : public ::testing::Test {
 protected:
  TransactionEndsTest() {
    home_.events = &others_.events;
    ends_ = std::make_unique<TransactionEnds>(&scheduler_, kSelf, &home_, &others_);
  }
  void RunForMs(uint64_t ms) {
    const uint64_t end_ns = clock_.NowNs() + ms * kNsPerMs;
    for (;;) {
      while (scheduler_.RunOnce()) {
      }
      const absl::optional<uint64_t> next_ns = scheduler_.NextTimerNs();
      if (!next_ns.has_value() || *next_ns > end_ns) break;
      if (*next_ns > clock_.NowNs()) clock_.AdvanceToNs(*next_ns);
    }
    clock_.AdvanceToNs(end_ns);
  }
  void Lose(uint32_t process_id = 7) { ends_->OnLost(Thread(process_id)); }

  ManualClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .never_sleep = true, .name = "test"}};
  FakeHome home_;
  FakeOthers others_{&scheduler_};
  std::unique_ptr<TransactionEnds> ends_;
};

TEST_F(TransactionEndsTest, OneThatCommittedDecidesForAll) {
  home_.Open(Id(), {kSelf, kOne, kTwo});
  others_.promise = [](const TransactionParticipant& of) {
    return of == kOne ? TransactionOutcome::kPromised : TransactionOutcome::kCommitted;
  };
  Lose();
  RunForMs(5);
  // The others are told before this home, which may die meanwhile.
  EXPECT_THAT(others_.events,
              ElementsAre("promise 1", "promise 2", "tell 1 commit", "tell 2 commit", "here commit",
                          "close 1", "close 2", "forget 7"));
  EXPECT_EQ(ends_->counts().resolved_commit, 1u);
  EXPECT_EQ(ends_->counts().lost, 0u);
}

TEST_F(TransactionEndsTest, OneThatAbortedDecidesAtOnce) {
  home_.Open(Id(), {kOne, kSelf, kTwo});
  others_.promise = [](const TransactionParticipant&) { return TransactionOutcome::kAborted; };
  Lose();
  RunForMs(5);
  EXPECT_THAT(others_.events, ElementsAre("promise 1", "tell 1 abort", "tell 2 abort", "here abort",
                                          "close 1", "close 2", "forget 7"));
}

TEST_F(TransactionEndsTest, PromisesOfAllAbort) {
  home_.Open(Id(), {kOne, kSelf, kTwo});
  Lose();
  RunForMs(5);
  EXPECT_THAT(others_.events, ElementsAre("promise 1", "promise 2", "tell 1 abort", "tell 2 abort",
                                          "here abort", "close 1", "close 2", "forget 7"));
  EXPECT_EQ(ends_->counts().resolved_abort, 1u);
  EXPECT_EQ(ends_->counts().forgotten, 0u);
}

// Goal: a home that has forgotten a commit since, because nothing was open anywhere, answers with a promise. That
// must not become an abort.
TEST_F(TransactionEndsTest, PromisesDecideNothingOfWhatHasEndedMeanwhile) {
  home_.Open(Id(), {kSelf, kOne});
  others_.promise = [&](const TransactionParticipant&) {
    home_.End(Id());
    return TransactionOutcome::kPromised;
  };
  Lose();
  RunForMs(5);
  EXPECT_THAT(others_.events, ElementsAre("promise 1", "close 1", "forget 7"));
  EXPECT_EQ(ends_->counts().resolved_abort, 0u);
}

TEST_F(TransactionEndsTest, UnknownDecidesNothing) {
  home_.Open(Id(), {kSelf, kOne});
  others_.promise = [](const TransactionParticipant&) { return TransactionOutcome::kUnknown; };
  Lose();
  RunForMs(60'000);
  EXPECT_TRUE(home_.IsOpen(Id()));
  EXPECT_THAT(ends_->WhyOpen(Id()), HasSubstr("server 2 at host:7 does not know it"));
  EXPECT_GT(ends_->counts().forgotten, 0u) << "it is told that something is wrong";
  EXPECT_EQ(ends_->counts().unresolved, 1u);
}

TEST_F(TransactionEndsTest, WhoIsNotReachedIsAskedAgainEverMoreRarely) {
  home_.Open(Id(), {kSelf, kOne});
  home_.Open(Id(2), {kSelf, kOne});
  others_.promise = [](const TransactionParticipant&) {
    return absl::UnavailableError("no route");
  };
  Lose();
  RunForMs(60'000);
  EXPECT_TRUE(home_.IsOpen(Id()));
  EXPECT_EQ(ends_->WhyOpen(Id()), "asks server 2 at host:7, which does not answer: no route");
  ASSERT_EQ(ends_->Snapshot(10).size(), 2u);
  EXPECT_EQ(ends_->Snapshot(1).size(), 1u);
  // Once for both, about each second in the end.
  EXPECT_GT(others_.events.size(), 30u);
  EXPECT_LT(others_.events.size(), 150u);
  others_.promise = [](const TransactionParticipant&) { return TransactionOutcome::kCommitted; };
  RunForMs(2'000);
  EXPECT_FALSE(home_.IsOpen(Id()));
  EXPECT_FALSE(home_.IsOpen(Id(2)));
  EXPECT_EQ(ends_->counts().unresolved, 0u);
  EXPECT_THAT(ends_->Snapshot(10), IsEmpty());
  EXPECT_EQ(ends_->WhyOpen(Id()), "");
}

TEST_F(TransactionEndsTest, WhatARestartedHomeKnewIsForAnOperator) {
  const TransactionParticipant self_before{kSelf.server_index, 99};
  home_.Open(Id(1), {kSelf, kOne});
  home_.Open(Id(2), {self_before, kTwo});
  others_.promise = [](const TransactionParticipant& of) -> absl::StatusOr<TransactionOutcome> {
    if (of == kOne) return absl::FailedPreconditionError("another one");
    return TransactionOutcome::kPromised;
  };
  Lose();
  RunForMs(10'000);
  EXPECT_THAT(ends_->WhyOpen(Id(1)), HasSubstr("server 2 at host:7 was started anew"));
  EXPECT_THAT(ends_->WhyOpen(Id(2)), HasSubstr("server 1 at host:7 was started anew"));
  others_.close = [](const TransactionParticipant& of) {
    return of == kOne ? absl::FailedPreconditionError("another one") : absl::OkStatus();
  };
  home_.End(Id(1));
  home_.End(Id(2));
  RunForMs(2'000);
  EXPECT_EQ(others_.events.back(), "forget 7");
  EXPECT_EQ(ends_->counts().lost, 0u);
}

// Goal: one that is decided by others does not wait for whoever cannot be asked.
TEST_F(TransactionEndsTest, ACommitIsFoundBehindASilentHome) {
  home_.Open(Id(), {kOne, kSelf, kTwo});
  others_.promise = [](const TransactionParticipant& of) -> absl::StatusOr<TransactionOutcome> {
    if (of == kOne) return absl::UnavailableError("no route");
    return TransactionOutcome::kCommitted;
  };
  others_.close = [](const TransactionParticipant& of) {
    return of == kOne ? absl::UnavailableError("no route") : absl::OkStatus();
  };
  Lose();
  RunForMs(5);
  EXPECT_FALSE(home_.IsOpen(Id()));
  // But the outcome is kept for it.
  RunForMs(5'000);
  EXPECT_THAT(others_.events, Not(testing::Contains("forget 7")));
  ASSERT_EQ(ends_->Snapshot(10).size(), 1u);
  EXPECT_THAT(ends_->Snapshot(10)[0].why, HasSubstr("nothing is open"));
  others_.close = [](const TransactionParticipant&) { return absl::OkStatus(); };
  RunForMs(2'000);
  EXPECT_EQ(others_.events.back(), "forget 7");
}

TEST_F(TransactionEndsTest, ForgettingIsTriedAgain) {
  home_.forget = absl::FailedPreconditionError("its connection is there");
  Lose();
  RunForMs(100);
  ASSERT_EQ(ends_->Snapshot(10).size(), 1u);
  EXPECT_THAT(ends_->Snapshot(10)[0].why, HasSubstr("its connection is there"));
  home_.forget = absl::OkStatus();
  RunForMs(2'000);
  EXPECT_THAT(others_.events, ElementsAre("forget 7"));
  EXPECT_EQ(ends_->counts().lost, 0u);
}

TEST_F(TransactionEndsTest, ManyLostThreadsAskFewAtATime) {
  constexpr uint32_t kThreads = 1'000;
  for (uint32_t i = 1; i <= kThreads; ++i) home_.Open(Id(1, i), {kSelf, kOne});
  others_.takes_ns = 10 * kNsPerMs;
  for (uint32_t i = 1; i <= kThreads; ++i) Lose(i);
  RunForMs(2'000);
  EXPECT_EQ(ends_->counts().resolved_abort, kThreads);
  EXPECT_EQ(ends_->counts().lost, 0u);
  EXPECT_EQ(others_.under_way_max, static_cast<int>(TransactionEnds::kTurnsMax));
}

TEST_F(TransactionEndsTest, OneThatIsToldAgainIsLookedAtAgain) {
  home_.Open(Id(), {kSelf, kOne});
  others_.takes_ns = kNsPerMs;
  Lose();
  // While it is being closed everywhere.
  RunForMs(2);
  Lose();
  RunForMs(100);
  EXPECT_EQ(std::count(others_.events.begin(), others_.events.end(), "forget 7"), 2);
  EXPECT_EQ(ends_->counts().lost, 0u);
}

TEST_F(TransactionEndsTest, GoesInTheMiddleOfQuestions) {
  for (uint32_t i = 1; i <= 200; ++i) {
    home_.Open(Id(1, i), {kSelf, kOne});
    Lose(i);
  }
  others_.takes_ns = 10 * kNsPerMs;
  RunForMs(15);
  ASSERT_GT(others_.under_way, 0);
  Lose(1);
  ends_.reset();
  RunForMs(1'000);
  EXPECT_GT(others_.under_way, 0);  // Nobody waits for them any more.
}

}  // namespace
}  // namespace acre::server
