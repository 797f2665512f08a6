#include "transport/verbs/verbs_device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

// What the kernel's rdma_rxe says it is; no maker of cards has this number.
constexpr uint32_t kSoftRoceVendor = 0xffffff;

struct InterfacesDeleter {
  void operator()(ifaddrs* interfaces) const { freeifaddrs(interfaces); }
};

bool IsUsable(const ifaddrs& interface) {
  if (interface.ifa_addr == nullptr || (interface.ifa_flags & IFF_UP) == 0) return false;
  // Rdma_cm would lend loopback to any card, whatever the peer asked for.
  if ((interface.ifa_flags & IFF_LOOPBACK) != 0) return false;
  if (interface.ifa_addr->sa_family == AF_INET) return true;
  if (interface.ifa_addr->sa_family != AF_INET6) return false;
  // Link-local addresses mean nothing without the interface.
  const auto* address = reinterpret_cast<const sockaddr_in6*>(interface.ifa_addr);
  return !IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr);
}

// Those of this machine, IPv4 first.
std::vector<CmAddress> OwnAddresses() {
  ifaddrs* listed = nullptr;
  std::vector<CmAddress> addresses;
  if (getifaddrs(&listed) != 0) return addresses;
  const std::unique_ptr<ifaddrs, InterfacesDeleter> interfaces(listed);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* i = listed; i != nullptr; i = i->ifa_next) {
      if (IsUsable(*i) && i->ifa_addr->sa_family == family) {
        addresses.push_back(CmAddress::From(i->ifa_addr));
      }
    }
  }
  return addresses;
}

// Why the card that `id` is bound to will not do, "" if it will.
std::string WhyUseless(const rdma_cm_id& id, ibv_device_attr_ex* limits,
                       uint64_t* message_bytes_max) {
  ibv_port_attr port = {};
  if (ibv_query_port(id.verbs, id.port_num, &port) != 0) return "cannot be asked for its port";
  if (port.state != IBV_PORT_ACTIVE) {
    return absl::StrCat("has no link (port ", id.port_num, " is ", ibv_port_state_str(port.state),
                        ")");
  }
  *message_bytes_max = port.max_msg_sz;
  if (ibv_query_device_ex(id.verbs, nullptr, limits) != 0) return "cannot be asked for its limits";
  if (limits->orig_attr.atomic_cap == IBV_ATOMIC_NONE) return "has no atomics";
  return "";
}

uint8_t AsReads(int device_max) { return static_cast<uint8_t>(std::clamp(device_max, 1, 255)); }

}  // namespace

void CmAddress::SetPort(uint16_t port) {
  if (storage.ss_family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
  }
}

std::string CmAddress::Host() const {
  char text[INET6_ADDRSTRLEN] = "";
  const void* address = &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
  if (storage.ss_family == AF_INET) {
    address = &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr;
  }
  inet_ntop(storage.ss_family, address, text, sizeof(text));
  return text;
}

CmAddress CmAddress::From(const sockaddr* address) {
  CmAddress copy;
  if (address->sa_family == AF_INET) {
    *reinterpret_cast<sockaddr_in*>(&copy.storage) = *reinterpret_cast<const sockaddr_in*>(address);
  } else {
    *reinterpret_cast<sockaddr_in6*>(&copy.storage) =
        *reinterpret_cast<const sockaddr_in6*>(address);
  }
  copy.SetPort(0);
  return copy;
}

absl::StatusOr<CmAddress> CmAddress::FromHost(absl::string_view host) {
  const std::string text(host);
  CmAddress parsed;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&parsed.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&parsed.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    parsed.storage.ss_family = AF_INET;
  } else if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    parsed.storage.ss_family = AF_INET6;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("'", host, "' is not an address"));
  }
  return parsed;
}

bool IsSoftRoce(const ibv_device_attr& limits) { return limits.vendor_id == kSoftRoceVendor; }

absl::StatusOr<CmChannel> MakeCmChannel() {
  CmChannel channel(rdma_create_event_channel());
  if (channel == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("no rdma_cm here (", strerror(errno), "): modprobe rdma_ucm"));
  }
  const int flags = fcntl(channel->fd, F_GETFL);
  PCHECK(fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) == 0);
  return channel;
}

absl::StatusOr<std::unique_ptr<VerbsDevice>> VerbsDevice::Open(absl::string_view name,
                                                               absl::string_view host) {
  std::vector<CmAddress> candidates;
  if (host.empty()) {
    candidates = OwnAddresses();
  } else {
    absl::StatusOr<CmAddress> address = CmAddress::FromHost(host);
    if (!address.ok()) return address.status();
    candidates.push_back(*address);
  }
  // Asked first: librdmacm complains on the standard error where there is no card at all.
  int devices_count = 0;
  ibv_device** devices = ibv_get_device_list(&devices_count);
  if (devices != nullptr) ibv_free_device_list(devices);
  if (devices_count == 0) return absl::NotFoundError("this machine has no RDMA device");
  absl::StatusOr<CmChannel> channel = MakeCmChannel();
  if (!channel.ok()) return channel.status();

  std::vector<std::string> refused;
  for (CmAddress& address : candidates) {
    rdma_cm_id* made = nullptr;
    if (rdma_create_id(channel->get(), &made, nullptr, RDMA_PS_TCP) != 0) break;
    CmId id(made);
    if (rdma_bind_addr(id.get(), address.get()) != 0 || id->verbs == nullptr) continue;
    const std::string id_name = ibv_get_device_name(id->verbs->device);
    if (!name.empty() && name != id_name) {
      refused.push_back(absl::StrCat(id_name, " (", address.Host(), ") is another one"));
      continue;
    }
    auto device = absl::WrapUnique(new VerbsDevice());
    if (const std::string why = WhyUseless(*id, &device->limits_, &device->message_bytes_max_);
        !why.empty()) {
      refused.push_back(absl::StrCat(id_name, " (", address.Host(), ") ", why));
      continue;
    }
    device->pd_.reset(ibv_alloc_pd(id->verbs));
    if (device->pd_ == nullptr) return absl::ErrnoToStatus(errno, "ibv_alloc_pd");
    device->channel_ = *std::move(channel);
    device->id_ = std::move(id);
    device->events_ = std::make_unique<VerbsEvents>(device->context());
    device->name_ = id_name;
    device->address_ = address;
    device->is_soft_roce_ = IsSoftRoce(device->limits_.orig_attr);
    return device;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("no RDMA device", name.empty() ? "" : absl::StrCat(" '", name, "'"),
                   host.empty() ? "" : absl::StrCat(" at ", host), " can be used",
                   refused.empty() ? ": no address of this machine belongs to one (ip address add)"
                                   : absl::StrCat(": ", absl::StrJoin(refused, "; "))));
}

std::vector<std::string> VerbsDevice::UsableHosts() {
  std::vector<std::string> hosts;
  for (const CmAddress& address : OwnAddresses()) {
    if (Open("", address.Host()).ok()) hosts.push_back(address.Host());
  }
  return hosts;
}

absl::StatusOr<std::vector<VerbsDevice::Place>> VerbsDevice::Places() {
  std::vector<Place> places;
  absl::StatusOr<CmChannel> channel = MakeCmChannel();
  if (!channel.ok()) return channel.status();
  for (CmAddress& address : OwnAddresses()) {
    rdma_cm_id* made = nullptr;
    if (rdma_create_id(channel->get(), &made, nullptr, RDMA_PS_TCP) != 0) break;
    const CmId id(made);
    if (rdma_bind_addr(id.get(), address.get()) != 0 || id->verbs == nullptr) continue;
    places.push_back({address, ibv_get_device_name(id->verbs->device)});
  }
  return places;
}

uint8_t VerbsDevice::initiated_reads_max() const {
  return AsReads(limits_.orig_attr.max_qp_init_rd_atom);
}

uint8_t VerbsDevice::answered_reads_max() const {
  return AsReads(limits_.orig_attr.max_qp_rd_atom);
}

}  // namespace acre::transport
