// TcpFabric: the fabric between processes anywhere, over TCP. See docs/tcp.md.

#ifndef ACRE_TRANSPORT_TCP_TCP_FABRIC_H_
#define ACRE_TRANSPORT_TCP_TCP_FABRIC_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp_context.h"

namespace acre::transport {

// Ownership:  borrows the clock. CHECKs that all that it made is gone before it.
// Threads:    any. Has one of its own, from the first connection on (TcpEngine).
// Limits:     a queue pair holds two descriptors, a completion queue two, a listener three, the fabric two.
//             Regions hold none.
class TcpFabric final : public Fabric {
 public:
  struct Options {
    Clock* clock = nullptr;  // Must outlive the Fabric.
    // How peers' atomics act on our regions. The fabric's thread executes them as a CPU does (kGlobal).
    // kHca: as on a card, for tests (fabric.h, A2).
    Atomicity atomicity = Atomicity::kGlobal;
    // Of our regions. Atomics work between fabrics that name the same one (A3).
    uint64_t atomic_domain = 0;
    // This process's incarnation, for region headers. 0: a random one.
    uint64_t generation = 0;
    // A numeric address of this machine, on which Listen() listens and which its endpoints name.
    std::string listen_host = "127.0.0.1";
    // A peer that has not answered for this long counts as gone. One that died is noticed at once, and
    // one whose machine died when this has passed.
    uint32_t unreachable_ms = 5000;
    uint32_t send_queue_depth = 256;
    uint32_t receive_queue_depth = 256;
  };

  // Errors: InvalidArgument - an option out of its range.
  static absl::StatusOr<std::unique_ptr<TcpFabric>> Create(const Options& options);
  ~TcpFabric() override;

  const DeviceAttributes& device() const override { return context_.device; }
  absl::StatusOr<std::unique_ptr<MemoryRegion>> CreateRegion(const RegionOptions& options) override;
  absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterRegion(MemoryRegion* memory,
                                                               uint32_t peer_rights) override;
  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCompletionQueue() override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen() override;
  absl::StatusOr<std::unique_ptr<Listener>> ListenAt(absl::string_view host) override;
  absl::StatusOr<std::unique_ptr<QueuePair>> Connect(absl::string_view endpoint,
                                                     CompletionQueue* completion_queue,
                                                     absl::string_view private_data) override;

 private:
  explicit TcpFabric(Clock* clock) : context_(clock) {}

  TcpContext context_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_FABRIC_H_
