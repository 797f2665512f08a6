// messages: what a message costs. Calls over rings between two processes, over a range of payload
// sizes and of calls outstanding.
//
//   bazel run --config=opt //bench:messages -- --bytes=64,1024 --outstanding=1,16
//
// The program starts itself a second time as the server; one thread each. The server answers each
// call with as many bytes as it was asked with.

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/channel.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/rpc.h"
#include "transport/shm/shm_fabric.h"

DEFINE_string(fabric, "shm", "network that carries the rings: shm");
DEFINE_string(bytes, "16,64,256,1024,4096", "payload sizes of requests and responses, a list");
DEFINE_string(outstanding, "1,16", "numbers of calls outstanding at once, a list");
DEFINE_double(seconds, 1, "how long each combination is measured");
DEFINE_string(poll, "busy",
              "busy: both sides poll without a break; adaptive: they sleep when idle");
DEFINE_string(json, "", "file to write the rows to, as JSON");

// Set by the program for its second process.
DEFINE_int32(server_socket, -1,
             "(internal) be the server, and agree with the client over this socket");

namespace acre {
namespace {

using transport::Channel;
using transport::ChannelOffer;

constexpr uint32_t kRegionId = 1;
constexpr uint16_t kEcho = 1;
constexpr uint64_t kNsPerS = 1'000'000'000;
// Latencies that are kept of one combination; of a longer run the first ones.
constexpr size_t kSamplesMax = 1 << 23;

PollMode Mode() { return FLAGS_poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive; }

// What both processes have: a thread's loop, a device, one queue pair and a channel on it.
class Side {
 public:
  Side() : scheduler_({.clock = &clock_, .seed = 1, .poll_mode = Mode(), .name = "messages"}) {}
  ~Side() {
    if (peer_ != nullptr) scheduler_.RemovePoller(peer_.get());
    peer_.reset();
    if (queue_pair_ != nullptr) port_->Forget(queue_pair_.get());
    channel_.reset();
    queue_pair_.reset();
  }

  absl::Status Open() {
    auto fabric = transport::ShmFabric::Create({.clock = &clock_});
    if (!fabric.ok()) return fabric.status();
    fabric_ = *std::move(fabric);
    auto queue = fabric_->CreateCompletionQueue();
    if (!queue.ok()) return queue.status();
    completion_queue_ = *std::move(queue);
    port_ = std::make_unique<transport::Port>(&scheduler_, completion_queue_.get());
    return absl::OkStatus();
  }

  // The client's half of making a connection; `socket` leads to the server.
  absl::Status Connect(int socket) {
    std::array<char, 256> endpoint = {};
    if (auto status = Receive(socket, endpoint.data(), endpoint.size()); !status.ok())
      return status;
    auto connecting = fabric_->Connect(endpoint.data(), completion_queue_.get(), "");
    if (!connecting.ok()) return connecting.status();
    queue_pair_ = *std::move(connecting);
    while (queue_pair_->state() == transport::QueuePairState::kConnecting) scheduler_.RunOnce();
    if (queue_pair_->state() == transport::QueuePairState::kBroken) return queue_pair_->status();
    return Agree(socket, /*handler=*/nullptr);
  }

  absl::Status Accept(int socket, transport::RpcHandler* handler) {
    auto listener = fabric_->Listen();
    if (!listener.ok()) return listener.status();
    std::array<char, 256> endpoint = {};
    (*listener)->endpoint().copy(endpoint.data(), endpoint.size() - 1);
    if (auto status = Send(socket, endpoint.data(), endpoint.size()); !status.ok()) return status;
    std::unique_ptr<transport::ConnectionRequest> request;
    while (request == nullptr) {
      scheduler_.RunOnce();
      request = (*listener)->Poll();
    }
    auto accepted = request->Accept(completion_queue_.get(), "");
    if (!accepted.ok()) return accepted.status();
    queue_pair_ = *std::move(accepted);
    return Agree(socket, handler);
  }

  Scheduler& scheduler() { return scheduler_; }
  Clock& clock() { return clock_; }
  Channel& channel() { return *channel_; }
  transport::RpcPeer& peer() { return *peer_; }

 private:
  absl::Status Agree(int socket, transport::RpcHandler* handler) {
    auto channel = Channel::Create(fabric_.get(), queue_pair_.get(),
                                   {.region_id = kRegionId,
                                    .busy_polling = Mode() == PollMode::kBusy,
                                    .random_seed = scheduler_.random().Next()});
    if (!channel.ok()) return channel.status();
    channel_ = *std::move(channel);
    port_->SetSink(queue_pair_.get(), channel_.get());
    const ChannelOffer& offer = channel_->offer();
    if (auto status = Send(socket, &offer, sizeof(offer)); !status.ok()) return status;
    ChannelOffer theirs;
    if (auto status = Receive(socket, &theirs, sizeof(theirs)); !status.ok()) return status;
    if (auto status = channel_->Attach(theirs); !status.ok()) return status;
    peer_ = std::make_unique<transport::RpcPeer>(&scheduler_, channel_.get(), handler);
    scheduler_.AddPoller(peer_.get());
    return absl::OkStatus();
  }

  static absl::Status Send(int socket, const void* bytes, size_t count) {
    if (send(socket, bytes, count, MSG_NOSIGNAL) == static_cast<ssize_t>(count)) {
      return absl::OkStatus();
    }
    return absl::UnavailableError("the other process has gone");
  }
  static absl::Status Receive(int socket, void* bytes, size_t count) {
    if (recv(socket, bytes, count, MSG_WAITALL) == static_cast<ssize_t>(count)) {
      return absl::OkStatus();
    }
    return absl::UnavailableError("the other process has gone");
  }

  RealClock clock_;
  Scheduler scheduler_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::CompletionQueue> completion_queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<transport::QueuePair> queue_pair_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<transport::RpcPeer> peer_;
};

// ---- The server.

class Echo : public transport::RpcHandler {
 public:
  Task<absl::Status> Handle(transport::RpcContext* context) override {
    if (context->method != kEcho) co_return absl::UnimplementedError("no such method");
    context->response.assign(context->request.data(), context->request.size());
    co_return absl::OkStatus();
  }
};

// Ends the loop when the client has gone.
class StopWhenBroken : public Poller {
 public:
  explicit StopWhenBroken(Side* side) : side_(side) { side_->scheduler().AddPoller(this); }
  ~StopWhenBroken() override { side_->scheduler().RemovePoller(this); }
  bool Poll() override {
    if (!side_->channel().ok()) side_->scheduler().Stop();
    return false;
  }

 private:
  Side* const side_;
};

int RunServer(int socket) {
  Echo echo;
  Side side;
  absl::Status status = side.Open();
  if (status.ok()) status = side.Accept(socket, &echo);
  if (!status.ok()) {
    std::cerr << "messages: server: " << status << "\n";
    return 1;
  }
  StopWhenBroken stop(&side);
  side.scheduler().Run();
  return 0;
}

// ---- The client.

struct Row {
  uint64_t bytes = 0;
  uint64_t outstanding = 0;
  double calls_per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
};

struct Load {
  const std::string request;
  const uint64_t end_ticks;
  uint64_t calls = 0;
  std::vector<uint32_t> latencies_ticks = {};
  absl::Status status = {};
};

Task<void> CallAgainAndAgain(Side* side, Load* load) {
  std::string response;
  uint64_t begin_ticks = side->clock().Ticks();
  while (begin_ticks < load->end_ticks && load->status.ok()) {
    absl::Status status = co_await side->peer().Call(kEcho, load->request, "", &response);
    const uint64_t end_ticks = side->clock().Ticks();
    if (status.ok() && response.size() != load->request.size()) {
      status = absl::DataLossError("a response of the wrong length");
    }
    if (!status.ok()) load->status = status;
    if (load->latencies_ticks.size() < kSamplesMax) {
      load->latencies_ticks.push_back(static_cast<uint32_t>(end_ticks - begin_ticks));
    }
    ++load->calls;
    begin_ticks = end_ticks;
  }
}

Task<void> CallConcurrently(Side* side, Load* load, uint64_t outstanding) {
  std::vector<SpawnHandle> callers;
  for (uint64_t i = 0; i < outstanding; ++i) {
    callers.push_back(side->scheduler().Spawn(CallAgainAndAgain(side, load)));
  }
  for (SpawnHandle& caller : callers) co_await caller.Join();
}

absl::StatusOr<Row> Measure(Side* side, uint64_t bytes, uint64_t outstanding) {
  const auto run = [&](double seconds) {
    const uint64_t now_ns = side->clock().NowNs();
    const auto run_ns = static_cast<uint64_t>(seconds * static_cast<double>(kNsPerS));
    Load load = {.request = std::string(bytes, 'm'),
                 .end_ticks = side->clock().TicksAt(now_ns + run_ns)};
    load.latencies_ticks.reserve(kSamplesMax);
    side->scheduler().RunUntilDone(CallConcurrently(side, &load, outstanding));
    return std::make_pair(std::move(load), side->clock().NowNs() - now_ns);
  };
  run(std::min(0.2, FLAGS_seconds / 2));  // Warms caches and pools.
  auto [load, ns] = run(FLAGS_seconds);
  if (!load.status.ok()) return load.status;
  std::vector<uint32_t>& samples = load.latencies_ticks;
  std::sort(samples.begin(), samples.end());
  const auto quantile_us = [&](double quantile) {
    const auto index = static_cast<size_t>(quantile * static_cast<double>(samples.size() - 1));
    return samples[index] / side->clock().ticks_per_ns() / 1000;
  };
  return Row{
      .bytes = bytes,
      .outstanding = outstanding,
      .calls_per_second = static_cast<double>(load.calls) * kNsPerS / static_cast<double>(ns),
      .p50_us = quantile_us(0.5),
      .p99_us = quantile_us(0.99)};
}

absl::StatusOr<std::vector<uint64_t>> ListOf(const std::string& flag, const std::string& text,
                                             uint64_t min, uint64_t max) {
  std::vector<uint64_t> values;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    uint64_t value = 0;
    if (!absl::SimpleAtoi(item, &value) || value < min || value > max) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, ": \"", item, "\" is not a number from ", min, " to ", max));
    }
    values.push_back(value);
  }
  return values;
}

absl::StatusOr<std::vector<uint64_t>> BytesList() {
  return ListOf("bytes", FLAGS_bytes, 0, transport::kRpcBytesMax);
}
absl::StatusOr<std::vector<uint64_t>> OutstandingList() {
  return ListOf("outstanding", FLAGS_outstanding, 1, transport::kCallsMax);
}

absl::Status WriteJson(const std::vector<Row>& rows) {
  nlohmann::json json = nlohmann::json::array();
  for (const Row& row : rows) {
    json.push_back({{"fabric", FLAGS_fabric},
                    {"poll", FLAGS_poll},
                    {"bytes", row.bytes},
                    {"outstanding", row.outstanding},
                    {"calls_per_second", row.calls_per_second},
                    {"latency_us", {{"p50", row.p50_us}, {"p99", row.p99_us}}}});
  }
  std::ofstream file(FLAGS_json);
  file << json.dump(2) << "\n";
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("--json: cannot write ", FLAGS_json));
}

absl::Status RunClient(int socket) {
  const auto bytes_list = BytesList();
  const auto outstanding_list = OutstandingList();
  CHECK(bytes_list.ok() && outstanding_list.ok());  // CheckFlags() was there.

  Side side;
  if (absl::Status status = side.Open(); !status.ok()) return status;
  if (absl::Status status = side.Connect(socket); !status.ok()) return status;
  std::vector<Row> rows;
  const size_t rows_count = bytes_list->size() * outstanding_list->size();
  absl::PrintF("%8s %12s %12s %10s %10s   fabric=%s poll=%s\n", "bytes", "outstanding", "calls/s",
               "p50 us", "p99 us", FLAGS_fabric, FLAGS_poll);
  for (const uint64_t bytes : *bytes_list) {
    for (const uint64_t outstanding : *outstanding_list) {
      if (isatty(STDERR_FILENO) != 0) {
        absl::FPrintF(stderr, "measuring %d of %d ...\r", rows.size() + 1, rows_count);
      }
      const auto row = Measure(&side, bytes, outstanding);
      if (!row.ok()) return row.status();
      absl::PrintF("%8d %12d %12.0f %10.2f %10.2f\n", row->bytes, row->outstanding,
                   row->calls_per_second, row->p50_us, row->p99_us);
      std::fflush(stdout);
      rows.push_back(*row);
    }
  }
  return FLAGS_json.empty() ? absl::OkStatus() : WriteJson(rows);
}

// Starts the server and runs the client. The server ends when its connection does.
int RunBoth() {
  int sockets[2];
  PCHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
  const pid_t server = fork();
  PCHECK(server >= 0);
  if (server == 0) {
    close(sockets[0]);
    const std::string socket_flag = absl::StrCat("--server_socket=", sockets[1]);
    const std::string poll_flag = absl::StrCat("--poll=", FLAGS_poll);
    execl("/proc/self/exe", "messages", socket_flag.c_str(), poll_flag.c_str(), nullptr);
    PLOG(FATAL) << "cannot start the server process";
  }
  close(sockets[1]);
  const absl::Status status = RunClient(sockets[0]);
  close(sockets[0]);
  int server_status = 0;
  PCHECK(waitpid(server, &server_status, 0) == server);
  if (!status.ok()) {
    std::cerr << "messages: " << status.message() << "\n";
    return 1;
  }
  if (!WIFEXITED(server_status) || WEXITSTATUS(server_status) != 0) {
    std::cerr << "messages: the server process failed\n";
    return 1;
  }
  return 0;
}

absl::Status CheckFlags() {
  if (FLAGS_fabric != "shm") {
    return absl::InvalidArgumentError(
        absl::StrCat("--fabric: ", FLAGS_fabric, " is not one of: shm"));
  }
  if (FLAGS_poll != "busy" && FLAGS_poll != "adaptive") {
    return absl::InvalidArgumentError(
        absl::StrCat("--poll: ", FLAGS_poll, " is neither busy nor adaptive"));
  }
  if (const auto list = BytesList(); !list.ok()) return list.status();
  if (const auto list = OutstandingList(); !list.ok()) return list.status();
  if (!(FLAGS_seconds > 0 && FLAGS_seconds <= 3600)) {
    return absl::InvalidArgumentError("--seconds: not within (0, 3600]");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace acre

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  gflags::SetUsageMessage(
      "what a message costs: calls over rings between two processes.\n"
      "  messages --bytes=64,1024 --outstanding=1,16 --seconds=2 --poll=busy --json=FILE");
  gflags::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  const absl::Status status = acre::CheckFlags();
  if (!status.ok() || argc > 1) {
    std::cerr << "messages: "
              << (status.ok() ? absl::StrCat("unknown argument ", argv[1])
                              : std::string(status.message()))
              << "\n";
    return 1;
  }
  if (FLAGS_server_socket >= 0) return acre::RunServer(FLAGS_server_socket);
  return acre::RunBoth();
}
