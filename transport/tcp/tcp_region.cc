#include "transport/tcp/tcp_region.h"

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "transport/region_lease.h"
#include "transport/shm/region_memory.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<TcpRegion>> TcpRegion::Create(const RegionOptions& options,
                                                             TcpContext* context) {
  absl::StatusOr<SharedMemory> memory = MakeRegionMemory(options, PeerAccess::kReadOnly);
  if (!memory.ok()) return memory.status();
  memory->fd.Close();  // Nobody else maps it.
  auto region = absl::WrapUnique(new TcpRegion(options, *std::move(memory), context));
  region->RenewLease(context->clock->NowNs());
  region->header()->magic.Store(kRegionMagic, std::memory_order_release);
  return region;
}

absl::StatusOr<std::unique_ptr<TcpRegion>> TcpRegion::Register(MemoryRegion* memory,
                                                               uint32_t peer_rights,
                                                               TcpContext* context) {
  if ((peer_rights & ~uint32_t{kRightsAll}) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("unknown rights ", peer_rights));
  }
  return absl::WrapUnique(new TcpRegion(memory, peer_rights, context));
}

TcpRegion::TcpRegion(const RegionOptions& options, SharedMemory memory, TcpContext* context)
    : context_(context),
      memory_(std::move(memory)),
      peer_rights_(options.peer_rights),
      lease_ns_(options.lease_ns) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  words_ = memory_.mapping.words();
  size_bytes_ = memory_.mapping.size_bytes();
  region_id_ = options.region_id;
  page_bytes_ = memory_.page_bytes;
  page_note_ = memory_.page_note;
  // Nobody else has the memory yet.
  header()->region_id.Store(region_id_, std::memory_order_relaxed);
  header()->size_bytes.Store(size_bytes_, std::memory_order_relaxed);
  header()->generation.Store(context_->generation, std::memory_order_relaxed);
  header()->state.Store(kRegionLive, std::memory_order_relaxed);
  exported_ = std::make_shared<TcpExport>(
      TcpExport{.words = words_,
                .size_bytes = size_bytes_,
                .lease = RegionLease(header(), context_->generation, context_->clock),
                .is_foreign = false});
}

TcpRegion::TcpRegion(MemoryRegion* memory, uint32_t peer_rights, TcpContext* context)
    : context_(context), peer_rights_(peer_rights) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  words_ = memory->words();
  size_bytes_ = memory->size_bytes();
  region_id_ = memory->region_id();
  page_bytes_ = memory->page_bytes();
  page_note_ = std::string(memory->page_note());
  // It was made before it was handed to us.
  const uint64_t generation = header()->generation.Load(std::memory_order_acquire);
  exported_ = std::make_shared<TcpExport>(
      TcpExport{.words = words_,
                .size_bytes = size_bytes_,
                .lease = RegionLease(header(), generation, context_->clock),
                .is_foreign = true});
  JoinDoorsOf(memory);
}

TcpRegion::~TcpRegion() {
  // Of registered memory only this door closes.
  if (original() == nullptr) {
    Close();
  } else {
    LeaveDoors();
  }
  context_->engine.Withdraw(exported_.get());
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

void TcpRegion::RenewLease(uint64_t now_ns) {
  if (original() != nullptr) return original()->RenewLease(now_ns);
  const uint64_t deadline_ns = lease_ns_ == 0 ? kNoLeaseNs : now_ns + lease_ns_;
  // Only we store it; the fabric's thread reads it after each read, and may see the old value a moment
  // longer.
  if (deadline_ns > header()->lease_deadline_ns.Load(std::memory_order_relaxed)) {
    header()->lease_deadline_ns.Store(deadline_ns, std::memory_order_release);
  }
}

}  // namespace acre::transport
