#include "server/keep_alive.h"

#include "runtime/shared_word.h"
#include "transport/region_header.h"

namespace acre::server {

void RenewLeases(absl::Span<transport::MemoryRegion* const> regions, uint64_t now_ns) {
  for (transport::MemoryRegion* const region : regions) region->RenewLease(now_ns);
}

Task<void> KeepAlive(Scheduler* scheduler, kvs::EpochClock* epochs,
                     std::vector<transport::MemoryRegion*> regions, uint64_t lease_ns) {
  std::vector<SharedWord*> epoch_words;
  for (transport::MemoryRegion* const region : regions) {
    epoch_words.push_back(&reinterpret_cast<transport::RegionHeader*>(region->words())->epoch);
  }
  for (;;) {
    RenewLeases(regions, scheduler->NowNs());
    epochs->Tick(scheduler->NowNs(), lease_ns, epoch_words.data(), epoch_words.size());
    co_await scheduler->SleepFor(lease_ns / 5);
  }
}

}  // namespace acre::server
