#include "transport/sim/sim_region.h"

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "transport/provider_rules.h"
#include "transport/region_lease.h"
#include "transport/sim/sim_network.h"

namespace acre::transport {
namespace {

constexpr size_t kPageBytes = 4096;

}  // namespace

absl::StatusOr<std::unique_ptr<SimRegion>> SimRegion::Create(const RegionOptions& options,
                                                             SimContext* context) {
  const absl::Status judged = JudgeRegionOptions(options);
  if (!judged.ok()) return judged;
  auto region = absl::WrapUnique(new SimRegion(options, context));
  region->RenewLease(context->clock->NowNs());
  // Last, release: a peer that sees the magic sees the rest of the header.
  region->header()->magic.Store(kRegionMagic, std::memory_order_release);
  return region;
}

SimRegion::SimRegion(const RegionOptions& options, SimContext* context)
    : context_(context),
      memory_(context->network->MakeMemory(options, *context)),
      lease_ns_(memory_->is_marked_at_death() ? 0 : options.lease_ns) {
  ++context_->live_objects;
  words_ = memory_->words();
  size_bytes_ = memory_->size_bytes();
  region_id_ = options.region_id;
  page_bytes_ = kPageBytes;
  // Nobody else has the memory yet.
  header()->region_id.Store(region_id_, std::memory_order_relaxed);
  header()->size_bytes.Store(size_bytes_, std::memory_order_relaxed);
  header()->generation.Store(memory_->generation(), std::memory_order_relaxed);
  header()->state.Store(kRegionLive, std::memory_order_relaxed);
}

SimRegion::~SimRegion() {
  // Peers look at it after each read: what they read after this store is refused. Also a locked
  // instruction: no store of this thread to the memory is on its way any more.
  header()->state.Store(kRegionClosed, std::memory_order_seq_cst);
  memory_->Close();
  memory_->Release();
  context_->network->ReleaseMemory(memory_);
  --context_->live_objects;
}

void SimRegion::RenewLease(uint64_t now_ns) {
  const uint64_t deadline_ns = lease_ns_ == 0 ? kNoLeaseNs : now_ns + lease_ns_;
  // Only we store it; peers read it after each read of theirs, and may see the old value a moment
  // longer.
  if (deadline_ns > header()->lease_deadline_ns.Load(std::memory_order_relaxed)) {
    header()->lease_deadline_ns.Store(deadline_ns, std::memory_order_release);
  }
}

}  // namespace acre::transport
