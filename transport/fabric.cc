#include "transport/fabric.h"

#include "absl/strings/str_cat.h"
#include "transport/region_header.h"

namespace acre::transport {

const char* CompletionStatusName(CompletionStatus status) {
  switch (status) {
    case CompletionStatus::kOk:
      return "ok";
    case CompletionStatus::kLocalError:
      return "local error";
    case CompletionStatus::kBadKey:
      return "bad key";
    case CompletionStatus::kAccess:
      return "access";
    case CompletionStatus::kBounds:
      return "bounds";
    case CompletionStatus::kAtomicDomain:
      return "atomic domain";
    case CompletionStatus::kRetryExceeded:
      return "retry exceeded";
    case CompletionStatus::kFlushed:
      return "flushed";
  }
  return "unknown";
}

void MemoryRegion::Close() {
  // Peers load it behind the data that they read, and refuse them once they see this. seq_cst: it has
  // left the store buffer before whatever the caller does next, such as giving its port to others.
  reinterpret_cast<RegionHeader*>(words_)->state.Store(kRegionClosed, std::memory_order_seq_cst);
  OnClose();
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> Fabric::RegisterRegion(MemoryRegion* /*memory*/,
                                                                     uint32_t /*peer_rights*/) {
  return absl::UnimplementedError(
      absl::StrCat("fabric ", device().provider, " gives peers only memory that it made itself"));
}

}  // namespace acre::transport
