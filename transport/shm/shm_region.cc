#include "transport/shm/shm_region.h"

#include <unistd.h>

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/region_lease.h"
#include "transport/shm/region_memory.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<ShmRegion>> ShmRegion::Create(const RegionOptions& options,
                                                             ShmContext* context) {
  CHECK_NE(context->generation, 0u);
  absl::StatusOr<SharedMemory> memory = MakeRegionMemory(
      options, LetsWrite(options.peer_rights) ? PeerAccess::kReadWrite : PeerAccess::kReadOnly);
  if (!memory.ok()) return memory.status();
  auto region = absl::WrapUnique(new ShmRegion(options, *std::move(memory), context));
  if (options.death_mark && context->death_marks) {
    OwnerThread* const owner_thread = context->owner_thread.Get();
    if (owner_thread != nullptr && owner_thread->Add(region->header())) {
      region->owner_thread_ = owner_thread;
      region->lease_ns_ = 0;
    }
  }
  region->RenewLease(context->clock->NowNs());
  // Last, release: a peer that sees the magic sees the rest of the header.
  region->header()->magic.Store(kRegionMagic, std::memory_order_release);
  return region;
}

ShmRegion::ShmRegion(const RegionOptions& options, SharedMemory memory, ShmContext* context)
    : memory_(std::move(memory)),
      peer_rights_(options.peer_rights),
      generation_(context->generation),
      lease_ns_(options.lease_ns),
      is_on_huge_pages_(memory_.page_bytes > static_cast<size_t>(sysconf(_SC_PAGESIZE))),
      context_(context) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  words_ = memory_.mapping.words();
  size_bytes_ = memory_.mapping.size_bytes();
  region_id_ = options.region_id;
  page_bytes_ = memory_.page_bytes;
  page_note_ = memory_.page_note;
  // Nobody else has the memory yet.
  header()->region_id.Store(region_id_, std::memory_order_relaxed);
  header()->size_bytes.Store(size_bytes_, std::memory_order_relaxed);
  header()->generation.Store(generation_, std::memory_order_relaxed);
  header()->state.Store(kRegionLive, std::memory_order_relaxed);
}

ShmRegion::~ShmRegion() {
  Close();
  if (owner_thread_ != nullptr) owner_thread_->Remove(header());
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

void ShmRegion::RenewLease(uint64_t now_ns) {
  const uint64_t deadline_ns = lease_ns_ == 0 ? kNoLeaseNs : now_ns + lease_ns_;
  // Only we store it; peers read it after each read of theirs, and may see the old value a moment
  // longer.
  if (deadline_ns > header()->lease_deadline_ns.Load(std::memory_order_relaxed)) {
    header()->lease_deadline_ns.Store(deadline_ns, std::memory_order_release);
  }
}

}  // namespace acre::transport
