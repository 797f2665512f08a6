// Calls as RPCs over rings, a channel and a queue pair for each connection, one completion queue for all.

#include <array>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/message_way.h"
#include "bench/pacer.h"
#include "bench/subprocess.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/channel.h"
#include "transport/port.h"
#include "transport/providers/providers.h"
#include "transport/rpc.h"

namespace acre::bench {
namespace {

using transport::Channel;
using transport::ChannelOffer;
using transport::QueuePairState;

constexpr size_t kEndpointBytes = 256;

// A queue pair with a channel on it, of either side.
struct Line {
  Line(Scheduler* line_scheduler, transport::Port* line_port)
      : scheduler(line_scheduler), port(line_port) {}
  ~Line() {
    peer.reset();
    if (queue_pair != nullptr) port->Forget(queue_pair.get());
    channel.reset();
  }

  Scheduler* const scheduler;
  transport::Port* const port;
  std::unique_ptr<transport::QueuePair> queue_pair;
  std::unique_ptr<Channel> channel;
  std::unique_ptr<transport::RpcPeer> peer;
};

// What both processes have: a thread's loop, a device, the lines.
class Side : private Poller {
 public:
  explicit Side(const MessageOptions& options)
      : options_(options),
        scheduler_(
            {.clock = options.clock, .seed = 1, .poll_mode = options.poll, .name = "messages"}) {}
  ~Side() override { Deactivate(); }

  absl::Status Open() {
    auto fabric = transport::OpenProvider(options_.fabric,
                                          {.clock = options_.clock, .device = options_.device});
    if (!fabric.ok()) return fabric.status();
    fabric_ = *std::move(fabric);
    auto queue = fabric_->CreateCompletionQueue();
    if (!queue.ok()) return queue.status();
    completion_queue_ = *std::move(queue);
    port_ = std::make_unique<transport::Port>(&scheduler_, completion_queue_.get());
    return absl::OkStatus();
  }

  absl::Status Connect(int socket) {
    std::array<char, kEndpointBytes> endpoint = {};
    absl::Status status = ReceiveBytes(socket, endpoint.data(), endpoint.size());
    endpoint.back() = '\0';
    for (uint32_t i = 0; i < options_.connections && status.ok(); ++i) {
      auto connecting = fabric_->Connect(endpoint.data(), completion_queue_.get(), "");
      if (!connecting.ok()) return connecting.status();
      while ((*connecting)->state() == QueuePairState::kConnecting) scheduler_.RunOnce();
      if ((*connecting)->state() == QueuePairState::kBroken) return (*connecting)->status();
      status = Agree(socket, *std::move(connecting), /*handler=*/nullptr);
    }
    return status;
  }

  absl::Status Accept(int socket, transport::RpcHandler* handler) {
    auto listener = fabric_->Listen();
    if (!listener.ok()) return listener.status();
    std::array<char, kEndpointBytes> endpoint = {};
    (*listener)->endpoint().copy(endpoint.data(), endpoint.size() - 1);
    absl::Status status = SendBytes(socket, endpoint.data(), endpoint.size());
    for (uint32_t i = 0; i < options_.connections && status.ok(); ++i) {
      std::unique_ptr<transport::ConnectionRequest> request;
      while (request == nullptr) {
        // The client's end closes when it fails.
        if (CanReceive(socket, /*timeout_ms=*/0)) {
          return absl::UnavailableError("the client gave up connecting");
        }
        scheduler_.RunOnce();
        request = (*listener)->Poll();
      }
      auto accepted = request->Accept(completion_queue_.get(), "");
      if (!accepted.ok()) return accepted.status();
      status = Agree(socket, *std::move(accepted), handler);
    }
    return status;
  }

  // From now on the first `count` lines are polled, no others.
  void Activate(uint32_t count) {
    if (active_count_ == count) return;
    Deactivate();
    active_count_ = count;
    for (uint32_t i = 0; i < count; ++i) scheduler_.AddPoller(lines_[i]->peer.get());
    scheduler_.AddPoller(this);
  }
  void Deactivate() {
    if (active_count_ == 0) return;
    scheduler_.RemovePoller(this);
    for (uint32_t i = 0; i < active_count_; ++i) scheduler_.RemovePoller(lines_[i]->peer.get());
    active_count_ = 0;
  }

  absl::Status status() const {
    for (const std::unique_ptr<Line>& line : lines_) {
      if (!line->channel->ok()) return line->channel->status();
    }
    return absl::OkStatus();
  }
  MessageCost cost() const {
    MessageCost cost;
    for (const std::unique_ptr<Line>& line : lines_) {
      cost.calls += line->peer->calls_made();
      cost.verbs += line->queue_pair->verbs();
    }
    cost.verbs.round_trips += cost.calls;
    return cost;
  }
  Scheduler& scheduler() { return scheduler_; }
  transport::RpcPeer& peer(size_t index) { return *lines_[index]->peer; }
  uint32_t active_count() const { return active_count_; }

 private:
  // Both sides exchange what their channels need to know, over the socket.
  absl::Status Agree(int socket, std::unique_ptr<transport::QueuePair> queue_pair,
                     transport::RpcHandler* handler) {
    auto line = std::make_unique<Line>(&scheduler_, port_.get());
    line->queue_pair = std::move(queue_pair);
    auto channel = Channel::Create(fabric_.get(), line->queue_pair.get(),
                                   {.region_id = static_cast<uint32_t>(lines_.size()) + 1,
                                    .busy_polling = options_.poll == PollMode::kBusy,
                                    .random_seed = scheduler_.random().Next()});
    if (!channel.ok()) return channel.status();
    line->channel = *std::move(channel);
    port_->SetSink(line->queue_pair.get(), line->channel.get());
    const ChannelOffer offer = line->channel->offer();
    if (auto status = SendBytes(socket, &offer, sizeof(offer)); !status.ok()) return status;
    ChannelOffer theirs;
    if (auto status = ReceiveBytes(socket, &theirs, sizeof(theirs)); !status.ok()) return status;
    if (auto status = line->channel->Attach(theirs); !status.ok()) return status;
    line->peer = std::make_unique<transport::RpcPeer>(&scheduler_, line->channel.get(), handler);
    lines_.push_back(std::move(line));
    return absl::OkStatus();
  }

  // Ends Run() when the other process has gone.
  bool Poll() override {
    for (uint32_t i = 0; i < active_count_; ++i) {
      if (!lines_[i]->channel->ok()) scheduler_.Stop();
    }
    return false;
  }

  const MessageOptions options_;
  Scheduler scheduler_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::CompletionQueue> completion_queue_;
  std::unique_ptr<transport::Port> port_;
  std::vector<std::unique_ptr<Line>> lines_;
  uint32_t active_count_ = 0;
};

class RingServer : public MessageServer, private transport::RpcHandler {
 public:
  explicit RingServer(const MessageOptions& options) : side_(options) {}

  absl::Status Accept(int socket) override {
    const absl::Status status = side_.Open();
    return status.ok() ? side_.Accept(socket, this) : status;
  }

  absl::Status Serve(uint32_t connections) override {
    side_.Activate(connections);
    side_.scheduler().Run();
    // The answer to the pause must leave: no request without one, and a pass that flushes.
    while (side_.status().ok() && side_.peer(0).requests_outstanding() > 0) {
      side_.scheduler().RunOnce();
    }
    side_.scheduler().RunOnce();
    side_.Deactivate();
    return side_.status();
  }

  MessageCost cost() const override { return side_.cost(); }

 private:
  Task<absl::Status> Handle(transport::RpcContext* context) override {
    if (context->method != kEchoMethod && context->method != kPauseMethod) {
      co_return absl::UnimplementedError("no such method");
    }
    Echo(context->request, &context->response);
    if (context->method == kPauseMethod) side_.scheduler().Stop();
    co_return absl::OkStatus();
  }

  Side side_;
};

class RingCaller : public MessageCaller {
 public:
  explicit RingCaller(const MessageOptions& options)
      : clock_(*options.clock), side_(options), pacer_(1), turn_free_(&side_.scheduler()) {}

  absl::Status Connect(int socket) override {
    const absl::Status status = side_.Open();
    return status.ok() ? side_.Connect(socket) : status;
  }

  absl::StatusOr<MessageSample> Run(const MessageLoad& load) override {
    side_.Activate(load.connections);
    request_.assign(load.bytes, 'm');
    status_ = absl::OkStatus();
    MessageWindow window(load, &clock_);
    const bool paced = load.calls_per_second > 0;
    if (paced) {
      pacer_.Start(load.calls_per_second, clock_.ticks_per_ns() * 1e9);
      pacer_.Resume(window.Ticks());
    }
    side_.scheduler().RunUntilDone(CallAll(load, &window));
    if (!status_.ok()) return status_;
    MessageSample sample = window.Sample();
    if (paced) sample.backlog = pacer_.backlog();
    return sample;
  }

  absl::Status Pause() override {
    std::string response;
    return side_.scheduler().RunUntilDone(side_.peer(0).Call(kPauseMethod, "", "", &response));
  }

  MessageCost cost() const override { return side_.cost(); }

 private:
  Task<void> CallAll(const MessageLoad& load, MessageWindow* window) {
    std::vector<SpawnHandle> callers;
    for (uint32_t i = 0; i < load.outstanding; ++i) {
      for (uint32_t line = 0; line < load.connections; ++line) {
        transport::RpcPeer* const peer = &side_.peer(line);
        callers.push_back(side_.scheduler().Spawn(
            load.calls_per_second > 0 ? CallAtTheirTimes(peer, window) : CallAgain(peer, window)));
      }
    }
    for (SpawnHandle& caller : callers) co_await caller.Join();
  }

  Task<void> CallAgain(transport::RpcPeer* peer, MessageWindow* window) {
    std::string response;
    uint64_t begin_ticks = window->Ticks();
    while (!window->IsOver(begin_ticks) && status_.ok()) {
      const absl::Status status = co_await peer->Call(kEchoMethod, request_, "", &response);
      const uint64_t end_ticks = window->Ticks();
      Judge(status, response);
      window->Add(begin_ticks, end_ticks);
      begin_ticks = end_ticks;
    }
  }

  // The callers that have nothing under way take turns in waiting for the next start.
  Task<void> CallAtTheirTimes(transport::RpcPeer* peer, MessageWindow* window) {
    std::string response;
    while (true) {
      while (turn_taken_) co_await turn_free_.Wait();
      turn_taken_ = true;
      uint64_t now_ticks = window->Ticks();
      while (!pacer_.IsDue(now_ticks) && !window->IsOver(now_ticks) && status_.ok()) {
        co_await side_.scheduler().Yield();
        now_ticks = window->Ticks();
      }
      const bool begins = !window->IsOver(now_ticks) && status_.ok();
      const uint64_t begin_ticks = pacer_.next_ticks();
      if (begins) {
        pacer_.Advance();
      } else {
        pacer_.Pause(now_ticks);
      }
      turn_taken_ = false;
      turn_free_.NotifyOne();
      if (!begins) co_return;
      const absl::Status status = co_await peer->Call(kEchoMethod, request_, "", &response);
      Judge(status, response);
      window->Add(begin_ticks, window->Ticks());
    }
  }

  void Judge(const absl::Status& status, absl::string_view response) {
    if (!status.ok()) {
      status_ = status;
    } else if (response.size() != request_.size()) {
      status_ = absl::DataLossError("a response of the wrong length");
    }
  }

  Clock& clock_;
  Side side_;
  std::string request_;
  absl::Status status_;  // Of the calls of a run.
  Pacer pacer_;
  bool turn_taken_ = false;
  WaitQueue turn_free_;
};

}  // namespace

std::unique_ptr<MessageServer> MakeRingServer(const MessageOptions& options) {
  return std::make_unique<RingServer>(options);
}

std::unique_ptr<MessageCaller> MakeRingCaller(const MessageOptions& options) {
  return std::make_unique<RingCaller>(options);
}

}  // namespace acre::bench
