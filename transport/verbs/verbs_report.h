// What this machine's RDMA cards say of themselves, for people (kv_doctor) and in plain types.
//
// Threads: any.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_REPORT_H_
#define ACRE_TRANSPORT_VERBS_VERBS_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace acre::transport {

// A name that a port has in its network: rdma_cm picks one for an address.
struct VerbsGid {
  uint32_t index = 0;
  std::string address = {};  // "fe80::1", "::ffff:10.9.9.1".
  std::string type = {};     // "InfiniBand", "RoCE v1", "RoCE v2".
};

struct VerbsPort {
  uint32_t number = 0;  // From 1 on.
  bool is_active = false;
  bool is_infiniband = false;  // Else Ethernet: RoCE.
  std::string state = {};      // "active", "down", as libibverbs says it.
  double gbit_per_second = 0;  // Lanes times the speed of each; 0: of an unknown kind.
  uint32_t mtu_active_bytes = 0;
  uint32_t mtu_max_bytes = 0;
  std::vector<VerbsGid> gids = {};
};

struct VerbsCard {
  std::string name = {};  // "mlx5_0".
  absl::Status opened =
      {};  // Else nothing below is set. PermissionDenied: /dev/infiniband is not ours.
  std::string firmware = {};  // "": it tells none.
  bool is_soft_roce = false;
  std::string atomics = {};  // "none", "hca", "global".
  bool pci_atomics = false;  // They may reach over the bus as atomics.
  uint32_t queue_pairs_max = 0;
  uint32_t requests_max = 0;     // In one queue.
  uint32_t completions_max = 0;  // In one completion queue.
  uint32_t regions_max = 0;
  uint32_t reads_max = 0;  // READs and atomics under way on a queue pair that it answers.
  uint64_t region_bytes_max = 0;
  std::vector<VerbsPort> ports = {};
};

// An address of this machine that rdma_cm maps to a card.
struct VerbsAddress {
  std::string host = {};
  std::string card = {};
};

struct VerbsReport {
  std::vector<VerbsCard> cards = {};
  absl::Status rdma_cm = {};  // Not asked without a card: then OK.
  std::vector<VerbsAddress> addresses = {};
};

// Opens each card for a moment.
VerbsReport ReportVerbs();

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_REPORT_H_
