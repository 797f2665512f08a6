// VerbsFabric: the fabric through RDMA cards (InfiniBand, RoCE, Soft-RoCE). See docs/verbs.md.
//
// No type of libibverbs leaves this folder.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_FABRIC_H_
#define ACRE_TRANSPORT_VERBS_VERBS_FABRIC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::transport {

struct VerbsContext;

// What the card said when it was opened, for people. The contract of fabric.h needs none of it.
struct VerbsFacts {
  std::string card;              // "mlx5_0".
  std::string address;           // Of this machine, on that card.
  uint32_t reads_max = 0;        // READs and atomics under way on one queue pair.
  bool fences_on_card = false;   // Else the provider waits.
  bool writes_in_order = false;  // One WRITE lands in ascending order. Nothing here relies on it.
  bool pci_atomics = false;      // The card's atomics may reach over the bus as atomics.
};

// Ownership:  borrows the clock. CHECKs that all that it made is gone before it.
// Threads:    any.
// Limits:     a completion queue holds five descriptors, a listener one, a queue pair and a region none.
class VerbsFabric final : public Fabric {
 public:
  struct Options {
    Clock* clock = nullptr;  // Must outlive the Fabric.
    // Which card: its name ("mlx5_0"), or one of this machine's addresses, or both; empty: the first with
    // a link and atomics.
    std::string device = {};
    std::string address = {};
    // Of our regions. False: their atomics come through another fabric, so peers' atomics through this one
    // are refused (A3).
    bool serves_atomics = true;
    // This process's incarnation, for region headers. 0: a random one.
    uint64_t generation = 0;
    // How many threads (completion queues) share a queue pair to a peer; 1: none do. Too many queue pairs thrash
    // the card's cache; threads that share one wait for each other now and then. 1 to 32.
    uint32_t threads_per_qp = 1;
    // For each of them. Less where the card has less.
    uint32_t send_queue_depth = 256;
    uint32_t receive_queue_depth = 256;  // At least 2.
    uint32_t inline_bytes_max = 256;
  };

  // This machine's addresses that belong to a card with a link and atomics: what Options::address may be.
  static std::vector<std::string> Addresses();

  // Errors: InvalidArgument - an option out of its range.
  //         NotFound - this machine has no card. FailedPrecondition - not such a one, or none that can be used;
  //         the message says what there is.
  //         Unavailable, ResourceExhausted - the card does not do what it takes.
  static absl::StatusOr<std::unique_ptr<VerbsFabric>> Create(const Options& options);
  ~VerbsFabric() override;

  const DeviceAttributes& device() const override;
  const VerbsFacts& facts() const { return facts_; }
  // That there are at the card now, for people and tests. Any thread.
  int card_queue_pairs() const;
  absl::StatusOr<std::unique_ptr<MemoryRegion>> CreateRegion(const RegionOptions& options) override;
  absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterRegion(MemoryRegion* memory,
                                                               uint32_t peer_rights) override;
  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCompletionQueue() override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen() override;
  absl::StatusOr<std::unique_ptr<QueuePair>> Connect(absl::string_view endpoint,
                                                     CompletionQueue* completion_queue,
                                                     absl::string_view private_data) override;

 private:
  explicit VerbsFabric(std::unique_ptr<VerbsContext> context);

  std::unique_ptr<VerbsContext> context_;
  VerbsFacts facts_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_FABRIC_H_
