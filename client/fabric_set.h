// FabricSet: the fabrics of one client, one of each kind that it may use, lent to all of its connections: so a
// client of many servers has one thread of the tcp fabric, and not one for each server. A card's is shared with the
// process's other clients where threads are to share queue pairs.
//
// The kinds are the providers (transport/providers), the best first. A fabric is made when a
// connection first wants it, and kept: where shared memory reaches all servers, no card is opened.
//
// Threads:   the scheduler's.
// Ownership: borrows the scheduler. Owns fabrics, completion queues and ports. The Router owns the set and
//            lends it to its ClientCores and their FabricBackends. Teardown, in this order: operations and
//            attempts to connect, backends (their queue pairs and regions), cores, the set (the port, the
//            completion queue, the fabric of each kind), the scheduler.

#ifndef ACRE_CLIENT_FABRIC_SET_H_
#define ACRE_CLIENT_FABRIC_SET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scheduler.h"
#include "transport/bootstrap_peer.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

class FabricSet {
 public:
  using LocalFabrics = std::vector<transport::ConnectOptions::LocalFabric>;

  // `name`: of a kind, or "auto": all kinds, the best first. `device`: the card of verbs, or "": any.
  // `threads_per_qp`: that share a card's queue pair to a server. `must_map`: only those that map the server's
  // memory. Makes no fabric yet. Errors: InvalidArgument - there is no such kind, it cannot map and must, or it does
  // not go over cards and one is named.
  struct Options {
    std::string name = "auto";
    std::string device = {};
    uint32_t threads_per_qp = 1;
    bool must_map = false;
  };
  static absl::StatusOr<std::unique_ptr<FabricSet>> Create(Scheduler* scheduler, Options options);
  ~FabricSet();
  FabricSet(const FabricSet&) = delete;
  FabricSet& operator=(const FabricSet&) = delete;

  // What a connection may use, the best first, for ConnectOptions::fabrics: the best one, if it is not made yet
  // it makes it. Of auto, verbs is left out for good where no card was asked for and
  // this machine has none that can be used; one that is there and does not work is logged. Errors:
  // FailedPrecondition - what was asked for is not there; Unavailable, ResourceExhausted - one could not be
  // opened: the next call tries again.
  absl::StatusOr<LocalFabrics> Open();
  // All others, for ConnectOptions::more_fabrics, which is not to be had for nothing: cards are opened, threads
  // started. Errors: as Open().
  absl::StatusOr<LocalFabrics> OpenMore();
  bool has_more() const { return members_.size() > 1; }

  // The first of `count` region ids in a row that no other connection of this process has.
  static uint32_t TakeRegionIds(uint32_t count);

  // Fabrics that were made so far.
  size_t opened_count() const;

 private:
  // One that may be used.
  struct Member {
    absl::string_view kind;
    bool is_absent = false;  // This machine has none, and need not.
    // Null: not made yet. Declared in the order of their making: they go in the reverse one.
    std::shared_ptr<transport::Fabric> fabric;
    std::unique_ptr<transport::CompletionQueue> completion_queue;
    std::unique_ptr<transport::Port> port;
  };

  FabricSet(Scheduler* scheduler, const Options& options);
  absl::StatusOr<std::shared_ptr<transport::Fabric>> OpenFabric(absl::string_view kind) const;
  absl::Status OpenMember(Member* member);
  absl::StatusOr<LocalFabrics> OpenFrom(size_t begin, size_t end);

  Scheduler* const scheduler_;
  const std::string device_;
  const uint32_t threads_per_qp_;
  const bool is_auto_;
  std::vector<Member> members_;  // The best first.
};

}  // namespace acre

#endif  // ACRE_CLIENT_FABRIC_SET_H_
