// VerbsRegion: a memory region of the verbs provider, as its owner has it: memory of its own, or a second
// door to another provider's.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_REGION_H_
#define ACRE_TRANSPORT_VERBS_VERBS_REGION_H_

#include <array>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/mutex.h"
#include "transport/fabric.h"
#include "transport/region_header.h"
#include "transport/shm/shm_memory.h"
#include "transport/verbs/verbs_context.h"

namespace acre::transport {

// Memory on pages of any size, registered at the card whole: once for local buffers, and once
// more, with addresses from 0 on, for each set of rights that was granted. Closing takes the latter back,
// so the card itself refuses peers from then on.
//
// Ownership:  owns its registrations, and its memory, unless that was registered: then it borrows the other
//             region.
// Threads:    any; RenewLease by one at a time.
class VerbsRegion final : public MemoryRegion {
 public:
  // Borrows `context`, which CHECKs that all regions have gone before it.
  // Errors: as CreateRegion.
  static absl::StatusOr<std::unique_ptr<VerbsRegion>> Create(const RegionOptions& options,
                                                             VerbsContext* context);
  // Errors: as RegisterRegion.
  static absl::StatusOr<std::unique_ptr<VerbsRegion>> Register(MemoryRegion* memory,
                                                               uint32_t peer_rights,
                                                               VerbsContext* context);
  ~VerbsRegion() override;

  void RenewLease(uint64_t now_ns) override;

  uint32_t peer_rights() const { return peer_rights_; }
  // The card's key for local buffers.
  uint32_t local_key() const { return local_registration_->lkey; }
  // The key that gives peers `rights`, which it registers when they are first asked for.
  // Errors: FailedPrecondition - the region is closed. ResourceExhausted - the card takes no more.
  absl::StatusOr<RemoteKey> KeyFor(uint32_t rights) const;

 private:
  VerbsRegion(const RegionOptions& options, SharedMemory memory, VerbsContext* context);
  VerbsRegion(MemoryRegion* memory, uint32_t peer_rights, VerbsContext* context);

  // For local buffers. ResourceExhausted: the card takes no more.
  absl::Status RegisterLocally();
  void OnClose() override;
  RegionHeader* header() const { return reinterpret_cast<RegionHeader*>(words_); }

  VerbsContext* const context_;
  SharedMemory memory_;  // Empty: it was registered.
  const uint32_t peer_rights_;
  // False: peers' atomics on this memory come through another fabric (A3).
  const bool serves_atomics_;
  const uint64_t lease_ns_ = 0;
  Mr local_registration_;
  mutable Mutex mutex_;
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
  mutable std::array<Mr, kRightsAll + 1> registrations_ ABSL_GUARDED_BY(mutex_);  // By rights.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_REGION_H_
