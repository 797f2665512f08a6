// TcpRegion: a memory region of the tcp provider, as its owner has it: memory of its own, or a second door
// to another provider's.

#ifndef ACRE_TRANSPORT_TCP_TCP_REGION_H_
#define ACRE_TRANSPORT_TCP_TCP_REGION_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/region_header.h"
#include "transport/shm/shm_memory.h"
#include "transport/tcp/tcp_context.h"
#include "transport/tcp/tcp_responder.h"

namespace acre::transport {

// Ownership:  owns its memory, unless it was registered: then it borrows the other region.
// Threads:    any; RenewLease by one at a time.
class TcpRegion final : public MemoryRegion {
 public:
  // Borrows `context`, which CHECKs that all regions have gone before it.
  static absl::StatusOr<std::unique_ptr<TcpRegion>> Create(const RegionOptions& options,
                                                           TcpContext* context);
  static absl::StatusOr<std::unique_ptr<TcpRegion>> Register(MemoryRegion* memory,
                                                             uint32_t peer_rights,
                                                             TcpContext* context);
  ~TcpRegion() override;

  void RenewLease(uint64_t now_ns) override;

  uint32_t peer_rights() const { return peer_rights_; }
  const std::shared_ptr<TcpExport>& exported() const { return exported_; }

 private:
  TcpRegion(const RegionOptions& options, SharedMemory memory, TcpContext* context);
  TcpRegion(MemoryRegion* memory, uint32_t peer_rights, TcpContext* context);

  RegionHeader* header() const { return reinterpret_cast<RegionHeader*>(words_); }

  TcpContext* const context_;
  SharedMemory memory_;  // Empty: it was registered.
  const uint32_t peer_rights_;
  const uint64_t lease_ns_ = 0;
  std::shared_ptr<TcpExport> exported_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_REGION_H_
