#include "server/doctor/fabric_checks.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/doctor/memory_checks.h"
#include "server/networks.h"
#include "server/size.h"
#include "transport/fabric.h"
#include "transport/providers/providers.h"
#include "transport/region_header.h"
#include "transport/region_lease.h"
#include "transport/verbs/verbs_fabric.h"

namespace acre::doctor {
namespace {

using server::FormatSize;

constexpr uint64_t kRegisterBytesMin = uint64_t{1} << 20;

transport::ProviderOptions ProviderOptionsOf(const FabricOptions& options) {
  transport::ProviderOptions provider;
  provider.clock = options.clock;
  provider.device = options.device;
  provider.listen_host = options.listen_host;
  return provider;
}

void CheckFacts(const transport::VerbsFabric& fabric, Findings* findings) {
  const transport::VerbsFacts& facts = fabric.facts();
  findings->Add({Verdict::kOk, "data order",
                 facts.writes_in_order
                     ? "a WRITE lands in ascending order; Acre does not rely on it"
                     : "a WRITE lands in any order, as Acre assumes"});
  findings->Add(
      {Verdict::kOk, "fence",
       facts.fences_on_card ? "the card's" : "ours, by waiting: the card's hangs (Soft-RoCE)"});
  const transport::DeviceAttributes& device = fabric.device();
  findings->Add({Verdict::kOk,
                 "queue pair",
                 absl::StrCat(device.send_queue_depth_max, " requests, ", facts.reads_max,
                              " READs and atomics under way, ", device.inline_bytes_max,
                              " B inline, ", device.receive_queue_depth, " messages wait"),
                 {},
                 {{"send_queue_depth", device.send_queue_depth_max},
                  {"reads_max", facts.reads_max},
                  {"inline_bytes_max", device.inline_bytes_max}}});
}

Check CheckRegistration(const FabricOptions& options, transport::VerbsFabric* fabric) {
  uint64_t largest_bytes = 0;
  uint64_t failed_bytes = 0;
  absl::Status why;
  uint32_t region_id = 0;
  for (uint64_t bytes = kRegisterBytesMin; bytes <= options.register_bytes_max; bytes *= 2) {
    const auto region = fabric->CreateRegion({.region_id = ++region_id,
                                              .size_bytes = bytes,
                                              .peer_rights = transport::kRightRead,
                                              .name = "kv_doctor"});
    if (!region.ok()) {
      why = region.status();
      failed_bytes = bytes;
      break;
    }
    largest_bytes = bytes;
  }
  Check check;
  check.what = "registration";
  check.figures = {{"largest_bytes", static_cast<double>(largest_bytes)}};
  if (why.ok()) {
    check.found = absl::StrCat(FormatSize(largest_bytes),
                               " at once, the most that was tried with the memory that there is");
    return check;
  }
  check.found = absl::StrCat("at most ", FormatSize(largest_bytes),
                             " at once: ", FormatSize(failed_bytes), " failed: ", why.message());
  const bool suffices = largest_bytes >= std::min(options.memory_bytes, options.register_bytes_max);
  check.verdict = suffices ? Verdict::kNote : Verdict::kBad;
  const Check memlock = CheckMemlock(/*root=*/"", options.memory_bytes);
  if (memlock.verdict == Verdict::kBad) {
    check.mend = memlock.mend;
  } else {
    // A user namespace's capabilities do not count, and memory may simply be short.
    check.mend = MemlockMends(/*hard_limit_allows=*/false);
    check.mend.push_back("kv_server --memory=SIZE   # less, or free some memory");
  }
  return check;
}

// What to do where a fabric cannot be opened.
std::vector<std::string> MendsOf(absl::string_view fabric) {
  if (fabric == "verbs") {
    return {"kv_server --fabric=shm,tcp   # without RDMA; or mend what is BAD above"};
  }
  if (fabric == "shm") return {"kv_server --fabric=tcp   # without"};
  return {"kv_server --fabric=shm   # without"};
}

}  // namespace

std::string CheckVerbs(const FabricOptions& options, Findings* findings) {
  const auto opened = transport::OpenProvider("verbs", ProviderOptionsOf(options));
  if (!opened.ok()) {
    findings->Add({Verdict::kBad,
                   "verbs",
                   std::string(opened.status().message()),
                   {"kv_server --device=CARD   # if another one can be used",
                    "kv_server --fabric=shm,tcp   # without RDMA; or mend what is BAD above"}});
    return "";
  }
  auto* const fabric = dynamic_cast<transport::VerbsFabric*>(opened->get());
  findings->Add({Verdict::kOk, "verbs",
                 absl::StrCat("a server here would use ", fabric->facts().card, " at ",
                              fabric->facts().address)});
  CheckFacts(*fabric, findings);
  findings->Add(CheckRegistration(options, fabric));
  return fabric->facts().card;
}

Check CheckDeathMarks(const FabricOptions& options) {
  Check check;
  check.what = "death marks";
  const auto fabric = transport::OpenProvider("shm", ProviderOptionsOf(options));
  if (!fabric.ok()) {
    return {Verdict::kNote, "death marks", std::string(fabric.status().message())};
  }
  const auto region = (*fabric)->CreateRegion({.region_id = 1,
                                               .size_bytes = 4096,
                                               .peer_rights = transport::kRightRead,
                                               .lease_ns = 1'000'000'000,
                                               .death_mark = true,
                                               .name = "kv_doctor"});
  if (!region.ok()) {
    return {Verdict::kBad,
            "shm",
            std::string(region.status().message()),
            {"ulimit -v unlimited; ulimit -n 65536   # memory and descriptors of this shell"}};
  }
  const auto* const header = reinterpret_cast<const transport::RegionHeader*>((*region)->words());
  // Ours, and nobody else has it.
  if (header->lease_deadline_ns.Load(std::memory_order_relaxed) == transport::kNoLeaseNs) {
    check.found = "the kernel marks the memory of a server that dies (robust futexes)";
    return check;
  }
  check.verdict = Verdict::kNote;
  check.found = "the kernel marks no deaths, or a page cannot be locked: readers rely on leases";
  check.mend = {"kv_server --lease_ms=500   # how long a death may go unnoticed (docs/leases.md)"};
  return check;
}

Check CheckChoice(const FabricOptions& options, const std::vector<std::string>& fabrics) {
  const bool is_auto = fabrics == std::vector<std::string>{std::string(server::kAutoFabrics)};
  Check check;
  check.what = "--fabric";
  std::vector<std::string> left_out;
  const auto networks = server::Networks::Open(fabrics, ProviderOptionsOf(options),
                                               /*is_loopback=*/false, [&](absl::string_view line) {
                                                 // It also tells what a card cannot do, which has lines of its own here.
                                                 if (absl::StartsWith(line, "goes without"))
                                                   left_out.emplace_back(line);
                                               });
  if (!networks.ok()) {
    check.verdict = Verdict::kBad;
    check.found = std::string(networks.status().message());
    for (const std::string& name : fabrics) {
      const absl::Status opened =
          transport::OpenProvider(name, ProviderOptionsOf(options)).status();
      if (opened.ok()) continue;
      check.found = absl::StrCat("fabric ", name, ": ", opened.message());
      for (std::string& mend : MendsOf(name)) check.mend.push_back(std::move(mend));
    }
    if (check.mend.empty()) check.mend = MendsOf("verbs");
    return check;
  }
  check.found = absl::StrCat(absl::StrJoin(fabrics, ","), " gives ", networks->Names(),
                             is_auto && networks->Names().find("verbs") != std::string::npos
                                 ? " (without verbs while --listen is a loopback address)"
                                 : "",
                             left_out.empty() ? "" : "; ", absl::StrJoin(left_out, "; "));
  if (!left_out.empty()) check.verdict = Verdict::kNote;
  return check;
}

}  // namespace acre::doctor
