#include "kvs/landing.h"

#include "glog/logging.h"
#include "transport/region_header.h"

namespace acre::kvs {

absl::StatusOr<std::unique_ptr<LandingPool>> LandingPool::Create(transport::Fabric* fabric,
                                                                 Scheduler* scheduler,
                                                                 uint32_t region_id, size_t count,
                                                                 size_t bytes) {
  CHECK_EQ(bytes % kLineBytes, 0u);
  transport::RegionOptions options;
  options.region_id = region_id;
  options.size_bytes = transport::kRegionHeaderBytes + count * bytes;
  options.name = "landings";
  absl::StatusOr<std::unique_ptr<transport::MemoryRegion>> region = fabric->CreateRegion(options);
  if (!region.ok()) return region.status();
  return std::unique_ptr<LandingPool>(new LandingPool(*std::move(region), scheduler, count, bytes));
}

LandingPool::LandingPool(std::unique_ptr<transport::MemoryRegion> region, Scheduler* scheduler,
                         size_t count, size_t bytes)
    : region_(std::move(region)), waiting_(scheduler) {
  for (size_t i = count; i > 0; --i) {
    free_.push_back(region_->words() +
                    (transport::kRegionHeaderBytes + (i - 1) * bytes) / kWordBytes);
  }
}

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

LandingPool::Landing::~Landing() {
  if (pool_ == nullptr || in_flight_) return;
  pool_->free_.push_back(words_);
  pool_->waiting_.NotifyOne();
}

}  // namespace acre::kvs
