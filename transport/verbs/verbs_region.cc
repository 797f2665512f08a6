#include "transport/verbs/verbs_region.h"

#include <errno.h>

#include <cstring>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "transport/provider_rules.h"
#include "transport/region_lease.h"
#include "transport/shm/region_memory.h"
#include "transport/verbs/verbs_key.h"

namespace acre::transport {
namespace {

absl::Status ErrorNotRegistered(uint32_t region_id, uint64_t size_bytes) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "the card does not take the ", size_bytes, " bytes of region ", region_id, ": ",
      strerror(errno), "; locked memory may be short (ulimit -l, /etc/security/limits.conf)"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<VerbsRegion>> VerbsRegion::Create(const RegionOptions& options,
                                                                 VerbsContext* context) {
  absl::StatusOr<SharedMemory> memory = MakeRegionMemory(options, PeerAccess::kReadOnly);
  if (!memory.ok()) return memory.status();
  memory->fd.Close();  // Nobody else maps it.
  auto region = absl::WrapUnique(new VerbsRegion(options, *std::move(memory), context));
  if (absl::Status status = region->RegisterLocally(); !status.ok()) return status;
  region->RenewLease(context->clock->NowNs());
  // Last, release: a peer that sees the magic sees the rest of the header.
  region->header()->magic.Store(kRegionMagic, std::memory_order_release);
  return region;
}

absl::StatusOr<std::unique_ptr<VerbsRegion>> VerbsRegion::Register(MemoryRegion* memory,
                                                                   uint32_t peer_rights,
                                                                   VerbsContext* context) {
  if ((peer_rights & ~uint32_t{kRightsAll}) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("unknown rights ", peer_rights));
  }
  auto region = absl::WrapUnique(new VerbsRegion(memory, peer_rights, context));
  if (absl::Status status = region->RegisterLocally(); !status.ok()) return status;
  return region;
}

VerbsRegion::VerbsRegion(const RegionOptions& options, SharedMemory memory, VerbsContext* context)
    : context_(context),
      memory_(std::move(memory)),
      peer_rights_(options.peer_rights),
      serves_atomics_(context->serves_atomics),
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
}

VerbsRegion::VerbsRegion(MemoryRegion* memory, uint32_t peer_rights, VerbsContext* context)
    : context_(context), peer_rights_(peer_rights), serves_atomics_(false) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  words_ = memory->words();
  size_bytes_ = memory->size_bytes();
  region_id_ = memory->region_id();
  page_bytes_ = memory->page_bytes();
  page_note_ = std::string(memory->page_note());
  JoinDoorsOf(memory);
}

VerbsRegion::~VerbsRegion() {
  // Of registered memory only this door closes.
  if (original() == nullptr) {
    Close();
  } else {
    LeaveDoors();
    OnClose();
  }
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

absl::Status VerbsRegion::RegisterLocally() {
  const int access = IBV_ACCESS_LOCAL_WRITE;  // The macro wants no enumerator.
  local_registration_.reset(ibv_reg_mr(context_->card->pd(), words_, size_bytes_, access));
  if (local_registration_ == nullptr) return ErrorNotRegistered(region_id_, size_bytes_);
  return absl::OkStatus();
}

void VerbsRegion::OnClose() {
  MutexLock lock(&mutex_);
  is_closed_ = true;
  // The card answers no request for it once these have returned.
  for (Mr& registration : registrations_) registration.reset();
}

absl::StatusOr<RemoteKey> VerbsRegion::KeyFor(uint32_t rights) const {
  MutexLock lock(&mutex_);
  // A region that was closed before this door was made to it never told.
  if (is_closed_ || header()->state.Load(std::memory_order_acquire) == kRegionClosed) {
    return absl::FailedPreconditionError(absl::StrCat("region ", region_id_, " is closed"));
  }
  Mr& registration = registrations_[rights];
  if (registration == nullptr) {
    // The card wants to be allowed what it lets peers do.
    int access = LetsWrite(rights) ? IBV_ACCESS_LOCAL_WRITE : 0;
    if ((rights & kRightRead) != 0) access |= IBV_ACCESS_REMOTE_READ;
    if ((rights & kRightWrite) != 0) access |= IBV_ACCESS_REMOTE_WRITE;
    if ((rights & kRightAtomic) != 0 && serves_atomics_) {
      access |= IBV_ACCESS_REMOTE_ATOMIC;
    }
    registration.reset(
        ibv_reg_mr_iova(context_->card->pd(), words_, size_bytes_, /*iova=*/0, access));
    if (registration == nullptr) return ErrorNotRegistered(region_id_, size_bytes_);
  }
  return EncodeVerbsKey({.card_key = registration->rkey,
                         .rights = rights,
                         .size_bytes = size_bytes_,
                         .takes_no_atomics = !serves_atomics_});
}

void VerbsRegion::RenewLease(uint64_t now_ns) {
  if (original() != nullptr) return original()->RenewLease(now_ns);
  const uint64_t deadline_ns = lease_ns_ == 0 ? kNoLeaseNs : now_ns + lease_ns_;
  // Only we store it; peers READ it, and may see the old value a moment longer.
  if (deadline_ns > header()->lease_deadline_ns.Load(std::memory_order_relaxed)) {
    header()->lease_deadline_ns.Store(deadline_ns, std::memory_order_release);
  }
}

}  // namespace acre::transport
