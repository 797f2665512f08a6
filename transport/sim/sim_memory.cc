#include "transport/sim/sim_memory.h"

#include <sys/mman.h>

#include "glog/logging.h"
#include "transport/region_header.h"

namespace acre::transport {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr uint64_t kOwnerWord = offsetof(RegionHeader, owner) / kWordBytes;
constexpr uint64_t kOwnerThread = 1;  // Any number but 0 and kOwnerDied.

size_t RoundUpToPages(size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

SimMemory::SimMemory(const RegionOptions& options, const SimContext& context)
    : size_bytes_(RoundUpToPages(options.size_bytes)),
      region_id_(options.region_id),
      peer_rights_(options.peer_rights),
      generation_(context.generation),
      atomicity_(context.device.atomicity),
      owner_(context.process) {
  // Fresh pages of the kernel's: what a run never touches costs it nothing. (calloc keeps large blocks that were
  // freed, and then clears them all.)
  void* const mapped = mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(mapped != MAP_FAILED) << "no memory for a region of " << size_bytes_ << " bytes";
  words_ = static_cast<SharedWord*>(mapped);
  if (options.death_mark && context.marks_deaths) {
    is_marked_at_death_ = true;
    StoreByCard(kOwnerWord, kOwnerThread);
  }
}

void SimMemory::MarkDeath() {
  if (is_marked_at_death_ && words_ != nullptr) {
    StoreByCard(kOwnerWord, LoadByCard(kOwnerWord) | kOwnerDied);
  }
}

void SimMemory::Free() {
  if (words_ != nullptr) CHECK_EQ(munmap(words_, size_bytes_), 0);
  words_ = nullptr;
}

}  // namespace acre::transport
