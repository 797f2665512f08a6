// kv_doctor: what a machine, or a pair of them, lacks for RDMA. Its checks are in server/doctor/; here are its
// flags.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/command_line.h"
#include "runtime/cpus.h"
#include "runtime/system_random.h"
#include "server/doctor/card_checks.h"
#include "server/doctor/check.h"
#include "server/doctor/fabric_checks.h"
#include "server/doctor/memory_checks.h"
#include "server/doctor/numa_checks.h"
#include "server/doctor/pair_checks.h"
#include "server/doctor/pair_host.h"
#include "server/machine.h"
#include "server/memory.h"
#include "server/networks.h"
#include "server/size.h"
#include "transport/secret.h"
#include "transport/socket.h"
#include "transport/verbs/verbs_report.h"

DEFINE_string(fabric, "auto",
              "The networks that are wanted: a comma list of shm, verbs and tcp. One that is named "
              "and does not work is BAD. auto: what there is.");
DEFINE_string(device, "",
              "RDMA card to look at and use: its name (mlx5_0), or an address of this machine that "
              "is on it. Default: all, and the first that can be used.");
DEFINE_string(memory, "2G",
              "What the server will be given as its --memory: a number with K, M or G. Locked "
              "memory and huge pages are judged by it.");
DEFINE_bool(serve, false,
            "Wait for the other kv_doctor of a pair, at --listen, till SIGTERM or SIGINT.");
DEFINE_string(listen, "127.0.0.1:7499",
              "HOST:PORT for --serve; port 0 picks a free one. Addresses that other machines reach "
              "need --secret_file.");
DEFINE_string(secret_file, "",
              "File with the secret that both sides of a pair prove to each other: as kv_server's, "
              "and may be the same.");
DEFINE_string(json, "", "Also write the checks to this file, as JSON.");

namespace acre::doctor {
namespace {

constexpr char kUsage[] =
    R"(kv_doctor: says what a machine, or a pair of machines, lacks for Acre over RDMA.

    kv_doctor                              this machine, with what it has
    kv_doctor --fabric=verbs --memory=64G  this machine, where RDMA is wanted

A line for each check begins with ok, note (works, could be better) or BAD (what is wanted does not
work); under it the commands that mend it. Exit code 0: nothing is BAD. It changes nothing, but takes
memory for a moment, to see how much the card registers. Run it as the user who will run kv_server,
from the same shell, unit or container: limits differ.

A pair: on one machine

    (umask 077; openssl rand -base64 32 > acre.secret)   # the same file for both
    kv_doctor --serve --listen=0.0.0.0:7499 --secret_file=acre.secret

and on the other

    kv_doctor HOST:7499 --secret_file=acre.secret

which checks its own machine first, then shakes hands as a client does, and on each fabric that both
have WRITEs 1 MiB to the peer, READs it back, compares and measures; then the peer does the same
the other way. docs/rdma.md leads from a bare machine to a running cluster.)";

void Say(absl::string_view line) {
  const std::string text = absl::StrCat("kv_doctor: ", line, "\n");
  fputs(text.c_str(), stderr);
}

int Fail(const absl::Status& why) {
  Say(why.message());
  return 1;
}

// To the standard output, each as soon as it is there.
class PrintedFindings : public Findings {
 private:
  void OnAdded(const Check& check) override {
    fputs(FormatCheck(check, is_terminal_).c_str(), stdout);
    fflush(stdout);
  }

  const bool is_terminal_ = isatty(STDOUT_FILENO) != 0;
};

struct Options {
  std::vector<std::string> fabrics;
  uint64_t memory_bytes = 0;
  std::shared_ptr<const transport::Secret> secret;
  absl::optional<transport::HostPort> peer;
  transport::HostPort listen;
};

absl::StatusOr<Options> OptionsFrom(const CommandLine& command_line) {
  Options options;
  options.fabrics = absl::StrSplit(FLAGS_fabric, ',');
  if (absl::Status judged = server::Networks::Judge(options.fabrics, FLAGS_device); !judged.ok()) {
    return judged;
  }
  const auto memory = server::ParseSize(FLAGS_memory);
  if (!memory.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--memory: ", memory.status().message()));
  }
  options.memory_bytes = *memory;
  if (!gflags::GetCommandLineFlagInfoOrDie("secret_file").is_default) {
    auto secret = transport::Secret::ReadFile(FLAGS_secret_file);
    if (!secret.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--secret_file: ", secret.status().message()));
    }
    options.secret = *std::move(secret);
  }
  auto listen = transport::ParseHostPort(FLAGS_listen);
  if (!listen.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--listen: ", listen.status().message()));
  }
  options.listen = *std::move(listen);
  const std::vector<std::string>& arguments = command_line.arguments;
  if (arguments.size() > (FLAGS_serve ? 0 : 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", arguments.back(),
                     "\" is one argument too many: give one HOST:PORT, "
                     "none with --serve"));
  }
  if (!arguments.empty()) {
    auto peer = transport::ParseHostPort(arguments[0]);
    if (!peer.ok()) return peer.status();
    options.peer = *std::move(peer);
  }
  return options;
}

// Real memory is taken for the trial: a quarter of what there is, and no more than a server registers at once.
uint64_t RegisterBytesMax() {
  const uint64_t quarter = server::ReadMachineMemory("").available_bytes / 4;
  return std::min(quarter, server::kDataRegionBytesMax);
}

void CheckMachine(const Options& options, Clock* clock, Findings* findings) {
  const bool is_auto = options.fabrics.front() == server::kAutoFabrics;
  const auto wants = [&](absl::string_view name) {
    return is_auto ||
           std::find(options.fabrics.begin(), options.fabrics.end(), name) != options.fabrics.end();
  };
  FabricOptions fabric;
  fabric.clock = clock;
  fabric.device = FLAGS_device;
  fabric.memory_bytes = options.memory_bytes;
  fabric.register_bytes_max = RegisterBytesMax();
  findings->Add(CheckAvailableMemory("", options.memory_bytes));
  for (Check& check : CheckHugePages("", options.memory_bytes)) findings->Add(std::move(check));
  if (wants("shm")) findings->Add(CheckDeathMarks(fabric));
  if (wants("verbs")) {
    const transport::VerbsReport report = transport::ReportVerbs();
    const bool is_wanted = !is_auto || !report.cards.empty() || !FLAGS_device.empty();
    CheckCards("", report, is_wanted, FLAGS_device, options.memory_bytes, findings);
    if (!report.cards.empty()) {
      findings->Add(CheckMemlock("", options.memory_bytes));
      const std::string card = CheckVerbs(fabric, findings);
      if (!card.empty()) findings->Add(CheckNumaDistance("", card, UsableCpus()));
    }
  }
  findings->Add(CheckChoice(fabric, options.fabrics));
}

int Serve(const Options& options, Clock* clock) {
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr), 0);
  PairHostOptions host_options;
  host_options.clock = clock;
  host_options.listen = options.listen;
  host_options.fabrics = options.fabrics;
  host_options.device = FLAGS_device;
  host_options.secret = options.secret;
  host_options.fill_random = FillSystemRandom;
  host_options.say = Say;
  const auto host = PairHost::Start(std::move(host_options));
  if (!host.ok()) return Fail(host.status());
  printf("kv_doctor: waits for a peer on %s (fabric %s): kv_doctor HOST:PORT there\n",
         (*host)->address().c_str(), (*host)->Names().c_str());
  fflush(stdout);
  int signal_number;
  CHECK_EQ(sigwait(&stop_signals, &signal_number), 0);
  Say((*host)->Tally());
  return 0;
}

absl::Status WriteJson(const std::string& path, absl::Span<const Check> checks) {
  std::ofstream file(path);
  file << ChecksAsJson(checks);
  file.close();
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("--json: cannot write ", path));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const auto command_line = ParseCommandLine(argc, argv);
  if (!command_line.ok()) return Fail(command_line.status());
  if (command_line->help) {
    fputs(HelpText(kUsage, __FILE__).c_str(), stdout);
    return 0;
  }
  const auto options = OptionsFrom(*command_line);
  if (!options.ok()) return Fail(options.status());
  RealClock clock;
  if (FLAGS_serve) return Serve(*options, &clock);

  PrintedFindings findings;
  CheckMachine(*options, &clock, &findings);
  if (options->peer.has_value()) {
    PairOptions pair;
    pair.clock = &clock;
    pair.peer = *options->peer;
    pair.fabrics = options->fabrics;
    pair.device = FLAGS_device;
    pair.credentials = {options->secret, FillSystemRandom};
    CheckPair(pair, &findings);
  }
  printf("%s\n", Summary(findings.all()).c_str());
  if (!FLAGS_json.empty()) {
    if (absl::Status written = WriteJson(FLAGS_json, findings.all()); !written.ok()) {
      return Fail(written);
    }
  }
  return findings.HasBad() ? 1 : 0;
}

}  // namespace
}  // namespace acre::doctor

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  return acre::doctor::Main(argc, argv);
}
