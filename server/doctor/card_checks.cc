#include "server/doctor/card_checks.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/optional.h"
#include "server/doctor/sysfs.h"
#include "server/memory.h"
#include "server/size.h"

namespace acre::doctor {
namespace {

using server::FormatSize;
using transport::VerbsAddress;
using transport::VerbsCard;
using transport::VerbsGid;
using transport::VerbsPort;
using transport::VerbsReport;

// The network interface of a card, as far as the kernel tells: Soft-RoCE's below `parent`, others' below
// the bus device.
std::string InterfaceOf(const std::string& root, absl::string_view card) {
  const std::string folder = absl::StrCat(root, "/sys/class/infiniband/", card);
  if (const auto parent = ReadText(folder + "/parent"); parent.has_value()) return *parent;
  const std::vector<std::string> names = ListFolder(folder + "/device/net");
  return names.empty() ? "DEV" : names.front();
}

Check NoCard(const std::string& root, bool is_wanted) {
  Check check;
  check.what = "device";
  const std::vector<std::string> known = ListFolder(root + "/sys/class/infiniband");
  if (!known.empty()) {
    // The kernel has cards and libibverbs finds none: no character devices, or no driver of its own.
    check.found = absl::StrCat("the kernel has ", absl::StrJoin(known, ", "),
                               ", and libibverbs finds no driver or no /dev/infiniband for it");
    check.verdict = is_wanted ? Verdict::kBad : Verdict::kNote;
    check.mend = {"apt-get install ibverbs-providers   # the drivers in user space",
                  "modprobe ib_uverbs",
                  "docker run --device=/dev/infiniband ...   # in a container"};
    return check;
  }
  check.found = "this machine has no RDMA device";
  if (!is_wanted) {
    absl::StrAppend(&check.found, ": fabrics shm and tcp do without");
    return check;
  }
  check.verdict = Verdict::kBad;
  check.mend = {
      "lspci | grep -iE 'mellanox|infiniband|broadcom|e810'   # is there a card at all?",
      "apt-get install rdma-core ibverbs-providers && modprobe mlx5_ib   # or the card's own "
      "driver",
      "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0   "
      "# without a card, to try it: Soft-RoCE on any interface",
      "tools/rxe-vm -- /bin/sh -c 'rdma link'   # without root: a virtual machine with Soft-RoCE"};
  return check;
}

Check CardCheck(const VerbsCard& card, bool is_wanted) {
  Check check;
  check.what = card.name;
  if (!card.opened.ok()) {
    check.verdict = is_wanted ? Verdict::kBad : Verdict::kNote;
    check.found = absl::StrCat("cannot be used: ", card.opened.message());
    check.mend = {
        "chmod 666 /dev/infiniband/uverbs* /dev/infiniband/rdma_cm   # as root, or by udev",
        "docker run --device=/dev/infiniband ...   # in a container"};
    return check;
  }
  check.found = absl::StrCat(
      card.is_soft_roce ? "Soft-RoCE: software, for trying things out, no faster than TCP" : "card",
      ", firmware ", card.firmware.empty() ? "not told" : card.firmware, ", ", card.ports.size(),
      card.ports.size() == 1 ? " port" : " ports");
  if (card.is_soft_roce) check.verdict = Verdict::kNote;
  return check;
}

Check LimitsCheck(const VerbsCard& card, bool is_wanted, uint64_t memory_bytes) {
  Check check;
  check.what = absl::StrCat(card.name, " limits");
  check.found =
      absl::StrCat(card.queue_pairs_max, " queue pairs, ", card.requests_max, " requests a queue, ",
                   card.completions_max, " completions a completion queue, ", card.regions_max,
                   " regions, ", card.reads_max, " READs and atomics answered at a time");
  check.figures = {{"max_qp", card.queue_pairs_max},
                   {"max_qp_wr", card.requests_max},
                   {"max_cqe", card.completions_max},
                   {"max_mr", card.regions_max},
                   {"max_qp_rd_atom", card.reads_max},
                   {"max_mr_size", static_cast<double>(card.region_bytes_max)}};
  if (card.region_bytes_max == 0) return check;  // Not told.
  // Software, and some drivers, say that they have no limit by the largest number there is.
  const bool has_limit = card.region_bytes_max < uint64_t{1} << 62;
  absl::StrAppend(&check.found, ", ",
                  has_limit ? FormatSize(card.region_bytes_max) : "any number of bytes",
                  " in a region");
  const server::RegionPlan plan = server::PlanRegions(memory_bytes, server::kDataRegionBytesMax);
  if (plan.bytes <= card.region_bytes_max) return check;
  check.verdict = is_wanted ? Verdict::kBad : Verdict::kNote;
  absl::StrAppend(&check.found, ": less than the ", FormatSize(plan.bytes),
                  " that a server with --memory=", FormatSize(memory_bytes), " registers at once");
  check.mend = {
      absl::StrCat("kv_server --memory=", card.region_bytes_max >> 20,
                   "M   # no more than the card takes; a cluster of such servers has more"),
      "kv_server --device=CARD   # another card", "kv_server --fabric=shm,tcp   # or none"};
  return check;
}

Check AtomicsCheck(const VerbsCard& card, bool is_wanted) {
  Check check;
  check.what = absl::StrCat(card.name, " atomics");
  check.found = absl::StrCat("atomic_cap ", card.atomics, ", over the bus (pci_atomic_caps) ",
                             card.pci_atomics ? "yes" : "no");
  if (card.atomics != "none") {
    absl::StrAppend(&check.found, card.atomics == "hca"
                                      ? ": atomic among the card's own, as Acre assumes everywhere"
                                      : ": atomic against CPUs too; Acre does not rely on it");
    return check;
  }
  check.verdict = is_wanted ? Verdict::kBad : Verdict::kNote;
  absl::StrAppend(&check.found, ": this card cannot be used");
  check.mend = {"kv_server --device=CARD   # another card",
                "kv_server --fabric=shm,tcp   # or none"};
  return check;
}

Check PortCheck(const std::string& name, const std::string& interface, const VerbsPort& port) {
  Check check;
  check.what = absl::StrCat(name, " port");
  check.found = absl::StrCat(
      port.state, ", ", port.is_infiniband ? "InfiniBand" : "Ethernet (RoCE)",
      port.gbit_per_second > 0 ? absl::StrCat(", ", port.gbit_per_second, " Gbit/s") : "");
  check.figures = {{"gbit_per_second", port.gbit_per_second}};
  if (port.is_active) return check;
  // Another port may do: whether any does is told at the end.
  check.verdict = Verdict::kNote;
  if (port.is_infiniband) {
    check.mend = {
        "systemctl start opensm   # on one machine: ports become active by a subnet manager"};
  } else {
    check.mend = {absl::StrCat("ip link set ", interface, " up   # and look at the cable")};
  }
  return check;
}

// Ethernet's packets must hold a message's part and some 60 bytes of headers.
uint32_t EthernetMtuFor(uint32_t mtu_bytes) { return mtu_bytes + 104; }

Check MtuCheck(const std::string& name, const std::string& interface, const VerbsPort& port) {
  Check check;
  check.what = absl::StrCat(name, " MTU");
  check.found = absl::StrCat(port.mtu_active_bytes, " of ", port.mtu_max_bytes, " possible");
  check.figures = {{"active_bytes", port.mtu_active_bytes}, {"max_bytes", port.mtu_max_bytes}};
  if (port.mtu_active_bytes >= port.mtu_max_bytes || !port.is_active) return check;
  check.verdict = Verdict::kNote;
  if (port.is_infiniband) {
    absl::StrAppend(&check.found, ": the subnet manager's choice");
    check.mend = {"opensm's partitions.conf: Default=0x7fff, ipoib, mtu=5 : ALL=full;   # 5: 4096"};
  } else {
    check.mend = {absl::StrCat("ip link set ", interface, " mtu ",
                               EthernetMtuFor(port.mtu_max_bytes),
                               "   # on both machines, and the switch must take it")};
  }
  return check;
}

Check GidsCheck(const std::string& name, const VerbsPort& port) {
  Check check;
  check.what = absl::StrCat(name, " GIDs");
  check.found = port.gids.empty()
                    ? "none"
                    : absl::StrJoin(port.gids, ", ", [](std::string* text, const VerbsGid& gid) {
                        absl::StrAppend(text, gid.index, " ", gid.address, " (", gid.type, ")");
                      });
  const bool routable = std::any_of(port.gids.begin(), port.gids.end(), [](const VerbsGid& gid) {
    return gid.type == "RoCE v2" && !absl::StartsWith(gid.address, "fe80:");
  });
  if (port.is_infiniband ? !port.gids.empty() : routable) return check;
  check.verdict = Verdict::kNote;
  if (!port.is_infiniband) {
    absl::StrAppend(&check.found, "; none is a RoCE v2 one that a router forwards");
  }
  return check;
}

// Judged all together: one address that rdma_cm maps to one of the cards is enough.
void CheckAddresses(const std::string& root, const VerbsReport& report, bool is_wanted,
                    absl::string_view device, Findings* findings) {
  const Verdict failed = is_wanted ? Verdict::kBad : Verdict::kNote;
  if (!report.rdma_cm.ok()) {
    findings->Add({failed,
                   "rdma_cm",
                   std::string(report.rdma_cm.message()),
                   {"modprobe rdma_ucm   # as root",
                    "docker run --device=/dev/infiniband ...   # in a container"}});
    return;
  }
  findings->Add({Verdict::kOk, "rdma_cm", "there"});
  std::vector<std::string> mapped;
  for (const VerbsAddress& address : report.addresses) {
    if (!device.empty() && device != address.card && device != address.host) continue;
    mapped.push_back(absl::StrCat(address.host, " is on ", address.card));
  }
  if (!mapped.empty()) {
    findings->Add({Verdict::kOk, "address", absl::StrJoin(mapped, ", ")});
    return;
  }
  std::string card = report.cards.front().name;
  for (const VerbsCard& known : report.cards) {
    if (known.name == device) card = known.name;
  }
  findings->Add(
      {failed,
       "address",
       absl::StrCat("no address of this machine is one that rdma_cm maps to ",
                    device.empty() ? "a card" : device),
       {absl::StrCat("ip address add 10.0.0.1/24 dev ", InterfaceOf(root, card),
                     "   # InfiniBand: of the IPoIB interface (modprobe ib_ipoib)"),
        "docker run --network=host ...   # in a container, which has addresses of its own"}});
}

}  // namespace

void CheckCards(const std::string& root, const VerbsReport& report, bool is_wanted,
                absl::string_view device, uint64_t memory_bytes, Findings* findings) {
  if (report.cards.empty()) {
    findings->Add(NoCard(root, is_wanted));
    return;
  }
  const auto is_of_interest = [&](const VerbsCard& card) {
    return device.empty() || device == card.name ||
           std::any_of(report.addresses.begin(), report.addresses.end(),
                       [&](const VerbsAddress& address) {
                         return address.host == device && address.card == card.name;
                       });
  };
  bool found = false;
  for (const VerbsCard& card : report.cards) {
    if (!is_of_interest(card)) continue;
    found = true;
    findings->Add(CardCheck(card, is_wanted));
    if (!card.opened.ok()) continue;
    const std::string interface = InterfaceOf(root, card.name);
    for (const VerbsPort& port : card.ports) {
      const std::string name = absl::StrCat(card.name, ":", port.number);
      findings->Add(PortCheck(name, interface, port));
      findings->Add(MtuCheck(name, interface, port));
      findings->Add(GidsCheck(name, port));
    }
    findings->Add(LimitsCheck(card, is_wanted, memory_bytes));
    findings->Add(AtomicsCheck(card, is_wanted));
  }
  if (!found) {
    std::vector<std::string> names;
    for (const VerbsCard& card : report.cards) names.push_back(card.name);
    findings->Add(
        {Verdict::kBad,
         "device",
         absl::StrCat("there is no ", device, ", only ", absl::StrJoin(names, ", ")),
         {absl::StrCat("kv_doctor --device=", names.front(), "   # and kv_server alike")}});
  }
  CheckAddresses(root, report, is_wanted, device, findings);
}

}  // namespace acre::doctor
