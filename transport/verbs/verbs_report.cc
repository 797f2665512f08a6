#include "transport/verbs/verbs_report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <infiniband/verbs.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "transport/verbs/verbs_device.h"

namespace acre::transport {
namespace {

struct ListDeleter {
  void operator()(ibv_device** list) const { ibv_free_device_list(list); }
};
struct ContextDeleter {
  void operator()(ibv_context* context) const { ibv_close_device(context); }
};

// libibverbs has numbers for both and no names.
double LaneGbit(int speed) {
  switch (speed) {
    case 1:
      return 2.5;
    case 2:
      return 5;
    case 4:
    case 8:
      return 10;
    case 16:
      return 14;
    case 32:
      return 25;
    case 64:
      return 50;
    case 128:
      return 100;
    default:
      return 0;
  }
}

int LanesOf(int width) {
  switch (width) {
    case 1:
      return 1;
    case 2:
      return 4;
    case 4:
      return 8;
    case 8:
      return 12;
    case 16:
      return 2;
    default:
      return 0;
  }
}

uint32_t MtuBytes(ibv_mtu mtu) { return mtu < IBV_MTU_256 ? 0 : 128u << mtu; }

// Cards say how many by signed numbers.
uint32_t AsCount(int number) { return static_cast<uint32_t>(std::max(number, 0)); }

const char* GidTypeName(uint32_t type) {
  switch (type) {
    case IBV_GID_TYPE_IB:
      return "InfiniBand";
    case IBV_GID_TYPE_ROCE_V1:
      return "RoCE v1";
    case IBV_GID_TYPE_ROCE_V2:
      return "RoCE v2";
    default:
      return "unknown";
  }
}

void ReportGids(ibv_context* context, const ibv_port_attr& attributes, VerbsPort* port) {
  for (int i = 0; i < attributes.gid_tbl_len; ++i) {
    ibv_gid_entry entry = {};
    const auto index = static_cast<uint32_t>(i);
    // Gaps in the table are no errors.
    if (ibv_query_gid_ex(context, port->number, index, &entry, 0) != 0) continue;
    char text[INET6_ADDRSTRLEN] = "";
    inet_ntop(AF_INET6, entry.gid.raw, text, sizeof(text));
    port->gids.push_back({index, text, GidTypeName(entry.gid_type)});
  }
}

VerbsPort ReportPort(ibv_context* context, uint8_t number) {
  VerbsPort port;
  port.number = number;
  ibv_port_attr attributes = {};
  if (ibv_query_port(context, number, &attributes) != 0) {
    port.state = "cannot be asked";
    return port;
  }
  port.is_active = attributes.state == IBV_PORT_ACTIVE;
  port.is_infiniband = attributes.link_layer == IBV_LINK_LAYER_INFINIBAND;
  port.state = absl::AsciiStrToLower(ibv_port_state_str(attributes.state));
  if (absl::StartsWith(port.state, "port_")) port.state.erase(0, 5);
  port.gbit_per_second = LaneGbit(attributes.active_speed) * LanesOf(attributes.active_width);
  port.mtu_active_bytes = MtuBytes(attributes.active_mtu);
  port.mtu_max_bytes = MtuBytes(attributes.max_mtu);
  ReportGids(context, attributes, &port);
  return port;
}

VerbsCard ReportCard(ibv_device* device) {
  VerbsCard card;
  card.name = ibv_get_device_name(device);
  const std::unique_ptr<ibv_context, ContextDeleter> context(ibv_open_device(device));
  if (context == nullptr) {
    card.opened = absl::ErrnoToStatus(errno, "cannot be opened");
    return card;
  }
  ibv_device_attr_ex limits = {};
  if (const int error = ibv_query_device_ex(context.get(), nullptr, &limits); error != 0) {
    card.opened = absl::ErrnoToStatus(error, "cannot be asked for its limits");
    return card;
  }
  const ibv_device_attr& attributes = limits.orig_attr;
  card.firmware = attributes.fw_ver;
  card.is_soft_roce = IsSoftRoce(attributes);
  card.atomics = attributes.atomic_cap == IBV_ATOMIC_NONE   ? "none"
                 : attributes.atomic_cap == IBV_ATOMIC_GLOB ? "global"
                                                            : "hca";
  card.pci_atomics = (limits.pci_atomic_caps.compare_swap & limits.pci_atomic_caps.fetch_add) != 0;
  card.queue_pairs_max = AsCount(attributes.max_qp);
  card.requests_max = AsCount(attributes.max_qp_wr);
  card.completions_max = AsCount(attributes.max_cqe);
  card.regions_max = AsCount(attributes.max_mr);
  card.reads_max = AsCount(attributes.max_qp_rd_atom);
  card.region_bytes_max = attributes.max_mr_size;
  for (uint8_t number = 1; number <= attributes.phys_port_cnt; ++number) {
    card.ports.push_back(ReportPort(context.get(), number));
  }
  return card;
}

}  // namespace

VerbsReport ReportVerbs() {
  VerbsReport report;
  int count = 0;
  const std::unique_ptr<ibv_device*, ListDeleter> devices(ibv_get_device_list(&count));
  if (devices == nullptr) return report;
  for (int i = 0; i < count; ++i) report.cards.push_back(ReportCard(devices.get()[i]));
  if (count == 0) return report;
  absl::StatusOr<std::vector<VerbsDevice::Place>> places = VerbsDevice::Places();
  report.rdma_cm = places.status();
  if (!places.ok()) return report;
  for (VerbsDevice::Place& place : *places) {
    report.addresses.push_back({place.address.Host(), std::move(place.card)});
  }
  return report;
}

}  // namespace acre::transport
