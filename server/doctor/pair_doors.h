// PairDoors: the fabrics of a kv_doctor that checks a pair, each with its port on one scheduler.
//
// Ownership: owns fabrics, queues and ports; borrows the scheduler.
// Threads:   the scheduler's.

#ifndef ACRE_SERVER_DOCTOR_PAIR_DOORS_H_
#define ACRE_SERVER_DOCTOR_PAIR_DOORS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scheduler.h"
#include "server/doctor/pair_link.h"
#include "server/doctor/pair_wire.h"
#include "server/networks.h"
#include "transport/bootstrap_peer.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/providers/providers.h"

namespace acre::doctor {

class PairDoors {
 public:
  struct Door {
    std::string name;  // "verbs".
    transport::Fabric* fabric = nullptr;
    std::unique_ptr<transport::CompletionQueue> completion_queue;
    std::unique_ptr<transport::Port> port;
  };

  // `is_loopback`, `say`: as server::Networks::Open(). Errors: those, and of CreateCompletionQueue();
  // Internal - there is no /proc.
  static absl::StatusOr<std::unique_ptr<PairDoors>> Open(
      Scheduler* scheduler, const std::vector<std::string>& fabrics,
      const transport::ProviderOptions& options, bool is_loopback,
      const std::function<void(absl::string_view)>& say);
  // Requires: no link is left.
  ~PairDoors();

  std::vector<Door>& doors() { return doors_; }
  // Null: no such fabric is open.
  Door* Find(absl::string_view name);
  server::Networks* networks() { return &networks_; }
  const Introduction& introduction() const { return introduction_; }
  uint32_t NextRegionId() { return ++region_ids_; }
  // For links through that door. The doors outlive them.
  PairLinkContext ContextOf(const Door& door);
  // Of small channels.
  transport::ChannelOptions ChannelOptionsOf();

 private:
  PairDoors(Scheduler* scheduler, server::Networks networks)
      : scheduler_(scheduler), networks_(std::move(networks)) {}

  Scheduler* const scheduler_;
  server::Networks networks_;
  std::vector<Door> doors_;
  Introduction introduction_;
  uint32_t region_ids_ = 0;
};

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_PAIR_DOORS_H_
