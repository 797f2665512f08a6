// How calls travel between the two processes of bench/messages: the client's side and the server's, of each
// way. Rings carry RPCs (ring_messages.cc); TCP sockets carry frames of the same content (tcp_messages.cc).
//
// Threads: one on each side; all calls from it.
// Errors:  Unavailable - the other process has gone. DataLoss - it talks nonsense. Those of fabric and
//          kernel while connecting. A side is of no use after one.

#ifndef ACRE_BENCH_MESSAGE_WAY_H_
#define ACRE_BENCH_MESSAGE_WAY_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "bench/histogram.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"

namespace acre::bench {

enum class MessageWay : uint64_t { kRing = 1, kTcp = 2 };

// Methods of the calls.
constexpr uint16_t kEchoMethod = 1;
constexpr uint16_t kPauseMethod = 2;  // Answered like an echo; then MessageServer::Serve() returns.

// What the server does with a request, whatever way it came.
inline void Echo(absl::string_view request, std::string* response) {
  response->assign(request.data(), request.size());
}

struct MessageOptions {
  Clock* clock = nullptr;  // Outlives both sides.
  PollMode poll = PollMode::kBusy;
  std::string fabric = "shm";  // Of the rings.
  std::string device;          // Of this side, on verbs: transport::ProviderOptions.
  uint32_t connections = 1;    // That are made; a load may use less.
};

struct MessageLoad {
  uint64_t bytes = 0;        // Of each request and each response.
  uint32_t connections = 1;  // In use.
  uint32_t outstanding = 1;  // Calls under way at once on each of them; at most.
  // 0: closed loop. Else calls are meant to begin at random times (bench/pacer.h), so many a second on all
  // connections together; only MessageWay::kRing has that.
  double calls_per_second = 0;
  uint64_t warmup_ns = 0;  // Not measured, first.
  uint64_t run_ns = 0;
};

// The calls that ended in the measured time.
struct MessageSample {
  double calls_per_second = 0;
  uint64_t backlog = 0;  // Open loop: calls that were due at the end and had not begun.
  Histogram latency_ns;
};

// What a side asked of the network, on all connections since they were made, warm-ups and pauses included.
struct MessageCost {
  uint64_t calls = 0;             // Made, by the client.
  transport::VerbCounters verbs;  // Of this side. Each call waits one round trip more. TCP: none.

  MessageCost& operator+=(const MessageCost& other) {
    calls += other.calls;
    verbs += other.verbs;
    return *this;
  }
  MessageCost& operator-=(const MessageCost& other) {
    calls -= other.calls;
    verbs -= other.verbs;
    return *this;
  }
};

class MessageServer {
 public:
  virtual ~MessageServer() = default;
  // Takes MessageOptions::connections from the client, which is at the other end of `socket` and calls
  // Connect() meanwhile.
  virtual absl::Status Accept(int socket) = 0;
  // Answers calls on the first `connections` of them, till the client calls Pause().
  virtual absl::Status Serve(uint32_t connections) = 0;
  virtual MessageCost cost() const { return {}; }
};

class MessageCaller {
 public:
  virtual ~MessageCaller() = default;
  virtual absl::Status Connect(int socket) = 0;
  // Requires: the server is about to Serve() as many connections, or does.
  virtual absl::StatusOr<MessageSample> Run(const MessageLoad& load) = 0;
  // The server's Serve() returns.
  virtual absl::Status Pause() = 0;
  virtual MessageCost cost() const { return {}; }
};

std::unique_ptr<MessageServer> MakeRingServer(const MessageOptions& options);
std::unique_ptr<MessageCaller> MakeRingCaller(const MessageOptions& options);
std::unique_ptr<MessageServer> MakeTcpServer(const MessageOptions& options);
std::unique_ptr<MessageCaller> MakeTcpCaller(const MessageOptions& options);

// Which calls of a run count: those that end in its measured part. That lasts till one has ended, on a machine
// that is too busy to let the two processes run within the time that was meant for it.
class MessageWindow {
 public:
  MessageWindow(const MessageLoad& load, Clock* clock)
      : ticks_(clock->tick_clock()),
        begin_ns_(clock->NowNs()),
        measured_from_(clock->TicksAt(begin_ns_ + load.warmup_ns)),
        end_(clock->TicksAt(begin_ns_ + load.warmup_ns + load.run_ns)),
        ns_per_tick_(1 / clock->ticks_per_ns()) {}

  uint64_t Ticks() const { return ticks_.Ticks(); }
  // No call begins any more.
  bool IsOver(uint64_t now_ticks) const { return now_ticks >= end_ && latency_ns_.count() > 0; }
  void Add(uint64_t begin_ticks, uint64_t end_ticks) {
    if (end_ticks < measured_from_ || IsOver(end_ticks)) return;
    const auto ticks = static_cast<double>(end_ticks > begin_ticks ? end_ticks - begin_ticks : 0);
    latency_ns_.Add(static_cast<uint64_t>(ticks * ns_per_tick_));
    measured_to_ = std::max(end_, end_ticks);
  }
  // Requires: a call was added that ended after the warm-up.
  MessageSample Sample() const {
    CHECK_GT(latency_ns_.count(), 0u);
    const double ns = static_cast<double>(measured_to_ - measured_from_) * ns_per_tick_;
    return {.calls_per_second = static_cast<double>(latency_ns_.count()) / (ns * 1e-9),
            .backlog = 0,
            .latency_ns = latency_ns_};
  }

 private:
  const TickClock ticks_;
  const uint64_t begin_ns_;
  const uint64_t measured_from_;
  const uint64_t end_;
  const double ns_per_tick_;
  uint64_t measured_to_ = 0;
  Histogram latency_ns_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_MESSAGE_WAY_H_
