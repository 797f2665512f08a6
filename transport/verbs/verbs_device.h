// VerbsDevice: the card that a Fabric uses, opened, with what was asked of it once.
//
// A card is found by the network addresses of this machine: rdma_cm says which card an address belongs to,
// for InfiniBand (the addresses of IPoIB) and RoCE alike, so that nobody sets GIDs by hand.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_DEVICE_H_
#define ACRE_TRANSPORT_VERBS_VERBS_DEVICE_H_

#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transport/verbs/verbs_events.h"

namespace acre::transport {

// An IPv4 or IPv6 address and a port, as rdma_cm takes them.
struct CmAddress {
  sockaddr_storage storage = {};

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  void SetPort(uint16_t port);
  std::string Host() const;  // "10.9.9.1", "fd00::1".

  static CmAddress From(const sockaddr* address);
  // "10.9.9.1" or "fd00::1", port 0. InvalidArgument: names are not resolved here.
  static absl::StatusOr<CmAddress> FromHost(absl::string_view host);
};

struct CmChannelDeleter {
  void operator()(rdma_event_channel* channel) const { rdma_destroy_event_channel(channel); }
};
using CmChannel = std::unique_ptr<rdma_event_channel, CmChannelDeleter>;
// Non-blocking: rdma_get_cm_event fails with EAGAIN when nothing happened.
// Errors: Unavailable - this machine has no rdma_cm.
absl::StatusOr<CmChannel> MakeCmChannel();

// Also destroys the queue pair that was made on it. Blocks till the id's events were acknowledged, which
// all code here does as soon as it has taken them.
struct CmIdDeleter {
  void operator()(rdma_cm_id* id) const {
    if (id->qp != nullptr) rdma_destroy_qp(id);
    rdma_destroy_id(id);
  }
};
using CmId = std::unique_ptr<rdma_cm_id, CmIdDeleter>;

struct PdDeleter {
  void operator()(ibv_pd* pd) const { ibv_dealloc_pd(pd); }
};
struct CqDeleter {
  void operator()(ibv_cq* cq) const { ibv_destroy_cq(cq); }
};
struct CompletionChannelDeleter {
  void operator()(ibv_comp_channel* channel) const { ibv_destroy_comp_channel(channel); }
};
struct MrDeleter {
  void operator()(ibv_mr* mr) const { ibv_dereg_mr(mr); }
};
using Pd = std::unique_ptr<ibv_pd, PdDeleter>;
using Cq = std::unique_ptr<ibv_cq, CqDeleter>;
using CompletionChannel = std::unique_ptr<ibv_comp_channel, CompletionChannelDeleter>;
using Mr = std::unique_ptr<ibv_mr, MrDeleter>;

bool IsSoftRoce(const ibv_device_attr& limits);

// Threads: constant once opened, but for events(), which any thread may use.
class VerbsDevice {
 public:
  // Opens card `name` ("mlx5_0"; empty: any) at `host`, one of this machine's addresses (empty: any). The
  // first that fits, has a link and can do atomics.
  // Errors: NotFound - this machine has none. FailedPrecondition - none that it has will do; the message says
  // which there are and why not.
  //         InvalidArgument - `host` is no address.
  static absl::StatusOr<std::unique_ptr<VerbsDevice>> Open(absl::string_view name,
                                                           absl::string_view host);

  // This machine's addresses at which Open() succeeds.
  static std::vector<std::string> UsableHosts();

  // This machine's addresses that rdma_cm maps to a card, whether that can be used or not.
  // Errors: those of MakeCmChannel().
  struct Place {
    CmAddress address;
    std::string card;
  };
  static absl::StatusOr<std::vector<Place>> Places();

  ibv_context* context() const { return id_->verbs; }
  ibv_pd* pd() const { return pd_.get(); }
  // What the card says of itself. Whoever waits for the card's completions watches it too.
  VerbsEvents* events() const { return events_.get(); }
  const std::string& name() const { return name_; }
  const CmAddress& address() const { return address_; }  // Port 0.
  const ibv_device_attr_ex& limits() const { return limits_; }
  // Soft-RoCE: IBV_SEND_FENCE hangs there (Linux 6.1).
  bool is_soft_roce() const { return is_soft_roce_; }
  uint64_t message_bytes_max() const { return message_bytes_max_; }  // Of one request.
  // Most READs and atomics under way on one queue pair, as initiator and as target.
  uint8_t initiated_reads_max() const;
  uint8_t answered_reads_max() const;

 private:
  VerbsDevice() = default;

  CmChannel channel_;
  CmId id_;  // Bound to the address: keeps the card open.
  std::unique_ptr<VerbsEvents> events_;
  Pd pd_;
  std::string name_;
  CmAddress address_;
  ibv_device_attr_ex limits_ = {};
  uint64_t message_bytes_max_ = 0;
  bool is_soft_roce_ = false;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_DEVICE_H_
