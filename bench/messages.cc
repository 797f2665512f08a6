// messages: what a message costs. `messages --help` says how to use it.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "bench/machine.h"
#include "bench/message_rounds.h"
#include "bench/plot.h"
#include "bench/rates.h"
#include "bench/subprocess.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/command_line.h"
#include "transport/providers/providers.h"
#include "transport/rpc.h"

DEFINE_string(fabric, "shm", "network that carries the rings: shm, verbs or tcp");
DEFINE_string(
    device, "",
    "RDMA card of the client with --fabric=verbs: its name, or an address of this machine "
    "that is on it. Default: the first with a link");
DEFINE_string(server_device, "", "RDMA card of the server, likewise");
DEFINE_string(bytes, "16,32,64,128,256,512", "payload sizes of requests and responses, a list");
DEFINE_string(connections, "1,16", "numbers of connections, a list");
DEFINE_string(outstanding, "1,16",
              "numbers of calls outstanding at once on each connection, a list");
DEFINE_double(seconds, 0.5, "how long each load is measured each way, in all rounds together");
DEFINE_uint64(rounds, 5, "how often rings and TCP take turns");
DEFINE_string(poll, "busy",
              "busy: both sides poll without a break; adaptive: they sleep when idle");
DEFINE_string(json, "", "also write the results to this file, an array of objects");
DEFINE_string(plot, "", "also draw them into this PNG file (needs python3-matplotlib)");

// Set by the program for its second process.
DEFINE_bool(serve, false, "(internal) be the server of the process that started this one");

namespace acre::bench {
namespace {

constexpr char kUsage[] = R"(messages: what a message costs: RPCs over rings against TCP.

  messages
  messages --bytes=64,1024 --connections=1 --outstanding=1,16,64 --seconds=5 --json=FILE --plot=FILE.png

The program starts itself a second time as the server; one thread on each side. The server answers each call
with the bytes that it was asked with. Rings: a call is a WRITE into a ring of the other side and one back.
TCP: one epoll on each side, edges only; what a wake-up brings is received, answered and sent with one system
call each; no delay. Both ways take turns in short slices, so that what the machine does meanwhile hits both
alike (TCP always goes over loopback); told are medians over the rounds, ratios are medians of the ratios within rounds. Where loads allow
it, the last lines compare a ring with TCP of 16 connections, one call outstanding on each: the rate of a ring
with 16 outstanding (wanted: 9 times), and the p50 of the ring as an open loop at TCP's rate (wanted: a 40th).

--poll=busy wants two cores for itself. The exit code is 0 if everything was measured.)";

absl::StatusOr<RoundsOptions> ReadOptions(Clock* clock) {
  RoundsOptions options;
  if (absl::Status status = transport::JudgeProvider(FLAGS_fabric); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("--fabric: ", status.message()));
  }
  for (const std::string* device : {&FLAGS_device, &FLAGS_server_device}) {
    if (absl::Status status = transport::JudgeDevice(*device, {FLAGS_fabric}); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat(device == &FLAGS_device ? "--device: " : "--server_device: ",
                                       status.message()));
    }
  }
  if (FLAGS_poll != "busy" && FLAGS_poll != "adaptive") {
    return absl::InvalidArgumentError(
        absl::StrCat("--poll: ", FLAGS_poll, " is neither busy nor adaptive"));
  }
  auto bytes = ParseNumbers("--bytes", FLAGS_bytes, 0, transport::kRpcBytesMax);
  if (!bytes.ok()) return bytes.status();
  auto connections = ParseNumbers("--connections", FLAGS_connections, 1, 256);
  if (!connections.ok()) return connections.status();
  auto outstanding = ParseNumbers("--outstanding", FLAGS_outstanding, 1, transport::kCallsMax);
  if (!outstanding.ok()) return outstanding.status();
  if (!(FLAGS_seconds > 0 && FLAGS_seconds <= 3600)) {
    return absl::InvalidArgumentError("--seconds: not within (0, 3600]");
  }
  if (FLAGS_rounds < 1 || FLAGS_rounds > 10'000) {
    return absl::InvalidArgumentError("--rounds: not from 1 to 10000");
  }
  options.bytes = *std::move(bytes);
  options.connections = *std::move(connections);
  options.outstanding = *std::move(outstanding);
  options.rounds = static_cast<uint32_t>(FLAGS_rounds);
  options.seconds = FLAGS_seconds;
  const uint64_t most = *std::max_element(options.connections.begin(), options.connections.end());
  options.sides = {.clock = clock,
                   .poll = FLAGS_poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive,
                   .fabric = FLAGS_fabric,
                   .device = FLAGS_serve ? FLAGS_server_device : FLAGS_device,
                   .connections = static_cast<uint32_t>(most)};
  return options;
}

absl::Status Report(const RoundsOptions& options, const std::vector<MessageRow>& rows) {
  const std::vector<Reach> reaches = Reaches(rows);
  std::cout << "rings over " << options.sides.fabric << " and TCP over loopback, poll "
            << FLAGS_poll << ", medians of " << options.rounds << " rounds\n"
            << FormatMessages(rows) << FormatReaches(reaches) << std::flush;
  const nlohmann::json json = MessagesToJson(options, rows, reaches);
  absl::Status status;
  if (!FLAGS_json.empty()) status = WriteJson(FLAGS_json, json);
  if (status.ok() && !FLAGS_plot.empty()) status = Plot(json, FLAGS_plot);
  return status;
}

// Starts the server and is the client.
absl::Status Run(const RoundsOptions& options, std::vector<std::string> arguments) {
  if (!FLAGS_plot.empty()) {
    if (absl::Status status = CheckPlot(); !status.ok()) return status;
  }
  arguments.push_back("--serve");
  absl::StatusOr<std::unique_ptr<Subprocess>> server = Subprocess::Start(arguments);
  if (!server.ok()) return server.status();
  std::cout << "server process: " << (*server)->pid() << std::endl;
  const bool progress = isatty(STDERR_FILENO) != 0;
  const absl::StatusOr<std::vector<MessageRow>> rows =
      RunRounds(options, (*server)->socket(), progress);
  // All connections are closed by now: a server that still lives ends by that.
  const absl::Status finished = (*server)->Finish();
  if (!finished.ok()) {
    return absl::UnavailableError(
        absl::StrCat("the server, ", finished.message(),
                     rows.ok() ? "" : "; the client: ", rows.status().message()));
  }
  if (!rows.ok()) return rows.status();
  return Report(options, *rows);
}

int Main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const absl::StatusOr<CommandLine> command_line = ParseCommandLine(argc, argv);
  absl::Status status = command_line.status();
  if (status.ok() && command_line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (status.ok() && !command_line->arguments.empty()) {
    status = absl::InvalidArgumentError(absl::StrCat(
        "\"", command_line->arguments[0], "\" is no flag; --help lists those there are"));
  }
  if (status.ok()) {
    RealClock clock;
    const absl::StatusOr<RoundsOptions> options = ReadOptions(&clock);
    status = options.status();
    if (status.ok()) {
      status = FLAGS_serve ? ServeRounds(*options, kChildSocket) : Run(*options, arguments);
    }
  }
  if (status.ok()) return 0;
  std::cerr << (FLAGS_serve ? "messages, the server: " : "messages: ") << status.message()
            << std::endl;
  return 1;
}

}  // namespace
}  // namespace acre::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::bench::Main(argc, argv);
}
