// ShmRegion: a memory region of the shm provider, as its owner has it.

#ifndef ACRE_TRANSPORT_SHM_SHM_REGION_H_
#define ACRE_TRANSPORT_SHM_SHM_REGION_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/region_header.h"
#include "transport/shm/owner_thread.h"
#include "transport/shm/shm_context.h"
#include "transport/shm/shm_memory.h"

namespace acre::transport {

// A region is one memfd (shm_memory.h). What peers may do is sealed when it is made: unless its
// peer_rights allow writing, nobody but this mapping can ever write it.
//
// Ownership:  owns memory and descriptor. Peers that have it mapped keep the memory alive, closed.
// Threads:    any; RenewLease by one at a time.
class ShmRegion final : public MemoryRegion {
 public:
  // Borrows `context`, which CHECKs that all regions have gone before it.
  static absl::StatusOr<std::unique_ptr<ShmRegion>> Create(const RegionOptions& options,
                                                           ShmContext* context);
  ~ShmRegion() override;

  void RenewLease(uint64_t now_ns) override;

  int fd() const { return memory_.fd.get(); }
  uint32_t peer_rights() const { return peer_rights_; }
  uint64_t generation() const { return generation_; }
  bool is_on_huge_pages() const { return is_on_huge_pages_; }

 private:
  ShmRegion(const RegionOptions& options, SharedMemory memory, ShmContext* context);

  RegionHeader* header() const { return reinterpret_cast<RegionHeader*>(words_); }

  SharedMemory memory_;
  uint32_t peer_rights_;
  uint64_t generation_;
  uint64_t lease_ns_;
  bool is_on_huge_pages_;
  OwnerThread* owner_thread_ = nullptr;  // Null unless the header is on its list.
  ShmContext* context_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_REGION_H_
