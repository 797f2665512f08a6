// kv_server: one server of Acre. Everything it does is in server/server.h; here are its flags.

#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "kvs/cluster.h"
#include "runtime/clock.h"
#include "runtime/command_line.h"
#include "runtime/cpus.h"
#include "runtime/system_random.h"
#include "runtime/wall_clock.h"
#include "server/server.h"
#include "server/size.h"
#include "transport/secret.h"
#include "transport/socket.h"

DEFINE_string(
    listen, "127.0.0.1:7400",
    "HOST:PORT that clients connect to. Port 0 picks a free one; the start line tells which. "
    "Addresses that other machines reach need --secret_file.");
DEFINE_string(
    fabric, "auto",
    "Networks for one-sided reads and rings, a comma list with the favourite first: shm for "
    "clients on this machine, verbs for those that reach it through RDMA cards, tcp for all. "
    "auto: shm, tcp, and verbs if this machine has a card and --listen is no loopback address. "
    "The start line says which there are.");
DEFINE_string(
    device, "",
    "RDMA card for fabric verbs: its name (mlx5_0), or an address of this machine that is on it. "
    "Default: the one that --listen is on, else the first with a link.");
DEFINE_uint32(
    threads_per_qp, 1,
    "How many of the server's threads share queue pairs of fabric verbs, 1 to 32. Clients whose "
    "threads share one are served by all threads that share it here, else by one of them.");
DEFINE_string(
    cluster, "",
    "File that lists the servers of a cluster, one HOST:PORT a line in the order of their numbers, "
    "--listen of this one among them. All servers are given the same file. Default: no cluster, "
    "this server alone.");
DEFINE_int32(threads, 1,
             "Threads that serve clients. One more, mostly idle, keeps the server alive.");
DEFINE_string(cpus, "",
              "CPUs to run on, as 0,2-5: the threads that serve clients get one each, in turn. "
              "Default: where the kernel puts "
              "them. Near the card if there is one (kv_doctor says which are), and not those of "
              "busy clients.");
DEFINE_string(memory, "2G", "Memory for records: a number with K, M or G. Taken at the start.");
DEFINE_int32(
    index_percent, acre::kvs::TableOptions().index_percent,
    "Share of --memory for the index, in percent. A record whose key and value have up to 48 "
    "bytes together lies in the index itself, in one of its slots (3 in each 256 bytes); "
    "everything longer takes a slot too, and its bytes are in the rest. Raise it for small "
    "records, lower it for large ones.");
DEFINE_string(
    huge_pages, "auto",
    "auto: 1 GiB pages, else 2 MiB pages, else normal ones with a warning. 1g, 2m: those or "
    "fail. off: normal ones.");
DEFINE_string(
    poll, "adaptive",
    "adaptive: threads sleep when nothing comes, a message wakes them. busy: they never sleep, "
    "which saves microseconds and costs a core each.");
DEFINE_int64(
    lease_ms, 500,
    "A client that has been silent for this long holds back no memory of records that were "
    "replaced. Without death marks (--death_marks) it is also how long readers may go on reading "
    "memory of a server that died: after a death the next server waits this long before it "
    "listens, and a server that stalls for longer makes its readers fail until it is back.");
DEFINE_bool(death_marks, true,
            "Have the kernel mark the memory of a server that dies, so that its readers see it at "
            "once. The start line says whether it does. false: rely on leases, as on kernels "
            "without robust futexes.");
DEFINE_string(
    state_dir, "",
    "Folder of the small file that tells a clean stop from a death. Default: /run/acre for "
    "root, else /tmp/acre-UID.");

DEFINE_string(
    secret_file, "",
    "File with a secret that clients and server prove to each other before anything else, without "
    "sending it: 16 to 1024 bytes, a newline at the end does not count, readable by its owner "
    "only. Clients are given the same. Without one, the server listens on loopback only.");
DEFINE_bool(
    trust, false,
    "Clients may write records by themselves, without this server's CPU (put path one_sided): "
    "every client that gets in is trusted with all of the memory. Only on the fabric that makes "
    "the "
    "memory: shm if it is among --fabric, else the first. On shm only with processes that the "
    "server may kill, and does if they disappear in the middle of it.");

namespace acre::server {
namespace {

constexpr absl::string_view kUsage =
    "kv_server: an in-memory key-value store that clients read without its CPU.\n"
    "\n"
    "    kv_server --listen=127.0.0.1:7400 --memory=4G --threads=2\n"
    "    kv_server --listen=127.0.0.1:7401 --cluster=servers.txt     one server of several\n"
    "\n"
    "Prints one line with \"listening on HOST:PORT\" on stdout once it serves, problems on stderr. "
    "SIGTERM\nand SIGINT stop it cleanly. For clients on other machines:\n"
    "\n"
    "    (umask 077; openssl rand -base64 32 > acre.secret)   # the same file for all clients\n"
    "    kv_server --listen=0.0.0.0:7400 --secret_file=acre.secret";

absl::StatusOr<transport::HugePages> ParseHugePages(absl::string_view text) {
  if (text == "auto") return transport::HugePages::kAuto;
  if (text == "1g") return transport::HugePages::k1G;
  if (text == "2m") return transport::HugePages::k2M;
  if (text == "off") return transport::HugePages::kOff;
  return absl::InvalidArgumentError(
      absl::StrCat("--huge_pages=", text, ": give auto, 1g, 2m or off"));
}

absl::StatusOr<PollMode> ParsePoll(absl::string_view text) {
  if (text == "adaptive") return PollMode::kAdaptive;
  if (text == "busy") return PollMode::kBusy;
  return absl::InvalidArgumentError(absl::StrCat("--poll=", text, ": give adaptive or busy"));
}

absl::Status NameFlag(absl::string_view flag, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("--", flag, ": ", status.message()));
}

absl::StatusOr<kvs::ClusterMap> ReadClusterFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(absl::StrCat("--cluster=", path, ": cannot read this file"));
  }
  absl::StatusOr<kvs::ClusterMap> map = kvs::ParseClusterFile(text);
  if (!map.ok()) {
    return absl::Status(map.status().code(),
                        absl::StrCat("--cluster=", path, ": ", map.status().message()));
  }
  return map;
}

absl::StatusOr<ServerOptions> OptionsFromFlags() {
  ServerOptions options;
  auto listen = transport::ParseHostPort(FLAGS_listen);
  if (!listen.ok()) return NameFlag("listen", listen.status());
  options.listen = *std::move(listen);
  if (!FLAGS_cluster.empty()) {
    auto cluster = ReadClusterFile(FLAGS_cluster);
    if (!cluster.ok()) return cluster.status();
    options.cluster = *std::move(cluster);
  }
  options.fabrics = absl::StrSplit(FLAGS_fabric, ',');
  options.device = FLAGS_device;
  options.threads_per_qp = FLAGS_threads_per_qp;
  const auto memory = ParseSize(FLAGS_memory);
  if (!memory.ok()) return NameFlag("memory", memory.status());
  options.memory_bytes = *memory;
  const auto huge_pages = ParseHugePages(FLAGS_huge_pages);
  if (!huge_pages.ok()) return huge_pages.status();
  options.huge_pages = *huge_pages;
  const auto poll = ParsePoll(FLAGS_poll);
  if (!poll.ok()) return poll.status();
  options.poll = *poll;
  options.threads = FLAGS_threads;
  auto cpus = ParseCpus(FLAGS_cpus);
  if (!cpus.ok()) return NameFlag("cpus", cpus.status());
  options.cpus = *std::move(cpus);
  options.index_percent = FLAGS_index_percent;
  options.lease_ms = FLAGS_lease_ms;
  options.death_marks = FLAGS_death_marks;
  options.trust = FLAGS_trust;
  options.state_dir = FLAGS_state_dir;
  // An empty name, as an unset variable of a shell gives, must not open the door to all.
  if (!gflags::GetCommandLineFlagInfoOrDie("secret_file").is_default) {
    auto secret = transport::Secret::ReadFile(FLAGS_secret_file);
    if (!secret.ok()) return NameFlag("secret_file", secret.status());
    options.secret = *std::move(secret);
  }
  return options;
}

void Say(absl::string_view line) {
  const std::string text = absl::StrCat("kv_server: ", line, "\n");
  fputs(text.c_str(), stderr);
}

int Fail(const absl::Status& why) {
  Say(why.message());
  return 1;
}

// Each client takes some descriptors: as many as the machine's administrator allows.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int Main(int argc, char** argv) {
  const auto command_line = ParseCommandLine(argc, argv);
  if (!command_line.ok()) return Fail(command_line.status());
  if (command_line->help) {
    fputs(HelpText(kUsage, __FILE__).c_str(), stdout);
    return 0;
  }
  if (!command_line->arguments.empty()) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(
        "\"", command_line->arguments[0], "\" is no flag; --help lists those there are")));
  }
  auto options = OptionsFromFlags();
  if (!options.ok()) return Fail(options.status());

  // Blocked in every thread from before the first one: they wait to be taken below.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr), 0);
  RaiseDescriptorLimit();
  if (!options->cpus.empty()) {
    // All threads, those too that touch memory first: it comes from the node of these CPUs.
    if (absl::Status stays = StayOnCpus(options->cpus); !stays.ok()) {
      return Fail(NameFlag("cpus", stays));
    }
  }

  RealClock clock;
  options->clock = &clock;
  options->fill_random = FillSystemRandom;
  options->wall_ns = WallClockNs;
  options->say = Say;
  options->stop_requested = [] {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
  };
  const bool has_secret = options->secret != nullptr;
  auto server = Server::Start(*std::move(options));
  if (!server.ok()) return Fail(server.status());
  printf("kv_server: listening on %s (%s%s)\n", (*server)->address().c_str(),
         (*server)->Description().c_str(), has_secret ? ", clients prove a secret" : "");
  fflush(stdout);

  int signal_number;
  CHECK_EQ(sigwait(&stop_signals, &signal_number), 0);
  const absl::Status stopped = (*server)->Stop();
  return stopped.ok() ? 0 : Fail(stopped);
}

}  // namespace
}  // namespace acre::server

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  return acre::server::Main(argc, argv);
}
