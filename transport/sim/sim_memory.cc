#include "transport/sim/sim_memory.h"

#include <cstdlib>

#include "glog/logging.h"

namespace acre::transport {
namespace {

constexpr size_t kPageBytes = 4096;

size_t RoundUpToPages(size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

SimMemory::SimMemory(const RegionOptions& options, const SimContext& context)
    : size_bytes_(RoundUpToPages(options.size_bytes)),
      region_id_(options.region_id),
      peer_rights_(options.peer_rights),
      generation_(context.generation),
      atomicity_(context.device.atomicity),
      owner_(context.process) {
  // calloc, whose large blocks are fresh pages of the kernel's: what a run never touches costs it
  // nothing, and small ones come out of its lists by size.
  allocated_ = std::calloc(1, size_bytes_ + kPageBytes);
  CHECK(allocated_ != nullptr);
  const auto address = reinterpret_cast<uintptr_t>(allocated_);
  words_ = reinterpret_cast<SharedWord*>(RoundUpToPages(address));
}

void SimMemory::Free() {
  std::free(allocated_);
  allocated_ = nullptr;
  words_ = nullptr;
}

}  // namespace acre::transport
