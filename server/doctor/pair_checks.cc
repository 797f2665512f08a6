#include "server/doctor/pair_checks.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/optional.h"
#include "runtime/scheduler.h"
#include "server/doctor/pair_doors.h"
#include "server/doctor/pair_link.h"
#include "transport/bootstrap_peer.h"

namespace acre::doctor {
namespace {

struct Outcome {
  std::string fabric;
  absl::optional<Introduction> peer;  // If the handshake went well.
  absl::Status status;                // Of all of it.
  TrialWire ours{};                   // We to the peer, and the peer to us.
  TrialWire peers{};
};

Task<absl::Status> TryBothWays(PairLink* link, Outcome* outcome, uint64_t deadline_ns) {
  const absl::StatusOr<TrialWire> ours = co_await link->Try(deadline_ns);
  if (!ours.ok()) co_return ours.status();
  outcome->ours = *ours;
  const absl::StatusOr<TrialWire> peers = co_await link->BeTried(deadline_ns);
  if (!peers.ok()) {
    co_return absl::Status(peers.status().code(),
                           absl::StrCat("from the peer to us: ", peers.status().message()));
  }
  outcome->peers = *peers;
  co_return absl::OkStatus();
}

Task<void> TryFabric(const PairOptions* options, PairDoors* doors, PairDoors::Door* door,
                     Outcome* outcome) {
  const uint64_t deadline_ns = options->clock->NowNs() + options->timeout_ns;
  transport::ConnectOptions connect;
  connect.server = options->peer;
  connect.layout_version = kDoctorLayout;
  connect.credentials = options->credentials;
  connect.fabrics = {{door->fabric, door->port.get()}};
  connect.channel = doors->ChannelOptionsOf();
  connect.deadline_ns = deadline_ns;
  absl::StatusOr<transport::ConnectedPeer> peer =
      co_await transport::ConnectPeer(std::move(connect));
  if (!peer.ok()) {
    outcome->status = peer.status();
    co_return;
  }
  auto link = PairLink::Create(doors->ContextOf(*door), std::move(peer->link));
  if (!link.ok()) {
    outcome->status = link.status();
    co_return;
  }
  absl::StatusOr<Introduction> introduction = co_await (*link)->Introduce(deadline_ns);
  if (!introduction.ok()) {
    outcome->status = introduction.status();
    co_return;
  }
  outcome->peer = *std::move(introduction);
  outcome->status = co_await TryBothWays(link->get(), outcome, deadline_ns);
}

std::string TrialText(absl::string_view direction, const TrialWire& trial) {
  const auto mb = [](uint64_t bytes_per_second) {
    return static_cast<double>(bytes_per_second) / 1e6;
  };
  return absl::StrFormat("%s: READ of 8 B %.1f us, 1 MiB WRITE %.0f MB/s, READ %.0f MB/s",
                         direction, static_cast<double>(trial.round_trip_ns) / 1e3,
                         mb(trial.write_bytes_per_second), mb(trial.read_bytes_per_second));
}

Check GoodCheck(const Outcome& outcome) {
  Check check;
  check.what = absl::StrCat("pair ", outcome.fabric);
  check.found = absl::StrCat(TrialText("to the peer", outcome.ours), "; ",
                             TrialText("from it", outcome.peers));
  for (const auto& [side, trial] :
       {std::pair<absl::string_view, const TrialWire&>{"to", outcome.ours},
        {"from", outcome.peers}}) {
    check.figures.push_back(
        {absl::StrCat(side, "_round_trip_ns"), static_cast<double>(trial.round_trip_ns)});
    check.figures.push_back({absl::StrCat(side, "_write_bytes_per_second"),
                             static_cast<double>(trial.write_bytes_per_second)});
    check.figures.push_back({absl::StrCat(side, "_read_bytes_per_second"),
                             static_cast<double>(trial.read_bytes_per_second)});
  }
  return check;
}

// Where no fabric got as far as an answer of the peer's.
std::vector<std::string> HandshakeMends(const PairOptions& options, const absl::Status& why) {
  const std::string serve = absl::StrCat(
      "kv_doctor --serve --listen=", options.peer.ToString(),
      options.credentials.secret == nullptr ? "" : " --secret_file=FILE", "   # at the peer");
  switch (why.code()) {
    case absl::StatusCode::kPermissionDenied:
      return {absl::StrCat("scp acre.secret ", options.peer.host,
                           ":   # one file for both, as --secret_file of both")};
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return {serve,
              absl::StrCat("iptables -I INPUT -p tcp --dport ", options.peer.port,
                           " -j ACCEPT   # at the peer, as root, if a firewall is in between")};
    default:
      return {absl::StrCat(serve, ", of this release, on a port of its own (a kv_server is none)")};
  }
}

// Where the handshake's stream works and the fabric does not. `connected`: it broke later, under load.
std::vector<std::string> FabricMends(const PairOptions& options, absl::string_view fabric,
                                     bool connected) {
  if (fabric == "verbs" && connected) {
    return {
        "ping -M do -s 4172 CARDS_ADDRESS   # small packets pass; do large ones? Where not: "
        "ip link set DEV mtu 4200, on both machines and the switch",
        "ethtool -S DEV | grep -iE 'discard|drop|pause'   # RoCE loses packets without "
        "flow control (docs/rdma.md)",
        "perfquery   # on InfiniBand (infiniband-diags): errors of cable and port"};
  }
  if (fabric == "verbs") {
    return {"kv_doctor --fabric=verbs   # on each of the two: no BAD, ports active, one MTU",
            "iptables -I INPUT -p udp --dport 4791 -j ACCEPT   # RoCE v2, on both, as root",
            "rping -s -a CARDS_ADDRESS   # at the peer, then here: "
            "rping -c -C 1 -v -a CARDS_ADDRESS (rdmacm-utils): rdma_cm without Acre"};
  }
  if (fabric == "tcp") {
    return {
        "iptables -I INPUT -p tcp -s THIS_MACHINE -j ACCEPT   # at the peer, as root: "
        "the tcp fabric listens on a free port"};
  }
  return {absl::StrCat("kv_doctor ", options.peer.ToString(),
                       " --fabric=tcp   # shm does not reach other containers")};
}

Check FailedCheck(const PairOptions& options, const Outcome& outcome, const Introduction& own,
                  const Introduction& peer, bool is_named) {
  Check check;
  check.what = absl::StrCat("pair ", outcome.fabric);
  const bool peer_has_it =
      std::find(peer.fabrics.begin(), peer.fabrics.end(), outcome.fabric) != peer.fabrics.end();
  if (!peer_has_it) {
    check.verdict = is_named ? Verdict::kBad : Verdict::kNote;
    check.found = absl::StrCat("the peer has ", absl::StrJoin(peer.fabrics, ", "), " only");
    check.mend = {absl::StrCat("kv_doctor --fabric=", outcome.fabric,
                               "   # at the peer: says what it lacks")};
    return check;
  }
  if (outcome.fabric == "shm" && own.boot_id != peer.boot_id) {
    check.verdict = is_named ? Verdict::kBad : Verdict::kOk;
    check.found = "another machine: shared memory does not reach it";
    if (is_named) check.mend = {"kv_doctor --fabric=verbs,tcp ...   # leave it out"};
    return check;
  }
  check.verdict = Verdict::kBad;
  check.found = std::string(outcome.status.message());
  check.mend = FabricMends(options, outcome.fabric, outcome.peer.has_value());
  return check;
}

void Judge(const PairOptions& options, const std::vector<Outcome>& outcomes,
           const Introduction& own, Findings* findings) {
  const auto met = std::find_if(outcomes.begin(), outcomes.end(),
                                [](const Outcome& outcome) { return outcome.peer.has_value(); });
  if (met == outcomes.end()) {
    std::vector<std::string> failures;
    for (const Outcome& outcome : outcomes) {
      failures.push_back(absl::StrCat("on ", outcome.fabric, ": ", outcome.status.message()));
    }
    const bool is_one = std::all_of(outcomes.begin(), outcomes.end(), [&](const Outcome& outcome) {
      return outcome.status == outcomes.front().status;
    });
    const absl::Status& why = outcomes.front().status;
    findings->Add({Verdict::kBad, "handshake",
                   absl::StrCat(options.peer.ToString(), ": ",
                                is_one ? why.message() : absl::StrJoin(failures, "; ")),
                   HandshakeMends(options, why)});
    return;
  }
  const bool is_same_machine = met->peer->boot_id == own.boot_id;
  findings->Add({Verdict::kOk, "handshake",
                 absl::StrCat(options.peer.ToString(), ", ",
                              is_same_machine ? "this machine" : "another machine", ", has ",
                              absl::StrJoin(met->peer->fabrics, ", "))});
  for (const Outcome& outcome : outcomes) {
    const bool is_named = std::find(options.fabrics.begin(), options.fabrics.end(),
                                    outcome.fabric) != options.fabrics.end();
    findings->Add(outcome.status.ok() ? GoodCheck(outcome)
                                      : FailedCheck(options, outcome, own, *met->peer, is_named));
  }
}

}  // namespace

void CheckPair(const PairOptions& options, Findings* findings) {
  Scheduler scheduler({.clock = options.clock, .name = "pair"});
  transport::ProviderOptions provider;
  provider.clock = options.clock;
  provider.device = options.device;
  auto doors = PairDoors::Open(&scheduler, options.fabrics, provider, /*is_loopback=*/false,
                               [](absl::string_view) {});
  if (!doors.ok()) {
    findings->Add({Verdict::kBad,
                   "pair",
                   std::string(doors.status().message()),
                   {"kv_doctor   # without a peer: says what is missing here"}});
    return;
  }
  std::vector<Outcome> outcomes;
  for (PairDoors::Door& door : (*doors)->doors()) {
    outcomes.emplace_back();
    outcomes.back().fabric = door.name;
    scheduler.RunUntilDone(TryFabric(&options, doors->get(), &door, &outcomes.back()));
  }
  Judge(options, outcomes, (*doors)->introduction(), findings);
}

}  // namespace acre::doctor
