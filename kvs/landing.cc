#include "kvs/landing.h"

#include <algorithm>

#include "glog/logging.h"
#include "transport/region_header.h"

namespace acre::kvs {

absl::StatusOr<std::unique_ptr<LandingPool>> LandingPool::Create(transport::Fabric* fabric,
                                                                 transport::Port* port,
                                                                 uint32_t region_id, size_t count,
                                                                 size_t bytes) {
  CHECK_EQ(bytes % kLineBytes, 0u);
  transport::RegionOptions options;
  options.region_id = region_id;
  options.size_bytes = transport::kRegionHeaderBytes + count * bytes;
  options.name = "landings";
  absl::StatusOr<std::unique_ptr<transport::MemoryRegion>> region = fabric->CreateRegion(options);
  if (!region.ok()) return region.status();
  return std::unique_ptr<LandingPool>(new LandingPool(*std::move(region), port, count, bytes));
}

LandingPool::LandingPool(std::unique_ptr<transport::MemoryRegion> region, transport::Port* port,
                         size_t count, size_t bytes)
    : region_(std::move(region)),
      port_(port),
      count_(count),
      landing_words_(bytes / kWordBytes),
      waiting_(port->scheduler()) {
  for (size_t i = count; i > 0; --i) {
    free_.push_back(region_->words() + transport::kRegionHeaderBytes / kWordBytes +
                    (i - 1) * landing_words_);
  }
  port_->SetBufferOwner(region_.get(), this);
}

LandingPool::~LandingPool() { port_->SetBufferOwner(region_.get(), nullptr); }

LandingPool::Landing LandingPool::TryTake() {
  if (free_.empty()) return Landing();
  SharedWord* const words = free_.back();
  free_.pop_back();
  return Landing(this, words);
}

Task<LandingPool::Landing> LandingPool::Take() {
  while (free_.empty()) co_await waiting_.Wait();
  co_return TryTake();
}

SharedWord* LandingPool::LandingOf(SharedWord* local) const {
  SharedWord* const first = region_->words() + transport::kRegionHeaderBytes / kWordBytes;
  return local - (local - first) % landing_words_;
}

void LandingPool::OnAbandoned(SharedWord* local) { abandoned_.push_back({LandingOf(local)}); }

void LandingPool::OnAbandonedEnd(SharedWord* local) {
  SharedWord* const landing = LandingOf(local);
  const auto is_its = [landing](const Abandoned& a) { return a.landing == landing; };
  const auto ended = std::find_if(abandoned_.begin(), abandoned_.end(), is_its);
  CHECK(ended != abandoned_.end());
  const bool given_back = ended->given_back;
  abandoned_.erase(ended);
  // Another READ may be under way to the same landing.
  if (!given_back || std::any_of(abandoned_.begin(), abandoned_.end(), is_its)) return;
  --only_abandoned_;
  Free(landing);
}

}  // namespace acre::kvs
