// Sleeping on a completion queue: every receive ends a sleep, on both devices. No scheduler is in between
// (runtime/scheduler.h has a locked instruction of its own before it sleeps): what keeps a wake-up from
// being lost is transport/wake_flag.h alone, or the card.

#include <sys/epoll.h>

#include <array>
#include <memory>
#include <vector>

#include "runtime/random.h"
#include "transport/sim/sim_test_util.h"

namespace acre::transport {
namespace {

constexpr int kKnocks = 400;
constexpr size_t kConnections = 4;

// One process knocks at another, which sleeps when it finds nothing.
class WakeTest {
 public:
  WakeTest(uint64_t seed, SimDevice device)
      : random_(seed),
        test_(seed, SimFaults::Draw(&random_), /*store_buffers=*/true),
        machine_(test_.world()->AddMachine("machine")),
        options_{.device = device, .receive_queue_depth = 2},
        sender_(&test_, machine_, options_),
        receiver_(&test_, machine_, options_) {
    SimFaults faults = test_.network()->faults();
    faults.lost_connection = 0;
    test_.network()->SetFaults(faults);
    for (size_t i = 0; i < kConnections; ++i) {
      connections_.push_back(ConnectNodes(&sender_, &receiver_));
    }
  }

  // Whether all knocks were received in time.
  bool Run() {
    int received = 0;
    bool is_over = false;
    receiver_.process()->Spawn("receiver", [&] {
      const std::unique_ptr<Sleeper> sleeper = machine_->clock()->NewSleeper();
      CHECK(sleeper->Watch(receiver_.queue()->fd(), EPOLLIN, this).ok());
      Completion completion;
      while (received < kKnocks) {
        if (receiver_.queue()->Poll({&completion, 1}) == 0) {
          receiver_.queue()->Arm();
          if (receiver_.queue()->Poll({&completion, 1}) == 0) {
            std::array<epoll_event, 1> events;
            (void)sleeper->Wait(absl::MakeSpan(events), 10'000 * kMs);
            receiver_.queue()->Disarm();
            continue;
          }
          receiver_.queue()->Disarm();
        }
        CHECK(completion.kind == CompletionKind::kReceive);
        EXPECT_EQ(completion.immediate, static_cast<uint32_t>(received));
        ++received;
      }
      sleeper->Unwatch(receiver_.queue()->fd());
      is_over = true;
    });
    sender_.process()->Spawn("sender", [&] {
      WorkRequest knock;
      knock.opcode = Opcode::kWriteWithImm;
      for (int i = 0; i < kKnocks; ++i) {
        knock.immediate = static_cast<uint32_t>(i);
        QueuePair* const queue_pair = connections_[random_.Uniform(kConnections)].client.get();
        EXPECT_EQ(sender_.Execute(queue_pair, knock), CompletionStatus::kOk);
        // Not the next one before this one was heard: it would do this one's waking.
        while (received <= i) test_.world()->Sleep(kUs / 2);
        test_.world()->Spend(random_.Uniform(400));
      }
    });
    return test_.RunUntil([&] { return is_over; });
  }

 private:
  Random random_;
  SimTestWorld test_;
  sim::Machine* const machine_;
  const SimFabric::Options options_;
  SimTestNode sender_;
  SimTestNode receiver_;
  std::vector<SimTestConnection> connections_;
};

TEST(SimWakeTest, NoWakeUpIsLost) {
  for (const SimDevice device : {SimDevice::kSharedMemory, SimDevice::kCard}) {
    for (uint64_t seed = 1; seed <= 100; ++seed) {
      auto test = std::make_unique<WakeTest>(seed, device);
      if (test->Run()) continue;
      (void)test.release();  // Its threads, which hang, refer to it.
      FAIL() << "seed " << seed << ": a sleeper was not woken";
    }
  }
}

}  // namespace
}  // namespace acre::transport
