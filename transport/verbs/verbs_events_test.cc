// What a card's events are told as, and how often. With a card, so that there are some:
// //transport/verbs:verbs_events_rxe_vm_test.

#include "transport/verbs/verbs_events.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/scoped_fd.h"

namespace acre::transport {
namespace {

constexpr ibv_event_type kAll[] = {IBV_EVENT_CQ_ERR,
                                   IBV_EVENT_QP_FATAL,
                                   IBV_EVENT_QP_REQ_ERR,
                                   IBV_EVENT_QP_ACCESS_ERR,
                                   IBV_EVENT_COMM_EST,
                                   IBV_EVENT_SQ_DRAINED,
                                   IBV_EVENT_PATH_MIG,
                                   IBV_EVENT_PATH_MIG_ERR,
                                   IBV_EVENT_DEVICE_FATAL,
                                   IBV_EVENT_PORT_ACTIVE,
                                   IBV_EVENT_PORT_ERR,
                                   IBV_EVENT_LID_CHANGE,
                                   IBV_EVENT_PKEY_CHANGE,
                                   IBV_EVENT_SM_CHANGE,
                                   IBV_EVENT_SRQ_ERR,
                                   IBV_EVENT_SRQ_LIMIT_REACHED,
                                   IBV_EVENT_QP_LAST_WQE_REACHED,
                                   IBV_EVENT_CLIENT_REREGISTER,
                                   IBV_EVENT_GID_CHANGE,
                                   IBV_EVENT_WQ_FATAL};

// As much of a card as its events need, and one of its queue pairs.
class VerbsEventsTest : public testing::Test {
 protected:
  VerbsEventsTest() {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    read_end_ = ScopedFd(ends[0]);
    write_end_ = ScopedFd(ends[1]);
    std::strcpy(device_.name, "mlx5_3");
    context_.device = &device_;
    context_.async_fd = read_end_.get();
    queue_pair_.qp_num = 4711;
  }

  ibv_async_event Event(ibv_event_type type) {
    ibv_async_event event = {};
    event.event_type = type;
    if (KindOf(type) == VerbsEventKind::kQueuePairFailed) {
      event.element.qp = &queue_pair_;
    } else {
      event.element.port_num = 2;
    }
    return event;
  }
  VerbsEvents::Log Collect() {
    return [this](VerbsEvents::Level level, const std::string& line) {
      (level == VerbsEvents::Level::kNote ? notes_ : warnings_).push_back(line);
    };
  }

  ScopedFd read_end_;
  ScopedFd write_end_;
  ibv_device device_ = {};
  ibv_context context_ = {};
  ibv_qp queue_pair_ = {};
  std::vector<std::string> notes_;
  std::vector<std::string> warnings_;
};

TEST_F(VerbsEventsTest, EachSaysWhatWhereAndWhatToDo) {
  struct Case {
    ibv_event_type type;
    absl::string_view where;
    absl::string_view what;
    absl::string_view to_do;
  };
  for (const Case& c : {
           Case{IBV_EVENT_PORT_ERR, "card mlx5_3, port 2: ", "lost its link", "look at cable"},
           Case{IBV_EVENT_PORT_ACTIVE, "card mlx5_3, port 2: ", "has a link again", "anew"},
           Case{IBV_EVENT_GID_CHANGE, "card mlx5_3, port 2: ", "changed", "kv_doctor"},
           Case{IBV_EVENT_DEVICE_FATAL, "card mlx5_3: ", "taken away", "start this process again"},
           Case{IBV_EVENT_QP_FATAL, "card mlx5_3, queue pair 4711: ", "could not go on", "dmesg"},
           Case{IBV_EVENT_QP_ACCESS_ERR, "card mlx5_3, queue pair 4711: ", "may not have",
                "client"},
           Case{IBV_EVENT_CQ_ERR, "card mlx5_3: ", "completion queue is lost", "report it"},
       }) {
    const std::string text = VerbsEventText("mlx5_3", Event(c.type));
    EXPECT_TRUE(absl::StartsWith(text, c.where)) << text;
    EXPECT_TRUE(absl::StrContains(text, c.what)) << text;
    EXPECT_TRUE(absl::StrContains(text, c.to_do)) << text;
    EXPECT_TRUE(absl::EndsWith(text, absl::StrCat(" (", ibv_event_type_str(c.type), ")"))) << text;
  }
}

TEST_F(VerbsEventsTest, OrdinaryLifeIsCountedAndNotTold) {
  VerbsEvents events(&context_, Collect());
  std::set<ibv_event_type> told;
  for (const ibv_event_type type : kAll) {
    const size_t before = notes_.size() + warnings_.size();
    events.Note(Event(type));
    if (notes_.size() + warnings_.size() > before) told.insert(type);
  }
  EXPECT_EQ(events.Count(VerbsEventKind::kUnremarkable), 7u);
  EXPECT_EQ(events.Count(VerbsEventKind::kPortChanged), 5u);
  EXPECT_EQ(events.Count(VerbsEventKind::kQueuePairFailed), 4u);
  EXPECT_FALSE(told.contains(IBV_EVENT_COMM_EST));
  EXPECT_FALSE(told.contains(IBV_EVENT_QP_LAST_WQE_REACHED));
  EXPECT_TRUE(told.contains(IBV_EVENT_DEVICE_FATAL));
  // Where nothing is wrong, nobody is warned.
  EXPECT_EQ(notes_.size(), 6u);
}

// Goal: peers that break their connections again and again do not fill a disk; a port that flaps is told each time.
TEST_F(VerbsEventsTest, WhatPeersCanBringAboutIsToldSeldom) {
  VerbsEvents events(&context_, Collect());
  for (int i = 0; i < 1000; ++i) events.Note(Event(IBV_EVENT_QP_ACCESS_ERR));
  EXPECT_EQ(events.Count(VerbsEventKind::kQueuePairFailed), 1000u);
  ASSERT_EQ(warnings_.size(), 10u);  // 1, 2, 4, ..., 512.
  EXPECT_TRUE(absl::EndsWith(warnings_[0], ")")) << warnings_[0];
  EXPECT_TRUE(absl::EndsWith(warnings_[9], "; number 512 of its kind")) << warnings_[9];
  warnings_.clear();
  for (int i = 0; i < 5; ++i) {
    events.Note(Event(IBV_EVENT_PORT_ERR));
    events.Note(Event(IBV_EVENT_PORT_ACTIVE));
  }
  EXPECT_EQ(warnings_.size(), 5u);
  EXPECT_EQ(notes_.size(), 5u);
}

// Goal: whoever looks for events never waits for one.
TEST_F(VerbsEventsTest, WithoutEventsTakeReturnsAtOnce) {
  VerbsEvents events(&context_, Collect());
  EXPECT_EQ(events.fd(), read_end_.get());
  EXPECT_NE(fcntl(events.fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_TRUE(events.Take());
}

// Goal: a card that was taken away does not keep its watchers awake for ever. The kernel's descriptor then reports an
// error, and gives one when read: so does the writing end of a pipe that nobody reads.
TEST_F(VerbsEventsTest, DeadDescriptorIsWatchedNoMore) {
  context_.async_fd = write_end_.get();
  read_end_.Close();
  VerbsEvents events(&context_, Collect());
  const ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.fd = events.fd()}};
  ASSERT_EQ(epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, events.fd(), &event), 0);
  ASSERT_EQ(epoll_wait(epoll_fd.get(), &event, 1, /*timeout=*/0), 1);
  EXPECT_FALSE(events.Take());
  events.TakeFor(epoll_fd.get());
  EXPECT_EQ(epoll_wait(epoll_fd.get(), &event, 1, /*timeout=*/0), 0);
}

}  // namespace
}  // namespace acre::transport
