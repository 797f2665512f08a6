// A card's events as it makes them: its port loses its link and gets it back. Needs a card of its own, and root:
// //transport/verbs:verbs_events_rxe_vm_test runs it on Soft-RoCE, in a virtual machine.

#include <poll.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "glog/logging.h"
#include "runtime/mutex.h"
#include "transport/verbs/verbs_device.h"
#include "transport/verbs/verbs_events.h"
#include "transport/verbs/verbs_test_util.h"

namespace acre::transport {
namespace {

// Of rxe0: tools/rxe-vm.
void SetLink(const char* state) {
  CHECK_EQ(std::system((std::string("/bin/ip link set eth0 ") + state).c_str()), 0);
}

class EventLines : public google::LogSink {
 public:
  EventLines() { google::AddLogSink(this); }
  ~EventLines() override { google::RemoveLogSink(this); }
  void send(google::LogSeverity, const char*, const char*, int, const struct ::tm*,
            const char* message, size_t bytes) override {
    MutexLock lock(&mutex_);
    lines_.emplace_back(message, bytes);
  }
  int CountOf(absl::string_view part) {
    MutexLock lock(&mutex_);
    int count = 0;
    for (const std::string& line : lines_) count += absl::StrContains(line, part) ? 1 : 0;
    return count;
  }

 private:
  Mutex mutex_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
};

class VerbsEventsRxeTest : public testing::Test {
 protected:
  ~VerbsEventsRxeTest() override { SetLink("up"); }
};

// Till there is one of `kind`, a minute at most.
void TakeTill(VerbsEvents* events, VerbsEventKind kind) {
  for (int i = 0; i < 60 && events->Count(kind) == 0; ++i) {
    pollfd event = {.fd = events->fd(), .events = POLLIN, .revents = 0};
    poll(&event, 1, /*timeout_ms=*/1'000);
    ASSERT_TRUE(events->Take());
  }
  ASSERT_EQ(events->Count(kind), 1u);
}

TEST_F(VerbsEventsRxeTest, PortThatLosesItsLinkIsToldOnceAndSoIsItsReturn) {
  EventLines lines;
  const auto card = Take(VerbsDevice::Open("rxe0", ""));
  VerbsEvents* const events = card->events();
  ASSERT_TRUE(events->Take());  // Returns though there is nothing.
  EXPECT_EQ(events->Count(VerbsEventKind::kPortDown), 0u);
  SetLink("down");
  TakeTill(events, VerbsEventKind::kPortDown);
  EXPECT_EQ(lines.CountOf("card rxe0, port 1: it has lost its link"), 1);
  EXPECT_EQ(events->Count(VerbsEventKind::kPortUp), 0u);
  SetLink("up");
  TakeTill(events, VerbsEventKind::kPortUp);
  EXPECT_EQ(lines.CountOf("card rxe0, port 1: it has a link again"), 1);
}

// Goal: who only sleeps on a completion queue, as servers and clients do, wakes and tells.
TEST_F(VerbsEventsRxeTest, CompletionQueueTellsWhatHappenedToItsCard) {
  EventLines lines;
  RealClock clock;
  const auto fabric = Take(VerbsFabric::Create({.clock = &clock, .device = "rxe0"}));
  std::vector<std::unique_ptr<CompletionQueue>> queues;
  for (int i = 0; i < 2; ++i) queues.push_back(Take(fabric->CreateCompletionQueue()));
  SetLink("down");
  for (int i = 0; i < 60 && lines.CountOf("it has lost its link") == 0; ++i) {
    for (const auto& queue : queues) {
      Completion completion;
      queue->Arm();
      EXPECT_EQ(queue->Poll({&completion, 1}), 0u);
      pollfd event = {.fd = queue->fd(), .events = POLLIN, .revents = 0};
      if (lines.CountOf("it has lost its link") == 0) poll(&event, 1, /*timeout_ms=*/1'000);
      queue->Disarm();
      EXPECT_EQ(queue->Poll({&completion, 1}), 0u);
    }
  }
  // Both queues were asked; the event came to one.
  EXPECT_EQ(lines.CountOf("it has lost its link"), 1);
}

}  // namespace
}  // namespace acre::transport
